"""Servers that are broken or hostile: every answer ends within its deadline and its size, and is shown as plain text."""

from __future__ import annotations

import contextlib
import json
import time

import numpy as np
import pytest

from ckpt2saved.answers.server_asker import Target
from ckpt2saved.answers.server_requests import ServerRequests
from ckpt2saved.client.address import parse_address
from ckpt2saved.client.connection import connect
from ckpt2saved.client.json_values import from_json
from ckpt2saved.client.server import NoServing, Output, PredictCall, Refused, ServerUntil, Unreachable
from ckpt2saved.client.waiting import wait_until_live
from ckpt2saved.console.foreign_text import one_line, terminal_safe
from ckpt2saved.files.protobuf.messages import Budget
from ckpt2saved.files.protobuf.tensor_proto import decode_tensor, encode_tensor
from ckpt2saved.files.protobuf.wire import Malformed, written
from ckpt2saved.verification.live import check_live
from tests.support.hostile_server import OK, answering, body, statuses

OUTPUTS = (Output("ids", np.dtype("int64")), Output("score", np.dtype("float32")))
CALL = PredictCall(model="m", version=1, signature="s", inputs={}, outputs=OUTPUTS)


def predicted(address, timeout=0.5):
    return connect(parse_address(address)).predict(CALL, timeout)


DRIPPED = {
    "body": OK + b"\r\n{",
    "body of a known length": OK + b"Content-Length: 1000000\r\n\r\n",
    "header": OK + b"X: ",
    "status line": b"HTTP/1.1 200 ",
    "chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFF\r\n",
    "chunk's size": OK + b"Transfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("part", sorted(DRIPPED))
def test_one_deadline_for_all_of_an_answer(part):
    """A byte each 50 ms keeps no call waiting beyond its time."""
    start = time.monotonic()
    with answering(DRIPPED[part], forever=b"1", pause=0.05) as address:
        with pytest.raises(Unreachable, match=r"no response within 0\.5 s"):
            predicted(address)
    assert time.monotonic() - start < 15


ENDLESS = {
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500, "the answer's head is larger than the 256 KB"),
    "body": (
        OK + b"\r\n",
        b" " * (1 << 20),
        "the answer is larger than the 65536 KB that are read; ask for fewer rows",
    ),
    "chunks": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        b"100000\r\n" + b" " * (1 << 20) + b"\r\n",
        "the answer is larger than the 65536 KB",
    ),
    "trailers": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        b"X: " + b"y" * 60000 + b"\r\n",
        "the answer is larger than",
    ),
    "length": (OK + b"Content-Length: 99999999999999\r\n\r\n", b"", "the answer is larger than the 65536 KB"),
    "line": (b"", b"x" * 9999, "the server there does not speak HTTP"),
}


@pytest.mark.parametrize("part", sorted(ENDLESS))
def test_an_answer_has_a_size(part):
    """What is larger is not read to its end, however it comes."""
    first, forever, message = ENDLESS[part]
    with answering(first, forever=forever) as address:
        with pytest.raises(NoServing, match=message):
            predicted(address, timeout=30)


def test_a_chunk_of_any_size_takes_no_memory():
    """Its announced size is not what is allocated."""
    with answering(OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\nabc") as address:
        with pytest.raises(Unreachable, match="the answer broke off"):
            predicted(address, timeout=20)


@pytest.mark.parametrize("size", [b"-5", b"-0d9", b"-1"])
def test_a_chunk_of_less_than_nothing(size):
    """http.client takes any integer for its size."""
    content = b"[0.5]"
    with answering(OK + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + content + b"\r\n0\r\n\r\n") as address:
        with pytest.raises((NoServing, Unreachable)):
            predicted(address, timeout=20)


@pytest.mark.parametrize(
    "pieces, message",
    [
        ([OK + b"Content-Length: 9\r\n\r\nabc"], r"the answer broke off \(Connection reset by peer after \d bytes"),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc"], "the answer broke off"),
        ([], "the connection was closed without a response; is it the gRPC port"),
    ],
    ids=["body", "chunk", "nothing"],
)
def test_a_connection_that_is_reset(pieces, message):
    """Within a body it is no server that does not speak HTTP."""
    with answering(*pieces, resets=True) as address:
        with pytest.raises(Unreachable, match=message):
            predicted(address, timeout=20)


def test_the_states_of_a_model_are_no_100_mb():
    """Three million of them are refused before they are read."""
    with answering(OK + b"\r\n", forever=b'{"version":"1","state":"LOADING"},' * 30000) as address:
        with pytest.raises(NoServing, match="the answer is larger than the 8192 KB that are read"):
            connect(parse_address(address)).statuses("m", 1)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100000 + b"]" * 100000,
        statuses(float("inf")),
        statuses(float("nan")),
        b'{"model_version_status": [{"version": 1e400, "state": "AVAILABLE"}]}',
        statuses("9" * 100000),
        b'{"model_version_status": [{"version": ' + b"9" * 5000 + b', "state": "AVAILABLE"}]}',
        statuses("-1"),
        statuses(-1),
        statuses(1.0),
        statuses(True),
        statuses("1\n"),
        statuses("\u0661"),
        statuses("9223372036854775808"),
        statuses("1", ["x"]),
        statuses("1", None),
        statuses("1", status=["y"]),
        {"model_version_status": "abc"},
        {"model_version_status": {"a": 1}},
        {"model_version_status": [1]},
        b'{"model_version_status": "\xff\xfe"}',
    ],
    ids=lambda content: str(content)[:60],
)
def test_states_that_are_none_are_no_answer_of_tf_servings(content):
    """Of any type, size and depth."""
    with answering(body(content)) as address:
        with pytest.raises(NoServing, match="this is not a response of TF Serving") as caught:
            connect(parse_address(address)).statuses("m", 1)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("values", [b"1.5,", b'"ab",'])
def test_values_that_would_fill_the_memory_are_not_read(values):
    """Of 64 MB of such an answer Python made objects of up to 1.8 GB."""
    content = b'{"outputs": [' + values * ((63 << 20) // len(values)) + b"0]}"
    with answering(body(content)) as address:
        with pytest.raises(
            NoServing, match="values would take more than 512 MB of memory; ask for fewer rows at a time"
        ):
            predicted(address, timeout=60)


def test_states_that_would_fill_the_memory_are_not_read():
    content = b'{"model_version_status": [' + b"{}," * 2600000 + b"0]}"
    with answering(body(content)) as address:
        with pytest.raises(NoServing, match="values would take more than 512 MB of memory; its REST port"):
            connect(parse_address(address)).statuses("m", 1)


def test_another_version_than_the_one_asked_for_is_not_taken_for_it():
    """A proxy that answers with whatever it has must not turn a version green."""
    with answering(body(statuses("999"))) as address:
        with pytest.raises(NoServing, match="requested version 1, but the response is from version 999"):
            wait_until_live(connect(parse_address(address)), "m", 1, 5)
        assert connect(parse_address(address)).statuses("m")[0].version == 999


@pytest.mark.parametrize(
    "values, dtype, message",
    [
        (json.loads("[" * 450 + "1" + "]" * 450), "int64", "lists that are nested more than 32 deep"),
        (json.loads("[" * 450 + '"a"' + "]" * 450), "O", "lists that are nested more than 32 deep"),
        ([[float("inf")]], "int64", "values that are not int64"),
        ([99999999999999999999], "int32", "values out of range"),
        ([10**400], "float32", "values out of range"),
        ([[1], 2], "int32", "lists of unequal lengths"),
    ],
)
def test_values_that_are_no_tensor(values, dtype, message):
    """Never a recursion error, nor another number."""
    with pytest.raises(ValueError, match=message):
        from_json(values, np.dtype(dtype))


def test_redirects_are_not_followed():
    """Not to other hosts, nor to files."""
    for place in (b"http://127.0.0.1:1/", b"file:///etc/passwd"):
        with answering(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + place + b"\r\n\r\n") as address:
            with pytest.raises(NoServing, match="HTTP 302, and redirects are not followed"):
                predicted(address)


def test_the_wait_and_all_answers_have_one_deadline(tmp_path):
    """With --timeout 1 a server whose states drip is given up after a second, and not after ten."""
    start = time.monotonic()
    with answering(OK + b"\r\n", forever=b" ", pause=0.05) as address:
        arrival = wait_until_live(connect(parse_address(address)), "m", 1, 1)
    assert arrival.outcome == "timed out" and time.monotonic() - start < 8


def test_a_server_until_a_deadline_gives_each_call_what_is_left():
    """And after it none."""

    class Slow:
        address = parse_address("http://host")
        given = []

        def predict(self, call, timeout):
            self.given.append(timeout)

    times = iter([0.0, 7.0, 11.0])
    server = ServerUntil(Slow(), 10.0, lambda: next(times))
    server.predict(CALL, 8.0)
    server.predict(CALL, 8.0)
    assert Slow.given == [8.0, 3.0]
    with pytest.raises(Unreachable, match=r"the time limit \(--timeout\) is over"):
        server.predict(CALL, 8.0)


UGLY = "x\n::error::owned\r\n##vso[task.x]y\x1b[2J\x1b]0;owned\x07 \u202e\ud800 ##[error]z ##teamcity[a] std::vector"


def test_what_a_server_says_is_shown_as_plain_text():
    """One line, no orders to a terminal or a CI system, of bounded length; C++ names stay as they are."""
    shown = one_line(UGLY)
    assert shown == ("x : :error::owned # #vso[task.x]y?[2J?]0;owned? ?? # #[error]z # #teamcity[a] std::vector")
    assert len(one_line("a b" * 100000)) < 2100 and "characters left out" in one_line("a" * 9999)
    assert terminal_safe("a\n::warning::b") == "a\n: :warning::b"
    status = {"error_code": "NOT_FOUND", "error_message": UGLY + "y" * 100000}
    with answering(body(statuses("1", "END", status=status))) as address:
        arrival = wait_until_live(connect(parse_address(address)), "m", 1, 5)
    assert shown in arrival.problem and len(arrival.problem) < 3000
    with answering(body({"error": UGLY}).replace(b"200 OK", b"400 Bad")) as address:
        with pytest.raises(Refused) as caught:
            predicted(address)
    assert str(caught.value) == "HTTP 400: " + shown


@pytest.mark.parametrize(
    "text",
    [
        "http://me:secret@host",
        "http://me:secret@host:no",
        "me:secret@host:8501",
        "ftp://secret@host",
        "http://me:se/cret@host:0",
        "http://me:a@secret@host/v1/models",
        "http://host/?token=secret",
        "http://host:0/#secret",
        "grpc://secret@host/x",
    ],
)
def test_passwords_and_tokens_in_an_address_are_not_shown(text):
    """Whatever else is wrong with it."""
    with pytest.raises(ValueError, match="expected http://HOST:8501") as caught:
        parse_address(text)
    assert "secret" not in str(caught.value) and "cret" not in str(caught.value).partition(";")[0]


@pytest.mark.parametrize(
    "text", ["http://[::1", "http://h\u00f6st", "http://host/\u00fc", "http://host/a b", "http://a\x7f"]
)
def test_addresses_that_cannot_be_asked(text):
    """Never a traceback of the HTTP client's."""
    with pytest.raises(ValueError, match="expected http://HOST:8501"):
        parse_address(text)


def test_a_name_that_no_host_can_have():
    """The resolver's own error for it is of another kind."""
    with pytest.raises(Unreachable, match="there is no host a..b"):
        predicted("http://a..b")


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "1e400"])
def test_a_timeout_has_an_end(run, tmp_path, seconds):
    """Exit 2: a socket can count to neither."""
    result = run("verify", tmp_path, "--server", "http://host", "--timeout", seconds)
    assert result.exit_code == 2 and "--timeout" in result.output, result.output


@pytest.mark.parametrize("name", ["a\nb", "a\udcff", "\x1b[2J", "../x"])
def test_a_model_name_of_any_characters(name):
    """It reaches the server, and no header."""
    with answering(body(statuses())) as address:
        assert connect(parse_address(address)).statuses(name, 1)[0].state == "AVAILABLE"


def tensor(data_type, sizes, *fields):
    """A TensorProto of a shape, and of any other fields."""
    shape = b"".join(written(2, written(1, size)) for size in sizes)
    return written(1, data_type) + written(2, shape) + b"".join(fields)


@pytest.mark.parametrize(
    "message, problem",
    [
        (tensor(1, [2**33], written(5, b"\x00\x00\x80\x3f")), "its tensors take 32768 MB or more, and at most 1024 MB"),
        (tensor(3, [2**40, 2**40]), "its tensors take"),
        (tensor(7, [2**40], written(8, b"a")), "its tensors take"),
        (tensor(1, [-1, -1]), r"a tensor of the shape \[-1, -1\]"),
        (tensor(1, [2**63 - 1, 2, 0, -3]), "a tensor of the shape"),
        (tensor(1, [1] * 200), "dimension"),
        (tensor(7, [3]) + written(8, b"") * 2000000, "more than 1048576 separate fields"),
        (tensor(99, [1]), "data type 99 has no equal in numpy"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_small_message_that_stands_for_a_large_tensor(message, problem):
    """Refused before any memory is taken."""
    with pytest.raises(ValueError, match=problem):
        decode_tensor(message)


def test_varints_of_every_length():
    """Read all at once: as TensorFlow writes them, also where pieces end inside of one."""
    values = np.array([0, 1, 127, 128, 2**31, 2**62, -1, -(2**63)] * 200000, "int64")
    packed = b"".join(written(1, int(value))[1:] for value in values[:8]) * 200000
    found = decode_tensor(tensor(9, [len(values)], written(10, packed)))
    np.testing.assert_array_equal(found, values)
    for broken in (b"\x80", b"\x80" * 11 + b"\x01", b"\x01\xff"):
        with pytest.raises(Malformed):
            decode_tensor(tensor(9, [1], written(10, broken)))


def test_several_tensors_share_a_budget():
    """A thousand small ones are a large one."""
    budget = Budget(most_bytes=1000)
    for _ in range(3):
        decode_tensor(encode_tensor(np.zeros(60, "float32")), budget)
    with pytest.raises(ValueError, match="its tensors take"):
        decode_tensor(encode_tensor(np.zeros(90, "float32")), budget)


@contextlib.contextmanager
def grpc_answering(answer, **how):
    """The address of a gRPC server that says the same bytes to every call."""
    grpc = pytest.importorskip("grpc")
    from concurrent.futures import ThreadPoolExecutor

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: answer(context))

    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_send_message_length", -1)], **how)
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(0)


def answered_by(version):
    return written(2, written(1, b"m") + written(2, written(1, version)))


def output(key, message):
    return written(1, written(1, key) + written(2, message))


def test_grpc_answers_have_a_size():
    """On the wire, unpacked, and as the tensors that they stand for."""
    large = tensor(1, [2**33], written(5, b"\x00\x00\x80\x3f"))
    with grpc_answering(lambda context: output(b"ids", large)) as address:
        with pytest.raises(NoServing, match="its tensors take 32768 MB or more"):
            predicted(address, timeout=20)
    with grpc_answering(lambda context: output(b"other", large)) as address:
        with pytest.raises(Refused, match="the answer has no output 'ids', 'score'"):
            predicted(address, timeout=20)
    grpc = pytest.importorskip("grpc")
    with grpc_answering(lambda context: bytes(257 << 20)) as address:
        with pytest.raises(NoServing, match="the answer is larger than the 256 MB that are read"):
            predicted(address, timeout=60)
    with grpc_answering(lambda context: bytes(257 << 20), compression=grpc.Compression.Gzip) as address:
        with pytest.raises(NoServing, match="the response is compressed, which was not requested"):
            predicted(address, timeout=60)


def test_grpc_versions_are_compared():
    """That of the state, and that of the answer."""
    answered = output(b"ids", encode_tensor(np.array([1]))) + output(b"score", encode_tensor(np.ones(1, "float32")))
    with grpc_answering(lambda context: answered + answered_by(7)) as address:
        with pytest.raises(NoServing, match="requested version 1, but the response is from version 7"):
            predicted(address, timeout=20)
    with grpc_answering(lambda context: answered + answered_by(1)) as address:
        assert predicted(address, timeout=20)["ids"].tolist() == [1]
    with grpc_answering(lambda context: written(1, written(1, 999) + written(2, 30))) as address:
        with pytest.raises(NoServing, match="requested version 1, but the response is from version 999"):
            connect(parse_address(address)).statuses("m", 1)


def test_grpc_details_are_shown_as_plain_text():
    """And a call that does not end ends."""
    grpc = pytest.importorskip("grpc")
    with grpc_answering(lambda context: context.abort(grpc.StatusCode.INTERNAL, "a\n::error::b\x1b[2J")) as address:
        with pytest.raises(Refused) as caught:
            predicted(address, timeout=20)
    assert str(caught.value) == "INTERNAL: a : :error::b?[2J"
    with grpc_answering(lambda context: time.sleep(2) or b"") as address:
        with pytest.raises(Unreachable, match=r"no response within 0\.5 s"):
            predicted(address)


def test_requests_share_what_is_left_of_the_timeout(tmp_path, monkeypatch):
    """Ten requests to a server that never answers take no ten times as long."""
    from ckpt2saved.answers import server_asker
    from ckpt2saved.requests.request import Request
    from ckpt2saved.signature.tensors import Signature
    from ckpt2saved.verification import live

    monkeypatch.setattr(live, "_LEAST_SECONDS", 0.5)
    monkeypatch.setattr(server_asker, "served_signatures", lambda saved_model: {"s": Signature("s", (), ())})
    monkeypatch.setattr(server_asker, "changing_signatures", lambda saved_model: {})
    wanted = ServerRequests(tuple(Request(str(number), "s", {}) for number in range(10)), None)
    state = body(statuses())
    start = time.monotonic()
    with answering(state) as address:
        server = connect(parse_address(address))
        server.predict = lambda *asked: predicted_never(asked[-1])
        report = check_live(Target(server, "m", 1, tmp_path, 0.6), lambda: wanted)
    assert len(report.problems) == 10 and time.monotonic() - start < 15


def predicted_never(timeout):
    time.sleep(timeout)
    raise Unreachable(f"no response within {timeout:.3g} s")
