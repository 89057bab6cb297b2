"""How many lines of labelled pages were found, and how much of their text was read.

A labelled line is found if it and a line of the answer overlap by more than half (intersection over union). Lines are
matched one to one, those that overlap most first. The text of a line that is not found counts as missing, the text of
an answered line that matches none as added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.client.east import is_sound, overlap
from ckpt2saved.verification.accuracy.figures import (
    READ,
    Accuracy,
    Figures,
    LineResult,
    Reading,
    compared,
    require_distances,
)
from ckpt2saved.verification.accuracy.labels import Line
from ckpt2saved.verification.accuracy.page_labels import Page, PlacedText, Quad

LEAST_OVERLAP = 0.5  # a line that overlaps by more is found
NOT_FOUND = "not found"  # reason of a labelled line without a match
_ADDED = 0  # number of a line that is not labelled


@dataclass(frozen=True)
class PageLine(Line):
    """A line of a page; `number` is its place among the labelled lines, 0 if it is not labelled."""

    @property
    def where(self) -> str:
        return f"{self.picture}, line {self.number}" if self.number != _ADDED else f"{self.picture}, no labelled line"


@dataclass(frozen=True)
class PageReading:
    """The lines that a model answers for a page."""

    lines: Tuple[PlacedText, ...] = ()
    status: Optional[int] = READ  # as of Reading
    reason: str = ""  # why the page was not read

    @property
    def is_read(self) -> bool:
        """Whether the model read the page."""
        return self.status == READ


class Match(NamedTuple):
    """The line of an answer that stands for a labelled line."""

    position: int  # in the answer
    overlap: float


@dataclass(frozen=True)
class PageResult:
    """A labelled page, and what was found and read of it."""

    page: Page
    reading: PageReading
    matches: Tuple[Optional[Match], ...]  # of each labelled line
    labelled: Tuple[LineResult, ...]  # of each labelled line; one that is not found is read as nothing
    added: Tuple[LineResult, ...]  # of each line of the answer without a match, in order

    @property
    def found(self) -> Tuple[LineResult, ...]:
        """The labelled lines that were found."""
        return tuple(result for result, match in zip(self.labelled, self.matches) if match is not None)

    @property
    def added_quads(self) -> Tuple[Quad, ...]:
        """The places of the added lines."""
        taken = {match.position for match in self.matches if match is not None}
        return tuple(line.quad for index, line in enumerate(self.reading.lines) if index not in taken)

    @property
    def text(self) -> Accuracy:
        """All lines, those that were added last."""
        return Accuracy(self.labelled + self.added)


@dataclass(frozen=True)
class PageFigures:
    """The sums over all pages; shares are None where there is nothing to count."""

    pages: int
    unread: int  # pages with another status than 0, or whose request was refused
    lines: int  # labelled
    answered: int  # lines that the model answers
    found: int  # labelled lines with a match
    right_characters: int  # characters of the labels that were read as they are
    text: Figures  # of all lines: missing and added ones count
    found_text: Figures  # of the found lines alone

    @property
    def recall(self) -> Optional[float]:
        """Found lines for each labelled line."""
        return _share(self.found, self.lines)

    @property
    def precision(self) -> Optional[float]:
        """Found lines for each line that the model answers."""
        return _share(self.found, self.answered)

    @property
    def f1(self) -> Optional[float]:
        """The harmonic mean of recall and precision."""
        return _share(2 * self.found, self.lines + self.answered)

    def as_content(self) -> Dict[str, Any]:
        """The fields for JSON."""
        text, found = self.text, self.found_text
        return {
            "pages": self.pages,
            "unread": self.unread,
            "lines": self.lines,
            "answered": self.answered,
            "found": self.found,
            "recall": self.recall,
            "precision": self.precision,
            "f1": self.f1,
            "exact": found.exact,
            "characters": text.characters,
            "right_characters": self.right_characters,
            "edits": text.edits,
            "cer": text.cer,
            "words": text.words,
            "word_edits": text.word_edits,
            "wer": text.wer,
            "found_characters": found.characters,
            "found_edits": found.edits,
            "found_cer": found.cer,
        }


@dataclass(frozen=True)
class PageAccuracy:
    """The results of all pages, in the order of the labels file."""

    results: Tuple[PageResult, ...]

    @property
    def text(self) -> Accuracy:
        """The text of all lines of all pages; what was not found is missing in it, what was added is added."""
        return Accuracy(tuple(line for one in self.results for line in one.text.results))

    @property
    def figures(self) -> PageFigures:
        """The sums over all pages."""
        results, text = self.results, self.text
        found = Accuracy(tuple(line for one in results for line in one.found))
        return PageFigures(
            pages=len(results),
            unread=sum(not one.reading.is_read for one in results),
            lines=sum(len(one.labelled) for one in results),
            answered=sum(len(one.reading.lines) for one in results),
            found=len(found.results),
            right_characters=text.right_characters,
            text=text.figures,
            found_text=found.figures,
        )


def measure_pages(pages: Sequence[Page], readings: Sequence[PageReading], normalise: bool = True) -> PageAccuracy:
    """Compare the lines of each page with those that were read; texts are converted to Unicode NFC if `normalise`."""
    require_distances()
    return PageAccuracy(tuple(_result(page, reading, normalise) for page, reading in zip(pages, readings)))


def _result(page: Page, reading: PageReading, normalise: bool) -> PageResult:
    matches = matched([line.quad for line in page.lines], [line.quad for line in reading.lines])
    taken = {match.position for match in matches if match is not None}
    labelled = [
        _compared(page, number, line.text, _reading_of(reading, match), normalise)
        for number, (line, match) in enumerate(zip(page.lines, matches), start=1)
    ]
    added = [
        _compared(page, _ADDED, "", Reading(line.text, score=line.score), normalise)
        for index, line in enumerate(reading.lines)
        if index not in taken
    ]
    return PageResult(page, reading, matches, labelled=tuple(labelled), added=tuple(added))


def _compared(page: Page, number: int, text: str, reading: Reading, normalise: bool) -> LineResult:
    return compared(PageLine(page.picture, page.path, text, number), reading, normalise)


def _reading_of(reading: PageReading, match: Optional[Match]) -> Reading:
    """What was read of a labelled line."""
    if match is None:
        return Reading("", reading.status, reason=reading.reason or NOT_FOUND)
    line = reading.lines[match.position]
    return Reading(line.text, score=line.score)


def matched(labelled: Sequence[Quad], answered: Sequence[Quad]) -> Tuple[Optional[Match], ...]:
    """Return the match of each labelled quadrilateral: one to one, the pairs that overlap most first.

    Quadrilaterals of the answer that are not convex, or whose corners are not clockwise, match none.
    """
    ours, theirs = np.reshape(labelled, (-1, 4, 2)), np.reshape(answered, (-1, 4, 2))
    with np.errstate(invalid="ignore"):
        sound = np.flatnonzero(is_sound(theirs))
    lowest, highest = theirs[sound].min(axis=1), theirs[sound].max(axis=1)
    pairs = []
    for i, quad in enumerate(ours):
        touches = ((lowest < quad.max(axis=0)) & (highest > quad.min(axis=0))).all(axis=1)
        for k in sound[touches].tolist():
            share = overlap(quad.tolist(), theirs[k].tolist())
            if share > LEAST_OVERLAP:
                pairs.append((-share, i, k))
    found: List[Optional[Match]] = [None] * len(labelled)
    taken = set()
    for share, i, k in sorted(pairs):
        if found[i] is None and k not in taken:
            found[i] = Match(k, -share)
            taken.add(k)
    return tuple(found)


def _share(count: int, total: int) -> Optional[float]:
    return count / total if total else None
