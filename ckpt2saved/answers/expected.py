"""The requests of the parity check and the outputs that the checkpoint gives for them."""

from __future__ import annotations

from typing import Optional

from ckpt2saved.answers.checkpoint_asker import open_checkpoint_asker
from ckpt2saved.answers.disagreement import count_disagreements
from ckpt2saved.answers.grafting import graft
from ckpt2saved.answers.proof import Proof, prove
from ckpt2saved.answers.search_limits import SearchLimits
from ckpt2saved.checkpoint.contents import Checkpoint
from ckpt2saved.console.narration import Say
from ckpt2saved.requests.lengths import with_lengths
from ckpt2saved.requests.parity import parity_requests
from ckpt2saved.rewrites.for_serving import ServingRewritten
from ckpt2saved.sources.binding import BoundGraph


def expected_answers(
    checkpoint: Checkpoint, network: BoundGraph, greedy: Optional[ServingRewritten], limits: SearchLimits, say: Say
) -> Proof:
    """Run the parity requests on the original graph with the checkpoint; returns requests and expected outputs.

    `greedy` is the graph with greedy decoders, or None. Their outputs differ from those of the beam search in the
    original graph, so the expected outputs are those of the greedy decoders; `say` reports how many lines the two
    decode differently.
    """
    asked = parity_requests(with_lengths(network, checkpoint))
    if greedy is None or not greedy.replaced:
        with open_checkpoint_asker(network, checkpoint) as asker:
            return prove(asker, asked, limits, say)
    with_greedy = graft(network.graph, greedy)
    with open_checkpoint_asker(network, checkpoint) as asker:
        expected = asker.with_signatures(with_greedy).numbers(asked)
        lines, differing = count_disagreements(asker, greedy, asked, limits, say)
    say("greedy", f"decodes {differing} of {lines} lines differently from the beam search")
    return Proof(tuple(asked), tuple(expected), tuple(asked))
