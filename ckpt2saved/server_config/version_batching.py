"""Batching parameters inside of a version: batching_params.pbtxt, for --enable_per_model_batching_parameters.

Source: GetPerModelBatchingParams and WrapSessionForBatching of
tensorflow_serving/servables/tensorflow/bundle_factory_util.cc: a version without the file is not batched, one whose
file cannot be parsed does not load, and fields of threads are ignored.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, List, Sequence

from ckpt2saved.compatibility.image import Image
from ckpt2saved.errors import UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.protobuf import text_format
from ckpt2saved.files.reading import PathLike, TooLarge, read_file
from ckpt2saved.server_config.models import Model
from ckpt2saved.versions.bump import BATCHING_FILE

_MOST_BYTES = 1 << 16
_DEFAULT_SIZE = 1000  # max_batch_size where a file has none: shared_batch_scheduler.h of TensorFlow
_WRAPPED = (
    "max_batch_size batch_timeout_micros max_enqueued_batches num_batch_threads enable_large_batch_splitting "
    "max_execution_batch_size"
).split()  # messages with a value
_FIELDS = frozenset([*_WRAPPED, "thread_pool_name", "allowed_batch_sizes", "pad_variable_length_inputs"])


@dataclass(frozen=True)
class VersionBatching:
    """A tensorflow.serving.BatchingParameters for a version."""

    path: str  # of the file that it was read from
    text: str
    max_batch_size: int


def read_parameters(path: PathLike) -> VersionBatching:
    """Read a file with a tensorflow.serving.BatchingParameters; raises UsageError if it is none."""
    where = f"--batching-params {path}"
    try:
        text = read_file(path, _MOST_BYTES).decode("utf-8")
        message = text_format.read(text)
        problems = _problems(message)
    except TooLarge as error:
        raise UsageError(f"{where}: larger than {_MOST_BYTES >> 10} kB; expected batching parameters") from error
    except OSError as error:
        raise UsageError(f"{where}: it cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{where}: {error}; expected batching parameters, as serving-config writes them") from error
    if problems:
        raise UsageError(f"{where}: a server would not load a version with it", problems)
    return VersionBatching(os.fspath(path), text, _only(message, "max_batch_size"))


def check_release(image: Image, option: str) -> None:
    """Raise UsageError for a release whose servers read no parameters of a version."""
    if not image.has_batching_per_model:
        raise UsageError(
            f"{option}: TF Serving {image.version} has no --enable_per_model_batching_parameters; expected 2.11 or"
            " later, or leave it out"
        )


def _problems(message: Any) -> List[Problem]:
    problems = [
        Problem(
            "unknown-key", name, "not a field of BatchingParameters", f"expected one of {', '.join(sorted(_FIELDS))}"
        )
        for name, _ in message
        if name not in _FIELDS
    ]
    for name in _WRAPPED:
        for value in text_format.values(message, name):
            if not isinstance(value, list) or [field for field, _ in value] != ["value"]:
                problems.append(Problem("wrong-value", name, f"expected {name} {{ value: N }}"))
    sizes = [_number(value) for value in text_format.values(message, "allowed_batch_sizes")]
    most = _only(message, "max_batch_size")
    if sizes and (sizes != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != most):
        found = f"{', '.join(map(str, sizes))}; they must increase, and the last one be max_batch_size, {most}"
        problems.append(Problem("wrong-value", "allowed_batch_sizes", found))
    return problems


def _only(message: Any, name: str) -> int:
    found = [value for value in text_format.values(message, name) if isinstance(value, list)]
    values = text_format.values(found[-1], "value") if found else []
    return _number(values[-1]) if values else _DEFAULT_SIZE


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return -1


def with_parameters(model: Model) -> bool:
    """Return whether a version that the server loads has parameters of its own, and so is batched."""
    return any((version.path / BATCHING_FILE).is_file() for version in model.loaded)


def without_parameters(models: Sequence[Model]) -> List[str]:
    """Return a sentence for each loaded version without parameters of its own."""
    return [
        f"{model.name} {version.number} has no {BATCHING_FILE} and is not batched: ckpt2saved bump-version"
        f" {model.place} --from {version.number} --batching-params FILE"
        for model in models
        for version in model.loaded
        if not (version.path / BATCHING_FILE).is_file()
    ]
