"""Find what the Saver of a graph restores other than variables: lookup tables, and state that cannot be served.

A mutable lookup table in the checkpoint is restored by the restore op of the SavedModel from the variables files, which
TF Serving runs first, so that tables of any size are possible. Nodes that insert entries before training are left out:
a restored table has only the entries of the checkpoint. The parity check fills tables from the tensors that the Saver
*saves*, the SavedModel from those that it *restores*, so that a mistake in one of them shows as a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Collection, Dict, Iterator, List, Mapping, Optional, Set, Tuple

from ckpt2saved.checkpoint.contents import Checkpoint, SavedTable
from ckpt2saved.checkpoint.variables import imported
from ckpt2saved.errors import CheckpointError, NotServable
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph_def import constant_texts
from ckpt2saved.graph.meta_graph import MetaGraph
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import ASSIGNS_VALUE, ENTERS, IDENTITIES, MUTABLE_TABLES, VARIABLES
from ckpt2saved.graph.tf1 import op_def, tf
from ckpt2saved.graph.traversal import last, reach, reversed_edges

_RESTORES = ("RestoreV2", "Restore", "RestoreSlice")
_IMPORTS = ("LookupTableImport", "LookupTableImportV2")
_EXPORTS = ("LookupTableExport", "LookupTableExportV2")
_SAVES = {"Save": 2, "SaveV2": 3, "SaveSlices": 3}  # op -> which of its inputs is the first tensor
_STEPS = ("Identity", "RefIdentity", "Reshape", "Snapshot", "StopGradient")


@dataclass(frozen=True)
class Restored:
    """The lookup tables that the checkpoint fills, with the tensors that the graph restores and those that it saves."""

    tables: Mapping[str, SavedTable]
    as_saved: Mapping[str, SavedTable]

    def bound(
        self, checkpoint: Checkpoint, graph: tf.Graph, rename: Callable[[str], str]
    ) -> Tuple[Dict[str, SavedTable], Tuple[Import, ...]]:
        """The tables with their names in the checkpoint, and the nodes, added to `graph`, that fill them as saved.

        Raises CheckpointError with all missing or wrong tensors.
        """
        tables = _checked(checkpoint, graph, self.tables, rename)
        known = {name: saved for name, saved in self.as_saved.items() if set(saved.names) <= set(checkpoint.shapes)}
        return tables, _add_imports(graph, dict(tables, **_checked(checkpoint, graph, known, rename)))


NOTHING = Restored({}, {})


def find_restored(source: MetaGraph, needed: Collection[str]) -> Restored:
    """The tables among the nodes `needed` that the restore op of the training fills; without one, any restoring node.

    Raises NotServable with every other state among them that it restores, which export cannot restore.
    """
    nodes = {node.name: node for node in source.graph_def.node}
    saver = _Saver(nodes, node_name(source.restore_op))
    tables: Dict[str, SavedTable] = {}
    problems: List[Problem] = []
    for node in saver.writing():
        target = nodes[saver.target(node)]
        if target.name not in needed:
            continue
        text = f"the training's restore op fills it by {node.name} ({node.op})"
        more = None
        keys = [saver.key(name) for name in node.input[1:] if not name.startswith("^")]
        if target.op in VARIABLES:
            if node.op in ASSIGNS_VALUE and keys[0] is None:
                more = ", from what it computes of the checkpoint's tensors"
            elif node.op not in ASSIGNS_VALUE:
                more = ""
        elif target.op not in MUTABLE_TABLES or node.op not in _IMPORTS:
            more = ", and only variables and mutable lookup tables can be restored"
        elif keys[0] is None or keys[1] is None:
            more = ", from what it computes of the checkpoint's tensors"
        else:
            tables[target.name] = SavedTable(keys[0], keys[1])
        if more is not None:
            problems.append(Problem("unrestorable", target.name, text + more, op=target.op))
    if problems:
        raise NotServable(
            f"{source.path}: the training's Saver restores what can't be restored here: cut the graph after these"
            " nodes",
            problems,
        )
    saved = saved_tables(source.graph_def)
    return Restored(tables, {name: saved.get(name, table) for name, table in tables.items()})


def tables_of_saveables(graph: tf.Graph) -> Dict[str, SavedTable]:
    """The tables in a graph's collection of saveable objects, with the names under which a Saver saves them."""
    found: Dict[str, SavedTable] = {}
    for saveable in graph.get_collection(tf.GraphKeys.SAVEABLE_OBJECTS):
        specs = [(spec.name, getattr(spec, "tensor", None)) for spec in getattr(saveable, "specs", ())]
        exports = [(name, tensor) for name, tensor in specs if tensor is not None and tensor.op.type in _EXPORTS]
        if len(exports) == 2:
            (keys, _), (values, _) = sorted(exports, key=lambda item: item[1].value_index)
            found[exports[0][1].op.inputs[0].op.name] = SavedTable(keys, values)
    return found


def _checked(
    checkpoint: Checkpoint, graph: tf.Graph, tables: Mapping[str, SavedTable], rename: Callable[[str], str]
) -> Dict[str, SavedTable]:
    problems: List[Problem] = []
    found: Dict[str, SavedTable] = {}
    for name, table in tables.items():
        op = graph.get_operation_by_name(name)
        found[name] = renamed = SavedTable(*(key if key in checkpoint.shapes else rename(key) for key in table.names))
        for key, attribute in zip(renamed.names, ("key_dtype", "value_dtype")):
            expected = tf.as_dtype(op.get_attr(attribute))
            if key not in checkpoint.shapes:
                found_there = f"the lookup table {name} ({op.type}) is restored from it"
                problems.append(Problem("missing-table", key, "missing", found_there))
            elif checkpoint.dtypes[key] != expected:
                text = f"found {checkpoint.dtypes[key].name}, expected {expected.name} for the lookup table {name}"
                problems.append(Problem("variable-dtype", key, text))
    if problems:
        raise CheckpointError(
            f"{checkpoint.files.prefix}: it lacks tensors from which the graph's lookup tables are restored",
            problems,
        )
    return found


class _Saver:
    """The part of a graph that restores."""

    def __init__(self, nodes: Mapping[str, Any], restore_op: str) -> None:
        self.nodes = nodes
        part = _behind(nodes, restore_op) if restore_op in nodes else set(nodes)
        self.part = part
        sources = {name: [node_name(one) for one in nodes[name].input if not one.startswith("^")] for name in part}
        takers = reversed_edges(sources)
        restores = [name for name in part if nodes[name].op in _RESTORES]
        self.restored: Set[str] = reach(restores, lambda name: takers.get(name, ()))

    def writing(self) -> Iterator[Any]:
        """The nodes that write restored tensors into variables or tables, in graph order."""
        for name, node in self.nodes.items():
            if name in self.restored and node.op not in _RESTORES and self.target(node):
                yield node

    def target(self, node: Any) -> str:
        """The variable or table that a node writes into, which its first input refers to; "" if there is none."""
        name = next((source for source in node.input if not source.startswith("^")), "")
        for _ in range(10):
            source = self.nodes.get(node_name(name))
            if source is None or source.name in self.restored:
                return ""
            if _is_state(source.op):
                return str(source.name)
            if source.op not in IDENTITIES + ENTERS:
                return ""
            name = source.input[0]
        return ""

    def key(self, name: str) -> Optional[str]:
        """The key of the restored tensor that a tensor is equal to; None if it is computed from restored tensors."""
        for _ in range(10):
            source = self.nodes[node_name(name)]
            if source.op in _RESTORES:
                names = constant_texts(self.nodes, source.input[1])
                number = int(name.partition(":")[2] or 0) if source.op == "RestoreV2" else 0
                return names[number] if number < len(names) else None
            if source.op not in _STEPS:
                return None
            name = source.input[0]
        return None


def _is_state(op: str) -> bool:
    """Whether an op returns the handle of state: a variable, a table or another resource."""
    definition = op_def(op)
    if definition is None:
        return False
    made, taken = [
        any(argument.type == tf.resource.as_datatype_enum or argument.is_ref for argument in arguments)
        for arguments in (definition.output_arg, definition.input_arg)
    ]
    return made and not taken


def _behind(nodes: Mapping[str, Any], name: str) -> Set[str]:
    """All nodes that an operation depends on, also by control inputs."""
    return reach([name], lambda one: [source for source in map(node_name, nodes[one].input) if source in nodes])


def _stepped(node: Any) -> List[str]:
    """The input that a node passes on unchanged."""
    return list(node.input[:1]) if node.op in _STEPS else []


def saved_tables(graph_def: Any) -> Dict[str, SavedTable]:
    """The names under which the Savers of a graph save its lookup tables; tables with several names are left out."""
    nodes = {node.name: node for node in graph_def.node}
    found: Dict[str, Set[SavedTable]] = {}
    for node in graph_def.node:
        if node.op not in _SAVES:
            continue
        inputs = [name for name in node.input if not name.startswith("^")]
        parts: Dict[str, Dict[int, str]] = {}
        for key, name in zip(constant_texts(nodes, inputs[1]), inputs[_SAVES[node.op] :]):
            name = last(name, lambda one: _stepped(nodes[node_name(one)]))
            export = nodes[node_name(name)]
            if export.op in _EXPORTS:
                parts.setdefault(node_name(export.input[0]), {})[int(name.partition(":")[2] or 0)] = key
        for table, both in parts.items():
            if len(both) == 2:
                found.setdefault(table, set()).add(SavedTable(both[0], both[1]))
    return {table: saved.pop() for table, saved in found.items() if len(saved) == 1}


@dataclass(frozen=True)
class Import:
    """Nodes that fill a lookup table with fed keys and values."""

    keys: str  # tensor
    values: str  # tensor
    done: str  # operation
    saved: SavedTable  # the tensors of the checkpoint to feed

    def run(self, session: tf.Session, reader: Any) -> None:
        """Fill the table from the checkpoint of `reader`."""
        feeds = {self.keys: reader.get_tensor(self.saved.keys), self.values: reader.get_tensor(self.saved.values)}
        session.run(self.done, feeds)


def _add_imports(graph: tf.Graph, tables: Mapping[str, SavedTable]) -> Tuple[Import, ...]:
    """Add nodes to `graph` that fill its lookup tables from tensors of a checkpoint."""
    found = []
    with graph.as_default():
        for name, saved in tables.items():
            op = graph.get_operation_by_name(name)
            keys, values = [tf.placeholder(tf.as_dtype(op.get_attr(attr))) for attr in ("key_dtype", "value_dtype")]
            found.append(Import(keys.name, values.name, imported(op, keys, values).name, saved))
    return tuple(found)
