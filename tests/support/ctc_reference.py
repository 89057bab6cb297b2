"""TensorFlow's CTC beam search step by step in float64, to say whether two answers differ by rounding alone."""

from __future__ import annotations

import itertools

import numpy as np

_ZERO = -np.inf


class Impossible(AssertionError):
    """A beam holds a prefix that can't follow from the beam before."""


class Prefix:
    """The log probabilities of a prefix: in total, of ending in a blank, of ending in its last label."""

    def __init__(self, total, blank, label):
        self.total, self.blank, self.label = total, blank, label


class Replay:
    """One item's search, told after each step which prefixes were kept, best first."""

    def __init__(self, logits, width):
        logits = np.asarray(logits, np.float64)
        greatest = logits.max(1, keepdims=True)
        self.scores = logits - greatest - np.log(np.exp(logits - greatest).sum(1, keepdims=True))
        self.width = width
        self.beam = [()]
        self.prefixes = {(): Prefix(0.0, 0.0, _ZERO)}

    def look(self, t):
        """What step t offers: the totals of the prefixes as they stay and [beam, label] of those that are extended."""
        x, blank = self.scores[t, :-1], self.scores[t, -1]
        self.stays, self.extended = {}, np.empty([len(self.beam), len(x)])
        for place, prefix in enumerate(self.beam):
            old = self.prefixes[prefix]
            label = _ZERO
            if prefix:
                label = old.label
                parent = self.prefixes.get(prefix[:-1])
                if parent:
                    label = np.logaddexp(label, parent.blank if prefix[-2:-1] == prefix[-1:] else parent.total)
                label += x[prefix[-1]]
            self.stays[prefix] = Prefix(np.logaddexp(old.total + blank, label), old.total + blank, label)
            self.extended[place] = old.total + x
            if prefix:
                self.extended[place, prefix[-1]] = old.blank + x[prefix[-1]]
        for prefix in self.beam:
            if prefix and prefix[:-1] in self.prefixes:
                self.extended[self.beam.index(prefix[:-1]), prefix[-1]] = _ZERO

    def forgotten(self, slack=0.0, among=None):
        """Places of the prefixes whose extensions the op loses, in order of their turns.

        That is a prefix that was pushed out before its parent, earlier in the order, came to its label. With `slack`
        the places for which that is certain (positive) or possible (negative) although totals err by so much.
        """
        places = {prefix: place for place, prefix in enumerate(self.beam)}
        staying = np.array([stay.total for stay in self.stays.values()])
        lost = []
        for place, prefix in enumerate(self.beam):
            parent = places.get(prefix[:-1], place) if prefix else place
            if parent >= place or parent in lost or (among is not None and place not in among):
                continue
            bar = self.stays[prefix].total + slack
            beating = (staying > bar).sum() + (self.extended[parent, : prefix[-1]] > bar).sum()
            beating += sum((self.extended[i] > bar).sum() for i in range(parent) if i not in lost)
            if beating >= self.width:
                lost.append(place)
        return lost

    def best(self, lost):
        """The totals of the best beam_width, descending, if the extensions of the places in `lost` don't count."""
        rows = [i for i in range(len(self.beam)) if i not in lost]
        everything = np.concatenate([[stay.total for stay in self.stays.values()], self.extended[rows].ravel()])
        everything = everything[everything > _ZERO]
        return np.sort(everything)[::-1][: self.width]

    def gap(self, beam, lost):
        """How far the totals of `beam` are from `best`, at most, place by place; infinite where it can't be."""
        totals = []
        for prefix in beam:
            if prefix in self.stays:
                totals.append(self.stays[prefix].total)
            elif not prefix or prefix[:-1] not in self.prefixes or self.beam.index(prefix[:-1]) in lost:
                return np.inf
            else:
                totals.append(self.extended[self.beam.index(prefix[:-1]), prefix[-1]])
        best = self.best(lost)[: len(beam)]
        return np.abs(np.array(totals) - best).max() if len(best) == len(beam) else np.inf

    def explain(self, beam, slack):
        """The least gap of `beam` for any choice of forgotten prefixes that an error of `slack` leaves open."""
        certain, possible = self.forgotten(slack), self.forgotten(-slack)
        open_ = list(set(certain) ^ set(possible))[:8]
        chosen = (
            self.forgotten(-slack, set(certain) - set(open_) | set(some) | (set(possible) - set(open_)))
            for n in range(len(open_) + 1)
            for some in itertools.combinations(open_, n)
        )
        return min(self.gap(beam, lost) for lost in itertools.chain([self.forgotten()], chosen))

    def take(self, beam):
        """Go on with the prefixes in `beam`, the outcome of the step that was looked at."""
        kept = {}
        for prefix in beam:
            if prefix in self.stays:
                kept[prefix] = self.stays[prefix]
            elif prefix and prefix[:-1] in self.prefixes:
                total = self.extended[self.beam.index(prefix[:-1]), prefix[-1]]
                kept[prefix] = Prefix(total, _ZERO, total)
            else:
                raise Impossible(f"{prefix} can't follow from {self.beam}")
        self.beam, self.prefixes = list(beam), kept

    def settle(self, lost=None):
        """The outcome of the step that was looked at, with ties to the earlier prefix and the lower label."""
        lost = self.forgotten() if lost is None else lost
        offers = [(-self.stays[prefix].total, 0, prefix) for prefix in self.beam]
        for place, prefix in enumerate(self.beam):
            if place not in lost:
                best = np.argsort(-self.extended[place], kind="stable")[: self.width]
                offers += [(-self.extended[place, label], 1, prefix + (int(label),)) for label in best]
        offers = [offer for offer in offers if offer[0] < np.inf]
        return [offer[2] for offer in sorted(offers, key=lambda offer: offer[:2])[: self.width]]


def count_prefixes(steps, classes, width):
    """How many prefixes the beam holds after each of the first `steps` steps."""
    labels = classes - 1
    found, total, counts = [1], 1, []
    for step in range(1, steps + 1):
        if step == 1:
            found.append(labels)
        else:
            # A label follows another at the cost of one step, itself (after a blank) at the cost of two.
            found.append((labels - 1) * found[-1] + (found[-2] if step > 2 else 0))
        total += found[-1]
        counts.append(min(width, total))
    return counts


def spacing(total):
    """The distance of neighbouring float32 numbers of this size."""
    return float(np.spacing(np.float32(max(abs(total), 1e-12))))
