"""Which versions a running server still holds, so that they are not deleted under it."""

from __future__ import annotations

from typing import Dict

from ckpt2saved.errors import NotLive, ServerError
from ckpt2saved.running.server import AVAILABLE, END, Refused, Server, Unknown, Unreachable


def held_versions(server: Server, model: str, newest: int) -> Dict[int, str]:
    """The versions that the server has, or is loading or unloading, each with its state.

    Raises NotLive unless the `newest` is available: until then the server may need an older one. Raises ServerError
    where it does not answer.
    """
    try:
        statuses = server.statuses(model)
    except Unknown:
        raise NotLive(
            "{}: it knows no model {}, so that nothing is deleted; is its name another (--model-name)?".format(
                server.address, model
            )
        ) from None
    except (Unreachable, Refused) as error:
        raise ServerError(
            "{}: it does not say what it serves: {}; nothing is deleted".format(server.address, error)
        ) from error
    states = {status.version: status.state for status in statuses}
    if states.get(newest) != AVAILABLE:
        raise NotLive(
            "{}: {} {}, the newest version, is {} there, not AVAILABLE, so that the server may still need an "
            "older one; nothing is deleted".format(server.address, model, newest, states.get(newest, "unknown"))
        )
    return {number: state for number, state in states.items() if state != END}
