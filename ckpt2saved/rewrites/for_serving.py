"""Rewrites of the written graph alone: its answers are compared with those of the graph before these rewrites."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import List, Sequence, Tuple

from ckpt2saved.checkpoint.contents import Weights
from ckpt2saved.errors.problem import Note
from ckpt2saved.rewrites.compute_once import ComputedOnce, ComputeOnce
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.fixed_values import ValuesStored
from ckpt2saved.rewrites.fold_batch_norm import BatchNormFolded, FoldBatchNorm
from ckpt2saved.rewrites.found import Edit
from ckpt2saved.rewrites.hoist_products import PRODUCTS_IN_LOOP, HoistProducts, ProductsHoisted
from ckpt2saved.rewrites.hoist_unrolled import HoistUnrolled
from ckpt2saved.rewrites.loops_to_cudnn import LoopsToCudnn, LoopToCudnn
from ckpt2saved.rewrites.merge_products import MergeProducts
from ckpt2saved.rewrites.move_biases import MoveBiases
from ckpt2saved.rewrites.replace_ctc_decoder import STAND_IN, DecoderReplaced, ReplaceCtcDecoder
from ckpt2saved.rewrites.rewrite import Rewrite, apply
from ckpt2saved.rewrites.trim_loops import LoopTrimmed, TrimLoops
from ckpt2saved.saved_model.writing import ServingGraph, cut_down, with_values

_OF_RECURRENT_LAYERS = (MergeProducts(), HoistProducts(), HoistUnrolled(), MoveBiases(), TrimLoops())
FOR_SERVING: Tuple[Rewrite, ...] = (ReplaceCtcDecoder("fast"), FoldBatchNorm(), *_OF_RECURRENT_LAYERS, ComputeOnce())


def for_serving(
    ctc_decoder: str = "fast", *, fold: bool = True, recurrent: bool = True, for_gpu: bool = False
) -> List[Rewrite]:
    """FOR_SERVING with another decoder ("greedy", or "stock": the graph's own stays), or without other rewrites.

    Without `fold` variables have the checkpoint's values: batch norm stays as it is, and what is computed from them is
    computed for each request. Without `recurrent` recurrent layers stay as they are; `for_gpu` cuDNN computes them.
    """
    rewrites: List[Rewrite] = [] if ctc_decoder == "stock" else [ReplaceCtcDecoder(ctc_decoder)]
    rewrites += [rewrite for rewrite in FOR_SERVING if not isinstance(rewrite, ReplaceCtcDecoder)]
    left_out = () if fold else (FoldBatchNorm, ComputeOnce)
    kept = [rewrite for rewrite in rewrites if type(rewrite) not in left_out]
    if for_gpu and recurrent:
        kept.insert(1 + kept.index(_OF_RECURRENT_LAYERS[-1]), LoopsToCudnn())
    return [rewrite for rewrite in kept if recurrent or rewrite not in _OF_RECURRENT_LAYERS]


@dataclass(frozen=True)
class ServingRewritten:
    """A serving graph after rewrites, what is stored for its variables, and what the rewrites reported."""

    serving: ServingGraph
    weights: Weights
    edits: Tuple[Edit, ...] = ()
    notes: Tuple[Note, ...] = ()

    @property
    def replaced(self) -> Tuple[DecoderReplaced, ...]:
        """The CTC decoders that were replaced."""
        return tuple(edit for edit in self.edits if isinstance(edit, DecoderReplaced))

    @property
    def folded(self) -> Tuple[BatchNormFolded, ...]:
        """The batch norms that were folded."""
        return tuple(edit for edit in self.edits if isinstance(edit, BatchNormFolded))

    @property
    def computed_once(self) -> Tuple[ComputedOnce, ...]:
        """The computations on variables whose results are stored."""
        return tuple(edit for edit in self.edits if isinstance(edit, ComputedOnce))

    @property
    def stores_values(self) -> bool:
        """Whether other values than the checkpoint's are stored."""
        return bool(self.folded or self.computed_once)

    @property
    def hoisted(self) -> Tuple[ProductsHoisted, ...]:
        """The loops out of which products were taken."""
        return tuple(edit for edit in self.edits if isinstance(edit, ProductsHoisted))

    @property
    def trimmed(self) -> Tuple[LoopTrimmed, ...]:
        """The loops of recurrent layers that do less at each step."""
        return tuple(edit for edit in self.edits if isinstance(edit, LoopTrimmed))

    @property
    def in_cudnn(self) -> Tuple[LoopToCudnn, ...]:
        """The loops that cuDNN computes on GPUs."""
        return tuple(edit for edit in self.edits if isinstance(edit, LoopToCudnn))

    @property
    def has_changed_layers(self) -> bool:
        """Whether recurrent layers were changed."""
        return any(edit.kind == "recurrent" for edit in self.edits)

    @property
    def loop_notes(self) -> Tuple[Note, ...]:
        """The notes on recurrent layers that stay as they are."""
        return tuple(note for note in self.notes if note.code == PRODUCTS_IN_LOOP)

    @property
    def decoder_notes(self) -> Tuple[Note, ...]:
        """The notes on CTC decoders."""
        return tuple(note for note in self.notes if note.code != PRODUCTS_IN_LOOP)


def rewrite_serving(serving: ServingGraph, weights: Weights, rewrites: Sequence[Rewrite]) -> ServingRewritten:
    """Apply rewrites to a copy of `serving`, whose variables are `weights`; raises NotServable with every problem."""
    outputs = [spec.tensor for signature in serving.signatures.values() for spec in signature.outputs]
    inputs = [spec.tensor for signature in serving.signatures.values() for spec in signature.inputs]
    context = Context.of(serving.graph_def, outputs + serving.kept_nodes(), inputs)
    found = apply(rewrites, context, "the graph can't be rewritten")
    if not found.edits:
        return ServingRewritten(serving, weights, (), found.notes)
    values = {name: value for edit in found.edits_of(ValuesStored) for name, value in edit.values.items()}
    signatures = {name: signature.with_outputs(found.moved) for name, signature in serving.signatures.items()}
    rewritten = cut_down(replace(serving, graph_def=found.graph_def(), signatures=signatures))
    if values:
        rewritten, weights = with_values(rewritten, weights, values)
    return ServingRewritten(rewritten, weights, found.edits, found.notes)


def with_greedy(serving: ServingGraph, weights: Weights) -> ServingRewritten:
    """`serving` with greedy decoders and nothing else rewritten, so that the variables have the checkpoint's values."""
    return rewrite_serving(serving, weights, [ReplaceCtcDecoder("greedy")])


def without_searches(rewritten: ServingRewritten) -> ServingGraph:
    """The graph with greedy decoders in place of its CTC beam searches, except those inside loops.

    Each output keeps its dtype and rank; the paths of a decoder for several are all the same.
    """
    return rewrite_serving(rewritten.serving, rewritten.weights, [ReplaceCtcDecoder(STAND_IN)]).serving
