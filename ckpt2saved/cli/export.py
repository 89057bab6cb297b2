"""The command `export`, and what its options about the graph come to."""

from __future__ import annotations

from typing import Any, Dict, Optional

import click

from ckpt2saved.cli.invocation import command, narration, prepare_tensorflow, print_result, reported, until_interrupted
from ckpt2saved.cli.live import await_version, probing, server_at, target_on
from ckpt2saved.cli.options import (
    PathType,
    batched_option,
    json_option,
    model_name_option,
    option,
    probe_signature_option,
    quiet_option,
    report_option,
    timeout_option,
    version_option,
    wait_option,
)


class _OptionType(click.ParamType):
    """NAME=VALUE, the value read as YAML: 3 is a number, false a truth value, anything else a word."""

    name = "name=value"

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> Any:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, context)
        from ckpt2saved.signature.yaml_nodes import parse_scalar

        try:
            return name, parse_scalar(text)
        except ValueError as error:
            self.fail(f"{name}: {error}", param, context)


class _TensorType(click.ParamType):
    """NAME=TENSOR[shape], as a tensor of a signature."""

    name = "name=tensor[shape]"

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> Any:
        from ckpt2saved.signature.arguments import parse_tensor

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
            self.fail(f"{value!r} is not REGEX=REPLACEMENT, as in weights$=kernel", param, context)
        from ckpt2saved.signature.renaming import check_rule

        try:
            check_rule(pattern, replacement)
        except ValueError as error:
            self.fail(str(error), param, context)
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
    type=PathType(),
    help="A prefix, any one of the checkpoint's files, or the directory that training wrote to.",
)
@option(
    "--export-dir",
    "--output-dir",
    "-o",
    "export_dir",
    required=True,
    type=PathType(),
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
    "--parity-seconds",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="For TensorFlow's own beam search, where it would take longer for the lines to compare on.",
)
@option(
    "--parity-lines",
    type=click.IntRange(min=1),
    metavar="N",
    help="Have TensorFlow's own beam search read N lines of each request at most. Default: as many as fit.",
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
    help="Of --warmup: requests for this signature as a client sends them; may be given several times. With one that "
    "batching breaks a server with --enable_batching never loads the version. Default: requests that every server "
    "answers.",
)
@option("--no-warmup", is_flag=True, help="Write no such requests.")
@option(
    "--graph",
    metavar="meta|FILE.meta|NAME|MODULE:FUNCTION",
    help="The training's graph beside the checkpoint or in a file, a built-in network, or your own function.",
)
@option("--python-path", type=PathType(), multiple=True, help="Where MODULE of --graph is looked for first. Repeat.")
@option("--allow-code", is_flag=True, help="Run the function that the file of --model names as its graph's builder.")
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
@option("--keep-training-ops", is_flag=True, help="Leave dropout and batch statistics alone.")
@option("--allow-labels", is_flag=True, help="Allow an --input that the training's loss compares answers with.")
@option("--decode", metavar="LOGITS", help="Append a CTC beam search to these logits.")
@option("--beam-width", type=click.IntRange(min=1), help="Of --decode. Default: 10.")
@option("--top-paths", type=click.IntRange(min=1), help="Of --decode. Default: 1.")
@option("--merge-repeated", is_flag=True, help="Of --decode: equal neighbours in a decoded text become one.")
@option("--sequence-length", metavar="INPUT|TENSOR|full", help="Of --decode: the steps that count. Default: full.")
@option("--for-serving", metavar="VERSION", help="Refuse what a TF Serving of this release, as in 1.14, does not have.")
@option("--gpu", is_flag=True, help="Use the GPUs, which are otherwise left to the training.")
@wait_option
@timeout_option
@model_name_option
@probe_signature_option
@batched_option
@option("--dry-run", is_flag=True, help="Do everything but publish.")
@report_option
@json_option
@quiet_option
def export(export_dir, gpu, wait_for, timeout, model_name, report, as_json, quiet, **plan) -> None:
    """Publish a checkpoint as the next version of a model.

    Prints the published directory, and nothing else, on stdout: with --wait-for before the waiting.
    """
    from ckpt2saved.export.plan import plan_export

    with reported(report, "export") as record:
        names, batched = plan.pop("probe_signatures"), plan.pop("batched")
        planned = plan_export(base=export_dir, **graph_options(plan))
        server = server_at(wait_for, plan["dry_run"])
        asked = probing(names, batched, [s.name for s in planned.model.signatures]) if server else None
        with narration("export", quiet=quiet, hear=record.hear) as say:
            prepare_tensorflow(gpu)
            from ckpt2saved.export.pipeline import export_checkpoint

            exported = export_checkpoint(planned, until_interrupted(say))
        record.outcome = ("would publish `{}`" if exported.dry_run else "published `{}`").format(exported.path)
        record.is_done = not exported.dry_run
        content = {"path": str(exported.path), "dry_run": exported.dry_run, **exported.provenance}
        if server is None:
            print_result(content, exported.path, as_json)
        else:
            from ckpt2saved.verify.comparison import as_requests

            target = target_on(server, model_name, exported.path, timeout, asked)
            await_version(target, content, as_json, quiet, record, known=as_requests(exported.asked))


def graph_options(plan: Dict[str, Any]) -> Dict[str, Any]:
    """What the options about the graph, and about the comparison with it, come to."""
    from ckpt2saved.answers.search_limits import SearchLimits

    names = ("beam_width", "top_paths", "merge_repeated", "sequence_length")
    details = {key: plan[key] for key in names}
    more = {"options": dict(plan["options"]), "pinned": dict(plan["pinned"])}
    more["decode"] = _decode(plan["decode"], details)
    more["search_limits"] = SearchLimits(plan["parity_seconds"], plan["parity_lines"])
    names += ("parity_seconds", "parity_lines")
    return {**{key: value for key, value in plan.items() if key not in names}, **more}


def _decode(logits: Optional[str], details: Dict[str, Any]) -> Any:
    from ckpt2saved.signature.model import Decode

    given = {key: value for key, value in details.items() if value}
    if logits is None:
        if given:
            raise click.UsageError(f"--{min(given).replace('_', '-')}: only with --decode LOGITS")
        return None
    if given.get("top_paths", 1) > given.get("beam_width", 10):
        raise click.UsageError("--top-paths: more than --beam-width")
    return Decode(logits, **given)
