"""Golden texts of signature files, options and files with requests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ckpt2saved.requests.given import fitted
from ckpt2saved.requests.parity import case_inputs
from ckpt2saved.requests.warm_up.arrays import requests_of_file
from ckpt2saved.requests.warm_up.pictures import requests_of_pictures
from ckpt2saved.requests.warm_up.source import warm_up_source
from ckpt2saved.signature.arguments import model_of_arguments
from ckpt2saved.signature.file import load_model, parse_model
from ckpt2saved.signature.model import ExampleInput, ParityCase
from ckpt2saved.signature.steps import Bigrams
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.sources.steps.language_models import read_language_model
from ckpt2saved.verification.accuracy.labels import read_labels
from tests.support.golden_texts.finding import FILE, of_file, raised

X, Y = TensorSpec("x", "x:0", "float32", ("batch", 2)), TensorSpec("y", "y:0", "float32", ("batch",))
LENGTHS = TensorSpec("lengths", "lengths:0", "int32", ("batch",))
PICTURES = Signature("dense", (TensorSpec("image", "image:0", "float32", ("batch", 32, "width", 3)),), (Y,))


def given(**arrays):
    return raised(lambda folder: fitted(Signature("dense", (X,), (Y,)), arrays, "in.npz"))


def of_arrays(**arrays):
    def call(folder):
        np.savez(str(folder / "in.npz"), **arrays)
        requests_of_file(folder / "in.npz", [Signature("dense", (X, LENGTHS), (Y,))])

    return raised(call)


def of_picture(signature):
    def call(folder):
        (folder / "line.png").write_bytes(b"no picture")
        served = SimpleNamespace(signatures={signature.name: signature})
        network = SimpleNamespace(serving=served)
        case = ParityCase({}, {spec.key: ExampleInput((0, 1), None) for spec in signature.inputs})
        requests_of_pictures([folder / "line.png"], network, case, [signature], None)

    return raised(call)


def of_warmup(*values, none=False):
    return raised(lambda folder: warm_up_source(load_model("crnn"), values, none=none))


def of_example(values):
    model = parse_model(FILE, Path("own.yaml"))
    return raised(lambda folder: case_inputs(model, ParityCase({"batch": 2}, {"x": ExampleInput(None, values)})))


def of_labels(count):
    def call(folder):
        (folder / "labels.txt").write_text("none.png\n" * count)
        read_labels(folder / "labels.txt")

    return raised(call)


WITH_CHARACTERS = """\
    postprocess: [{characters: {file: none.txt}}]
    inputs: """

OTHER = "{inputs: {x: {dtype: int32, shape: []}}, outputs: {z: {dtype: int32, shape: []}}}"


def counted(folder):
    """What is said about the pairs of a text."""
    text = folder / "corpus.txt"
    text.write_text("abba\nxa", "utf-8")
    return read_language_model(Bigrams(text), ["a", "b"], 3, "decoder")[1]


CASES = [
    (
        "language-model",
        counted,
        "{folder}/corpus.txt: the pairs of 5 characters are counted; 1 other characters have no class",
    ),
    ("array-dtype", given(x=np.zeros([1, 2], complex)), "x: complex128, expected float32"),
    (
        "array-records",
        of_arrays(x=np.zeros([1, 2, 2], "float32"), lengths=np.zeros([2, 1], "int32")),
        "1 of x, 2 of lengths: the same number of records of each is expected, and at least one",
    ),
    ("array-shape", given(x=np.zeros([1, 3], "float32")), "x: the shape [1, 3], expected [?, 2]"),
    (
        "character-file",
        of_file("    inputs: ", WITH_CHARACTERS),
        "line 4: signatures.serving_default.postprocess[0].characters: {folder}/none.txt: can't be read:"
        " No such file or directory",
    ),
    (
        "conflicting-inputs",
        of_file("signatures:\n", f"signatures:\n  other: {OTHER}\n"),
        "line 3: signatures.serving_default.inputs.x: it has another dtype or shape in signature other;"
        " give one of the two another key, and name its tensor with 'tensor: …'",
    ),
    ("conflicting-options", of_warmup(1, none=True), "--no-warmup: not with --warmup or --warmup-signature"),
    ("duplicate-key", of_file("format: 1", "format: 1\nformat: 1"), "line 2: format is given twice"),
    ("example-input", of_example("a"), "parity[0].inputs.x: the values are not float32"),
    (
        "inapplicable-key",
        of_file("format: 1", "format: 1\ngraph: {options: {beam_width: 1}}"),
        "line 2: graph.options: a graph that is read from a file takes no options",
    ),
    ("missing-input", given(), "x float32 [?, 2]: missing"),
    ("missing-key", of_file("format: 1\n", ""), "line 1: format is missing"),
    (
        "missing-option",
        raised(lambda folder: model_of_arguments([], [Y], None)),
        "--input: missing; pass --input NAME=TENSOR for each tensor that a request feeds",
    ),
    ("more-problems", of_labels(1000), "and 950 more"),
    ("not-a-picture", of_picture(PICTURES), "{folder}/line.png: no PNG or JPEG picture"),
    (
        "picture-input",
        of_picture(Signature("dense", (X,), (Y,))),
        "dense: one input for the picture is expected, numbers [batch, height, width, channels] or a"
        " file as a string; found none among x float32 [batch, 2]",
    ),
    ("signature-left-out", lambda folder: load_model("crnn").notes, "text: left out: it needs --option charset=VALUE"),
    (
        "too-many-warmup-requests",
        of_warmup(1001),
        "--warmup: 1001 records, and TF Serving loads no version with more than 1000",
    ),
    ("unknown-input", given(z=np.zeros(1)), "z: the signature has no such input"),
    (
        "unknown-key",
        of_file("format: 1", "format: 1\nmore: 1"),
        "line 2: 'more' is not a known key; expected format, signatures, graph, options, parity",
    ),
    (
        "wrong-type",
        of_file("format: 1", "format: one"),
        "line 1: format: 1, the only format that this version of ckpt2saved reads, is expected; found one",
    ),
    (
        "wrong-value",
        of_file("format: 1", "format: 2"),
        "line 1: format: 1, the only format that this version of ckpt2saved reads, is expected; found 2",
    ),
    (
        "yaml-construct",
        of_file("format: 1", "format: !!set {1}"),
        "line 1: the tag !!set is not allowed; write the value alone",
    ),
]
