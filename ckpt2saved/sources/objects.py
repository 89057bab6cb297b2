"""Trace a model object of TensorFlow 2 with its object-based checkpoint, as a graph that servers of 1.x run too."""

from __future__ import annotations

import gc
import inspect
import logging
import re
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Mapping, Sequence, Set, Tuple

import numpy as np

from ckpt2saved.checkpoint.contents import UNREADABLE, Checkpoint
from ckpt2saved.checkpoint.objects import ModelObjects, Place, find_model, model_objects, read_objects
from ckpt2saved.checkpoint.reading import failure
from ckpt2saved.checkpoint.savers import Saved
from ckpt2saved.errors import CheckpointError, NotServable, SignatureError, TensorFlowError, UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.tf1 import children_of, inlined, tf, undisturbed
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.tensors import TensorSpec
from ckpt2saved.sources.function import FunctionSource
from ckpt2saved.sources.loaded import LoadedGraph, as_users_inference, imported, loaded_from_builder
from ckpt2saved.sources.object_tables import TABLE_KEYS, is_table, put_tables
from ckpt2saved.sources.references import Reference, with_references

_BLOCK = 1 << 24  # bytes to compare at once
_MOST_CONSTANT = (1 << 31) - (1 << 24)  # bytes; a GraphDef is a protobuf message, which has at most 2 GB


@dataclass(frozen=True)
class Traced:
    """A traced model object."""

    concrete: Any  # a concrete function
    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[str, ...]  # the names of its outputs


@dataclass(frozen=True)
class TracedCheckpoint(Checkpoint):
    """A temporary checkpoint of a model object, with the traced model."""

    traced: Any = None  # a Traced
    handles: Mapping[int, str] = field(default_factory=dict)  # id of a variable's handle -> name in the checkpoint


def load_object(source: FunctionSource, checkpoint: Checkpoint, model: ServedModel) -> LoadedGraph:
    """Trace the tf.Module or Keras model that the user's function returns, with the variables of the checkpoint.

    The model is called with the inputs of serving_default in their order, and with training=False if it has that
    argument. The graph has reference variables, lookup tables filled with constants, and loops that a 1.x server runs.
    Its tensors are the inputs under their keys and the outputs: `output`, `output_0`, `output_1` … for a list, or the
    keys of a dict. Raises CheckpointError with the variables that the checkpoint lacks, NotServable if the model has
    state other than variables and tables, TensorFlowError on TensorFlow 1.
    """
    if model.surgery.renames:
        raise UsageError("--map: the variables of an object-based checkpoint are found by object, not by name")
    with source.imported() as function:
        return _load_object(function, source, checkpoint, model)


def _load_object(
    function: Callable[..., Any], source: FunctionSource, checkpoint: Checkpoint, model: ServedModel
) -> LoadedGraph:
    prefix = checkpoint.files.prefix
    if not tf.executing_eagerly():
        raise TensorFlowError(f"{prefix}: an object-based checkpoint (tf.train.Checkpoint) needs TensorFlow 2")
    with undisturbed():
        made = function(dict(checkpoint.variables()), dict(source.options))
    if isinstance(made, Mapping) or not callable(made):
        raise SignatureError(
            f"{prefix}: this checkpoint is object-based: the function returned {type(made).__name__}, expected a"
            " tf.Module or a Keras model"
        )
    with undisturbed():
        traced = trace(made, model)
    objects = model_objects(made)
    place = find_model(objects, read_objects(checkpoint), checkpoint)
    _check_restored(made, objects, place, checkpoint)
    named = {id(variable.handle): (objects.paths[n], place.keys[n]) for n, variable in objects.variables.items()}
    loaded = load_traced(traced, named, checkpoint, model, source.name)
    del made, traced, objects
    gc.collect()  # the variables, which are as large as the checkpoint
    return loaded


def load_traced(
    traced: Traced, named: Mapping[int, Tuple[str, str]], checkpoint: Checkpoint, model: ServedModel, name: str
) -> LoadedGraph:
    """The graph of a traced model; `named` has the path and the checkpoint key of each variable, by handle id."""
    graph_def, keys = _captured(traced.concrete, named, checkpoint)
    graph = imported(graph_def)
    tensors = {
        spec.tensor: graph.get_tensor_by_name(tensor.name)
        for spec, tensor in zip(traced.inputs, traced.concrete.inputs)
    }
    outputs = zip(traced.outputs, traced.concrete.outputs)
    tensors.update({key: graph.get_tensor_by_name(tensor.name) for key, tensor in outputs})
    saved = {variable: [Saved(key)] for variable, key in keys.items()}
    return as_users_inference(replace(loaded_from_builder(model, graph, tensors), saved=saved), name)


def trace(made: Any, model: ServedModel) -> Traced:
    """Trace a call of a model object with the inputs of serving_default, in their order."""
    inputs = _inputs(model, made)
    names: List[str] = []

    def answer(*tensors: tf.Tensor) -> List[tf.Tensor]:
        result = made(*tensors, training=False) if _takes_training(made) else made(*tensors)
        found = _named(result)
        names[:] = sorted(found)
        return [found[name] for name in names]

    concrete = tf.compat.v2.function(answer).get_concrete_function(*[_spec(spec) for spec in inputs])
    return Traced(concrete, tuple(inputs), tuple(names))


def _captured(
    concrete: Any, named: Mapping[int, Tuple[str, str]], checkpoint: Checkpoint
) -> Tuple[Any, Mapping[str, str]]:
    """The traced graph with its captured tensors replaced by variables, lookup tables or constants."""
    graph_def = inlined(concrete)
    taken = {node.name for node in graph_def.node}
    references: Dict[str, Reference] = {}
    keys: Dict[str, str] = {}
    tables: Dict[str, Any] = {}
    constants: Dict[str, Any] = {}
    problems = []
    captured = concrete.captured_inputs
    for value, placeholder in zip(captured, concrete.inputs[len(concrete.inputs) - len(captured) :]):
        name, found = placeholder.op.name, named.get(id(value))
        if name not in taken:
            continue
        if found is not None:
            path, key = found
            variable = _unused("model/" + path, taken)
            references[name] = Reference(variable, checkpoint.shapes[key], checkpoint.dtypes[key])
            keys[variable] = key
        elif is_table(graph_def, name):
            tables[name] = value
        elif value.dtype in (tf.resource, tf.variant):
            problems.append(_foreign(concrete, value))
        else:
            constants[name] = value
    if problems:
        raise NotServable(
            "the model reads variables that tf.train.Checkpoint does not save with it: those that are no attribute of "
            "the object, and in Keras 3 those of layers in a list or dict; make each an attribute, load the weights "
            "from a Keras file (.weights.h5, .keras), and write the checkpoint again",
            problems,
        )
    is_filled = isinstance(checkpoint, TracedCheckpoint)  # from the Keras file
    put_tables(graph_def, tables, is_filled or any(name.endswith(TABLE_KEYS) for name in checkpoint.shapes))
    _put_constants(graph_def, constants)
    return with_references(graph_def, references), keys


def _unused(name_of_variable: str, taken: Set[str]) -> str:
    name_of_variable = re.sub(r"[^A-Za-z0-9_.\-/]", "_", name_of_variable)
    name, number = name_of_variable, 1
    while name in taken:
        number += 1
        name = f"{name_of_variable}_{number}"
    taken.add(name)
    return name


def _foreign(concrete: Any, value: Any) -> Problem:
    """Return the problem of a captured tensor that is no variable of the model."""
    for variable in concrete.graph.variables:
        if variable.handle is value:
            return Problem("untracked-variable", f"{variable.name} {list(variable.shape)}", "a variable")
    name = getattr(value, "name", value)
    found = f"a {value.dtype.name} that is neither a variable nor a lookup table"
    return Problem("untracked-variable", str(name), found)


def _put_constants(graph_def: Any, constants: Mapping[str, Any]) -> None:
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    size = sum(array.nbytes for array in arrays.values())
    if size > _MOST_CONSTANT:
        raise NotServable(
            f"the model reads {size / 1e9:.1f} GB of constants, and a graph has at most 2 GB; make them a tf.Variable"
            " of the model before the checkpoint is written"
        )
    for node in graph_def.node:
        if node.name in arrays:
            dtype = node.attr["dtype"].type
            node.op = "Const"
            node.attr.clear()
            node.attr["dtype"].type = dtype
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(arrays[node.name], tf.as_dtype(dtype)))


def _inputs(model: ServedModel, made: Any) -> Sequence[TensorSpec]:
    """The inputs of serving_default; missing shapes and dtypes are those of the Keras model, if it has fixed inputs."""
    (default,) = [signature for signature in model.signatures if signature.name == "serving_default"]
    own = list(getattr(made, "inputs", None) or ())
    inputs = [_completed(spec, own[n] if n < len(own) else None) for n, spec in enumerate(default.inputs)]
    vague = [spec.key for spec in inputs if spec.shape is None]
    if vague:
        raise SignatureError(
            f"{model.source}: give the shape of {', '.join(vague)}, as in {vague[0]}[batch,32,width,3]: a model object"
            " has no shapes before it is called"
        )
    return inputs


def _completed(spec: TensorSpec, own: Any) -> TensorSpec:
    if own is None or spec.shape is not None:
        return spec
    shape = tuple(size if size is not None else "batch" for size in tf.TensorShape(own.shape).as_list())
    return replace(spec, shape=shape, dtype=spec.dtype or tf.as_dtype(own.dtype).name)


def _spec(spec: TensorSpec) -> Any:
    sizes = [size if isinstance(size, int) else None for size in spec.shape or ()]
    return tf.TensorSpec(sizes, spec.dtype or "float32", name=spec.key)


def _takes_training(made: Any) -> bool:
    call = getattr(made, "call", None) or made.__call__
    try:
        return "training" in inspect.signature(call).parameters
    except (TypeError, ValueError):
        return False


def _named(result: Any) -> Dict[str, Any]:
    if isinstance(result, Mapping):
        return dict(result)
    if isinstance(result, (list, tuple)):
        return {f"output_{number}": tensor for number, tensor in enumerate(result)}
    return {"output": result}


def _check_restored(made: Any, objects: ModelObjects, place: Place, checkpoint: Checkpoint) -> None:
    """Restore the model with TensorFlow, and check that every variable has the tensor that will be served."""
    log = logging.getLogger("tensorflow")
    level, log.level = (
        log.level,
        logging.ERROR,
    )  # it warns about everything in the checkpoint that the model does not have
    prefix = checkpoint.files.for_tensorflow
    try:
        _restorer(made, place).restore(prefix).expect_partial()
        problems = [
            Problem(
                "other-tensor-restored",
                objects.paths[node],
                f"TensorFlow restores another tensor than {place.keys[node]}",
            )
            for node, variable in objects.variables.items()
            if not _same(_held(checkpoint, place.keys[node]), variable.read_value())
        ]
    except UNREADABLE as error:
        parts = [(key, "") for key in place.keys.values()]
        raise failure(checkpoint, parts, error) from error
    finally:
        log.level = level
    if problems:
        raise CheckpointError(
            f"{prefix}: TensorFlow restores the model of the function differently than the names in the checkpoint say",
            problems,
        )


def _held(checkpoint: Checkpoint, key: str) -> Any:
    """A tensor of a checkpoint, read without a second copy."""
    dtypes = [checkpoint.dtypes[key]]
    (tensor,) = tf.raw_ops.RestoreV2(
        prefix=checkpoint.files.for_tensorflow, tensor_names=[key], shape_and_slices=[""], dtypes=dtypes
    )
    return tensor


def _restorer(made: Any, place: Place) -> Any:
    wrap = tf.compat.v2.train.Checkpoint
    if not place.path:
        try:
            return wrap(root=made)
        except (TypeError, ValueError):  # TensorFlow 2.0 has no root
            return wrap(**children_of(made))
    for name in reversed(place.path):
        made = wrap(**{name: made})
    return made


def _same(held: Any, variable: Any) -> bool:
    """Whether two tensors have the same bits; compared in parts, because they may be large."""
    one, other = np.asarray(held), np.asarray(variable)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype == object:
        return bool(one.tolist() == other.tolist())
    one, other = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (one, other))
    return all(
        np.array_equal(one[start : start + _BLOCK], other[start : start + _BLOCK])
        for start in range(0, one.size, _BLOCK)
    )
