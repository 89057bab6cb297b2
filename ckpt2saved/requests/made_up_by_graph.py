"""Requests made up for the signatures of a SavedModel: random pixels, and lengths that its graph can take."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, List, Mapping, Optional

from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import NotServable, SignatureError
from ckpt2saved.requests.lengths import with_measured
from ckpt2saved.requests.parity import case_inputs, default_case
from ckpt2saved.requests.request import MADE_UP, Request, Requests, cant_be_asked
from ckpt2saved.saved_model.writing import read_signature_defs
from ckpt2saved.signature.model import ExampleInput, ParityCase, ServedModel
from ckpt2saved.signature.tensors import Dimension, Signature, TensorSpec
from ckpt2saved.tf1 import tf


def make_by_graph(version_dir: Path, signatures: Mapping[str, Signature]) -> Requests:
    """A request for each of the signatures, as an export would make it; the SavedModel must load."""
    requests: List[Request] = []
    unasked: List[str] = []
    if not signatures:
        return Requests(())
    signature_defs = read_signature_defs(version_dir)
    with tf.Graph().as_default(), tf.Session() as session:
        try:
            tf.saved_model.loader.load(session, [tf.saved_model.SERVING], str(version_dir))
        except (tf.errors.OpError, RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
            raise NotServable(f"{version_dir}: it does not load: {reason_of(error)}") from error
        for name in signatures:
            try:
                model = _model(version_dir, name, signature_defs[name])
                inputs = case_inputs(model, _case(model, session, signature_defs))
            except _CantBeGuessed as error:
                unasked.append(cant_be_asked(name, str(error)))
            else:
                requests.append(Request(MADE_UP, name, inputs, is_made_up=True))
    return Requests(tuple(requests), tuple(unasked))


class _CantBeGuessed(Exception):
    """What an input means, only its maker can say."""


def _case(model: ServedModel, session: tf.Session, signature_defs: Mapping[str, Any]) -> ParityCase:
    try:
        measured = with_measured(model, session.graph, signature_defs, lambda: _kept_open(session))
        return measured.parity[0] if measured.parity else default_case(model)
    except SignatureError:
        pass  # an integer that measures nothing
    except tf.errors.OpError as error:  # the graph does not get as far as what is measured
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


@contextlib.contextmanager
def _kept_open(session: tf.Session) -> Any:
    yield session


def _model(version_dir: Path, name: str, signature_def: Any) -> ServedModel:
    """What a signature file of this one signature would say."""
    inputs = tuple(_spec(key, signature_def.inputs[key]) for key in sorted(signature_def.inputs))
    outputs = tuple(_output(key, signature_def.outputs[key]) for key in sorted(signature_def.outputs))
    return ServedModel(name, version_dir, (Signature(name, inputs, outputs),))


def _output(key: str, info: Any) -> TensorSpec:
    """Only its sizes count: no batch is made up that is one of them."""
    shape = tf.TensorShape(info.tensor_shape)
    sizes = None if shape.ndims is None else tuple(size for size in shape.as_list() if size is not None)
    return TensorSpec(key, info.name, tf.as_dtype(info.dtype).name, sizes)


def _spec(key: str, info: Any) -> TensorSpec:
    shape = tf.TensorShape(info.tensor_shape)
    if shape.ndims is None:
        raise _CantBeGuessed(f"{key} may have any number of dimensions")
    sizes = tuple(_size(key, axis, size) for axis, size in enumerate(shape.as_list()))
    return TensorSpec(key, info.name, tf.as_dtype(info.dtype).name, sizes)


def _size(key: str, axis: int, size: Optional[int]) -> Dimension:
    if size is not None:
        return size
    return "batch" if axis == 0 else f"{key}_{axis}"
