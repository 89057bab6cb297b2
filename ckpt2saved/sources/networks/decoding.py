"""A CTC beam search whose labels can be fetched in two forms: the three tensors of a SparseTensor, and dense."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ckpt2saved import ctc
from ckpt2saved.ctc.language_model import LanguageModel
from ckpt2saved.graph.tf1 import tf


def decoded(
    logits: tf.Tensor,
    lengths: tf.Tensor,
    *,
    beam_width: int,
    top_paths: int = 1,
    merge_repeated: bool = False,
    language_model: Optional[LanguageModel] = None,
) -> Dict[str, tf.Tensor]:
    """Decode logits [time, batch, classes] with sequence lengths `lengths` [batch]; returns tensors by name.

    output_indices [labels, 2], output_values [labels] and output_shape [2], all int64, are the most probable path; ids
    int64 [batch, time] is the same padded with -1, lengths int32 [batch], score float32 [batch] its log-probability.
    Of further paths there are output_indices_2 and so on. With a language model the decoder is made of stock ops here
    already, since TensorFlow has none.
    """
    settings: Dict[str, Any] = {"beam_width": beam_width, "top_paths": top_paths, "merge_repeated": merge_repeated}
    if language_model is None:
        paths, log_probability = tf.nn.ctc_beam_search_decoder(logits, lengths, **settings)
    else:
        paths, log_probability = ctc.beam_search(logits, lengths, language_model=language_model, **settings)
    # TF Serving fetches tensors by name, and a SparseTensor has no name: so its three tensors are served.
    # The width of the dense form is the number of steps, not the longest text: with batching its shape must not depend
    # on other lines of the batch.
    size = tf.shape(logits, out_type=tf.int64)
    full = tf.SparseTensor(paths[0].indices, paths[0].values, tf.stack([size[1], size[0]]))
    ids = tf.sparse.to_dense(full, default_value=-1, name="ids")
    ids.set_shape([None, None])
    tensors = {
        "ids": ids,
        "lengths": tf.reduce_sum(tf.cast(ids >= 0, tf.int32), axis=1, name="lengths"),
        "score": tf.identity(log_probability[:, 0], name="score"),
    }
    for number, path in enumerate(paths, 1):
        suffix = "" if number == 1 else f"_{number}"
        tensors["output_indices" + suffix] = tf.identity(path.indices, name="output_indices" + suffix)
        tensors["output_values" + suffix] = tf.identity(path.values, name="output_values" + suffix)
        tensors["output_shape" + suffix] = tf.identity(path.dense_shape, name="output_shape" + suffix)
    return tensors
