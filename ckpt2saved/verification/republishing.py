"""Publish an existing SavedModel again, and wait until a server serves it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple, Union

from ckpt2saved.answers.server_answers import ServerReport
from ckpt2saved.console.say import Say, on_published
from ckpt2saved.errors import ServingError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.reading import PathLike
from ckpt2saved.requests.warm_up.file import read_warm_up_requests
from ckpt2saved.server_config.version_batching import VersionBatching, check_warm_up
from ckpt2saved.verification.known_clients import KnownClients
from ckpt2saved.verification.waiting import LiveCheck
from ckpt2saved.versions import BumpOptions, Published
from ckpt2saved.versions.bases import Base
from ckpt2saved.versions.object_stores.url import VersionPlace


@dataclass(frozen=True)
class Republished(Published):
    """A SavedModel that was published again, and the result of the wait for a server."""

    server: Optional[ServerReport] = None  # None without a wait

    @property
    def problems(self) -> Tuple[Problem, ...]:
        """The problems on the server; any other problem is raised, and nothing is published."""
        return self.server.problems if self.server else ()


@dataclass(frozen=True)
class Checks:
    """The checks of a SavedModel that is published again; None: not checked."""

    live: Optional[LiveCheck]  # after publishing
    clients: Optional[KnownClients]  # before publishing
    batching: Optional[VersionBatching] = None  # what the version gets: its warm-up requests are compared with it

    def of_source(self, directory: Path, place: VersionPlace, options: BumpOptions, say: Say) -> None:
        """Check the files of the source, which are in `directory`, before they are published."""
        if self.live is not None and not options.dry_run and self.live.options.probe_signatures:
            self.live.check_signatures_of(directory)
        if self.clients is not None:
            self.clients.check(directory, str(place), say)
        if self.batching is not None:
            with contextlib.suppress(ServingError):  # bump() refuses a damaged file
                check_warm_up(self.batching, read_warm_up_requests(directory))


def republish(
    base: Base,
    source: Union[int, PathLike, None],
    options: BumpOptions,
    checks: Checks,
    say: Say,
) -> Republished:
    """Do Base.bump() if the clients of `checks` can use it, and wait for its server.

    Raises UsageError, VersionError, WarmupError or BreaksClients before publishing; NotLive or ServerError, with
    `version`, after it.
    """
    check = checks.live
    published = base.bump(
        source, options, say, lambda directory, place: checks.of_source(directory, place, options, say)
    )
    bumped = Republished(**vars(published))
    on_published(say)(bumped)
    return bumped if check is None or options.dry_run else check.awaited(bumped, say)
