"""The graph options of `export` and `verify`."""

from __future__ import annotations

from typing import Any, Callable, Optional

import click

from ckpt2saved.cli.help import Topic
from ckpt2saved.cli.options import ParamType, ParsedType, PathType, option


class _OptionType(ParamType):
    """NAME=VALUE, with the value parsed as a YAML scalar: 3 is an integer, false a boolean, other text a string."""

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


_TENSOR = ParsedType("name=tensor[shape]", "signature.arguments:parse_tensor")
_TENSOR_NAME = ParsedType("tensor", "signature.tensors:checked_tensor_name")


class _RenameType(ParamType):
    """REGEX=REPLACEMENT, split at the last equals sign."""

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


_GRAPH = (
    option(
        "--model",
        "-m",
        metavar="NAME|FILE.yaml",
        help="A built-in model (crnn, ctpn or ocr) or the path of a signature file.",
        topic=Topic.SIGNATURE,
    ),
    option(
        "--weights",
        type=click.Choice(["auto", "raw", "ema"]),
        default="auto",
        show_default=True,
        help=(
            "Values to serve: raw variables, or their moving averages (ema). auto: ema if the checkpoint has an average"
            " of every trained variable, otherwise raw."
        ),
        topic=Topic.SOURCE,
    ),
    option(
        "--ctc-decoder",
        type=click.Choice(["fast", "stock", "greedy"]),
        help=(
            "CTC decoder of the served graph. fast: beam search built from stock ops, same answers as TensorFlow's op; "
            "stock: TensorFlow's op; greedy: best class of each step, answers may differ. Default: fast, or stock if "
            "the parity check finds a difference."
        ),
        topic=Topic.DECODER,
    ),
    option(
        "--option",
        "options",
        type=_OptionType(),
        multiple=True,
        help="Option of the model, for example beam_width=10. May be given several times.",
        topic=Topic.SIGNATURE,
    ),
    option(
        "--graph",
        metavar="meta|FILE|NAME|MODULE:FUNCTION",
        help=(
            "Where the graph comes from: meta (the .meta file beside the checkpoint), a .meta file, a frozen GraphDef"
            " or a Keras model (neither needs --checkpoint), a built-in network, or a Python function."
        ),
        topic=Topic.SOURCE,
    ),
    option(
        "--python-path",
        type=PathType(),
        multiple=True,
        help="Directory to import MODULE of --graph from. May be given several times.",
        topic=Topic.SOURCE,
    ),
    option(
        "--allow-code",
        is_flag=True,
        help="Allow the signature file of --model to name a Python function as builder.",
        topic=Topic.SOURCE,
    ),
    option(
        "--input",
        "inputs",
        type=_TENSOR,
        multiple=True,
        help="Input of the signature, without --model. May be given several times.",
        topic=Topic.SIGNATURE,
    ),
    option(
        "--output",
        "outputs",
        type=_TENSOR,
        multiple=True,
        help="Output of the signature, without --model. May be given several times.",
        topic=Topic.SIGNATURE,
    ),
    option(
        "--set",
        "pinned",
        type=_OptionType(),
        multiple=True,
        help="Pin a training switch to a value, for example is_train=false. May be given several times.",
        topic=Topic.SOURCE,
    ),
    option(
        "--map",
        "renames",
        type=_RenameType(),
        multiple=True,
        help="Rename variables: from names of the graph to names of the checkpoint. May be given several times.",
        topic=Topic.SOURCE,
    ),
    option(
        "--keep-training-ops",
        is_flag=True,
        help="Keep dropout and batch statistics in the served graph.",
        topic=Topic.SOURCE,
    ),
    option(
        "--allow-labels",
        is_flag=True,
        help="Allow an --input that holds labels (the loss compares answers with it).",
        topic=Topic.SIGNATURE,
    ),
    option(
        "--decode",
        type=_TENSOR_NAME,
        metavar="LOGITS",
        help="Append a CTC beam search to this tensor of logits [time, batch, classes].",
        topic=Topic.DECODER,
    ),
    option(
        "--beam-width", type=click.IntRange(min=1), help="With --decode: beam width. Default: 10.", topic=Topic.DECODER
    ),
    option(
        "--top-paths",
        type=click.IntRange(min=1),
        help="With --decode: decoded paths for each line. Default: 1.",
        topic=Topic.DECODER,
    ),
    option(
        "--merge-repeated",
        is_flag=True,
        help=(
            "With --decode: merge repeated classes in the decoded output, as merge_repeated of ctc_beam_search_decoder."
        ),
        topic=Topic.DECODER,
    ),
    option(
        "--sequence-length",
        type=_TENSOR_NAME,
        metavar="INPUT|TENSOR|full",
        help=(
            "With --decode: input or tensor with the number of valid steps of each line [batch], or full for all steps."
            " Default: full."
        ),
        topic=Topic.DECODER,
    ),
)
_SEARCH = (
    option(
        "--parity-seconds",
        type=click.FloatRange(min=1),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Time limit of TensorFlow's own beam search in the parity check; lines beyond it are not compared whole.",
        topic=Topic.PROOF,
    ),
    option(
        "--parity-lines",
        type=click.IntRange(min=1),
        metavar="N",
        help=(
            "Lines of each request that TensorFlow's own beam search decodes in the parity check. Default: as many as "
            "--parity-seconds allows."
        ),
        topic=Topic.PROOF,
    ),
)


def graph_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the options about a graph."""
    return _with(_GRAPH, function)


def search_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the limits of the beam search in the parity check."""
    return _with(_SEARCH, function)


def _with(options: Any, function: Callable[..., None]) -> Callable[..., None]:
    for one in reversed(options):
        function = one(function)
    return function
