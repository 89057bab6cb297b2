"""The outputs that the checkpoint gives for requests."""

from __future__ import annotations

from typing import Sequence

from ckpt2saved.answers.checkpoint_asker import CheckpointAsker
from ckpt2saved.answers.disagreement import count_disagreements
from ckpt2saved.answers.grafting import graft
from ckpt2saved.answers.proof import Proof, StockSearches, prove
from ckpt2saved.answers.search_limits import SearchLimits
from ckpt2saved.console.say import Say
from ckpt2saved.requests.request import Request
from ckpt2saved.rewrites.for_serving import with_greedy
from ckpt2saved.sources.binding import BoundGraph


def expected_answers(
    asker: CheckpointAsker,
    network: BoundGraph,
    asked: Sequence[Request],
    limits: SearchLimits,
    say: Say,
    *,
    is_greedy: bool = False,
) -> Proof:
    """Run requests on the original graph with the checkpoint; returns them and the expected outputs.

    The outputs of greedy decoders differ from those of the beam search in the original graph. So if `is_greedy`, the
    expected outputs are those of the graph with greedy decoders; `say` reports how many lines the two decode
    differently.
    """
    greedy = with_greedy(network.serving, network.weights) if is_greedy else None
    if greedy is None or not greedy.replaced:
        return prove(asker, asked, limits, say)
    grafted = graft(asker.graph, network.serving, greedy)
    expected = asker.rewritten(grafted).numbers(asked)
    lines, differing = count_disagreements(StockSearches(asker, asked, limits, say), asker, greedy, grafted)
    say("greedy", f"decodes {differing} of {lines} lines differently from the beam search")
    return Proof(tuple(asked), tuple(expected), tuple(asked))
