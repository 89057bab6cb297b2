"""Greedy CTC decoding by the best class of each step, which may miss the most probable text."""

from __future__ import annotations

from typing import List, Tuple

from ckpt2saved.ctc.normalizers import log_normalizers
from ckpt2saved.graph.tf1 import tf


def greedy(logits: tf.Tensor, sequence_length: tf.Tensor) -> Tuple[List[tf.SparseTensor], tf.Tensor]:
    """Decode by the best class of each step, like `ckpt2saved.ctc.beam_search` for one path.

    The log-probability is that of the best alignment, so at most the text's own.
    """
    decoded, _ = tf.nn.ctc_greedy_decoder(logits, sequence_length, merge_repeated=True)
    greatest = tf.reduce_max(logits, 2)
    return decoded, -log_normalizers(logits, greatest, sequence_length)[:, None]
