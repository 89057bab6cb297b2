"""Read the pictures of a labels file with the files of a version, or with a server, and measure the text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Optional, Tuple

from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.picture_answers import ask_pictures
from ckpt2saved.errors import LabelsError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.reading import read_file
from ckpt2saved.requests.gathering import served_signatures
from ckpt2saved.requests.pictures import PICTURES_OF_A_REQUEST, SCORE, STATUS, TEXT, choose_text_signature
from ckpt2saved.requests.request import Answers
from ckpt2saved.saved_model.reading import SavedModelFile
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.verify.accuracy.figures import READ, Accuracy, Reading, measure, require_distances
from ckpt2saved.verify.accuracy.labels import Labels

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


def evaluate_version(directory: Path, options: EvaluationOptions, progress: Progress) -> Evaluated:
    """Read the pictures with the files of a version; needs TensorFlow.

    Raises UsageError if no signature reads text, NotServable if the files do not load or refuse a request.
    """
    signatures = served_signatures(SavedModelFile(directory))
    signature = choose_text_signature(signatures, options.signature, str(directory))
    require_distances()
    from ckpt2saved.answers.new_process import loaded_in_new_process

    progress(f"loading {directory}")
    with loaded_in_new_process(directory) as asker:
        return evaluate(asker, signature, options, progress)


def evaluate(asker: Asker, signature: Signature, options: EvaluationOptions, progress: Progress) -> Evaluated:
    """Read all pictures and measure the text; raises the errors of the asker."""
    lines = options.labels.lines

    def report(count: int) -> None:
        progress(f"{count} of {len(lines)} pictures")

    answers = ask_pictures(asker, signature, _pictures(options.labels), options.most, report)
    readings = [as_reading(rows) for rows in answers]
    return Evaluated(signature.name, measure(lines, readings, options.normalise))


def as_reading(answers: Answers) -> Reading:
    """The text of one picture, decoded from UTF-8; bytes that are none become U+FFFD."""
    text = answers[TEXT]
    content = text.item() if hasattr(text, "item") else text
    return Reading(
        text=content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content),
        status=int(answers[STATUS]) if STATUS in answers else READ,
        score=float(answers[SCORE]) if SCORE in answers else None,
    )


def _pictures(labels: Labels) -> Iterator[Tuple[str, bytes]]:
    for line in labels.lines:
        yield line.picture, _content(labels.path, line.path, line.number)


def _content(labels: Path, path: Path, number: int) -> bytes:
    """The bytes of a picture, also of one that is empty or damaged: the model says so in its status."""
    try:
        return read_file(path, _MOST_BYTES)
    except OSError as error:
        problems = [Problem("missing-picture", f"line {number}", f"{path}: {error.strerror or error}")]
        raise LabelsError(f"{labels}: a picture can't be read", problems) from error
