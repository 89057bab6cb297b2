"""Find text lines with a checkpoint's averaged weights."""

from __future__ import annotations

import numpy
import tensorflow.compat.v1 as tf
from anchors import HEIGHTS
from network import ctpn

from ckpt2saved.client.detection import Proposals, TextLines, proposals, text_lines
from ckpt2saved.signature.detection import Anchors, LineRules


class Detector:
    """The network in a graph of its own, with the averages in place of the weights."""

    def __init__(self, threads: int) -> None:
        with tf.Graph().as_default() as graph:
            self._pages = tf.placeholder(tf.float32, [None, None, None, 3])
            bbox_pred, cls_pred = ctpn(self._pages)
            self._fetches = [tf.nn.softmax(cls_pred), bbox_pred]
            averages = tf.train.ExponentialMovingAverage(0.0)  # the decay plays no part in reading them
            self._saver = tf.train.Saver({averages.average_name(one): one for one in tf.trainable_variables()})
        config = tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
        self._session = tf.Session(graph=graph, config=config)

    def restore(self, prefix: str) -> None:
        with self._session.graph.as_default():  # outside any graph, TensorFlow 2.x takes the Saver for an eager one
            self._saver.restore(self._session, prefix)

    def proposals(self, picture: numpy.ndarray) -> Proposals:
        """Return the proposals for a page uint8 [height, width, 3]."""
        cls_prob, bbox_pred = self._session.run(self._fetches, {self._pages: picture[None]})
        im_info = [(*picture.shape[:2], 1.0)]
        return proposals(cls_prob, bbox_pred, im_info, Anchors(HEIGHTS))[0]

    def lines(self, picture: numpy.ndarray, is_slanted: bool = True) -> TextLines:
        """Return the text lines of a page uint8 [height, width, 3]."""
        return text_lines(self.proposals(picture), picture.shape[:2], LineRules(is_slanted=is_slanted))
