"""A model object of TensorFlow 2, filled from its object-based checkpoint, as a graph that older servers run too."""

from __future__ import annotations

import inspect
import logging
from typing import Any, Callable, Dict, Mapping, Sequence, Tuple

from ckpt2saved.errors import CheckpointError, SignatureError, TensorFlowError
from ckpt2saved.graphs.object_tables import TABLE_KEYS, put_tables
from ckpt2saved.roles import OBJECT_GRAPH
from ckpt2saved.signature import ServedModel, TensorSpec
from ckpt2saved.tf1 import TrackableObjectGraph, frozen, tf


def draw_object(
    function: Callable[[Mapping[str, Any], Mapping[str, Any]], Any],
    model: ServedModel,
    prefix: str,
    variables: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Tuple[Any, Dict[str, str]]:
    """Call the user's `function` for a tf.Module or Keras model, restore it, and freeze what it computes.

    It is called with the inputs of serving_default in their order, and with training=False if it takes that. Returns a
    GraphDef with the weights and lookup tables as constants and loops that a 1.x server runs, and its tensors' names:
    of the inputs by their keys, of the answer `output`, or `output_0` and so on of a list, or a dict's own keys. Raises
    CheckpointError with the variables that the checkpoint does not have, NotServable where the model has other state,
    TensorFlowError on TensorFlow 1.
    """
    if not tf.executing_eagerly():
        raise TensorFlowError("{}: an object-based checkpoint (tf.train.Checkpoint) needs TensorFlow 2".format(prefix))
    made = function(dict(variables), dict(options))
    if isinstance(made, Mapping) or not callable(made):
        raise SignatureError(
            "{}: this checkpoint is object-based: expected is a function that returns a tf.Module or a Keras model, "
            "this one returned {}".format(prefix, type(made).__name__)
        )
    inputs = _inputs(model)
    names = []  # type: List[str]

    def answer(*tensors):
        result = made(*tensors, training=False) if _takes_training(made) else made(*tensors)
        found = _named(result)
        names[:] = sorted(found)
        return [found[name] for name in names]

    concrete = tf.compat.v2.function(answer).get_concrete_function(*[_spec(spec) for spec in inputs])
    _restore(made, prefix)
    graph_def, places, answers = frozen(concrete)
    put_tables(concrete, graph_def, any(name.endswith(TABLE_KEYS) for name in variables))
    tensors = {spec.tensor: place for spec, place in zip(inputs, places)}
    tensors.update(zip(names, answers))
    return graph_def, tensors


def _inputs(model: ServedModel) -> Sequence[TensorSpec]:
    (default,) = [signature for signature in model.signatures if signature.name == "serving_default"]
    vague = [spec.key for spec in default.inputs if spec.shape is None]
    if vague:
        raise SignatureError(
            "{}: say the shape of {}, as in {}[batch,32,width,3]: a model object has none before it is called".format(
                model.source, ", ".join(vague), vague[0]
            )
        )
    return default.inputs


def _spec(spec: TensorSpec) -> Any:
    sizes = [size if isinstance(size, int) else None for size in spec.shape]
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
        return {"output_{}".format(number): tensor for number, tensor in enumerate(result)}
    return {"output": result}


def _restore(made: Any, prefix: str) -> None:
    """Fill every variable of the model; where in the checkpoint it hangs, the checkpoint says."""
    reader = tf.train.NewCheckpointReader(prefix)
    graph = TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(OBJECT_GRAPH))
    children = [child.local_name for child in graph.nodes[0].children if child.local_name != "save_counter"]
    problems = []
    log = logging.getLogger("tensorflow")
    level, log.level = log.level, logging.ERROR  # an attempt that fails warns of everything that it left
    try:
        for name in ["model"] * ("model" in children) + ["root"] + [c for c in children if c != "model"]:
            try:
                status = tf.compat.v2.train.Checkpoint(**{name: made}).restore(prefix)
                status.expect_partial().assert_existing_objects_matched()
                return
            except (AssertionError, TypeError, ValueError) as error:  # older ones have no `root`; shapes differ
                problems.append("as {}: {}".format(name, str(error).strip().splitlines()[0]))
    finally:
        log.level = level
    raise CheckpointError(
        "{}: this checkpoint does not hold every variable of the model that the function returned; under its root are "
        "{}".format(prefix, ", ".join(children)),
        problems,
    )
