"""Deletion of old versions but for those that a running server holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple

from ckpt2saved.client.server import AVAILABLE, END, Refused, Server, Unknown, Unreachable
from ckpt2saved.console.say import Say
from ckpt2saved.errors import NotLive, ServerError, StrayOptions
from ckpt2saved.versions.base import NumberedPlace
from ckpt2saved.versions.bases import Base


@dataclass(frozen=True)
class PruneOptions:
    """Options of prune()."""

    keep: int = 5
    dry_run: bool = False
    model_name: Optional[str] = None  # on the server; None: name of the base directory


@dataclass(frozen=True)
class Pruned:
    """The deleted versions, or with `dry_run` those that would be deleted."""

    deleted: Tuple[NumberedPlace, ...]
    dry_run: bool
    server: Optional[str] = None  # the address
    held: Mapping[int, str] = field(default_factory=dict)  # version -> state on the server

    def as_content(self) -> Dict[str, Any]:
        """The content of --json."""
        content: Dict[str, Any] = {"deleted": [str(one.path) for one in self.deleted], "dry_run": self.dry_run}
        if self.server is not None:
            content["server"] = {"address": self.server, "versions": {str(n): self.held[n] for n in sorted(self.held)}}
        return content


def prune(base: Base, server: Optional[Server], options: PruneOptions, say: Say) -> Pruned:
    """Delete old versions as Base.prune() does, but none that the server holds.

    Raises UsageError, VersionError, and the errors of held_versions.
    """
    if server is None and options.model_name is not None:
        raise StrayOptions(["model_name"], "the address of a server")
    held = {} if server is None else _held(base, server, options.model_name)
    if server is not None and held:
        states = ", ".join(f"{number} ({held[number]})" for number in sorted(held, reverse=True))
        say("server", f"{server.address} has versions {states}; none of them is deleted")
    deleted = base.prune(options.keep, spare=held, dry_run=options.dry_run, say=say)
    return Pruned(deleted, options.dry_run, None if server is None else str(server.address), held)


def _held(base: Base, server: Server, model_name: Optional[str]) -> Dict[int, str]:
    base.check(reading=True)
    newest = base.newest_number()
    return {} if newest is None else held_versions(server, model_name or base.name, newest)


def held_versions(server: Server, model: str, newest: int) -> Dict[int, str]:
    """Version -> state, for every version that the server is loading, serving or unloading.

    Raises NotLive unless the server reports version `newest` AVAILABLE: until then it may need an older one. Raises
    ServerError if the server does not respond.
    """
    try:
        statuses = server.statuses(model)
    except Unknown:
        raise NotLive(
            f"{server.address}: it has no model {model}, so that nothing is deleted; is its name another"
            " (--model-name)?"
        ) from None
    except (Unreachable, Refused) as error:
        raise ServerError(f"{server.address}: it does not report its versions: {error}; nothing is deleted") from error
    states = {status.version: status.state for status in statuses}
    if states.get(newest) != AVAILABLE:
        raise NotLive(
            f"{server.address}: {model} {newest}, the newest version, is {states.get(newest, 'unknown')} there, not"
            " AVAILABLE, so that the server may still need an older one; nothing is deleted"
        )
    return {number: state for number, state in states.items() if state != END}
