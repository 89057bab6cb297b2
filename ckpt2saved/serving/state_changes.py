"""Which signatures of a SavedModel change what it keeps between requests, read without TensorFlow."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Dict, Iterable, List, Mapping, Optional, Set, Tuple

from ckpt2saved.errors import ServingError
from ckpt2saved.serving.saved_signatures import read_signatures, served_meta_graphs
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
    """Signature -> a node that changes a variable, table or queue when the signature is asked, and its op.

    Raises ServingError where the graph can't be read.
    """
    path = version_dir / "saved_model.pb"
    signatures = read_signatures(version_dir)
    try:
        with path.open("rb") as file:
            nodes, functions = {}, {}  # type: Dict[str, _Node], Dict[str, List[_Node]]
            for meta_graph in served_meta_graphs(file, path.stat().st_size):
                for graph in each(file, meta_graph, _GRAPH):
                    nodes.update((node.name, node) for node in _nodes(file, graph, _NODE))
                    functions.update(_functions(file, graph))
    except (Malformed, OSError) as error:
        raise ServingError("{}: its graph can't be read: cut off, or no SavedModel".format(path)) from error
    found = {}
    for name, signature in signatures.items():
        change = _change(nodes, functions, [tensor.name for tensor in signature.outputs])
        if change:
            found[name] = change
    return found


def why_different(changes: Mapping[str, str], signature: str) -> str:
    """Why two answers to one request differ."""
    if signature in changes:
        return "the graph keeps state, which each request changes: {}".format(changes[signature])
    return "random ops?"


def _change(nodes: Mapping[str, _Node], functions: Mapping[str, List[_Node]], tensors: Iterable[str]) -> Optional[str]:
    """The first node behind the tensors that changes something; control inputs count."""
    seen, called = set(), set()  # type: Set[str], Set[str]
    ahead = [tensor.partition(":")[0] for tensor in tensors]
    found = []
    while ahead:
        name = ahead.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        node = nodes[name]
        ahead += node.inputs
        found += _changes_of(node, "", functions, called)
    return min(found) if found else None


def _changes_of(node: _Node, prefix: str, functions: Mapping[str, List[_Node]], called: Set[str]) -> List[str]:
    if _CHANGES.match(node.op):
        return ["{}{} ({})".format(prefix, node.name, node.op)]
    found = []  # type: List[str]
    for name in node.calls + [node.op]:
        if name in functions and name not in called:
            called.add(name)
            for inner in functions[name]:
                found += _changes_of(inner, name + "/", functions, called)
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
