"""Labels are refused: as inputs that requests feed, and where outputs are computed from them."""

from __future__ import annotations

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import parsed
from ckpt2saved.rewrites.analyses.labels import Labels
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Found
from ckpt2saved.rewrites.rewrite import Rewrite
from ckpt2saved.signature.model import ServedModel

TEACHER_FORCING = "teacher-forcing"


class RefuseLabels(Rewrite):
    """Reports a problem for each label that outputs depend on (teacher forcing); edits nothing."""

    name = "refuse labels"

    def __call__(self, graph: Graph, context: Context) -> Found:
        sources = context.labels.sources
        reached = graph.between(context.outputs, context.inputs)
        taken = {ref for name in reached for ref in graph[name].inputs} | set(context.outputs)
        problems = []
        for name in sources:
            node = parsed(name)[0]
            if parsed(name) in taken - context.inputs and node in reached:
                problems.append(
                    Problem(
                        TEACHER_FORCING,
                        name,
                        f"an output is computed from it, and {sources[name]} (teacher forcing)",
                        "build the graph for inference, where the network reads its own earlier answers",
                        op=graph[node].op,
                    )
                )
        return Found(problems=tuple(problems))


def refuse_fed_labels(model: ServedModel, labels: Labels) -> None:
    """Raise NotServable for inputs of a model that are labels: clients do not have them."""
    problems = [
        Problem(
            "label-input",
            f"signatures.{signature.name}.inputs.{spec.key}",
            f"{spec.tensor}: {labels.refusal(spec.tensor)}",
        )
        for signature in model.signatures
        for spec in signature.inputs
        if ":" in spec.tensor and labels.refusal(spec.tensor)
    ]
    if problems:
        raise NotServable(
            f"{model.source}: inputs are labels: take outputs that do not depend on them, or build the graph for"
            " inference; where clients really send them, pass --allow-labels",
            problems,
        )
