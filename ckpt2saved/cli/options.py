"""Options and parameter types that several commands share."""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

import click

from ckpt2saved.cli.help import Option, Topic
from ckpt2saved.errors import StrayOptions

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:  # in click 8.1, the last for Python 3.7, the class is not generic
    ParamType = click.ParamType

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Result = TypeVar("Result")


class PathType(ParamType):
    """A path, converted to pathlib.Path; the command checks whether it exists."""

    name = "path"

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> Path:
        if value == "":
            self.fail("an empty path", param, context)
        return Path(os.path.expanduser(str(value)))


class PlaceType(PathType):
    """A path, or the URL of an object store, which stays a string."""

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> Any:
        from ckpt2saved.versions.object_stores.url import is_store_url

        return value if is_store_url(value) else super().convert(value, param, context)


class ParsedType(ParamType):
    """A value that a function parses; its ValueError becomes the error message."""

    def __init__(self, name: str, parse: str) -> None:
        self.name = name
        self.parse = parse  # module:function, imported when needed

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> Any:
        if not isinstance(value, str):
            return value
        module, function = self.parse.split(":")
        try:
            return getattr(importlib.import_module("ckpt2saved." + module), function)(value)
        except ValueError as error:
            self.fail(str(error), param, context)


class SecondsType(click.FloatRange):
    """A finite number of seconds."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> float:
        seconds = super().convert(value, param, context)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is no number of seconds", param, context)
        return seconds


def option(name: str, *more: str, topic: Optional[Topic] = None, **keywords: Any) -> Callable[[Decorated], Decorated]:
    """An option with an environment variable: CKPT2SAVED_EXPORT_DIR for --export-dir; --help lists it by its topic."""
    variable = "CKPT2SAVED_" + name.split("/", maxsplit=1)[0].lstrip("-").upper().replace("-", "_")
    if isinstance(keywords.get("type"), click.IntRange):
        keywords.setdefault("metavar", "N")  # in place of INTEGER RANGE
    return click.option(name, *more, cls=Option, topic=topic, envvar=variable, **keywords)


def gpu_option(topic: Topic) -> Callable[[Decorated], Decorated]:
    """Decorator that adds --gpu."""
    what = "Use this machine's GPUs. Default: CPU only, as a training may be using them."
    return option("--gpu", is_flag=True, help=what, topic=topic)


def called(function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """Call a function of the Python API without the options of the environment that have no effect there.

    The environment may be meant for other commands; on the command line such an option is an error.
    """
    while True:
        try:
            return function(*arguments, **options)
        except StrayOptions as error:
            others = [name for name in error.names if not is_on_command_line(name)]
            if not others:
                raise
            for name in others:
                del options[name]


def is_on_command_line(name: str) -> bool:
    """Whether the option was given on the command line; the environment may be meant for other commands."""
    source = click.get_current_context().get_parameter_source(name)
    return source == click.core.ParameterSource.COMMANDLINE


def refuse_wait_in_dry_run() -> None:
    """Raise click.UsageError for --wait-for with --dry-run on the command line."""
    if click.get_current_context().params["dry_run"] and is_on_command_line("wait_for"):
        raise click.UsageError("--wait-for: not with --dry-run, which publishes nothing")


base_argument = click.argument("base", type=PlaceType())
json_option = option("--json", "as_json", is_flag=True, help="Print JSON instead of text.", topic=Topic.OUTPUT)
deep_option = option(
    "--deep",
    is_flag=True,
    help="Compare the checksums of all variables. Default: those of small variables.",
    topic=Topic.PUBLISHING,
)
quiet_option = option("--quiet", "-q", is_flag=True, help="Print only errors on stderr.", topic=Topic.OUTPUT)
version_option = option(
    "--version",
    "version",
    type=click.IntRange(min=1),
    metavar="N",
    help="Version number to publish. Must be greater than every existing one. Default: highest + 1.",
    topic=Topic.PUBLISHING,
)
batching_params_option = option(
    "--batching-params",
    type=PathType(),
    metavar="FILE",
    help=(
        "Batching parameters of the version, for servers with --enable_per_model_batching_parameters, as in the "
        "batching.config of serving-config. Default: bump-version keeps those of the source, export writes none."
    ),
    topic=Topic.PUBLISHING,
)
single_writer_option = option(
    "--single-writer",
    is_flag=True,
    help="Publish also into an object store without create-if-absent: nothing else publishes there at the same time.",
    topic=Topic.PUBLISHING,
)
place_type = ParsedType("place", "client.address:parse_model_place")
address_type = ParsedType("url", "client.address:parse_address")
compatible_option = option(
    "--compatible-with",
    metavar="newest|live|N|VERSION_DIR",
    help=(
        "Publish only if clients of this version can use the new one: of the newest version, of the version that a "
        "server answers from (--wait-for, or of export --server), or of another version. Exit code 3 if they can't."
    ),
    topic=Topic.PROOF,
)
wait_option = option(
    "--wait-for",
    type=address_type,
    metavar="URL",
    help=(
        "After publishing, wait until this TF Serving reports the version AVAILABLE and compare its answers: "
        "http://host:8501 or grpc://host:8500."
    ),
    topic=Topic.SERVER,
)
timeout_option = option(
    "--timeout",
    type=SecondsType(),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="Time limit for the server to report the version AVAILABLE and to answer.",
    topic=Topic.SERVER,
)
report_option = option(
    "--report",
    type=PathType(),
    metavar="FILE.md",
    help="Append a Markdown summary of the result or the errors to this file, for example $GITHUB_STEP_SUMMARY.",
    topic=Topic.OUTPUT,
)
model_name_option = option(
    "--model-name",
    metavar="NAME",
    help="Name of the model on the server. Default: name of the base directory.",
    topic=Topic.SERVER,
)
probe_signature_option = option(
    "--probe-signature",
    "probe_signatures",
    multiple=True,
    metavar="NAME",
    help=(
        "Signature to send requests for. May be given several times. Default: every signature whose requests cannot "
        "make requests of clients fail."
    ),
    topic=Topic.SERVER,
)
for_device_option = option(
    "--for-device",
    type=click.Choice(["cpu", "gpu"]),
    help="What the server computes on. Default: cpu, or gpu for a release such as 2.19-gpu.",
    topic=Topic.PROOF,
)
batched_option = option(
    "--batched/--unbatched",
    "batched",
    default=None,
    help="Whether the server runs with --enable_batching. Default: detected from its answers.",
    topic=Topic.SERVER,
)
