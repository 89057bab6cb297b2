"""What is known of a running sync, for its health endpoint: written by one thread, read by others."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Optional, Tuple

from ckpt2saved.files.reading import walk

SOURCE, DAMAGED, LOCAL, PRUNE = FAILURES = "source", "damaged", "local", "prune"

_STUCK_AFTER = 900.0  # seconds


@dataclass
class ModelState:
    """What is known of a model."""

    name: str
    has_version: bool = False  # the local base directory has a complete version
    local: Optional[int] = None  # newest version in the local base directory
    remote: Optional[int] = None  # newest complete version in the source
    last_success: Optional[float] = None  # seconds since the epoch
    downloads: int = 0
    downloaded_bytes: int = 0
    download_seconds: float = 0.0
    rounds: int = 0
    round_seconds: float = 0.0
    failures: Dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAILURES, 0))


class SyncState:
    """The state of all models, and whether the loop goes on."""

    def __init__(self, models: Tuple[ModelState, ...]) -> None:
        self.models = models
        self.stage: Optional[Path] = None  # into which a version is downloaded
        self._step = time.monotonic()
        self._seen = -1  # bytes in the stage
        self._seen_at = self._step

    @property
    def is_ready(self) -> bool:
        """Whether a server has a version of each model."""
        return all(model.has_version for model in self.models)

    def step(self, stage: Optional[Path] = None) -> None:
        """Note that the loop goes on, and the stage into which it downloads from now on."""
        self.stage = stage
        self._step = time.monotonic()

    def is_alive(self) -> bool:
        """Whether the loop does something: a step, or a stage that grows, within the last quarter of an hour."""
        now = time.monotonic()
        stage = self.stage
        found = -1 if stage is None else size_of_files(stage)
        if found != self._seen:
            self._seen, self._seen_at = found, now
        return now - max(self._step, self._seen_at) < _STUCK_AFTER


def size_of_files(directory: Path) -> int:
    """Return the number of bytes in a directory to which others may write; 0 if it is gone."""
    try:
        return sum(entry.status.st_size for entry in walk(directory) if not os.path.isdir(entry.path))
    except OSError:
        return 0
