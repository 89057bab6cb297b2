"""Read pictures with a checkpoint's weights, in inference mode."""

from __future__ import annotations

from typing import Iterable, Sequence

import numpy
import tensorflow.compat.v1 as tf
from network import crnn_logits
from texts import text_of


class Reader:
    """The network in a graph of its own: running averages, no dropout, beam search of width 1."""

    def __init__(self, threads: int) -> None:
        with tf.Graph().as_default() as graph:
            self._images = tf.placeholder(tf.float32, [None, 32, None, 3])
            self._lengths = tf.placeholder(tf.int32, [None])
            logits = crnn_logits(self._images, self._lengths, training=False)
            (self._decoded,), _ = tf.nn.ctc_beam_search_decoder(
                logits, self._lengths, beam_width=1, merge_repeated=False
            )
            self._saver = tf.train.Saver()
        self._session = tf.Session(graph=graph, config=session_config(threads))

    def restore(self, prefix: str) -> None:
        with self._session.graph.as_default():  # outside any graph, TensorFlow 2.x takes the Saver for an eager one
            self._saver.restore(self._session, prefix)

    def read(self, images: numpy.ndarray, widths: Sequence[int]) -> list[str]:
        """Return the texts of `images` [n, 32, width, 3], of which each is `widths` pixels wide without its padding."""
        decoded = self._session.run(self._decoded, {self._images: images, self._lengths: numpy.array(widths) // 4})
        rows = decoded.indices[:, 0]
        return [text_of(decoded.values[rows == row]) for row in range(len(images))]

    def read_alone(self, picture: numpy.ndarray) -> str:
        """Return the text of one picture [32, width, 3], which is a batch by itself."""
        return self.read(picture[None], [picture.shape[1]])[0]

    def share_right(self, exam: Iterable[tuple[str, numpy.ndarray]]) -> float:
        """Return how many of the characters are right, 1 for all, where each picture is read alone."""
        pairs = [(text, self.read_alone(picture)) for text, picture in exam]
        return 1 - sum(distance(*pair) for pair in pairs) / sum(len(text) for text, _ in pairs)


def distance(text: str, read: str) -> int:
    """Return the Levenshtein distance: the fewest characters to insert, remove or replace."""
    row = list(range(len(read) + 1))
    for i, symbol in enumerate(text, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(read, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (symbol != other))
    return row[-1]


def session_config(threads: int) -> tf.ConfigProto:
    return tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
