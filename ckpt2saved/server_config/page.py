"""A configuration as progress lines and as JSON."""

from __future__ import annotations

from typing import Any, Dict

from ckpt2saved.console.say import Say
from ckpt2saved.errors.problem import details, texts
from ckpt2saved.server_config.configuration import Configuration


def narrate(configuration: Configuration, say: Say, dry_run: bool) -> None:
    """Print the models, notes on batching, the files, and the effects on a running server."""
    server = configuration.server
    for model in server.models:
        numbers = ", ".join(str(version.number) for version in model.loaded)
        say(
            "model",
            f"{model.name}: {model.place} is {model.base_path} in the server, which loads {numbers}",
        )
    for reason in configuration.reasons:
        say("settings", reason)
    for note in configuration.notes:
        say("batching", note.text)
    say(
        "not written" if dry_run else "written",
        f"{server.directory}/{{{','.join(sorted(configuration.files))}}}",
    )
    for change in configuration.changes:
        say("server", change)
    for advice in configuration.advice:
        say("clients", advice)


def as_content(configuration: Configuration) -> Dict[str, Any]:
    """Return the JSON content of a configuration."""
    server = configuration.server
    return {
        "models": [
            {
                "name": model.name,
                "path": model.place,
                "base_path": model.base_path,
                "policy": str(model.policy),
                "versions": [version.number for version in model.loaded],
                "labels": {label.name: label.number for label in model.labels},
            }
            for model in server.models
        ],
        "mounts": [{"host": str(mount.host), "server": mount.server} for mount in server.mounts if not mount.volume],
        "image": server.tag,
        "directory": str(server.directory),
        "files": sorted(configuration.files),
        "start": dict(configuration.start),
        "remarks": texts(configuration.notes),
        "remark_details": details(configuration.notes),
        "changes": list(configuration.changes),
        "settings": server.settings.as_content(),
        "reasons": list(configuration.reasons),
        "clients": list(configuration.advice),
    }
