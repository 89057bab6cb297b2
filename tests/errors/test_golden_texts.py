"""One golden text for each code: what people read where a problem of this kind is found by the code that looks for it.

In a text, `{folder}` is the folder of the test, and `…` stands for words of TensorFlow.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.answers.comparison import nan_problems
from ckpt2saved.checkpoint.contents import misfits
from ckpt2saved.errors.codes import CODES
from ckpt2saved.errors.problem import texts
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.inspection.subject import find_subject
from ckpt2saved.requests.request import Request
from ckpt2saved.server_config.models import find_models
from ckpt2saved.server_config.mounts import Mount, check_mounts
from ckpt2saved.versions.health import health
from tests.support.golden_texts import accuracy, answers, checkpoints, environments, graphs, saved_models, signatures
from tests.support.golden_texts.finding import (
    GRAPH,
    compared,
    judged,
    linted,
    named,
    of_meta_graph,
    overwritten,
    raised,
    rewritten,
    signature,
    truncated,
)
from tests.support.graph_defs import node
from tests.support.versions import make_version

INDEX = "variables/variables.index"
DATA = "variables/variables.data-00000-of-00001"
Y = node("Identity", "y", "x", T=tf.float32)

CASES = [
    (
        "missing-file",
        judged(lambda version: (version / GRAPH).unlink()),
        "saved_model.pb: missing; TF Serving has nothing to load",
    ),
    ("empty-file", judged(truncated(GRAPH, 0)), "saved_model.pb: empty"),
    (
        "damaged-file",
        judged(truncated(GRAPH, 100)),
        "saved_model.pb: truncated after 100 bytes, or damaged; copy the complete file again",
    ),
    (
        "not-a-saved-model",
        judged(overwritten(GRAPH, b"\x08\x01")),
        "saved_model.pb: truncated or of something else: no meta graph in its 2 bytes",
    ),
    (
        "lfs-pointer",
        judged(overwritten(GRAPH, b"version https://git-lfs.github.com/spec/v1\n")),
        "saved_model.pb: a Git LFS pointer instead of the file; fetch it with git lfs pull",
    ),
    (
        "missing-shard",
        judged(lambda version: (version / DATA).unlink()),
        "variables/variables.data-*: missing, though variables/variables.index is there",
    ),
    (
        "cut-off",
        judged(truncated(DATA, 20)),
        DATA + ": cut off after 20 bytes, of the 24 of the index; copy the complete directory variables/ again",
    ),
    (
        "checksum",
        judged(overwritten(DATA, bytes(24))),
        DATA + ": damaged, or of another SavedModel: the checksum in the index does not match the data of w;"
        " copy the complete directory variables/ again",
    ),
    (
        "session-bundle",
        judged(overwritten("export.meta", b"")),
        "export.meta: with a file of this name TF Serving takes the directory for a session bundle; remove it",
    ),
    (
        "tag-missing",
        of_meta_graph(lambda meta_graph: meta_graph.meta_info_def.tags.append("gpu")),
        "saved_model.pb: no meta graph is tagged 'serve' and nothing else, so TF Serving loads none; the tags are: gpu,"
        " serve; export it with the tag serve",
    ),
    (
        "no-signature",
        of_meta_graph(lambda meta_graph: meta_graph.signature_def.clear()),
        "saved_model.pb: it has no signature, so that TF Serving answers no request; export it with a signature"
        " serving_default",
    ),
    (
        "signature-without-output",
        signature(lambda one: one.outputs.clear()),
        "saved_model.pb: signature serving_default: it has no output",
    ),
    (
        "method-name",
        signature(lambda one: one.ClearField("method_name")),
        "saved_model.pb: signature serving_default: it has no method name, and TF Serving up to 2.3 refuses requests;"
        " expected tensorflow/serving/predict",
    ),
    (
        "duplicate-node",
        of_meta_graph(lambda meta_graph: meta_graph.graph_def.node.extend([meta_graph.graph_def.node[0]])),
        "saved_model.pb: x: several nodes of one name; export it again",
    ),
    (
        "closed-to-others",
        lambda folder: [make_version(folder, "1").chmod(0o700), health(folder / "1").problems][1],
        ".: mode 0700, which denies access to a server that runs as another user; chmod o+rx",
    ),
    ("not-a-directory", lambda folder: health(folder / "1").problems, "there is no such directory"),
    (
        "not-a-version-number",
        named("v1"),
        "v1: TF Serving ignores a directory with this name; expected a number, as ckpt2saved bump-version"
        " BASE --from {folder}/v1 gives it",
    ),
    ("negative-number", named("-1"), "-1: the number is negative, which TF Serving does not load"),
    ("duplicate-number", named("01", "1"), "01: TF Serving loads 1 for this number instead"),
    ("other-spelling", named("007"), "007: TF Serving counts it as version 7"),
    ("sign-in-number", named("+1"), "+1: TF Serving before 2.19 ignores a name with a sign"),
    (
        "py-func",
        linted(node("PyFunc", "call")),
        "call (PyFunc): it calls Python, which a server does not have; cut the graph before it",
    ),
    (
        "input-pipeline",
        linted(node("IteratorGetNext", "next")),
        "next (IteratorGetNext): it reads from an input pipeline, which a server does not have; make this tensor the input",
    ),
    (
        "reads-files",
        linted(node("ReadFile", "read")),
        "read (ReadFile): it opens a file by its name, and the server does not have your files; make the file's content"
        " the input",
    ),
    (
        "random-op",
        linted(node("RandomUniform", "noise")),
        "noise (RandomUniform): it draws random numbers (dropout?), so that each answer to the same request differs; build the"
        " graph for inference",
    ),
    (
        "no-kernel",
        linted(node("CudnnRNN", "rnn")),
        "rnn (CudnnRNN): it has no CPU kernel; the comparison with the checkpoint and many servers use the CPU",
    ),
    (
        "batch-statistics",
        linted(node("FusedBatchNorm", "norm")),
        "norm (FusedBatchNorm): batch norm in training mode, so that an answer depends on the rest of the batch; build"
        " the graph for inference",
    ),
    (
        "value-not-set",
        rewritten(Y, pinned={"is_trian": False}),
        "--set is_trian: the graph has no node 'is_trian'",
    ),
    (
        "undecided-switch",
        rewritten(node("Placeholder", "rate", dtype=tf.float32), node("Add", "y", "x", "rate", T=tf.float32)),
        "rate (Placeholder): no request feeds it: nothing in the graph shows its value in inference;"
        " choose: --set rate=VALUE, or make it an input",
    ),
    ("unknown-tensor", raised(rewritten(node("NoOp", "z"))), "y: the graph has no such node"),
    ("missing-variable", lambda folder: misfits({"w": (2, 3)}, {}), "w: missing; expected [2, 3]"),
    ("misshapen-variable", lambda folder: misfits({"w": (None, 3)}, {"w": (3,)}), "w: found [3], expected [?, 3]"),
    (
        "no-checkpoint",
        lambda folder: [(folder / "a.meta").write_bytes(b""), find_subject(folder / "a.meta").remarks][1],
        "no checkpoint beside it that can be read: {folder}/a: the index file a.index is missing, and the checkpoint"
        " can't be read without it; copy it too\n  - a.meta: present",
    ),
    (
        "nan-answer",
        lambda folder: nan_problems([Request("made", "dense", {})], [{"y": np.float32([np.nan])}]),
        "made: dense.y: 1 of 1 values are NaN",
    ),
    ("different-answer", compared([1, 3]), "made: dense.score: values differ by up to 1, where 0.0003 is allowed"),
    (
        "hidden-mount",
        raised(lambda folder: check_mounts([Mount(folder / "a", "/m"), Mount(folder / "b", "/m/b")])),
        "{folder}/a and {folder}/b would both be at /m/b in the server",
    ),
    (
        "no-version",
        raised(lambda folder: find_models([str(folder)], ())),
        "{folder}: no version is published yet; a server would wait for one, and serve no other model meanwhile; run ckpt2saved export first",
    ),
    (
        "model-name",
        raised(lambda folder: find_models(["a b=" + str(folder)], ())),
        "a b={folder}: 'a b' can't be a model's name, which is part of a URL; expected letters, digits, '_', '.' and '-'; name the model with NAME={folder}",
    ),
]

ALL = [*CASES, *signatures.CASES, *checkpoints.CASES, *graphs.CASES, *saved_models.CASES]
ALL += [*environments.CASES, *answers.CASES, *accuracy.CASES]


@pytest.mark.parametrize(("code", "found", "text"), ALL, ids=[case[0] for case in ALL])
def test_text(tmp_path, code, found, text):
    """The first problem of the code has this text."""
    messages = found(tmp_path)
    mine = texts(message for message in messages if message.code == code)
    assert mine, texts(messages)
    pattern = re.escape(text.replace("{folder}", str(tmp_path))).replace(re.escape("…"), ".*")
    assert re.fullmatch(pattern, mine[0], re.DOTALL), mine[0]


def test_every_code_has_a_text():
    """Exactly one, so that a reworded message shows in one test."""
    assert sorted(case[0] for case in ALL) == sorted(CODES)


def sections():
    """Title -> the paragraphs below it in the page about errors."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md").read_text("utf-8")
    parts = re.split(r"(?m)^##+ (.+)\n", page)
    return {title: body.strip().split("\n\n") for title, body in zip(parts[1::2], parts[2::2])}


def test_the_documentation_has_a_section_for_each_code():
    """Under the code as heading, which is the anchor: its meaning, a message that the code makes, and what to do."""
    messages = {}
    for code, _, text in ALL:
        messages.setdefault(code, set()).add(" ".join(text.replace("{folder}", "DIR").split()))
    found = sections()
    assert [code for code in CODES if code not in found] == [], "add the code to docs/troubleshooting.md"
    assert [title for title in found if re.fullmatch(r"[a-z]+(-[a-z]+)+", title) and title not in CODES] == []
    for code, meaning in CODES.items():
        said, message, remedy = found[code]
        assert said == meaning.replace("<", "&lt;")
        assert message[3:-1] in messages[code], code
        assert len(remedy) > 8


def test_the_documentation_lists_each_code_by_its_message():
    """Once."""
    (lines,) = sections()["By message"]
    assert sorted(re.findall(r"\(#([a-z-]+)\)$", lines, re.M)) == sorted(CODES)
