"""A client of a running TF Serving: status, Predict, waiting for a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckpt2saved.client.model_client import Client
    from ckpt2saved.client.server import NoServing, Refused, TimedOut, Unknown, Unreachable, VersionStatus

__all__ = ["Client", "NoServing", "Refused", "TimedOut", "Unknown", "Unreachable", "VersionStatus"]


def __getattr__(name: str) -> Any:
    """Import the public names on first use: commands import this package before they need numpy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ckpt2saved.client import model_client, server

    return getattr(model_client if name == "Client" else server, name)
