"""Make up requests for a SavedModel by loading it: random pixels, and sequence lengths that fit its graph."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import List, Mapping

from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import NotServable, SignatureError
from ckpt2saved.errors.problem import Note
from ckpt2saved.graph.tf1 import open_session, tf
from ckpt2saved.requests.parity import case_inputs, default_case, measured_case
from ckpt2saved.requests.request import MADE_UP, Request, Requests, not_run
from ckpt2saved.saved_model.python_loader import load_into
from ckpt2saved.signature.model import ExampleInput, ParityCase, ServedModel
from ckpt2saved.signature.tensors import Dimension, Signature, TensorSpec


def make_by_graph(version_dir: Path, signatures: Mapping[str, Signature]) -> Requests:
    """One made-up request for each signature; raises NotServable if the SavedModel does not load."""
    requests: List[Request] = []
    unasked: List[Note] = []
    if not signatures:
        return Requests(())
    with tf.Graph().as_default(), open_session() as session:
        try:
            load_into(session, version_dir)
        except NotServable as error:
            raise NotServable(f"{version_dir}: it does not load: {error}") from error
        for name in signatures:
            try:
                model = _model(version_dir, signatures[name])
                inputs = case_inputs(model, _case(model, session, signatures))
            except _CantBeGuessed as error:
                unasked.append(not_run(name, str(error)))
            else:
                requests.append(Request(MADE_UP, name, inputs, is_made_up=True))
    return Requests(tuple(requests), tuple(unasked))


class _CantBeGuessed(Exception):
    """No valid values for an input can be guessed."""


def _case(model: ServedModel, session: tf.Session, signatures: Mapping[str, Signature]) -> ParityCase:
    try:
        return measured_case(model, session.graph, signatures, lambda: contextlib.nullcontext(session))
    except SignatureError:
        pass  # an integer input that is no sequence length
    except tf.errors.OpError as error:  # the graph fails before the measured tensor
        raise _CantBeGuessed(reason_of(error)) from error
    (signature,) = model.signatures
    ones = {spec.key: ExampleInput(None, 1) for spec in signature.inputs if spec.dtype.startswith(("int", "uint"))}
    try:
        return default_case(model, {key: one for key, one in ones.items() if key not in _images(signature)})
    except SignatureError as error:
        unknown = [f"{s.key} takes {s.dtype}" for s in signature.inputs if not _can_be_guessed(s)]
        raise _CantBeGuessed(f"{', '.join(unknown)}, which can't be guessed") from error


def _images(signature: Signature) -> List[str]:
    return [spec.key for spec in signature.inputs if spec.dtype == "uint8"]


def _can_be_guessed(spec: TensorSpec) -> bool:
    return spec.dtype.startswith(("int", "uint", "float", "bfloat"))


def _model(version_dir: Path, signature: Signature) -> ServedModel:
    """The model that a signature file with this signature alone would describe."""
    inputs = tuple(_named(spec) for spec in signature.inputs)
    # Only the fixed sizes of outputs matter: the made-up batch size must differ from them.
    outputs = tuple(replace(spec, shape=spec.fixed_sizes) for spec in signature.outputs)
    return ServedModel(signature.name, version_dir, (Signature(signature.name, inputs, outputs),))


def _named(spec: TensorSpec) -> TensorSpec:
    """The input with a name for each dimension of unknown size."""
    if spec.shape is None:
        raise _CantBeGuessed(f"{spec.key} may have any number of dimensions")
    return replace(spec, shape=tuple(_size(spec.key, axis, size) for axis, size in enumerate(spec.shape)))


def _size(key: str, axis: int, size: Dimension) -> Dimension:
    if size is not None:
        return size
    return "batch" if axis == 0 else f"{key}_{axis}"
