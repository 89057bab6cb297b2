"""Golden texts of Python environments, releases of TF Serving, and server configurations."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from unittest import mock

from ckpt2saved.compatibility.demands import read_demands
from ckpt2saved.compatibility.environment import examine_environment
from ckpt2saved.compatibility.fit import check_fit
from ckpt2saved.compatibility.image import find_server_kind
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.server_config.batching import Batching, check_batching
from ckpt2saved.server_config.configuration import ConfigurationOptions, configure
from ckpt2saved.server_config.models import find_models
from ckpt2saved.server_config.mounts import parse_mount
from ckpt2saved.server_config.policy import SPECIFIC, Label, Policy
from ckpt2saved.verification.differences import differences
from ckpt2saved.verification.servability import check_version
from ckpt2saved.versions import bump_version, prune_versions
from tests.support.golden_texts.finding import raised
from tests.support.graph_defs import X, node, write
from tests.support.packages import install, with_needs
from tests.support.saved_models import write_version
from tests.support.syncs import Sync
from tests.support.versions import make_broken, make_version


def installed(*packages, needs=True):
    """What is found in a directory with these packages, each in its own if `apart`."""

    def found(folder):
        if needs:
            with_needs(folder)
        for name, version, requires, files in packages:
            install(folder, name, version, requires=requires, files=files)
        return examine_environment([str(folder)]).problems

    return found


def tensorflow(version="1.15.5", *requires, name="tensorflow"):
    return name, version, requires, ("tensorflow/__init__.py",)


def in_two_directories(folder):
    for name, version in (("a", "1.15.5"), ("b", "1.14.0")):
        install(with_needs(folder / name), "tensorflow", version)
    return examine_environment([str(folder / "a"), str(folder / "b")]).problems


def without_op(folder):
    check_fit(read_demands(write(folder / "1", [X, node("DisableCopyOnRead", "read", "x")])), find_server_kind("1.14"))


def without_kernel(folder):
    check_fit(read_demands(write(folder / "1", [X, node("CudnnRNNV3", "rnn", T=tf.float32)])), find_server_kind("2.19"))


def models(folder, **options):
    return find_models([str(folder / "crnn")], options.pop("mounts", ()), **options)


def of_models(make, **options):
    def call(folder):
        make(folder / "crnn")
        models(folder, **options)

    return raised(call)


def linked(base):
    make_version(base.parent, "elsewhere")
    base.mkdir()
    (base / "1").symlink_to(base.parent / "elsewhere")


def version_1(base):
    make_version(base, "1")


def configured(*steps):
    """What is found where one configuration after the other is written for a running server."""

    def call(folder):
        for number in ("1", "2"):
            make_version(folder / "crnn", number)
        make_version(folder / "ctpn", "1")
        options = ConfigurationOptions(folder / "config")
        for names, changes in steps:
            configure([str(folder / name) for name in names], replace(options, **changes)).write()

    return raised(call)


def only(number):
    """A server loads this version alone, with a label."""
    return {
        "labels": (("crnn", Label("stable", number)),),
        "policies": (("crnn", Policy(SPECIFIC, numbers=(number,))),),
    }


def batched(*signatures):
    def call(folder):
        version_1(folder / "crnn")
        check_batching(models(folder), signatures, Batching())

    return raised(call)


def compared(side):
    """What is found where a SavedModel is compared with another one, whose answer is a sum."""

    def call(folder):
        old = write_version(folder / "1", lambda x: {"y": tf.identity(x, name="y")})
        return getattr(
            differences(old, write_version(folder / "2", lambda x: {"y": tf.reduce_sum(x, 1, name="y")})), side
        )

    return call


def altered(folder):
    version = bump_version(folder / "crnn", write_version(folder / "own", lambda x: {"y": tf.identity(x)})).path
    (version / "assets.extra" / "more.txt").write_text("more")
    return check_version(version).notes


def of_varying_shape(folder):
    directory = folder / "crnn" / "1"
    write_version(directory, lambda x: {"y": tf.reduce_sum(x, 1)}, shape=(None, None))
    check_batching(models(folder), (), Batching())


def newer_than_source(folder):
    for base, number in (("elsewhere", "1"), ("crnn", "2")):
        make_version(folder / base, number)
    sync = Sync(folder / "crnn", folder / "elsewhere")
    sync.round()
    return [Problem(one["code"], "", one["text"]) for told in sync.told("ahead") for one in told["problem_details"]]


def of_another_user(folder):
    for number in ("1", "2"):
        make_version(folder / "crnn", number)
    refusal = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder / "crnn" / "1"))
    with mock.patch("ckpt2saved.versions.deletion.open_directory", side_effect=refusal):
        prune_versions(folder / "crnn", 1)


PROTOBUF = "protobuf>=3.6.1"

CASES = [
    (
        "not-deleted",
        raised(of_another_user),
        "1: Permission denied ({folder}/crnn/1); run as a user with the required rights, or grant them to this user",
    ),
    (
        "altered-files",
        altered,
        "1: its files are not those that were published; publish changed files as a version of their own, with"
        " ckpt2saved bump-version BASE --from DIR",
    ),
    (
        "broken-link",
        of_models(linked),
        "{folder}/crnn/1: a symbolic link to {folder}/elsewhere, which is broken in the server, where"
        " only {folder}/crnn is seen; take it in with ckpt2saved bump-version {folder}/crnn --from"
        " {folder}/crnn/1",
    ),
    (
        "breaks-clients",
        compared("problems"),
        "signature serving_default, output y: its shape is [?], and was [?, 4]; keep it as it was, or publish under"
        " another model name for new clients",
    ),
    (
        "newer-than-source",
        newer_than_source,
        "{folder}/crnn: version 2 is newer than what {folder}/elsewhere has, where 1 is the newest version; nothing is"
        " deleted; publish there under a higher number, as with ckpt2saved bump-version --version 3",
    ),
    (
        "other-content",
        compared("notes"),
        "graph: 1 node is new (1 Const); 1 node is changed (1 Sum)",
    ),
    (
        "broken-version",
        of_models(lambda base: make_broken(base, "1")),
        "{folder}/crnn/1: broken, and a server loads it: saved_model.pb: missing; TF Serving has nothing"
        " to load; publish a complete version above it with ckpt2saved bump-version {folder}/crnn --from"
        " N",
    ),
    (
        "label-not-loaded",
        of_models(version_1, labels=((None, Label("stable", 7)),)),
        "{folder}/crnn: label stable is for version 7, which a server would not load, and so refuse the"
        " whole file; expected one of 1, or have it loaded with --versions",
    ),
    (
        "missing-package",
        installed(tensorflow("1.15.5", PROTOBUF), needs=False),
        'tensorflow 1.15.5 does not start without protobuf; pip install "protobuf<4"',
    ),
    (
        "mixed-tensorflows",
        installed(tensorflow(), tensorflow("1.14.0", name="tensorflow-gpu")),
        "tensorflow 1.15.5 and tensorflow-gpu 1.14.0 are installed over each other in {folder}: the"
        " imported package is a mixture; pip uninstall tensorflow tensorflow-gpu, then install one of"
        " them again",
    ),
    (
        "kernel-not-in-serving",
        raised(without_kernel),
        "CudnnRNNV3: no kernel for CPUs in 2.19, only for GPUs (node rnn); serve it with tensorflow/serving:2.19.1-gpu"
        " on a GPU",
    ),
    (
        "op-not-in-serving",
        raised(without_op),
        "DisableCopyOnRead: no op of 1.14; TensorFlow has it since 2.10 (node read)",
    ),
    (
        "other-client",
        installed(tensorflow(), ("tensorflow-serving-api", "2.11.0", (), ("x.py",))),
        "tensorflow-serving-api 2.11.0 is for another release than tensorflow 1.15.5, and its"
        ' messages may be incompatible; pip install --no-deps "tensorflow-serving-api==1.15.*" grpcio',
    ),
    (
        "other-package",
        installed(tensorflow("2.17.1", "numpy>=9")),
        'tensorflow 2.17.1 is incompatible with numpy 1.18.5; it requires >=9; pip install "numpy>=9"',
    ),
    (
        "rejected-change",
        configured((["crnn"], only(1)), (["crnn", "ctpn"], only(2))),
        "ctpn: would not be loaded either",
    ),
    (
        "rejected-label",
        configured((["crnn"], only(1)), (["crnn"], only(2))),
        "crnn: label stable moves from 1 to 2, and 2 is not loaded by the present configuration; first"
        " run this command with --versions crnn=specific:1,2 --label crnn:stable=1 instead of its"
        " options for crnn; once 2 is AVAILABLE, run it as it is",
    ),
    (
        "several-tensorflows",
        in_two_directories,
        "the first hides the others: tensorflow 1.15.5 in {folder}/a, tensorflow 1.14.0 in {folder}/b;"
        " uninstall all but one",
    ),
    ("unknown-signature", batched("dense"), "--batched-signature: no model has a signature dense"),
    (
        "unusable-base",
        of_models(lambda base: base.write_text("")),
        "{folder}/crnn: not a directory; expected the base directory of a model",
    ),
    ("unused-mount", configured((["crnn"], {"mounts": (parse_mount("/srv=/models"),)})), "/srv: contains none of them"),
    (
        "varying-shape",
        raised(of_varying_shape),
        "{folder}/crnn/1, signature serving_default: requests may differ in the size of x [?, ?], and"
        ' requests of different sizes that come into one batch all fail ("from different tasks have'
        ' different shapes"), those of other clients included; add --equal-shapes if clients bring all'
        " requests to one size, or --pad-inputs to have TF Serving fill them up, after which answers may"
        " depend on the other requests in the batch",
    ),
]
