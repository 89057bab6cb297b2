"""Count the characters that a checkpoint reads right: python evaluate.py CHECKPOINT_DIR [LABELS.tsv]"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must precede the import of TensorFlow
warnings.simplefilter("ignore")  # TensorFlow 1.x warns about the numpy of its own time

import numpy  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402
from pictures import background, labelled_pictures  # noqa: E402
from reader import Reader, distance  # noqa: E402


def main() -> None:
    tf.logging.set_verbosity(tf.logging.ERROR)
    labels = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).with_name("unseen.tsv")
    reader = Reader(threads=2)
    reader.restore(tf.train.latest_checkpoint(sys.argv[1]))
    texts, pictures = zip(*labelled_pictures(labels))
    alone = [reader.read_alone(picture) for picture in pictures]
    for text, read in zip(texts, alone):
        if text != read:
            print(f"{text}\n    was read as {read}")
    print(f"TensorFlow {tf.__version__}, {len(texts)} lines, {sum(map(len, texts))} characters")
    _report("each line alone", texts, alone)
    for colour in ("black", "white", "background"):
        for factor in (1.1, 1.5, 3):
            read = [reader.read(_wider(picture, colour, factor), [picture.shape[1]])[0] for picture in pictures]
            _report(f"padded with {colour} to {factor} times its width", texts, read)


def _report(how: str, texts, read) -> None:
    wrong = sum(map(distance, texts, read))
    lines = sum(text == answer for text, answer in zip(texts, read))
    print(f"{how}: {1 - wrong / sum(map(len, texts)):.2%} of the characters, {lines} lines without a mistake")


def _wider(picture: numpy.ndarray, colour: str, factor: float) -> numpy.ndarray:
    """Return the picture as a batch of one, padded on the right without a mask."""
    batch = numpy.empty((1, picture.shape[0], int(factor * picture.shape[1]), 3), "uint8")
    batch[:] = {"black": 0, "white": 255, "background": background(picture)}[colour]
    batch[0, :, : picture.shape[1]] = picture
    return batch


if __name__ == "__main__":
    main()
