"""The accuracy of a version or server as tables for people, JSON for programs, and Markdown for CI."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.console.report import markdown_table
from ckpt2saved.verification.accuracy.evaluation import Evaluated
from ckpt2saved.verification.accuracy.figures import Accuracy, LineResult
from ckpt2saved.verification.accuracy.gate import Baseline, counted, line_content, percent, rate_text

MOST_CONFUSIONS = 20  # in tables; --json has all
MOST_LINES = 20

Table = Tuple[Sequence[str], List[List[str]]]  # headings and rows

FIGURES = ("figure", "value", "of")
_CONFUSIONS = ("reference", "read as", "times")
_LINES = ("picture", "reference", "read as", "errors", "rate")
_MOST_REASON = 200  # characters
_NOTHING = "(nothing)"


@dataclass(frozen=True)
class Report:
    """What `evaluate` reports: for people, for programs, and the text that limits hold for."""

    signature: str
    text: Accuracy
    summary: str
    content: Dict[str, Any]  # of --json
    tables: Tuple[Table, ...]

    def print(self) -> None:
        """Print the tables one below the other."""
        from ckpt2saved.console.tables import print_rows  # slow; an export in a training prints nothing

        for headings, rows in self.tables:
            print_rows(headings, rows, [""] * len(rows))

    def as_markdown(self) -> str:
        """The tables in Markdown."""
        return _markdown(self.tables)


def as_content(evaluated: Evaluated) -> Dict[str, Any]:
    """The content of --json: figures, confusions and all lines."""
    accuracy = evaluated.accuracy
    return {
        "signature": evaluated.signature,
        **accuracy.figures.as_content(),
        "confusions": confusions_content(accuracy),
        "results": [line_content(one) for one in accuracy.results],
    }


def confusions_content(accuracy: Accuracy) -> List[Dict[str, Any]]:
    """All confusions for JSON, most frequent first."""
    return [{"reference": pair.reference, "read": pair.read, "count": count} for pair, count in accuracy.confusions]


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


def as_markdown(accuracy: Accuracy) -> str:
    """The figures, the most frequent confusions and the worst lines as tables in Markdown."""
    return _markdown(_tables(accuracy))


def report_on(evaluated: Evaluated) -> Report:
    """What `evaluate` reports of labelled lines."""
    accuracy = evaluated.accuracy
    return Report(
        signature=evaluated.signature,
        text=accuracy,
        summary=summary(accuracy),
        content=as_content(evaluated),
        tables=tuple(_tables(accuracy)),
    )


def _markdown(tables: Sequence[Table]) -> str:
    return "\n".join(markdown_table(headings, rows) for headings, rows in tables)


def _tables(accuracy: Accuracy) -> List[Table]:
    return [(FIGURES, _figures(accuracy)), *error_tables(accuracy)]


def error_tables(accuracy: Accuracy) -> List[Table]:
    """The most frequent confusions and the worst lines; no table if every line is exact."""
    confusions = accuracy.confusions[:MOST_CONFUSIONS]
    if not confusions:
        return []
    pairs = [[_shown(pair.reference), _shown(pair.read), str(count)] for pair, count in confusions]
    return [(_CONFUSIONS, pairs), (_LINES, [_line(one) for one in accuracy.worst[:MOST_LINES]])]


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
    reason = one_line(result.reading.reason, _MOST_REASON)
    answer = result.answer or (f"({reason})" if reason else _NOTHING)
    if not result.reading.is_read:
        answer = f"not read: {reason}"
    return [result.line.where, result.reference or _NOTHING, answer, str(result.edits), percent(result.cer)]


def _shown(character: str) -> str:
    """A character for a table: white space and marks that combine with others by their code."""
    if not character:
        return _NOTHING
    is_visible = character.isprintable() and character.strip() and not unicodedata.combining(character)
    return character if is_visible else f"U+{ord(character):04X}"
