"""A running server is asked only what can't make clients' requests fail, and never passes by chance."""

from __future__ import annotations

import contextlib
import json
import threading

import numpy as np
import pytest

from ckpt2saved.answers import server_asker
from ckpt2saved.client import waiting
from ckpt2saved.client.address import parse_address
from ckpt2saved.client.connection import connect
from ckpt2saved.client.explanations import explained
from ckpt2saved.client.server import Output, PredictCall, Refused
from ckpt2saved.files.protobuf.data_types import numpy_dtype
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.gathering import served_signatures
from ckpt2saved.requests.warm_up.file import read_warm_up_requests
from ckpt2saved.saved_model.reading import SavedModelFile
from tests.support.model_server import serving_grpc, serving_rest
from tests.support.saved_models import write_version

SHAPES = (
    "Tensors with name 'x' from different tasks have different shapes and padding is turned off. Set "
    "pad_variable_length_inputs to true"
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(waiting, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(server_asker, "_PAUSE_SECONDS", 0.01)


@pytest.fixture
def rest(version):
    with serving_rest(version.parent, "crnn") as server:
        server.batching = True
        yield server


def verified(run, version, server, *options):
    return run("verify", version, "--server", server.url, "--timeout", "20", *options)


@contextlib.contextmanager
def clients(server, version, signature, inputs, count=4):
    """Clients that ask for the signature again and again; yields the errors that they are answered."""
    tensors = served_signatures(SavedModelFile(version))[signature].outputs
    outputs = tuple(Output(tensor.key, numpy_dtype(tensor.dtype)) for tensor in tensors)
    call = PredictCall(
        model=server.name, version=int(version.name), signature=signature, inputs=inputs, outputs=outputs
    )
    over, errors, answered = threading.Event(), [], threading.Semaphore(0)

    def client():
        connection = connect(parse_address(server.url))
        while not over.wait(0.02):  # within the time for which the server gathers a batch
            try:
                connection.predict(call, 20)
            except Refused as error:
                errors.append(str(error))
            answered.release()

    threads = [threading.Thread(target=client) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2 * count):
            assert answered.acquire(timeout=20)
        yield errors
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("serving", [serving_rest, serving_grpc])
def test_no_request_of_a_client_fails_for_a_probe(run, version, serving):
    """The dense one is asked in the size that is recorded, the broken one fails alone, and is red."""
    if serving is serving_grpc:
        pytest.importorskip("grpc")
        pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    recorded, _ = read_warm_up_requests(version)
    with serving(version.parent, "crnn") as server:
        server.batching = True
        with clients(server, version, "dense", recorded.inputs, count=2) as errors:
            results = [verified(run, version, server) for _ in range(2)]
            green = [verified(run, version, server, "--probe-signature", "dense") for _ in range(2)]
    assert errors == [] and max(server.batches.sizes) > 1
    for result in results:
        assert result.exit_code == 3, result.output
        assert "serving_default: the server responds with an error: " in result.output
        assert "--probe-signature NAME names those that clients ask" in result.output
        assert "dense: the server answers" not in result.output
    for result in green:
        assert result.exit_code == 0, result.output
        assert "answers     1 matching the files" in result.output
        assert "serving_default: not run: --probe-signature does not name it" in result.output


def test_requests_of_another_size_do_fail_those_of_clients(version, rest):
    """What the stand-in has to show, if the test above is to mean anything."""
    recorded, _ = read_warm_up_requests(version)
    wider = dict(recorded.inputs, input_data=np.zeros([2, 32, 120, 3], "float32"))
    with clients(rest, version, "dense", recorded.inputs) as errors, clients(rest, version, "dense", wider):
        pass
    assert errors and "from different tasks have different shapes" in errors[0]


def test_the_server_says_what_it_takes(rest):
    """The messages of TF Serving's batching."""
    request, _ = read_warm_up_requests(rest.base / "1")
    lines = {key: np.resize(value, (33,) + value.shape[1:]) for key, value in request.inputs.items()}
    assert rest.predict(1, "dense", lines)[1] == "Task size 33 is larger than maximum input batch size 32"
    assert "equal 0th-dimension size" in rest.predict(1, "dense", dict(lines, input_batch_size=np.ones(2, "int32")))[1]
    assert "at least one dimension" in rest.predict(1, "dense", dict(lines, input_batch_size=np.array(1, "int32")))[1]


def test_a_server_that_is_said_to_batch_is_asked_what_survives(run, version, rest):
    """The rest is named."""
    result = verified(run, version, rest, "--batched")
    assert result.exit_code == 0, result.output
    assert (
        "serving_default: not run: the server runs with --enable_batching and can't split output_indices, output_shape, "
        "output_values: every request for this signature fails" in result.output
    )
    assert rest.asked.count("/v1/models/crnn/versions/1:predict") == 1


def test_whether_it_batches_is_learnt_from_what_it_answers(run, version, rest):
    """An answer that can't be split, or the error."""
    assert json.loads(verified(run, version, rest, "--json", "-q").output.partition("Error")[0])["server"]["batches"]
    rest.batching = False
    server = json.loads(verified(run, version, rest, "--json", "-q").output)["server"]
    assert server["batches"] is False and server["answers"] == 2


def test_a_made_up_request_does_not_pass_by_chance(run, tmp_path):
    """Its batch is no size of the signature, nor one that an output happens to have."""

    def build(x):
        return {"y": x * 2, "two": tf.constant([1, 2]), "three": tf.range(3 + 0 * tf.cast(tf.size(x), tf.int32))}

    version = write_version(tmp_path / "m" / "1", build)
    with serving_rest(tmp_path / "m", "m") as server:
        server.batching = True
        result = verified(run, version, server)
        assert result.exit_code == 3 and "Batched output tensor's 0th dimension" in result.output, result.output
    version = write_version(tmp_path / "n" / "1", lambda x: {"three": build(x)["three"]})
    result = run("verify", version, "--json", "-q")
    assert "serving_default: cannot be used with --enable_batching: three" in json.loads(result.output)["notes"]
    with serving_rest(tmp_path / "n", "n") as server:
        server.batching = True
        result = verified(run, version, server)
        assert result.exit_code == 3 and "Batched output tensor's 0th dimension" in result.output, result.output


def failing(server, message, times):
    """The server answers the first requests with an error."""
    predict, left = server.predict, [times]

    def failing_first(*arguments):
        left[0] -= 1
        return ("FAILED_PRECONDITION", message) if left[0] >= 0 else predict(*arguments)

    server.predict = failing_first


@pytest.mark.parametrize("message", [SHAPES, "len(sequence_length) != batch_size"])
def test_an_error_that_another_client_may_have_caused_is_asked_again(run, version, rest, message):
    """In the same batch; and said."""
    failing(rest, message, 1)
    result = verified(run, version, rest, "--probe-signature", "dense")
    assert result.exit_code == 0, result.output
    assert "warm-up request 1: dense: succeeded at the second attempt; at the first: HTTP 400: " + message[:20] in (
        result.output
    )
    assert "another client's request in the same batch can be the reason" in result.output
    assert "answers     1 matching the files" in result.output


def test_clients_of_other_sizes_do_not_make_a_version_red(run, version, rest):
    """Nothing is known of it then, which is what the command ends with."""
    failing(rest, SHAPES, 9)
    result = verified(run, version, rest, "--probe-signature", "dense")
    assert result.exit_code == 0, result.output
    assert "dense: not run: HTTP 400: Tensors with name 'x' from different tasks" in result.output
    lines = result.output.splitlines()
    assert "warning     no signature was run: whether the server answers requests for this version is not known; " in (
        lines[-2] + lines[-1] + lines[-3]
    )


def test_an_error_that_stays_is_red(run, version, rest):
    """Though another client could be the reason."""
    failing(rest, "something of its own", 9)
    result = verified(run, version, rest, "--probe-signature", "dense")
    assert result.exit_code == 3 and "something of its own (twice; on a server that batches" in result.output


def test_a_request_of_a_size_that_nobody_knows_is_left_out(run, tmp_path):
    """Unless the server does not batch, or the user insists."""
    version = write_version(tmp_path / "m" / "1", lambda x: {"y": x * 2}, shape=(None, None))
    with serving_rest(tmp_path / "m", "m") as server:
        result = verified(run, version, server)
        assert result.exit_code == 0, result.output
        assert "serving_default: not run: on a server with --enable_batching (unknown for this one), a request of " in (
            result.output
        )
        assert "predict" not in "".join(server.asked) and "warning     no signature was run" in result.output
        for options in (["--unbatched"], ["--probe-signature", "serving_default"]):
            result = verified(run, version, server, *options)
            assert result.exit_code == 0 and "answers     1 matching the files" in result.output, result.output
        np.savez(str(tmp_path / "in.npz"), x=np.zeros([2, 9]))
        result = verified(run, version, server, "--inputs", tmp_path / "in.npz")
        assert result.exit_code == 0 and "answers     1 matching the files" in result.output, result.output


def test_a_request_of_a_fixed_batch_is_left_out(run, tmp_path):
    """Alone it would be answered by a server that batches, and not in one batch with a client's."""
    version = write_version(tmp_path / "m" / "1", lambda x: {"y": x + tf.ones([4, 4])}, shape=(4, 4))
    with serving_rest(tmp_path / "m", "m") as server:
        server.batching = True
        inputs = {"x": np.zeros([4, 4], "float32")}
        alone = server.predict(1, "serving_default", inputs)
        assert isinstance(alone, dict)
        result = verified(run, version, server)
        assert result.exit_code == 0 and "predict" not in "".join(server.asked), result.output
        assert (
            "two requests of a fixed batch size can't be in one batch: this one would make requests of clients fail"
            in (result.output)
        )
        server.batching = False
        result = verified(run, version, server, "--unbatched")
        assert result.exit_code == 0 and "answers     1 matching the files" in result.output, result.output


def test_more_sizes_than_one_are_asked_of_a_server_that_does_not_batch(run, version, rest, tmp_path, crnn_checkpoint):
    """On one that does, the smallest of those that are recorded."""
    arguments = ["export", "-m", "crnn", "-c", crnn_checkpoint, "-o", tmp_path / "crnn", "--warmup", "2", "-q"]
    assert run(*arguments).exit_code == 0
    version, rest.base = tmp_path / "crnn" / "1", tmp_path / "crnn"
    result = verified(run, version, rest, "--batched")
    assert result.exit_code == 0 and "answers     1 matching the files" in result.output, result.output
    assert "dense: not run: requests of other sizes than the first: " in result.output
    rest.batching = False
    result = verified(run, version, rest)
    assert result.exit_code == 0 and "answers     3 matching the files" in result.output, result.output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["verify", "{}", "--probe-signature", "dense"], "--probe-signature: only with the address of a server"),
        (["verify", "{}", "--batched"], "--batched, --unbatched: only with the address of a server"),
        (
            ["verify", "{}", "--server", "http://x", "--probe-signature", "d"],
            "--probe-signature d: there is no such signature; expected one of dense, serving_default",
        ),
        (
            ["bump-version", "{}/..", "--wait-for", "http://x", "--probe-signature", "d"],
            "--probe-signature d: there is no such signature; expected one of dense, serving_default",
        ),
    ],
)
def test_what_is_wrong_with_the_command_line(run, version, arguments, message):
    """Exit 2, and nothing is published."""
    result = run(*[argument.format(version) for argument in arguments])
    assert result.exit_code == 2 and message in result.output, result.output
    assert [path.name for path in version.parent.iterdir()] == ["1"]


def test_names_in_the_environment_do_no_harm_where_no_server_is_asked(run, version):
    """A CI job sets them for another command."""
    result = run("verify", version, "-q", env={"CKPT2SAVED_PROBE_SIGNATURE": "other", "CKPT2SAVED_BATCHED": "1"})
    assert result.exit_code == 0, result.output


def test_the_errors_of_batching_are_told_apart():
    """Each has its own explanation."""
    split = explained("Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes")
    sizes, long = explained(SHAPES), explained("Task size 33 is larger than maximum input batch size 32")
    assert "can't be split" in split
    assert "a request of another size was in the same batch" in sizes and "can't be split" not in sizes
    assert "more lines than max_batch_size" in long and "can't be split" not in long
