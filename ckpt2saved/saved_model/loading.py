"""The effects of loading a graph: variables restored, tables filled, files read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ckpt2saved.files.protobuf.messages import decode
from ckpt2saved.files.protobuf.tensorflow_messages import NodeDef, Strings
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import (
    ASSIGNS_VALUE,
    CALLS,
    CASES,
    CONDITIONALS,
    ENTERS,
    IDENTITIES,
    LOOPS,
    SWITCHES,
    TABLES,
    VARIABLES,
)
from ckpt2saved.saved_model.reading import MetaGraph, nodes_behind

INIT_SIGNATURE = "__saved_model_init_op"
MAIN_OP, LEGACY_INIT_OP = "saved_model_main_op", "legacy_init_op"

# Which input of an op that calls functions is the function's first argument.
_CALLS = dict.fromkeys(CALLS + LOOPS, 0)
_CALLS.update(dict.fromkeys(CONDITIONALS + CASES + ("RemoteCall",), 1))
_PASSED_ON = IDENTITIES + ENTERS + SWITCHES + ("StopGradient", "PlaceholderWithDefault")
_FILLS_TABLE = (
    *("InitializeTable", "InitializeTableV2", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2"),
    *("InitializeTableFromDataset", "LookupTableImport", "LookupTableImportV2"),
    *("LookupTableInsert", "LookupTableInsertV2"),
)
_ASKS_TABLE = ("LookupTableFind", "LookupTableFindV2")
# Which input of an op is the path of the file that it reads.
_READS_FILE = {"InitializeTableFromTextFile": 1, "InitializeTableFromTextFileV2": 1, "ReadFile": 0}
_READS_FILE.update({"TextLineDataset": 0, "TFRecordDataset": 0, "TFRecordDatasetV2": 0})

_MOST_STEPS = 10000  # from a tensor to where it comes from
_MOST_SCOPES = 5000  # calls of functions that are looked into


class Restored(NamedTuple):
    """A tensor that the graph restores from the checkpoint."""

    name: str
    data_type: int  # TensorFlow's DataType; 0 where it is not known
    shape: Optional[Tuple[int, ...]]  # that its variable has, -1 for open sizes; None where it is not known


@dataclass
class Effects:
    """The effects of running a set of nodes; tables and variables by key."""

    filled: Set[str] = field(default_factory=set)
    fills_unknown: bool = False  # an unknown table is filled
    asked: Dict[str, str] = field(default_factory=dict)  # key -> name of the table
    touched: Set[str] = field(default_factory=set)  # variables
    variables: Dict[str, str] = field(default_factory=dict)  # key -> name, of those that are taken as an input
    restored: Dict[str, Restored] = field(default_factory=dict)
    files: Dict[str, str] = field(default_factory=dict)  # a constant path -> the node that reads it
    is_complete: bool = True  # False where functions were left out, being too many


class _Scope:
    """The graph, or a function as called by one node."""

    def __init__(
        self,
        nodes: Mapping[str, NodeDef],
        arguments: Dict[str, str],
        caller: Optional[_Scope],
        functions: Tuple[str, ...] = (),
    ) -> None:
        self.nodes = nodes
        self.arguments = arguments  # name -> the caller's input
        self.caller = caller
        self.functions = functions  # that are being called


class _Origin(NamedTuple):
    node: NodeDef
    port: int
    scope: _Scope


def init_op(meta_graph: MetaGraph) -> Tuple[str, ...]:
    """Return the nodes that TF Serving runs after restoring the variables, found as its loader does."""
    signature = meta_graph.signatures.get(INIT_SIGNATURE)
    if signature is not None and signature.outputs:
        return tuple(bound.tensor for bound in signature.outputs if bound.key == INIT_SIGNATURE)
    for key in (MAIN_OP, LEGACY_INIT_OP):
        if key in meta_graph.collections:
            return meta_graph.collections[key]
    return ()


def follow(meta_graph: MetaGraph, roots: Sequence[str]) -> Effects:
    """Return the effects of running these nodes or tensors, including the functions that they call."""
    return _Follower(meta_graph).follow(roots)


class _Follower:
    def __init__(self, meta_graph: MetaGraph) -> None:
        self._meta_graph = meta_graph
        self._assets = {node_name(asset.tensor) for asset in meta_graph.assets}
        self._found = Effects()
        self._shapes: Dict[Tuple[int, str, int], Optional[Tuple[int, ...]]] = {}
        self._restores: List[Tuple[_Scope, NodeDef]] = []

    def follow(self, roots: Sequence[str]) -> Effects:
        graph = _Scope(self._meta_graph.nodes, {}, None)
        left = [(graph, list(roots))]
        count = 0
        while left:
            scope, names = left.pop()
            count += 1
            if count > _MOST_SCOPES:
                self._found.is_complete = False
                break
            for node in nodes_behind(scope.nodes, names).values():
                self._look_at(node, scope)
                for name in self._meta_graph.called(node):
                    inner = self._inside(node, name, scope)
                    if inner is not None:
                        left.append((inner, list(inner.nodes)))
        for scope, node in self._restores:
            self._restore(scope, node)
        return self._found

    def _inside(self, node: NodeDef, name: str, scope: _Scope) -> Optional[_Scope]:
        if name in scope.functions:
            return None  # it calls itself
        function = self._meta_graph.functions[name]
        first = _CALLS.get(node.op, 0 if node.op == name else None)
        arguments: Dict[str, str] = {}
        if first is not None:
            data = [one for one in node.inputs if not one.startswith("^")]
            arguments = dict(zip(function.arguments, data[first:]))
        return _Scope(function.nodes, arguments, scope, scope.functions + (name,))

    def _look_at(self, node: NodeDef, scope: _Scope) -> None:
        if node.op in _FILLS_TABLE:
            table = self._origin(scope, node, 0)
            if table is None or table.node.op not in TABLES:
                self._found.fills_unknown = True
            else:
                self._found.filled.add(_key(table.node))
        if node.op in _ASKS_TABLE:
            table = self._origin(scope, node, 0)
            if table is not None and table.node.op in TABLES:
                self._found.asked[_key(table.node)] = table.node.name
        if node.op in _READS_FILE:
            path = self._origin(scope, node, _READS_FILE[node.op])
            if path is not None and path.node.op == "Const" and not self._is_asset(path):
                for name in _strings(path.node):
                    self._found.files[name] = node.name
        if node.op == "RestoreV2":
            self._restores.append((scope, node))
        for number in range(len(node.inputs)):
            origin = self._origin(scope, node, number)
            if origin is not None and origin.node.op in VARIABLES:
                key = _key(origin.node)
                if node.op in ASSIGNS_VALUE:
                    self._found.touched.add(key)
                    self._assign(scope, node, origin.node)
                elif node.op not in _PASSED_ON:
                    self._found.variables.setdefault(key, origin.node.name)

    def _is_asset(self, origin: _Origin) -> bool:
        return origin.scope.caller is None and origin.node.name in self._assets

    def _assign(self, scope: _Scope, node: NodeDef, variable: NodeDef) -> None:
        value = self._origin(scope, node, 1)
        if value is not None and value.node.op == "RestoreV2":
            shape = variable.attribute("shape")
            sizes = None if shape is None or shape.shape is None else shape.shape.sizes
            if node.op == "AssignVariableOp" or _validates_shape(node):
                self._shapes[id(value.scope), value.node.name, value.port] = sizes

    def _restore(self, scope: _Scope, node: NodeDef) -> None:
        origins = self._origin(scope, node, 1), self._origin(scope, node, 2)
        if any(origin is None or origin.node.op != "Const" for origin in origins):
            self._found.is_complete = False
            return
        names, slices = (_strings(origin.node) for origin in origins if origin is not None)
        types = _types(node)
        for number, name in enumerate(names):
            shape = self._shapes.get((id(scope), node.name, number))
            given = slices[number] if number < len(slices) else ""
            if given:
                shape = _whole_shape(given)
            data_type = types[number] if number < len(types) else 0
            self._found.restored[name] = Restored(name, data_type, shape)

    def _origin(self, scope: _Scope, node: NodeDef, number: int) -> Optional[_Origin]:
        """Return the source node of an input, through ops that pass it on; None if unknown."""
        if number >= len(node.inputs):
            return None
        tensor = node.inputs[number]
        for _ in range(_MOST_STEPS):
            if tensor.startswith("^"):
                return None
            name, port = _parsed(tensor)
            if scope.caller is not None and name not in scope.nodes:
                if name not in scope.arguments:
                    return None
                tensor, scope = scope.arguments[name], scope.caller
                continue
            found = scope.nodes.get(name)
            if found is None:
                return None
            if scope.caller is None and name in self._assets:
                return _Origin(found, port, scope)
            if found.op in _PASSED_ON and found.inputs:
                tensor = found.inputs[0]
            elif found.op == "IdentityN" and port < len(found.inputs):
                tensor = found.inputs[port]
            else:
                return _Origin(found, port, scope)
        return None


def _parsed(tensor: str) -> Tuple[str, int]:
    """Split a tensor name into node and output number: `node:1`, or `node:output:1` in functions."""
    parts = tensor.split(":")
    port = parts[-1] if len(parts) > 1 else "0"
    return parts[0], int(port) if port.isdigit() and len(port) < 9 else 0


def _key(node: NodeDef) -> str:
    """Return a key that nodes with the same resource share."""
    shared = node.attribute("shared_name")
    if shared is not None and shared.s is not None and shared.s.size:
        return "shared " + shared.s.content().decode("utf-8", "replace")
    return "node " + node.name


def _strings(node: NodeDef) -> List[str]:
    """Return the strings of a Const that are stored as such."""
    value = node.attribute("value")
    if value is None or value.tensor is None:
        return []
    return [one.decode("utf-8", "surrogateescape") for one in decode(Strings, value.tensor).string_val]


def _types(node: NodeDef) -> List[int]:
    value = node.attribute("dtypes")
    return [] if value is None or value.list is None else value.list.type


def _validates_shape(node: NodeDef) -> bool:
    value = node.attribute("validate_shape")
    return value is None or value.b != 0


def _whole_shape(given: str) -> Optional[Tuple[int, ...]]:
    """Return (20, 30) for "20 30 0,10:-", the shape of the tensor of which a slice is restored."""
    sizes = given.split(" ")[:-1]
    return tuple(int(size) for size in sizes) if all(size.isdigit() for size in sizes) else None
