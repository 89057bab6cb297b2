"""The model of `predict` and `evaluate`: a version, a base directory, or a model on a server."""

from __future__ import annotations

from typing import Callable

import click

from ckpt2saved.cli.help import Topic
from ckpt2saved.cli.options import SecondsType, option, place_type

place_argument = click.argument("place", type=place_type, metavar="VERSION_DIR|BASE|URL")

name_option = option(
    "--model-name",
    metavar="NAME",
    help="Name of the model on the server, if URL does not name it.",
    topic=Topic.SERVER,
)
_OPTIONS = (
    name_option,
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


def place_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the options of a server."""
    for one in reversed(_OPTIONS):
        function = one(function)
    return function
