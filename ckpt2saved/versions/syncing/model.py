"""One model of `sync`: which versions are pulled, and what happens with those that can't be."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Hashable, Iterator, List, Optional, Sequence, Tuple

from ckpt2saved.console.loops import Emit, Event, Retry, Stop
from ckpt2saved.console.say import Say, begin
from ckpt2saved.errors import NotDeleted, VersionError
from ckpt2saved.errors.problem import Problem, details, error_content, listed, texts
from ckpt2saved.files.reading import printable
from ckpt2saved.files.shell_words import for_shell
from ckpt2saved.files.write_errors import FULL
from ckpt2saved.saved_model.judgement import SAMPLED
from ckpt2saved.versions.base import Numbered, check_base, newest_child, numbered_children, os_errors_explained
from ckpt2saved.versions.content import is_altered
from ckpt2saved.versions.deletion import prune_versions
from ckpt2saved.versions.health import content_problems
from ckpt2saved.versions.stage import remove_leftovers, staged
from ckpt2saved.versions.syncing.sources import Source, SourceVersion
from ckpt2saved.versions.syncing.state import DAMAGED, LOCAL, PRUNE, SOURCE, ModelState, SyncState, size_of_files


@dataclass(frozen=True)
class SyncOptions:
    """The options of `sync` other than the places."""

    versions: int = 1  # that an empty base directory gets
    keep: int = 5  # complete versions
    interval: float = 30.0  # seconds
    once: bool = False
    until_ready: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What the models of one sync share."""

    options: SyncOptions
    emit: Emit
    say: Say
    stop: Stop


class _Failed(Exception):
    """Something could not be done; `kind` is one of FAILURES."""

    def __init__(self, kind: str, error: VersionError) -> None:
        super().__init__(str(error))
        self.kind = LOCAL if _is_of_full_disk(error) else DAMAGED if error.problems and kind != PRUNE else kind
        self.error = error


@contextlib.contextmanager
def _failing(kind: str) -> Iterator[None]:
    """Context whose VersionErrors are failures of this kind, or of one that the error itself shows."""
    try:
        yield
    except VersionError as error:
        raise _Failed(kind, error) from error


def _is_of_full_disk(error: BaseException) -> bool:
    cause = error.__cause__
    return cause is not None and ((isinstance(cause, OSError) and cause.errno in FULL) or _is_of_full_disk(cause))


class SyncedModel:
    """The local base directory of a model, its source, and what is known of earlier failures."""

    def __init__(self, source: Source, base: Path, around: Surroundings) -> None:
        self.source = source
        self.base = base
        self.state = ModelState(Path(os.path.abspath(os.fspath(base))).name)
        self.published: List[Path] = []
        self.deleted: List[Path] = []
        self._options = around.options
        self._emit = around.emit
        self._say = around.say
        self._stop = around.stop
        self._retry = Retry(around.options.interval)  # of the source, or of the local base directory
        self._refused: Dict[int, Tuple[Hashable, Retry]] = {}  # versions that were not published, as they were then
        self._told: Dict[str, str] = {}  # problems of the source, so that each is told once
        self._prunes = True  # as another --keep may have been given
        self._is_compared = False  # the newest version of an earlier sync with its record

    @property
    def pause(self) -> float:
        """The time until the next round, in seconds."""
        return self._retry.seconds if self._retry.is_waiting else self._options.interval

    def begin(self) -> None:
        """Remove what a killed sync has left, and find the versions that are there; raises VersionError."""
        check_base(self.base)
        remove_leftovers(self.base)
        self._look()

    def round(self, overall: SyncState) -> bool:
        """Pull what is newer than the newest local version, and prune; returns whether the newest one is there."""
        start = time.monotonic()
        try:
            is_current = self._round(overall)
        except _Failed as failure:
            self._retry.failed()
            self._tell_failure(failure, None, self._retry.seconds)
            return False
        finally:
            self.state.rounds += 1
            self.state.round_seconds += time.monotonic() - start
            overall.step()
        self._retry.clear()
        if is_current:
            self.state.last_success = time.time()
        return is_current

    def _round(self, overall: SyncState) -> bool:
        overall.step()
        begin(self._say, f"listing {self.source.url}")
        with _failing(SOURCE), self._stop.interrupting():
            versions = self.source.versions()
        with _failing(LOCAL):
            self._look()
        before = self.state.local
        newer = [version for version in versions if before is None or version.number > before]
        with _failing(SOURCE):
            incomplete = [version for version in newer if version.missing]
            waited_for = {version.number for version in incomplete}
            complete = [version for version in newer if version.number not in waited_for]
            older = (version for version in reversed(versions[: len(versions) - len(newer)]) if not version.missing)
            newest = complete[-1] if complete else next(older, None)
        overall.step()
        self.state.remote = None if newest is None else newest.number
        with _failing(SOURCE):
            self._tell_of_problems(bool(versions), incomplete)
        for version in self._wanted(complete):
            if self.state.local is None or version.number > self.state.local:
                self._try(version, overall)
        if self._prunes:
            self._prune()
        if not self._is_compared:
            self._compare(overall)
        local = self.state.local
        return newest is not None and local is not None and local >= newest.number

    def _wanted(self, newer: Sequence[SourceVersion]) -> List[SourceVersion]:
        """The versions to be pulled, in this order; by then some may be older than the newest local one."""
        # What --keep would delete at once is pulled only if what is newer cannot be.
        most = self._options.versions if self.state.local is None else self._options.keep
        return [*newer[-most:], *reversed(newer[:-most])]

    def _try(self, version: SourceVersion, overall: SyncState) -> None:
        """Pull a version; raises _Failed if the local base directory takes none."""
        before, retry = self._refused.get(version.number, (None, None))
        identity: Hashable = None
        try:
            with _failing(SOURCE):
                identity = version.identity
            if retry is not None and retry.is_waiting and before == identity:
                return
            self._pull(version, overall)
        except _Failed as failure:
            with _failing(LOCAL):
                self._look()
            if self.state.local is not None and self.state.local >= version.number:
                return  # another sync was faster
            if failure.kind == LOCAL:
                raise
            if retry is None or before != identity:
                retry = Retry(self._options.interval)
            retry.failed()
            self._refused[version.number] = identity, retry
            self._tell_failure(failure, version.number, retry.seconds)
        else:
            self._refused.pop(version.number, None)
            self._prunes = True

    def _pull(self, version: SourceVersion, overall: SyncState) -> None:
        self._tell("pulling", f"{version.url} for {self.base}", url=version.url, version=version.number)
        begin(self._say, f"pulling {version.url}")
        start = time.monotonic()
        try:
            with _failing(LOCAL), staged(self.base, version.number, self._say) as stage:
                overall.step(stage.path)
                with _failing(SOURCE), self._stop.interrupting():
                    version.download(stage.path, self._say)
                size, seconds = size_of_files(stage.path), time.monotonic() - start
                path = stage.publish()
        finally:
            overall.step()
        self.published.append(path)
        state = self.state
        state.local, state.has_version = version.number, True
        state.downloads += 1
        state.downloaded_bytes += size
        state.download_seconds += seconds
        self._tell(
            "published", str(path), url=version.url, path=str(path), version=version.number, bytes=size, seconds=seconds
        )

    def _prune(self) -> None:
        self._prunes = False
        if self.state.local is None:
            return
        try:
            deleted = [one.path for one in prune_versions(self.base, self._options.keep, say=self._say)]
            failure = None
        except VersionError as error:
            deleted = list(error.deleted) if isinstance(error, NotDeleted) else []
            failure = _Failed(PRUNE, error)
        if deleted:
            self.deleted += deleted
            self._tell("pruned", ", ".join(map(str, deleted)), deleted=[str(path) for path in deleted])
        if failure is not None:
            self._prunes = True
            self._tell_failure(failure, None, None)

    def _compare(self, overall: SyncState) -> None:
        """Tell if the files of the newest version, which an earlier sync has published, have changed since then."""
        self._is_compared = True
        newest = newest_child(self.base)
        if newest is None or newest.number < 0 or newest.path in self.published:
            return
        begin(self._say, f"comparing {newest.path} with its record")
        try:
            with _failing(LOCAL), os_errors_explained(self.base, f"read {newest.path}"), self._stop.interrupting():
                if is_altered(newest.path):
                    problem = _altered(newest, self.source.url)
                    raise VersionError(
                        f"{newest.path}: a server that starts would load what was not published", [problem]
                    )
        except _Failed as failure:
            self._tell_failure(failure, newest.number, None)
        overall.step()

    def _look(self) -> None:
        """Find the newest local version, and whether a server could load one."""
        newest = newest_child(self.base)
        self.state.local = None if newest is None or newest.number < 0 else newest.number
        if not self.state.has_version:
            versions = (child.path for child in reversed(numbered_children(self.base)) if child.number >= 0)
            self.state.has_version = any(not content_problems(path, SAMPLED) for path in versions)

    def _tell_of_problems(self, has_versions: bool, incomplete: Sequence[SourceVersion]) -> None:
        """Tell of what keeps the source's versions from being served, once."""
        local, remote = self.state.local, self.state.remote
        found: Dict[str, Tuple[str, Problem]] = {}
        if not has_versions:
            found["empty"] = "empty", Problem("no-version", self.source.url, "no version is published yet")
        if local is not None and remote is not None and local > remote:
            found["ahead"] = "ahead", _ahead(self.base, local, self.source.url, remote)
        for version in incomplete:
            found_missing = f"{listed(version.missing)} is missing or empty; a complete version is waited for"
            problem = Problem("missing-file", printable(version.url), found_missing)
            found[version.url] = "incomplete", problem
        for key, (event, problem) in found.items():
            if self._told.get(key) != problem.text:
                self._tell(event, problem.text, problems=texts([problem]), problem_details=details([problem]))
        self._told = {key: problem.text for key, (_, problem) in found.items()}

    def _tell_failure(self, failure: _Failed, version: Optional[int], seconds: Optional[float]) -> None:
        self.state.failures[failure.kind] += 1
        again = None if seconds is None or self._options.once else round(seconds, 1)
        text = str(failure) + ("" if again is None else f"\nagain in {again:g} s")
        content = error_content(failure.error)
        self._tell("failed", text, kind=failure.kind, version=version, retry_in=again, **content)

    def _tell(self, event: str, text: str, **content: Any) -> None:
        self._emit(Event(event, text, {"model": self.state.name, **content}))


def _altered(version: Numbered, url: str) -> Problem:
    found = "its files are not those that were published"
    command = f"ckpt2saved bump-version {for_shell(url)} --from {version.number}"
    remedy = f"publish it in the source again under a higher number, as with {command}"
    return Problem("altered-files", version.path.name, found, remedy)


def _ahead(base: Path, local: int, url: str, remote: int) -> Problem:
    found = f"version {local} is newer than what {url} has, where {remote} is the newest version; nothing is deleted"
    remedy = f"publish there under a higher number, as with ckpt2saved bump-version --version {local + 1}"
    return Problem("newer-than-source", str(base), found, remedy)
