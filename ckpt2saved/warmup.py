"""The requests that a server answers while it loads a version: which, how they are made, and written into the stage."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.errors import NotServable, UsageError, WarmupError
from ckpt2saved.lengths import measured
from ckpt2saved.preparation import Network
from ckpt2saved.questions import Question, default_case, question_inputs
from ckpt2saved.serving.batching import keys_without_batch
from ckpt2saved.serving.saved_signatures import SavedSignature, SavedTensor
from ckpt2saved.serving.warmup_file import (
    MOST_RECORDS,
    WARMUP_FILE,
    WarmupRequest,
    as_prediction_log,
    read_warmup_requests,
    requests_by_signature,
)
from ckpt2saved.signature import ServedModel, Signature, TensorSpec
from ckpt2saved.tf1 import tf
from ckpt2saved.warmup_source import WarmupSource, too_many

Fill = Callable[[tf.Session], None]

_UNWRITABLE = ("bfloat16",)  # numpy does not know it
# What numpy, zipfile and zlib say of a file that is cut off, of another kind, or holds objects; an .npy file is an
# array, which `with` does not take.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_LARGEST_BATCH = 32  # what a server puts together unless told otherwise by serving-config


@dataclass(frozen=True)
class Warmup:
    """Requests for a version's warm-up file, and what there is to say about them."""

    requests: Tuple[WarmupRequest, ...] = ()
    absence: str = "none, as asked"  # why there are no requests, where there are none
    remarks: Tuple[str, ...] = ()

    @property
    def counts(self) -> Dict[str, int]:
        """How many requests there are of each signature."""
        return requests_by_signature(self.requests)


def make_warmup(source: WarmupSource, network: Network, fill: Fill) -> Warmup:
    """The requests that `source` stands for, put to the signatures that it names or that batching doesn't break.

    Raises WarmupError with everything that does not fit, UsageError for too many.
    """
    defs = network.serving.signature_defs
    broken = {name: keys_without_batch(_saved_signature(name, defs[name])) for name in defs}
    names = source.signatures or [s.name for s in network.model.signatures if not broken[s.name]]
    signatures = [s for s in network.model.signatures if s.name in names]
    unwritable = [s for s in signatures if any(spec.dtype in _UNWRITABLE for spec in s.inputs)]
    if unwritable and source.asked:
        raise WarmupError("requests for {}: no bfloat16 can be written".format(", ".join(s.name for s in unwritable)))
    signatures = [s for s in signatures if s not in unwritable]
    if not signatures:
        absence = "none: {}; --warmup-signature NAME writes some all the same".format(
            "bfloat16 inputs can't be written" if unwritable else "batching would break every signature"
        )
        return Warmup(absence=absence)
    if source.arrays is not None:
        requests = _of_file(source.arrays, signatures)
    elif source.pictures:
        requests = _of_pictures(source.pictures, network, signatures, fill)
    else:
        _check_count(source.count * len(signatures))
        requests = [
            WarmupRequest(signature.name, _varied(network.model, signature, number))
            for signature in signatures
            for number in range(source.count)
        ]
    _check_count(len(requests))
    remarks = [
        "{}: with its warm-up requests in the version, a server with --enable_batching never loads it".format(name)
        for name in source.signatures
        if broken[name]
    ]
    largest = max(_batch(request) for request in requests)
    if largest > _LARGEST_BATCH:
        remarks.append(
            "warm-up requests of {0}: a server with --enable_batching loads the version only if its max_batch_size "
            "is {0} or more".format(largest)
        )
    return Warmup(tuple(requests), remarks=tuple(remarks))


def _check_count(count: int) -> None:
    if count > MOST_RECORDS:
        raise UsageError(too_many(count))


def _batch(request: WarmupRequest) -> int:
    return max((value.shape[0] for value in request.inputs.values() if value.ndim), default=0)


def _saved_signature(name: str, signature_def: Any) -> SavedSignature:
    """The signature as it will stand in saved_model.pb."""
    return SavedSignature(
        name,
        *(
            tuple(
                SavedTensor(
                    key,
                    info.name,
                    info.dtype,
                    None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim),
                )
                for key, info in sorted(side.items())
            )
            for side in (signature_def.inputs, signature_def.outputs)
        ),
    )


# Requests made of the parity part.


def _varied(model: ServedModel, signature: Signature, number: int) -> Dict[str, np.ndarray]:
    """The parity cases in turn; from then on again, of other batch sizes and twice the size where that is open.

    No line becomes shorter than it is in the file, so that the steps that count in it stay fewer than it has.
    """
    cases = model.parity or (default_case(model),)
    case, turn = cases[number % len(cases)], number // len(cases)
    batch = {spec.shape[0] if spec.shape else None for spec in signature.inputs}
    given = {size for spec in signature.inputs if case.inputs[spec.key].uniform is None for size in spec.shape}
    scale = 1 + turn % 2
    dims = {name: size if name in batch or name in given else size * scale for name, size in case.dims.items()}
    made = question_inputs(model, replace(case, dims=dims), number)
    inputs = {spec.key: _with_bytes(made[spec.key]) for spec in signature.inputs}
    if turn and len(batch) == 1 and isinstance(next(iter(batch)), str):
        # Rows again and again: the lengths in the file are as many as the batch is there.
        inputs = {key: np.resize(value, (1 + turn % 4,) + value.shape[1:]) for key, value in inputs.items()}
    return inputs


def _with_bytes(value: np.ndarray) -> np.ndarray:
    if value.dtype.kind not in "OSU":
        return value
    items = [item.encode("utf-8") if isinstance(item, str) else bytes(item) for item in value.ravel().tolist()]
    found = np.empty(len(items), object)
    found[:] = items
    return found.reshape(value.shape)


# Requests of a file of arrays.


def _of_file(path: Path, signatures: Sequence[Signature]) -> List[WarmupRequest]:
    arrays = _arrays(path)
    known = sorted({spec.key for signature in signatures for spec in signature.inputs})
    problems = [
        "{}: no such input; expected {}".format(key, ", ".join(known)) for key in sorted(arrays) if key not in known
    ]
    requests = []  # type: List[WarmupRequest]
    for signature in signatures:
        problems += ["{}: missing".format(spec.key) for spec in signature.inputs if spec.key not in arrays]
        problems += _misfits(signature, arrays)
        if not problems:
            requests += [WarmupRequest(signature.name, inputs) for inputs in _records(signature, arrays)]
    if problems:
        raise WarmupError("{}: no requests can be made of it".format(path), list(dict.fromkeys(problems)))
    return requests


def _arrays(path: Path) -> Dict[str, np.ndarray]:
    try:
        with np.load(str(path), allow_pickle=False) as file:
            return {name: _with_bytes(file[name]) for name in file.files}
    except _UNREADABLE as error:
        raise WarmupError(
            "{}: this can't be read as a file of numpy.savez ({}); strings are arrays of dtype S, not objects".format(
                path, str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            )
        ) from error


def _misfits(signature: Signature, arrays: Mapping[str, np.ndarray]) -> List[str]:
    """What is wrong with the arrays of one signature's inputs, as far as they are there."""
    problems = []
    sizes, counts = {}, {}  # type: Dict[str, Tuple[int, str]], Dict[str, int]
    for spec in signature.inputs:
        value = arrays.get(spec.key)
        if value is None:
            continue
        dtype = "string" if value.dtype == object else value.dtype.name
        if dtype != spec.dtype:
            problems.append("{}: {} found, {} expected".format(spec.key, dtype, spec.dtype))
        several = value.ndim == len(spec.shape) + 1
        shape = value.shape[1:] if several else value.shape
        if several:
            counts[spec.key] = value.shape[0]
        if len(shape) != len(spec.shape) or any(
            isinstance(size, int) and size != found for size, found in zip(spec.shape, shape)
        ):
            problems.append(
                "{}: the shape {} found, {} expected, or that with the number of records in front".format(
                    spec.key, _brackets(value.shape), _brackets(spec.shape)
                )
            )
            continue
        for size, found in zip(spec.shape, shape):
            first, key = sizes.setdefault(size, (found, spec.key)) if isinstance(size, str) else (found, "")
            if first != found:
                problems.append("{}: {} is {}, but {} in {}".format(spec.key, size, found, first, key))
    if len(set(counts.values())) > 1 or 0 in counts.values():
        problems.append(
            "{}: as many records of each are expected, and at least one".format(
                ", ".join("{} of {}".format(count, key) for key, count in counts.items())
            )
        )
    return problems


def _brackets(shape: Sequence[Any]) -> str:
    return "[{}]".format(", ".join(map(str, shape)))


def _records(signature: Signature, arrays: Mapping[str, np.ndarray]) -> List[Dict[str, np.ndarray]]:
    """The inputs of each record; what has no axis for them is the same in all."""
    several = {spec.key: arrays[spec.key].ndim > len(spec.shape) for spec in signature.inputs}
    counts = [arrays[key].shape[0] for key in several if several[key]]
    return [
        {key: np.asarray(arrays[key][number] if several[key] else arrays[key]) for key in several}
        for number in range(counts[0] if counts else 1)
    ]


# Requests of pictures.


def _of_pictures(
    paths: Sequence[Path], network: Network, signatures: Sequence[Signature], fill: Fill
) -> List[WarmupRequest]:
    """A request of one picture for each picture and signature, with the rest as the parity part and the graph say."""
    problems = []  # type: List[str]
    images = {signature.name: _image_input(signature, problems) for signature in signatures}
    given = {}  # type: Dict[str, Dict[str, np.ndarray]]
    lengths = {}  # type: Dict[str, Dict[str, Tuple[str, int]]]
    for signature in signatures:
        image = images[signature.name]
        if image is not None:
            others = [spec for spec in signature.inputs if spec is not image]
            given[signature.name], lengths[signature.name] = _others(network, signature, image, others, problems)
    if problems:
        raise WarmupError("no request can be made of a picture; --warmup FILE.npz has any input", problems)
    requests = []
    decoder = _PictureDecoder()
    with tf.Session(graph=network.graph) as session:
        if any(lengths.values()):
            fill(session)
        for signature in signatures:
            image = images[signature.name]
            signature_def = network.serving.signature_defs[signature.name]
            for path in paths:
                picture = decoder.decoded(path, image)
                if picture is None:
                    continue
                rows = picture.shape[0]
                inputs = dict(given[signature.name], **{image.key: picture})
                inputs.update({key: np.ones(rows, _dtype(signature, key)) for key in lengths[signature.name]})
                feeds = {signature_def.inputs[key].name: value for key, value in inputs.items()}
                for key, (tensor, axis) in lengths[signature.name].items():
                    steps = np.asarray(session.run(tensor, feeds)).shape[axis]
                    inputs[key] = np.full(rows, steps, _dtype(signature, key))
                requests.append(WarmupRequest(signature.name, inputs))
    if decoder.problems:
        raise WarmupError("some pictures can't be read", list(dict.fromkeys(decoder.problems)))
    return requests


def _dtype(signature: Signature, key: str) -> str:
    return next(spec.dtype for spec in signature.inputs if spec.key == key)


def _image_input(signature: Signature, problems: List[str]) -> Optional[TensorSpec]:
    """The one input that can be a picture: its pixels, or a file's bytes."""
    found = [
        spec
        for spec in signature.inputs
        if len(spec.shape) == 4
        and spec.dtype in ("float32", "float16", "float64", "uint8")
        and (spec.shape[3] in (1, 3, 4) or isinstance(spec.shape[3], str))
    ]
    found = found or [spec for spec in signature.inputs if spec.dtype == "string" and len(spec.shape) == 1]
    if len(found) == 1:
        return found[0]
    problems.append(
        "{}: one input for the picture is expected, numbers [batch, height, width, channels] or a file as a string; "
        "found {} among {}".format(
            signature.name,
            ", ".join(spec.key for spec in found) or "none",
            ", ".join("{} {} {}".format(spec.key, spec.dtype, _brackets(spec.shape)) for spec in signature.inputs),
        )
    )
    return None


def _others(
    network: Network, signature: Signature, image: TensorSpec, specs: Sequence[TensorSpec], problems: List[str]
) -> Tuple[Dict[str, np.ndarray], Dict[str, Tuple[str, int]]]:
    """The inputs beside the picture: those that have values, and those that say how many of its steps count."""
    values, lengths = {}, {}  # type: Dict[str, np.ndarray], Dict[str, Tuple[str, int]]
    case = network.model.parity[0] if network.model.parity else None
    for spec in specs:
        tensor = network.graph.get_tensor_by_name(network.serving.signature_defs[signature.name].inputs[spec.key].name)
        steps = measured(tensor) if tensor.dtype.is_integer and len(spec.shape) == 1 else None
        if steps:
            lengths[spec.key] = steps
        elif case is not None and case.inputs[spec.key].uniform is None:
            value = _with_bytes(question_inputs(network.model, case)[spec.key])
            # The first row, for as many as the picture has.
            shared = spec.shape and spec.shape[0] == image.shape[0] and isinstance(spec.shape[0], str)
            values[spec.key] = value[:1] if shared else value
        else:
            problems.append(
                "{}.{}: nothing says what it is for a picture; 'values' in the parity part would".format(
                    signature.name, spec.key
                )
            )
    return values, lengths


class _PictureDecoder:
    """Pictures as an input wants them; collects what is wrong with the files."""

    def __init__(self) -> None:
        self.problems = []  # type: List[str]

    def decoded(self, path: Path, spec: TensorSpec) -> Optional[np.ndarray]:
        """RGB, 0..255, of the height that the shape says and the width that follows from it; None if it is none."""
        try:
            content = path.read_bytes()
        except OSError as error:
            self.problems.append("{}: {}".format(path, error.strerror))
            return None
        copies = spec.shape[0] if isinstance(spec.shape[0], int) else 1
        if spec.dtype == "string":
            return _with_bytes(np.array([content] * copies, object))
        channels = spec.shape[3] if isinstance(spec.shape[3], int) else 3
        with tf.Graph().as_default(), tf.Session() as session:
            # In spite of its name it takes JPEG too, whatever the file is called.
            pixels = tf.image.decode_png(tf.placeholder(tf.string, [], name="content"), channels=channels)
            try:
                raw = session.run(pixels, {"content:0": content})
            except tf.errors.InvalidArgumentError:
                self.problems.append("{}: no PNG or JPEG picture".format(path))
                return None
            size = _resized(raw.shape[0], raw.shape[1], spec.shape[1], spec.shape[2])
            picture = raw[None].astype("float32")
            if size != raw.shape[:2]:
                picture = session.run(tf.image.resize_bilinear(picture, size))
        if spec.dtype == "uint8":
            picture = np.round(picture)
        return np.repeat(picture.astype(spec.dtype), copies, axis=0)


def _resized(height: int, width: int, wanted_height: Any, wanted_width: Any) -> Tuple[int, int]:
    """The size that a shape allows and that keeps the proportions, unless it says both sides."""
    if isinstance(wanted_height, int) and isinstance(wanted_width, int):
        return wanted_height, wanted_width
    if isinstance(wanted_height, int):
        return wanted_height, max(int(round(width * wanted_height / height)), 1)
    if isinstance(wanted_width, int):
        return max(int(round(height * wanted_width / width)), 1), wanted_width
    return height, width


# The file.


def write_warmup(directory: Path, warmup: Warmup, model: str) -> None:
    """Write the requests into the version in `directory`; the same requests give the same bytes."""
    path = directory / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.python_io.TFRecordWriter(str(path)) as writer:
        for request in warmup.requests:
            writer.write(as_prediction_log(request, model))


def staged_requests(directory: Path) -> List[Question]:
    """The requests in the file of `directory`, whose checksums are compared; raises NotServable if they are wrong."""
    path = directory / WARMUP_FILE
    try:
        count = sum(1 for _ in tf.python_io.tf_record_iterator(str(path)))
    except tf.errors.DataLossError as error:
        raise NotServable("{}: {}; the disk?".format(path, error.message)) from error
    requests = read_warmup_requests(directory)
    if len(requests) != count:
        raise NotServable("{}: {} records found, {} expected".format(path, len(requests), count))
    return [Question(number, r.signature, r.inputs, "warm-up") for number, r in enumerate(requests)]
