"""The accuracy gate of `export`: the staged files read labelled pictures before they are published."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Dict, Optional, Tuple, Union

from ckpt2saved.answers.models import FileModel
from ckpt2saved.client.address import Address
from ckpt2saved.console.say import Say, progress_of
from ckpt2saved.errors import NotAnswered, StrayOptions, UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.requests.pictures import LINE_READER
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.verification.accuracy.baselines import BaselineSource, live_baseline, version_baseline
from ckpt2saved.verification.accuracy.evaluation import Evaluated, EvaluationOptions, evaluate
from ckpt2saved.verification.accuracy.figures import Accuracy
from ckpt2saved.verification.accuracy.gate import Baseline, Limits, Verdict, baseline_content, judge
from ckpt2saved.verification.accuracy.labelled import LabelOptions
from ckpt2saved.verification.accuracy.labels import Labels
from ckpt2saved.verification.accuracy.report import as_content, baseline_summary, summary
from ckpt2saved.verification.named_versions import LIVE, live_client
from ckpt2saved.versions.bases import Base


@dataclass(frozen=True)
class Measured:
    """The accuracy of the staged files, and whether it is good enough."""

    labels: Labels
    evaluated: Evaluated
    verdict: Verdict

    def as_content(self) -> Dict[str, Any]:
        """The field `accuracy` of --json, with all lines."""
        labels = {"path": str(self.labels.path), "sha256": self.labels.sha256}
        return {"labels": labels, **as_content(self.evaluated), **self.verdict.as_content()}

    def as_record(self) -> Dict[str, Any]:
        """The field `accuracy` of the provenance."""
        verdict = self.verdict
        return {
            "labels": {"name": self.labels.path.name, "sha256": self.labels.sha256},
            "signature": self.evaluated.signature,
            **self.evaluated.accuracy.figures.as_content(),
            "max_cer": verdict.limits.max_cer,
            "baseline": baseline_content(verdict.baseline, verdict.limits),
        }


@dataclass(frozen=True)
class GateOptions:
    """The options about labelled pictures of `export`; none has an effect without `lines`."""

    lines: Optional[Path] = None
    allow_empty: bool = False
    nfc: bool = True
    batch_size: Optional[int] = None
    max_cer: Optional[float] = None
    lines_signature: Optional[str] = None
    not_worse_than: Union[str, int, Path, None] = None
    tolerance: Optional[float] = None
    better_than: Union[str, int, Path, None] = None
    server: Optional[Address] = None
    compatible_with: Union[str, int, Path, None] = None  # not about pictures, but about the same server

    def refuse_stray(self) -> None:
        """Raise StrayOptions for options that have no effect."""
        given = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
        of_baseline = ["tolerance", "server", "compatible_with"]
        for names, needed in (
            ([name for name in given if name not in of_baseline] if self.lines is None else [], "--lines"),
            (["tolerance"] if self.not_worse_than is None else [], "--not-worse-than"),
            (
                ["server"] if LIVE not in (self.not_worse_than, self.better_than, self.compatible_with) else [],
                "--not-worse-than live, --better-than live or --compatible-with live",
            ),
        ):
            stray = [name for name in names if name in given]
            if stray:
                raise StrayOptions(stray, needed)
        if self.not_worse_than is not None and self.better_than is not None:
            raise UsageError("--not-worse-than and --better-than: pass one of them")

    @property
    def baseline(self) -> Tuple[str, Union[str, int, Path, None]]:
        """The option with what to compare with, and its value; None without one."""
        if self.better_than is not None:
            return "--better-than", self.better_than
        return "--not-worse-than", self.not_worse_than


class AccuracyGate:
    """What the staged files must reach; the baseline is evaluated once."""

    def __init__(
        self,
        options: EvaluationOptions[Labels],
        limits: Limits,
        source: Optional[BaselineSource] = None,
        note: str = "",
    ) -> None:
        """`note` is said before the comparison, for example why there is no baseline."""
        self.options = options
        self.note = note
        self.limits = limits
        self._source = source
        self._baseline: Optional[Baseline] = None

    def without_limits(self) -> AccuracyGate:
        """A gate that measures only."""
        return AccuracyGate(self.options, Limits())

    def check_signatures(self, model: ServedModel) -> None:
        """Raise UsageError if no signature reads text, as far as that is known before the graph is read."""
        specs = [spec for one in model.signatures for spec in one.inputs + one.outputs]
        if any(not spec.dtype or spec.shape is None for spec in specs):
            return
        signatures = {one.name: one for one in model.signatures}
        try:
            LINE_READER.choose(signatures, self.options.signature, str(model.source))
        except UsageError as error:
            left_out = [Problem(note.code, note.where, note.found, note.remedy) for note in model.notes]
            raise UsageError(str(error), left_out) from error

    def measure(self, stage: Path, say: Say) -> Evaluated:
        """Read the pictures with the staged files."""
        evaluated = evaluate(FileModel(stage), self.options, progress_of(say))
        say("accuracy", f"{summary(evaluated.accuracy)}; signature {evaluated.signature}")
        return evaluated

    def check(self, evaluated: Evaluated, where: str, say: Say) -> Measured:
        """Compare with the limits and the baseline; raises NotAccurate."""
        if self.note:
            say("note", self.note)
        baseline = self._measured_baseline(say)
        if baseline is not None:
            say("compared", f"{baseline.name}: {baseline_summary(evaluated.accuracy, baseline)}")
        verdict = judge(evaluated.accuracy, self.limits, baseline)
        measured = Measured(self.options.labels, evaluated, verdict)
        verdict.raise_if_worse(where, "nothing is published", measured)
        return measured

    def _measured_baseline(self, say: Say) -> Optional[Baseline]:
        if self._source is not None and self._baseline is None:
            progress = progress_of(say)
            accuracy = evaluate(self._source.model, self.options, progress).accuracy
            _refuse_unanswered(self._source.name, accuracy)
            self._baseline = Baseline(self._source.name, accuracy)
        return self._baseline


def read_gate(
    options: GateOptions, base: Base, wait_for: Optional[Address], model_name: Optional[str]
) -> Optional[AccuracyGate]:
    """The gate for the options, whose labels file and baseline are read; None without labelled pictures.

    The server of the baseline is by default that of `wait_for`. Raises UsageError, LabelsError, VersionError and the
    errors of a Client.
    """
    options.refuse_stray()
    if options.lines is None:
        return None
    labels = LabelOptions(options.lines_signature, options.allow_empty, options.nfc, options.batch_size)
    evaluation = labels.of_lines(options.lines)
    source, note = None, ""
    name, given = options.baseline
    if given is not None:
        source = _baseline(options, base, options.server or wait_for, model_name)
        note = "" if source else f"{name} newest: there is no version yet to compare with"
    limits = Limits(options.max_cer, options.tolerance or 0.0, is_lower=options.better_than is not None)
    return AccuracyGate(evaluation, limits, source, note)


def _baseline(
    options: GateOptions, base: Base, server: Optional[Address], model_name: Optional[str]
) -> Optional[BaselineSource]:
    option, given = options.baseline
    if given != LIVE:
        return None if given is None else version_baseline(given, base, option)
    return live_baseline(live_client(base, server, model_name, option))


def _refuse_unanswered(name: str, accuracy: Accuracy) -> None:
    """Raise NotAnswered if requests were refused, so that a bad moment of a server is not taken for bad text."""
    problems = [
        Problem("refused-request", one.line.picture, one.reading.reason)
        for one in accuracy.results
        if one.reading.status is None
    ]
    if problems:
        raise NotAnswered(
            f"{name}: no answer for {len(problems)} pictures, so that it can't be compared", problems[:10]
        )
