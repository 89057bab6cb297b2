"""From an inference graph to the part that signatures serve, in ops that CPUs can compute."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Sequence, Tuple

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.ops import CUDNN_RNNS, is_of_cudnn
from ckpt2saved.rewrites.analyses.whole_training import WholeTraining
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.convert_cudnn_rnn import ConvertCudnnRnn, CudnnConverted
from ckpt2saved.rewrites.convert_to_nhwc import ConvertToNhwc, is_nchw
from ckpt2saved.rewrites.cut_to_signatures import CutToSignatures, InputCut
from ckpt2saved.rewrites.found import Edit
from ckpt2saved.rewrites.rewrite import Rewrite, apply
from ckpt2saved.signature.model import ServedModel


def to_cpu_ops(keeps_cudnn: bool) -> Tuple[Rewrite, ...]:
    """Rewrites after which a CPU can compute a graph; with `keeps_cudnn` a GPU computes cuDNN's ops as before."""
    return ConvertToNhwc(), ConvertCudnnRnn(keeps_cudnn)


@dataclass(frozen=True)
class Cut:
    """The graph from placeholders, which replace a model's inputs, to its outputs."""

    graph_def: Any
    places: Mapping[str, str]  # an input tensor -> the tensor of its placeholder
    unused: Tuple[str, ...]  # the input tensors that no output depends on
    edits: Tuple[Edit, ...] = ()
    replacing: Mapping[str, str] = field(default_factory=dict)  # new variable -> the one that it replaces


def cut(
    graph_def: Any,
    model: ServedModel,
    more: Sequence[str] = (),
    training: Optional[WholeTraining] = None,
    variables: Mapping[str, Sequence[int]] = {},
) -> Cut:
    """Cut a model's inputs and outputs, and the tensors in `more`, out of a graph; raises NotServable.

    `training` is what the graph was made from: it has the towers that the graph lacks. `variables` are the checkpoint's
    (name -> shape).
    """
    outputs, inputs = [*model.outputs_by_tensor, *more], model.inputs_by_tensor
    context = Context.of(graph_def, outputs, inputs, model=model, training=training, variables=variables)
    rewrites = (CutToSignatures(), *to_cpu_ops(model.surgery.keeps_cudnn))
    found = apply(rewrites, context, f"{model.source}: the outputs can't be computed from the inputs")
    part = found.graph_def()
    cuts = found.edits_of(InputCut)
    return Cut(
        pruned(part, [node.name for node in part.node]),
        {edit.tensor: edit.placeholder for edit in cuts},
        tuple(edit.tensor for edit in cuts if not edit.is_used),
        found.shown,
        replacing={name: edit.replaced for edit in found.edits_of(CudnnConverted) for name in edit.variables},
    )


def in_cpu_ops(
    graph_def: Any, variables: Mapping[str, Sequence[int]] = {}, keeps_cudnn: bool = False
) -> Tuple[Any, Tuple[Edit, ...]]:
    """The whole graph in ops that CPUs can compute, and the edits; `graph_def` itself where nothing has to change.

    `variables` are the checkpoint's (name -> shape). What the ops of cuDNN compute to fill their buffers is dropped.
    With `keeps_cudnn` GPUs run the recurrent networks of cuDNN.
    """
    has_cudnn = any(node.op in CUDNN_RNNS for node in graph_def.node)
    if not has_cudnn and not any(is_nchw(node) for node in graph_def.node):
        return graph_def, ()  # it may be as large as its weights: not copied
    names = tuple((node.name, 0) for node in graph_def.node)
    context = Context(Graph(graph_def, is_copied=False), names, set(), variables=variables)
    found = apply(to_cpu_ops(keeps_cudnn), context, "the graph can't be computed on CPUs")
    graph = found.graph
    if has_cudnn:
        gone = {node.name for node in graph.nodes.values() if is_of_cudnn(node.op)}
        gone |= graph.behind(gone)
        return graph.part(graph.nodes.keys() - gone), found.shown
    return graph.graph_def(graph.nodes), found.shown
