"""The model of `predict` and `evaluate`: a version, a base directory, or a model on a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Union

import click

from ckpt2saved.cli.help import Topic
from ckpt2saved.cli.invocation import prepare_tensorflow
from ckpt2saved.cli.options import SecondsType, is_on_command_line, option, place_type

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.answers.models import Model
    from ckpt2saved.client.address import ModelAddress
    from ckpt2saved.console.say import Say

place_argument = click.argument("place", type=place_type, metavar="VERSION_DIR|BASE|URL")

_OPTIONS = (
    option(
        "--model-name",
        metavar="NAME",
        help="Name of the model on the server, if URL does not name it.",
        topic=Topic.SERVER,
    ),
    option(
        "--timeout",
        type=SecondsType(),
        default=60,
        show_default=True,
        metavar="SECONDS",
        help="Time limit of each request to a server, retries included.",
        topic=Topic.SERVER,
    ),
    option(
        "--retries",
        type=click.IntRange(min=0),
        default=3,
        show_default=True,
        metavar="N",
        help="How often a request is sent again if the connection was refused or the server was too busy to begin.",
        topic=Topic.SERVER,
    ),
)
_NAMES = ("model_name", "timeout", "retries")


def place_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the options of a server."""
    for one in reversed(_OPTIONS):
        function = one(function)
    return function


def read_model(place: Union[Path, ModelAddress], options: Dict[str, Any], say: Say) -> Model:
    """Remove the options of a server from `options`; returns the model at the place, whose signatures are read."""
    from ckpt2saved.answers.models import FileModel, ServedModel

    model_name, timeout, retries = [options.pop(name) for name in _NAMES]
    if isinstance(place, Path):
        for name in _NAMES:
            if is_on_command_line(name):
                raise click.UsageError(f"--{name.replace('_', '-')}: only with the address of a server")
        from ckpt2saved.versions import find_complete_version

        prepare_tensorflow(gpu=False)
        return FileModel(find_complete_version(place, say))
    from ckpt2saved.client.model_client import Client

    try:
        client = Client(place, model_name or "", timeout=timeout, retries=retries)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return ServedModel(client)
