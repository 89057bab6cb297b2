"""Signature files are read into frozen values, or refused with every mistake in them and its line; no TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckpt2saved.errors import SignatureError, UsageError
from ckpt2saved.errors.problem import texts
from ckpt2saved.signature import file as signature_file
from ckpt2saved.signature.file import builtin_models, load_model, parse_model, signature_folder
from ckpt2saved.signature.model import ExampleInput, ParityCase, ServedModel
from ckpt2saved.signature.tensors import Signature, TensorSpec
from tests.support.signature_files import GOOD

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "crnn"

SOURCE = Path("runs/mine.yaml")
IMAGE = TensorSpec("image", "image", "float32", ("batch", 32, "width", 3))
LENGTHS = TensorSpec("lengths", "lengths", "int32", ("batch",))
IDS = TensorSpec("ids", "decoder/ids:1", "int64", ("batch", "time"))
SCORE = TensorSpec("score", "score", "float32", ())
MODEL = ServedModel(
    name="mine",
    source=SOURCE,
    builder="mine",
    options={"scope": "net", "beams": 10, "rate": 0.5, "merge": False, "date": "2024-05-06"},
    signatures=(Signature("serving_default", (IMAGE, LENGTHS), (IDS, SCORE)),),
    parity=(
        ParityCase(
            {"batch": 2, "width": 100},
            {"image": ExampleInput((0.0, 255.0), None), "lengths": ExampleInput(None, [25, 20])},
        ),
    ),
)
SCALAR = "a number, a word, true or false is expected; found "
SIZE = "a size, or a name for one that varies, is expected; found "
FORMAT = "line 1: format: 1, the only format that this version of ckpt2saved reads, is expected; found "
NUMBER = "a number, as in 100000 or 1.0e+5, is expected; found "


def edited(old, new):
    """GOOD with a part of it replaced, which must be there once."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def refusal(text):
    with pytest.raises(SignatureError) as caught:
        parse_model(text, SOURCE)
    return str(caught.value)


def listing(*problems):
    """The message for a file with these problems."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n  - ".join((f"{SOURCE}: {count}",) + problems)


# What is read.


def test_a_whole_file_becomes_values():
    """Every part of a signature file is there afterwards, with the types that YAML gives it."""
    assert parse_model(GOOD, SOURCE) == MODEL


@pytest.mark.parametrize(
    ("old", "new", "attribute", "expected"),
    [
        pytest.param(GOOD[GOOD.index("parity:") :], "", "parity", (), id="no-parity"),
        pytest.param(GOOD[GOOD.index("  options") : GOOD.index("signatures")], "", "options", {}, id="no-options"),
        pytest.param("{scope: net", "{scope: !!str 12", "options", dict(MODEL.options, scope="12"), id="str-tag"),
        pytest.param("builder: mine", "builder: 12", "builder", "12", id="number-as-a-name"),
        pytest.param("builder: mine", "builder: pkg.mod:fn", "builder", "pkg.mod:fn", id="function"),
    ],
)
def test_what_may_be_written_in_another_way(old, new, attribute, expected):
    """Optional parts may be left out, and names may look like numbers."""
    assert getattr(parse_model(edited(old, new), SOURCE), attribute) == expected


@pytest.mark.parametrize("sizes", [(0,), (2**63 - 1,), ("batch", "batch"), ("None",)], ids=str)
def test_sizes(sizes):
    """A size is any that TensorFlow can count, or any word for one that varies."""
    model = parse_model(edited("shape: []", f"shape: [{', '.join(map(str, sizes))}]"), SOURCE)
    assert model.signatures[0].outputs[1].shape == sizes


def test_a_string_input():
    """An input of strings is made of values."""
    model = parse_model(edited("int32", "string").replace("[25, 20]", "[one, two]"), SOURCE)
    assert model.parity[0].inputs["lengths"] == ExampleInput(None, ["one", "two"])


@pytest.mark.parametrize(
    ("written", "values"),
    [
        pytest.param("[[1, 2.5], [true, word]]", [[1, 2.5], [True, "word"]], id="nested"),
        pytest.param("3", 3, id="one"),
        pytest.param("[]", [], id="none"),
        pytest.param("[!!binary iVBORw==]", [b"\x89PNG"], id="bytes"),
    ],
)
def test_values_of_a_parity_input(written, values):
    """The values are numbers, words and bytes in lists as deep as the tensor."""
    model = parse_model(edited("values: [25, 20]", "values: " + written), SOURCE)
    assert model.parity[0].inputs["lengths"] == ExampleInput(None, values)


@pytest.mark.parametrize("text", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n")], ids=["byte-order-mark", "crlf"])
def test_editors_of_windows_are_welcome(text):
    """A byte order mark and carriage returns change nothing."""
    assert parse_model(text, SOURCE) == MODEL


@pytest.mark.parametrize("depth", [40, 41])
def test_an_alias_stands_for_what_it_names(depth):
    """Anchors and aliases are YAML's way of saying something once, and do not count as nesting."""
    text = edited("shape: [batch, 32, width, 3]", "shape: &image [batch, 32, width, 3]").replace(
        "shape: []", "shape: *image"
    )
    nested = "[" * depth + "1" + "]" * depth
    model = parse_model(text.replace("[25, 20]", nested), SOURCE)
    assert model.signatures[0].outputs[1].shape == IMAGE.shape


def test_signatures_may_share_inputs():
    """The same input in two signatures is one input, and a parity case makes it once."""
    text = edited("serving_default:", "serving_default: &all") + "  # more\n"
    text = text.replace("parity:", "  again: *all\nparity:")
    first, second = parse_model(text, SOURCE).signatures
    assert (second.name, second.inputs, second.outputs) == ("again", first.inputs, first.outputs)


@pytest.mark.parametrize("dtype", ["bfloat16", "bool", "complex128", "float16", "int8", "string", "uint8", "uint64"])
def test_dtypes(dtype):
    """Dtypes go by TensorFlow's names."""
    model = parse_model(edited("dtype: int64", "dtype: " + dtype), SOURCE)
    assert model.signatures[0].outputs[0].dtype == dtype


# What is refused, one mistake a row.


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        # format
        pytest.param("format: 1\n", "", "line 1: format is missing", id="format-missing"),
        pytest.param("format: 1", "format: 2", FORMAT + "2", id="format-newer"),
        pytest.param("format: 1", "format: '1'", FORMAT + "'1'", id="format-text"),
        pytest.param("format: 1", "format: true", FORMAT + "true", id="format-true"),
        pytest.param("format: 1", "format: 1.0", FORMAT + "1.0", id="format-float"),
        pytest.param("format: 1", "format:", FORMAT + "nothing", id="format-nothing"),
        pytest.param("format: 1", "format: [1]", FORMAT + "a list of 1", id="format-list"),
        # keys
        pytest.param("graph:", "graph: {}\ngraph:", "line 3: graph is given twice", id="key-twice"),
        pytest.param(
            "parity:", "paritty:", "line 13: 'paritty' is not a known key; did you mean parity?", id="key-misspelt"
        ),
        pytest.param(
            "format: 1",
            "format: 1\nq: 2",
            "line 2: 'q' is not a known key; expected format, signatures, graph, options, parity",
            id="key-unknown",
        ),
        pytest.param(
            "format: 1", "format: 1\n[a, b]: 2", "line 2: a name is expected; found a list of 2", id="key-list"
        ),
        pytest.param(
            "format: 1", "format: 1\n? {a: 1}\n: 2", "line 2: a name is expected; found a mapping", id="key-mapping"
        ),
        pytest.param("format: 1", "format: 1\n~: 2", "line 2: a name is expected; found ~", id="key-null"),
        pytest.param("format: 1", "format: 1\n'': 2", "line 2: a name is expected; found ''", id="key-empty"),
        pytest.param(
            "      score:",
            "      ids: {dtype: int32, shape: []}\n      score:",
            "line 12: signatures.serving_default.outputs: ids is given twice",
            id="output-twice",
        ),
        pytest.param(
            "width: 100}", "width: 100, width: 100}", "line 14: parity[0].dims: width is given twice", id="dim-twice"
        ),
        # graph
        pytest.param(
            GOOD[GOOD.index("graph:") : GOOD.index("signatures")],
            "graph: mine\n",
            "line 2: graph: a mapping (lines of 'name: …') is expected; found mine",
            id="graph-word",
        ),
        pytest.param(
            "  builder: mine\n",
            "",
            "line 3: graph.options: a graph that is read from a file takes no options",
            id="options-without-builder",
        ),
        pytest.param(
            "builder: mine",
            "builder:",
            "line 3: graph.builder: a name is expected; found nothing",
            id="builder-nothing",
        ),
        pytest.param(
            "builder: mine", "builder: ~", "line 3: graph.builder: a name is expected; found ~", id="builder-null"
        ),
        pytest.param(
            "builder: mine",
            "builder: [mine]",
            "line 3: graph.builder: a name is expected; found a list of 1",
            id="builder-list",
        ),
        pytest.param(
            "builder: mine",
            "builder: !!binary bWluZQ==",
            "line 3: graph.builder: a name is expected; found bWluZQ==",
            id="builder-bytes",
        ),
        pytest.param(
            "options:",
            "option:",
            "line 4: graph: 'option' is not a known key; did you mean options?",
            id="options-misspelt",
        ),
        pytest.param(
            GOOD[GOOD.index("{scope") : GOOD.index("signatures")],
            "\n",
            "line 4: graph.options: a mapping (lines of 'name: …') is expected; found nothing",
            id="options-nothing",
        ),
        pytest.param("beams: 10", "beams: ", "line 4: graph.options.beams: " + SCALAR + "nothing", id="option-nothing"),
        pytest.param("beams: 10", "beams: null", "line 4: graph.options.beams: " + SCALAR + "null", id="option-null"),
        pytest.param(
            "beams: 10", "beams: [1]", "line 4: graph.options.beams: " + SCALAR + "a list of 1", id="option-list"
        ),
        pytest.param(
            "beams: 10", "beams: {a: 1}", "line 4: graph.options.beams: " + SCALAR + "a mapping", id="option-mapping"
        ),
        pytest.param(
            "beams: 10",
            "beams: 2024-05-06",
            "line 4: graph.options.beams: " + SCALAR + "2024-05-06, which YAML reads as a timestamp; put it in quotes",
            id="option-date",
        ),
        pytest.param(
            "beams: 10",
            "beams: 2024-99-06",
            "line 4: graph.options.beams: " + SCALAR + "2024-99-06, which YAML reads as a timestamp; put it in quotes "
            "(month must be in 1..12)",
            id="option-no-date",
        ),
        pytest.param(
            "beams: 10",
            "beams: =",
            "line 4: graph.options.beams: " + SCALAR + "=, which YAML reads as a value; put it in quotes "
            "(could not determine a constructor for the tag 'tag:yaml.org,2002:value')",
            id="option-equals",
        ),
        pytest.param(
            "beams: 10",
            "beams: 0b_",
            "line 4: graph.options.beams: " + SCALAR + "0b_ (invalid literal for int() with base 2: '')",
            id="option-no-number",
        ),
        pytest.param(
            "beams: 10", "beams: !!binary aGk=", "line 4: graph.options.beams: " + SCALAR + "aGk=", id="option-bytes"
        ),
        # signatures
        pytest.param(
            GOOD[GOOD.index("signatures:") : GOOD.index("parity:")],
            "",
            "line 1: signatures is missing",
            id="signatures-missing",
        ),
        pytest.param(
            GOOD[GOOD.index("signatures:") : GOOD.index("parity:")],
            "signatures:\n",
            "line 5: signatures: a mapping (lines of 'name: …') is expected; found nothing",
            id="signatures-nothing",
        ),
        pytest.param(
            GOOD[GOOD.index("signatures:") : GOOD.index("parity:")],
            "signatures: {}\n",
            "line 5: signatures: serving_default is missing, the signature of requests that name none",
            id="signatures-empty",
        ),
        pytest.param(
            "serving_default",
            "serving_defualt",
            "line 6: signatures: serving_default is missing, the signature of requests that name none; "
            "rename 'serving_defualt' if it is meant",
            id="serving-default-misspelt",
        ),
        pytest.param(
            "serving_default",
            "text",
            "line 6: signatures: serving_default is missing, the signature of requests that name none",
            id="serving-default-missing",
        ),
        pytest.param(
            GOOD[GOOD.index("    outputs:") : GOOD.index("parity:")],
            "",
            "line 7: signatures.serving_default: outputs is missing",
            id="outputs-missing",
        ),
        pytest.param(
            GOOD[GOOD.index("    outputs:") : GOOD.index("parity:")],
            "    outputs: {}\n",
            "line 10: signatures.serving_default.outputs: at least one is needed",
            id="outputs-empty",
        ),
        pytest.param(
            GOOD[GOOD.index("    outputs:") : GOOD.index("parity:")],
            "    outputs:\n",
            "line 10: signatures.serving_default.outputs: a mapping (lines of 'name: …') is expected; found nothing",
            id="outputs-nothing",
        ),
        pytest.param(
            GOOD[GOOD.index("    outputs:") : GOOD.index("parity:")],
            "    outputs: [ids]\n",
            "line 10: signatures.serving_default.outputs: a mapping (lines of 'name: …') is expected; "
            "found a list of 1",
            id="outputs-list",
        ),
        pytest.param(
            "parity:",
            "  other:\n    inputs: {lengths: {dtype: int64, shape: [batch]}}\n"
            "    outputs: {ids: {dtype: int32, shape: []}}\nparity:",
            "line 6: signatures.other.inputs.lengths: it has another dtype or shape in signature serving_default; "
            "give one of the two another key, and name its tensor with 'tensor: …'",
            id="input-of-two-dtypes",
        ),
        pytest.param(
            "parity:",
            "  other:\n    inputs: {lengths: {dtype: int32, shape: [batch, 1]}}\n"
            "    outputs: {ids: {dtype: int32, shape: []}}\nparity:",
            "line 6: signatures.other.inputs.lengths: it has another dtype or shape in signature serving_default; "
            "give one of the two another key, and name its tensor with 'tensor: …'",
            id="input-of-two-shapes",
        ),
        # tensors
        pytest.param(
            "score: {dtype: float32, shape: []}",
            "score: float32",
            "line 12: signatures.serving_default.outputs.score: a mapping (lines of 'name: …') is expected; "
            "found float32",
            id="tensor-word",
        ),
        pytest.param(
            "score: {dtype: float32, shape: []}",
            "score: {shape: []}",
            "line 12: signatures.serving_default.outputs.score: dtype is missing",
            id="dtype-missing",
        ),
        pytest.param(
            "dtype: int64",
            "dtype: it64",
            "line 11: signatures.serving_default.outputs.ids.dtype: 'it64' is not a known dtype; did you mean int64?",
            id="dtype-misspelt",
        ),
        pytest.param(
            "dtype: int64",
            "dtype: DT_",
            "line 11: signatures.serving_default.outputs.ids.dtype: 'DT_' is not a known dtype; expected bfloat16, bool, "
            "complex64, complex128, float16, float32, float64, int8, int16, int32, int64, string, uint8, uint16, "
            "uint32, uint64",
            id="dtype-unknown",
        ),
        pytest.param(
            "dtype: int64",
            "dtype: [int64]",
            "line 11: signatures.serving_default.outputs.ids.dtype: a name is expected; found a list of 1",
            id="dtype-list",
        ),
        pytest.param(
            "score: {dtype: float32, shape: []}",
            "score: {dtype: float32}",
            "line 12: signatures.serving_default.outputs.score: shape is missing",
            id="shape-missing",
        ),
        pytest.param(
            "shape: []",
            "shape: 3",
            "line 12: signatures.serving_default.outputs.score.shape: a list is expected, as in [batch, 32, width, 3]; "
            "[] for a single value",
            id="shape-number",
        ),
        pytest.param(
            "shape: []",
            "shape: [-1]",
            "line 12: signatures.serving_default.outputs.score.shape[0]: " + SIZE + "-1",
            id="size-negative",
        ),
        pytest.param(
            "shape: []",
            "shape: [3, ~]",
            "line 12: signatures.serving_default.outputs.score.shape[1]: " + SIZE + "~",
            id="size-null",
        ),
        pytest.param(
            "shape: []",
            "shape: [on]",
            "line 12: signatures.serving_default.outputs.score.shape[0]: " + SIZE + "on",
            id="size-truth-value",
        ),
        pytest.param(
            "shape: []",
            "shape: [1.5]",
            "line 12: signatures.serving_default.outputs.score.shape[0]: " + SIZE + "1.5",
            id="size-float",
        ),
        pytest.param(
            "shape: []",
            "shape: ['']",
            "line 12: signatures.serving_default.outputs.score.shape[0]: " + SIZE + "''",
            id="size-empty",
        ),
        pytest.param(
            "shape: []",
            "shape: [[1]]",
            "line 12: signatures.serving_default.outputs.score.shape[0]: " + SIZE + "a list of 1",
            id="size-list",
        ),
        pytest.param(
            "shape: []",
            "shape: [9223372036854775808]",
            "line 12: signatures.serving_default.outputs.score.shape[0]: " + SIZE + "9223372036854775808",
            id="size-beyond-int64",
        ),
        pytest.param(
            "shape: []",
            f"shape: [0x{'f' * 5000}]",
            "line 12: signatures.serving_default.outputs.score.shape[0]: " + SIZE + "0x" + 38 * "f" + "…",
            id="size-endless",
        ),
        pytest.param(
            '"decoder/ids:1"',
            '"decoder:ids:1"',
            "line 11: signatures.serving_default.outputs.ids.tensor: 'decoder:ids:1' is not a tensor's name, "
            "as in logits or logits:0",
            id="tensor-of-three-parts",
        ),
        pytest.param(
            '"decoder/ids:1"',
            '"decoder/ids:"',
            "line 11: signatures.serving_default.outputs.ids.tensor: 'decoder/ids:' is not a tensor's name, "
            "as in logits or logits:0",
            id="tensor-without-number",
        ),
        pytest.param(
            '"decoder/ids:1"',
            '"decoder/ids:1234567890"',
            "line 11: signatures.serving_default.outputs.ids.tensor: 'decoder/ids:1234567890' is not a tensor's name, "
            "as in logits or logits:0",
            id="tensor-with-large-number",
        ),
        pytest.param(
            "signatures:\n",
            "  decode: {logits: 'logits:1234567890'}\nsignatures:\n",
            "line 5: graph.decode.logits: 'logits:1234567890' is not a tensor's name, as in logits or logits:0",
            id="decode-no-logits",
        ),
        pytest.param(
            "signatures:\n",
            "  decode: {logits: logits, sequence_length: 'steps:'}\nsignatures:\n",
            "line 5: graph.decode.sequence_length: 'steps:' is not a tensor's name, as in logits or logits:0",
            id="decode-no-lengths",
        ),
        pytest.param(
            '"decoder/ids:1"',
            '"^decoder"',
            "line 11: signatures.serving_default.outputs.ids.tensor: '^decoder' is not a tensor's name, "
            "as in logits or logits:0",
            id="tensor-control-input",
        ),
        pytest.param(
            "score:",
            '"score:out":',
            "line 12: signatures.serving_default.outputs.score:out: 'score:out' is not a tensor's name, "
            "as in logits or logits:0",
            id="key-that-no-tensor-has",
        ),
        # parity
        pytest.param(
            GOOD[GOOD.index("parity:") :],
            "parity:\n",
            "line 13: parity: a list of cases is expected, each with dims and inputs",
            id="parity-nothing",
        ),
        pytest.param(
            GOOD[GOOD.index("parity:") :],
            "parity: []\n",
            "line 13: parity: a list of cases is expected, each with dims and inputs",
            id="parity-empty",
        ),
        pytest.param(
            "  - dims: {batch: 2, width: 100}\n    inputs:",
            "    dims: {batch: 2, width: 100}\n    inputs:",
            "line 14: parity: a list of cases is expected, each with dims and inputs",
            id="parity-mapping",
        ),
        pytest.param(
            "  - dims:",
            "  - word\n  - dims:",
            "line 14: parity[0]: a mapping (lines of 'name: …') is expected; found word",
            id="case-word",
        ),
        pytest.param(
            GOOD[GOOD.index("    inputs:\n      image: {uniform") :],
            "",
            "line 14: parity[0]: inputs is missing",
            id="case-without-inputs",
        ),
        pytest.param(
            "dims: {batch: 2, width: 100}",
            "dims: [2, 100]",
            "line 14: parity[0].dims: a mapping (lines of 'name: …') is expected; found a list of 2",
            id="dims-list",
        ),
        pytest.param(
            "width: 100", "width: -1", "line 14: parity[0].dims.width: a size is expected; found -1", id="dim-neg"
        ),
        pytest.param(
            "width: 100",
            "width: [1]",
            "line 14: parity[0].dims.width: a size is expected; found a list of 1",
            id="dim-list",
        ),
        pytest.param(
            "width: 100", "width: wide", "line 14: parity[0].dims.width: a size is expected; found wide", id="dim-word"
        ),
        pytest.param(
            "width: 100",
            "width: yes",
            "line 14: parity[0].dims.width: a size is expected; found yes",
            id="dim-truth-value",
        ),
        pytest.param(
            "width: 100",
            "width: 9223372036854775808",
            "line 14: parity[0].dims.width: a size is expected; found 9223372036854775808",
            id="dim-beyond-int64",
        ),
        pytest.param("batch: 2, ", "", "line 14: parity[0].dims: batch is missing", id="dim-missing"),
        pytest.param(
            "width: 100",
            "width: 100, heigth: 3",
            "line 14: parity[0].dims: 'heigth' is not a known dimension of any input; expected batch, width",
            id="dim-unknown",
        ),
        pytest.param(
            "      lengths: {values: [25, 20]}\n",
            "",
            "line 14: parity[0].inputs: lengths is missing",
            id="input-missing",
        ),
        pytest.param(
            "      lengths: {values",
            "      length: {values: 1}\n      lengths: {values",
            "line 14: parity[0].inputs: 'length' is not a known input of any signature; did you mean lengths?",
            id="input-unknown",
        ),
        pytest.param(
            "{values: [25, 20]}",
            "[25, 20]",
            "line 17: parity[0].inputs.lengths: a mapping (lines of 'name: …') is expected; found a list of 2",
            id="input-list",
        ),
        pytest.param(
            "{values: [25, 20]}",
            "{}",
            "line 17: parity[0].inputs.lengths: either uniform: [low, high] or values: […] is expected",
            id="input-empty",
        ),
        pytest.param(
            "{values: [25, 20]}",
            "{values: [25, 20], uniform: [0, 1]}",
            "line 17: parity[0].inputs.lengths: either uniform: [low, high] or values: […] is expected",
            id="input-both",
        ),
        pytest.param(
            "{uniform: [0, 255]}",
            "{unifrom: [0, 255]}",
            "line 16: parity[0].inputs.image: 'unifrom' is not a known key; did you mean uniform?",
            id="input-misspelt",
        ),
        pytest.param(
            "[25, 20]", "[25, ~]", "line 17: parity[0].inputs.lengths.values[1]: " + SCALAR + "~", id="value-null"
        ),
        pytest.param(
            "[25, 20]",
            "{a: 1}",
            "line 17: parity[0].inputs.lengths.values: " + SCALAR + "a mapping",
            id="values-mapping",
        ),
        pytest.param(
            "[25, 20]",
            "[!!binary aaa]",
            "line 17: parity[0].inputs.lengths.values[0]: " + SCALAR + "aaa (failed to decode base64 data: "
            "Incorrect padding)",
            id="value-no-base64",
        ),
        pytest.param(
            "[0, 255]",
            "255",
            "line 16: parity[0].inputs.image.uniform: two numbers are expected, as in [0, 255]; found 255",
            id="range-number",
        ),
        pytest.param(
            "[0, 255]",
            "[0, 1, 2]",
            "line 16: parity[0].inputs.image.uniform: two numbers are expected, as in [0, 255]; found a list of 3",
            id="range-of-three",
        ),
        pytest.param(
            "[0, 255]", "[0, 1e5]", "line 16: parity[0].inputs.image.uniform[1]: " + NUMBER + "1e5", id="range-yaml-1.1"
        ),
        pytest.param(
            "[0, 255]",
            "[no, 1]",
            "line 16: parity[0].inputs.image.uniform[0]: " + NUMBER + "no",
            id="range-truth-value",
        ),
        pytest.param(
            "[0, 255]",
            "[1, 1]",
            "line 16: parity[0].inputs.image.uniform: a smaller and a larger number are expected, as in [0, 255]",
            id="range-of-nothing",
        ),
        pytest.param(
            "[0, 255]",
            "[0, .inf]",
            "line 16: parity[0].inputs.image.uniform: a smaller and a larger number are expected, as in [0, 255]",
            id="range-infinite",
        ),
        pytest.param(
            "[0, 255]",
            "[0, .nan]",
            "line 16: parity[0].inputs.image.uniform: a smaller and a larger number are expected, as in [0, 255]",
            id="range-nan",
        ),
        pytest.param(
            "[0, 255]",
            "[-1.0e+308, 1.0e+308]",
            "line 16: parity[0].inputs.image.uniform: a smaller and a larger number are expected, as in [0, 255]",
            id="range-too-wide",
        ),
        pytest.param(
            "[0, 255]",
            f"[0, 1{'0' * 400}]",
            "line 16: parity[0].inputs.image.uniform: a smaller and a larger number are expected, as in [0, 255]",
            id="range-beyond-float",
        ),
        pytest.param(
            "image: {dtype: float32",
            "image: {dtype: string",
            "line 14: parity[0].inputs.image: a string can't be a random number; values: […] is expected",
            id="range-of-strings",
        ),
        # what YAML can do and a signature file may not
        pytest.param(
            "beams: 10",
            "beams: !!python/name:os.system ''",
            "line 4: the tag !!python/name:os.system is not allowed; write the value alone",
            id="tag-python-name",
        ),
        pytest.param(
            "builder: mine",
            "builder: !!python/name:os.system mine",
            "line 3: the tag !!python/name:os.system is not allowed; write the value alone",
            id="tag-on-a-name",
        ),
        pytest.param(
            "[25, 20]",
            "!!python/tuple [25, 20]",
            "line 17: the tag !!python/tuple is not allowed; write the value alone",
            id="tag-python-tuple",
        ),
        pytest.param(
            "beams: 10", "beams: !!int ten", "line 4: the tag !!int is not allowed; write the value alone", id="tag-int"
        ),
        pytest.param(
            "beams: 10", "beams: !mine 10", "line 4: the tag !mine is not allowed; write the value alone", id="tag-own"
        ),
        pytest.param(
            "score: {dtype: float32, ",
            "score: {<<: {dtype: float32}, ",
            "line 12: merge keys (<<) are not read; write the lines out, or alias the whole value",
            id="merge-key",
        ),
        pytest.param(
            "[25, 20]",
            "&loop [25, *loop]",
            "line 17: the alias *loop refers to a node that contains it; write the value out",
            id="alias-in-its-list",
        ),
        pytest.param(
            "graph:",
            "graph: &loop\n  more: *loop",
            "line 3: the alias *loop refers to a node that contains it; write the value out",
            id="alias-in-its-mapping",
        ),
    ],
)
def test_each_mistake_has_its_message(old, new, problem):
    """One mistake in a good file gives one problem: its line, its place, what stands there and what should."""
    assert refusal(edited(old, new)) == listing(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("word", "line 1: a mapping (lines of 'name: …') is expected; found word", id="word"),
        pytest.param("- a\n- b\n", "line 1: a mapping (lines of 'name: …') is expected; found a list of 2", id="list"),
        pytest.param("---\n", "line 2: a mapping (lines of 'name: …') is expected; found nothing", id="dashes"),
        pytest.param(
            "&a [*a]",
            "line 1: the alias *a refers to a node that contains it; write the value out",
            id="list-of-itself",
        ),
        pytest.param(
            "[" * 50 + "]" * 50, "line 1: a mapping (lines of 'name: …') is expected; found a list of 1", id="50"
        ),
    ],
)
def test_what_is_yaml_but_no_signature_file(text, problem):
    """A file of another shape is refused as such, however odd."""
    assert refusal(text) == listing(problem)


def test_all_mistakes_are_told_at_once():
    """A file with many mistakes is refused once, with a line for each, in the order in which the parts are checked."""
    text = """\
format: 3
graph:
  bilder: crnn
  options: {scope: , beams: [1]}
signatures:
  default:
    inputs:
      image: {dtype: flaot32, shape: [batch, -1]}
    outputs: {}
parity:
  - dims: {width: 100}
    inputs: {picture: {uniform: [1, 0]}}
more: 1
"""
    assert refusal(text) == listing(
        "line 13: 'more' is not a known key; expected format, signatures, graph, options, parity",
        "line 1: format: 1, the only format that this version of ckpt2saved reads, is expected; found 3",
        "line 3: graph: 'bilder' is not a known key; did you mean builder?",
        "line 4: graph.options: a graph that is read from a file takes no options",
        "line 4: graph.options.scope: a number, a word, true or false is expected; found nothing",
        "line 4: graph.options.beams: a number, a word, true or false is expected; found a list of 1",
        "line 6: signatures: serving_default is missing, the signature of requests that name none; "
        "rename 'default' if it is meant",
        "line 8: signatures.default.inputs.image.dtype: 'flaot32' is not a known dtype; did you mean float32?",
        "line 8: signatures.default.inputs.image.shape[1]: " + SIZE + "-1",
        "line 9: signatures.default.outputs: at least one is needed",
        "line 12: parity[0].inputs.picture.uniform: a smaller and a larger number are expected, as in [0, 255]",
        "line 11: parity[0].inputs: image is missing",
        "line 11: parity[0].dims: batch is missing",
    )


def test_a_mistake_in_one_part_hides_none_in_another():
    """Parity cases are checked against the signatures whatever else is wrong."""
    text = edited("format: 1", "format: 2").replace("batch: 2, width: 100", "batch: 2, width: 100, wide: 1")
    assert refusal(text) == listing(
        FORMAT + "2",
        "line 14: parity[0].dims: 'wide' is not a known dimension of any input; did you mean width?",
    )


def test_every_refused_yaml_feature_is_told_at_once():
    """Tags, merge keys and loops are all listed, before anything is made of the rest."""
    text = "a: !!python/name:os.system x\nb: {<<: {}}\nc: &c [*c]\nd: !!set {x}\n"
    assert refusal(text) == listing(
        "line 1: the tag !!python/name:os.system is not allowed; write the value alone",
        "line 2: merge keys (<<) are not read; write the lines out, or alias the whole value",
        "line 3: the alias *c refers to a node that contains it; write the value out",
        "line 4: the tag !!set is not allowed; write the value alone",
    )


def test_the_problems_are_on_the_exception():
    """Whoever catches the error gets the problems as a list, not just as text."""
    with pytest.raises(SignatureError) as caught:
        parse_model("word", SOURCE)
    assert tuple(texts(caught.value.problems)) == ("line 1: a mapping (lines of 'name: …') is expected; found word",)


@pytest.mark.parametrize("place", ["beams: 10", "builder: mine", "format: 1", "[25, 20]"])
def test_nothing_in_a_signature_file_is_ever_run(place, tmp_path):
    """A tag that asks Python to make an object, here a directory, is refused unread wherever it stands."""
    made = tmp_path / "made"
    key = place.partition(": ")[0] + ": " if ": " in place else ""
    text = edited(place, f"{key}!!python/object/apply:os.mkdir ['{made}']")
    assert "the tag !!python/object/apply:os.mkdir is not allowed; write the value alone" in refusal(text)
    assert not made.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            GOOD.replace("  builder", "\tbuilder"),
            ":3: this can't be read as YAML: found character '\\t' that cannot start any token",
            id="tab",
        ),
        pytest.param(
            "a: [1, 2\n", ":2: this can't be read as YAML: expected ',' or ']', but got '<stream end>'", id="bracket"
        ),
        pytest.param("a: *b\n", ":1: this can't be read as YAML: found undefined alias 'b'", id="undefined-alias"),
        pytest.param(
            "a: 1\n---\nb: 2\n",
            ":2: this can't be read as YAML: expected a single document in the stream, but found another document",
            id="two-documents",
        ),
        pytest.param(
            "[" * 51 + "]" * 51, ":1: this can't be read as YAML: it is nested more than 50 deep", id="51-deep"
        ),
        pytest.param(
            GOOD.replace("[25, 20]", "[" * 400 + "]" * 400),
            ":17: this can't be read as YAML: it is nested more than 50 deep",
            id="nested-lists",
        ),
        pytest.param(
            "{a: " * 9000 + "}" * 9000,
            ":1: this can't be read as YAML: it is nested more than 50 deep",
            id="nested-maps",
        ),
        pytest.param(
            "a: 1\nb: \x07\n", ":2: this can't be read as YAML: unacceptable character U+0007", id="control-character"
        ),
        pytest.param(
            "%YAML 3.0\n---\na: 1\n",
            ":1: this can't be read as YAML: found incompatible YAML document (version 1.* is required)",
            id="version",
        ),
        pytest.param(
            'a: "\\U00110000"', ": this can't be read as YAML: chr() arg not in range(0x110000)", id="no-such-character"
        ),
    ],
)
def test_what_is_not_yaml(text, message):
    """A file that is not YAML is refused with its line, and without a page of parser talk."""
    assert refusal(text) == f"{SOURCE}{message}"


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n"], ids=["0-bytes", "blank-lines", "comment"])
def test_an_empty_file(text):
    """A file without content is told where to find good ones."""
    assert refusal(text) == f"{SOURCE}: the file is empty; the built-in ones lie in {signature_folder()}"


# Files.


def test_the_built_in_models():
    """The names that --model takes are those of the files, each of which is right."""
    assert builtin_models() == ["crnn", "ctpn", "ocr"]
    for name in builtin_models():
        model = load_model(name, {"charset": str(EXAMPLE / "charset.txt")})
        assert (model.name, model.builder, model.source) == (name, name, signature_folder() / (name + ".yaml"))
        assert model.parity


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"),
    [
        pytest.param(
            "crnn", ["input_data", "input_batch_size"], ["output_indices", "output_values", "output_shape"], id="crnn"
        ),
        pytest.param("ctpn", ["input_image", "input_im_info"], ["output_bbox_pred", "output_cls_prob"], id="ctpn"),
    ],
)
def test_the_names_of_the_original_system_are_kept(model, inputs, outputs):
    """Clients of the original exports find their inputs and outputs in serving_default."""
    default = load_model(model).signatures[0]
    assert default.name == "serving_default"
    assert ([spec.key for spec in default.inputs], [spec.key for spec in default.outputs]) == (inputs, outputs)


@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml"])
def test_a_file_of_ones_own(name, tmp_path):
    """A path that ends in .yaml or .yml is a file, and its name is the model's."""
    path = tmp_path / name
    path.write_text(GOOD, encoding="utf-8")
    model = load_model(str(path))
    assert (model.name, model.source, model.signatures) == ("mine", path, MODEL.signatures)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param(
            "crn",
            "--model: there is no built-in model 'crn', did you mean crnn?; there are crnn, ctpn, ocr, or pass the path of "
            "a signature file ending in .yaml",
            id="misspelt",
        ),
        pytest.param(
            "resnet",
            "--model: there is no built-in model 'resnet'; there are crnn, ctpn, ocr, or pass the path of a signature file "
            "ending in .yaml",
            id="unknown",
        ),
        pytest.param(
            "",
            "--model: there is no built-in model ''; there are crnn, ctpn, ocr, or pass the path of a signature file "
            "ending in .yaml",
            id="empty",
        ),
        pytest.param(
            "nowhere/crn.yaml",
            "--model: there is no signature file nowhere/crn.yaml; did you mean the built-in model crnn?",
            id="no-file-near-a-built-in",
        ),
        pytest.param("nowhere/mine.yml", "--model: there is no signature file nowhere/mine.yml", id="no-file"),
        pytest.param(
            __file__ + "/mine.yml",
            f"--model: there is no signature file {__file__}/mine.yml",
            id="below-a-file",
        ),
    ],
)
def test_a_model_that_is_not_there(model, message):
    """An unknown model is a wrong command line, and near misses are suggested."""
    with pytest.raises(UsageError) as caught:
        load_model(model)
    assert (str(caught.value), caught.value.exit_code) == (message, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            b"a: 1\nb: \xe9\n",
            ":2: this is not UTF-8 text (byte 0xe9); a signature file is YAML in UTF-8",
            id="latin-1",
        ),
        pytest.param(
            b"\x89PNG\r\n\x1a\n",
            ":1: this is not UTF-8 text (byte 0x89); a signature file is YAML in UTF-8",
            id="image",
        ),
        pytest.param(
            GOOD.encode("utf-16"),
            ":1: this is not UTF-8 text (byte 0xff); a signature file is YAML in UTF-8",
            id="utf-16",
        ),
        pytest.param(b"\x0a\x00\x00\x01", ":2: this can't be read as YAML: unacceptable character U+0000", id="binary"),
    ],
)
def test_a_file_that_is_no_text(content, message, tmp_path):
    """Bytes that are no text are refused with the first of them that tells."""
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(SignatureError) as caught:
        load_model(str(path))
    assert str(caught.value) == f"{path}{message}"


def test_a_directory_instead_of_a_file(tmp_path):
    """A directory is not taken for a missing file."""
    (tmp_path / "mine.yaml").mkdir()
    with pytest.raises(SignatureError) as caught:
        load_model(str(tmp_path / "mine.yaml"))
    assert str(caught.value) == f"{tmp_path / 'mine.yaml'}: can't be read: Is a directory"


def test_a_name_that_no_file_can_have():
    """What the file system refuses is passed on in its words."""
    path = "x" * 300 + ".yaml"
    with pytest.raises(SignatureError) as caught:
        load_model(path)
    assert str(caught.value) == f"{path}: can't be read: File name too long"


def test_an_installation_without_the_built_in_files(monkeypatch, tmp_path):
    """Without the built-in files the message says where they were looked for, and what to do."""
    folders = (tmp_path / "inside", tmp_path / "beside")
    monkeypatch.setattr(signature_file, "_FOLDERS", folders)
    with pytest.raises(SignatureError) as caught:
        builtin_models()
    assert str(caught.value) == (
        "the signatures of the built-in models are not installed: there is neither {} nor {}; install ckpt2saved "
        "again, or pass --model the path of a signature file".format(*folders)
    )


@pytest.mark.parametrize("which", [0, 1], ids=["inside", "beside"])
def test_the_built_in_files_are_found_in_a_wheel_and_in_a_checkout(which, monkeypatch, tmp_path):
    """The folder lies inside the package or beside it."""
    folders = (tmp_path / "inside", tmp_path / "beside")
    folders[which].mkdir()
    monkeypatch.setattr(signature_file, "_FOLDERS", folders)
    assert signature_folder() == folders[which]
    (folders[which] / "b.yaml").write_text(GOOD, encoding="utf-8")
    (folders[which] / "a.yaml").write_text(GOOD, encoding="utf-8")
    (folders[which] / os.path.basename(__file__)).write_text("", encoding="utf-8")
    assert builtin_models() == ["a", "b"]
