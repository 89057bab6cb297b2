"""Read the pictures of a labels file with the files of a version, or with a server, and measure the text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional

import numpy as np

from ckpt2saved.answers.models import Model
from ckpt2saved.answers.predictions import Prediction, predict_files
from ckpt2saved.errors import LabelsError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.reading import read_file
from ckpt2saved.requests.files import GivenFile
from ckpt2saved.requests.pictures import PICTURES_OF_A_REQUEST, SCORE, TEXT, choose_text_signature, status_text
from ckpt2saved.verify.accuracy.figures import Accuracy, Reading, measure, require_distances
from ckpt2saved.verify.accuracy.labels import Labels, Line

Progress = Callable[[str], None]

_MOST_BYTES = 256 << 20  # of a picture


@dataclass(frozen=True)
class EvaluationOptions:
    """What is read, and how the text is compared."""

    labels: Labels
    signature: Optional[str] = None  # None: text, or the only one that reads text
    most: int = PICTURES_OF_A_REQUEST  # pictures of a request
    normalise: bool = True  # to Unicode NFC


@dataclass(frozen=True)
class Evaluated:
    """The accuracy of a signature."""

    signature: str
    accuracy: Accuracy


def evaluate(model: Model, options: EvaluationOptions, progress: Progress) -> Evaluated:
    """Read all pictures with a signature of the model, and measure the text.

    Raises UsageError if no signature reads text, and the errors of the model.
    """
    signature = choose_text_signature(model.signatures, options.signature, model.name)
    require_distances()
    lines = options.labels.lines
    readings: List[Reading] = []
    progress(f"loading {model.name}")
    with model.opened(signature) as asker:
        files = (GivenFile(line.picture, picture=_content(options.labels.path, line)) for line in lines)
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
    content = answer.ravel()[0] if answer.size else b""
    return content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)


def _content(labels: Path, line: Line) -> bytes:
    """The bytes of a picture, also of one that is empty or damaged: the model says so in its status."""
    try:
        return read_file(line.path, _MOST_BYTES)
    except OSError as error:
        found = f"{line.path}: {error.strerror or error}"
        problems = [Problem("missing-picture", f"line {line.number}", found)]
        raise LabelsError(f"{labels}: a picture can't be read", problems) from error
