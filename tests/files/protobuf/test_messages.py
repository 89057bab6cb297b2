"""Declared messages are those of TensorFlow's .proto files, and are decoded and encoded as protobuf does."""

from __future__ import annotations

import dataclasses
import inspect
import io

import pytest

from ckpt2saved.files.protobuf import tensorflow_messages
from ckpt2saved.files.protobuf.messages import Budget, decode, encode
from ckpt2saved.files.protobuf.serving_messages import Int64Value, ModelSpec, PredictRequest, PredictResponse
from ckpt2saved.files.protobuf.tensorflow_messages import AttrValue, GraphDef, NodeDef, TensorShape
from ckpt2saved.files.protobuf.wire import MOST_FIELDS, Malformed, Part, fields, of_bytes, of_file, written
from ckpt2saved.graph.tf1 import SavedModel, tf

# Classes of other names than TensorFlow's messages, and those that Python's package does not have.
NAMES = {
    "AttrDef": "OpDef.AttrDef",
    "ArgDef": "OpDef.ArgDef",
    "AnyList": "CollectionDef.AnyList",
    "AnyMessage": "Any",
    "Dim": "TensorShapeProto.Dim",
    "FunctionSignature": "OpDef",
    "ListValue": "AttrValue.ListValue",
    "MetaInfoDef": "MetaGraphDef.MetaInfoDef",
    "NodeList": "CollectionDef.NodeList",
    "Strings": "TensorProto",
    "TaggedMetaGraph": "MetaGraphDef",
    "Tensor": "TensorProto",
    "TensorShape": "TensorShapeProto",
}
ELSEWHERE = ("AttrConstraint", "BundleHeader", "Extent", "KernelDef", "KernelList", "TensorSlice")


def declared():
    return [one for _, one in inspect.getmembers(tensorflow_messages, dataclasses.is_dataclass)]


def descriptors():
    """Name -> descriptor of TensorFlow's messages that a SavedModel or an op list consists of."""
    found, left = {}, [SavedModel.DESCRIPTOR, tf.MetaGraphDef.DESCRIPTOR]
    while left:
        one = left.pop()
        name = one.name if one.containing_type is None else f"{one.containing_type.name}.{one.name}"
        if name not in found:
            found[name] = one
            left += [field.message_type for field in one.fields if field.message_type is not None]
    return found


@pytest.mark.parametrize("message", declared(), ids=lambda one: one.__name__)
def test_fields_are_those_of_tensorflow(message):
    """By number: of this type, and repeated where TensorFlow's are."""
    known = descriptors()
    name = NAMES.get(message.__name__, message.__name__)
    if name not in known:
        assert message.__name__ in ELSEWHERE
        return
    for field in dataclasses.fields(message):
        if "number" not in field.metadata:
            continue  # the message's own part
        theirs = known[name].fields_by_number[field.metadata["number"]]
        kind, of = field.metadata["kind"], field.metadata["of"]
        is_map = theirs.message_type is not None and theirs.message_type.GetOptions().map_entry
        # Newer protobufs have is_repeated, and no label.
        is_repeated = theirs.is_repeated if hasattr(theirs, "is_repeated") else theirs.label == theirs.LABEL_REPEATED
        assert (kind == "map") == is_map
        # A meta graph's graph may be in several pieces, which are one; so may the values of a tensor.
        assert (kind in ("each", "packed", "map")) == is_repeated or (of is None and kind == "each")
        if of is not None:
            inner = theirs.message_type.fields_by_name["value"].message_type if is_map else theirs.message_type
            assert inner is known[NAMES.get(of.__name__, of.__name__)]


@pytest.mark.parametrize("in_file", [False, True], ids=["in-memory", "in-a-file"])
def test_a_graph_is_decoded_as_tensorflow_wrote_it(in_file):
    """Nodes of all sizes, among them one that is longer than what is read at once."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 3], name="x")
        for number in range(3000):
            x = tf.identity(x, name=f"n{number}")
        tf.add(x, tf.constant(1.5, shape=[40000, 3]).op.outputs[0][:1])
        tf.constant(bytes(range(256)) * 1000, name="long")
    graph_def = graph.as_graph_def()
    content = graph_def.SerializeToString()
    part = of_file(io.BytesIO(content), len(content)) if in_file else of_bytes(content)
    found = decode(GraphDef, part)
    assert [(node.name, node.op, node.inputs) for node in found.nodes] == [
        (node.name, node.op, list(node.input)) for node in graph_def.node
    ]
    for node, theirs in zip(found.nodes, graph_def.node):
        assert {name: value.size for name, value in node.attributes()} == {
            name: value.ByteSize() for name, value in theirs.attr.items()
        }
    placeholder = found.nodes[0]
    assert placeholder.attribute("shape").shape.sizes == (-1, 3)
    assert placeholder.attribute("dtype").type == tf.float32.as_datatype_enum
    assert placeholder.attribute("absent") is None


def test_what_is_not_declared_is_not_read():
    """Not even its bytes: a constant may be larger than the memory."""
    content = written(1, b"name") + written(99, b"x" * (1 << 20)) + written(2, b"Const")
    read = []

    def counted(start, end):
        read.append(end - start)
        return content[start:end]

    assert decode(NodeDef, Part(counted, 0, len(content))).op == "Const"
    assert sum(read) < 3 << 16


def test_repeated_and_merged_fields():
    """The last of several values counts, messages are merged, and repeated fields go on."""
    shape = written(2, written(1, 2)) + written(3, 1)
    content = written(6, 1) + written(7, shape) + written(6, 3) + written(7, written(2, written(1, 5)))
    found = decode(AttrValue, of_bytes(content))
    assert found.type == 3 and [dim.size for dim in found.shape.dim] == [2, 5] and found.shape.sizes is None
    assert decode(AttrValue, of_bytes(b"")) == AttrValue()
    packed = written(1, written(6, b"\x01\x02") + written(6, 3))
    assert decode(AttrValue, of_bytes(packed)).list.type == [1, 2, 3]


def test_what_is_encoded_is_decoded():
    """Maps by their keys, so that the same message gives the same bytes; what is absent is told from what is 0."""
    spec = ModelSpec(name="m", version=Int64Value(0), signature_name="dense")
    inputs = {"b": of_bytes(b"2"), "a": of_bytes(b"1")}
    request = PredictRequest(model_spec=spec, inputs=inputs, output_filter=["y", ""])
    content = encode(request)
    assert content == encode(PredictRequest(spec, dict(reversed(list(inputs.items()))), ["y", ""]))
    found = decode(PredictRequest, of_bytes(content))
    assert {key: value.content() for key, value in found.inputs.items()} == {"a": b"1", "b": b"2"}
    assert found.model_spec == spec and found.output_filter == ["y", ""]
    assert decode(ModelSpec, of_bytes(encode(ModelSpec(name="m")))).version is None
    assert decode(TensorShape, of_bytes(encode(TensorShape()))).sizes == ()


@pytest.mark.parametrize(
    "content",
    [
        b"\x0a",
        b"\x0a\x05abc",
        b"\x0b",
        b"\x02a",
        b"\x08" + b"\xff" * 11,
        written(1, b"\xff\xfe"),
        b"\x0d\x00\x00",
    ],
    ids=["no-length", "cut-off", "group", "number-0", "long-varint", "no-utf-8", "short-fixed32"],
)
def test_damaged_messages(content):
    """In memory and in a file."""
    for part in (of_bytes(content), of_file(io.BytesIO(content), len(content))):
        with pytest.raises(Malformed):
            decode(NodeDef, part)


def test_limits(monkeypatch):
    """Of the fields of a message, of the values of one field, and of what a budget allows."""
    with pytest.raises(Malformed, match="more than 1000 meta graphs"):
        decode(tensorflow_messages.SavedModel, of_bytes(written(2, b"") * 1001))
    monkeypatch.setattr("ckpt2saved.files.protobuf.wire.MOST_FIELDS", 10)
    assert MOST_FIELDS == 4000000 and len(list(fields(of_bytes(b"\x08\x00" * 10)))) == 10
    with pytest.raises(Malformed, match="a message of more than 10 fields"):
        list(fields(of_bytes(b"\x08\x00" * 11)))
    entry = written(1, b"k") + written(2, b"v")
    with pytest.raises(ValueError, match="more than 5 separate fields"):
        decode(PredictResponse, of_bytes(written(1, entry) * 2), Budget(most_fields=5))
