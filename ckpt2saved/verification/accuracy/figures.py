"""Character and word error rate of the text that was read from labelled pictures.

Edits are counted by one Levenshtein alignment of each line (rapidfuzz). A rate is the number of edits of all lines,
divided by the number of characters or words of all references, so that it may exceed 1.
"""

from __future__ import annotations

import collections
import unicodedata
from dataclasses import dataclass
from typing import Any, Counter, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ckpt2saved.errors import Ckpt2SavedError
from ckpt2saved.verification.accuracy.labels import Line

READ = 0  # status of a picture that was read


class Confusion(NamedTuple):
    """A character of the reference and what was read instead; "" in `reference` if added, in `read` if missing."""

    reference: str
    read: str


@dataclass(frozen=True)
class Reading:
    """The text that a model answers for a picture."""

    text: str
    status: Optional[int] = READ  # 0: read; others: docs/evaluate.md; None: the request was refused
    score: Optional[float] = None  # None: the signature has no such output
    reason: str = ""  # why it was not read

    @property
    def is_read(self) -> bool:
        """Whether the model read the picture."""
        return self.status == READ


@dataclass(frozen=True)
class LineResult:
    """A labelled line, what was read, and the edits that lead from the one to the other."""

    line: Line
    reading: Reading
    reference: str  # normalised as `answer` is
    answer: str
    confusions: Tuple[Confusion, ...]  # one for each edit
    words: int
    word_edits: int

    @property
    def edits(self) -> int:
        """Substituted, missing and added characters."""
        return len(self.confusions)

    @property
    def cer(self) -> float:
        """Edits for each character of the reference."""
        return _rate(self.edits, len(self.reference))

    @property
    def is_exact(self) -> bool:
        """Whether the text is exactly the reference."""
        return not self.confusions


@dataclass(frozen=True)
class Figures:
    """The sums over all lines."""

    lines: int
    unread: int  # pictures with another status than 0, or whose request was refused
    exact: int
    characters: int
    edits: int
    words: int
    word_edits: int

    @property
    def cer(self) -> float:
        """Character error rate."""
        return _rate(self.edits, self.characters)

    @property
    def wer(self) -> float:
        """Word error rate."""
        return _rate(self.word_edits, self.words)

    def as_content(self) -> Dict[str, Any]:
        """The fields for JSON."""
        return {
            "lines": self.lines,
            "unread": self.unread,
            "exact": self.exact,
            "characters": self.characters,
            "edits": self.edits,
            "cer": self.cer,
            "words": self.words,
            "word_edits": self.word_edits,
            "wer": self.wer,
        }


@dataclass(frozen=True)
class Accuracy:
    """The results of all lines, in the order of the labels file."""

    results: Tuple[LineResult, ...]

    @property
    def figures(self) -> Figures:
        """The sums over all lines."""
        results = self.results
        return Figures(
            lines=len(results),
            unread=sum(not one.reading.is_read for one in results),
            exact=sum(one.is_exact for one in results),
            characters=sum(len(one.reference) for one in results),
            edits=sum(one.edits for one in results),
            words=sum(one.words for one in results),
            word_edits=sum(one.word_edits for one in results),
        )

    @property
    def right_characters(self) -> int:
        """How many characters of the references were read as they are."""
        return sum(len(one.reference) - sum(bool(pair.reference) for pair in one.confusions) for one in self.results)

    @property
    def confusions(self) -> List[Tuple[Confusion, int]]:
        """All confusions with their number, most frequent first, then in the order of the characters."""
        counts: Counter[Confusion] = collections.Counter(pair for one in self.results for pair in one.confusions)
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

    @property
    def worst(self) -> List[LineResult]:
        """The lines that are not exact, those with the highest rate first, then those with the most edits."""
        wrong = [one for one in self.results if not one.is_exact]
        return sorted(wrong, key=lambda one: (-one.cer, -one.edits, one.line.number))


def require_distances() -> None:
    """Raise Ckpt2SavedError if rapidfuzz is not installed."""
    try:
        import rapidfuzz  # noqa: F401
    except ModuleNotFoundError:
        text = (
            "error rates need rapidfuzz, and it is not in this Python: pip install 'ckpt2saved[evaluate]' installs it"
        )
        raise Ckpt2SavedError(text) from None


def measure(lines: Sequence[Line], readings: Sequence[Reading], normalise: bool = True) -> Accuracy:
    """Compare the text of each line with what was read; both are converted to Unicode NFC if `normalise`.

    Characters are code points, words what whitespace separates.
    """
    require_distances()
    return Accuracy(tuple(compared(line, reading, normalise) for line, reading in zip(lines, readings)))


def compared(line: Line, reading: Reading, normalise: bool) -> LineResult:
    """Compare the text of a line with what was read, as `measure` does; needs rapidfuzz."""
    from rapidfuzz.distance import Levenshtein

    reference, answer = line.text, reading.text
    if normalise:
        reference, answer = (unicodedata.normalize("NFC", text) for text in (reference, answer))
    confusions = []
    for edit in Levenshtein.editops(reference, answer):
        wanted = reference[edit.src_pos] if edit.tag in ("replace", "delete") else ""
        found = answer[edit.dest_pos] if edit.tag in ("replace", "insert") else ""
        confusions.append(Confusion(wanted, found))
    words = reference.split()
    return LineResult(
        line=line,
        reading=reading,
        reference=reference,
        answer=answer,
        confusions=tuple(confusions),
        words=len(words),
        word_edits=Levenshtein.distance(words, answer.split()),
    )


def _rate(edits: int, total: int) -> float:
    """The edits for each one of the total; without a total, 0 or 1."""
    return edits / total if total else float(edits > 0)
