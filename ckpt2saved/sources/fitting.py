"""Fit signatures to a graph: fill in missing shapes and dtypes, and check the batch sizes that the graph accepts."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Collection, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.compatibility.fit import origin_text
from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import CheckpointError, NotServable, SignatureError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.graph_def import nodes_of, pruned
from ckpt2saved.graph.meta_graph import MetaGraph
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.op_table import shipped_table
from ckpt2saved.graph.ops import ENTERS
from ckpt2saved.graph.tf1 import op_def, tf
from ckpt2saved.graph.traversal import walk
from ckpt2saved.rewrites.to_signatures import Cut
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.tensors import Signature, TensorSpec

# The node in messages of TensorFlow and of `_import_with_batch`.
_NODE = re.compile(r"\{\{node ([^}]+)\}\}|for '([^' ]+)' \(op|\A([^ :]+): it makes")
_PROBE = 3  # a batch of this size fails if the graph is fixed to another size


def surroundings(source: MetaGraph, model: ServedModel, more: Sequence[str] = ()) -> tf.Graph:
    """Import the part of a training's graph that computes the inputs and outputs of `model` and the tensors `more`.

    Raises SignatureError with every tensor that does not exist, NotServable with every op that this TensorFlow lacks.
    """
    nodes = {node.name for node in source.graph_def.node}
    named = [("graph.decode", name) for name in more]
    named += [(where, spec.tensor) for one in model.signatures for where, spec in one.fields if ":" in spec.tensor]
    problems = []
    for where, name in named:
        if node_name(name) not in nodes:
            near = difflib.get_close_matches(node_name(name), nodes, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else ""
            problems.append(Problem("unknown-tensor", where, f"the graph has no node {node_name(name)!r}", hint))
    if problems:
        raise SignatureError(f"{model.source}: it does not fit the graph; ckpt2saved inspect shows the graph", problems)
    part = pruned(source.graph_def, {node_name(name) for _, name in named})
    if any(node.op in ENTERS for node in part.node):  # Exit nodes may be missing in the part
        refuse_loops(model.source, source.graph_def, named)
    _refuse_strange_ops(part)
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.import_graph_def(part, name="")
        except ValueError as error:
            raise CheckpointError(
                f"{source.path}: this TensorFlow cannot import the graph; it is damaged or from another TensorFlow:"
                f" {reason_of(error)}"
            ) from error
    for where, name in named:
        try:
            tensor = graph.get_tensor_by_name(name)
            known = source.shapes.get(tensor.op.name, ())[tensor.value_index :]
            if known and tensor.shape.is_compatible_with(tf.TensorShape(known[0])):
                tensor.set_shape(tf.TensorShape(known[0]))
        except KeyError:
            count = len(graph.get_operation_by_name(node_name(name)).outputs)
            found = f"{name!r} has {count} outputs, from {node_name(name)}:0 on"
            problems.append(Problem("unknown-tensor", where, found))
    if problems:
        raise SignatureError(f"{model.source}: it does not fit the graph", problems)
    return graph


def refuse_loops(source: Path, graph_def: Any, ends: Sequence[Tuple[str, str]]) -> None:
    """Raise NotServable with every tensor that is inside a while loop.

    `ends` are pairs of signatures.NAME.inputs.KEY, or .outputs.KEY, and the name of the tensor.
    """
    flow = Graph(graph_def, is_copied=False).control
    problems = []
    for where, name in ends:
        ref = node_name(name), int(name.rpartition(":")[2])
        problem = flow.input_problem(ref) if ".inputs." in where else flow.output_problem(ref)
        if problem:
            problems.append(Problem("inside-loop", where, f"{name}: {problem}"))
    if problems:
        raise NotServable(f"{source}: tensors inside a loop can't be served", problems)


def _refuse_strange_ops(graph_def: Any) -> None:
    functions = {function.signature.name for function in graph_def.library.function}
    strange = [node for node in nodes_of(graph_def) if op_def(node.op) is None and node.op not in functions]
    if strange:
        table = shipped_table()
        raise NotServable(
            f"the graph uses ops that this TensorFlow, {tf.version.VERSION}, does not have: cut the graph before them,"
            " or export it with a TensorFlow that has them",
            [Problem("unknown-op", node.name, origin_text(node.op, table), op=node.op) for node in strange],
        )


def completed(model: ServedModel, graph: tf.Graph, tensors: Mapping[str, Any] = {}) -> ServedModel:
    """`model` with missing dtypes and shapes from the graph; `tensors` are the named tensors of a builder."""
    signatures = []
    for signature in model.signatures:
        inputs = [_completed(spec, graph, tensors) for spec in signature.inputs]
        batches = {spec.dimensions[0] for spec in inputs if len(spec.dimensions) > 1}
        if len(batches) == 1:
            (batch,) = batches
            inputs = [_with_batch(given, spec, batch) for given, spec in zip(signature.inputs, inputs)]
        outputs = tuple(_completed(spec, graph, tensors, rank_needed=False) for spec in signature.outputs)
        signatures.append(Signature(signature.name, tuple(inputs), outputs))
    return replace(model, signatures=tuple(signatures))


def _completed(spec: TensorSpec, graph: tf.Graph, tensors: Mapping[str, Any], rank_needed: bool = True) -> TensorSpec:
    if spec.dtype and spec.shape is not None:
        return spec
    try:
        tensor = tensors[spec.tensor] if spec.tensor in tensors else graph.get_tensor_by_name(spec.tensor)
    except (KeyError, ValueError):
        return replace(spec, dtype=spec.dtype or "float32", shape=spec.shape or ())  # bind_signatures reports it
    dtype, shape = spec.dtype or tensor.dtype.base_dtype.name, spec.shape
    if shape is None and (tensor.shape.ndims is not None or rank_needed):
        if tensor.shape.ndims is None:
            raise SignatureError(
                f"{spec.key}: the graph does not have the rank of {spec.tensor}; give its shape, as in"
                f" {spec.key}={spec.tensor}[batch,32,width,3]"
            )
        names = ["batch"] + [f"{spec.key}_{axis}" for axis in range(1, tensor.shape.ndims)]
        shape = tuple(name if size is None else size for name, size in zip(names, tensor.shape.as_list()))
    return TensorSpec(spec.key, spec.tensor, dtype, shape)


def _with_batch(given: TensorSpec, spec: TensorSpec, batch: Any) -> TensorSpec:
    """An input of one value per example gets the fixed batch size of the other inputs, if its own size is open."""
    left_open = given.shape is None and spec.shape == ("batch",)
    return replace(spec, shape=(batch,)) if left_open else spec


def with_batch(model: ServedModel, batch: int) -> ServedModel:
    """`model` with inputs of a fixed batch size."""

    def fixed(spec: TensorSpec) -> TensorSpec:
        return replace(spec, shape=tuple(batch if size == "batch" else size for size in spec.dimensions))

    signatures = [replace(s, inputs=tuple(map(fixed, s.inputs))) for s in model.signatures]
    return replace(model, signatures=tuple(signatures))


def with_own_outputs(
    asked: ServedModel, model: ServedModel, graph: tf.Graph, tensors: Mapping[str, Any]
) -> ServedModel:
    """`model` with the output shapes of the cut graph, because input shapes may differ from those in training."""
    signatures = [replace(new, outputs=old.outputs) for old, new in zip(asked.signatures, model.signatures)]
    return completed(replace(model, signatures=tuple(signatures)), graph, tensors)


class FixedBatch(SignatureError):
    """The graph accepts only one batch size."""

    def __init__(self, message: str, problems: Sequence[Problem], batch: int) -> None:
        super().__init__(message, problems)
        self.batch = batch
        match = _NODE.search(problems[0].found)
        self.node = next(filter(None, match.groups())) if match else problems[0].found  # accepts no other size


def import_cut(part: Cut, model: ServedModel) -> tf.Graph:
    """Import a cut graph; raises SignatureError with the node that does not accept the shapes of the signature."""
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.import_graph_def(part.graph_def, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise SignatureError(*_misfit(model, error)) from error
    _probe_batch(part, model)
    return graph


def check_shapes(part: Cut, model: ServedModel) -> None:
    """Raise what `import_cut` would raise; FixedBatch if only one batch size is accepted."""
    if any(spec.shape and spec.shape[0] == "batch" for signature in model.signatures for spec in signature.inputs):
        _probe_batch(part, model)
    else:
        import_cut(part, model)


def _probe_batch(part: Cut, model: ServedModel) -> None:
    """Check that the graph accepts a batch size other than that of the training; the error names the node."""
    specs = {spec.tensor: spec for signature in model.signatures for spec in signature.inputs}
    placeholders = {
        node_name(part.places[tensor]) for tensor, spec in specs.items() if spec.shape and spec.shape[0] == "batch"
    }
    graph_def = part.graph_def
    if not placeholders:
        return
    try:
        _import_with_batch(graph_def, placeholders, _PROBE)
    except (ValueError, tf.errors.OpError) as error:
        remark = f" (a batch of {_PROBE} was tried)"
        for size in dict.fromkeys(int(number) for number in re.findall(r"(?<![\w./])[0-9]+(?![\w./])", str(error))):
            if size not in (0, _PROBE) and _takes(graph_def, placeholders, size):
                message, problems = _misfit(model, error, remark + f"; it takes one of {size}")
                raise FixedBatch(message, problems, size) from error
        raise SignatureError(*_misfit(model, error, remark)) from error


def _takes(graph_def: Any, placeholders: Collection[str], batch: int) -> bool:
    try:
        _import_with_batch(graph_def, placeholders, batch)
    except (ValueError, tf.errors.OpError):
        return False
    return True


def _import_with_batch(graph_def: Any, placeholders: Collection[str], batch: int) -> None:
    """Infer the shapes for a batch size; raises ValueError if a node does not accept it, or mixes the examples."""
    probe = tf.GraphDef()
    probe.CopyFrom(graph_def)
    for node in probe.node:
        if node.op == "Placeholder" and node.name in placeholders:
            node.attr["shape"].shape.dim[0].size = batch
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(probe, name="")
        fed = [graph.get_operation_by_name(name) for name in placeholders]
        for op in _of_lines(fed, batch):
            if op.type == "Reshape" and _first_size(op.outputs[0]) not in (None, 1, batch):
                sizes = tf.get_static_value(op.inputs[1], partial=True)
                if sizes is not None and len(sizes) and sizes[0] == _first_size(op.outputs[0]):
                    raise ValueError(
                        f"{op.name}: it makes {sizes[0]} lines of {batch} ({op.outputs[0].shape} from"
                        f" {op.inputs[0].shape})"
                    )


def _of_lines(operations: Sequence[tf.Operation], batch: int) -> List[tf.Operation]:
    """The operations whose first input has the batch dimension first."""

    def following(op: tf.Operation) -> List[tf.Operation]:
        outputs = [output for output in op.outputs if _first_size(output) == batch]
        return [taker for output in outputs for taker in output.consumers() if taker.inputs[0] is output]

    return list(walk(operations, following))


def _first_size(tensor: tf.Tensor) -> Optional[int]:
    return tensor.shape.as_list()[0] if tensor.shape.ndims else None


def _misfit(model: ServedModel, error: Exception, remark: str = "") -> Tuple[str, List[Problem]]:
    """The message and the problem of a SignatureError, from an error of TensorFlow."""
    message = (
        "{}: the graph does not take inputs of these shapes{}: {}a size from training stands in it: give the input "
        "that size (as in [64,32,100,3]; shorter batches are padded by the client), or build the graph anew for "
        "inference".format(model.source, remark, "" if remark else "they are not the network's, or ")
    )
    return message, [Problem("input-shape", "", reason_of(error))]
