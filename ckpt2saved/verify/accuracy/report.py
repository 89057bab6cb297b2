"""The accuracy of a version or server as tables for people, JSON for programs, and Markdown for CI."""

from __future__ import annotations

import unicodedata
from typing import Any, Dict, List, Sequence, Tuple

from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.console.report import markdown_table
from ckpt2saved.console.tables import print_rows
from ckpt2saved.verify.accuracy.evaluation import Evaluated
from ckpt2saved.verify.accuracy.figures import Accuracy, LineResult
from ckpt2saved.verify.accuracy.gate import Baseline, counted, line_content, percent, rate_text

MOST_CONFUSIONS = 20  # in tables; --json has all
MOST_LINES = 20

_FIGURES = ("figure", "value", "of")
_CONFUSIONS = ("reference", "read as", "times")
_LINES = ("picture", "reference", "read as", "errors", "rate")
_MOST_REASON = 200  # characters
_NOTHING = "(nothing)"


def as_content(evaluated: Evaluated) -> Dict[str, Any]:
    """The content of --json: figures, confusions and all lines."""
    accuracy = evaluated.accuracy
    return {
        "signature": evaluated.signature,
        **accuracy.figures.as_content(),
        "confusions": [
            {"reference": pair.reference, "read": pair.read, "count": count} for pair, count in accuracy.confusions
        ],
        "results": [line_content(one) for one in accuracy.results],
    }


def summary(accuracy: Accuracy) -> str:
    """The figures in one line."""
    figures = accuracy.figures
    parts = [
        f"characters {rate_text(figures)}",
        f"words {percent(figures.wer)}",
        f"{figures.exact} of {counted(figures.lines, 'line')} exact",
    ]
    if figures.unread:
        parts.append(f"{counted(figures.unread, 'picture')} not read")
    return "; ".join(parts)


def baseline_summary(accuracy: Accuracy, baseline: Baseline) -> str:
    """The figures of the baseline in one line, and how many lines are read better and worse now."""
    pairs = [(one.edits, before.edits) for one, before in zip(accuracy.results, baseline.accuracy.results)]
    better, worse = sum(now < before for now, before in pairs), sum(now > before for now, before in pairs)
    return f"{summary(baseline.accuracy)}; {counted(better, 'line')} better now, {worse} worse"


def print_accuracy(accuracy: Accuracy) -> None:
    """Print the figures, the most frequent confusions and the worst lines."""
    for headings, rows in _tables(accuracy):
        print_rows(headings, rows, [""] * len(rows))


def as_markdown(accuracy: Accuracy) -> str:
    """The same tables in Markdown."""
    return "\n".join(markdown_table(headings, rows) for headings, rows in _tables(accuracy))


def _tables(accuracy: Accuracy) -> List[Tuple[Sequence[str], List[List[str]]]]:
    tables: List[Tuple[Sequence[str], List[List[str]]]] = [(_FIGURES, _figures(accuracy))]
    confusions = accuracy.confusions[:MOST_CONFUSIONS]
    if confusions:
        tables.append((_CONFUSIONS, [[_shown(pair.reference), _shown(pair.read), str(n)] for pair, n in confusions]))
        tables.append((_LINES, [_line(one) for one in accuracy.worst[:MOST_LINES]]))
    return tables


def _figures(accuracy: Accuracy) -> List[List[str]]:
    figures = accuracy.figures
    rows = [
        ["character error rate", percent(figures.cer), f"{figures.edits} of {figures.characters}"],
        ["word error rate", percent(figures.wer), f"{figures.word_edits} of {figures.words}"],
        ["exact lines", percent(figures.exact / figures.lines), f"{figures.exact} of {figures.lines}"],
    ]
    if figures.unread:
        share = percent(figures.unread / figures.lines)
        rows.append(["pictures not read", share, f"{figures.unread} of {figures.lines}"])
    return rows


def _line(result: LineResult) -> List[str]:
    answer = result.answer or _NOTHING
    if not result.reading.is_read:
        answer = f"not read: {one_line(result.reading.reason, _MOST_REASON)}"
    return [result.line.picture, result.reference or _NOTHING, answer, str(result.edits), percent(result.cer)]


def _shown(character: str) -> str:
    """A character for a table: white space and marks that combine with others by their code."""
    if not character:
        return _NOTHING
    is_visible = character.isprintable() and character.strip() and not unicodedata.combining(character)
    return character if is_visible else f"U+{ord(character):04X}"
