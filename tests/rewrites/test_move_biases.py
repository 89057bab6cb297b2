"""Biases in loops of recurrent layers are added to products with the state, and the answers stay."""

from __future__ import annotations

import pytest

from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.names import parsed
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites import move_biases
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.for_serving import FOR_SERVING
from ckpt2saved.rewrites.hoist_products import HoistProducts
from ckpt2saved.rewrites.move_biases import MoveBiases
from ckpt2saved.rewrites.rewrite import apply
from tests.support.recurrent import check_answers, exported, trained, weights

DEPTH, HIDDEN = 6, 5


def loop(x, step):
    """The outputs [time, batch, hidden] of `step`(x, output) over `x` [time, batch, depth]."""
    steps, batch = tf.shape(x)[0], tf.shape(x)[1]
    arriving = tf.TensorArray(tf.float32, steps).unstack(x)

    def body(time, output, outputs):
        output = step(arriving.read(time), output)
        return time + 1, output, outputs.write(time, output)

    start = [0, tf.zeros([batch, HIDDEN]), tf.TensorArray(tf.float32, steps)]
    return tf.while_loop(lambda time, *_: time < steps, body, start)[-1].stack()


def as_keras(total=lambda one, other, x: one + other, biased=None, kernel=(DEPTH, HIDDEN), recurrent=(HIDDEN, HIDDEN)):
    """A cell that adds its bias to a sum; `total` and `biased` change it."""

    def build(x):
        one, other = weights("kernel", *kernel), weights("recurrent", *recurrent)
        bias = weights("bias", HIDDEN)

        def step(x, h):
            made = total(tf.matmul(x, one), tf.matmul(h, other), x)
            made = tf.nn.bias_add(made, bias) if biased is None else biased(made, bias)
            return tf.tanh(made)

        return loop(x, step)

    return build


def moved(build, rewrites=None):
    """The edits, and the op of what the product with the state goes into; the answers are the same to 1e-6."""
    with tf.Graph().as_default() as graph, tf.Session() as session, v1_control_flow():
        x = tf.placeholder(tf.float32, [None, None, DEPTH], name="x")
        with tf.variable_scope("net", use_resource=False):
            y = build(x)
        y = tf.identity(y, name="y")
        session.run(tf.global_variables_initializer())
        context = Context.of(pruned(graph.as_graph_def(), ["y"]), ["y:0"], ["x:0"])
        made = apply(rewrites or [HoistProducts(), MoveBiases()], context, "refused")
        found = made.graph_def()
        check_answers(session, found, DEPTH)
    products = {node.name for node in found.node if node.op == "MatMul" and made.graph.is_in_loop(node.name)}
    takers = [node.op for node in found.node if products & {parsed(name)[0] for name in node.input if name[0] != "^"}]
    return made.edits_of(move_biases.BiasMoved), takers


@pytest.mark.parametrize("total", [lambda one, other, x: one + other, lambda one, other, x: other + one])
def test_the_bias_is_added_to_the_product_with_the_state(total):
    """TensorFlow then computes both in one op."""
    edits, takers = moved(as_keras(total))
    assert [edit.kind for edit in edits] == ["recurrent"] and takers == ["BiasAdd"]


def seen_twice(one, other, x):
    return one + other * tf.sigmoid(other)


LEFT = {
    "the product is used twice": as_keras(seen_twice),
    "the sum is used twice": as_keras(biased=lambda made, bias: tf.nn.bias_add(made, bias) * tf.sigmoid(made)),
    "no bias follows": as_keras(biased=lambda made, bias: made * bias),
    "the product has one column": as_keras(recurrent=(HIDDEN, 1)),
    "the bias has its own product": as_keras(total=lambda one, other, x: one - other),
}


@pytest.mark.parametrize("kind", sorted(LEFT))
def test_other_biases_stay(kind):
    assert moved(LEFT[kind])[0] == ()


def test_both_products_in_the_loop():
    """One of them alone is no reason: the other is still to be added."""
    assert moved(as_keras(), [MoveBiases()])[0] == ()


# Exports.


def graph_of_layer():
    with tf.Graph().as_default() as graph, v1_control_flow():
        x = tf.placeholder(tf.float32, [None, None, DEPTH], name="x")
        with tf.variable_scope("net", use_resource=False):
            y = as_keras()(x)
        tf.identity(y, name="y")
    return graph


def test_a_wrong_sum_is_found_out(run, tmp_path, monkeypatch):
    """By the comparison with the graph before; then the layers stay, and people are told."""
    monkeypatch.setattr(HoistProducts, "__call__", lambda *given: move_biases.Found())

    def doubled(graph, context, product):
        graph.redirect({(product.name, 0): (graph.add("twice", "Add", [(product.name, 0)] * 2, T=1).name, 0)})
        return True

    monkeypatch.setattr(move_biases, "_move", doubled)
    made, output = exported(run, tmp_path, trained(tmp_path, graph_of_layer()))
    assert made["parity"]["answers"] and "\nrecurrent   layers stay as they are: " in output, output


def test_it_is_on_by_default():
    assert any(isinstance(rewrite, MoveBiases) for rewrite in FOR_SERVING)
