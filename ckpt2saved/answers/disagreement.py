"""How often a decoder that is no beam search reads a line differently from the graph's own."""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

import numpy as np

from ckpt2saved.answers.checkpoint_asker import CheckpointAsker
from ckpt2saved.answers.grafting import grafted
from ckpt2saved.answers.proof import Searched, StockSearches
from ckpt2saved.answers.search_limits import SearchLimits
from ckpt2saved.answers.stock_search import Decoded
from ckpt2saved.console.narration import Say
from ckpt2saved.requests.request import Request
from ckpt2saved.rewrites.for_serving import ServingRewritten


def count_disagreements(
    asker: CheckpointAsker, rewritten: ServingRewritten, asked: Sequence[Request], limits: SearchLimits, say: Say
) -> Tuple[int, int]:
    """The lines that both decoders read, and those that they read differently.

    `rewritten` was grafted into the graph of `asker`. Where the graph's own search would take long, both read the
    lines, and of a line the steps, for which it has the time that `limits` gives.
    """
    stock = StockSearches(asker, asked, limits, say)
    after = {decoder.node: [tensor for _, tensor in decoder.outputs] for decoder in rewritten.replaced}
    lines = differing = 0
    for searched in stock.all():
        tensors = [grafted(tensor) for tensor in after[searched.search.name]]
        feeds, _ = searched.request.feeds_and_fetches(asker.signatures)
        name, reading = searched.search.logits, searched.readings[0]
        logits = reading.shortened(searched.logits, searched.lengths)
        # One tensor for both where it is a placeholder.
        other = asker.run(tensors, {**feeds, name: logits, grafted(name): logits})
        before, now = [_texts(outputs, searched, reading) for outputs in (reading.outputs, other)]
        lines += len(before)
        differing += sum(before[line] != now[line] for line in before)
    return lines, differing


def _texts(outputs: Sequence[np.ndarray], searched: Searched, reading: Decoded) -> Dict[int, Tuple[int, ...]]:
    """The labels on the best path of each line that was read further than its first step, or to its end."""
    lines, values = outputs[0][:, 0], outputs[searched.search.top_paths]
    texts: Dict[int, Tuple[int, ...]] = {}
    for line, steps in enumerate(searched.lengths):
        if line in reading.lines or reading.lengths[line] == steps:
            texts[line] = tuple(values[lines == line].tolist())
    return texts
