"""The ops and attributes that a SavedModel's graph and functions use, read without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

from ckpt2saved.errors import NotServable, ServingError
from ckpt2saved.files.protobuf.messages import decode
from ckpt2saved.files.protobuf.tensorflow_messages import AttrValue, NodeDef
from ckpt2saved.files.protobuf.wire import Part, entry_of, of_bytes
from ckpt2saved.graph.registry import list_items
from ckpt2saved.graph.traversal import walk
from ckpt2saved.saved_model.loading import LEGACY_INIT_OP, MAIN_OP
from ckpt2saved.saved_model.reading import Function, MetaGraph, SavedModelFile, nodes_behind

_SMALL = 1 << 16  # bytes of an attribute that is looked up among those that were read: all but large constants
_LONGEST_CHOICE = 64  # bytes; texts that an op definition lists as allowed are words
_LONGEST_DEFAULT = 256


class Given(NamedTuple):
    """An attribute that a node sets."""

    name: str
    choices: Tuple[Union[int, str], ...]  # the DataTypes or texts in its value
    value: Optional[bytes]  # the AttrValue message; None for one that is too long to be a default


class Use(NamedTuple):
    """An op with the attributes that a node sets."""

    op: str
    attributes: FrozenSet[Given]


@dataclass(frozen=True)
class Demands:
    """All ops and attributes that a SavedModel's meta graph for serving uses."""

    directory: Path
    tensorflow: str  # the version that wrote it; "" if not recorded
    nodes: int  # in the graph, and in the functions that it calls
    uses: Mapping[Use, Tuple[str, ...]]  # the nodes with this use; function/node for those in functions
    on_gpus: Mapping[Use, Tuple[str, ...]]  # the same in functions that GPUs run in place of those that are called
    idle: FrozenSet[str]  # the nodes in functions that neither loading nor a request runs, such as those that save


def read_demands(version_dir: Path) -> Demands:
    """Return what the meta graph that TF Serving loads uses; raises ServingError, or NotServable if there is none."""
    saved_model = SavedModelFile(version_dir)
    with saved_model.reading("ops") as meta_graph:
        if meta_graph is not None:
            return _demands(version_dir, meta_graph)
        tags = saved_model.tags
    if not tags:
        raise ServingError(f"{saved_model.path}: no graph is in it: empty, or no SavedModel; export it again")
    raise NotServable(
        f"{saved_model.path}: no meta graph is tagged 'serve' and nothing else, so TF Serving loads none; the tags are:"
        f" {'; '.join(', '.join(sorted(found)) or 'none' for found in tags)}; export it with the tag serve"
    )


def _demands(version_dir: Path, meta_graph: MetaGraph) -> Demands:
    reader = _NodeReader()
    nodes = [reader.read(node) for node in meta_graph.nodes.values()]
    functions = {
        name: [reader.read(node) for node in function.nodes.values()] for name, function in meta_graph.functions.items()
    }
    # Servers check the nodes of functions that the graph calls, and no others.
    called = _called(nodes, functions)
    on_gpus = _called_on_gpus(called, meta_graph.functions, functions)
    needed = nodes_behind(meta_graph.nodes, _roots(meta_graph))
    busy = set(_called([node for node in nodes if node.name in needed], functions))
    idle = {name + "/" + node.name for name in called if name not in busy for node in functions[name]}
    return Demands(
        directory=version_dir,
        tensorflow=meta_graph.tensorflow,
        nodes=len(nodes) + sum(len(functions[name]) for name in called),
        uses=_uses([("", nodes), *[(name + "/", functions[name]) for name in called]], functions),
        on_gpus=_uses([(name + "/", functions[name]) for name in on_gpus], functions),
        idle=frozenset(idle),
    )


def _uses(
    parts: Iterable[Tuple[str, Sequence[_Node]]], functions: Mapping[str, Sequence[_Node]]
) -> Mapping[Use, Tuple[str, ...]]:
    """Return the nodes of each use, without calls of functions; each of the `parts` has a prefix for its nodes."""
    uses: Dict[Use, List[str]] = {}
    for prefix, nodes in parts:
        for node in nodes:
            if node.use.op not in functions:
                uses.setdefault(node.use, []).append(prefix + node.name)
    return {use: tuple(names) for use, names in uses.items()}


def _roots(meta_graph: MetaGraph) -> Set[str]:
    """Return the nodes that a server runs: outputs of signatures, restore and init nodes."""
    tensors = [spec.tensor for signature in meta_graph.signatures.values() for spec in signature.outputs]
    tensors.append(meta_graph.restore_op)
    for name in (MAIN_OP, LEGACY_INIT_OP):
        tensors += meta_graph.collections.get(name, ())
    return {tensor.partition(":")[0] for tensor in tensors}


def _called(nodes: Sequence[_Node], functions: Mapping[str, Sequence[_Node]]) -> List[str]:
    """Return the names of the functions that nodes call, directly or indirectly."""

    def called_by(callers: Sequence[_Node]) -> List[str]:
        return [name for node in callers for name in (*node.calls, node.use.op) if name in functions]

    return list(walk(called_by(nodes), lambda name: called_by(functions[name])))


def _called_on_gpus(
    called: Sequence[str], definitions: Mapping[str, Function], functions: Mapping[str, Sequence[_Node]]
) -> List[str]:
    """Return the names of the functions that GPUs run in place of those that are `called`, and which these call."""
    implemented = {definitions[name].implements for name in called} - {""}
    first = [name for name, one in definitions.items() if one.prefers_gpu and one.implements in implemented]
    found = walk(first, lambda name: _called(functions[name], functions))
    return [name for name in found if name not in called]


class _Node(NamedTuple):
    name: str
    use: Use
    calls: Tuple[str, ...]  # functions


class _NodeReader:
    """Reads nodes; parsed attributes are cached, since many nodes share them."""

    def __init__(self) -> None:
        self._known: Dict[bytes, Tuple[Given, Tuple[str, ...]]] = {}

    def read(self, node: NodeDef) -> _Node:
        attributes = [self._attribute(entry) for entry in node.attribute_entries()]
        # Attributes that begin with an underscore are internal, and no server checks them.
        seen = [one for one in attributes if not one[0].name.startswith("_")]
        use = Use(node.op, frozenset(given for given, _ in seen))
        return _Node(node.name, use, tuple(called for _, functions in seen for called in functions))

    def _attribute(self, entry: Part) -> Tuple[Given, Tuple[str, ...]]:
        if entry.size > _SMALL:
            return _parsed(entry)
        content = entry.content()
        if content not in self._known:
            self._known[content] = _parsed(of_bytes(content))
        return self._known[content]


def choices_of_default(value: bytes) -> Tuple[Union[int, str], ...]:
    """Return the DataTypes or texts in an AttrValue message."""
    return _choices(decode(AttrValue, of_bytes(value)))


def _parsed(entry: Part) -> Tuple[Given, Tuple[str, ...]]:
    """Parse an entry of a node's attribute map; return it with the function names in its value."""
    name, part = entry_of(entry)
    value = decode(AttrValue, part)
    content = part.content() if part.size <= _LONGEST_DEFAULT else None
    return Given(name, _choices(value), content), value.functions


def _choices(value: AttrValue) -> Tuple[Union[int, str], ...]:
    found: Tuple[Union[int, str], ...] = () if value.type is None else (value.type,)
    if value.s is not None and value.s.size <= _LONGEST_CHOICE:
        found += (value.s.content().decode("utf-8", "replace"),)
    return found + list_items(value)
