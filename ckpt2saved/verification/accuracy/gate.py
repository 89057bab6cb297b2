"""Decide whether the accuracy of a version is good enough: below a limit, and not worse than another version."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.errors import NotAccurate
from ckpt2saved.errors.problem import Problem, details
from ckpt2saved.verification.accuracy.figures import Accuracy, Figures, LineResult

_MOST_LINES = 10  # in a message; --json has all
_MOST_TEXT = 60  # characters of a line in a message
_ROUNDING = 1e-12
DEFAULT_TOLERANCE = 0.0


@dataclass(frozen=True)
class Limits:
    """What a version must reach; rates are fractions."""

    max_cer: Optional[float] = None
    tolerance: float = DEFAULT_TOLERANCE  # how much the rate may exceed that of the baseline
    is_lower: bool = False  # whether it must be lower than that of the baseline


@dataclass(frozen=True)
class Baseline:
    """The version or server to compare with."""

    name: str  # for messages, for example "version 3"
    accuracy: Accuracy


@dataclass(frozen=True)
class Verdict:
    """The accuracy of a version, and why it is not good enough."""

    accuracy: Accuracy
    limits: Limits
    baseline: Optional[Baseline]
    problems: Tuple[Problem, ...]
    worse: Tuple[Tuple[LineResult, LineResult], ...]  # lines with more edits than by the baseline, and its results

    def raise_if_worse(self, where: str, effect: str = "", result: Any = None) -> None:
        """Raise NotAccurate with the figures and the first lines that got worse.

        `effect` says what is not done; `result` is passed on in the error.
        """
        if not self.problems:
            return
        if self.worse:
            lines = [_worse_line(one, before, self.baseline) for one, before in self.worse]
        else:
            lines = [_misread_line(one) for one in self.accuracy.worst]
        shown = [*self.problems, *lines[:_MOST_LINES]]
        if len(lines) > _MOST_LINES:
            shown.append(Problem("more-problems", "", f"and {len(lines) - _MOST_LINES} more lines; --json prints all"))
        text = f"{where}: the text is not read well enough"
        raise NotAccurate(f"{text}; {effect}" if effect else text, shown, result)

    def as_content(self) -> Dict[str, Any]:
        """The fields for JSON."""
        return {
            "max_cer": self.limits.max_cer,
            "baseline": baseline_content(self.baseline, self.limits),
            "is_good_enough": not self.problems,
            "problems": [problem.text for problem in self.problems],
            "problem_details": details(self.problems),
            "worse": [
                {**line_content(one), "baseline_answer": before.answer, "baseline_edits": before.edits}
                for one, before in self.worse
            ],
        }


def judge(accuracy: Accuracy, limits: Limits, baseline: Optional[Baseline] = None) -> Verdict:
    """Compare the character error rate with the limits and the baseline."""
    figures = accuracy.figures
    problems: List[Problem] = []
    if limits.max_cer is not None and figures.cer > limits.max_cer + _ROUNDING:
        found = f"{rate_text(figures)}, and --max-cer allows {percent(limits.max_cer)}"
        problems.append(Problem("cer-over-limit", "character error rate", found))
    worse: Tuple[Tuple[LineResult, LineResult], ...] = ()
    if baseline is not None:
        before = baseline.accuracy.figures
        pairs = zip(accuracy.results, baseline.accuracy.results)
        worse = tuple(sorted(filter(_is_worse, pairs), key=lambda pair: pair[1].edits - pair[0].edits))
        if figures.cer > before.cer + limits.tolerance + _ROUNDING:
            more = f" (--tolerance {limits.tolerance:g})" if limits.tolerance else ""
            found = f"{rate_text(figures)}, and {baseline.name} has {rate_text(before)}{more}"
            problems.append(Problem("cer-worse", "character error rate", found))
        elif limits.is_lower and figures.cer > before.cer - _ROUNDING:
            found = f"{rate_text(figures)}, as {baseline.name} has; only a lower rate is published"
            problems.append(Problem("cer-not-lower", "character error rate", found))
    return Verdict(accuracy, limits, baseline, tuple(problems), worse=worse)


def line_content(result: LineResult) -> Dict[str, Any]:
    """The fields of one line for JSON."""
    score = result.reading.score
    return {
        "picture": result.line.picture,
        "line": result.line.number,
        "text": result.reference,
        "answer": result.answer,
        "edits": result.edits,
        "cer": result.cer,
        "status": result.reading.status,
        "reason": result.reading.reason or None,
        "score": score if score is not None and math.isfinite(score) else None,  # JSON has no infinity
    }


def baseline_content(baseline: Optional[Baseline], limits: Limits) -> Optional[Dict[str, Any]]:
    """The name and figures of the baseline for JSON."""
    if baseline is None:
        return None
    figures = baseline.accuracy.figures
    return {"name": baseline.name, "tolerance": limits.tolerance, **figures.as_content()}


def percent(rate: float) -> str:
    """A rate for people."""
    return f"{100 * rate:.3g} %"


def rate_text(figures: Figures) -> str:
    """The character error rate with the numbers behind it."""
    return f"{percent(figures.cer)} ({counted(figures.edits, 'error')} in {counted(figures.characters, 'character')})"


def counted(count: int, what: str) -> str:
    """The number of things for people."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _is_worse(pair: Tuple[LineResult, LineResult]) -> bool:
    return pair[0].edits > pair[1].edits


def quoted(text: str) -> str:
    """The text of a line for a message."""
    return f"'{one_line(text, _MOST_TEXT)}'"


def _misread(result: LineResult) -> str:
    reason = f" ({one_line(result.reading.reason, _MOST_TEXT)})" if result.reading.reason else ""
    return f"{quoted(result.reference)} is read as {quoted(result.answer)}{reason}"


def _misread_line(result: LineResult) -> Problem:
    return Problem("misread-line", result.line.where, _misread(result))


def _worse_line(result: LineResult, before: LineResult, baseline: Optional[Baseline]) -> Problem:
    return Problem(
        "misread-line",
        result.line.where,
        f"{_misread(result)}, and by {baseline.name if baseline else ''} as {quoted(before.answer)}",
    )
