"""Put the lookup tables of a model object into its graph, with their content as constants."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.tf1 import tf

TABLE_KEYS = "/.ATTRIBUTES/table-keys"  # the suffix of a mutable lookup table in an object-based checkpoint


def is_table(graph_def: Any, name: str) -> bool:
    """Whether the placeholder `name` is the handle of a lookup table."""
    return _lookup(graph_def, name) is not None


def put_tables(graph_def: Any, tables: Mapping[str, Any], restored: bool) -> None:
    """Replace placeholders for table handles by tables with their current content.

    `tables` has the handles by the names of the placeholders. Raises NotServable with every empty table, unless tables
    were `restored` from the checkpoint.
    """
    problems = []
    for node in [node for node in graph_def.node if node.name in tables]:
        lookup = _lookup(graph_def, node.name)
        dtypes = [tf.as_dtype(lookup.attr[name].type) for name in ("Tin", "Tout")]
        keys, values = tf.raw_ops.LookupTableExportV2(
            table_handle=tables[node.name], Tkeys=dtypes[0], Tvalues=dtypes[1]
        )
        if not len(keys) and not restored:
            found = "this lookup table is empty, and the checkpoint contains none"
            problems.append(Problem("missing-table", node.name, found))
        _put(graph_def, node, np.asarray(keys), np.asarray(values))
    if problems:
        raise NotServable("the model object holds state that can't be put into a graph", problems)


def _lookup(graph_def: Any, name: str) -> Any:
    nodes = (node for node in graph_def.node if node.op == "LookupTableFindV2")
    return next((node for node in nodes if node.input[0].split(":")[0] == name), None)


def _put(graph_def: Any, node: Any, keys: np.ndarray, values: np.ndarray) -> None:
    order = np.argsort(keys, kind="stable")  # the export order of a table is not deterministic
    graph = tf.Graph()
    with graph.as_default(), tf.name_scope(node.name + "/contents"):
        made = {"key_dtype": keys.dtype, "value_dtype": values.dtype, "use_node_name_sharing": True}
        made = {name: tf.as_dtype(value) if "dtype" in name else value for name, value in made.items()}
        if values.ndim > 1:
            table = tf.raw_ops.MutableHashTableOfTensorsV2(value_shape=list(values.shape[1:]), **made)
        else:
            table = tf.raw_ops.MutableHashTableV2(**made)
        tf.raw_ops.LookupTableImportV2(
            table_handle=table, keys=tf.constant(keys[order], made["key_dtype"]), values=tf.constant(values[order])
        )
    for other in graph.as_graph_def().node:
        if other.name == table.op.name:
            other.name = node.name
            node.CopyFrom(other)
        else:
            copy = graph_def.node.add()
            copy.CopyFrom(other)
            copy.input[:] = [node.name if name == table.op.name else name for name in other.input]
