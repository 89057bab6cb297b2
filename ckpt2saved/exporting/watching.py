"""Continuous export: each new checkpoint of a directory that a training writes into is published.

What was published is read from the provenance of the versions, and of those that were pruned since from the record that
`prune` keeps, so that a restart knows it without a file of its own. A checkpoint is new if no version has its content,
and none has that of a later one of the directory: a version that somebody deleted by hand does not come back with a
higher number. Without TensorFlow; `export_process.py` runs the exports.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence, Set, Tuple

from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.checkpoint.run_directory import Fingerprint, RunCheckpoint, RunDirectory, Scan
from ckpt2saved.console.loops import Emit, Event, Retry, Stop, Stopped
from ckpt2saved.errors import Ckpt2SavedError, NotDeleted
from ckpt2saved.errors.problem import error_content
from ckpt2saved.versions.published_checkpoints import PublishedCheckpoint, PublishedCheckpoints

LATEST, ALL, BEST = "latest", "all", "best"
SELECTIONS = (LATEST, ALL, BEST)
# Why an export failed.
REFUSED, TRANSIENT, CRASHED, FATAL, KNOWN = "refused", "transient", "crashed", "fatal", "known"

_SETTLED = 2.0  # seconds since the last change of a file; a .meta is written after the files of the variables
_SEEN = 1.0  # seconds for which a file has not changed, where clocks differ
_CRASHES = 3  # of the process of an export, before its checkpoint is refused
_INCOMPLETE = 60.0  # seconds for which a checkpoint is incomplete before that is said

_Key = Tuple[Path, Fingerprint]


@dataclass(frozen=True)
class WatchOptions:
    """The options of `watch` that are not those of `export`."""

    run_dir: Path
    base: Path
    select: str = LATEST
    interval: float = 10.0  # seconds
    once: bool = False
    exit_after_idle: Optional[float] = None  # seconds
    until_step: Optional[int] = None
    keep: Optional[int] = None  # complete versions


@dataclass(frozen=True)
class Failure:
    """Why nothing was published."""

    kind: str  # REFUSED, TRANSIENT, CRASHED, FATAL or KNOWN
    error: Ckpt2SavedError
    content: Mapping[str, Any] = field(default_factory=dict)  # more fields for JSON


@dataclass(frozen=True)
class Attempt:
    """The result of exporting one of some checkpoints."""

    published: Optional[Path] = None  # version directory
    step: Optional[int] = None
    failure: Optional[Failure] = None  # None if it was published
    selected: Optional[Path] = None  # prefix; None: the only one
    refused: Mapping[Path, str] = field(default_factory=dict)  # prefix -> why it can't be the best


Export = Callable[[Sequence[RunCheckpoint]], Attempt]
Prune = Callable[[int], Sequence[Path]]


class Watcher:
    """Finds new checkpoints, and has them exported one after the other.

    `export` is called with the new checkpoints among which it selects the best one, or with a single one; it emits the
    events of what it publishes. `prune` is called with the number of versions to keep.
    """

    def __init__(self, options: WatchOptions, export: Export, prune: Prune, emit: Emit, stop: Stop) -> None:
        self._options = options
        self._export = export
        self._prune = prune
        self._emit = emit
        self._stop = stop
        self._directory = RunDirectory(options.run_dir)
        self._known = PublishedCheckpoints(options.base)
        self._memory = _Memory()
        self._retry = Retry(options.interval)
        self._exit_codes: Set[int] = set()
        self._active = time.monotonic()  # when something new was seen or done
        self._is_done = False  # the step of `until_step` is reached
        self._has_given_up = False  # with `once`, as nothing is tried again

    def run(self) -> int:
        """Watch until it is stopped or done; returns the exit code.

        Raises the error of an export that no other checkpoint would pass, such as a UsageError.
        """
        options = self._options
        self._tell(
            "watching",
            f"{options.run_dir}, {_SELECTED[options.select]}, for {options.base}",
            run_dir=str(options.run_dir),
            export_dir=str(options.base),
            select=options.select,
        )
        try:
            reason, code = self._watch()
        except Stopped:
            reason, code = "signal", 0
        except Ckpt2SavedError as error:
            self._tell("stopped", _REASONS["error"], reason="error", exit_code=error.exit_code, **error_content(error))
            raise
        self._tell("stopped", _REASONS[reason], reason=reason, exit_code=code)
        return code

    def _watch(self) -> Tuple[str, int]:
        while True:
            self._stop.check()
            scan = self._directory.scan()
            known = self._known.versions()
            is_retrying = self._retry.is_waiting
            targets, is_complete = self._memory.choose(scan, known, self._options.select)
            self._tell_of(scan)
            if targets and not is_retrying and not self._has_given_up:
                self._handle(targets)
                continue
            if not targets:
                self._retry.clear()
            if self._is_done or self._reached(scan, known):
                return "step", 0
            if self._options.once and (self._has_given_up or (not targets and is_complete)):
                return "once", self._exit_code(scan)
            idle = self._options.exit_after_idle
            if idle is not None and is_complete and time.monotonic() - self._active >= idle:
                return "idle", 1 if is_retrying else 0
            self._pause(is_complete)

    def _pause(self, is_complete: bool) -> None:
        seconds = self._options.interval if is_complete else min(self._options.interval, _SEEN)
        if self._retry.is_waiting:
            seconds = min(seconds, self._retry.seconds)
        idle = self._options.exit_after_idle
        if idle is not None:
            seconds = min(seconds, max(self._active + idle - time.monotonic(), 0.0))
        self._stop.wait(max(seconds, 0.05))

    def _reached(self, scan: Scan, known: Mapping[FrozenSet[str], PublishedCheckpoint]) -> bool:
        """Whether the newest checkpoint was handled, and is as far as `until_step`."""
        if self._options.until_step is None or not scan.checkpoints:
            return False
        newest = scan.checkpoints[-1]
        version = known.get(newest.content)
        if version is None and not self._memory.is_handled(newest):
            return False
        step = newest.step_in_name if version is None or version.step is None else version.step
        return step is not None and step >= self._options.until_step

    def _exit_code(self, scan: Scan) -> int:
        """That of `export` for what `once` has handled; raises its error if there is no checkpoint."""
        if not scan.checkpoints and not self._exit_codes:
            find_checkpoint(self._options.run_dir)
        return next((code for code in (1, 2, 3) if code in self._exit_codes), 0)

    def _handle(self, targets: Sequence[RunCheckpoint]) -> None:
        names = ", ".join(one.files.name for one in targets)
        self._tell("exporting", names, checkpoints=[str(one.prefix) for one in targets])
        self._active = time.monotonic()
        attempt = self._export(targets)
        if attempt.failure is None:
            self._active = time.monotonic()
            self._retry.clear()
            self._published(targets, attempt)
        else:
            self._failed(targets, attempt.failure)

    def _published(self, targets: Sequence[RunCheckpoint], attempt: Attempt) -> None:
        selected = attempt.selected or targets[-1].prefix
        for one in targets:
            if one.prefix in attempt.refused and not one.is_unchanged:
                continue  # deleted, or replaced and so another one, while it was read
            self._memory.handled(one)
            if one.prefix in attempt.refused:
                text = f"{one.files.name}: {attempt.refused[one.prefix]}"
                self._tell("skipped", text, checkpoint=str(one.prefix), reason="not-exported")
            elif one.prefix != selected:
                text = f"{one.files.name}: {selected.name} is read better"
                self._tell("skipped", text, checkpoint=str(one.prefix), reason="not-best")
        until = self._options.until_step
        step = attempt.step
        if until is not None and step is not None and step >= until:
            self._is_done = True
        if self._options.keep is not None:
            self._prune_to(self._options.keep)

    def _prune_to(self, keep: int) -> None:
        failure: Optional[Ckpt2SavedError] = None
        try:
            deleted = self._prune(keep)
        except Ckpt2SavedError as error:  # the next version brings the next try
            deleted = error.deleted if isinstance(error, NotDeleted) else ()
            failure = error
        if deleted:
            self._tell("pruned", ", ".join(map(str, deleted)), deleted=[str(path) for path in deleted])
        if failure is not None:
            self._tell("failed", f"prune: {failure}", checkpoint=None, retry_in=None, **error_content(failure))

    def _failed(self, targets: Sequence[RunCheckpoint], failure: Failure) -> None:
        error, names = failure.error, ", ".join(one.files.name for one in targets)
        where: Dict[str, Any] = {"checkpoint": str(targets[-1].prefix)}
        if failure.kind == FATAL:
            raise error
        if failure.kind == KNOWN:
            self._memory.handled(*targets)
            self._tell("skipped", f"{names}: {error}", **where, reason="published")
        elif not all(one.is_unchanged for one in targets):
            self._tell("vanished", f"{names}: deleted or replaced while it was exported", **where)
            self._stop.wait(min(_SEEN, self._options.interval))
        elif failure.kind == REFUSED or (failure.kind == CRASHED and self._memory.crashes(targets) >= _CRASHES):
            self._active = time.monotonic()
            self._retry.clear()
            self._memory.handled(*targets)
            self._exit_codes.add(error.exit_code)
            self._tell("refused", f"{names}: {error}", **where, **error_content(error), **failure.content)
        else:
            self._retry.failed()
            self._has_given_up = self._options.once
            self._exit_codes.add(error.exit_code)
            seconds = None if self._options.once else round(self._retry.seconds, 1)
            text = f"{names}: {error}" + ("" if seconds is None else f"\nagain in {seconds:g} s")
            self._tell("failed", text, **where, retry_in=seconds, **error_content(error), **failure.content)

    def _tell_of(self, scan: Scan) -> None:
        for one in self._memory.take_skipped():
            self._tell("skipped", f"{one.files.name}: a newer one is there", checkpoint=str(one.prefix), reason="newer")
        for prefix, reason in self._memory.take_incomplete(scan):
            self._tell("incomplete", reason, checkpoint=str(prefix), reason=reason)
        if self._memory.take_news():
            self._active = time.monotonic()

    def _tell(self, kind: str, text: str, **content: Any) -> None:
        self._emit(Event(kind, text, content))


_SELECTED = {
    LATEST: "the latest checkpoint",
    ALL: "all checkpoints",
    BEST: "each checkpoint that is read better",
}
_REASONS = {
    "error": "an error that other checkpoints would have too",
    "idle": "no new checkpoint came",
    "once": "what was there is handled",
    "signal": "as a signal asked for",
    "step": "the last step is handled",
}


class _Memory:
    """What is known of the checkpoints that are there; those that were deleted are forgotten."""

    def __init__(self) -> None:
        self._seen: Dict[_Key, float] = {}  # -> when first
        self._handled: Set[_Key] = set()
        self._crashes: Dict[_Key, int] = {}
        self._skipped: List[RunCheckpoint] = []
        self._incomplete: Dict[Tuple[Path, str], float] = {}  # -> when first; infinite once it was said
        self._has_news = False

    def choose(
        self, scan: Scan, known: Mapping[FrozenSet[str], PublishedCheckpoint], select: str
    ) -> Tuple[Sequence[RunCheckpoint], bool]:
        """The checkpoints to export now, and whether no other new one is still being written."""
        self._look_at(scan)
        places = [place for place, one in enumerate(scan.checkpoints) if one.content in known]
        new = [one for one in scan.checkpoints[max(places, default=-1) + 1 :] if _key(one) not in self._handled]
        settled = [one for one in new if self._is_settled(one)]
        is_complete = len(settled) == len(new)
        if not settled or (select == ALL and settled[0] is not new[0]):
            return (), is_complete
        if select == BEST:
            return settled, is_complete
        if select == ALL:
            return settled[:1], is_complete
        self._skipped = [one for one in new[: new.index(settled[-1])] if one in settled]
        self.handled(*self._skipped)
        return settled[-1:], is_complete

    def _look_at(self, scan: Scan) -> None:
        now = time.monotonic()
        keys = [_key(one) for one in scan.checkpoints]
        self._has_news = self._has_news or any(key not in self._seen for key in keys)
        self._seen = {key: self._seen.get(key, now) for key in keys}
        self._handled &= set(keys)
        self._crashes = {key: count for key, count in self._crashes.items() if key in self._seen}

    def _is_settled(self, one: RunCheckpoint) -> bool:
        return one.age >= _SETTLED or time.monotonic() - self._seen[_key(one)] >= _SEEN

    def handled(self, *checkpoints: RunCheckpoint) -> None:
        """Export these no more."""
        self._handled.update(map(_key, checkpoints))

    def is_handled(self, one: RunCheckpoint) -> bool:
        """Whether the checkpoint was exported, refused or skipped."""
        return _key(one) in self._handled

    def crashes(self, checkpoints: Sequence[RunCheckpoint]) -> int:
        """Count one more crash with these checkpoints; returns how many there were."""
        for one in checkpoints:
            self._crashes[_key(one)] = self._crashes.get(_key(one), 0) + 1
        return max(self._crashes[_key(one)] for one in checkpoints)

    def take_skipped(self) -> Sequence[RunCheckpoint]:
        """The checkpoints that were skipped for a newer one, once."""
        skipped, self._skipped = self._skipped, []
        return skipped

    def take_news(self) -> bool:
        """Whether a checkpoint was seen for the first time since the last call."""
        has_news, self._has_news = self._has_news, False
        return has_news

    def take_incomplete(self, scan: Scan) -> Sequence[Tuple[Path, str]]:
        """The checkpoints that have been incomplete for a while, once, each with the reason."""
        now = time.monotonic()
        self._incomplete = {item: self._incomplete.get(item, now) for item in scan.incomplete.items()}
        found = [item for item, first in self._incomplete.items() if now - first >= _INCOMPLETE]
        self._incomplete.update(dict.fromkeys(found, float("inf")))
        return found


def _key(one: RunCheckpoint) -> _Key:
    return one.prefix, one.fingerprint
