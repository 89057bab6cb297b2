"""The graph is cut to the served signatures: placeholders replace their inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, Dict, List, Tuple

from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref, full_name, parsed
from ckpt2saved.graph.ops import UNFED_PLACEHOLDERS
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.shares import problems_of_shares
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.rewrite import Rewrite
from ckpt2saved.signature.tensors import TensorSpec


@dataclass(frozen=True)
class InputCut(Edit):
    """A placeholder that replaces an input."""

    tensor: str = ""  # of the signature
    placeholder: str = ""  # the tensor
    is_used: bool = True  # whether an output depends on it


class CutToSignatures(Rewrite):
    """Replaces each input of the context's model by a placeholder.

    A placeholder has the shape of the signature, so that a batch size or a width that training fixed is open again.
    Problems: no output depends on any input, outputs depend on other placeholders, or on a part of the batch only.
    """

    name = "cut to the signatures"

    def __call__(self, graph: Graph, context: Context) -> Found:
        places: Dict[Ref, Ref] = {}
        fed = context.model.inputs_by_tensor if context.model else {}
        for tensor, spec in fed.items():
            places[parsed(tensor)] = _place(graph, parsed(tensor), spec), 0
        graph.redirect(places)
        outputs = [places.get(ref, ref) for ref in context.outputs]
        reached = graph.between(outputs, set())
        edits = tuple(
            InputCut(
                name,
                "input",
                f"{full_name(ref)}: fed by a request",
                is_shown=False,
                tensor=full_name(ref),
                placeholder=f"{name}:0",
                is_used=name in reached,
            )
            for ref, (name, _) in places.items()
        )
        problems = _problems_of_ends(graph, reached, edits)
        whole = context.training.graph if context.training else None
        problems += problems_of_shares(graph, outputs, places, fed, whole)
        return Found(edits, tuple(problems), moved={ref: place for ref, place in places.items() if ref != place})


def _place(graph: Graph, ref: Ref, spec: TensorSpec) -> str:
    """The name of an input's placeholder; an existing one keeps its name, which clients of old exports may know."""
    if graph[ref[0]].op.startswith("Placeholder"):
        node = graph[ref[0]]
        node.become("Placeholder", ())
        node.controls = []
    else:
        node = graph.add(_free_name(graph, spec.key), "Placeholder", ())
    node.attr["dtype"].type = tf.as_dtype(spec.dtype).as_datatype_enum
    sizes = [size if isinstance(size, int) else None for size in spec.shape or ()]
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(sizes).as_proto())
    return node.name


def _free_name(graph: Graph, key: str) -> str:
    name = "".join(c if c.isalnum() and c.isascii() or c in "_.-" else "_" for c in key)
    name = name if name[:1].isalnum() else "input" + name
    while name in graph:
        name += "_"
    return name


def _problems_of_ends(graph: Graph, reached: Collection[str], inputs: Tuple[InputCut, ...]) -> List[Problem]:
    problems = []
    unused = [edit.tensor for edit in inputs if not edit.is_used]
    if len(unused) == len(inputs):
        found = f"no output depends on {' or '.join(unused)}"
        problems.append(Problem("no-input-used", "", found, "choose inputs nearer to the outputs"))
    given = {edit.node for edit in inputs}
    for node in [graph[name] for name in graph.nodes if name in reached and name not in given]:
        if node.op in UNFED_PLACEHOLDERS:
            shape = tf.TensorShape(node.attr["shape"].shape)
            dtype = tf.as_dtype(node.attr["dtype"].type).name
            found = f"an output depends on this placeholder ({dtype} {shape})"
            remedy = (
                f"make it an input (--input NAME={node.name}:0), or set its value in inference"
                f" (--set {node.name}=VALUE)"
            )
            problems.append(Problem("unfed-placeholder", node.name, found, remedy))
    return problems
