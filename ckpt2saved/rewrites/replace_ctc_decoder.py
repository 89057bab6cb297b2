"""TensorFlow's CTC beam search is replaced by a faster one of stock ops, or by greedy decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from ckpt2saved import ctc
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref, full_name, parsed
from ckpt2saved.graph.ops import BEAM_SEARCH
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.insertion import insert
from ckpt2saved.rewrites.rewrite import Rewrite

STAND_IN = "stand-in"


@dataclass(frozen=True)
class DecoderReplaced(Edit):
    """A CTC beam search that was replaced: its settings, and the new tensor for each of its outputs."""

    beam_width: int = 0
    top_paths: int = 0
    merge_repeated: bool = False
    outputs: Tuple[Tuple[str, str], ...] = ()  # (tensor before, now): indices, values, shapes, log-probability


class ReplaceCtcDecoder(Rewrite):
    """Replaces every CTC beam search: "fast" gives the same answers, "greedy" takes the best class of each step.

    Greedy decoding sometimes gives other answers, and has one path only: a decoder with top_paths > 1 is a problem. Its
    log-probability is that of its one alignment. "stand-in" is greedy decoding for runs whose answers are not used: all
    paths of a decoder are the same, and beam searches inside loops stay.
    """

    name = "replace the CTC decoder"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, graph: Graph, context: Context) -> Found:
        loops = graph.control.in_loops if self.kind == STAND_IN else {}
        decoders = [node for node in graph.nodes.values() if node.op == BEAM_SEARCH and node.name not in loops]
        problems = [
            Problem(
                "greedy-paths",
                node.name,
                f"greedy decoding finds one path, and this decoder is asked for {node.attr['top_paths'].i}",
                "use --ctc-decoder fast or stock",
            )
            for node in decoders
            if self.kind == "greedy" and node.attr["top_paths"].i > 1
        ]
        if problems:
            return Found(problems=tuple(problems))
        edits: List[Edit] = []
        moved: Dict[Ref, Ref] = {}
        for node in decoders:
            replaced = self._replace(graph, node, context)
            edits.append(replaced)
            moved.update({parsed(before): parsed(now) for before, now in replaced.outputs})
        return Found(tuple(edits), notes=_in_functions(graph), moved=moved)

    def _replace(self, graph: Graph, node: Node, context: Context) -> DecoderReplaced:
        """Add the new decoder, and redirect the consumers of the old one to it."""
        logits, lengths = [context.imported.get_tensor_by_name(full_name(ref)).shape for ref in node.inputs]
        sources = {
            "logits": (node.inputs[0], tf.as_dtype(node.attr["T"].type or tf.float32), logits),
            "lengths": (node.inputs[1], tf.int32, lengths),
        }

        def build(logits: Any, lengths: Any) -> Sequence[Any]:
            return self._built(node, logits, lengths)

        now = insert(graph, f"{node.name}/{self.kind}", sources, build)
        graph.redirect({(node.name, index): ref for index, ref in enumerate(now)})
        for other in graph.nodes.values():
            if node.name in other.controls:
                other.controls = [c for c in other.controls if c != node.name] + list(dict(now))
        return DecoderReplaced(
            node.name,
            "decoder",
            f"{node.name}: decoded {self.kind}",
            is_shown=False,  # export says so in its own line
            beam_width=node.attr["beam_width"].i,
            top_paths=node.attr["top_paths"].i,
            merge_repeated=node.attr["merge_repeated"].b,
            outputs=tuple((f"{node.name}:{index}", full_name(ref)) for index, ref in enumerate(now)),
        )

    def _built(self, node: Node, logits: Any, lengths: Any) -> List[Any]:
        """The outputs of another decoder in the order of the op's."""
        if self.kind in ("greedy", STAND_IN):
            decoded, log_probability = ctc.greedy(logits, lengths)
            if self.kind == STAND_IN:
                paths = node.attr["top_paths"].i
                decoded, log_probability = list(decoded) * paths, tf.tile(log_probability, [1, paths])
        else:
            decoded, log_probability = ctc.beam_search(
                logits,
                lengths,
                beam_width=node.attr["beam_width"].i,
                top_paths=node.attr["top_paths"].i,
                merge_repeated=node.attr["merge_repeated"].b,
            )
        tensors = [path.indices for path in decoded] + [path.values for path in decoded]
        return [*tensors, *(path.dense_shape for path in decoded), log_probability]


def _in_functions(graph: Graph) -> Tuple[Note, ...]:
    count = sum(node.op == BEAM_SEARCH for function in graph.library.function for node in function.node_def)
    return (Note("decoder-in-function", "", f"{count} inside functions are not replaced"),) if count else ()
