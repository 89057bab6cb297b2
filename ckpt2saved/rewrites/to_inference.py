"""From a training graph to its inference graph, by structure; what can't be proven is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Collection, Iterable, Mapping, Optional, Sequence, Tuple

from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.rewrites.analyses.whole_training import WholeTraining
from ckpt2saved.rewrites.bypass_dropout import BypassDropout
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.drop_side_effects import DropSideEffects
from ckpt2saved.rewrites.drop_unfed_checks import DropUnfedChecks
from ckpt2saved.rewrites.found import Edit
from ckpt2saved.rewrites.inline_functions import InlineFunctions
from ckpt2saved.rewrites.pin_switches import NO_VALUE, PinSwitches, SetValues
from ckpt2saved.rewrites.refuse_labels import TEACHER_FORCING, RefuseLabels, refuse_fed_labels
from ckpt2saved.rewrites.refuse_leftovers import UNDECIDED, RefuseLeftovers
from ckpt2saved.rewrites.rewrite import Applied, Rewrite, apply, apply_all
from ckpt2saved.rewrites.use_moving_averages import AveragesUsed, UseMovingAverages
from ckpt2saved.signature.model import ServedModel

TO_INFERENCE: Tuple[Rewrite, ...] = (
    InlineFunctions(),
    PinSwitches(),
    BypassDropout(),
    UseMovingAverages(),
    DropSideEffects(),
    DropUnfedChecks(),
    RefuseLabels(),
    RefuseLeftovers(),
)
SET_VALUES: Tuple[Rewrite, ...] = (SetValues(),)
_NOT_SAFE = "this training's graph can't be turned into its inference safely"
_NOT_SET = "these values can't be set"


@dataclass(frozen=True)
class Inference:
    """An inference graph, and how it differs from the training graph."""

    graph_def: Any  # GraphDef of what the outputs depend on; nodes before the inputs are unchanged
    edits: Tuple[Edit, ...]
    averages: Tuple[str, ...] = ()  # the variables that replaced batch statistics
    idle: Tuple[Tuple[str, ...], ...] = ()  # of the averages that are used, the (mean, variance) that nothing updates


def to_inference(
    training: WholeTraining, model: ServedModel, more: Sequence[str], variables: Mapping[str, Sequence[int]]
) -> Inference:
    """The inference graph of a training for the tensors of a model's signatures, and for the outputs `more`.

    `variables` are the checkpoint's (name -> shape). The model's surgery says which switches the user pins, and whether
    training ops are kept, so that nothing else is changed. Raises NotServable with every problem of a graph that can't
    be turned into inference without guessing, or whose inputs are labels.
    """
    surgery = model.surgery
    if not surgery.allow_labels:
        refuse_fed_labels(model, training.labels)
    if surgery.keep_training_ops and not surgery.pinned:
        return Inference(training.graph_def, ())
    inputs = sorted(model.inputs_by_tensor)
    outputs = sorted({*model.outputs_by_tensor, *more}.difference(inputs))
    context = Context.of(
        training.graph_def,
        outputs,
        inputs,
        variables=variables,
        pinned=surgery.pinned,
        model=model,
        training=training,
    )
    rewrites, failure = (SET_VALUES, _NOT_SET) if surgery.keep_training_ops else (TO_INFERENCE, _NOT_SAFE)
    found = apply(rewrites, context, failure)
    used = found.edits_of(AveragesUsed)
    averages = tuple(name for edit in used for name in (edit.mean, edit.variance))
    return Inference(found.graph_def(), found.shown, averages, tuple(edit.idle for edit in used if edit.idle))


@dataclass(frozen=True)
class Steering:
    """The training switches of some outputs: their values as far as the structure decides them."""

    decided: Mapping[str, Any]  # node -> its value in inference
    undecided: Mapping[str, str]  # node that the outputs still depend on -> why it is not decided
    misnamed: Collection[str]  # of these, those whose names contradict their branches
    problems: Tuple[Problem, ...]  # other reasons why the graph can't be turned into inference
    lost: Mapping[str, str] = field(default_factory=dict)  # output -> why it has no value in inference
    unused: Tuple[str, ...] = ()  # the inputs that no output depends on in inference
    graph_def: Any = None  # GraphDef of the inference, as far as that is decided
    labels: Tuple[str, ...] = ()  # the labels that the outputs are computed from


def find_steering(
    graph_def: Any,
    outputs: Iterable[str],
    inputs: Iterable[str],
    variables: Mapping[str, Sequence[int]],
    training: Optional[WholeTraining] = None,
) -> Steering:
    """What `to_inference` would decide about the switches if the user set none, and what else it would refuse.

    `graph_def` is the training's forward pass. Raises NotServable where the graph lacks an output or an input.
    """
    context = Context.of(graph_def, outputs, inputs, variables=variables, training=training)
    found = apply_all(TO_INFERENCE, context)
    switches = found.context.switches
    return Steering(
        decided=switches.decided,
        undecided={problem.where: problem.reason for problem in found.problems if problem.code == UNDECIDED},
        misnamed=switches.misnamed,
        problems=tuple(problem for problem in found.problems if problem.code != UNDECIDED),
        lost={problem.where: problem.found for problem in found.problems if problem.code == NO_VALUE},
        unused=tuple(map(full_name, _unused_inputs(found))),
        graph_def=found.graph_def(),
        labels=tuple(problem.where for problem in found.problems if problem.code == TEACHER_FORCING),
    )


def _unused_inputs(found: Applied) -> Sequence[Ref]:
    """The inputs that no output depends on any more."""
    context, graph = found.context, found.graph
    nodes = [graph[name] for name in graph.between(context.outputs, context.inputs)]
    used = {ref for node in nodes for ref in node.inputs} | {(name, 0) for node in nodes for name in node.controls}
    return [ref for ref in sorted(context.inputs) if ref not in used and ref not in context.outputs]
