"""Rewrites of the graph that is written, and of no other: the comparison asks the graph before them for its answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, List, Mapping, Sequence, Tuple

from ckpt2saved.errors.problem import Note
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit
from ckpt2saved.rewrites.replace_ctc_decoder import DecoderReplaced, ReplaceCtcDecoder
from ckpt2saved.rewrites.rewrite import Rewrite, apply
from ckpt2saved.saved_model.writing import ServingGraph, cut_down

FOR_SERVING: Tuple[Rewrite, ...] = (ReplaceCtcDecoder("fast"),)


def for_serving(ctc_decoder: str) -> List[Rewrite]:
    """FOR_SERVING with another decoder: "fast", "greedy", or "stock", which leaves the graph's own."""
    rest = [rewrite for rewrite in FOR_SERVING if not isinstance(rewrite, ReplaceCtcDecoder)]
    return rest if ctc_decoder == "stock" else [ReplaceCtcDecoder(ctc_decoder), *rest]


@dataclass(frozen=True)
class ServingRewritten:
    """A serving graph after rewrites, and what they reported."""

    serving: ServingGraph
    edits: Tuple[Edit, ...] = ()
    notes: Tuple[Note, ...] = ()

    @property
    def replaced(self) -> Tuple[DecoderReplaced, ...]:
        """The CTC decoders that were replaced."""
        return tuple(edit for edit in self.edits if isinstance(edit, DecoderReplaced))


def rewrite_serving(serving: ServingGraph, rewrites: Sequence[Rewrite]) -> ServingRewritten:
    """Apply rewrites to a copy of `serving`; raises NotServable with every problem."""
    tensors = [info.name for definition in serving.signature_defs.values() for info in definition.outputs.values()]
    inputs = [info.name for definition in serving.signature_defs.values() for info in definition.inputs.values()]
    context = Context.of(serving.graph_def, tensors + serving.kept_nodes(), inputs)
    found = apply(rewrites, context, "the graph can't be rewritten as asked")
    if not found.edits:
        return ServingRewritten(serving, (), found.notes)
    signature_defs = {name: with_outputs(old, found.moved) for name, old in serving.signature_defs.items()}
    rewritten = replace(serving, graph_def=found.graph_def(), signature_defs=signature_defs)
    return ServingRewritten(cut_down(rewritten), found.edits, found.notes)


def with_outputs(signature_def: Any, moved: Mapping[str, str]) -> Any:
    """A copy of a SignatureDef that has other tensors for some outputs."""
    copy = type(signature_def)()
    copy.CopyFrom(signature_def)
    for info in copy.outputs.values():
        info.name = moved.get(info.name, info.name)
    return copy
