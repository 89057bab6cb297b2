"""Predictions as rows of a table, as lines for a shell, and as the content of --json."""

from __future__ import annotations

import base64
import math
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from ckpt2saved.answers.predictions import Prediction
from ckpt2saved.client.reading_order import reading_order
from ckpt2saved.console.foreign_text import as_field
from ckpt2saved.errors.problem import Problem, details, texts
from ckpt2saved.requests.pictures import QUADS, SCORE, TEXT, as_text, count_of_lines, reads_pages, reads_text
from ckpt2saved.requests.request import Answers
from ckpt2saved.signature.tensors import Signature, shape_text

_MOST_VALUES = 6  # of an array in a table
_MOST_CHARACTERS = 60  # of a string in an array


class Columns:
    """The columns of a signature's predictions."""

    def __init__(self, signature: Signature) -> None:
        self._keys = [spec.key for spec in signature.outputs]
        self._reads_text = reads_text(signature)
        if self._reads_text:
            self._keys = [TEXT] + [SCORE] * (SCORE in self._keys)
        self._reads_pages = reads_pages(signature)
        if self._reads_pages:
            self._keys = [TEXT]

    def headings(self, has_problems: bool) -> List[str]:
        """File, outputs, and `problem` if there is one."""
        return ["file", *self._keys] + ["problem"] * has_problems

    def cells(self, prediction: Prediction) -> List[str]:
        """The cells of a row, as many as headings with `problem`."""
        answers = prediction.answers or {}
        problem = _problem(prediction)
        if self._reads_pages:
            return [prediction.name, "\n".join(_lines(answers)), problem.found if problem else ""]
        cells = [_short(answers[key]) if key in answers else "" for key in self._keys]
        return [prediction.name, *cells, problem.found if problem else ""]

    def line(self, prediction: Prediction) -> Optional[str]:
        """File and text between tabs, or file and KEY=VALUE for each output; None for a file without answer.

        For a page, as many lines as it has, at least one.
        """
        if prediction.answers is None:
            return None
        if self._reads_pages:
            texts = _lines(prediction.answers) or [""]
            return "\n".join(f"{prediction.name}\t{as_field(text)}" for text in texts)
        if self._reads_text:
            return f"{prediction.name}\t{as_field(_short(prediction.answers[TEXT]))}"
        return "\t".join([prediction.name, *(as_field(f"{k}={_short(prediction.answers[k])}") for k in self._keys)])


def style(prediction: Prediction) -> str:
    """The style of a row of the table."""
    return "red" if prediction.problem else "yellow" if prediction.status else ""


def as_content(prediction: Prediction) -> Dict[str, Any]:
    """The object of a file in --json."""
    problem, answers = _problem(prediction), prediction.answers
    return {
        "file": prediction.name,
        "outputs": None if answers is None else {key: _plain(value.tolist()) for key, value in answers.items()},
        "problem": problem.found if problem else None,
    }


def problems_as_content(problems: Sequence[Problem]) -> Dict[str, Any]:
    """The lists of problems in --json."""
    return {"problems": texts(problems), "problem_details": details(problems)}


def _lines(answers: Answers) -> List[str]:
    """The texts of a page in the order in which they are read."""
    count = count_of_lines(answers) if answers else 0
    if count is None:
        return [_short(answers[TEXT])]
    texts = answers[TEXT][:count].tolist()
    return [_item(texts[position]) for position in reading_order(answers[QUADS][:count])]


def _problem(prediction: Prediction) -> Optional[Problem]:
    return prediction.problem or prediction.unread


def _plain(value: Any) -> Any:
    """The value for JSON: text, or base64 of bytes that are no UTF-8; null for numbers that JSON lacks."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode("ascii")}
    return value


def _short(value: np.ndarray) -> str:
    """A scalar, or dtype, shape and the first values of an array."""
    if value.ndim == 0:
        return _item(value.item())
    items = [_item(one)[:_MOST_CHARACTERS] for one in value.ravel()[:_MOST_VALUES].tolist()]
    more = " \u2026" if value.size > len(items) else ""
    dtype = "string" if value.dtype.kind == "O" else value.dtype.name
    return f"{dtype} {shape_text(value.shape)} {' '.join(items)}{more}".rstrip()


def _item(item: Any) -> str:
    if isinstance(item, bytes):
        return as_text(item)
    return f"{item:.4g}" if isinstance(item, float) else str(item)
