"""The backward pass: told by what is computed, and not by names alone."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from tests.support.trainings import save, weights


def network(scope):
    """A picture's classes and their loss, all within a scope."""
    image = tf.placeholder(tf.float32, [None, 4], name="image")
    truth = tf.placeholder(tf.int32, [None], name="truth")
    with tf.name_scope(scope):
        hidden = tf.tanh(tf.matmul(image, weights(scope + "/hidden", 4, 8)), name="hidden_out")
        logits = tf.matmul(hidden, weights(scope + "/classes", 8, 3), name="logits")
        tf.nn.softmax(logits, name="shares")
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=logits))


@pytest.mark.parametrize("scope", ["gradients", "tower/gradients", "gradients_1", "net"])
@pytest.mark.parametrize("around", [False, True])
def test_a_network_in_a_scope_called_gradients_is_none(run, tmp_path, scope, around):
    """Also where the gradients themselves are in that scope."""
    with tf.Graph().as_default(), v1_control_flow():
        loss = network(scope)
        if around:
            with tf.name_scope(scope + "/"):
                gradients = tf.gradients(loss, tf.trainable_variables())
            optimizer = tf.train.AdamOptimizer(0.1)
            optimizer.apply_gradients(zip(gradients, tf.trainable_variables()))
            prefix = save(tmp_path)
        else:
            prefix = save(tmp_path, loss=loss)
        graph = Graph(tf.get_default_graph().as_graph_def())
    nodes, backward, spare = graph.nodes.values(), graph.backward.nodes, graph.backward.spare
    assert spare <= backward and spare
    by_op = {op: [node.name for node in nodes if node.op == op] for op in ("MatMul", "Tanh", "TanhGrad", "ApplyAdam")}
    assert by_op["TanhGrad"] and by_op["ApplyAdam"] and backward >= set(by_op["TanhGrad"] + by_op["ApplyAdam"])
    assert backward.isdisjoint(by_op["Tanh"])
    assert len(by_op["MatMul"]) == 6 and len(set(by_op["MatMul"]) - backward) == 2
    found = run("inspect", prefix, "--json")
    assert found.exit_code == 0, found.output
    graph = json.loads(found.stdout)["graph"]
    assert [one["tensor"] for one in graph["inputs"]] == ["image:0"]
    assert scope + "/shares:0" in [one["tensor"] for one in graph["outputs"] if one["proposed"]]


def test_gradients_in_the_scope_of_a_network_are_told_from_it():
    """By the names that tf.gradients gives them: after a node, which may be outside of the scope."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 4], name="image")
        with tf.name_scope("gradients"):
            hidden = tf.tanh(tf.matmul(image, weights("gradients/hidden", 4, 8)), name="hidden_out")
        logits = tf.matmul(hidden, weights("classes", 8, 3), name="logits")
        tf.gradients(tf.reduce_mean(logits), tf.trainable_variables(), name="gradients/")
        graph = Graph(tf.get_default_graph().as_graph_def())
    nodes, backward, spare = graph.nodes.values(), graph.backward.nodes, graph.backward.spare
    assert {"gradients/logits_grad/MatMul", "gradients/logits_grad/MatMul_1"} <= backward and spare
    forward = [node.name for node in nodes if node.op in ("MatMul", "Tanh") and node.name not in backward]
    assert forward == ["gradients/MatMul", "gradients/hidden_out", "logits"]
