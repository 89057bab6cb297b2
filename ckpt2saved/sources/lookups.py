"""Lookup tables of a graph: the nodes that fill them when a SavedModel is loaded, and the files for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Collection, Dict, Iterable, List, Mapping, Set, Tuple

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import PLACEHOLDERS, TABLES
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import walk
from ckpt2saved.saved_model.writing import Asset

_FILLS = (
    "InitializeTable",
    "InitializeTableV2",
    "LookupTableImport",
    "LookupTableImportV2",
    "LookupTableInsert",
    "LookupTableInsertV2",
)
_FILLS_FROM_FILE = ("InitializeTableFromTextFile", "InitializeTableFromTextFileV2")


def fillers(graph_def: Any, needed: Collection[str]) -> List[str]:
    """The nodes that fill the lookup tables among the nodes `needed`; raises NotServable if a table stays empty.

    A table that the training fills by feeding is empty, or lacks entries, when the graph is loaded, unless the
    checkpoint contains it; leave such tables out of `needed`.
    """
    tables = {node.name: node for node in graph_def.node if node.name in needed and node.op in TABLES}
    nodes = {node.name: node for node in graph_def.node}
    found: List[str] = []
    filled: Set[str] = set()
    fed: Dict[str, Any] = {}
    for node in graph_def.node:
        if node.op not in _FILLS + _FILLS_FROM_FILE or node_name(node.input[0]) not in tables:
            continue
        if node.op in _FILLS_FROM_FILE or all(_is_constant(nodes, name) for name in node.input[1:]):
            found.append(node.name)
            filled.add(node_name(node.input[0]))
        elif node.name not in needed:
            fed.setdefault(node_name(node.input[0]), node)
    problems = [
        Problem(
            "unfilled-table",
            name,
            f"{node.name} ({node.op}) put fed values into it during training, and no Saver of the graph saves it",
            op=tables[name].op,
        )
        for name, node in fed.items()
        if name in filled
    ]
    problems += [
        Problem("unfilled-table", name, "nothing in the graph fills this lookup table", op=node.op)
        for name, node in tables.items()
        if name not in filled
    ]
    if problems:
        raise NotServable("the graph has lookup tables that would be empty, or lack entries", problems)
    return found


def take_fillers(graph_def: Any, part: Any, restored: Collection[str]) -> List[str]:
    """Copy into `part` the nodes of `graph_def` that fill the lookup tables of the part; returns their names.

    The tables `restored` are filled from the checkpoint.
    """
    have = {node.name for node in part.node}
    filling = fillers(graph_def, have - set(restored))
    part.node.extend(node for node in pruned(graph_def, filling).node if node.name not in have)
    return filling


def _is_constant(nodes: Mapping[str, Any], name: str) -> bool:
    """Whether a tensor depends only on constants; tensors that a Saver restores do not."""
    made_of = (nodes[one] for one in walk([node_name(name)], lambda one: map(node_name, nodes[one].input)))
    return all(
        (node.input or node.op == "Const") and node.op not in PLACEHOLDERS and "Restore" not in node.op
        for node in made_of
    )


def add_filling(graph: tf.Graph, names: List[str]) -> Tuple[str, Tuple[Asset, ...]]:
    """Add one operation that fills all tables; returns its name and the files that it reads, or ("", ())."""
    if not names:
        return "", ()
    with graph.as_default():
        operations = [graph.get_operation_by_name(name) for name in names]
        done = tf.group(*operations, name="fill_tables")
    files: Dict[str, Path] = {}
    for op in operations:
        if op.type in _FILLS_FROM_FILE:
            files[op.inputs[1].name] = _file(op)
    assets = asset_names(files.values())
    return done.name, tuple(Asset(tensor, file, assets[file]) for tensor, file in files.items())


def asset_names(files: Iterable[Path]) -> Dict[Path, str]:
    """A unique name for each file in the flat directory `assets`: its own name, with a number if it is taken.

    Names that differ only in case count as equal, as on some file systems.
    """
    names: Dict[Path, str] = {}
    taken: Set[str] = set()
    for file in files:
        if file in names:
            continue
        name, number = file.name, 1
        while name.lower() in taken:
            number += 1
            name = f"{file.stem}_{number}{file.suffix}"
        taken.add(name.lower())
        names[file] = name
    return names


def _file(op: tf.Operation) -> Path:
    """The file that an operation fills a table from; raises NotServable if it is missing."""
    path = op.inputs[1]
    value = tf.get_static_value(path)
    if value is None:
        raise NotServable(f"{op.name}: the file that this lookup table is filled from is not a constant")
    file = Path(tf.compat.as_str_any(value.item() if hasattr(value, "item") else value))
    if not file.is_file():
        raise NotServable(f"{op.name}: it is filled from {file}, which is not there; put the file there for the export")
    return file
