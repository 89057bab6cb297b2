"""CTC decoding without a search: the best class of each step, which another text may well beat."""

from __future__ import annotations

from typing import List, Tuple

from ckpt2saved.ctc.normalizers import log_normalizers
from ckpt2saved.tf1 import tf


def greedy(logits: tf.Tensor, sequence_length: tf.Tensor) -> Tuple[List[tf.SparseTensor], tf.Tensor]:
    """Decode by the best class of each step, with the contract of `ckpt2saved.ctc.beam_search` for one path.

    The log-probability is that of the one alignment that was taken, so never more than the text's own.
    """
    decoded, _ = tf.nn.ctc_greedy_decoder(logits, sequence_length, merge_repeated=True)
    greatest = tf.reduce_max(logits, 2)
    return decoded, -log_normalizers(logits, greatest, sequence_length)[:, None]
