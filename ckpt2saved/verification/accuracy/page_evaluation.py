"""Read labelled pages with the files of a version, or with a server, and measure lines and text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

import numpy as np

from ckpt2saved.answers.models import Model
from ckpt2saved.answers.predictions import Prediction, predict_files
from ckpt2saved.errors import NotAnswered
from ckpt2saved.requests.pictures import PAGE_READER, QUADS, TEXT, TEXT_SCORES, as_text, count_of_lines, status_text
from ckpt2saved.requests.request import Answers
from ckpt2saved.signature.steps import COUNT
from ckpt2saved.signature.tensors import shape_text
from ckpt2saved.verification.accuracy.evaluation import EvaluationOptions, Progress, given_picture
from ckpt2saved.verification.accuracy.figures import require_distances
from ckpt2saved.verification.accuracy.page_figures import PageAccuracy, PageReading, measure_pages
from ckpt2saved.verification.accuracy.page_labels import PageLabels, PlacedText


@dataclass(frozen=True)
class EvaluatedPages:
    """The accuracy of a signature."""

    signature: str
    accuracy: PageAccuracy


def evaluate_pages(model: Model, options: EvaluationOptions[PageLabels], progress: Progress) -> EvaluatedPages:
    """Read all pages with a signature of the model, and measure the lines and their text.

    Raises UsageError if no signature reads pages, NotAnswered if its answers are not those of lines, and the errors of
    the model.
    """
    signature = PAGE_READER.choose(model.signatures, options.signature, model.name)
    require_distances()
    pages = options.labels.pages
    readings: List[PageReading] = []
    progress(f"loading {model.name}")
    with model.opened(signature) as asker:
        at = options.labels.path
        files = (given_picture(at, f"page {page.number}", page.picture, page.path) for page in pages)
        for prediction in predict_files(asker, signature, files, options.most):
            readings.append(_reading(prediction))
            progress(f"{model.name}: {len(readings)} of {len(pages)} pages")
    return EvaluatedPages(signature.name, measure_pages(pages, readings, options.normalise))


def _reading(prediction: Prediction) -> PageReading:
    """The lines of one page."""
    answers = prediction.answers
    if answers is None:
        return PageReading(status=None, reason=prediction.problem.found if prediction.problem else "")
    if prediction.status:
        return PageReading(status=prediction.status, reason=status_text(prediction.status))
    count = _checked_count(prediction.name, answers)
    quads = np.asarray(answers[QUADS], np.float64).reshape(-1, 8)[:count].tolist()
    texts = [as_text(text) for text in answers[TEXT][:count].tolist()]
    scores = answers[TEXT_SCORES][:count].tolist() if TEXT_SCORES in answers else [None] * count
    return PageReading(tuple(PlacedText(text, tuple(quad), score) for text, quad, score in zip(texts, quads, scores)))


def _checked_count(page: str, answers: Answers) -> int:
    """The number of lines; raises NotAnswered if the answers for a page are not those of lines."""
    count = count_of_lines(answers)
    if count is None:
        found = ", ".join(f"{key} {shape_text(answers[key].shape)}" for key in (TEXT, QUADS, COUNT))
        expected = f"expected {TEXT} [lines], {QUADS} [lines, 8] and {COUNT}, of at most as many"
        raise NotAnswered(f"{page}: the signature answers {found} for one page; {expected}")
    return count
