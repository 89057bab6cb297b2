"""How messages of one code are found: each function takes what is wrong and returns a function of a folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.answers.comparison import compare
from ckpt2saved.checkpoint.contents import open_checkpoint
from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.errors import Ckpt2SavedError
from ckpt2saved.graph.meta_graph import read_meta_graph
from ckpt2saved.graph.tf1 import SavedModel, tf
from ckpt2saved.inspection.report import inspect_subject
from ckpt2saved.inspection.subject import find_subject
from ckpt2saved.requests.request import Request
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.lint import check_servable
from ckpt2saved.rewrites.rewrite import apply_all
from ckpt2saved.rewrites.to_inference import TO_INFERENCE
from ckpt2saved.signature.arguments import model_of_arguments, parse_tensor, with_changes
from ckpt2saved.signature.file import parse_model
from ckpt2saved.signature.model import Surgery
from ckpt2saved.sources.training_graph import load_training_graph
from ckpt2saved.verification.servability import check_content, check_name
from ckpt2saved.versions.health import health
from tests.support import trainings
from tests.support.graph_defs import node
from tests.support.versions import make_version, open_to_all

GRAPH = "saved_model.pb"


def raised(call):
    """The problems of the error that a call raises."""

    def found(folder):
        with pytest.raises(Ckpt2SavedError) as caught:
            call(folder)
        return caught.value.problems

    return found


def judged(change):
    """What is found against a version after a change of its files."""

    def found(folder):
        version = make_version(folder, "1")
        change(version)
        open_to_all(version)
        return health(version).problems

    return found


def with_meta_graph(version, change):
    message = SavedModel.FromString((version / GRAPH).read_bytes())
    change(message.meta_graphs[0])
    (version / GRAPH).write_bytes(message.SerializeToString())


def of_meta_graph(change):
    """What is found against a version after a change of its meta graph."""
    return judged(lambda version: with_meta_graph(version, change))


def verified(change):
    """Problems and notes of `verify` on the content of a version after a change of its meta graph."""

    def found(folder):
        version = make_version(folder, "1")
        with_meta_graph(version, change)
        findings = check_content(version, ())
        return findings.problems + findings.notes

    return found


def truncated(name, size):
    return lambda version: os.truncate(str(version / name), size)


def overwritten(name, content):
    return lambda version: (version / name).write_bytes(content)


def signature(change):
    return of_meta_graph(lambda meta_graph: change(meta_graph.signature_def["serving_default"]))


def named(*names):
    """What is found against the first of these names of versions."""

    def found(folder):
        for name in names:
            (folder / name).mkdir()
        findings = check_name(folder / names[0])
        return findings.problems + findings.notes

    return found


def linted(*nodes):
    return raised(lambda folder: check_servable(tf.GraphDef(node=nodes)))


def rewritten(*nodes, pinned=None):
    """What the rewrites to inference have against a graph from x to y."""

    def found(folder):
        x = node("Placeholder", "x", dtype=tf.float32)
        return apply_all(
            TO_INFERENCE, Context.of(tf.GraphDef(node=[x, *nodes]), ["y:0"], ["x:0"], pinned=pinned or {})
        ).problems

    return found


def compared(value):
    request, one = Request("made", "dense", {}), np.float32([1, 2])
    return lambda folder: compare([request], [{"score": one}], [{"score": np.float32(value)}]).problems


FILE = """\
format: 1
signatures:
  serving_default:
    inputs: {x: {dtype: float32, shape: [batch]}}
    outputs: {y: {dtype: float32, shape: [batch]}}
"""


def of_file(old, new):
    """What is found against a signature file after a replacement."""
    return raised(lambda folder: parse_model(FILE.replace(old, new), folder / "own.yaml"))


def trained(folder, build):
    """The prefix of the checkpoint and .meta of a graph."""
    with tf.Graph().as_default():
        trainings.weights("w", 2)
        build()
        return trainings.save(folder)


def opened(path):
    return open_checkpoint(find_checkpoint(Path(path)))


def loaded(build, *, inputs=("x",), outputs=("y",), change=None):
    """Notes or problems where a training's graph is loaded."""

    def found(folder):
        prefix = trained(folder, build)
        model = model_of_arguments([parse_tensor(one) for one in inputs], [parse_tensor(one) for one in outputs], None)
        model = with_changes(model, Surgery(), has_nodes=True)
        if change:
            path = folder / "model.meta"
            meta_graph = tf.MetaGraphDef.FromString(path.read_bytes())
            change(meta_graph)
            path.write_bytes(meta_graph.SerializeToString())
        source = read_meta_graph(find_subject(folder).meta)
        try:
            return load_training_graph(source, opened(prefix), model).notes
        except Ckpt2SavedError as error:
            return error.problems

    return found


def inspected(make):
    """Notes and problems of `inspect` on the path that `make` returns."""

    def found(folder):
        report = inspect_subject(find_subject(make(folder)))
        return report.remarks + ((report.graph.problems + report.graph.notes) if report.graph else ())

    return found
