"""A graph cut out of a larger one: from the tensors that requests feed to the tensors that answer."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ckpt2saved.compatibility.fit import origin_text
from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import CheckpointError, NotServable, SignatureError
from ckpt2saved.graph.control_flow import ControlFlow, steps_of
from ckpt2saved.graph.graph_def import nodes_of, pruned
from ckpt2saved.graph.meta_graph import MetaGraph
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.op_table import shipped_table
from ckpt2saved.graph.ops import ENTERS, UNFED_PLACEHOLDERS
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.tf1 import op_def, tf

# They leave the batch where it is.
_POINTWISE = ("Identity", "Cast", "Sub", "Add", "AddV2", "Mul", "RealDiv", "StopGradient")
_PROBE = 3  # a batch of this size shows what is made for another one


def surroundings(source: MetaGraph, model: ServedModel, more: Sequence[str] = ()) -> tf.Graph:
    """The part of a training's graph that makes the model's inputs and outputs, and the tensors in `more`, imported.

    Raises SignatureError with every tensor that does not exist, NotServable with every op that this TensorFlow lacks.
    """
    nodes = {node.name for node in source.graph_def.node}
    problems = []
    for where, name in _tensors(model, more):
        if node_name(name) not in nodes:
            near = difflib.get_close_matches(node_name(name), nodes, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            problems.append(f"{where}: the graph has no node {node_name(name)!r}{hint}")
    if problems:
        raise SignatureError(f"{model.source}: it does not fit the graph; ckpt2saved inspect shows the graph", problems)
    part = pruned(source.graph_def, {node_name(name) for _, name in _tensors(model, more)})
    if any(node.op in ENTERS for node in part.node):  # the whole graph knows what leaves a loop
        refuse_loops(model.source, source.graph_def, _tensors(model, more))
    _refuse_strange_ops(part)
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.import_graph_def(part, name="")
        except ValueError as error:
            raise CheckpointError(
                f"{source.path}: this TensorFlow can't import the graph, which is damaged or made for another one:"
                f" {reason_of(error)}"
            ) from error
    for where, name in _tensors(model, more):
        try:
            tensor = graph.get_tensor_by_name(name)
            known = source.shapes.get(tensor.op.name, ())[tensor.value_index :]
            if known and tensor.shape.is_compatible_with(tf.TensorShape(known[0])):
                tensor.set_shape(tf.TensorShape(known[0]))
        except KeyError:
            count = len(graph.get_operation_by_name(node_name(name)).outputs)
            problems.append(f"{where}: {name!r} has {count} outputs, from {node_name(name)}:0 on")
    if problems:
        raise SignatureError(f"{model.source}: it does not fit the graph", problems)
    return graph


def _tensors(model: ServedModel, more: Sequence[str]) -> List[Tuple[str, str]]:
    found = [("graph.decode", name) for name in more]
    for signature in model.signatures:
        for side, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
            for spec in specs:
                if ":" in spec.tensor:
                    found.append((f"signatures.{signature.name}.{side}.{spec.key}", spec.tensor))
    return found


def refuse_loops(source: Path, graph_def: Any, ends: Sequence[Tuple[str, str]]) -> None:
    """Raise NotServable with every tensor that is inside a while loop.

    `ends` are pairs: signatures.NAME.inputs.KEY, or .outputs.KEY, and the tensor's name.
    """
    flow = ControlFlow(steps_of(graph_def))
    problems = []
    for where, name in ends:
        ref = node_name(name), int(name.rpartition(":")[2])
        problem = flow.input_problem(ref) if ".inputs." in where else flow.output_problem(ref)
        if problem:
            problems.append(f"{where}: {name}: {problem}")
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
            [f"{node.name} ({node.op}): {origin_text(node.op, table)}" for node in strange],
        )


def completed(model: ServedModel, graph: tf.Graph, tensors: Mapping[str, Any] = {}) -> ServedModel:
    """`model` with the dtypes and shapes that it leaves to the graph, of which `tensors` have names of their own."""
    signatures = []
    for signature in model.signatures:
        inputs = [_completed(spec, graph, tensors) for spec in signature.inputs]
        batches = {spec.shape[0] for spec in inputs if len(spec.shape) > 1}
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
        return replace(spec, dtype=spec.dtype or "float32", shape=spec.shape or ())  # binding it says what is wrong
    dtype, shape = spec.dtype or tensor.dtype.base_dtype.name, spec.shape
    if shape is None and (tensor.shape.ndims is not None or rank_needed):
        if tensor.shape.ndims is None:
            raise SignatureError(
                f"{spec.key}: the graph does not know the rank of {spec.tensor}; say its shape, as in"
                f" {spec.key}={spec.tensor}[batch,32,width,3]"
            )
        names = ["batch"] + [f"{spec.key}_{axis}" for axis in range(1, tensor.shape.ndims)]
        shape = tuple(name if size is None else size for name, size in zip(names, tensor.shape.as_list()))
    return TensorSpec(spec.key, spec.tensor, dtype, shape)


def _with_batch(given: TensorSpec, spec: TensorSpec, batch: Any) -> TensorSpec:
    """One number for each line, of which the graph does not say how many: as many as there are images."""
    left_open = given.shape is None and spec.shape == ("batch",)
    return replace(spec, shape=(batch,)) if left_open else spec


def with_batch(model: ServedModel, batch: int) -> ServedModel:
    """`model` with inputs of one batch size."""

    def fixed(spec: TensorSpec) -> TensorSpec:
        return replace(spec, shape=tuple(batch if size == "batch" else size for size in spec.shape))

    signatures = [replace(s, inputs=tuple(map(fixed, s.inputs))) for s in model.signatures]
    return replace(model, signatures=tuple(signatures))


@dataclass(frozen=True)
class Cut:
    """The graph from placeholders in the place of a model's inputs to its outputs."""

    graph_def: Any
    places: Mapping[str, str]  # an input tensor -> the tensor of the placeholder in its place
    unused: Tuple[str, ...]  # the input tensors that no output depends on


def cut(graph_def: Any, model: ServedModel, more: Sequence[str] = ()) -> Cut:
    """Cut a model's inputs and outputs, and the tensors in `more`, out of a graph.

    A placeholder has the shape that the signature gives it, so that a batch or a width that training fixed is open
    again. Raises NotServable where the inputs are not what the outputs depend on.
    """
    specs = {spec.tensor: spec for signature in model.signatures for spec in signature.inputs if ":" in spec.tensor}
    names = {node.name for node in graph_def.node}
    kinds = {node.name: node.op for node in graph_def.node}
    result = tf.GraphDef(versions=graph_def.versions)
    result.library.CopyFrom(graph_def.library)
    places: Dict[str, str] = {}
    for tensor, spec in specs.items():
        node = node_name(tensor)
        # A placeholder keeps its name: clients of old exports may know it.
        name = node if kinds[node].startswith("Placeholder") else _free_name(spec.key, names)
        names.add(name)
        places[tensor] = name
        result.node.add().CopyFrom(_placeholder(name, spec))
    for node in graph_def.node:
        if node.name in places.values():
            continue
        copy = result.node.add()
        copy.CopyFrom(node)
        copy.input[:] = [_rewired(source, places) for source in node.input]
    outputs = [spec.tensor for signature in model.signatures for spec in signature.outputs if ":" in spec.tensor]
    used = pruned(result, {places.get(name, node_name(name)) for name in outputs + list(more)})
    have = {node.name for node in used.node}
    unused = tuple(tensor for tensor, name in places.items() if name not in have)
    _check_ends(used, places, unused, model)
    _check_towers(used, places, model)
    used.node.extend(node for node in result.node if node.name in places.values() and node.name not in have)
    return Cut(used, {tensor: name + ":0" for tensor, name in places.items()}, unused)


def _placeholder(name: str, spec: TensorSpec) -> Any:
    node = tf.NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].type = tf.as_dtype(spec.dtype).as_datatype_enum
    sizes = [size if isinstance(size, int) else None for size in spec.shape]
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(sizes).as_proto())
    return node


def _free_name(key: str, names: Any) -> str:
    name = "".join(c if c.isalnum() and c.isascii() or c in "_.-" else "_" for c in key)
    name = name if name[:1].isalnum() else "input" + name
    while name in names:
        name += "_"
    return name


def _rewired(source: str, places: Mapping[str, str]) -> str:
    if source.startswith("^"):
        return source
    return places.get(source if ":" in source else source + ":0", source)


def _check_ends(part: Any, places: Mapping[str, str], unused: Sequence[str], model: ServedModel) -> None:
    problems = []
    if len(unused) == len(places):
        problems.append(f"no output depends on {' or '.join(unused)}: cut nearer to the outputs")
    for node in part.node:
        if node.op in UNFED_PLACEHOLDERS and node.name not in places.values():
            shape = tf.TensorShape(node.attr["shape"].shape)
            problems.append(
                f"{node.name}: an output depends on this placeholder ({tf.as_dtype(node.attr['dtype'].type).name}"
                f" {shape}): make it an input (--input NAME={node.name}:0), or say what it is in inference (--set"
                f" {node.name}=VALUE)"
            )
    if problems:
        raise NotServable(f"{model.source}: the inputs do not make the outputs", problems)


class FixedBatch(SignatureError):
    """The graph takes batches of one size alone."""

    def __init__(self, message: str, problems: Sequence[str], batch: int) -> None:
        super().__init__(message, problems)
        self.batch = batch


def _check_towers(part: Any, places: Mapping[str, str], model: ServedModel) -> None:
    """Refuse a batch that is dealt out to several towers of which only some answer: for a part of what is asked."""
    nodes = {node.name: node for node in part.node}
    taken = {name if ":" in name else name + ":0" for node in part.node for name in node.input}
    taken |= {spec.tensor for signature in model.signatures for spec in signature.outputs}
    problems = []
    for node in part.node:
        if node.op not in ("Split", "SplitV") or node.attr["num_split"].i < 2:
            continue
        data, axis = (node.input[1], node.input[0]) if node.op == "Split" else (node.input[0], node.input[2])
        axis_node, source = nodes[node_name(axis)], nodes[node_name(data)]
        while source.op in _POINTWISE and source.name not in places.values():
            source = nodes[node_name(source.input[0])]
        shares = [f"{node.name}:{number}" for number in range(node.attr["num_split"].i)]
        if source.name not in places.values() or axis_node.op != "Const" or set(shares) <= taken:
            continue
        if int(tf.make_ndarray(axis_node.attr["value"].tensor)) == 0:
            tensor = next(tensor for tensor, name in places.items() if name == source.name)
            used = [share for share in shares if share in taken]
            problems.append(
                f"{node.name} ({node.op}): it deals the batch of {tensor} out to {len(shares)} towers, and the outputs"
                f" are those of {len(used)}, which would answer a part of each request: make {' or '.join(used)} the"
                " input instead"
            )
    if problems:
        raise NotServable(f"{model.source}: the inputs do not make the outputs", problems)


def import_cut(part: Cut, model: ServedModel) -> tf.Graph:
    """A cut graph, imported; raises SignatureError with the node that does not take the shapes of the signature."""
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.import_graph_def(part.graph_def, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise SignatureError(*_misfit(model, error)) from error
    _probe_batch(part, model)
    return graph


def check_shapes(part: Cut, model: ServedModel) -> None:
    """Raise what `import_cut` would raise, without the graph; FixedBatch where one batch alone is taken."""
    if any(spec.shape and spec.shape[0] == "batch" for signature in model.signatures for spec in signature.inputs):
        _probe_batch(part, model)
    else:
        import_cut(part, model)


def _probe_batch(part: Cut, model: ServedModel) -> None:
    """Find out now, with the node's name, what a request of another batch size than training's would run into."""
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
    """Let TensorFlow find the shapes for a batch; raises ValueError where a node can't take it, or mixes its lines."""
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
    """The operations that take something with one item for each line of a batch first."""
    found: List[tf.Operation] = []
    seen: Set[str] = set()
    ahead = list(operations)
    while ahead:
        for output in ahead.pop().outputs:
            for op in output.consumers() if _first_size(output) == batch else ():
                if op.name not in seen and op.inputs[0] is output:
                    seen.add(op.name)
                    found.append(op)
                    ahead.append(op)
    return found


def _first_size(tensor: tf.Tensor) -> Optional[int]:
    return tensor.shape.as_list()[0] if tensor.shape.ndims else None


def _misfit(model: ServedModel, error: Exception, remark: str = "") -> Tuple[str, List[str]]:
    """The message of a SignatureError, and what TensorFlow says."""
    message = (
        "{}: the graph does not take inputs of these shapes{}: {}a size from training stands in it: give the input "
        "that size (as in [64,32,100,3]; shorter batches are padded by the client), or build the graph anew for "
        "inference".format(model.source, remark, "" if remark else "they are not the network's, or ")
    )
    return message, [reason_of(error)]
