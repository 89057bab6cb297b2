"""The options about labelled pictures, and the labels file that they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ckpt2saved.requests.pictures import PAGES_OF_A_REQUEST, PICTURES_OF_A_REQUEST
from ckpt2saved.verification.accuracy.evaluation import EvaluationOptions, LabelsT
from ckpt2saved.verification.accuracy.figures import require_distances
from ckpt2saved.verification.accuracy.labels import Labels, read_labels
from ckpt2saved.verification.accuracy.page_labels import PageLabels, read_page_labels


@dataclass(frozen=True)
class LabelOptions:
    """What is read, and how the text is compared; None for what depends on the labels file."""

    signature: Optional[str] = None
    allow_empty: bool = False
    nfc: bool = True
    batch_size: Optional[int] = None

    def of_lines(self, path: Path) -> EvaluationOptions[Labels]:
        """With the labels of lines in a file; raises LabelsError."""
        require_distances()
        return self._of(read_labels(path, self.allow_empty), PICTURES_OF_A_REQUEST)

    def of_pages(self, path: Path) -> EvaluationOptions[PageLabels]:
        """With the labels of pages in a file; raises LabelsError."""
        require_distances()
        return self._of(read_page_labels(path, self.allow_empty), PAGES_OF_A_REQUEST)

    def _of(self, labels: LabelsT, most: int) -> EvaluationOptions[LabelsT]:
        return EvaluationOptions(labels, self.signature, most=self.batch_size or most, normalise=self.nfc)
