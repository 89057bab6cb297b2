"""What a SavedModel asks of a server: the ops and attributes of its graph and functions, read without TensorFlow."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

from ckpt2saved.errors import NotServable, ServingError
from ckpt2saved.files.reading import open_file, size_of
from ckpt2saved.graph.registry import list_items
from ckpt2saved.protobuf.wire import Malformed, Span, each, fields, in_memory, integer, mapped, text
from ckpt2saved.saved_model.graph_facts import LARGEST_PROTOBUF
from ckpt2saved.saved_model.meta_graph import find_served

# Fields of the messages MetaGraphDef, MetaInfoDef, SaverDef, CollectionDef and its NodeList, SignatureDef,
# TensorInfo, GraphDef, FunctionDefLibrary, FunctionDef, OpDef, NodeDef, AttrValue and its ListValue, NameAttrList.
_META_INFO, _GRAPH, _SAVER, _COLLECTION, _SIGNATURE = 1, 2, 3, 4, 5
_TENSORFLOW = 5
_RESTORE_OP = 3
_NODE_LIST, _LISTED = 1, 1
_OUTPUT = 2
_TENSOR_NAME = 1
_NODE, _LIBRARY = 1, 2
_FUNCTION = 1
_FUNCTION_SIGNATURE, _FUNCTION_NODE = 1, 3
_OP_NAME = 1
_NODE_NAME, _NODE_OP, _NODE_INPUT, _NODE_ATTR = 1, 2, 3, 5
_LIST, _TEXT, _TYPE, _FUNC, _LISTED_FUNC = 1, 2, 6, 10, 9
_FUNC_NAME = 1
_KEY, _VALUE = 1, 2  # of a map's entry

# What a server runs when it has loaded a graph: tensorflow/cc/saved_model/loader.cc.
_RUN_AFTER_LOADING = ("saved_model_main_op", "legacy_init_op")

_SMALL = 1 << 16  # bytes of a node, or of an attribute, that are read at once: all but those with a constant in them
_LONGEST_CHOICE = 64  # bytes; texts that an op definition lists as allowed are words
_LONGEST_DEFAULT = 256


class Given(NamedTuple):
    """An attribute as a node gives it."""

    name: str
    choices: Tuple[Union[int, str], ...]  # the DataTypes or texts in its value
    value: Optional[bytes]  # the AttrValue message; None for one that is too long to be a default


class Use(NamedTuple):
    """An op with the attributes that a node gives it."""

    op: str
    attributes: FrozenSet[Given]


@dataclass(frozen=True)
class Demands:
    """All that a SavedModel's meta graph for serving asks for."""

    directory: Path
    tensorflow: str  # that wrote it, by its own account; "" if it does not say
    nodes: int  # in the graph, and in the functions that it calls
    uses: Mapping[Use, Tuple[str, ...]]  # the nodes with this use; function/node for those in functions
    idle: FrozenSet[str]  # the nodes in functions that neither loading nor a request runs, such as those that save


def read_demands(version_dir: Path) -> Demands:
    """What the meta graph that TF Serving would load asks for; raises ServingError, or NotServable if there is none."""
    path = version_dir / "saved_model.pb"
    try:
        with open_file(path, LARGEST_PROTOBUF) as file:
            tagged = find_served(file, size_of(file))
            if tagged.served is not None:
                return _demands(version_dir, file, tagged.served)
    except FileNotFoundError:
        raise ServingError(
            f"{path}: missing, and the graph of a saved_model.pbtxt is not read here; publish the SavedModel in its"
            " binary form"
        ) from None
    except (Malformed, OSError) as error:
        reason = getattr(error, "strerror", None) or "cut off, or no SavedModel"
        raise ServingError(f"{path}: its graph can't be read: {reason}; export it again") from error
    if not tagged.tags:
        raise ServingError(f"{path}: no graph is in it: empty, or no SavedModel; export it again")
    raise NotServable(
        f"{path}: no meta graph is tagged 'serve' and nothing else, so TF Serving loads none; the tags are:"
        f" {'; '.join((', '.join(sorted(found)) or 'none' for found in tagged.tags))}; export it with the tag serve"
    )


def _demands(version_dir: Path, file: BinaryIO, meta_graph: Span) -> Demands:
    reader = _NodeReader()
    nodes: List[_Node] = []
    functions: Dict[str, List[_Node]] = {}
    for graph in each(file, meta_graph, _GRAPH):
        nodes += [reader.read(file, node) for node in each(file, graph, _NODE)]
        for library in each(file, graph, _LIBRARY):
            for function in each(file, library, _FUNCTION):
                signatures = each(file, function, _FUNCTION_SIGNATURE)
                name = "".join(text(file, at) for one in signatures for at in each(file, one, _OP_NAME))
                functions[name] = [reader.read(file, node) for node in each(file, function, _FUNCTION_NODE)]
    # Servers look at a function's nodes where something in the graph calls it, and leave others alone.
    called = _called(nodes, functions)
    uses: Dict[Use, List[str]] = {}
    for prefix, members in [("", nodes)] + [(name + "/", functions[name]) for name in called]:
        for node in members:
            if node.use.op not in functions:
                uses.setdefault(node.use, []).append(prefix + node.name)
    needed = _needed(nodes, _roots(file, meta_graph))
    busy = set(_called([node for node in nodes if node.name in needed], functions))
    idle = {name + "/" + node.name for name in called if name not in busy for node in functions[name]}
    return Demands(
        version_dir,
        "".join(_texts(file, meta_graph, _TENSORFLOW)),
        len(nodes) + sum(len(functions[name]) for name in called),
        {use: tuple(names) for use, names in uses.items()},
        frozenset(idle),
    )


def _roots(file: BinaryIO, meta_graph: Span) -> Set[str]:
    """The nodes that a server asks for: what the signatures answer, what restores and what initializes."""
    tensors: List[str] = []
    for signature in mapped(file, meta_graph, _SIGNATURE):
        for output in mapped(file, signature[1], _OUTPUT):
            tensors += [text(file, at) for at in each(file, output[1], _TENSOR_NAME)]
    for saver in each(file, meta_graph, _SAVER):
        tensors += [text(file, at) for at in each(file, saver, _RESTORE_OP)]
    for name, collection in mapped(file, meta_graph, _COLLECTION):
        if name in _RUN_AFTER_LOADING:
            for listed in each(file, collection, _NODE_LIST):
                tensors += [text(file, at) for at in each(file, listed, _LISTED)]
    return {tensor.partition(":")[0] for tensor in tensors}


def _needed(nodes: Sequence[_Node], roots: Set[str]) -> Set[str]:
    """The names of the nodes that these are computed from, and their own."""
    inputs = {node.name: node.inputs for node in nodes}
    found: Set[str] = set()
    left: List[str] = [root for root in roots if root in inputs]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [one for one in inputs.get(name, ()) if one not in found]
    return found


def _called(nodes: Sequence[_Node], functions: Mapping[str, Sequence[_Node]]) -> List[str]:
    """The names of the functions that nodes call, directly or through other functions."""
    found: List[str] = []
    left: List[_Node] = list(nodes)
    seen: Set[str] = set()
    while left:
        node = left.pop()
        for name in node.calls + (node.use.op,):
            if name in functions and name not in seen:
                seen.add(name)
                found.append(name)
                left += functions[name]
    return found


def _texts(file: BinaryIO, meta_graph: Span, number: int) -> List[str]:
    return [text(file, at) for info in each(file, meta_graph, _META_INFO) for at in each(file, info, number)]


class _Node(NamedTuple):
    name: str
    use: Use
    calls: Tuple[str, ...]  # functions
    inputs: Tuple[str, ...]  # nodes


class _NodeReader:
    """Reads nodes, most of which share their attributes with many others."""

    def __init__(self) -> None:
        self._known: Dict[bytes, Tuple[Given, Tuple[str, ...]]] = {}

    def read(self, file: BinaryIO, span: Span) -> _Node:
        file, span = in_memory(file, span)
        name, op = "", ""
        attributes: List[Tuple[Given, Tuple[str, ...]]] = []
        inputs: List[str] = []
        for number, at in fields(file, *span):
            if number == _NODE_NAME:
                name = text(file, at)
            elif number == _NODE_OP:
                op = text(file, at)
            elif number == _NODE_INPUT:
                inputs.append(text(file, at).lstrip("^").partition(":")[0])
            elif number == _NODE_ATTR:
                attributes.append(self._attribute(file, at))
        # A server does not look at those with an underscore in front: they are for whoever put them there.
        seen = [one for one in attributes if not one[0].name.startswith("_")]
        use = Use(op, frozenset(given for given, _ in seen))
        return _Node(name, use, tuple(called for _, functions in seen for called in functions), tuple(inputs))

    def _attribute(self, file: BinaryIO, span: Span) -> Tuple[Given, Tuple[str, ...]]:
        if span[1] - span[0] > _SMALL:
            return _parsed(file, span)
        file.seek(span[0])
        content = file.read(span[1] - span[0])
        if content not in self._known:
            self._known[content] = _parsed(io.BytesIO(content), (0, len(content)))
        return self._known[content]


def _parsed(file: BinaryIO, entry: Span) -> Tuple[Given, Tuple[str, ...]]:
    """An entry of a node's map of attributes, and the names of the functions in its value."""
    parts = dict(fields(file, *entry))
    value = parts.get(_VALUE, (entry[1], entry[1]))
    functions = list(each(file, value, _FUNC))
    functions += [at for found in each(file, value, _LIST) for at in each(file, found, _LISTED_FUNC)]
    names = tuple(text(file, name) for one in functions for name in each(file, one, _FUNC_NAME))
    content: Optional[bytes] = None
    if value[1] - value[0] <= _LONGEST_DEFAULT:
        file.seek(value[0])
        content = file.read(value[1] - value[0])
    return Given(text(file, parts[_KEY]) if _KEY in parts else "", tuple(_choices(file, value)), content), names


def _choices(file: BinaryIO, value: Span) -> Iterator[Union[int, str]]:
    for number, at in fields(file, *value):
        if number == _TYPE:
            yield integer(file, at)
        elif number == _TEXT and at[1] - at[0] <= _LONGEST_CHOICE:
            file.seek(at[0])
            yield file.read(at[1] - at[0]).decode("utf-8", "replace")
    yield from list_items(file, value)
