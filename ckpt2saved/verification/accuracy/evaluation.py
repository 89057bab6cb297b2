"""Read the pictures of a labels file with the files of a version, or with a server, and measure the text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Generic, List, Optional, TypeVar

import numpy as np

from ckpt2saved.answers.models import Model
from ckpt2saved.answers.predictions import Prediction, predict_files
from ckpt2saved.errors import LabelsError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.reading import read_file
from ckpt2saved.requests.files import GivenFile
from ckpt2saved.requests.pictures import LINE_READER, PICTURES_OF_A_REQUEST, SCORE, TEXT, as_text, status_text
from ckpt2saved.verification.accuracy.figures import Accuracy, Reading, measure, require_distances
from ckpt2saved.verification.accuracy.labels import Labels

Progress = Callable[[str], None]
LabelsT = TypeVar("LabelsT")

_MOST_BYTES = 256 << 20  # of a picture


@dataclass(frozen=True)
class EvaluationOptions(Generic[LabelsT]):
    """What is read, and how the text is compared; `labels` are Labels or PageLabels."""

    labels: LabelsT
    signature: Optional[str] = None  # None: text (page for pages), or the only one that reads such pictures
    most: int = PICTURES_OF_A_REQUEST  # pictures of a request
    normalise: bool = True  # to Unicode NFC


@dataclass(frozen=True)
class Evaluated:
    """The accuracy of a signature."""

    signature: str
    accuracy: Accuracy


def evaluate(model: Model, options: EvaluationOptions[Labels], progress: Progress) -> Evaluated:
    """Read all pictures with a signature of the model, and measure the text.

    Raises UsageError if no signature reads text, and the errors of the model.
    """
    signature = LINE_READER.choose(model.signatures, options.signature, model.name)
    require_distances()
    lines = options.labels.lines
    readings: List[Reading] = []
    progress(f"loading {model.name}")
    with model.opened(signature) as asker:
        at = options.labels.path
        files = (given_picture(at, f"line {line.number}", line.picture, line.path) for line in lines)
        for prediction in predict_files(asker, signature, files, options.most):
            readings.append(_reading(prediction))
            progress(f"{model.name}: {len(readings)} of {len(lines)} pictures")
    return Evaluated(signature.name, measure(lines, readings, options.normalise))


def _reading(prediction: Prediction) -> Reading:
    """The text of one picture, decoded from UTF-8; bytes that are none become U+FFFD."""
    answers = prediction.answers
    if answers is None:
        return Reading("", status=None, reason=prediction.problem.found if prediction.problem else "")
    return Reading(
        text=_text(answers[TEXT]),
        status=prediction.status,
        score=float(answers[SCORE]) if SCORE in answers and answers[SCORE].size == 1 else None,
        reason=status_text(prediction.status) if prediction.status else "",
    )


def _text(answer: np.ndarray) -> str:
    return as_text(answer.ravel()[0]) if answer.size else ""


def given_picture(labels: Path, where: str, name: str, path: Path) -> GivenFile:
    """The bytes of a picture, also of one that is empty or damaged: the model says so in its status.

    Raises LabelsError with the place `where` in the labels file if the file can't be read.
    """
    try:
        return GivenFile(name, picture=read_file(path, _MOST_BYTES))
    except OSError as error:
        problems = [Problem("missing-picture", where, f"{path}: {error.strerror or error}")]
        raise LabelsError(f"{labels}: a picture can't be read", problems) from error
