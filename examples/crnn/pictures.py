"""Bring pictures to the height of the network, and put those of different widths into one batch."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Optional, Sequence

import cv2
import numpy

HEIGHT = 32


def read_picture(path: Path) -> numpy.ndarray:
    """Return the picture in a file as RGB, uint8 [32, width, 3], its aspect ratio kept."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path} is not a picture")
    return to_height(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def labelled_pictures(labels: Path) -> Iterator[tuple[str, numpy.ndarray]]:
    """Yield text and picture of each line of a file: path from its folder, tab, text."""
    for line in labels.read_text(encoding="utf-8").split("\n")[:-1]:
        path, text = line.split("\t")
        yield text, read_picture(labels.parent / path)


def to_height(picture: numpy.ndarray) -> numpy.ndarray:
    """Return the picture 32 pixels high, its aspect ratio kept."""
    return cv2.resize(picture, (width_at_height(picture), HEIGHT), interpolation=cv2.INTER_LINEAR)


def width_at_height(picture: numpy.ndarray) -> int:
    height, width = picture.shape[:2]
    return max(1, int(round(width * HEIGHT / height)))


def pad_batch(
    pictures: Sequence[numpy.ndarray], random: Optional[numpy.random.RandomState] = None
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the pictures as one array, each filled up on the right, and their true widths.

    They are filled up with their own background. With `random`, each is filled up with a colour or column that is
    drawn, and half of the batches are wider than their widest picture.
    """
    widths = numpy.array([picture.shape[1] for picture in pictures], "int32")
    extra = 0 if random is None or random.rand() < 0.5 else random.randint(1, 4 + widths.max() // 3)
    batch = numpy.empty((len(pictures), HEIGHT, widths.max() + extra, 3), "uint8")
    for row, picture in zip(batch, pictures):
        row[:] = background(picture) if random is None else _anything(picture, random)
        row[:, : picture.shape[1]] = picture
    return batch, widths


def background(picture: numpy.ndarray) -> numpy.ndarray:
    return numpy.median(picture[0], axis=0).astype("uint8")


def _anything(picture: numpy.ndarray, random: numpy.random.RandomState):
    """Return black, which is what zeros are, the background, white, a colour or the last column."""
    kind = random.rand()
    if kind < 0.4:
        return 0
    if kind < 0.65:
        return background(picture)
    if kind < 0.8:
        return 255
    return random.randint(0, 256, size=3) if kind < 0.9 else picture[:, -1:]
