"""Draw batches of training lines ahead, in other processes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from typing import Iterator, NamedTuple

import cv2
import numpy
from pictures import pad_batch, to_height
from render import render_readable
from texts import held_out_lines, training_line

BATCHES_IN_A_DRAW = 16


class Batch(NamedTuple):
    """Lines of text, their pictures [n, 32, width, 3] and each picture's width without its padding."""

    lines: list[str]
    images: numpy.ndarray
    widths: numpy.ndarray


def training_batches(seed: int, size: int, processes: int) -> Iterator[Batch]:
    """Yield batches of `size` lines without end, in an order that depends on the seed only.

    Start the first before TensorFlow has threads of its own.
    """
    pool = multiprocessing.Pool(processes, initializer=cv2.setNumThreads, initargs=(1,))
    waiting = deque(pool.apply_async(draw, (seed, number, size)) for number in range(processes + 1))
    return _as_drawn(pool, waiting, seed, size)


def _as_drawn(pool, waiting: deque, seed: int, size: int) -> Iterator[Batch]:
    number = len(waiting)
    with pool:  # ends its processes when no more batches are taken
        while True:
            yield from waiting.popleft().get()
            waiting.append(pool.apply_async(draw, (seed, number, size)))
            number += 1


def draw(seed: int, number: int, size: int) -> list[Batch]:
    """Return one draw. It is sorted by width, so that a batch holds lines of about one width."""
    random = numpy.random.RandomState([seed, number])
    held_out = held_out_lines()
    lines = [training_line(random, held_out) for _ in range(size * BATCHES_IN_A_DRAW)]
    drawn = sorted(
        ((line, to_height(render_readable(line, random))) for line in lines), key=lambda pair: pair[1].shape[1]
    )
    batches = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    random.shuffle(batches)
    return [Batch([line for line, _ in batch], *pad_batch([image for _, image in batch], random)) for batch in batches]
