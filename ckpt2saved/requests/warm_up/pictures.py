"""Make warm-up requests from image files, decoded and resized for an input of the network."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.checkpoint.contents import Checkpoint
from ckpt2saved.errors import WarmupError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.pictures import NoPicture, check_pixels, read_picture
from ckpt2saved.graph.tf1 import open_session, tf
from ckpt2saved.requests.lengths import measured
from ckpt2saved.requests.parity import case_inputs
from ckpt2saved.requests.request import Request, with_bytes
from ckpt2saved.requests.warm_up.arrays import brackets
from ckpt2saved.requests.warm_up.file import warm_up_request
from ckpt2saved.signature.model import ParityCase
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.sources.binding import BoundGraph


def requests_of_pictures(
    paths: Sequence[Path],
    network: BoundGraph,
    case: ParityCase,
    signatures: Sequence[Signature],
    checkpoint: Checkpoint,
) -> List[Request]:
    """One request for each image and signature; other inputs come from the parity case and the graph."""
    problems: List[Problem] = []
    images: Dict[str, TensorSpec] = {}
    given: Dict[str, Dict[str, np.ndarray]] = {}
    lengths: Dict[str, Dict[str, Tuple[str, int]]] = {}
    for signature in signatures:
        image = _image_input(signature, problems)
        if image is not None:
            images[signature.name] = image
            given[signature.name], lengths[signature.name] = _others(network, case, signature, image, problems)
    if problems:
        raise WarmupError("no request can be made of a picture; --warmup FILE.npz has any input", problems)
    requests = []
    decoder = _PictureDecoder()
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(network.session(checkpoint)) if any(lengths.values()) else None
        for signature in signatures:
            image = images[signature.name]
            served = network.serving.signatures[signature.name]
            for path in paths:
                picture = decoder.decoded(path, image)
                if picture is None:
                    continue
                rows = picture.shape[0]
                inputs = dict(given[signature.name], **{image.key: picture})
                inputs.update({key: np.ones(rows, _dtype(signature, key)) for key in lengths[signature.name]})
                feeds = {served.input(key).tensor: value for key, value in inputs.items()}
                for key, (tensor, axis) in lengths[signature.name].items():
                    assert session is not None
                    steps = np.asarray(session.run(tensor, feeds)).shape[axis]
                    inputs[key] = np.full(rows, steps, _dtype(signature, key))
                requests.append(warm_up_request(signature.name, inputs))
    if decoder.problems:
        raise WarmupError("some pictures can't be read", list(dict.fromkeys(decoder.problems)))
    return requests


def _dtype(signature: Signature, key: str) -> str:
    return next(spec.dtype for spec in signature.inputs if spec.key == key)


def _image_input(signature: Signature, problems: List[Problem]) -> Optional[TensorSpec]:
    """The only input that can be an image: pixels, or the bytes of an image file."""
    found = [
        spec
        for spec in signature.inputs
        if len(spec.dimensions) == 4
        and spec.dtype in ("float32", "float16", "float64", "uint8")
        and (spec.dimensions[3] in (1, 3, 4) or isinstance(spec.dimensions[3], str))
    ]
    found = found or [spec for spec in signature.inputs if spec.dtype == "string" and len(spec.dimensions) == 1]
    if len(found) == 1:
        return found[0]
    text = (
        "one input for the picture is expected, numbers [batch, height, width, channels] or a file as a string; found"
        f" {', '.join(spec.key for spec in found) or 'none'} among"
        f" {', '.join(f'{spec.key} {spec.dtype} {brackets(spec.dimensions)}' for spec in signature.inputs)}"
    )
    problems.append(Problem("picture-input", signature.name, text))
    return None


def _others(
    network: BoundGraph, case: ParityCase, signature: Signature, image: TensorSpec, problems: List[Problem]
) -> Tuple[Dict[str, np.ndarray], Dict[str, Tuple[str, int]]]:
    """The values of the other inputs, and the tensor and axis that each sequence-length input measures."""
    values: Dict[str, np.ndarray] = {}
    lengths: Dict[str, Tuple[str, int]] = {}
    for spec in signature.inputs:
        if spec is image:
            continue
        tensor = network.graph.get_tensor_by_name(network.serving.signatures[signature.name].input(spec.key).tensor)
        steps = measured(tensor) if tensor.dtype.is_integer and len(spec.dimensions) == 1 else None
        if steps:
            lengths[spec.key] = steps
        elif case.inputs[spec.key].uniform is None:
            value = with_bytes(case_inputs(network.model, case)[spec.key])
            # The parity case may have more lines than the one image.
            shared = (
                spec.dimensions and spec.dimensions[0] == image.dimensions[0] and isinstance(spec.dimensions[0], str)
            )
            values[spec.key] = value[:1] if shared else value
        else:
            found = "its value for a picture is unknown"
            remedy = "give it as 'values' in the parity part"
            problems.append(Problem("example-input", f"{signature.name}.{spec.key}", found, remedy))
    return values, lengths


class _PictureDecoder:
    """Decodes images for an input; collects the problems of the files."""

    def __init__(self) -> None:
        self.problems: List[Problem] = []

    def decoded(self, path: Path, spec: TensorSpec) -> Optional[np.ndarray]:
        """The image [batch, height, width, channels], 0..255, resized for the input; None if it is invalid."""
        try:
            return self._decoded(path, spec)
        except NoPicture as error:
            self.problems.append(Problem("not-a-picture", str(path), str(error)))
            return None

    def _decoded(self, path: Path, spec: TensorSpec) -> np.ndarray:
        content = read_picture(path, of_any_format=spec.dtype == "string")
        copies = spec.dimensions[0] if isinstance(spec.dimensions[0], int) else 1
        if spec.dtype == "string":
            return with_bytes(np.array([content] * copies, object))
        channels = spec.dimensions[3] if isinstance(spec.dimensions[3], int) else 3
        with tf.Graph().as_default(), open_session() as session:
            # decode_png also decodes JPEG.
            pixels = tf.image.decode_png(tf.placeholder(tf.string, [], name="content"), channels=channels)
            try:
                raw = session.run(pixels, {"content:0": content})
            except tf.errors.InvalidArgumentError:
                raise NoPicture("no PNG or JPEG picture") from None
            if raw.ndim != 3:
                raise NoPicture("an animation; expected a single picture")
            size = _resized(raw.shape[0], raw.shape[1], spec.dimensions[1], spec.dimensions[2])
            check_pixels(size[1], size[0])
            if size == raw.shape[:2]:
                picture = raw[None].astype("float32")
            else:
                whole = tf.placeholder(tf.uint8, raw[None].shape)
                picture = session.run(tf.image.resize_bilinear(whole, size), {whole: raw[None]})
        if spec.dtype == "uint8":
            picture = np.round(picture)
        return np.repeat(picture.astype(spec.dtype), copies, axis=0)


def _resized(height: int, width: int, wanted_height: Any, wanted_width: Any) -> Tuple[int, int]:
    """Height and width for the input; a side that the shape leaves open keeps the aspect ratio."""
    if isinstance(wanted_height, int) and isinstance(wanted_width, int):
        return wanted_height, wanted_width
    if isinstance(wanted_height, int):
        return wanted_height, max(int(round(width * wanted_height / height)), 1)
    if isinstance(wanted_width, int):
        return max(int(round(height * wanted_width / width)), 1), wanted_width
    return height, width
