"""Labels of pages: a JSON list with the picture of each page, and the text and the corners of its lines."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ckpt2saved.client.east import is_sound
from ckpt2saved.errors import LabelsError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.json_text import read_json
from ckpt2saved.files.reading import read_file
from ckpt2saved.verification.accuracy.labels import MOST_BYTES, first_problems, missing_file, quoted_name

Quad = Tuple[float, ...]  # x and y of four corners in pixels

_PICTURE, _LINES, _TEXT, _QUAD = "picture", "lines", "text", "quad"
_EXPECTED = f'[{{"{_PICTURE}": PATH, "{_LINES}": [{{"{_TEXT}": TEXT, "{_QUAD}": [X1, Y1, ..., X4, Y4]}}]}}, ...]'
_CORNERS = "x and y of four corners, clockwise from the top left"
_NAMES = {str: "a string", list: "a list", dict: "an object", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class PlacedText:
    """The text of a line and its place on a page, of a label or of an answer."""

    text: str
    quad: Quad
    score: Optional[float] = None  # of an answer


@dataclass(frozen=True)
class Page:
    """A picture of a page, and the lines of text that it shows."""

    picture: str  # as the labels file names it
    path: Path
    lines: Tuple[PlacedText, ...]
    number: int  # in the labels file, from 1


@dataclass(frozen=True)
class PageLabels:
    """The content of a labels file of pages."""

    path: Path
    pages: Tuple[Page, ...]
    sha256: str  # of the file


def read_page_labels(path: Path, allow_empty: bool = False) -> PageLabels:
    """Read labels of pages, JSON in UTF-8; raises LabelsError with all problems.

    Paths are relative to the folder of the file. A page may have no lines; `allow_empty` accepts lines without text.
    Other keys are ignored.
    """
    try:
        content = read_file(path, MOST_BYTES)
    except OSError as error:
        raise LabelsError(f"{path}: can't be read: {error.strerror or error}; expected {_EXPECTED}") from error
    try:
        entries = read_json(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise LabelsError(f"{path}: byte {error.start + 1} is not UTF-8; save the file as UTF-8") from error
    except ValueError as error:
        raise LabelsError(f"{path}: no JSON: {error}; expected {_EXPECTED}") from error
    if not isinstance(entries, list):
        raise LabelsError(f"{path}: found {_kind(entries)} instead of a list of pages; expected {_EXPECTED}")
    if not entries:
        raise LabelsError(f"{path}: it has no pages; expected {_EXPECTED}")
    reading = _Reading(path, allow_empty)
    for number, entry in enumerate(entries, start=1):
        reading.read(number, entry)
    if reading.problems:
        raise LabelsError(f"{path}: {len(reading.problems)} problem(s)", first_problems(reading.problems))
    return PageLabels(path, tuple(reading.pages), hashlib.sha256(content).hexdigest())


class _Reading:
    """Checks the pages of one file; collects pages and problems."""

    def __init__(self, path: Path, allow_empty: bool) -> None:
        self._path = path
        self._allow_empty = allow_empty
        self._numbers: Dict[str, int] = {}  # absolute path -> page
        self.pages: List[Page] = []
        self.problems: List[Problem] = []

    def read(self, number: int, entry: Any) -> None:
        where = f"page {number}"
        if not isinstance(entry, dict):
            self._refuse("wrong-type", where, f"{_kind(entry)}; expected an object with {_PICTURE} and {_LINES}")
            return
        picture = self._value(where, entry, _PICTURE, str)
        if picture is not None:
            where += f" ({quoted_name(picture)})"
            self._check_picture(where, number, picture)
        found = self._value(where, entry, _LINES, list)
        lines = [self._line(f"{where}, line {at}", line) for at, line in enumerate(found or (), start=1)]
        if picture is not None:
            given = tuple(line for line in lines if line is not None)
            self.pages.append(Page(picture, self._path.parent / picture, given, number))

    def _check_picture(self, where: str, number: int, picture: str) -> None:
        path = os.path.abspath(str(self._path.parent / picture))
        first = self._numbers.setdefault(path, number)
        missing = missing_file(path)
        if first != number:
            self._refuse("duplicate-picture", where, f"it is also page {first}", "delete one")
        elif missing:
            self._refuse("missing-picture", where, missing, "paths are relative to the folder of the labels file")

    def _line(self, where: str, line: Any) -> Optional[PlacedText]:
        if not isinstance(line, dict):
            self._refuse("wrong-type", where, f"{_kind(line)}; expected an object with {_TEXT} and {_QUAD}")
            return None
        text = self._value(where, line, _TEXT, str)
        if text is not None and not text.strip() and not self._allow_empty:
            remedy = "write the text, or pass --allow-empty if lines without text are meant to be read as empty"
            self._refuse("no-label", where, "no text", remedy)
        values = self._value(where, line, _QUAD, list)
        quad = None if values is None else self._quad(where, values)
        return None if text is None or quad is None else PlacedText(text, quad)

    def _quad(self, where: str, values: List[Any]) -> Optional[Quad]:
        where = f"{where}, {_QUAD}"
        others = [value for value in values if isinstance(value, bool) or not isinstance(value, (int, float))]
        if others:
            self._refuse("wrong-type", where, f"{_kind(others[0])} among the numbers; expected {_CORNERS}: 8 numbers")
            return None
        if len(values) != 8:
            self._refuse("wrong-value", where, f"{len(values)} numbers; expected {_CORNERS}: 8 numbers")
            return None
        quad = tuple(_as_float(value) for value in values)
        if not all(map(math.isfinite, quad)):
            self._refuse("wrong-value", where, "a number is not finite")
            return None
        if not is_sound(np.reshape(quad, (1, 4, 2)))[0]:
            found = f"{list(values)} is no convex quadrilateral with its corners clockwise; expected {_CORNERS}"
            self._refuse("wrong-value", where, found)
            return None
        return quad

    def _value(self, where: str, entry: Dict[str, Any], key: str, expected: type) -> Any:
        """The value of a key, or None with a problem."""
        if key not in entry:
            found = f"no {key}; found {', '.join(map(quoted_name, entry)) or 'no key'}"
            self._refuse("missing-key", where, found, f"add it: {_NAMES[expected]}")
            return None
        value = entry[key]
        if not isinstance(value, expected):
            self._refuse("wrong-type", f"{where}, {key}", f"{_kind(value)}; expected {_NAMES[expected]}")
            return None
        return value

    def _refuse(self, code: str, where: str, found: str, remedy: str = "") -> None:
        self.problems.append(Problem(code, where, found, remedy))


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _kind(value: Any) -> str:
    """The type of a JSON value, in words."""
    return _NAMES.get(type(value), "a number")
