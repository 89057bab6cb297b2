"""The accuracy gate of `export`: the staged files read labelled pictures before they are published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional

from ckpt2saved.answers.models import FileModel
from ckpt2saved.console.say import Say, progress_of
from ckpt2saved.errors import NotAnswered, UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.requests.pictures import LINE_READER
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.verification.accuracy.baselines import BaselineSource
from ckpt2saved.verification.accuracy.evaluation import Evaluated, EvaluationOptions, evaluate
from ckpt2saved.verification.accuracy.figures import Accuracy
from ckpt2saved.verification.accuracy.gate import Baseline, Limits, Verdict, baseline_content, judge
from ckpt2saved.verification.accuracy.labels import Labels
from ckpt2saved.verification.accuracy.report import as_content, baseline_summary, summary


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
