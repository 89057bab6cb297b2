"""Count the lines that a greedy decoder decodes differently from the beam search of the graph."""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

import numpy as np

from ckpt2saved.answers.checkpoint_asker import CheckpointAsker
from ckpt2saved.answers.grafting import Grafted
from ckpt2saved.answers.proof import Searched, StockSearches
from ckpt2saved.answers.stock_search import Decoded
from ckpt2saved.rewrites.for_serving import ServingRewritten


def count_disagreements(
    stock: StockSearches, asker: CheckpointAsker, rewritten: ServingRewritten, grafted: Grafted
) -> Tuple[int, int]:
    """Decode with both decoders; returns the number of lines compared and the number that differ.

    `rewritten` was grafted into the graph of `asker` as `grafted`. If the beam search of the graph would exceed its
    limits, both decoders run only on the lines and steps that it can decode within them.
    """
    after = {decoder.node: [tensor for _, tensor in decoder.outputs] for decoder in rewritten.replaced}
    lines = differing = 0
    for searched in stock.all():
        tensors = [grafted.place(tensor) for tensor in after[searched.search.name]]
        feeds, _ = searched.request.feeds_and_fetches(asker.signatures)
        name, reading = searched.search.logits, searched.readings[0]
        logits = reading.shortened(searched.logits, searched.lengths)
        other = asker.run(tensors, {**feeds, grafted.place(name): logits})
        before, now = [_texts(outputs, searched, reading) for outputs in (reading.outputs, other)]
        lines += len(before)
        differing += sum(before[line] != now[line] for line in before)
    return lines, differing


def _texts(outputs: Sequence[np.ndarray], searched: Searched, reading: Decoded) -> Dict[int, Tuple[int, ...]]:
    """Line -> labels of its best path, for each line of which more than the first step, or all steps, were decoded."""
    lines, values = outputs[0][:, 0], outputs[searched.search.top_paths]
    texts: Dict[int, Tuple[int, ...]] = {}
    for line, steps in enumerate(searched.lengths):
        if line in reading.lines or reading.lengths[line] == steps:
            texts[line] = tuple(values[lines == line].tolist())
    return texts
