"""A graph is cut to what signatures serve: placeholders in the place of inputs, and nothing before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt2saved.errors import NotServable
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.to_signatures import cut
from ckpt2saved.signature.arguments import ARGUMENTS
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.tensors import Signature, TensorSpec


def model(inputs, outputs):
    """A model with one signature: input tensors with their shapes -> output tensors."""
    given = tuple(TensorSpec(f"in/{n}", name, "float32", shape) for n, (name, shape) in enumerate(inputs.items()))
    made = tuple(TensorSpec(f"out{n}", name, "float32", ()) for n, name in enumerate(outputs))
    return ServedModel("model", Path(ARGUMENTS), (Signature("serving_default", given, made),))


def training():
    """A batch of 8 from a file, through a placeholder of its own size."""
    with tf.Graph().as_default() as graph:
        files = tf.placeholder(tf.string, [], name="files")
        read = tf.reshape(tf.decode_raw(tf.read_file(files), tf.float32), [8, 4], name="read")
        more = tf.placeholder(tf.float32, [8, 4], name="more")
        left, right = tf.split(tf.identity(read, name="batch"), 2)
        tf.add(read, more, name="sum")
        tf.concat([left, right], 0, name="both")
        tf.nn.relu(left, name="tower")
    return graph.as_graph_def()


def nodes(part):
    return {node.name: node for node in part.graph_def.node}


def sizes(node):
    return [dim.size for dim in node.attr["shape"].shape.dim]


def test_placeholders_stand_for_inputs():
    """One that is there keeps its name and gets the shape of the signature; what is before an input is left out."""
    part = cut(training(), model({"read:0": ("batch", 4), "more:0": ("batch", 4)}, ["sum:0"]))
    assert part.places == {"read:0": "in_0:0", "more:0": "more:0"} and part.unused == () and part.edits == ()
    found = nodes(part)
    assert set(found) == {"in_0", "more", "sum"}
    assert list(found["sum"].input) == ["in_0", "more"]
    assert [sizes(found[name]) for name in ("in_0", "more")] == [[-1, 4], [-1, 4]]


def test_an_input_that_nothing_uses_stays_and_is_told():
    """TF Serving would demand it of every request."""
    part = cut(training(), model({"read:0": ("batch", 4), "more:0": ("batch", 4)}, ["both:0"]))
    assert part.unused == ("more:0",) and {"in_0", "more"} <= set(nodes(part))


def test_other_tensors_can_be_kept():
    """The logits of a decoder that is appended."""
    part = cut(training(), model({"read:0": ("batch", 4)}, ["both:0"]), ["tower:0"])
    assert "tower" in nodes(part)


@pytest.mark.parametrize(
    "inputs, outputs, message",
    [
        (["read:0"], ["sum:0"], "more: an output depends on this placeholder .float32 .8, 4.*--input NAME=more:0"),
        (["more:0"], ["both:0"], "no output depends on more:0; choose inputs nearer"),
        (["read:0"], ["tower:0"], "splits the batch of read:0 between 2 towers.* make split:0 the input instead"),
        (["nothing:0"], ["both:0"], "nothing: the graph has no such node"),
    ],
)
def test_inputs_that_do_not_make_the_outputs_are_refused(inputs, outputs, message):
    """With the way out."""
    with pytest.raises(NotServable, match=f"(?s){message}"):
        cut(training(), model(dict.fromkeys(inputs, ("batch", 4)), outputs))
