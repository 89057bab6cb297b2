"""Publish an existing SavedModel again, and wait until a server serves it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional, Tuple, Union

from ckpt2saved.answers.server_answers import ServerReport
from ckpt2saved.console.say import Say, on_published
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.reading import PathLike
from ckpt2saved.verification.waiting import LiveCheck
from ckpt2saved.versions import BumpOptions, Published, bump_version


@dataclass(frozen=True)
class Republished(Published):
    """A SavedModel that was published again, and the result of the wait for a server."""

    server: Optional[ServerReport] = None  # None without a wait

    @property
    def problems(self) -> Tuple[Problem, ...]:
        """The problems on the server; any other problem is raised, and nothing is published."""
        return self.server.problems if self.server else ()


def republish(
    base: PathLike, source: Union[int, PathLike, None], options: BumpOptions, check: Optional[LiveCheck], say: Say
) -> Republished:
    """Do bump_version, and wait for the server of `check`.

    Raises UsageError or VersionError before publishing; NotLive or ServerError, with `version`, after it.
    """
    if check is not None and not options.dry_run and check.options.probe_signatures:
        check.check_signatures_of(bump_version(base, source, replace(options, dry_run=True)).source)
    bumped = Republished(**vars(bump_version(base, source, options, say)))
    on_published(say)(bumped)
    return bumped if check is None or options.dry_run else check.awaited(bumped, say)
