"""Draw batches of training crops ahead, in other processes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from typing import Iterator, NamedTuple

import cv2
import numpy
from anchors import anchor_targets, sampled
from pages import FACES, LONGEST, SIZES, Page, draw_page, face_font

HEIGHT, WIDTH = 256, 320  # of a crop, in pixels
CROPS_OF_A_PAGE = 4
SCALES = (0.65, 2.2)  # of the pages that are resized, half of all
BATCHES_IN_A_DRAW = 4


class Batch(NamedTuple):
    crops: numpy.ndarray  # uint8 [n, height, width, 3]
    kinds: numpy.ndarray  # int32 [n, rows, columns * anchors]: of the anchors, see anchors.py
    offsets: numpy.ndarray  # float32 [n, rows, columns * anchors, 2]


def training_batches(seed: int, size: int, processes: int) -> Iterator[Batch]:
    """Yield batches of `size` crops without end, in an order that depends on the seed only.

    Start the first before TensorFlow has threads of its own. Ends the program if fonts are missing.
    """
    for face in range(len(FACES)):
        face_font(face, SIZES[0])  # a process of a pool that ends leaves the others waiting
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
    """Return one draw: crops of several pages in each batch."""
    random = numpy.random.RandomState([seed, number])
    examples: list[tuple] = []
    while len(examples) < BATCHES_IN_A_DRAW * size:
        page = draw_page(random, longest=LONGEST if random.rand() < 0.7 else 90)
        if random.rand() < 0.5:
            page = _resized(page, numpy.exp(random.uniform(*numpy.log(SCALES))))
        examples += [_crop(page, random) for _ in range(CROPS_OF_A_PAGE if page.lines else 1)]
    random.shuffle(examples)
    columns = [numpy.stack(values) for values in zip(*examples)]
    return [
        Batch(*(values[start : start + size] for values in columns))
        for start in range(0, BATCHES_IN_A_DRAW * size, size)
    ]


def _resized(page: Page, factor: float) -> Page:
    picture = cv2.resize(page.picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    return page._replace(picture=picture, lines=[line._replace(quad=line.quad * factor) for line in page.lines])


def _crop(page: Page, random: numpy.random.RandomState) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return a crop, and of its anchors the kinds of a sample and the offsets."""
    height, width = page.picture.shape[:2]
    top, left = random.randint(height - HEIGHT + 1), random.randint(width - WIDTH + 1)
    quads = [line.quad - numpy.float32([left, top]) for line in page.lines]
    targets = anchor_targets(quads, HEIGHT, WIDTH)
    crop = page.picture[top : top + HEIGHT, left : left + WIDTH]
    return crop, sampled(targets.kinds, random), targets.offsets
