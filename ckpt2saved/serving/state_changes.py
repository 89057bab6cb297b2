"""Which signatures of a SavedModel change what it keeps between requests, read without TensorFlow."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Dict, FrozenSet, Iterable, List, Mapping, Set, Tuple

from ckpt2saved.errors import ServingError
from ckpt2saved.saved_model.meta_graph import find_served
from ckpt2saved.serving.saved_signatures import read_signatures
from ckpt2saved.wire import Malformed, Span, each, fields, text

# Fields of the messages MetaGraphDef, GraphDef, FunctionDefLibrary, FunctionDef, OpDef, NodeDef, AttrValue and its
# ListValue, NameAttrList.
_GRAPH = 2
_NODE, _LIBRARY = 1, 2
_FUNCTION = 1
_FUNCTION_SIGNATURE, _FUNCTION_NODE = 1, 3
_NAME, _OP, _INPUT, _ATTR = 1, 2, 3, 5
_VALUE = 2  # of a map's entry
_LIST, _FUNC, _LISTED_FUNC, _FUNC_NAME = 1, 10, 9, 1

_SMALL = 1 << 16  # bytes of a node that are read at once: all but those with a constant in them

# What gives a variable, a table or a queue another content. A TensorArray lasts no longer than the request.
_CHANGES = re.compile(
    r"(Assign(Add|Sub)?|Assign(Add|Sub)?VariableOp|(Resource)?CountUpTo|(Resource)?(Sparse)?Apply\w+"
    r"|(Resource)?Scatter(Nd)?(Update|Add|Sub|Mul|Div|Min|Max)|(Resource)?StridedSliceAssign"
    r"|LookupTable(Insert|Import|Remove)(V2)?"
    r"|(Queue|Barrier)(Enqueue|Dequeue|Insert|Take)\w*|IteratorGetNext\w*|(Ordered)?Map(Stage|Unstage)\w*"
    r"|(Un)?[Ss]tage|Stack(Push|Pop)(V2)?)\Z"
)


@dataclass
class _Node:
    name: str = ""
    op: str = ""
    inputs: List[str] = field(default_factory=list)  # nodes
    calls: List[str] = field(default_factory=list)  # functions


def changing_signatures(version_dir: Path) -> Dict[str, str]:
    """Signature -> how its answers depend on what requests change: a variable, a table or a queue.

    Raises ServingError where the graph can't be read.
    """
    path = version_dir / "saved_model.pb"
    signatures = read_signatures(version_dir)
    try:
        with path.open("rb") as file:
            graph = _Graph(file, path.stat().st_size)
    except (Malformed, OSError) as error:
        raise ServingError("{}: its graph can't be read: cut off, or no SavedModel".format(path)) from error
    behind = {name: graph.behind([tensor.name for tensor in s.outputs]) for name, s in signatures.items()}
    changes = {name: [change for node in nodes for change in graph.changes(node)] for name, nodes in behind.items()}
    found = {name: "each request changes it: {}".format(min(made)[0]) for name, made in changes.items() if made}
    for name, nodes in behind.items():
        read = {node.name for node in nodes}
        others = {other: min(state & read) for other, made in changes.items() for _, state in made if state & read}
        if name not in found and others:
            text = "requests for {} change it: {}"
            found[name] = text.format(", ".join(sorted(others)), min(others.values()))
    return found


def why_different(changes: Mapping[str, str], signature: str) -> str:
    """Why two answers to one request differ."""
    return "the graph keeps state; {}".format(changes[signature]) if signature in changes else "random ops?"


class _Graph:
    """The nodes of the meta graph that TF Serving would load, and its functions."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._nodes = {}  # type: Dict[str, _Node]
        self._functions = {}  # type: Dict[str, List[_Node]]
        served = find_served(file, size).served
        if served is not None:
            for graph in each(file, served, _GRAPH):
                self._nodes.update((node.name, node) for node in _nodes(file, graph, _NODE))
                self._functions.update(_functions(file, graph))

    def behind(self, tensors: Iterable[str]) -> List[_Node]:
        """The nodes that run when these tensors are asked for; control inputs count."""
        found, ahead = {}, [tensor.partition(":")[0] for tensor in tensors]  # type: Dict[str, _Node], List[str]
        while ahead:
            name = ahead.pop()
            if name in self._nodes and name not in found:
                found[name] = self._nodes[name]
                ahead += found[name].inputs
        return list(found.values())

    def changes(self, node: _Node) -> List[Tuple[str, FrozenSet[str]]]:
        """What a node changes: the op that does it, and the nodes that may hold what is changed."""
        if _CHANGES.match(node.op):
            return [("{} ({})".format(node.name, node.op), frozenset(node.inputs[:1]))]
        return [(text, frozenset(node.inputs)) for text in self._changes_inside(node, set())]

    def _changes_inside(self, node: _Node, called: Set[str]) -> List[str]:
        found = []  # type: List[str]
        for name in node.calls + [node.op]:
            if name in self._functions and name not in called:
                called.add(name)
                for inner in self._functions[name]:
                    if _CHANGES.match(inner.op):
                        found.append("{}/{} ({})".format(name, inner.name, inner.op))
                    found += self._changes_inside(inner, called)
        return found


def _functions(file: BinaryIO, graph: Span) -> Dict[str, List[_Node]]:
    found = {}
    for library in each(file, graph, _LIBRARY):
        for function in each(file, library, _FUNCTION):
            signatures = each(file, function, _FUNCTION_SIGNATURE)
            name = "".join(text(file, at) for one in signatures for at in each(file, one, _NAME))
            found[name] = _nodes(file, function, _FUNCTION_NODE)
    return found


def _nodes(file: BinaryIO, message: Span, number: int) -> List[_Node]:
    return [_node(*_small(file, span)) for span in each(file, message, number)]


def _small(file: BinaryIO, span: Span) -> Tuple[BinaryIO, Span]:
    size = span[1] - span[0]
    if size > _SMALL:
        return file, span
    file.seek(span[0])
    return io.BytesIO(file.read(size)), (0, size)


def _node(file: BinaryIO, span: Span) -> _Node:
    node = _Node()
    for number, at in fields(file, *span):
        if number == _NAME:
            node.name = text(file, at)
        elif number == _OP:
            node.op = text(file, at)
        elif number == _INPUT:
            node.inputs.append(text(file, at).lstrip("^").partition(":")[0])
        elif number == _ATTR:
            for value in each(file, at, _VALUE):
                named = list(each(file, value, _FUNC))
                named += [one for listed in each(file, value, _LIST) for one in each(file, listed, _LISTED_FUNC)]
                node.calls += [text(file, at) for one in named for at in each(file, one, _FUNC_NAME)]
    return node
