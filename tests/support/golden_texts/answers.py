"""Golden texts of answers: of files, a checkpoint and a server."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from ckpt2saved.answers.onednn import _Found
from ckpt2saved.answers.predictions import Prediction
from ckpt2saved.answers.proof import Proof
from ckpt2saved.answers.server_answers import ServerReport, run_on_server
from ckpt2saved.answers.server_asker import Target
from ckpt2saved.answers.server_requests import ServerRequests
from ckpt2saved.client.clock import Clock
from ckpt2saved.client.server import Refused, Unreachable
from ckpt2saved.client.waiting import TIMED_OUT, Arrival
from ckpt2saved.errors import NotServable
from ckpt2saved.requests.files import read_given
from ckpt2saved.requests.made_up_by_shape import make_by_shape
from ckpt2saved.requests.request import Request
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.verification.comparison import _answerable, run_on_checkpoint
from tests.support.versions import make_version


class Server:
    """Answers each request with the next of these errors, and then with zeros."""

    address = "http://server:8501"

    def __init__(self, *errors):
        self.errors = list(errors)

    def predict(self, call, timeout):
        if self.errors:
            raise self.errors.pop(0)
        return {output.key: np.zeros([2, 3], "float32") for output in call.outputs}


def asked(*errors):
    """Problems and notes of a request to a server."""

    def found(folder):
        target = Target(Server(*errors), "crnn", 1, make_version(folder, "1"))
        request = Request("in.npz", "serving_default", {"x": np.zeros([2, 2], "float32")}, is_of_known_size=True)
        clock = Clock(sleep=lambda seconds: None)
        answered = run_on_server(target, ServerRequests((request,), None), 60.0, clock)
        return answered.problems + answered.notes

    return found


def not_live(folder):
    arrival = Arrival(TIMED_OUT, 600.0, (), "crnn 2 was not seen within 600 s")
    return ServerReport("http://server:8501", "crnn", 2, arrival, None).problems


def with_checkpoint(*signatures, sha256="0"):
    """What is found where a version is compared with a checkpoint of a model with other signatures."""

    def found(folder):
        recorded = {
            "signatures": ["dense", "serving_default"],
            "checkpoint": {"name": "model.ckpt-7", "step": 7, "sha256": "1"},
        }
        version = make_version(folder, "1", provenance=recorded)
        checkpoint = SimpleNamespace(sha256=lambda: sha256, prefix=folder / "model.ckpt-9")
        source = SimpleNamespace(noun="checkpoint")
        plan = SimpleNamespace(model=SimpleNamespace(signatures=signatures), checkpoint=checkpoint, source=source)
        reference = run_on_checkpoint(SimpleNamespace(graph=plan), version)
        return reference.problems + reference.notes

    return found


class WithOnednn:
    """A process that answers so, and ends at a tensor of rank 3."""

    has_ended = False

    def __init__(self, answers):
        self._answers = answers

    def answers(self, request):
        if request.inputs["x"].ndim == 3:
            self.has_ended = True
            raise NotServable("the process has ended")
        return self._answers


def with_onednn(answers):
    """The notes on a process that answers so, where 1 and 2 are expected."""
    found = _Found(WithOnednn(answers))
    request = Request("parity[0]", "default", {"x": np.zeros([1, 32, 100, 3])})
    found.ask([request], [{"ids": np.array([1, 2])}])
    found.ask_wrongly([request])
    return found.result().notes


def too_slow(folder):
    request = Request("parity[0]", "dense", {}, outputs=("score",), inner_feeds={"logits:0": np.zeros(1)})
    return _answerable(Proof((request,), ({},), (request,)), ["x"])[1]


X, Y = TensorSpec("x", "x:0", "float32", ("batch", 2)), TensorSpec("y", "y:0", "float32", ("batch", 3))
STRINGS = Signature("text", (TensorSpec("image_bytes", "x:0", "string", ("batch",)),), (Y,))
IDS = Signature("dense", (TensorSpec("ids", "x:0", "int32", (None,)),), (Y,))

CASES = [
    (
        "missing-signature",
        with_checkpoint(Signature("dense", (X,), (Y,))),
        "dense: the model has this signature, the version does not",
    ),
    (
        "no-answer",
        asked(Unreachable("the server closed the connection")),
        "in.npz: serving_default: no answer: the server closed the connection",
    ),
    (
        "onednn-differs",
        lambda folder: with_onednn({"ids": np.array([1, 3])}),
        "parity[0]: default.ids: with oneDNN on it answers differently: 1 of 2 values differ; set"
        " TF_ENABLE_ONEDNN_OPTS=0 in the server's environment, as serving-config does",
    ),
    (
        "onednn-ends-server",
        lambda folder: with_onednn({"ids": np.array([1, 2])}),
        "signature default: with oneDNN on, a request of the wrong rank (x [32, 100, 3]) ends the process: a server of"
        " 2.9 or later, whose default is oneDNN on, ends with it, and with all the models that it serves; with"
        " TF_ENABLE_ONEDNN_OPTS=0, and before 2.9, it answers INVALID_ARGUMENT; set TF_ENABLE_ONEDNN_OPTS=0 in the"
        " server's environment, as serving-config does, or let no client reach the server that can send such a request",
    ),
    (
        "not-compared",
        too_slow,
        "parity[0]: signature dense: not compared with the checkpoint: score; TensorFlow's beam search"
        " would take too long for all lines, and the version has no logits:0 to give it fewer;"
        " --parity-seconds gives it more time",
    ),
    ("not-live", not_live, "crnn 2 was not seen within 600 s"),
    (
        "not-run",
        lambda folder: make_by_shape(folder, {"text": STRINGS}).unasked,
        "text: not run: image_bytes takes strings, which can't be guessed; pass a valid request with --inputs FILE.npz",
    ),
    (
        "other-checkpoint",
        with_checkpoint(),
        "the version says that it was exported from another checkpoint: model.ckpt-7, step 7",
    ),
    (
        "other-keys",
        with_checkpoint(Signature("serving_default", (X,), (TensorSpec("score", "y:0", "float32", ()),))),
        "serving_default: x -> score in the model, x -> y in the version",
    ),
    (
        "refused-request",
        asked(*2 * [Refused("HTTP 400", "y is broken")]),
        "in.npz: serving_default: the server responds with an error: HTTP 400: y is broken (twice; on a"
        " server that batches, another client's request in the same batch can be the reason)",
    ),
    (
        "retried-request",
        asked(Refused("HTTP 400", "y is broken")),
        "in.npz: serving_default: succeeded at the second attempt; at the first: HTTP 400: y is broken;"
        " on a server that batches, another client's request in the same batch can be the reason",
    ),
    (
        "other-inputs",
        lambda folder: [read_given(str(folder / "a.png"), IDS).problem],
        "{folder}/a.png: not an array; dense takes ids int32 [?]: expected a .npy file",
    ),
    ("unread-picture", lambda folder: [Prediction("a.png", status=4).unread], "a.png: damaged"),
]
