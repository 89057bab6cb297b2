"""The meta graph that a training wrote beside its checkpoint, prepared for the installed TensorFlow."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Collection, Dict, FrozenSet, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from ckpt2saved.errors import CheckpointError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.kinds import TRAINING_GRAPH, is_frozen_graph, other_than_meta_graph
from ckpt2saved.graph.contrib import register_ops
from ckpt2saved.graph.graph_def import devices_of, nodes_of
from ckpt2saved.graph.tf1 import op_def, tf

# The field of an AttrValue for each type of an attribute; for every list type it is `list`.
_KINDS = {
    "type": "type",
    "int": "i",
    "float": "f",
    "bool": "b",
    "string": "s",
    "shape": "shape",
    "tensor": "tensor",
    "func": "func",
}
_TEXTS = ("data_format", "frame_name", "shared_name", "container", "padding")  # attributes; others may be any bytes
_LOOKED_INTO = ("type", "shape", "tensor", "list", "s")  # kinds of values
_SHOWN = 20  # of what is damaged
_MOST_OF_FILE = 2**31 - 1  # bytes of a protobuf message
_MOST_BYTES = 4 << 30  # of a constant, which may be a single value that stands for all
_NODE = re.compile(r"[A-Za-z0-9._][A-Za-z0-9_.\\/>-]*\Z")
_OUTPUT = re.compile(r"([0-9]{1,9})?\Z")  # which output of a node an input is, as written behind the colon
_OUTPUT_IN_FUNCTION = re.compile(r"\w+(:[0-9]{1,9})?\Z")
# Colocation, and shapes as the training knew them: they refer to nodes that may be cut away, or are refused.
_TIES = ("_class", "_output_shapes")


@dataclass(frozen=True)
class MetaGraph:
    """A training graph without devices, colocations and attributes that this TensorFlow does not have."""

    path: Path
    graph_def: Any  # GraphDef
    collections: Mapping[str, Any]  # name -> CollectionDef
    tensorflow: str  # the version that wrote it
    unknown: Mapping[str, str]  # node -> its attribute that this TensorFlow does not have; such a node can't be served
    shapes: Mapping[str, Any]  # node -> TensorShapeProtos of its outputs, as the training knew them
    devices: Mapping[str, str]  # node -> the accelerator or other machine that it was pinned to
    restore_op: str = ""  # what its Saver runs to restore a checkpoint


def read_meta_graph(path: Path) -> MetaGraph:
    """Read a `.meta` file, binary or as text, or a frozen GraphDef; raises CheckpointError where that can't be done.

    `_output_shapes` is removed because TensorFlow 2 refuses that of an older FusedBatchNormGrad, and attributes that
    this TensorFlow does not have because it would refuse the whole graph for one such node.
    """
    meta_graph = _parsed(path)
    register_ops(node.op for node in nodes_of(meta_graph.graph_def))
    produced = {op.name: op for op in meta_graph.meta_info_def.stripped_op_list.op}
    unknown: Dict[str, str] = {}
    shapes: Dict[str, Any] = {}
    devices = devices_of(meta_graph.graph_def)
    known = _KnownAttributes()
    for node in meta_graph.graph_def.node:
        if "_output_shapes" in node.attr:  # it has the shapes of a queue's elements, which no shape function infers
            shapes[node.name] = list(node.attr["_output_shapes"].list.shape)
    for node in nodes_of(meta_graph.graph_def):
        node.device = ""
        for name in _TIES:
            node.attr.pop(name, None)
        for name in _take_unknown(node, known, produced):
            unknown[node.name] = f"this TensorFlow's {node.op} has no attribute {name!r}"
    written_by = meta_graph.meta_info_def.tensorflow_version
    collections = dict(meta_graph.collection_def)
    restore_op = meta_graph.saver_def.restore_op_name
    return MetaGraph(
        path=path,
        graph_def=meta_graph.graph_def,
        collections=collections,
        tensorflow=written_by,
        unknown=unknown,
        shapes=shapes,
        devices=devices,
        restore_op=restore_op,
    )


def _parsed(path: Path) -> Any:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise CheckpointError(f"{path}: this is a device or a pipe; expected a .meta file")
        with path.open("rb") as file:
            content = file.read(_MOST_OF_FILE + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: the graph can't be read: {error.strerror}") from error
    if len(content) > _MOST_OF_FILE:
        raise CheckpointError(f"{path}: larger than 2 GB, the limit of protobuf")
    meta_graph = tf.MetaGraphDef()
    found = "the meta graph has no nodes"
    try:
        (meta_graph.graph_def if is_frozen_graph(path) else meta_graph).ParseFromString(content)
    except DecodeError as error:
        try:
            text_format.Merge(content.decode("utf-8"), meta_graph)
        except (UnicodeDecodeError, text_format.ParseError):
            meta_graph.Clear()
            found = (
                f"this is not a meta graph, or it is damaged ({error}); expected the file that tf.train.Saver writes"
                " beside a checkpoint"
            )
    if not meta_graph.graph_def.node:
        other = other_than_meta_graph(path)
        raise CheckpointError(f"{path}: {other.instead_of(TRAINING_GRAPH) if other else found}")
    problems = _Damage().found_in(meta_graph.graph_def)
    if problems:
        more = ", of which these are the first" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            f"{path}: this meta graph is damaged, in {len(problems)} place(s){more}; copy it again, or use that of"
            " another step of the same training",
            problems[:_SHOWN],
        )
    return meta_graph


class _Damage:
    """Finds damage in a GraphDef, whose file has no checksum: content that TensorFlow would refuse."""

    def __init__(self) -> None:
        self.problems: List[Problem] = []
        self.types: Dict[int, bool] = {}  # DataType -> whether this TensorFlow has it
        self.ops: Dict[str, Optional[_Asked]] = {}  # by name; None where this TensorFlow has none

    def found_in(self, graph_def: Any) -> List[Problem]:
        """The problems, each with its node; [] where no damage is found."""
        self.look_at(graph_def.node, "", frozenset(), None)
        functions = Counter(function.signature.name for function in graph_def.library.function)
        for name, count in functions.items():
            if count > 1 or not name:
                self.add(f"function {name!a}", f"there are {count}")
        for function in graph_def.library.function:
            self.look_into(function)
        for gradient in graph_def.library.gradient:
            if gradient.function_name not in functions:
                self.add(f"gradient of {gradient.function_name!a}", "there is no such function")
        return self.problems

    def add(self, where: str, found: str) -> None:
        self.problems.append(Problem("damaged-graph", where, found))

    def look_into(self, function: Any) -> None:
        signature = function.signature
        where = f"function {signature.name}: "
        arguments = {argument.name for argument in signature.input_arg}
        for argument in list(signature.input_arg) + list(signature.output_arg):
            if not (argument.type_attr or argument.type_list_attr or self.is_type(argument.type)):
                found = f"data type {argument.type}, which this TensorFlow does not have"
                self.add(f"{where}argument {argument.name!a}", found)
        attributes = {attribute.name for attribute in signature.attr}
        names = self.look_at(function.node_def, where, arguments, attributes)
        for argument in signature.output_arg:
            source = function.ret.get(argument.name, "")
            if not _is_of(source, names, arguments, in_function=True):
                self.add(f"{where}result {argument.name!a}", f"there is no tensor {source!a}")
        for result, source in function.control_ret.items():
            if source not in names:
                self.add(f"{where}result {result!a}", f"there is no node {source!a}")

    def look_at(
        self, nodes: Sequence[Any], where: str, arguments: Collection[str], attributes: Optional[Collection[str]]
    ) -> Set[str]:
        """The names of the nodes of a graph, or of a function that has `attributes`."""
        names = {node.name for node in nodes}
        if len(names) != len(nodes):
            counts = Counter(node.name for node in nodes)
            for name, count in counts.items():
                if count > 1:
                    self.add(f"{where}{name}", f"this name is given {count} times")
        plain = frozenset() if where else names  # in a function an input names the output as well
        for node in nodes:
            wrong = [t for t in node.input if t not in plain and not _is_of(t, names, arguments, bool(where))]
            found = [f"input {tensor!a}: there is no such tensor" for tensor in wrong]
            if not _NODE.match(node.name) or not node.op:
                found.append(f"{node.op!a} is not a valid op, or the node's name is not valid")
            values = list(node.attr.items())
            kinds = {name: value.WhichOneof("value") for name, value in values}
            found += self.of_op(node, kinds, attributes)
            for name, value in values:
                if kinds[name] in _LOOKED_INTO:
                    text = self.of_attribute(name, kinds[name], value)
                    found += [f"attribute {name!a}: {text}"] if text else []
            for text in found:
                self.add(f"{where}{node.name!a}", text)
        return names

    def of_op(self, node: Any, kinds: Mapping[str, Any], attributes: Optional[Collection[str]]) -> List[str]:
        """Attributes and inputs that a node's op requires and the node lacks; [] where this TensorFlow lacks the op."""
        if node.op not in self.ops:
            self.ops[node.op] = _Asked.of(op_def(node.op))
        asked = self.ops[node.op]
        if asked is None:
            return []
        found = []
        for name, expected, is_needed in asked.attributes:
            kind = kinds.get(name)
            if kind == "placeholder" and node.attr[name].placeholder in (attributes or ()):
                continue  # the function's caller gives the value
            if kind != expected and (kind is not None or is_needed):
                found.append(f"attribute {name!a}: expected a value of type {asked.types[name]}")
        if not found and attributes is None:  # in a function one input may stand for several
            given = sum(1 for tensor in node.input if tensor[:1] != "^")
            count = asked.inputs
            if count is None:
                count = sum(_count(argument, node.attr, asked.op) for argument in asked.op.input_arg)
            if given != count:
                found.append(f"{given} inputs; its op {node.op} takes {count}")
        return found

    def of_attribute(self, name: str, kind: str, value: Any) -> str:
        """What is wrong with the value of an attribute; "" where nothing is found."""
        if kind == "type":
            return self.of_types([value.type])
        if kind == "shape":
            return _of_shapes([value.shape])
        if kind == "tensor":
            return self.of_types([value.tensor.dtype]) or _of_tensor(value.tensor)
        if kind == "list":
            return self.of_types(value.list.type) or _of_shapes(value.list.shape)
        return "" if name not in _TEXTS or _is_text(value.s) else "not valid UTF-8"

    def of_types(self, types: Sequence[int]) -> str:
        unknown = [number for number in types if not self.is_type(number)]
        return f"data type {unknown[0]}, which this TensorFlow does not have" if unknown else ""

    def is_type(self, number: int) -> bool:
        if number not in self.types:
            try:
                tf.as_dtype(number)
                self.types[number] = True
            except TypeError:
                self.types[number] = False
        return self.types[number]


@dataclass(frozen=True)
class _Asked:
    """What an op requires of its nodes."""

    op: Any  # OpDef
    attributes: Tuple[Tuple[str, str, bool], ...]  # name, the kind of its value, whether it is needed
    types: Mapping[str, str]
    inputs: Optional[int]  # None where attributes say how many there are

    @staticmethod
    def of(op: Any) -> Optional[_Asked]:
        """The requirements of an OpDef; None for None."""
        if op is None:
            return None
        attributes = [(one.name, _KINDS.get(one.type, "list"), not one.HasField("default_value")) for one in op.attr]
        varies = any(argument.number_attr or argument.type_list_attr for argument in op.input_arg)
        types = {one.name: one.type for one in op.attr}
        return _Asked(op=op, attributes=tuple(attributes), types=types, inputs=None if varies else len(op.input_arg))


def _count(argument: Any, attributes: Mapping[str, Any], op: Any) -> int:
    """The number of tensors of an input argument of an op."""
    name = argument.number_attr or argument.type_list_attr
    if not name:
        return 1
    value = attributes[name] if name in attributes else next(a.default_value for a in op.attr if a.name == name)
    return value.i if argument.number_attr else len(value.list.type)


def _is_of(tensor: str, names: Collection[str], arguments: Collection[str], in_function: bool) -> bool:
    """Whether an input is an output of a node or an argument."""
    if tensor.startswith("^"):
        return tensor[1:] in names or tensor[1:] in arguments
    node, _, output = tensor.partition(":")
    if in_function:
        return (node in names and bool(_OUTPUT_IN_FUNCTION.match(output))) or (node in arguments)
    return node in names and bool(_OUTPUT.match(output))


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _of_tensor(tensor: Any) -> str:
    """What is wrong with a constant: its values do not fit its shape, or it is too large."""
    count = 1
    for dimension in tensor.tensor_shape.dim:
        count *= dimension.size
    if count < 0 or tensor.tensor_shape.unknown_rank or any(d.size < 0 for d in tensor.tensor_shape.dim):
        return "a constant can't have an unknown size"
    dtype = tf.as_dtype(tensor.dtype)
    if dtype in (tf.resource, tf.variant):
        return ""
    size = count * np.dtype(dtype.as_numpy_dtype).itemsize
    if size > _MOST_BYTES:
        return f"a constant of {size >> 30} GB; at most {_MOST_BYTES >> 30} GB are read"
    if tensor.tensor_content and dtype != tf.string and len(tensor.tensor_content) != size:
        return f"{len(tensor.tensor_content)} bytes for a constant that takes {size}"
    for field, values in tensor.ListFields():
        if field.name.endswith("_val") and len(values) > count * (2 if "complex" in field.name else 1):
            return f"{len(values)} values for a constant of {count}"
    return ""


def _of_shapes(shapes: Sequence[Any]) -> str:
    sizes = [dimension.size for shape in shapes for dimension in shape.dim if dimension.size < -1]
    return f"{sizes[0]} is not a size" if sizes else ""


def _take_unknown(node: Any, known: _KnownAttributes, produced: Mapping[str, Any]) -> List[str]:
    """Remove the attributes that this TensorFlow's op does not have; returns those whose values were no defaults."""
    names = known.of(node.op)
    if names is None:  # a function, or an unknown op, which is refused where outputs depend on it
        return []
    strange = [name for name in node.attr if name not in names and not name.startswith("_")]
    if not strange:
        return []
    defaults = {a.name: a.default_value for a in produced[node.op].attr} if node.op in produced else {}
    telling = [name for name in strange if node.attr[name] != defaults.get(name)]
    for name in strange:
        del node.attr[name]
    return telling


class _KnownAttributes:
    """The attributes of this TensorFlow's ops, each looked up once."""

    def __init__(self) -> None:
        self._names: Dict[str, Optional[FrozenSet[str]]] = {}

    def of(self, op: str) -> Optional[FrozenSet[str]]:
        """Those of an op; None where there is no such op."""
        if op not in self._names:
            definition = op_def(op)
            self._names[op] = None if definition is None else frozenset(one.name for one in definition.attr)
        return self._names[op]
