"""The evaluation of a model with a labels file: figures, and whether they are good enough."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from ckpt2saved.answers.models import Model
from ckpt2saved.console.say import Say, progress_of
from ckpt2saved.errors import UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.verification.accuracy.evaluation import evaluate
from ckpt2saved.verification.accuracy.figures import Accuracy
from ckpt2saved.verification.accuracy.gate import Limits, Verdict, judge
from ckpt2saved.verification.accuracy.labelled import LabelOptions
from ckpt2saved.verification.accuracy.page_evaluation import evaluate_pages
from ckpt2saved.verification.accuracy.page_report import report_on_pages
from ckpt2saved.verification.accuracy.report import Report, report_on


@dataclass(frozen=True)
class ModelEvaluation:
    """What a model reads of labelled pictures."""

    model: str  # the directory or the address
    labels: Path
    labels_sha256: str
    report: Report
    verdict: Verdict

    @property
    def accuracy(self) -> Accuracy:
        """The text of all lines: figures, confusions and results."""
        return self.report.text

    @property
    def cer(self) -> float:
        """The character error rate, a fraction."""
        return self.accuracy.figures.cer

    @property
    def wer(self) -> float:
        """The word error rate, a fraction."""
        return self.accuracy.figures.wer

    @property
    def problems(self) -> Tuple[Problem, ...]:
        """Why the text is not good enough; () if it is."""
        return self.verdict.problems

    def raise_if_worse(self) -> None:
        """Raise NotAccurate with the problems and the first lines that are read wrong, if there are problems."""
        self.verdict.raise_if_worse(self.model, "")

    def as_content(self) -> Dict[str, Any]:
        """The content of --json."""
        file = {"path": str(self.labels), "sha256": self.labels_sha256}
        return {"model": self.model, "labels": file, **self.report.content, **self.verdict.as_content()}


class Evaluation:
    """Reads the pictures of a labels file, of lines or of pages, with models."""

    def __init__(self, lines: Optional[Path], pages: Optional[Path], options: LabelOptions) -> None:
        """Read the labels file; raises UsageError unless there is one, and LabelsError."""
        if (lines is None) == (pages is None):
            found = "found neither" if lines is None else "found both"
            raise UsageError(f"{found}; expected labelled pictures: --lines FILE.tsv, or --pages FILE.json")
        self._of_lines = None if lines is None else options.of_lines(lines)
        self._of_pages = None if pages is None else options.of_pages(pages)

    def of(self, model: Model, limits: Limits, say: Say) -> ModelEvaluation:
        """The evaluation of a model; raises UsageError if no signature fits, and the errors of the model."""
        progress = progress_of(say)
        if self._of_lines is not None:
            labels = self._of_lines.labels
            path, sha256, report = labels.path, labels.sha256, report_on(evaluate(model, self._of_lines, progress))
        else:
            assert self._of_pages is not None
            pages = self._of_pages.labels
            path, sha256 = pages.path, pages.sha256
            report = report_on_pages(evaluate_pages(model, self._of_pages, progress))
        say("evaluated", f"{model.name}, signature {report.signature}, {path}")
        return ModelEvaluation(
            model=model.name,
            labels=path,
            labels_sha256=sha256,
            report=report,
            verdict=judge(report.text, limits),
        )
