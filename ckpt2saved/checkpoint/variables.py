"""The variables of a graph, and nodes that restore variables and lookup tables from a checkpoint."""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence

from ckpt2saved.checkpoint.contents import SavedTable, Variable
from ckpt2saved.graph.ops import RESOURCE_VARIABLES, VARIABLES
from ckpt2saved.graph.tf1 import tf


def graph_variables(graph: tf.Graph) -> List[Variable]:
    """Return the variables to be restored, in graph order."""
    return [
        Variable(op.name, _shape(op.get_attr("shape")), tf.as_dtype(op.get_attr("dtype")).base_dtype)
        for op in graph.get_operations()
        if op.type in VARIABLES
    ]


def _shape(proto: Any) -> Any:
    shape = tf.TensorShape(proto)
    return () if shape.ndims is None else tuple(shape.as_list())


def add_restore(
    graph: tf.Graph,
    keys: Mapping[str, str],
    slices: Mapping[str, str] = {},
    tables: Mapping[str, SavedTable] = {},
) -> Any:
    """Add restore nodes to `graph` for the variables in `keys` (variable -> tensor name); return their SaverDef.

    `slices` gives the part of the tensor for partitioned variables; `tables` the two tensors of each lookup table. The
    SaverDef is empty if there is nothing to restore.
    """
    saver_def = tf.train.SaverDef(version=tf.train.SaverDef.V2)
    if not keys and not tables:
        return saver_def
    names, in_tables = sorted(keys), sorted(tables)
    stored = {
        "tensor_names": [keys[name] for name in names] + [key for name in in_tables for key in tables[name].names],
        "shape_and_slices": [slices.get(name, "") for name in names] + [""] * (2 * len(in_tables)),
    }
    with graph.as_default(), tf.name_scope("save"):
        prefix = tf.placeholder_with_default("variables", [], name="Const")
        variables = [graph.get_operation_by_name(name) for name in names]
        dtypes = [tf.as_dtype(op.get_attr("dtype")).base_dtype for op in variables]
        filled = [graph.get_operation_by_name(name) for name in in_tables]
        entries = [tf.as_dtype(op.get_attr(name)) for op in filled for name in ("key_dtype", "value_dtype")]
        restored = tf.raw_ops.RestoreV2(prefix=prefix, dtypes=dtypes + entries, **stored)
        written = [_assigned(op, tensor) for op, tensor in zip(variables, restored)]
        contents = restored[len(variables) :]
        written += [imported(op, *pair) for op, pair in zip(filled, zip(contents[::2], contents[1::2]))]
        done = tf.group(*written, name="restore_all")
        # TF Serving never saves, but Python's loader requires a save op.
        values = [_value(op, dtype) for op, dtype in zip(variables, dtypes)]
        values += [tensor for op in filled for tensor in _exported(op)]
        with tf.control_dependencies([tf.raw_ops.SaveV2(prefix=prefix, tensors=values, **stored)]):
            saved = tf.identity(prefix, name="saved")
    saver_def.filename_tensor_name = prefix.name
    saver_def.save_tensor_name = saved.name
    saver_def.restore_op_name = done.name
    return saver_def


def _assigned(op: tf.Operation, tensor: tf.Tensor) -> tf.Operation:
    if op.type in RESOURCE_VARIABLES:
        return tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=tensor)
    return tf.raw_ops.Assign(ref=op.outputs[0], value=tensor).op


def imported(op: tf.Operation, keys: tf.Tensor, values: tf.Tensor) -> tf.Operation:
    """Return the node that fills a lookup table with exactly these entries."""
    by_handle = op.outputs[0].dtype == tf.resource
    made = tf.raw_ops.LookupTableImportV2 if by_handle else tf.raw_ops.LookupTableImport
    return made(table_handle=op.outputs[0], keys=keys, values=values)


def _exported(op: tf.Operation) -> Sequence[tf.Tensor]:
    by_handle = op.outputs[0].dtype == tf.resource
    made = tf.raw_ops.LookupTableExportV2 if by_handle else tf.raw_ops.LookupTableExport
    dtypes = [tf.as_dtype(op.get_attr(name)) for name in ("key_dtype", "value_dtype")]
    keys, values = made(table_handle=op.outputs[0], Tkeys=dtypes[0], Tvalues=dtypes[1])
    return keys, values


def _value(op: tf.Operation, dtype: tf.DType) -> tf.Tensor:
    if op.type in RESOURCE_VARIABLES:
        return tf.raw_ops.ReadVariableOp(resource=op.outputs[0], dtype=dtype)
    return op.outputs[0]
