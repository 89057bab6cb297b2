"""The lookup tables of a model object as nodes of its frozen graph, with what is in them as constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from ckpt2saved.errors import NotServable
from ckpt2saved.tf1 import tf

TABLE_KEYS = "/.ATTRIBUTES/table-keys"  # of a mutable lookup table in an object-based checkpoint


def put_tables(concrete: Any, graph_def: Any, restored: bool) -> None:
    """Put tables, filled as they are now, in the place of the handles that a frozen concrete function was given.

    Raises NotServable with every table that is empty though none was `restored` from the checkpoint, and with every
    other resource that the function reads, such as an iterator.
    """
    captured = {inner.name: outer for outer, inner in concrete.graph.captures}
    handles = [node for node in graph_def.node if node.op == "Placeholder" and node.name + ":0" in captured]
    problems = []
    for node in handles:
        if node.attr["dtype"].type != tf.resource.as_datatype_enum:
            continue
        lookups = [n for n in graph_def.node if n.op == "LookupTableFindV2" and node.name in n.input[0].split(":")[:1]]
        if lookups:
            dtypes = [tf.as_dtype(lookups[0].attr[name].type) for name in ("Tin", "Tout")]
            keys, values = tf.raw_ops.LookupTableExportV2(
                table_handle=captured[node.name + ":0"], Tkeys=dtypes[0], Tvalues=dtypes[1]
            )
            if not len(keys) and not restored:
                problems.append("{}: this lookup table is empty, and the checkpoint holds none".format(node.name))
            _put(graph_def, node, np.asarray(keys), np.asarray(values))
        else:
            problems.append(
                "{}: the model reads a resource that is neither a variable nor a lookup table".format(node.name)
            )
    if problems:
        raise NotServable("the model object holds state that can't be put into a graph", problems)


def _put(graph_def: Any, node: Any, keys: np.ndarray, values: np.ndarray) -> None:
    order = np.argsort(keys, kind="stable")  # a table hands its entries out in any order
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
