"""Inputs that say how many steps of a line count, for which no random number can stand."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any, Callable, ContextManager, Iterator, Mapping, Optional, Tuple

import numpy as np

from ckpt2saved.questions import default_case, question_inputs
from ckpt2saved.signature import ExampleInput, ServedModel
from ckpt2saved.tf1 import tf

# Ops that are told lengths: which input they are, and which input's axis (or the attribute that names it) they measure.
_TAKERS = {
    "CTCBeamSearchDecoder": (1, 0, 0),
    "CTCGreedyDecoder": (1, 0, 0),
    "ReverseSequence": (1, 0, "seq_dim"),
}
_PASSING = ("Identity", "Cast", "Reshape", "StopGradient", "PlaceholderWithDefault", "ToInt32")
_STEPS_FIRST = ("CTCBeamSearchDecoder", "CTCGreedyDecoder")


def with_lengths(
    model: ServedModel, graph: tf.Graph, signature_defs: Mapping[str, Any], fill: Callable[[tf.Session], None]
) -> ServedModel:
    """`model` with requests to compare on in which the steps of each line are no more than the graph makes of the line.

    That is for a signature that says nothing about such requests; `fill` restores the variables in a session.
    """

    @contextlib.contextmanager
    def filled() -> Iterator[tf.Session]:
        with tf.Session(graph=graph) as session:
            fill(session)
            yield session

    return model if model.parity else with_measured(model, graph, signature_defs, filled)


def with_measured(
    model: ServedModel,
    graph: tf.Graph,
    signature_defs: Mapping[str, Any],
    filled: Callable[[], ContextManager[tf.Session]],
) -> ServedModel:
    """The same, where `filled` gives a session of `graph` in which the variables are restored."""
    lengths, any_will_do = {}, {}  # type: Dict[str, Tuple[str, int]], Dict[str, ExampleInput]
    for signature in model.signatures:
        for spec in signature.inputs:
            tensor = graph.get_tensor_by_name(signature_defs[signature.name].inputs[spec.key].name)
            found = measured(tensor) if tensor.dtype.is_integer and len(spec.shape) == 1 else None
            if found:
                lengths[spec.key] = found
            if (found or not tensor.consumers()) and spec.dtype != "string":
                any_will_do[spec.key] = ExampleInput(None, 1)
    if not any_will_do:
        return model
    case = default_case(model, any_will_do)
    inputs = dict(case.inputs)
    with filled() as session:
        for key, (tensor, axis) in lengths.items():
            signature = next(s for s in model.signatures if key in {spec.key for spec in s.inputs})
            made = question_inputs(model, case)
            feeds = {signature_defs[signature.name].inputs[spec.key].name: made[spec.key] for spec in signature.inputs}
            steps = np.asarray(session.run(tensor, feeds)).shape[axis]
            inputs[key] = ExampleInput(None, _lengths(made[key].shape[0], steps))
    return replace(model, parity=(replace(case, inputs=inputs),))


def _lengths(batch: int, steps: int) -> Any:
    """The whole line, and some shorter ones."""
    return [max(steps - steps * (line % 4) // 4, 1) for line in range(batch)]


def measured(tensor: tf.Tensor) -> Optional[Tuple[str, int]]:
    """A tensor and its axis whose size the values of `tensor` may not exceed, if something says so."""
    ahead, seen = [tensor], set()
    found = {}  # type: Dict[str, Tuple[str, int]]
    while ahead:
        current = ahead.pop()
        for op in current.consumers():
            if op.type in _TAKERS and op.inputs[_TAKERS[op.type][0]] is current:
                _, data, axis = _TAKERS[op.type]
                found.setdefault(op.type, (op.inputs[data].name, op.get_attr(axis) if isinstance(axis, str) else axis))
            elif op.type in _PASSING and op.name not in seen:
                seen.add(op.name)
                ahead += op.outputs
    for kind in _STEPS_FIRST + tuple(sorted(found)):
        if kind in found:
            return found[kind]
    return None
