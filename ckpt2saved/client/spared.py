"""Which versions a running server still holds, so that they are not deleted under it."""

from __future__ import annotations

from typing import Dict

from ckpt2saved.client.server import AVAILABLE, END, Refused, Server, Unknown, Unreachable
from ckpt2saved.errors import NotLive, ServerError


def held_versions(server: Server, model: str, newest: int) -> Dict[int, str]:
    """The versions that the server has, or is loading or unloading, each with its state.

    Raises NotLive unless the `newest` is available: until then the server may need an older one. Raises ServerError
    where it does not answer.
    """
    try:
        statuses = server.statuses(model)
    except Unknown:
        raise NotLive(
            f"{server.address}: it knows no model {model}, so that nothing is deleted; is its name another"
            " (--model-name)?"
        ) from None
    except (Unreachable, Refused) as error:
        raise ServerError(f"{server.address}: it does not say what it serves: {error}; nothing is deleted") from error
    states = {status.version: status.state for status in statuses}
    if states.get(newest) != AVAILABLE:
        raise NotLive(
            f"{server.address}: {model} {newest}, the newest version, is {states.get(newest, 'unknown')} there, not"
            " AVAILABLE, so that the server may still need an older one; nothing is deleted"
        )
    return {number: state for number, state in states.items() if state != END}
