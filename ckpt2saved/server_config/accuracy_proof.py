"""The proof that a server reads as well with mixed precision: what `evaluate --not-worse-than --json` has printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Sequence

from ckpt2saved.errors import UsageError
from ckpt2saved.files.json_text import read_json_file
from ckpt2saved.files.shell_words import for_shell


def check_proof(path: Optional[Path], trial: Sequence[str]) -> str:
    """Return a sentence on the accuracy that is proven; raises UsageError if it is not.

    `trial` are the words of the command that starts a server to measure.
    """
    steps = (
        f"start a server with it for a trial: {' '.join(map(for_shell, trial))}; then run ckpt2saved evaluate"
        " http://localhost:PORT/v1/models/NAME --lines lines.tsv --not-worse-than MODEL_DIR/N --json > accuracy.json,"
        " and pass --accuracy accuracy.json"
    )
    if path is None:
        raise UsageError(f"--mixed-precision: its accuracy is not proven; {steps}")
    where = f"--accuracy {path}"
    content = read_json_file(path, where, steps)
    if not isinstance(content, dict) or content.get("format") != 1 or "is_good_enough" not in content:
        raise UsageError(f"{where}: not what ckpt2saved evaluate --json prints; {steps}")
    baseline = content.get("baseline")
    if not isinstance(baseline, dict):
        raise UsageError(f"{where}: measured without --not-worse-than, so that no loss of accuracy would show; {steps}")
    if content["is_good_enough"] is not True:
        raise UsageError(f"{where}: {_rates(content, baseline)}: the text is read worse; leave --mixed-precision out")
    return f"mixed precision: {_rates(content, baseline)}, so nothing is lost"


def _rates(content: Any, baseline: Any) -> str:
    return f"character error rate {content.get('cer')} with it, {baseline.get('cer')} of {baseline.get('name')}"
