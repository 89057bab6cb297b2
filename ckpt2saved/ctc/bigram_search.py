"""CTC beam search that adds a language model of label pairs to the scores of prefixes."""

from __future__ import annotations

from typing import Any, NamedTuple, Tuple

import numpy as np

from ckpt2saved.ctc.language_model import LanguageModel
from ckpt2saved.ctc.prefix_search import PrefixSearch, after_last_step, checked_paths, int64, trace_back
from ckpt2saved.ctc.prefixes import DEAD, ZERO, Beams, Kept, Stays, pick, search, step_array
from ckpt2saved.ctc.top_labels import Best
from ckpt2saved.graph.tf1 import tf

# With more classes than these, the labels are examined in blocks, of which most can be left out.
_CLASSES, _BLOCK = 256, 16
# Blocks for each prefix that are examined before it is known how many have to be.
_FIRST_BLOCKS = 4


class _State(NamedTuple):
    beams: Beams
    model: tf.Tensor  # [batch, beam_width], the language model's score of each prefix


class _Scores(NamedTuple):
    """The label scores of a step, relative to the step's greatest logit."""

    blocks: tf.Tensor  # [batch, blocks, block]
    best: tf.Tensor  # [batch, blocks], the greatest of each block


class _Ranked(NamedTuple):
    """The prefixes that are kept, all [batch, beam_width], the highest rank first."""

    rank: tf.Tensor
    source: tf.Tensor  # int32, the place of the prefix that stayed or was extended
    last: tf.Tensor  # int64
    stayed: tf.Tensor  # bool


class BigramSearch(PrefixSearch):
    """The loop body and its constants for one logits tensor and one language model.

    A prefix's rank is its CTC log-probability plus the language model's score. Labels are divided into blocks. No
    extension of a prefix by a label of a block ranks higher than the sum of the prefix's rank, the greatest logit of
    the block and the greatest entry of the table in the block; so only the blocks for which that reaches the lowest
    rank that is kept have to be examined. Few classes are one block.
    """

    def __init__(self, logits: tf.Tensor, best: Best, model: LanguageModel, width: int) -> None:
        super().__init__(logits, width)
        table = _entries(model, self.dtype.as_numpy_dtype)
        self.block = model.classes if model.classes <= _CLASSES else _BLOCK
        self.blocks = -(-model.classes // self.block)
        padding = self.blocks * self.block - model.classes
        self.padding = tf.fill([self.batch, padding], self.number(ZERO))
        self.ends = tf.constant(table[:, -1])
        pairs = table + table.dtype.type(model.bonus)
        pairs[:, -1] = ZERO  # no prefix is extended by the blank
        pairs = np.pad(pairs, [(0, 0), (0, padding)], "constant", constant_values=ZERO).reshape(-1, self.block)
        self.pairs = tf.constant(pairs)
        self.best_pairs = tf.constant(pairs.max(1).reshape(-1, self.blocks))
        self.inputs = [step_array(part) for part in (self.rows(), best.greatest, best.blank)]

    def begin(self) -> _State:
        """Return the state before the first step."""
        return _State(self.start(), tf.zeros([self.batch, self.width], self.dtype))

    def step(self, t: tf.Tensor, state: _State) -> Tuple[_State, Kept]:
        """Return the state after step t, and the parents and labels of its prefixes."""
        row, greatest, blank = [part.read(t)[:, None] for part in self.inputs]
        stays = self.stay(state.beams, row, greatest, blank)
        ranked = self._keep(state, self._scores(t, greatest), stays)
        alive = ranked.rank > DEAD
        source = ranked.source + self.item_row
        before = pick(state.beams.last, source)
        score = tf.maximum(tf.gather(self.flat, row + ranked.last) - greatest, ZERO)
        again = tf.equal(before, ranked.last)
        total = tf.where(again, pick(state.beams.blank, source), pick(state.beams.total, source)) + score
        total = tf.where(ranked.stayed, pick(stays.total, source), total)
        kept = Kept(tf.where(alive, total, self.zeros), source, ranked.last, ranked.stayed)
        model = pick(state.model, source)
        longer = model + pick(self.pairs, before * (self.blocks * self.block) + ranked.last)
        model = tf.where(ranked.stayed, model, longer)
        return _State(self.move(state.beams, stays, kept), tf.where(alive, model, tf.zeros_like(model))), kept

    def ranks(self, state: _State) -> tf.Tensor:
        """Return the ranks of the prefixes as texts that end here [batch, beam_width]."""
        return state.beams.total + state.model + tf.gather(self.ends, state.beams.last)

    def _scores(self, t: tf.Tensor, greatest: tf.Tensor) -> _Scores:
        scores = tf.concat([tf.maximum(self.logits[t] - greatest, ZERO), self.padding], 1)
        blocks = tf.reshape(scores, [self.batch, self.blocks, self.block])
        return _Scores(blocks, tf.reduce_max(blocks, 2))

    def _keep(self, state: _State, scores: _Scores, stays: Stays) -> _Ranked:
        """Return the best stays and extensions."""
        if self.blocks == 1:
            return self._best(state, scores, stays, self.places)
        rank = (state.beams.total + state.model)[:, :, None]
        bounds = rank + scores.best[:, None] + tf.gather(self.best_pairs, state.beams.last)
        bounds = tf.reshape(bounds, [self.batch, self.width * self.blocks])

        def examine(count: tf.Tensor) -> _Ranked:
            chosen = tf.nn.top_k(bounds, count, sorted=False)[1]
            return self._best(state, scores, stays, -tf.nn.top_k(-chosen, count)[0])

        first = self.width * min(_FIRST_BLOCKS, self.blocks)
        ranked = examine(tf.constant(first))
        reaching = bounds >= tf.maximum(ranked.rank[:, -1:], DEAD)
        needed = tf.reduce_max(tf.concat([[0], tf.reduce_sum(tf.cast(reaching, tf.int32), 1)], 0))
        complete = tf.cond(
            needed > first, lambda: tuple(examine(needed)), lambda: tuple(tf.identity(part) for part in ranked)
        )
        return _Ranked(*complete)

    def _best(self, state: _State, scores: _Scores, stays: Stays, chosen: tf.Tensor) -> _Ranked:
        """Return the best stays and the best extensions by labels in the blocks `chosen`.

        `chosen` is int32 [batch, n], ascending, of beam position * blocks + block. Of equal ranks the stays come first,
        then the extensions of the earlier prefix, then the lower label.
        """
        beams, count = state.beams, tf.shape(chosen)[1]
        place, block = chosen // self.blocks, chosen % self.blocks
        row = place + self.item_row
        last = pick(beams.last, row)
        labels = tf.cast(block * self.block, tf.int64)[:, :, None] + tf.range(self.block, dtype=tf.int64)
        extended = tf.gather(tf.reshape(scores.blocks, [-1, self.block]), block + self.item * self.blocks)
        extended += tf.gather(self.pairs, last * self.blocks + tf.cast(block, tf.int64))
        # The last label once more is another label only after a blank.
        total, blank = [pick(part + state.model, row)[:, :, None] for part in (beams.total, beams.blank)]
        extended = tf.where(tf.equal(labels, last[:, :, None]), extended + blank, extended + total)
        ranks = self._without_children(beams, stays, chosen, extended)
        ranks = tf.concat([stays.total + state.model, ranks], 1)
        rank, index = tf.nn.top_k(tf.maximum(ranks, ZERO), self.width)
        stayed, extension = index < self.width, tf.maximum(index - self.width, 0)
        found = extension // self.block + self.item * count
        source = tf.where(stayed, index, pick(place, found))
        label = tf.cast(pick(block, found) * self.block + extension % self.block, tf.int64)
        return _Ranked(rank, source, tf.where(stayed, pick(beams.last, source + self.item_row), label), stayed)

    def _without_children(self, beams: Beams, stays: Stays, chosen: tf.Tensor, extended: tf.Tensor) -> tf.Tensor:
        """Return the ranks [batch, n * block + 1] of extensions, ZERO for those that are in the beam, and a ZERO."""
        count = tf.shape(chosen)[1]
        size = count * self.block
        ranks = tf.concat([tf.reshape(extended, [self.batch, size]), self.zeros[:, :1]], 1)
        block, offset = tf.cast(beams.last // self.block, tf.int32), tf.cast(beams.last % self.block, tf.int32)
        of_parent = stays.parent * self.blocks + block
        found = tf.minimum(search(chosen, of_parent), count - 1)
        is_child = tf.logical_and(stays.has_parent, tf.equal(pick(chosen, found + self.item * count), of_parent))
        place = tf.where(is_child, found * self.block + offset, tf.fill(tf.shape(found), size))
        place = tf.reshape(place + self.item * (size + 1), [-1, 1])
        flat = tf.reshape(ranks, [-1])
        flat = tf.tensor_scatter_update(flat, place, tf.fill(tf.shape(place)[:1], self.number(ZERO)))
        return tf.reshape(flat, [self.batch, size + 1])


def decode_bigrams(decoder: BigramSearch, lengths: tf.Tensor, paths: int) -> Tuple[tf.Tensor, tf.Tensor]:
    """Run the search for each item's `lengths` steps.

    Returns the labels of the `paths` prefixes of the highest rank, int64 [time, batch, paths] (-1: none), and their CTC
    log-probabilities [batch, paths], relative to the greatest logits of the steps.
    """
    steps = decoder.steps
    none = tf.fill([decoder.batch, decoder.width], int64(-1))

    def step(t: tf.Tensor, state: _State, *arrays: tf.TensorArray) -> Tuple[Any, ...]:
        state, kept = decoder.step(t, state)
        label = tf.where(kept.stayed, none, kept.last)
        written = (kept.total, decoder.ranks(state), kept.source, label)
        return (t + 1, state) + tuple(array.write(t, part) for array, part in zip(arrays, written))

    dtypes = (decoder.dtype, decoder.dtype, tf.int32, tf.int64)
    start = decoder.begin()
    arrays = [tf.TensorArray(dtype, steps) for dtype in dtypes]
    done = tf.while_loop(lambda t, *_: t < steps, step, [tf.constant(0), start] + arrays)
    totals, ranks, sources, labels = [array.stack() for array in done[2:]]
    totals = after_last_step(totals, lengths, start.beams.total)
    ends = tf.nn.top_k(after_last_step(ranks, lengths, decoder.ranks(start)), paths)[1] + decoder.item_row
    return checked_paths(trace_back(sources, labels, lengths, ends), pick(totals, ends))


def _entries(model: LanguageModel, dtype: Any) -> np.ndarray:
    """Return the weighted table, with ZERO for what it excludes."""
    if not model.weight:
        return np.zeros(np.shape(model.table), dtype)
    return np.maximum(model.weight * np.asarray(model.table, np.float64), ZERO).astype(dtype)
