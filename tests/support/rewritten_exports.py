"""Exports of small graphs of one input and one output, and what their versions hold."""

from __future__ import annotations

import json

import numpy as np

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.saved_model.parsing import parse_saved_model


def trained(folder, build, resources=False):
    """A checkpoint with its graph: `y` is what `build` makes of `x`."""
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope(tf.get_variable_scope(), use_resource=resources):
            x = tf.placeholder(tf.float32, [None, 8, 6, 3], name="x")
            tf.identity(build(x), name="y")
        session.run(tf.global_variables_initializer())
        return tf.train.Saver().save(session, str(folder / "run" / "model.ckpt"), global_step=7)


def exported(run, folder, prefix, *options):
    """The content of --json of an export, and all that it printed."""
    result = run("export", "-c", prefix, "--input=x", "--output=y", "-o", folder, "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.output[result.output.index("{\n") :]), result.output


def question():
    """A value for `x`."""
    return np.random.RandomState(0).uniform(-2, 2, (2, 8, 6, 3)).astype("float32")


def ops(version):
    """The ops of the nodes of a version."""
    (meta_graph,) = parse_saved_model(version).meta_graphs
    return [node.op for node in meta_graph.graph_def.node]


def stored(version):
    """The variables of a version by name."""
    reader = tf.train.NewCheckpointReader(str(version / "variables" / "variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
