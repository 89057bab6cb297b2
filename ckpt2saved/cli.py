"""The command line: parse, call, print."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import click

from ckpt2saved import __version__
from ckpt2saved.errors import Ckpt2SavedError

SETTINGS = {
    # An underscore does for a hyphen, as in TensorFlow's own tools.
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}


class _Command(click.Command):
    """Shows a Ckpt2SavedError as its message with its exit code, never as a traceback; bugs keep theirs."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except Ckpt2SavedError as error:
            failure = click.ClickException(str(error))
            failure.exit_code = error.exit_code
            raise failure from error


class _PathType(click.ParamType):
    """A path as a pathlib.Path; whether anything is there is for the command to find out and explain."""

    name = "path"

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> Path:
        if value == "":
            self.fail("an empty path", param, context)
        return Path(os.path.expanduser(str(value)))


class _OptionType(click.ParamType):
    """NAME=VALUE, the value read as YAML: 3 is a number, false a truth value, anything else a word."""

    name = "name=value"

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> Any:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail("{!r} is not NAME=VALUE".format(value), param, context)
        from yaml import YAMLError, safe_load

        try:
            return name, safe_load(text)
        except (YAMLError, ValueError):  # 2024-99-06 looks like a date
            return name, text


@click.group(context_settings=SETTINGS)
@click.version_option(__version__, prog_name="ckpt2saved")
def main() -> None:
    """Publish TensorFlow checkpoints of OCR networks as versions that TF Serving hot-loads.

    Exit codes: 0 done; 1 could not be done; 2 wrong command line; 3 done, and the answer is no (the files answer
    differently from the checkpoint, the graph can't be served, or a server does not have the version).
    """
    _signals.clear()
    # As ctrl-C: leave nothing behind when a CI job is cancelled.
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


_signals = []  # type: List[int]


def _interrupt(number: int, frame: Any) -> None:
    _signals.append(number)
    raise KeyboardInterrupt


def _until_interrupted(say: Callable[[str, str], None]) -> Callable[[str, str], None]:
    """`say`, and an end to the work where a signal's exception was lost, as in a destructor that Python was running."""

    def checked(step: str, text: str) -> None:
        if _signals:
            raise KeyboardInterrupt
        say(step, text)

    return checked


def command(name: str) -> Any:
    return main.command(name, cls=_Command, context_settings=SETTINGS)


def option(name: str, *more: str, **keywords: Any) -> Any:
    """An option that also comes from the environment: --export-dir from CKPT2SAVED_EXPORT_DIR."""
    variable = "CKPT2SAVED_" + name.split("/")[0].lstrip("-").upper().replace("-", "_")
    return click.option(name, *more, envvar=variable, **keywords)


base_argument = click.argument("base", type=_PathType())
json_option = option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
quiet_option = option("--quiet", "-q", is_flag=True, help="Say nothing on stderr but errors.")
version_option = option(
    "--version",
    "version",
    type=click.IntRange(min=1),
    metavar="N",
    help="This number; above all there are. Default: next.",
)


class _ParsedType(click.ParamType):
    """What a function makes of the text, whose ValueError says what is wrong with it."""

    def __init__(self, name: str, parse: str) -> None:
        self.name = name
        self.parse = parse  # module:function, imported when there is something to parse

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> Any:
        if not isinstance(value, str):
            return value
        module, function = self.parse.split(":")
        try:
            return getattr(importlib.import_module("ckpt2saved." + module), function)(value)
        except ValueError as error:
            self.fail(str(error), param, context)


_address = _ParsedType("url", "running.address:parse_address")
wait_option = option(
    "--wait-for",
    type=_address,
    metavar="URL",
    help="Then wait until this TF Serving has it, and compare its answers: http://host:8501 or grpc://host:8500.",
)
timeout_option = option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="For the server to get there.",
)
report_option = option(
    "--report",
    type=_PathType(),
    metavar="FILE.md",
    help="Append what was done, or went wrong, to this file as Markdown: for $GITHUB_STEP_SUMMARY.",
)
model_name_option = option("--model-name", metavar="NAME", help="The server's for the model. Default: BASE's own name.")


class _TensorType(click.ParamType):
    """NAME=TENSOR[shape], as a tensor of a signature."""

    name = "name=tensor[shape]"

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> Any:
        from ckpt2saved.arguments import parse_tensor

        try:
            return parse_tensor(str(value))
        except ValueError as error:
            self.fail(str(error), param, context)


class _RenameType(click.ParamType):
    """REGEX=REPLACEMENT, of which the last equals sign is meant."""

    name = "regex=replacement"

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> Any:
        pattern, equals, replacement = str(value).rpartition("=")
        if not pattern:
            self.fail("{!r} is not REGEX=REPLACEMENT, as in weights$=kernel".format(value), param, context)
        try:
            re.compile(pattern)
        except re.error as error:
            self.fail("{!r} is no regular expression: {}".format(pattern, error), param, context)
        return pattern, replacement


@command("export")
@option("--model", "-m", metavar="NAME|FILE.yaml", help="crnn, ctpn, or a signature file.")
@option(
    "--checkpoint",
    "--checkpoint-path",
    "--input-checkpoint",
    "-c",
    "checkpoint",
    required=True,
    type=_PathType(),
    help="A prefix, any one of the checkpoint's files, or the directory that training wrote to.",
)
@option(
    "--export-dir",
    "--output-dir",
    "-o",
    "export_dir",
    required=True,
    type=_PathType(),
    help="The model's directory, which holds its versions.",
)
@version_option
@option(
    "--weights",
    type=click.Choice(["auto", "raw", "ema"]),
    default="auto",
    show_default=True,
    help="Raw weights or moving averages; auto: averages if there is one of every trained variable.",
)
@option(
    "--ctc-decoder",
    type=click.Choice(["fast", "stock", "greedy"]),
    help="fast: TensorFlow's beam search from stock ops, the same answers; greedy: no search, other answers. "
    "Default: fast, or stock where parity shows that fast answers differently.",
)
@option(
    "--option",
    "options",
    type=_OptionType(),
    multiple=True,
    help="An option of the graph, as in beam_width=10. Repeat.",
)
@option(
    "--parity/--no-parity",
    default=True,
    show_default=True,
    help="Compare the files with the checkpoint before publishing.",
)
@option(
    "--warmup",
    multiple=True,
    metavar="N|FILE.npz|IMAGE",
    help="Requests that a server answers before it takes the version: N made for each signature, arrays by input key, "
    "or pictures (repeat). Default: 1.",
)
@option(
    "--warmup-signature",
    "warmup_signatures",
    multiple=True,
    metavar="NAME",
    help="Of --warmup. Default: those that batching doesn't break; for others a server with --enable_batching would "
    "never load the version. Repeat.",
)
@option("--no-warmup", is_flag=True, help="Write no such requests.")
@option(
    "--graph",
    metavar="meta|FILE.meta|NAME|MODULE:FUNCTION",
    help="The training's graph beside the checkpoint or in a file, a built-in network, or your own function.",
)
@option("--python-path", type=_PathType(), multiple=True, help="Where MODULE of --graph is looked for first. Repeat.")
@option("--input", "inputs", type=_TensorType(), multiple=True, help="What a request feeds, without --model. Repeat.")
@option("--output", "outputs", type=_TensorType(), multiple=True, help="What it is answered. Repeat.")
@option(
    "--set",
    "pinned",
    type=_OptionType(),
    multiple=True,
    help="A training switch's value, as in is_train=false. Repeat.",
)
@option(
    "--map", "renames", type=_RenameType(), multiple=True, help="From the graph's names to the checkpoint's. Repeat."
)
@option("--keep-training-ops", is_flag=True, help="Leave dropout and batch statistics of the training's graph alone.")
@option("--decode", metavar="LOGITS", help="Append a CTC beam search to these logits.")
@option("--beam-width", type=click.IntRange(min=1), help="Of --decode. Default: 10.")
@option("--top-paths", type=click.IntRange(min=1), help="Of --decode. Default: 1.")
@option("--merge-repeated", is_flag=True, help="Of --decode: equal neighbours in a decoded text become one.")
@option("--sequence-length", metavar="TENSOR|full", help="Of --decode: the steps that count. Default: full.")
@option("--for-serving", metavar="VERSION", help="Refuse what a TF Serving of this release, as in 1.14, does not have.")
@option("--gpu", is_flag=True, help="Use the GPUs, which are otherwise left to the training.")
@wait_option
@timeout_option
@model_name_option
@option("--dry-run", is_flag=True, help="Do everything but publish.")
@report_option
@json_option
@quiet_option
def export(export_dir, gpu, wait_for, timeout, model_name, report, as_json, quiet, **plan) -> None:
    """Publish a checkpoint as the next version of a model.

    Prints the published directory, and nothing else, on stdout: with --wait-for before the waiting.
    """
    from ckpt2saved.plan import plan_export

    with _reported(report, "export") as record:
        planned = plan_export(base=export_dir, **_planned(plan))
        server = _server(wait_for, plan["dry_run"])
        with _narration("export", quiet=quiet, hear=record.hear) as say:
            _prepare_tensorflow(gpu)
            from ckpt2saved.export import export_checkpoint

            exported = export_checkpoint(planned, _until_interrupted(say))
        record.outcome = ("would publish `{}`" if exported.dry_run else "published `{}`").format(exported.path)
        content = {"path": str(exported.path), "dry_run": exported.dry_run, **exported.provenance}
        if server is None:
            _result(content, exported.path, as_json)
        else:
            from ckpt2saved.comparison import as_requests

            target = _target(server, model_name, exported.path, timeout)
            _await(target, content, as_json, quiet, record, known=as_requests(exported.asked))


def _planned(plan: Dict[str, Any]) -> Dict[str, Any]:
    """What the options about the graph come to."""
    names = ("beam_width", "top_paths", "merge_repeated", "sequence_length")
    details = {key: plan[key] for key in names}
    more = {"options": dict(plan["options"]), "pinned": dict(plan["pinned"])}
    more["decode"] = _decode(plan["decode"], details)
    return {**{key: value for key, value in plan.items() if key not in names}, **more}


def _server(address: Any, dry_run: bool = False) -> Any:
    """The server to wait for, which is asked later; None where none is."""
    if address is None:
        if _is_on_command_line("model_name"):
            raise click.UsageError("--model-name: only with the address of a server")
        return None
    if dry_run:
        if _is_on_command_line("wait_for"):
            raise click.UsageError("--wait-for: not with --dry-run, which publishes nothing")
        return None
    from ckpt2saved.running.server import connect

    return connect(address)


def _target(server: Any, model_name: Optional[str], path: Path, timeout: float) -> Any:
    from ckpt2saved.running.live import Target
    from ckpt2saved.versions import parse_version

    absolute = Path(os.path.abspath(str(path)))
    number = parse_version(absolute.name)
    if number is None:
        raise click.UsageError("{}: it has no number, so that no server has it".format(path))
    return Target(server, model_name or absolute.parent.name, number, path, timeout)


def _await(target: Any, content: Dict[str, Any], as_json: bool, quiet: bool, record: Any, known: Any = ()) -> None:
    """Print what was published, wait until the server has it, and fail where it does not get there."""
    from ckpt2saved.running.asking import as_content
    from ckpt2saved.running.live import check_live, prepare_without_tensorflow

    if not as_json:
        click.echo(content["path"])  # it is published, whatever comes now
    sys.stdout.flush()

    def prepare() -> Any:
        if not _has_tensorflow():
            why = "that takes TensorFlow, and there is none in this Python"
            return prepare_without_tensorflow(target.directory, why)
        _prepare_tensorflow(gpu=False)
        from ckpt2saved.file_answers import wanted_answers

        return wanted_answers(target.directory, known=known)

    with _narration("wait for {}".format(target.server.address), quiet=quiet, hear=record.hear) as say:
        try:
            report = check_live(target, prepare, say=say, progress=say.progress)
        except Ckpt2SavedError as error:
            if as_json:
                _print_json(dict(content, server={"address": str(target.server.address), "problems": [str(error)]}))
            raise
    if as_json:
        _print_json(dict(content, server=as_content(report)))
    report.raise_if_not_live()
    record.outcome += ", live on {}".format(target.server.address)


def _decode(logits: Optional[str], details: Dict[str, Any]) -> Any:
    from ckpt2saved.signature import Decode

    given = {key: value for key, value in details.items() if value}
    if logits is None:
        if given:
            raise click.UsageError("--{}: only with --decode LOGITS".format(min(given).replace("_", "-")))
        return None
    if given.get("top_paths", 1) > given.get("beam_width", 10):
        raise click.UsageError("--top-paths: more than --beam-width")
    return Decode(logits, **given)


@command("bump-version")
@base_argument
@option("--from", "source", metavar="N|DIR", help="A version of BASE or a SavedModel elsewhere. Default: the newest.")
@version_option
@wait_option
@timeout_option
@model_name_option
@option("--dry-run", is_flag=True, help="Only print what would be published.")
@report_option
@json_option
@quiet_option
def bump_version(base, source, version, wait_for, timeout, model_name, dry_run, report, as_json, quiet) -> None:
    """Publish an existing SavedModel as the next version of BASE.

    To roll back, to publish again, or to take in one that was built elsewhere. Prints the published directory: with
    --wait-for before the waiting, after which answers are compared if there is a TensorFlow.
    """
    from ckpt2saved import versions

    with _reported(report, "bump-version") as record:
        server = _server(wait_for, dry_run)
        bumped = versions.bump_version(base, source, requested=version, dry_run=dry_run)
        number, origin = bumped.number, bumped.republished_from
        content = {"path": str(bumped.path), "version": number, "from": origin, "dry_run": dry_run}
        record.hear("from", str(bumped.source))
        record.outcome = ("would publish `{}`" if dry_run else "published `{}`").format(bumped.path)
        if server is None:
            _result(content, bumped.path, as_json)
        else:
            _await(_target(server, model_name, bumped.path, timeout), content, as_json, quiet, record)


@command("list")
@base_argument
@json_option
def list_(base, as_json) -> None:
    """The versions of BASE: origin, size and health, the newest first."""
    from ckpt2saved.versions import list_versions

    versions = list_versions(base)
    if as_json:
        _print_json({"versions": [_version_content(version) for version in versions]})
    elif not versions:
        click.echo("{}: no versions yet".format(base), err=True)
    else:
        from ckpt2saved.tables import print_versions

        print_versions(versions)


@command("prune")
@base_argument
@option("--keep", type=click.IntRange(min=1), default=5, show_default=True, help="How many whole versions to leave.")
@option("--server", type=_address, metavar="URL", help="Spare what this TF Serving still has: http://host:8501.")
@model_name_option
@option("--dry-run", is_flag=True, help="Only print what would be deleted.")
@json_option
def prune(base, keep, server, model_name, dry_run, as_json) -> None:
    """Delete the older versions of BASE, never the newest; prints the directories that are gone.

    With --server nothing is deleted until the server has the newest version, and never one that it still has.
    """
    from ckpt2saved.versions import prune_versions

    spare = _spared(base, _server(server), model_name)
    deleted = prune_versions(base, keep=keep, spare=spare, dry_run=dry_run)
    if as_json:
        _print_json({"deleted": [str(version.path) for version in deleted], "dry_run": dry_run})
    for version in () if as_json else deleted:
        click.echo(str(version.path))


def _spared(base: Path, server: Any, model_name: Optional[str]) -> Any:
    if server is None:
        return ()
    from ckpt2saved.running.spared import spared_versions
    from ckpt2saved.versions import list_versions

    numbers = [version.number for version in list_versions(base)]
    name = model_name or Path(os.path.abspath(str(base))).name
    return spared_versions(server, name, numbers[0]) if numbers else ()


@command("verify")
@click.argument("version_dir", type=_PathType())
@option(
    "--checkpoint",
    "-c",
    type=_PathType(),
    help="Compare the answers with this checkpoint's. The model is what the version says, or the options below.",
)
@option("--server", type=_address, metavar="URL", help="Is it live there? http://host:8501 or grpc://host:8500.")
@model_name_option
@timeout_option
@option("--inputs", "request_file", type=_PathType(), metavar="FILE.npz", help="Requests: arrays by the inputs' names.")
@report_option
@json_option
@quiet_option
def verify(version_dir, checkpoint, server, model_name, timeout, request_file, report, as_json, quiet, **plan) -> None:
    """Whether a version can be served, what it answers, and whether a server answers the same.

    VERSION_DIR is a version, or a model's directory, of which the newest is taken. Its files are examined, loaded by
    the loader that TF Serving uses, and every signature is asked twice. Prints the version's directory.
    """
    from ckpt2saved.versions import find_version

    with _reported(report, "verify") as record:
        directory = find_version(version_dir)
        connected = _server(server)
        target = _target(connected, model_name, directory, timeout) if connected else None
        planned = _comparison(directory, checkpoint, plan)
        with _narration("verify", quiet=quiet, hear=record.hear) as say:
            _prepare_tensorflow(gpu=False)
            from ckpt2saved.verify import as_content, verify_version

            found = verify_version(
                directory, plan=planned, inputs=request_file, target=target, say=say, progress=say.progress
            )
        if as_json:
            _print_json(as_content(found))
        found.raise_if_wrong()
        record.outcome = "`{}` is right".format(directory)
        if not as_json:
            click.echo(str(directory))


_OF_THE_GRAPH = (
    "model weights ctc_decoder options graph python_path inputs outputs pinned renames keep_training_ops decode "
    "beam_width top_paths merge_repeated sequence_length"
).split()
verify.params += [parameter for parameter in export.params if parameter.name in _OF_THE_GRAPH]


def _is_on_command_line(name: str) -> bool:
    """Not from the environment, which speaks to all commands of a CI job."""
    source = click.get_current_context().get_parameter_source(name)
    return source == click.core.ParameterSource.COMMANDLINE


def _comparison(directory: Path, checkpoint: Optional[Path], plan: Dict[str, Any]) -> Any:
    """The export that the version was; None where it is not compared."""
    if checkpoint is None:
        stray = [name for name in plan if _is_on_command_line(name)]
        if stray:
            option_of = {parameter.name: parameter.opts[0] for parameter in verify.params}
            raise click.UsageError("{}: only with --checkpoint".format(", ".join(option_of[name] for name in stray)))
        return None
    from ckpt2saved.plan import plan_comparison

    return plan_comparison(directory, checkpoint=checkpoint, **_planned(plan))


@command("inspect")
@click.argument("path", type=_PathType())
@option(
    "--write-signature",
    type=_PathType(),
    metavar="FILE.yaml",
    help="Also write a signature file for export --model; what only you can decide stands in it as a comment.",
)
@option("--force", is_flag=True, help="Replace that file if it is there.")
@json_option
def inspect(path, write_signature, force, as_json) -> None:
    """What a checkpoint, .meta or SavedModel holds, and what of it could be served under which command.

    PATH is a checkpoint (a prefix, a directory, any of its files), a training's .meta, a SavedModel, or a model's
    directory, of which the newest version is taken.
    """
    from ckpt2saved.inspection.subject import find_subject

    if write_signature:
        from ckpt2saved.inspection.target import check_target

        check_target(write_signature, force)
    subject = find_subject(path)
    _prepare_tensorflow(gpu=False)
    from ckpt2saved.inspection.report import as_content, inspect_subject

    inspection = inspect_subject(subject)
    if write_signature:
        from ckpt2saved.inspection.signature_file import write_signature as write

        write(inspection, write_signature, force)
    if as_json:
        _print_json(dict(as_content(inspection), signature=str(write_signature) if write_signature else None))
    else:
        from ckpt2saved.inspection.page import print_inspection

        print_inspection(inspection)


@command("doctor")
@click.argument("saved_model", required=False, type=_PathType())
@option("--serving", metavar="VERSION", help="The TF Serving that is to load it. Default: a line for every release.")
@json_option
def doctor(saved_model, serving, as_json) -> None:
    """Which versions go together: Python, TensorFlow, CUDA, TF Serving, and what a SavedModel needs of it.

    SAVED_MODEL is a version, a SavedModel elsewhere, or a model's directory, of which the newest version is taken. Exit
    code 3 if it asks for an op or an attribute that the TF Serving does not have.
    """
    from ckpt2saved.compatibility.doctor import as_content, diagnose

    diagnosis = diagnose(saved_model, serving)
    if as_json:
        _print_json(as_content(diagnosis))
    else:
        from ckpt2saved.compatibility.page import print_diagnosis

        print_diagnosis(diagnosis)
    diagnosis.raise_if_misfit()


@main.group("bench", context_settings=SETTINGS)
def bench() -> None:
    """Measure on this machine, with this TensorFlow."""


@bench.command("ctc", cls=_Command, context_settings=SETTINGS)
@option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of which the median counts.")
@option(
    "--case", "cases", multiple=True, metavar="BATCHxSTEPSxCLASSES:WIDTH", help="Instead of the original's. Repeat."
)
@option("--plot", type=_PathType(), help="Also draw a bar chart: a .png or .svg file. Needs matplotlib.")
@json_option
@quiet_option
def bench_ctc(repeats, cases, plot, as_json, quiet) -> None:
    """CTC decoders side by side: TensorFlow's beam search, the fast one with the same answers, greedy.

    The original's experiment: a batch of 128 lines, 50 to 128 steps, 3862 classes. It takes the stock op minutes.
    """
    with _narration("bench", quiet=quiet) as say:
        _prepare_tensorflow(gpu=False)
        from ckpt2saved.bench import CASES, as_content, machine, parse_case, time_decoders

        chosen = [case for text in cases for case in parse_case(text)] or CASES
        timings = time_decoders(chosen, repeats=repeats, say=say)
    if plot:
        from ckpt2saved.plots import plot_decoders

        plot_decoders(timings, machine(), plot)
    if as_json:
        _print_json(as_content(timings))
    else:
        from ckpt2saved.tables import print_timings

        print_timings(timings, machine())


@command("serving-config")
@click.argument("models", nargs=-1, required=True, metavar="[NAME=]MODEL_DIR...")
@option("--output-dir", "-o", required=True, type=_PathType(), help="Where the configuration is written to.")
@option(
    "--for",
    "targets",
    type=_ParsedType("docker|compose|kubernetes|version", "serving.configuration:parse_target"),
    multiple=True,
    metavar="docker|compose|kubernetes|VERSION",
    help="What starts the server, and which TF Serving it is, as in --for compose --for 1.14. Default: docker. Repeat.",
)
@option("--serving", metavar="VERSION", help="TF Serving's, 1.14 or later; the same as --for VERSION. Default: 2.19.")
@option(
    "--mount",
    "mounts",
    type=_ParsedType("host=server", "serving.mounts:parse_mount"),
    multiple=True,
    help="A directory here and its path in the server, as in ./models=/models. Default: each model by itself. Repeat.",
)
@option(
    "--versions",
    "policies",
    type=_ParsedType("[model=]policy", "serving.policy:parse_policy"),
    multiple=True,
    help="What is loaded: latest, latest:2, all or specific:3,4. Default: latest. Repeat.",
)
@option(
    "--label",
    "labels",
    type=_ParsedType("[model:]label=n", "serving.policy:parse_label"),
    multiple=True,
    help="A name by which clients may ask for a version. Repeat.",
)
@option("--batching", is_flag=True, help="Let the server put requests together.")
@option("--max-batch-size", type=click.IntRange(min=1), help="Of --batching. Default: 32.")
@option("--batch-timeout-micros", type=click.IntRange(min=0), help="Of --batching. Default: 5000.")
@option("--pad-inputs", is_flag=True, help="Of --batching: fill inputs up to one size with their first element.")
@option(
    "--batched-signature",
    "batched_signatures",
    multiple=True,
    metavar="NAME",
    help="Of --batching: what the clients ask for, of models that have it. Default: serving_default. Repeat.",
)
@option(
    "--gpus",
    type=_ParsedType("gpus", "serving.devices:parse_gpus"),
    metavar="all|N|device=0,1",
    help="As docker run has it; with the image for GPUs.",
)
@option("--nvidia-runtime", is_flag=True, help="Ask for the GPUs as Docker before 19.03 wants it.")
@option("--cpus", type=_ParsedType("number", "serving.server:parse_cpus"), help="Processors that the server may use.")
@option("--port", type=click.IntRange(1, 65535), default=8500, show_default=True, help="For gRPC.")
@option("--rest-port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="For REST and metrics.")
@option(
    "--name",
    type=_ParsedType("name", "serving.server:parse_name"),
    default="tensorflow-serving",
    show_default=True,
    help="Of the container, service or deployment.",
)
@option(
    "--volume-claim",
    type=_ParsedType("claim", "serving.kubernetes:parse_claim"),
    help="Of kubernetes: the volume with the models. Default: the node's disk.",
)
@option("--run", "start", is_flag=True, help="Then start the server with docker.")
@option("--dry-run", is_flag=True, help="Only say what would be written, and what a running server would do.")
@json_option
@quiet_option
def serving_config(models, output_dir, targets, serving, start, dry_run, as_json, quiet, **wishes) -> None:
    """Write what TF Serving needs to serve models, and the way to start it.

    Prints the command that starts the server. Says on stderr what a server that is running already will do with the
    change. Refuses a model without a whole version, and batching where it would break the answers.
    """
    if start and dry_run:
        raise click.UsageError("--run: not with --dry-run")
    from ckpt2saved.serving.configuration import Wishes, configure, told_apart
    from ckpt2saved.serving.page import as_content, narrate

    starters, release = told_apart(targets, serving)
    _check_serving_options(starters, start, wishes)
    batching = _batching(wishes)
    planned = configure(models, Wishes(output_dir, starters, release, batching=batching, **wishes))
    if start:
        from ckpt2saved.serving.docker import find_docker

        find_docker()  # before anything is written
    if not dry_run:
        planned.write()
    with _narration("serving-config", quiet=quiet) as say:
        narrate(planned, say, dry_run)
    container = None
    if start:
        from ckpt2saved.serving.docker import run

        container = run(planned.docker_command)
    if as_json:
        _print_json(dict(as_content(planned), dry_run=dry_run, container=container))
    for line in () if as_json else planned.start.values():
        click.echo(line)


def _check_serving_options(starters: Any, start: bool, wishes: Dict[str, Any]) -> None:
    if start and "docker" not in starters:
        raise click.UsageError("--run: starts docker; add --for docker")
    if wishes["nvidia_runtime"] and not wishes["gpus"]:
        raise click.UsageError("--nvidia-runtime: only with --gpus")
    if wishes["volume_claim"] and "kubernetes" not in starters:
        raise click.UsageError("--volume-claim: only with --for kubernetes")
    if wishes["port"] == wishes["rest_port"]:
        raise click.UsageError("--rest-port: another one than --port is expected")


def _batching(wishes: Dict[str, Any]) -> Any:
    """What --batching and its details come to, which are taken out of the wishes; None without it."""
    from ckpt2saved.serving.batching import Batching

    names = {"max_batch_size": "max_batch_size", "batch_timeout_micros": "timeout_micros", "pad_inputs": "pad_inputs"}
    values = {name: wishes.pop(name) for name in names}
    given = {name: value for name, value in values.items() if value is not None and value is not False}
    if wishes.pop("batching"):
        return Batching(**{names[name]: value for name, value in given.items()})
    stray = list(given) + (["batched_signature"] if wishes["batched_signatures"] else [])
    if stray:
        raise click.UsageError("--{}: only with --batching".format(stray[0].replace("_", "-")))
    return None


def _prepare_tensorflow(gpu: bool) -> None:
    """Before it is imported: which devices it may take, and that its deprecations are not this command's news."""
    if not gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _has_tensorflow() -> bool:
    """Whether there is one, found without importing it."""
    # Of one that is imported already, 1.14 does not know where it was found.
    return sys.modules.get("tensorflow") is not None or importlib.util.find_spec("tensorflow") is not None


def _narration(doing: str, **how: Any) -> Any:
    from ckpt2saved.narration import narration

    return narration(doing, **how)


def _reported(path: Optional[Path], command: str) -> Any:
    from ckpt2saved.report import reported

    return reported(path, command)


def _result(content: Dict[str, Any], path: Path, as_json: bool) -> None:
    if as_json:
        _print_json(content)
    else:
        click.echo(str(path))


def _version_content(version: Any) -> Dict[str, Any]:
    origin = version.origin
    return {
        "version": version.number,
        "path": str(version.path),
        "bytes": version.size,
        "modified": version.modified.isoformat(timespec="seconds"),
        "checkpoint": origin and origin.checkpoint,
        "step": origin and origin.step,
        "republished_from": origin and origin.republished_from,
        "problems": list(version.problems),
        "duplicate_of": version.duplicate_of,
    }


def _print_json(content: Dict[str, Any]) -> None:
    click.echo(json.dumps(dict(content, format=1), indent=2, ensure_ascii=False))
