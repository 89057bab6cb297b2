"""Send files to a signature: pictures in requests of several, arrays one file at a time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Union

from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.models import Model
from ckpt2saved.client.explanations import is_too_long, largest_batch
from ckpt2saved.client.server import Refused
from ckpt2saved.errors import InvalidRequest, NotAnswered
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.reading import PathLike
from ckpt2saved.requests.batching import keys_without_batch
from ckpt2saved.requests.files import GivenFile, choose_signature, each_file, read_given
from ckpt2saved.requests.pictures import (
    BYTES_OF_A_REQUEST,
    PICTURES_OF_A_REQUEST,
    STATUS,
    picture_input,
    request_of_pictures,
    status_text,
)
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.signature.tensors import Signature

_MOST_REFUSALS = 3  # of files in a row, if none was answered before

_Refusal = Union[Refused, InvalidRequest]


@dataclass(frozen=True)
class Prediction:
    """The answers for a file, or the problem why there are none."""

    name: str
    answers: Optional[Answers] = None  # of a picture: its row of each output; otherwise all of each output
    problem: Optional[Problem] = None
    status: int = 0  # of a picture: 0 if it was read

    @property
    def unread(self) -> Optional[Problem]:
        """The problem why the model could not read the picture; None if it did."""
        return Problem("unread-picture", self.name, status_text(self.status)) if self.status else None


class Predictions(Iterable[Prediction]):
    """The predictions for files, which are sent while they are iterated, once.

    Iterating raises NotAnswered if the first files are all refused, and the errors of the model other than refusals.
    """

    def __init__(self, model: Model, signature: Optional[str], files: Iterable[PathLike], most: int) -> None:
        """`signature` None: the one that takes the first file. Raises UsageError if none does."""
        paths = each_file(files)
        first = next(paths, None)
        self.signature = choose_signature(model.signatures, signature, first, model.name)
        self.model = model.name
        self._model = model
        self._paths = itertools.chain([] if first is None else [first], paths)
        self._most = most

    def __iter__(self) -> Iterator[Prediction]:
        files = (read_given(path, self.signature) for path in self._paths)
        for file in files:
            if file.problem is None:  # the model is opened for the first file that can be sent
                with self._model.opened(self.signature) as asker:
                    yield from predict_files(asker, self.signature, itertools.chain([file], files), self._most)
                return
            yield Prediction(file.name, problem=file.problem)


def predict_files(
    asker: Asker, signature: Signature, files: Iterable[GivenFile], most: int = PICTURES_OF_A_REQUEST
) -> Iterator[Prediction]:
    """Yield the prediction for each file, in order; at most `most` pictures are sent in one request.

    A request of several pictures that is refused is divided, so that the others are answered. If an output has no row
    for each picture, pictures are sent one at a time. Raises NotAnswered if the first files are all refused, and the
    errors of the asker other than refusals.
    """
    return _Predicting(asker, signature, most).predictions(files)


class _Predicting:
    """The requests so far."""

    def __init__(self, asker: Asker, signature: Signature, most: int) -> None:
        self._asker = asker
        self._signature = signature
        self._has_rows = not keys_without_batch(signature)
        self._most = most if self._has_rows else 1
        self._has_answers = False
        self._refusals: List[Problem] = []

    def predictions(self, files: Iterable[GivenFile]) -> Iterator[Prediction]:
        group: List[GivenFile] = []
        size = 0
        for file in files:
            length = len(file.picture or b"")
            if group and (len(group) >= self._most or size + length > BYTES_OF_A_REQUEST or file.inputs is not None):
                yield from self._of_group(group)
                group, size = [], 0
            if file.inputs is not None:
                yield self._of_arrays(file.name, file.inputs)
            else:
                group.append(file)
                size += length
        yield from self._of_group(group)

    def _of_group(self, group: Sequence[GivenFile]) -> Iterator[Prediction]:
        """The predictions for pictures and for files with problems."""
        answered = iter(self._of_pictures([file for file in group if file.picture is not None]))
        for file in group:
            yield next(answered) if file.picture is not None else Prediction(file.name, problem=file.problem)

    def _of_pictures(self, files: Sequence[GivenFile]) -> List[Prediction]:
        if len(files) > self._most:
            parts = [files[start : start + self._most] for start in range(0, len(files), self._most)]
            return [prediction for part in parts for prediction in self._of_pictures(part)]
        spec = picture_input(self._signature)
        if not files or spec is None:
            return []
        names, contents = [file.name for file in files], [file.picture or b"" for file in files]
        try:
            answers = self._answers(request_of_pictures(self._signature.name, spec.key, names, contents))
        except (Refused, InvalidRequest) as error:
            return self._of_refused(files, error)
        self._has_rows = self._has_rows and all(value.shape[:1] == (len(files),) for value in answers.values())
        if not self._has_rows and len(files) > 1:
            self._most = 1
            return self._of_pictures(files)
        if not self._has_rows:
            return [Prediction(names[0], answers)]
        return [_prediction(name, {key: _row(answers[key], row) for key in answers}) for row, name in enumerate(names)]

    def _of_refused(self, files: Sequence[GivenFile], error: _Refusal) -> List[Prediction]:
        """The predictions for parts of a refused request, or of one picture its problem."""
        if len(files) == 1:
            return [self._refused(files[0].name, error)]
        half = (len(files) + 1) // 2
        if is_too_long(str(error)):
            self._most = min(half, largest_batch(str(error)) or half)
            return self._of_pictures(files)
        return self._of_pictures(files[:half]) + self._of_pictures(files[half:])

    def _of_arrays(self, name: str, inputs: Any) -> Prediction:
        try:
            return Prediction(name, self._answers(Request(name, self._signature.name, inputs, is_of_known_size=True)))
        except (Refused, InvalidRequest) as error:
            return self._refused(name, error)

    def _answers(self, request: Request) -> Answers:
        answers = self._asker.answer(request)
        self._has_answers = True
        return answers

    def _refused(self, name: str, error: _Refusal) -> Prediction:
        problem = Problem("refused-request", name, str(error))
        self._refusals.append(problem)
        if not self._has_answers and len(self._refusals) == _MOST_REFUSALS:
            raise NotAnswered(
                f"the first {_MOST_REFUSALS} requests for one file are refused, so that no more are sent",
                self._refusals,
            ) from error
        return Prediction(name, problem=problem)


def _row(value: Any, row: int) -> Any:
    found = value[row]
    return found if hasattr(found, "shape") else _as_array(found)


def _as_array(item: Any) -> Any:
    import numpy as np

    array = np.empty([], object)
    array[()] = item
    return array


def _prediction(name: str, answers: Dict[str, Any]) -> Prediction:
    status = answers.get(STATUS)
    if status is None or status.ndim or status.dtype.kind not in "iu":
        return Prediction(name, answers)
    return Prediction(name, answers, status=int(status))
