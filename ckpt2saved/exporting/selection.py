"""`--select best`: every checkpoint of a directory reads labelled pictures, and the best one is published."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.checkpoint.files import checkpoints_at, prefixes_in
from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.console.say import Say, begin, progress_of, silent
from ckpt2saved.errors import (
    CheckpointError,
    Ckpt2SavedError,
    NoCheckpoint,
    NotCompatible,
    NotServable,
    ParityError,
    SignatureError,
    UsageError,
    WarmupError,
)
from ckpt2saved.errors.problem import Problem
from ckpt2saved.exporting.plan import ExportOptions, plan_export
from ckpt2saved.verification.accuracy.evaluation import Evaluated
from ckpt2saved.verification.accuracy.gate import percent

# Reasons why one checkpoint is not exported, while another one may be.
_OF_ONE = (CheckpointError, SignatureError, NotServable, ParityError, NotCompatible, WarmupError)
_HEADINGS = ("checkpoint", "step", "character error rate", "word error rate", "exact", "")


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that was exported in a dry run, or the reason why that failed."""

    prefix: Path
    step: Optional[int] = None
    evaluated: Optional[Evaluated] = None
    error: Optional[Ckpt2SavedError] = None

    @property
    def age(self) -> Tuple[int, float]:
        """A key that is greatest for the newest checkpoint: its step, then the time of its files."""
        times = [path.stat().st_mtime for path in self.prefix.parent.glob(_escaped(self.prefix.name) + "*")]
        return -1 if self.step is None else self.step, max(times, default=0.0)

    def as_content(self) -> Dict[str, Any]:
        """The fields for JSON."""
        figures = self.evaluated.accuracy.figures.as_content() if self.evaluated else None
        reason = None if self.error is None else str(self.error)
        return {"checkpoint": str(self.prefix), "step": self.step, "figures": figures, "error": reason}


def try_all(options: ExportOptions, say: Say = silent) -> Tuple[Candidate, ...]:
    """Export every checkpoint of the directory in a dry run, and measure the staged files; oldest names first.

    Several checkpoints may be given in place of the directory. Raises UsageError without labelled pictures, and the
    errors of export that do not depend on the checkpoint.
    """
    given = options.graph.checkpoints
    places = list(given.values() if isinstance(given, Mapping) else given)
    gate = options.accuracy
    if gate is None:
        raise UsageError("--select best: only with --lines, whose pictures every checkpoint reads")
    prefixes = _prefixes(places)
    found = []
    for number, prefix in enumerate(prefixes, start=1):
        graph = replace(options.graph, checkpoints=(prefix,))
        candidate = replace(
            options,
            graph=graph,
            dry_run=True,
            unless_published=False,
            skip_unchanged=False,
            accuracy=gate.without_limits(),
        )
        found.append(_tried(candidate, prefix, _Muted(say, f"{number} of {len(prefixes)}, {prefix.name}")))
        say("candidate", _line(found[-1]))
    return tuple(found)


def _prefixes(places: Sequence[Path]) -> Sequence[Path]:
    """The checkpoints of a directory, or several ones that are given."""
    if len(places) > 1 and all(checkpoints_at(place) for place in places):
        return places
    if len(places) != 1 or not os.path.isdir(str(places[0])):
        raise UsageError(
            f"--select best: --checkpoint {', '.join(map(str, places))}: expected a directory with several checkpoints"
        )
    prefixes = prefixes_in(places[0])
    if not prefixes:
        raise NoCheckpoint(f"{places[0]}: there is no checkpoint in this directory")
    return prefixes


def _tried(options: ExportOptions, prefix: Path, say: Say) -> Candidate:
    from ckpt2saved.exporting.pipeline import export_checkpoint

    try:
        exported = export_checkpoint(plan_export(options), say)
    except _OF_ONE as error:
        return Candidate(prefix, error=error)
    step = exported.provenance["checkpoint"]["step"]
    return Candidate(prefix, step, exported.measured.evaluated if exported.measured else None)


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate with the lowest character error rate, of several the newest.

    Raises CheckpointError if none could be exported.
    """
    measured = [(one.evaluated.accuracy.figures, one) for one in candidates if one.evaluated]
    if not measured:
        problems = [Problem("not-exported", one.prefix.name, str(one.error)) for one in candidates]
        raise CheckpointError(f"{candidates[0].prefix.parent}: none of its checkpoints can be exported", problems)
    lowest = min(figures.edits for figures, _ in measured)
    return max((one for figures, one in measured if figures.edits == lowest), key=lambda one: one.age)


def candidate_table(candidates: Sequence[Candidate]) -> Tuple[Sequence[str], List[List[str]]]:
    """Headings and rows of a table of all candidates."""
    best = best_of(candidates)
    return _HEADINGS, [_cells(one, "best" if one is best else "") for one in candidates]


def _cells(candidate: Candidate, mark: str) -> List[str]:
    step = "" if candidate.step is None else str(candidate.step)
    if candidate.evaluated is None:
        return [candidate.prefix.name, step, "", "", "", f"not exported: {one_line(str(candidate.error), 200)}"]
    figures = candidate.evaluated.accuracy.figures
    exact = f"{figures.exact} of {figures.lines}"
    return [candidate.prefix.name, step, percent(figures.cer), percent(figures.wer), exact, mark]


def _line(candidate: Candidate) -> str:
    cells = _cells(candidate, "")
    if candidate.evaluated is None:
        return f"{cells[0]}: {cells[-1]}"
    return f"{cells[0]}: characters {cells[2]}; words {cells[3]}; {cells[4]} lines exact"


class _Muted:
    """Shows the steps of an export as progress only."""

    def __init__(self, say: Say, name: str) -> None:
        self._say = say
        self._name = name

    def __call__(self, step: str, text: str) -> None:
        """Results of a candidate are not reported."""

    def begin(self, text: str) -> None:
        """Report the step that begins."""
        begin(self._say, f"{self._name}: {text}")

    def progress(self, text: str) -> None:
        """Show the current operation on a terminal."""
        progress_of(self._say)(f"{self._name}: {text}")


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
