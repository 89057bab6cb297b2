"""A graph whose nodes are edited, and written back."""

from __future__ import annotations

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.tf1 import tf


def test_an_attribute_that_was_only_read_is_not_written():
    """TensorFlow refuses an attribute without a value, and 1.14 one that the op does not have."""
    with tf.Graph().as_default() as made:
        tf.identity(tf.placeholder(tf.float32, [2], name="x"), name="y")
    graph = Graph(made.as_graph_def())
    assert not graph["y"].attr["transpose_a"].b and "transpose_a" in graph["y"].attr
    written = graph.graph_def(["y"])
    assert [sorted(node.attr) for node in written.node] == [["dtype", "shape"], ["T"]]
    with tf.Graph().as_default(), tf.Session() as session:
        (y,) = tf.import_graph_def(written, return_elements=["y:0"], name="")
        assert session.run(y, {"x:0": [1, 2]}).tolist() == [1, 2]
