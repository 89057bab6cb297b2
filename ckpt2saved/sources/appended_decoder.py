"""Append a CTC beam search to the logits of a graph (--decode)."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from ckpt2saved.errors import SignatureError, UsageError
from ckpt2saved.errors.problem import Note
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.signature.model import FULL, Decode, ServedModel
from ckpt2saved.sources.batch_axis import batch_axis
from ckpt2saved.sources.networks.decoding import decoded

_INPUT = "decoder-input"
_PASSING = ("Identity", "Transpose", "Reshape", "StopGradient", "ExpandDims", "Squeeze")


def append_decoder(
    graph: tf.Graph, decode: Decode, model: ServedModel, tensors: Mapping[str, tf.Tensor]
) -> Tuple[Dict[str, tf.Tensor], Tuple[Note, ...]]:
    """Decode the logits that `decode` names in `graph`; returns the outputs of `decoded` by name, and notes.

    `tensors` are the named tensors of a builder; the inputs of `model` have shapes and dtypes. Logits are float [time,
    batch, classes]; if the batch dimension comes first they are transposed, and of softmax probabilities the logarithm
    is decoded, with the same result as their logits. Raises SignatureError for a missing tensor, UsageError for one
    with a wrong dtype or shape.
    """
    logits: Any = _named(graph, tensors, decode.logits, "--decode")
    notes: List[Note] = []
    if logits.shape.ndims not in (None, 3) or not logits.dtype.is_floating:
        raise UsageError(
            f"--decode {decode.logits}: logits are floats [time, batch, classes]; this is {logits.dtype.name}"
            f" {logits.shape}"
        )
    specs = {spec.tensor: spec for signature in model.signatures for spec in signature.inputs}
    inputs = {tensors[name].name if name in tensors else name: spec for name, spec in specs.items()}
    with graph.as_default(), v1_control_flow():
        if _is_softmax(logits):
            logits = tf.math.log(tf.maximum(logits, np.finfo(logits.dtype.as_numpy_dtype).tiny))
            notes.append(Note(_INPUT, decode.logits, "probabilities; the decoder gets their logarithm"))
        axis = batch_axis(graph, inputs, logits)
        if axis == 0:
            logits = tf.transpose(logits, [1, 0, 2])
            notes.append(Note(_INPUT, decode.logits, "[batch, time, classes], transposed for the decoder"))
        elif axis != 1:
            text = "assumed to be [time, batch, classes]; the graph does not show it"
            notes.append(Note(_INPUT, decode.logits, text))
        if decode.sequence_length == FULL:
            lengths = tf.fill(tf.shape(logits)[1:2], tf.shape(logits)[0])
        else:
            lengths = _lengths(_named(graph, tensors, decode.sequence_length, "--sequence-length"), decode)
        found = decoded(
            logits,
            lengths,
            beam_width=decode.beam_width,
            top_paths=decode.top_paths,
            merge_repeated=decode.merge_repeated,
        )
    return found, tuple(notes)


def _named(graph: tf.Graph, tensors: Mapping[str, Any], name: str, option: str) -> Any:
    if name in tensors:
        return tensors[name]
    try:
        return graph.get_tensor_by_name(name if ":" in name else name + ":0")
    except (KeyError, ValueError):
        names = f"; the builder names {', '.join(sorted(tensors))}" if tensors else ""
        raise SignatureError(f"{option} {name}: the graph has no such tensor{names}") from None


def _lengths(tensor: tf.Tensor, decode: Decode) -> tf.Tensor:
    if tensor.shape.ndims not in (None, 1) or not tensor.dtype.is_integer:
        raise UsageError(
            f"--sequence-length {decode.sequence_length}: sequence lengths are integers [batch]; this is"
            f" {tensor.dtype.name} {tensor.shape}"
        )
    return tf.cast(tensor, tf.int32)


def _is_softmax(tensor: tf.Tensor) -> bool:
    op = tensor.op
    while op.type in _PASSING:
        op = op.inputs[0].op
    return bool(op.type == "Softmax")
