"""Labels files: one line `path<TAB>text` for each picture of a line of text."""

from __future__ import annotations

import codecs
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

from ckpt2saved.errors import LabelsError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.reading import printable, read_file

MOST_BYTES = 256 << 20
_MOST_SHOWN = 50  # problems; a file in another format has one in each line
_EXPECTED = "path<TAB>text"


@dataclass(frozen=True)
class Line:
    """A picture of a line of text, and the text that it shows."""

    picture: str  # as the labels file names it
    path: Path
    text: str
    number: int  # line of the labels file, from 1

    @property
    def where(self) -> str:
        """The name of the line in messages."""
        return self.picture


@dataclass(frozen=True)
class Labels:
    """The content of a labels file."""

    path: Path
    lines: Tuple[Line, ...]
    sha256: str  # of the file


def read_labels(path: Path, allow_empty: bool = False) -> Labels:
    """Read a labels file in UTF-8; raises LabelsError with all problems.

    Paths are relative to the folder of the file. A byte order mark and CRLF line ends are accepted; blank lines at the
    end are ignored, other blank lines and comments are refused. `allow_empty` accepts pictures without text.
    """
    try:
        content = read_file(path, MOST_BYTES)
    except OSError as error:
        raise LabelsError(
            f"{path}: can't be read: {error.strerror or error}; expected a file of {_EXPECTED}"
        ) from error
    body = content[len(codecs.BOM_UTF8) :] if content.startswith(codecs.BOM_UTF8) else content
    if not body.strip():
        raise LabelsError(f"{path}: it is empty; expected a line {_EXPECTED} for each picture")
    reading = _Reading(path, allow_empty)
    rows = body.split(b"\n")
    while not rows[-1].strip(b" \r"):
        rows.pop()
    for number, raw in enumerate(rows, start=1):
        reading.read(number, raw[:-1] if raw.endswith(b"\r") else raw)
    if reading.problems:
        raise LabelsError(f"{path}: {len(reading.problems)} problem(s)", first_problems(reading.problems))
    return Labels(path, tuple(reading.lines), hashlib.sha256(content).hexdigest())


def first_problems(problems: List[Problem]) -> List[Problem]:
    """As many problems as a message lists, and how many more there are."""
    if len(problems) <= _MOST_SHOWN:
        return problems
    return problems[:_MOST_SHOWN] + [Problem("more-problems", "", f"and {len(problems) - _MOST_SHOWN} more")]


class _Reading:
    """Parses the lines of one file; collects lines and problems."""

    def __init__(self, path: Path, allow_empty: bool) -> None:
        self._path = path
        self._allow_empty = allow_empty
        self._numbers: Dict[str, int] = {}  # absolute path -> line
        self.lines: List[Line] = []
        self.problems: List[Problem] = []

    def read(self, number: int, raw: bytes) -> None:
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            found = f"byte {error.start + 1} is not UTF-8"
            self._refuse("other-encoding", number, found, "save the file as UTF-8")
            return
        if not line.strip():
            self._refuse("no-label", number, "a blank line", "delete it")
            return
        picture, tab, text = line.partition("\t")
        if not tab:
            found = f"no tab in {quoted_name(line)}; expected {_EXPECTED}"
            if not line.startswith("#"):
                self._refuse("no-label", number, found, "separate the path from the text by a tab")
            else:
                self._refuse("no-label", number, found, "delete the line: a labels file has no comments")
        elif "\t" in text:
            found = f"{text.count(chr(9)) + 2} columns in {quoted_name(line)}; expected {_EXPECTED}"
            self._refuse("no-label", number, found, "leave out the other columns")
        elif not text.strip() and not self._allow_empty:
            remedy = "write the text, or pass --allow-empty if pictures without text are meant to be read as empty"
            self._refuse("no-label", number, f"no text for {quoted_name(picture)}", remedy)
        else:
            self._take(Line(picture, self._path.parent / picture, text, number))

    def _take(self, line: Line) -> None:
        where = os.path.abspath(str(line.path))
        first = self._numbers.setdefault(where, line.number)
        missing = missing_file(where)
        if first != line.number:
            self._refuse(
                "duplicate-picture", line.number, f"{quoted_name(line.picture)} is also in line {first}", "delete one"
            )
        elif missing:
            remedy = "paths are relative to the folder of the labels file"
            self._refuse("missing-picture", line.number, missing, remedy)
        else:
            self.lines.append(line)

    def _refuse(self, code: str, number: int, found: str, remedy: str) -> None:
        self.problems.append(Problem(code, f"line {number}", found, remedy))


def missing_file(path: str) -> str:
    """What is at the absolute path instead of a file; "" if it is a file."""
    try:
        if os.path.isfile(path):
            return ""
        if os.path.isdir(path):
            return f"{quoted_name(path)} is a directory"
    except ValueError:  # a NUL in the path, before Python 3.8
        pass
    return f"there is no file {quoted_name(path)}"


def quoted_name(text: str) -> str:
    """A path or key for a message, cut off if it is long."""
    return printable(text if len(text) <= 100 else text[:100] + "…")
