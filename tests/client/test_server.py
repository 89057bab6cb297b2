"""A running server is asked in its own terms, by REST and by gRPC, and what it says is told in ours."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading

import numpy as np
import pytest

from ckpt2saved.client.address import parse_address
from ckpt2saved.client.clock import Clock
from ckpt2saved.client.connection import connect
from ckpt2saved.client.explanations import PUBLISH_HIGHER, explained
from ckpt2saved.client.json_values import from_json, to_json
from ckpt2saved.client.pruning import held_versions
from ckpt2saved.client.server import NoServing, PredictCall, Unreachable
from ckpt2saved.client.waiting import wait_until_live
from ckpt2saved.errors import NotLive, ServerError
from ckpt2saved.files.protobuf.tensor_proto import decode_tensor, encode_tensor
from tests.support.command_line import python
from tests.support.model_server import serving_grpc, serving_rest
from tests.support.versions import version_of


@pytest.mark.parametrize(
    "text, shown",
    [
        ("http://host:8501", "http://host:8501"),
        ("http://host", "http://host:8501"),
        ("https://host/serving/", "https://host:443/serving"),
        ("grpc://host", "grpc://host:8500"),
        ("grpc://[::1]:7", "grpc://[::1]:7"),
    ],
)
def test_addresses(text, shown):
    """The ports of TF Serving's images stand where none is given."""
    assert str(parse_address(text)) == shown


@pytest.mark.parametrize(
    "text, message",
    [
        ("localhost:8501", "'localhost:8501' is not a server address; expected http://HOST:8501 for REST"),
        ("ftp://host", "'ftp://host' is not a server address"),
        ("http://:8501", "there is no host in it"),
        ("http://host:no", "its port is no number from 1 to 65535"),
        ("http://host:70000", "its port is no number from 1 to 65535"),
        ("http://host:0", "0 is no port"),
        ("http://me:secret@host", "a name, a password or a query can't be part of it"),
        ("http://host/?x=1", "a name, a password or a query can't be part of it"),
        ("http://host:8501/v1/models/crnn", "pass http://host:8501 alone, and the model with --model-name"),
        ("grpc://host:8500/x", "gRPC has no path"),
    ],
)
def test_bad_addresses_end_with_what_was_expected(run, tmp_path, text, message):
    """Exit 2, before anything is looked at."""
    result = run("verify", tmp_path, "--server", text)
    assert result.exit_code == 2 and message in result.output.replace("\n", " "), result.output


class FakeTime:
    """A clock that sleeping moves on."""

    def __init__(self):
        self.time = 0.0

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds

    @property
    def clock(self):
        return Clock(self.now, self.sleep)


@pytest.fixture
def rest(tmp_path):
    (tmp_path / "m" / "2").mkdir(parents=True)
    with serving_rest(tmp_path / "m", "m") as server:
        yield server


def waited(server, version=2, timeout=600, model="m"):
    """The arrival, and the lines that were said."""
    said = []
    arrival = wait_until_live(
        connect(parse_address(server.url)),
        model,
        version,
        timeout,
        say=lambda step, text: said.append(text),
        clock=FakeTime().clock,
    )
    return arrival, said


def test_a_version_goes_live_and_every_state_is_told_once(rest):
    """404, START, LOADING, AVAILABLE: a line each, with what may take long."""
    rest.script[2] = [404, 404, "START", "LOADING", "LOADING", "AVAILABLE"]
    arrival, said = waited(rest)
    assert arrival.is_live and arrival.outcome == "live" and arrival.problem == "" and arrival.seconds == 5
    assert [sighting.state for sighting in arrival.seen] == ["NOT_SEEN", "START", "LOADING", "AVAILABLE"]
    assert said[0] == f"{rest.url} has not seen m 2 yet"
    assert said[2] == (
        "m 2 is LOADING; a load that fails is tried again for about five minutes, and until then its error stands in "
        "the server's log alone"
    )
    assert said[3:] == ["m 2 is AVAILABLE after 5.0 s"]
    assert set(rest.asked) == {"/v1/models/m/versions/2", "/v1/models/m"}


def test_what_is_never_seen_is_explained_after_some_seconds_and_at_the_end(rest):
    """Another directory, mode bits, policy, poll interval; with what the server has instead."""
    rest.script[2] = [404]
    rest.lists = [(1, "AVAILABLE")]
    arrival, said = waited(rest, timeout=20)
    assert arrival.outcome == "timed out" and arrival.seconds == 20
    assert len(said) == 2
    assert said[1].startswith("it has m 1 AVAILABLE, not 2: does it watch another directory (base path, mount)")
    assert "--file_system_poll_wait_seconds" in said[1]
    assert arrival.problem.startswith("not live after 20 s; last state: " + rest.url)
    assert arrival.problem.endswith(said[1])


def test_a_model_that_is_not_known_is_explained(rest):
    """By its name, most often."""
    arrival, said = waited(rest, model="other", timeout=7)
    assert not arrival.is_live
    assert said[1].startswith("it has no model other: does it have another name (--model-name)")


def test_a_failed_load_is_final_in_the_servers_own_words(rest):
    """END with an error: what it means, and that the number is used up."""
    message = "Could not find meta graph def matching supplied tags: { serve }."
    rest.script[2] = ["LOADING", ("END", "NOT_FOUND", message)]
    arrival, said = waited(rest)
    assert arrival.outcome == "failed"
    assert said[-1] == (
        "m 2 failed to load and will not be retried: NOT_FOUND: Could not find meta graph def matching supplied tags: { serve } (the "
        "SavedModel has no meta graph whose only tag is serve)"
    )
    assert arrival.problem == said[-1] + "; " + PUBLISH_HIGHER  # which is said once


def test_what_to_do_about_a_failed_load_is_said_once(rest):
    """Also where the server's message is explained by it."""
    rest.script[2] = ["LOADING", ("END", "FAILED_PRECONDITION", "Attempting to use uninitialized value w")]
    arrival, said = waited(rest)
    assert (arrival.problem + " ".join(said)).count("publish a higher number") == 1
    assert "it was copied into place, not renamed" in arrival.problem


@pytest.mark.parametrize("state", ["END", "UNLOADING"])
def test_a_superseded_version_says_by_which(rest, state):
    """No error, and not there any more."""
    rest.script[2] = [state]
    rest.lists = [(3, "AVAILABLE"), (2, state)]
    arrival, _ = waited(rest)
    assert (arrival.outcome, arrival.problem) == (
        "superseded",
        f"m 2 is {state}: it was superseded by version 3, which is AVAILABLE",
    )
    rest.lists = [(2, state)]
    assert waited(rest)[0].problem == f"m 2 is {state}: it was taken out of service, by no newer version"


def test_a_version_that_was_passed_over_says_so(rest):
    """The server never saw it, and has a newer one: it won't load it any more."""
    rest.script[2] = [404]
    rest.lists = [(3, "AVAILABLE")]
    arrival, _ = waited(rest)
    assert (arrival.outcome, arrival.problem) == (
        "superseded",
        "m 2 was skipped: version 3 is AVAILABLE, and a server loads only the newest",
    )
    assert arrival.seconds < 10


def test_a_server_that_is_not_up_is_waited_for(rest):
    """Refused, or a proxy's 503, until time is up."""
    rest.script[2] = [(503, "upstream is away"), (503, "upstream is away"), "AVAILABLE"]
    arrival, said = waited(rest)
    assert arrival.is_live
    assert said[0] == f"{rest.url}: HTTP 503, as from a proxy whose server is down: 'upstream is away'"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        rest.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        arrival, said = waited(rest, timeout=3)
    assert said == [
        rest.url + ": connection refused: no server listens there; one that is starting opens its ports only when its "
        "first models are loaded"
    ]
    assert arrival.problem == "not live after 3 s; last state: " + said[0]


def test_a_refusal_is_no_state(rest):
    """A server that is overloaded is asked again; one that does not want to say ends the wait."""
    rest.script[2] = [(503, {"error": "busy"}), (400, {"error": "Malformed request"})]
    with pytest.raises(ServerError) as caught:
        waited(rest)
    assert str(caught.value) == rest.url + ": it does not report the state of m 2: HTTP 400: Malformed request"
    assert len(rest.asked) == 2


def test_a_host_that_is_not_there(rest):
    """A name that nobody knows."""
    rest.url = "http://no-such-host.invalid"
    assert "there is no host no-such-host.invalid" in waited(rest, timeout=0)[0].problem


def test_a_server_that_hangs_is_asked_again(monkeypatch):
    """No answer is no state."""
    monkeypatch.setattr("ckpt2saved.client.waiting.STATUS_SECONDS", 0.1)
    with silent_port() as port:
        server = connect(parse_address(f"http://127.0.0.1:{port}"))
        arrival = wait_until_live(server, "m", 2, 2, clock=FakeTime().clock)
    assert arrival.outcome == "timed out"
    assert arrival.problem.endswith(f"last state: {server.address}: no response within 0.1 s")


@contextlib.contextmanager
def silent_port(word=None, read=False):
    """A port that accepts a connection, and says `word` or nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(5)
        accepted = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    accepted.append(connection)
                    if read:
                        connection.recv(1 << 16)  # or closing it would take back what was said
                    if word is not None:
                        connection.sendall(word)
                        connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        for connection in accepted:
            connection.close()


HINT = "its REST port, 8501 unless told otherwise, is asked with http://, its gRPC port, 8500, with grpc://"


@pytest.mark.parametrize(
    "answer, message",
    [
        ((200, "<html>hello</html>"), "this is not a response of TF Serving: HTTP 200, '<html>hello</html>'; " + HINT),
        ((404, "not here"), "this is not a response of TF Serving: HTTP 404, 'not here'"),
        ((200, {"model": "m"}), 'this is not a response of TF Serving: HTTP 200, \'{"model": "m"}\''),
        ((200, ""), "this is not a response of TF Serving: HTTP 200, an empty answer"),
    ],
)
def test_something_else_than_tf_serving_ends_the_wait(rest, answer, message):
    """Exit 1: it will not turn into one."""
    rest.script[2] = [answer]
    with pytest.raises(NoServing) as caught:
        waited(rest)
    assert message in str(caught.value) and caught.value.exit_code == 1


def test_https_where_there_is_no_tls_is_explained(rest):
    """Exit 1: the scheme is wrong, or the certificate."""
    rest.url = rest.url.replace("http", "https")
    with pytest.raises(NoServing, match="no TLS there, or no certificate to trust"):
        waited(rest)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Files of a certificate that nobody vouches for, and of its key, made for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    (folder / "request").write_text(
        "[req]\ndistinguished_name = name\nx509_extensions = of\nprompt = no\n"
        "[name]\nCN = proxy\n[of]\nsubjectAltName = IP:127.0.0.1\n"
    )
    made = ["-keyout", "key.pem", "-out", "certificate.pem", "-days", "2", "-nodes", "-config", "request"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048"] + made,
        cwd=str(folder),
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return folder / "certificate.pem", folder / "key.pem"


def test_a_server_behind_https(tmp_path, monkeypatch, certificate):
    """Its certificate is checked, against those of SSL_CERT_FILE where that is set."""
    (tmp_path / "m" / "2").mkdir(parents=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*map(str, certificate))
    with serving_rest(tmp_path / "m", "m", tls) as server:
        server.script[2] = ["AVAILABLE"]
        with pytest.raises(NoServing, match="certificate verify failed.*; one of your own: SSL_CERT_FILE=ca.pem"):
            waited(server)
        assert server.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        arrival, said = waited(server)
        assert arrival.is_live and server.url.startswith("https:") and said[-1].startswith("m 2 is AVAILABLE")


def test_the_grpc_port_asked_by_http_is_explained():
    """It answers in HTTP/2 frames, or not at all."""
    with silent_port(b"\x00\x00\x18\x04\x00\x00\x00\x00\x00\x00\x04\x00\x3f\xff\xff", read=True) as port:
        server = connect(parse_address(f"http://127.0.0.1:{port}"))
        with pytest.raises(NoServing, match="the server there does not speak HTTP; its REST port, 8501"):
            server.statuses("m", 1)
    with silent_port(b"") as port:
        server = connect(parse_address(f"http://127.0.0.1:{port}"))
        with pytest.raises(Unreachable, match="closed without a response; is it the gRPC port"):
            server.statuses("m", 1)


def test_the_rest_port_asked_by_grpc_is_explained(rest):
    """What answers there is HTTP/1.1."""
    pytest.importorskip("grpc")
    server = connect(parse_address(rest.url.replace("http", "grpc")))
    with pytest.raises(NoServing) as caught:
        server.statuses("m", 1)
    assert "the server there has no gRPC API of TF Serving" in str(caught.value) and HINT in str(caught.value)


def test_without_grpcio_the_line_that_installs_it_is_said(tmp_path):
    """Exit 1 before TensorFlow is imported, and REST as the other way."""
    code = "import sys; sys.modules['grpc'] = sys.modules['tensorflow'] = None; from ckpt2saved.cli import main; main({!r})"
    done = python(code.format(["verify", str(version_of(tmp_path, 1)), "--server", "grpc://localhost"]))
    assert done.returncode == 1
    assert "grpc:// needs grpcio, and it is not in this Python: pip install 'ckpt2saved[serving]'" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2.0], [np.nan, np.inf]], "float32"),
        np.array([-np.inf, 1e300]),
        np.array([[1, -(2**62)]], "int64"),
        np.array([2**64 - 1, 0], "uint64"),
        np.array([True, False]),
        np.zeros([2, 0], "float32"),
        np.array(7, "int32"),
        np.array([[b"\xff\x00", b""]], object),
        np.array(b"one", object),
    ],
)
def test_values_survive_json(array):
    """Specials, the largest integers, no elements, any bytes."""
    back = from_json(json.loads(json.dumps(to_json(array))), array.dtype)
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    "values, dtype, message",
    [
        ([1, "x"], "float32", "values that are not float32"),
        ([1.5], "int64", "values that are not int64"),
        ([True], "int64", "values that are not int64"),
        ([1], "bool", "values that are not bool"),
        ([[1], [1, 2]], "int32", "lists of unequal lengths"),
        ([["a"], "b"], "O", "lists of unequal lengths"),
        ([1], "O", "values that are not strings"),
        ([{"b64": "?"}], "O", "a text that is not base64"),
        ({"a": 1}, "float32", "values that are not float32"),
    ],
)
def test_json_that_is_no_tensor_is_said(values, dtype, message):
    """A server of another kind answers 200 too."""
    with pytest.raises(ValueError, match=message):
        from_json(values, np.dtype(dtype))


ARRAYS = [np.array([[1, 2, 3]], name) for name in "float32 float64 int32 uint8 int16 int8 int64 uint16 float16".split()]
ARRAYS += [np.array([[1, 0]], name) for name in "uint32 uint64 bool complex64 complex128".split()]
ARRAYS += [np.array([-1, -(2**63)], "int64"), np.array(5.0, "float32"), np.zeros([0, 2], "int64")]
ARRAYS += [np.array([[b"\xff\x00"], [b""]], object), np.array(["\u00e4"])]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_tensors_are_those_of_tensorflow(array):
    """What is written here TensorFlow reads; what it writes, whole or one by one, is read here."""
    from ckpt2saved.graph.tf1 import tf

    proto = tf.make_tensor_proto(0.0)
    proto.ParseFromString(encode_tensor(array))
    wanted = array if array.dtype.kind != "U" else np.array([text.encode() for text in array], object)
    np.testing.assert_array_equal(tf.make_ndarray(proto), wanted)
    np.testing.assert_array_equal(decode_tensor(tf.make_tensor_proto(wanted).SerializeToString()), wanted)
    one_by_one = tf.make_tensor_proto(0.0)
    one_by_one.ParseFromString(field_by_field(tf, wanted))
    decoded = decode_tensor(one_by_one.SerializeToString())
    np.testing.assert_array_equal(decoded, wanted)
    assert decoded.shape == wanted.shape


def field_by_field(tf, array):
    """As TF Serving answers: not tensor_content but a repeated field of the type."""
    proto = tf.make_tensor_proto(array)
    if not proto.tensor_content:
        return proto.SerializeToString()
    names = {"f4": "float_val", "f8": "double_val", "i8": "int64_val", "b1": "bool_val", "c8": "scomplex_val"}
    names.update({"c16": "dcomplex_val", "u4": "uint32_val", "u8": "uint64_val", "f2": "half_val"})
    name = names.get(array.dtype.str[1:], "int_val")
    flat = array.ravel()
    values = flat.view(np.uint16) if name == "half_val" else flat
    values = flat.view(f"f{array.dtype.itemsize // 2}") if name.endswith("complex_val") else values
    getattr(proto, name).extend(values.tolist())
    proto.ClearField("tensor_content")
    return proto.SerializeToString()


def test_the_last_value_stands_for_those_that_are_missing():
    """TensorFlow leaves out what repeats."""
    from ckpt2saved.graph.tf1 import tf

    proto = tf.make_tensor_proto(3, tf.int32, [2, 2])
    np.testing.assert_array_equal(decode_tensor(proto.SerializeToString()), [[3, 3], [3, 3]])
    proto.ClearField("int_val")
    np.testing.assert_array_equal(decode_tensor(proto.SerializeToString()), tf.make_ndarray(proto))
    proto.int_val.extend([1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match="5 values for a tensor of the shape"):
        decode_tensor(proto.SerializeToString())


def test_messages_are_those_of_tensorflow_serving_api():
    """Its own classes read the requests, and write the responses."""
    apis = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    from tensorflow_serving.apis import get_model_status_pb2

    from ckpt2saved.client import messages

    request = apis.PredictRequest.FromString(
        messages.encode_predict_request(
            PredictCall(
                model="m",
                version=300,
                signature="dense",
                inputs={"b": np.ones([2]), "a": np.array([b"x"], object)},
                outputs=(),
            )
        )
    )
    assert (request.model_spec.name, request.model_spec.version.value) == ("m", 300)
    assert request.model_spec.signature_name == "dense" and sorted(request.inputs) == ["a", "b"]
    status = get_model_status_pb2.GetModelStatusRequest.FromString(messages.encode_status_request("m", 7))
    assert (status.model_spec.name, status.model_spec.version.value) == ("m", 7)
    status = get_model_status_pb2.GetModelStatusRequest.FromString(messages.encode_status_request("m", None))
    assert not status.model_spec.HasField("version")
    response = get_model_status_pb2.GetModelStatusResponse()
    added = response.model_version_status.add(version=3, state=50)
    added.status.error_code, added.status.error_message = 9, "why"
    (found,) = messages.decode_status_response(response.SerializeToString())
    assert (found.version, found.state, found.error_code, found.error_message) == (
        3,
        "END",
        "FAILED_PRECONDITION",
        "why",
    )
    assert found.has_failed


@pytest.fixture
def grpc_server(tmp_path):
    pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    (tmp_path / "m" / "2").mkdir(parents=True)
    with serving_grpc(tmp_path / "m", "m") as server:
        yield server


def test_grpc_tells_the_same(grpc_server):
    """Through the messages of the real API."""
    grpc_server.script[2] = [404, "LOADING", ("END", "NOT_FOUND", "no data")]
    arrival, said = waited(grpc_server)
    assert [sighting.state for sighting in arrival.seen] == ["NOT_SEEN", "LOADING", "END"]
    assert arrival.problem.startswith(
        "m 2 failed to load and will not be retried: NOT_FOUND: no data; publish a higher number"
    )


def test_grpc_without_a_server_is_waited_for(tmp_path):
    """Refused, as by REST."""
    pytest.importorskip("grpc")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server = connect(parse_address(f"grpc://127.0.0.1:{unused.getsockname()[1]}"))
        with pytest.raises(Unreachable, match="no server to talk to"):
            server.statuses("m", 1)


@pytest.mark.parametrize(
    "message, meaning",
    [
        ("Batched output tensor's 0th dimension does not equal the sum of …", "--enable_batching"),
        ("Batched output tensor has 0 dimensions", "--enable_batching"),
        ("Attempting to use uninitialized value w", "before its variables were complete"),
        ("Error while reading resource variable w from Container: localhost", "before its variables were complete"),
        ("Could not find variable w. This could mean that", "before its variables were complete"),
        ("Read less bytes than requested", "cut short"),
        ("Data loss: file is too short to be an sstable", "cut short"),
        ("not an sstable (bad magic number)", "cut short"),
        ("Checksum does not match: stored 1 vs. calculated on the restored bytes 2", "cut short or damaged"),
        ("/models/m/2/variables/variables.data-00000-of-00001; No such file or directory", "missing, cut short"),
        ("Can't parse /models/m/2/saved_model.pb as binary proto", "cut short"),
        ('Serving signature name: "x" not found in signature def', "other files under this number"),
        ('Serving signature key "x" not found.', "other files under this number"),
        ("input size does not match signature: 1!=2 len({a})", "other files under this number"),
        ("Tensor :0, specified in either feed_devices or fetch_devices was not found", "has no tensor name"),
        ("Op type not registered 'CTCBeam' in binary", "this server's TensorFlow is older"),
        ("NodeDef mentions attr 'x' not in Op<name=Y>", "this server's TensorFlow is older"),
        ("Cannot assign a device for operation x", "tied to a device"),
        ("Servable not found for request: Specific(m, 2)", "a newer one superseded it"),
        ("/models/m/2/saved_model.pb; Permission denied", "the modes 755 and 644"),
        ("Failed to parse warmup record: x", "tf_serving_warmup_requests"),
    ],
)
def test_what_servers_say_is_explained(message, meaning):
    """The server's own words, then what they mean."""
    assert explained(message).startswith(message.rstrip(".") + " (") and meaning in explained(message)
    assert explained("something else.") == "something else"


def test_a_copy_that_broke_off(rest):
    """What it means and what to do, the latter once; a number is tried again where no older version is loaded."""
    rest.script[2] = ["LOADING", ("END", "OUT_OF_RANGE", "Read less bytes than requested")]
    problem = waited(rest)[0].problem
    assert "a file of the version is missing, cut short or damaged" in problem
    assert problem.count("publish a higher number") == 1
    assert "a server that has an older version loaded does not try this one again" in problem


def test_what_a_server_still_has_is_spared(rest):
    """Loaded, loading and unloading; and nothing goes while the newest is not there."""
    server = connect(parse_address(rest.url))
    rest.lists = [(5, "AVAILABLE"), (4, "UNLOADING"), (3, "END"), (2, "LOADING")]
    assert held_versions(server, "m", 5) == {5: "AVAILABLE", 4: "UNLOADING", 2: "LOADING"}
    for newest, state in ((6, "unknown"), (2, "LOADING")):
        with pytest.raises(NotLive) as caught:
            held_versions(server, "m", newest)
        assert str(caught.value) == (
            f"{rest.url}: m {newest}, the newest version, is {state} there, not AVAILABLE, so that the server may still need an older one; "
            "nothing is deleted"
        )
    with pytest.raises(NotLive, match="it has no model other, so that nothing is deleted"):
        held_versions(server, "other", 5)
    server.address = parse_address("http://no-such-host.invalid")
    with pytest.raises(ServerError, match="it does not report its versions: there is no host"):
        held_versions(server, "m", 5)
