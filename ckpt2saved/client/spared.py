"""The versions that a running server holds, which must not be deleted."""

from __future__ import annotations

from typing import Dict

from ckpt2saved.client.server import AVAILABLE, END, Refused, Server, Unknown, Unreachable
from ckpt2saved.errors import NotLive, ServerError


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
