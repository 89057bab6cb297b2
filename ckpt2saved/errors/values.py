"""The values that the options of the Python API may have, by the names of their keywords."""

from __future__ import annotations

import math
from typing import Any, Dict, Sequence, Tuple

from ckpt2saved.errors import UsageError

# The options of the command line whose names are not those of the keywords of the Python API.
_OPTIONS = {
    "batched": "--batched, --unbatched",
    "inputs": "--input",
    "options": "--option",
    "outputs": "--output",
    "pinned": "--set",
    "probe_signatures": "--probe-signature",
    "renames": "--map",
}
_RANGES: Dict[str, Tuple[float, float]] = {
    **dict.fromkeys(
        (
            "batch_size",
            "beam_width",
            "keep",
            "parity_lines",
            "parity_seconds",
            "top_paths",
            "version",
            "versions",
            "worst_count",
        ),
        (1, math.inf),
    ),
    **dict.fromkeys(("retries", "timeout"), (0, math.inf)),
    **dict.fromkeys(("max_cer", "tolerance"), (0, 1)),
}
_CHOICES: Dict[str, Sequence[str]] = {
    "ctc_decoder": ("fast", "stock", "greedy"),
    "for_device": ("cpu", "gpu"),
    "select": ("best",),
    "weights": ("auto", "raw", "ema"),
}


def option_of(keyword: str) -> str:
    """Return the option of the command line that a keyword of the Python API stands for."""
    return _OPTIONS.get(keyword, "--" + keyword.replace("_", "-"))


def check_values(**values: Any) -> None:
    """Raise UsageError for the first value that is not possible; None is, where an option is not given."""
    for name, value in values.items():
        if value is None:
            continue
        if name in _CHOICES:
            if value not in _CHOICES[name]:
                raise UsageError(f"{option_of(name)} {value}: expected {', '.join(_CHOICES[name])}")
            continue
        low, high = _RANGES[name]
        if not (low <= value <= high and value < math.inf):
            expected = f"{low:g} or more" if high == math.inf else f"a number from {low:g} to {high:g}"
            raise UsageError(f"{option_of(name)} {value}: expected {expected}")
