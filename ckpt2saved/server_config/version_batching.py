"""Batching parameters inside of a version: batching_params.pbtxt, for --enable_per_model_batching_parameters.

Source: GetPerModelBatchingParams and WrapSessionForBatching of
tensorflow_serving/servables/tensorflow/bundle_factory_util.cc: a version without the file is not batched, one whose
file cannot be parsed does not load, and fields of threads are ignored.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Sequence, Tuple

from ckpt2saved.compatibility.image import Image
from ckpt2saved.errors import ServingError, UsageError, WarmupError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.protobuf import text_format
from ckpt2saved.files.reading import PathLike, TooLarge, read_file
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.warm_up.file import read_warm_up_requests
from ckpt2saved.saved_model.judgement import WARMUP_FILE
from ckpt2saved.server_config.models import Model
from ckpt2saved.versions.bump import BATCHING_FILE

_MOST_BYTES = 1 << 16
_DOES_NOT_LOAD = "a server with --enable_per_model_batching_parameters does not load the version"
_AGAIN = "publish it again, with ckpt2saved bump-version BASE --batching-params FILE"
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
    try:
        return _read(path)
    except _NotLoaded as error:
        raise UsageError(f"--batching-params {path}: {error}", error.problems) from error


class _NotLoaded(Exception):
    """The file is none that a server would load a version with."""

    def __init__(self, text: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(text)
        self.problems = problems


def _read(path: PathLike) -> VersionBatching:
    try:
        text = read_file(path, _MOST_BYTES).decode("utf-8")
        message = text_format.read(text)
        problems = _problems(message)
    except TooLarge as error:
        raise _NotLoaded(f"larger than {_MOST_BYTES >> 10} kB; expected batching parameters") from error
    except OSError as error:
        raise _NotLoaded(f"it cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise _NotLoaded(f"{error}; expected batching parameters, as serving-config writes them") from error
    if problems:
        raise _NotLoaded("a server would not load a version with it", problems)
    return VersionBatching(os.fspath(path), text, _only(message, "max_batch_size"))


def check_warm_up(batching: VersionBatching, requests: Iterable[Request]) -> None:
    """Raise WarmupError for the first warm-up request of a version that is larger than its parameters allow."""
    for request, size in _too_large(batching.max_batch_size, requests):
        raise WarmupError(
            f"{request.where}: {size} items, and max_batch_size of --batching-params {batching.path} is"
            f" {batching.max_batch_size}: a server would not load the version; expected a larger max_batch_size, or a"
            " version that is exported with smaller requests (--warmup, --no-warmup)"
        )


def _too_large(most: int, requests: Iterable[Request]) -> Iterator[Tuple[Request, int]]:
    for request in requests:
        size = max([value.shape[0] for value in request.inputs.values() if value.ndim], default=0)
        if size > most:
            yield request, size


def batching_problems(version_dir: PathLike) -> Tuple[Problem, ...]:
    """Return why a server that reads the parameters of versions would not load this one; () for one without."""
    path = os.path.join(os.fspath(version_dir), BATCHING_FILE)
    if not os.path.lexists(path):
        return ()
    try:
        most = _read(path).max_batch_size
    except _NotLoaded as error:
        why = [f"{problem.where}: {problem.found}" for problem in error.problems] or [str(error)]
        found = f"{'; '.join(why)}; {_DOES_NOT_LOAD}"
        return (Problem("damaged-file", BATCHING_FILE, found, _AGAIN),)
    try:
        requests = read_warm_up_requests(Path(version_dir))
    except ServingError:
        return ()  # reported as a problem of that file
    return tuple(
        Problem(
            "batch-limit",
            WARMUP_FILE,
            f"signature {request.signature}: {size} items, and max_batch_size in {BATCHING_FILE} is {most};"
            f" {_DOES_NOT_LOAD}",
            _AGAIN,
        )
        for request, size in _too_large(most, requests)
    )[:1]


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
