"""The result of an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence, Tuple

from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.versions.object_stores.url import VersionPlace

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.answers.server_answers import ServerReport
    from ckpt2saved.exporting.accuracy import Measured
    from ckpt2saved.exporting.selection import Candidate
    from ckpt2saved.requests.request import Request


@dataclass(frozen=True)
class Exported:
    """A published version; in a dry run, the version that would have been published."""

    path: VersionPlace  # the version directory, or its URL in an object store
    dry_run: bool  # with is_unchanged: nothing would be published
    provenance: Mapping[str, Any]  # content of assets.extra/ckpt2saved.json
    notes: Tuple[Note, ...] = ()
    asked: Tuple[Request, ...] = ()  # the parity requests
    measured: Optional[Measured] = None  # None without labelled pictures
    candidates: Tuple[Candidate, ...] = ()  # with --select, the checkpoints that were tried
    server: Optional[ServerReport] = None  # the result of the wait; None without
    is_unchanged: bool = False  # `path` is the newest version, which has the same files; nothing was published

    @property
    def number(self) -> int:
        """The version number."""
        return int(self.path.name)

    @property
    def problems(self) -> Tuple[Problem, ...]:
        """The problems on the server; any other problem is raised, and nothing is published."""
        return self.server.problems if self.server else ()

    def as_content(self) -> Dict[str, Any]:
        """The content of --json, without the server."""
        content = {"path": str(self.path), "dry_run": self.dry_run, "unchanged": self.is_unchanged, **self.provenance}
        if self.candidates:
            content.update(selection_content(self.candidates))
        if self.measured is not None:
            content["accuracy"] = self.measured.as_content()
        return content


def selection_content(candidates: Sequence[Candidate]) -> Dict[str, Any]:
    """The fields of --json about the checkpoints that were tried."""
    from ckpt2saved.exporting.selection import best_of

    return {"candidates": [one.as_content() for one in candidates], "selected": str(best_of(candidates).prefix)}
