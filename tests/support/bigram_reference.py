"""The CTC beam search with a table of label pairs, as docs/ctc-decoder.md defines it, in plain float64 NumPy."""

from __future__ import annotations

import numpy as np

_ZERO = -np.inf


def log_softmax(logits):
    """The logarithms of the probabilities of each step."""
    greatest = logits.max(-1, keepdims=True)
    return logits - greatest - np.log(np.exp(logits - greatest).sum(-1, keepdims=True))


def times(weight, value):
    """A weight of zero switches even an impossible pair off."""
    return weight * value if weight else 0.0


class Search:
    """One item's search: after `run`, `answers` has (labels, CTC log-probability), best first."""

    def __init__(self, table, weight, bonus, width):
        self.table, self.weight, self.bonus, self.width = np.asarray(table, np.float64), weight, bonus, width
        self.blank = len(table) - 1
        self.margin = np.inf  # the least distance of two ranks whose order mattered

    def pair(self, previous, label):
        return times(self.weight, self.table[previous, label])

    def run(self, logits):
        """Decode logits [time, classes]."""
        beam = {(): (0.0, _ZERO, 0.0)}  # prefix: log-probabilities that end in a blank and in a label; language model
        for scores in log_softmax(np.asarray(logits, np.float64)):
            beam = self.step(beam, scores)
        final = []
        for prefix, (blank, label, model) in beam.items():
            end = self.pair(prefix[-1] if prefix else self.blank, self.blank)
            final.append((np.logaddexp(blank, label) + model + end, prefix))
        order = sorted(range(len(final)), key=lambda place: -final[place][0])
        self.note([final[place][0] for place in order])
        kept = [final[place][1] for place in order]
        self.answers = [(prefix, np.logaddexp(*beam[prefix][:2])) for prefix in kept]
        return self

    def step(self, beam, scores):
        """The prefixes kept after a step with these log-probabilities [classes], best first."""
        offers = []
        for prefix, (blank, label, model) in beam.items():
            total = np.logaddexp(blank, label)
            new_label = label
            if prefix and prefix[:-1] in beam:
                parent_blank, parent_label, _ = beam[prefix[:-1]]
                again = prefix[-2:-1] == prefix[-1:]
                new_label = np.logaddexp(label, parent_blank if again else np.logaddexp(parent_blank, parent_label))
            new_label = new_label + scores[prefix[-1]] if prefix else _ZERO
            offers.append((prefix, (total + scores[self.blank], new_label, model)))
        for prefix, (blank, label, model) in beam.items():
            for c in range(self.blank):
                if prefix + (c,) not in beam:
                    before = blank if prefix[-1:] == (c,) else np.logaddexp(blank, label)
                    longer = model + self.pair(prefix[-1] if prefix else self.blank, c) + self.bonus
                    offers.append((prefix + (c,), (_ZERO, before + scores[c], longer)))
        ranks = [np.logaddexp(blank, label) + model for _, (blank, label, model) in offers]
        order = sorted((place for place in range(len(offers)) if ranks[place] > _ZERO), key=lambda p: -ranks[p])
        self.note([ranks[place] for place in order[: self.width + 1]])
        return dict(offers[place] for place in order[: self.width])

    def note(self, ranks):
        ranks = [rank for rank in ranks if rank > _ZERO]
        if len(ranks) > 1:
            self.margin = min(self.margin, -np.diff(ranks).max())
