"""CTC decoding equal to TensorFlow's beam search, built from stock ops that every TF Serving has."""

from ckpt2saved.ctc.greedy import greedy
from ckpt2saved.ctc.search import beam_search

__all__ = ["beam_search", "greedy"]
