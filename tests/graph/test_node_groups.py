"""Nodes of networks are told apart by what they compute, whatever they are called."""

from __future__ import annotations

import pytest

from ckpt2saved.ctc.search import beam_search
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.node_groups import joined, node_groups
from ckpt2saved.graph.tf1 import Defun, tf, v1_control_flow


def weights(*shape):
    return tf.Variable(tf.zeros(shape))


def stock(logits, lengths):
    (decoded,), _ = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=10, top_paths=1)
    return decoded.values


def ours(logits, lengths):
    (decoded,), _ = beam_search(logits, lengths, beam_width=10, top_paths=1, merge_repeated=False)
    return decoded.values


def network(decode):
    """Pictures -> two convolutions -> a recurrent loop -> a product -> CTC; no node's name says what it is."""
    files = tf.placeholder(tf.string, [None], name="A")
    with tf.name_scope("B"):
        images = tf.map_fn(lambda file: tf.cast(tf.image.decode_png(file, 1), tf.float32), files, dtype=tf.float32)
        images = tf.identity(tf.reshape(images / 255.0, [-1, 8, 20, 1]), name="pictures")
    hidden = tf.nn.conv2d(images, weights(3, 3, 1, 4), strides=1, padding="SAME", name="C")
    hidden = tf.nn.max_pool(tf.nn.relu(hidden, name="D"), [1, 2, 2, 1], [1, 2, 2, 1], "SAME", name="E")
    hidden = tf.nn.conv2d(hidden, weights(3, 3, 4, 4), strides=1, padding="SAME", name="F")
    hidden = tf.transpose(tf.reduce_mean(tf.nn.relu(hidden), 1), [1, 0, 2], name="G")
    product = tf.reshape(tf.matmul(tf.reshape(hidden, [-1, 4]), weights(4, 6), name="H"), [10, -1, 6])
    recurrent = weights(6, 6)
    state = tf.scan(
        lambda state, now: tf.tanh(tf.matmul(state, recurrent, name="I") + now, name="J"),
        product,
        initializer=tf.zeros([tf.shape(product)[1], 6]),
    )
    flat = tf.reshape(tf.concat([state, state], 2, name="K"), [-1, 12])
    logits = tf.nn.bias_add(tf.matmul(flat, weights(12, 5), name="L"), weights(5), name="M")
    logits = tf.reshape(logits, [10, -1, 5], name="N")
    return decode(logits, tf.fill([tf.shape(logits)[1]], 10))


@pytest.mark.parametrize("decode", [stock, ours])
def test_each_node_of_a_network_is_in_its_group(decode):
    """The loop of pictures is no recurrent layer, nor are those of a decoder."""
    with v1_control_flow(), tf.Graph().as_default() as made:
        output = network(decode).op.name
    graph = Graph(Graph(made.as_graph_def()).graph_def([output]))  # without what is not fetched, as a session has it
    groups = node_groups(graph)
    named = {}
    for name, group in groups.items():
        if name.split("/")[-1] in set("ACDEFGHIJKLMN"):
            named.setdefault(group, []).append(name.split("/")[-1])
    assert {group: "".join(sorted(names)) for group, names in named.items()} == {
        "pictures": "A",
        "convolutions": "CDEF",
        "recurrent layers": "GHIJK",
        "dense layers": "LM",
        "decoder": "N",
    }
    assert groups["B/pictures"] == "pictures" and groups[output] == "decoder"
    others = {graph[name].op for name, group in groups.items() if group == "other"}
    assert others <= {"Const", "Identity", "Range", "ReadVariableOp", "VarHandleOp", "VariableV2"}, others


def test_a_graph_without_layers_has_no_decoder():
    """What would come after the last layer is no decoder where there is none."""
    with tf.Graph().as_default() as made:
        tf.identity(tf.placeholder(tf.float32, [None], name="x") * 2, name="y")
    assert set(node_groups(Graph(made.as_graph_def())).values()) == {"other"}


def test_a_node_that_receives_a_tensor_follows_its_sender():
    """The partitions of two devices, of which one has the convolution and the other its activation."""
    parts = [tf.GraphDef(), tf.GraphDef()]
    parts[0].node.add(name="c", op="Conv2D", input=["x", "k"])
    parts[0].node.add(name="x", op="Placeholder")
    parts[0].node.add(name="k", op="VariableV2")
    parts[0].node.add(name="s", op="_Send", input=["c"]).attr["tensor_name"].s = b"edge_1"
    parts[1].node.add(name="r", op="_Recv").attr["tensor_name"].s = b"edge_1"
    parts[1].node.add(name="p", op="Softmax", input=["r"])
    groups = node_groups(joined(parts))
    assert groups == {
        "c": "convolutions",
        "x": "other",
        "k": "other",
        "s": "transfers",
        "r": "transfers",
        "p": "decoder",
    }


def test_a_call_of_a_function_that_is_a_recurrent_layer():
    """A session's graph calls a copy of the function that TensorFlow's optimizer made for one call, and has no library."""

    @Defun(tf.float32, func_name="layer")
    def layer(x):
        x.set_shape([None, 3])
        return tf.while_loop(lambda step, _: step < 4, lambda step, h: (step + 1, tf.matmul(h, h)), (0, x))[1]

    with v1_control_flow(), tf.Graph().as_default() as made:
        x = tf.placeholder(tf.float32, [3, 3], name="x")
        (called,) = tf.raw_ops.PartitionedCall(args=[x], Tout=[tf.float32], f=layer, name="call")
        tf.nn.softmax(tf.matmul(called, tf.ones([3, 3]), name="product"), name="y")
    graph_def = made.as_graph_def()
    functions = list(graph_def.library.function)
    graph_def.ClearField("library")
    (call,) = [node for node in graph_def.node if node.name == "call"]
    for name in ("layer", "layer_specialized_for_call_at_tf_graph"):
        call.attr["f"].func.name = name
        groups = node_groups(joined([graph_def], functions))
        assert (groups["call"], groups["product"], groups["y"]) == ("recurrent layers", "dense layers", "decoder")


def test_what_is_fed_is_in_no_layer():
    """Lengths that lead to a loop, without the session that makes arguments of them."""
    with v1_control_flow(), tf.Graph().as_default() as made:
        steps = tf.placeholder(tf.int32, [], name="steps")
        matrix = weights(3, 3)
        tf.while_loop(
            lambda step, _: step < steps, lambda step, state: (step + 1, tf.matmul(state, matrix)), (0, matrix)
        )
    groups = node_groups(Graph(made.as_graph_def()))
    assert groups["steps"] == "other" and "recurrent layers" in groups.values()
