"""The importable client: one address, one deadline for all that a call sends, and retries of what is safe."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

from ckpt2saved.client import Client, NoServing, Refused, TimedOut, Unknown, Unreachable
from ckpt2saved.client.address import parse_model_address
from ckpt2saved.client.clock import Clock
from ckpt2saved.errors import ServerError, UsageError
from tests.support.command_line import python
from tests.support.hostile_server import OK, answering, body
from tests.support.model_server import serving_grpc, serving_rest
from tests.support.saved_models import write_version

PICTURES = [b"\x89PNG\x00\xff\x00", b"", b"GIF\x00"]


def sizes(version, name="image_bytes"):
    """A SavedModel that answers the number of bytes of each string and the string itself."""
    from ckpt2saved.graph.tf1 import tf

    def build(x):
        return {"size": tf.cast(tf.strings.length(x), tf.int32), "copy_bytes": tf.identity(x)}

    return write_version(version, build, "string", (None,), key=name)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model of one version. Not to be written to."""
    base = tmp_path_factory.mktemp("served") / "m"
    base.mkdir()
    sizes(base / "1")
    return base


@pytest.fixture(params=["rest", "grpc"])
def server(request, base):
    if request.param == "grpc":
        pytest.importorskip("grpc")
        pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    with (serving_rest if request.param == "rest" else serving_grpc)(base, "m") as server:
        yield server


class FakeTime:
    """A clock that sleeping moves on."""

    def __init__(self):
        self.time = 0.0
        self.pauses = []

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.time += seconds

    @property
    def clock(self):
        return Clock(lambda: self.time, self.sleep)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("http://host/v1/models/crnn", "http://host:8501/v1/models/crnn"),
        ("http://host/v1/models/crnn:predict", "http://host:8501/v1/models/crnn"),
        ("https://host/proxy/v1/models/crnn/versions/3/metadata", "https://host:443/proxy/v1/models/crnn/versions/3"),
        ("grpc://host/v1/models/crnn/versions/3", "grpc://host:8500/v1/models/crnn/versions/3"),
        ("http://host/v1/models/a%20%C3%A4/", "http://host:8501/v1/models/a%20%C3%A4"),
        ("http://host", "http://host:8501"),
    ],
)
def test_addresses_of_models(text, shown):
    """A path of the REST API names the model, also for gRPC; what a client appends to it is left out."""
    assert str(parse_model_address(text)) == shown
    assert parse_model_address("http://host/v1/models/a%20%C3%A4").model == "a \u00e4"


@pytest.mark.parametrize(
    "text",
    [
        "http://host/v1/models/",
        "http://host/v1/models/m/versions/x",
        "http://host/v1/models/m/versions/9223372036854775808",
        "http://host/v1/models/m/labels/stable",
        "http://host/v1/models/m?token=secret",
        "http://host/v1/models/me:secret@m",
        "http://me:secret@host/v1/models/m",
    ],
)
def test_bad_addresses_of_models(text):
    """What was expected is said, and no secret."""
    with pytest.raises(ValueError, match="expected http://HOST:8501") as caught:
        parse_model_address(text)
    assert "secret" not in str(caught.value)


def test_an_address_needs_one_name():
    """From the path or beside it, and not two."""
    assert Client("http://host", "m").address.model == Client("http://host/v1/models/m", "m").address.model == "m"
    with pytest.raises(ValueError, match="a server may have several models; pass http://host:8501/v1/models/NAME"):
        Client("http://host")
    with pytest.raises(ValueError, match="this address is of the model m, and the name that is given is n"):
        Client("http://host/v1/models/m", "n")


@pytest.mark.parametrize(
    "more", [{"timeout": 0}, {"timeout": float("nan")}, {"timeout": float("inf")}, {"retries": -1}]
)
def test_limits_are_numbers(more):
    """Refused when the client is made."""
    with pytest.raises(ValueError, match="retries|timeout"):
        Client("http://host", "m", **more)


def test_a_model_is_asked_by_its_signature(server):
    """State, signatures and answers; pictures keep their zero bytes."""
    client = Client(server.url, "m")
    assert [(one.version, one.state) for one in client.status()] == [(1, "AVAILABLE")]
    (signature,) = client.signatures().values()
    assert signature.name == "serving_default"
    assert [(spec.key, spec.dtype, spec.shape) for spec in signature.inputs] == [("image_bytes", "string", (None,))]
    answers = client.predict("serving_default", {"image_bytes": PICTURES})
    assert answers["size"].tolist() == [7, 0, 4] and answers["size"].dtype == np.int32
    assert answers["copy_bytes"].tolist() == PICTURES
    one = Client(f"{server.url}/v1/models/m/versions/1").predict("serving_default", {"image_bytes": [b"abc"]})
    assert one["size"].tolist() == [3]
    assert len([path for path in server.asked if "etadata" in path]) == 2  # one for each client


def test_threads_share_a_client(server):
    """It holds no connection."""
    client, found = Client(server.url, "m"), {}

    def ask(number):
        found[number] = client.predict("serving_default", {"image_bytes": [b"x" * number]})["size"].tolist()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [number] for number in range(8)}


@pytest.mark.parametrize(
    "signature, inputs, message",
    [
        ("text", {}, "there is no signature text; expected one of serving_default"),
        ("serving_default", {}, r"image_bytes string \[\?\]: missing"),
        ("serving_default", {"image_bytes": b"x"}, r"image_bytes: the shape \[\], expected \[\?\]"),
        ("serving_default", {"image_bytes": [1]}, "image_bytes: object, expected strings"),
        ("serving_default", {"image_bytes": np.ones(1)}, "image_bytes: float64, expected strings"),
        ("serving_default", {"image_bytes": [b"x"], "more": 1}, "more: the signature has no such input"),
    ],
)
def test_inputs_that_do_not_fit_are_not_sent(server, signature, inputs, message):
    """Every problem, before the request."""
    with pytest.raises(UsageError, match=message):
        Client(server.url, "m").predict(signature, inputs)
    assert not [path for path in server.asked if "redict" in path]


def test_another_version_with_other_signatures(tmp_path):
    """A long-lived client reads the signatures again when its request does not fit them any more."""
    sizes(tmp_path / "m" / "1")
    with serving_rest(tmp_path / "m", "m") as server:
        client = Client(server.url, "m")
        client.predict("serving_default", {"image_bytes": [b"abc"]})
        sizes(tmp_path / "m" / "2", "picture_bytes")
        assert client.predict("serving_default", {"picture_bytes": [b"abc"]})["size"].tolist() == [3]
        with pytest.raises(UsageError, match="image_bytes: the signature has no such input"):
            client.predict("serving_default", {"image_bytes": [b"abc"]})


def test_a_server_that_is_too_busy_is_asked_again(server):
    """After growing pauses, as often as told."""
    time = FakeTime()
    client = Client(server.url, "m", clock=time.clock)
    server.busy = 3
    assert client.predict("serving_default", {"image_bytes": [b"abc"]})["size"].tolist() == [3]
    assert len(time.pauses) == 3 and 0.1 <= time.pauses[0] <= 0.2 and 0.4 <= time.pauses[2] <= 0.8
    server.busy = 9
    with pytest.raises(Refused) as caught:
        client.predict("serving_default", {"image_bytes": [b"abc"]})
    assert "signature serving_default: the server responds with an error: " in str(caught.value)
    assert "submitted is full; currently at 100 tasks (more requests wait than the server takes" in str(caught.value)
    assert caught.value.may_repeat and server.busy == 5


def test_nothing_is_sent_after_the_deadline(server):
    """A pause that would end after it is not begun."""
    time = FakeTime()
    server.busy = 9
    with pytest.raises(Refused, match="is full"):
        Client(server.url, "m", retries=99, timeout=2, clock=time.clock).predict(
            "serving_default", {"image_bytes": [b"abc"]}
        )
    assert time.time < 2 and server.busy > 0


def closed_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_refused_connection_is_tried_again(scheme):
    """Then it is an error that can be told from others."""
    if scheme == "grpc":
        pytest.importorskip("grpc")
    time = FakeTime()
    url = f"{scheme}://127.0.0.1:{closed_port()}/v1/models/m"
    with pytest.raises(Unreachable) as caught:
        Client(url, clock=time.clock).status()
    assert len(time.pauses) == 3 and str(caught.value).startswith(url + ": ")
    assert isinstance(caught.value, ServerError) and caught.value.exit_code == 1


def test_what_may_have_been_begun_is_not_sent_again():
    """A request that timed out, or whose answer broke off."""
    time = FakeTime()
    with answering(OK + b"\r\n{", forever=b" ", pause=0.05) as url:
        with pytest.raises(TimedOut, match=r"no response within 0\.3 s"):
            Client(url, "m", timeout=0.3, clock=time.clock).signatures()
    with answering(OK + b"Content-Length: 99\r\n\r\n{") as url:
        with pytest.raises(Unreachable, match="the answer broke off"):
            Client(url, "m", clock=time.clock).signatures()
    assert time.pauses == []


def test_a_model_that_the_server_does_not_have(server):
    """Unknown for all calls."""
    for call in (lambda client: client.signatures(), lambda client: client.predict("x", {})):
        with pytest.raises(Unknown, match="v1/models/n: the server has no such model, or has not loaded it: "):
            call(Client(server.url, "n"))


SIGNATURE = {"inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}]}, "name": "x:0"}}}


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"metadata": []},
        {"metadata": {"signature_def": {"signature_def": []}}},
        {"metadata": {"signature_def": {"signature_def": {"s": 1}}}},
        {"metadata": {"signature_def": {"signature_def": {"s": {"inputs": {"x": {"dtype": 1}}}}}}},
        {"metadata": {"signature_def": {"signature_def": {"s": {"inputs": [1]}}}}},
        {"model_spec": {"version": "9" * 5000}, "metadata": {"signature_def": {"signature_def": {"s": SIGNATURE}}}},
        {
            "metadata": {
                "signature_def": {"signature_def": {"s": {"inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": 7}}}}}
            }
        },
    ],
    ids=lambda content: str(content)[:60],
)
def test_metadata_that_is_none(content):
    """Of any type."""
    with answering(body(content)) as url:
        with pytest.raises(NoServing, match="this is not a response of TF Serving"):
            Client(url, "m").signatures()


def test_metadata_of_another_version():
    """A proxy that answers with whatever it has."""
    content = {"model_spec": {"version": "2"}, "metadata": {"signature_def": {"signature_def": {"s": SIGNATURE}}}}
    with answering(body(content)) as url:
        with pytest.raises(NoServing, match="requested version 1, but the response is from version 2"):
            Client(url + "/v1/models/m/versions/1").signatures()


def test_metadata_of_no_size():
    """It is not read to its end."""
    with answering(OK + b"\r\n", forever=b" " * (1 << 20)) as url:
        with pytest.raises(NoServing, match="the answer is larger than the 8192 KB that are read"):
            Client(url, "m").signatures()


def test_the_import_has_no_effect():
    """No TensorFlow, no click, no numpy before the client is used; only the names that are meant for programs."""
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'click', 'rich'): sys.modules[name] = None\n"
        "import ckpt2saved.client\n"
        "assert 'numpy' not in sys.modules\n"
        "from ckpt2saved.client import *\n"
        "print(Client, Refused)\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stdout
    with pytest.raises(ImportError):
        from ckpt2saved.client import Other  # noqa: F401


@pytest.mark.parametrize("of_user, found", [(None, "false"), ("true", "true")])
def test_grpc_leaves_forks_alone(monkeypatch, of_user, found):
    """Its handlers can end a process that starts another one; whoever wants them has them."""
    pytest.importorskip("grpc")
    monkeypatch.delenv("GRPC_ENABLE_FORK_SUPPORT", raising=False)
    if of_user:
        monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", of_user)
    done = python("import os, ckpt2saved.client.rpc; print(os.environ['GRPC_ENABLE_FORK_SUPPORT'])")
    assert done.stdout == found + "\n"
