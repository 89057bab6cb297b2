"""A published version is live when a server has it and answers as its files do; red otherwise, in the server's words."""

from __future__ import annotations

import json
import shutil
import struct
import sys

import numpy as np
import pytest

from ckpt2saved.client import waiting
from ckpt2saved.files.protobuf.crc32c import crc32c, masked
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.warm_up.file import as_prediction_log
from ckpt2saved.saved_model.judgement import WARMUP_FILE
from ckpt2saved.verification import live
from tests.support.command_line import python
from tests.support.model_server import serving_grpc, serving_rest
from tests.support.saved_models import changed, write_version
from tests.support.versions import record_content


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """A look every hundredth of a second."""
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(waiting, "_PATIENCE_SECONDS", 0.05)


@pytest.fixture
def rest(version):
    with serving_rest(version.parent, "crnn") as server:
        yield server


def verified(run, version, server, *options):
    return run("verify", version, "--server", server.url, "--timeout", "2", *options)


def test_a_live_version_answers_as_its_files(run, version, rest):
    """Exactly this version is asked, every signature."""
    rest.script[1] = ["LOADING", "LOADING", "AVAILABLE"]
    result = verified(run, version, rest)
    assert result.exit_code == 0, result.output
    assert "server      crnn 1 is LOADING; a load that fails is tried again" in result.output
    assert "server      crnn 1 is AVAILABLE after " in result.output
    assert "answers     2 matching the files, largest difference " in result.output
    assert rest.asked.count("/v1/models/crnn/versions/1:predict") == 2
    content = json.loads(verified(run, version, rest, "--json", "-q").output)["server"]
    assert content["outcome"] == "live" and content["compared"] is True and content["answers"] == 2
    assert content["address"] == rest.url and (content["model"], content["version"]) == ("crnn", 1)
    assert [state["state"] for state in content["states"]] == ["AVAILABLE"]
    assert set(content["max_abs_difference"]) == {"dense", "serving_default"} and content["problems"] == []


def test_wrong_answers_are_red(run, version, rest):
    """One class id that is not the files', a score that is off by more than rounding."""
    rest.wrong = lambda key, value: value + 1 if key == "output_values" else value * 1.01 if key == "score" else value
    result = verified(run, version, rest)
    assert result.exit_code == 3
    assert "  - warm-up request 1: dense.score: values differ by up to" in result.output
    assert "  - a made-up request: serving_default.output_values: " in result.output
    assert "(the server's answer, and that of the files)" in result.output
    assert "output_indices" not in result.output.split("Error")[1]


def test_rounding_is_not_red(run, version, rest):
    """Another processor sums in another order."""
    rest.wrong = lambda key, value: (value * 1.0005).astype(value.dtype) if key == "score" else value
    assert verified(run, version, rest, "-q").exit_code == 0


def test_variables_that_were_never_restored_are_red(run, version, rest):
    """AVAILABLE, and HTTP 400 to every request."""
    rest.uninitialised = True
    result = verified(run, version, rest)
    assert result.exit_code == 3
    assert "the server responds with an error: HTTP 400: " in result.output
    assert "the server loaded the version before its variables were complete" in result.output


def test_batching_breaks_the_sparse_signature_and_no_other(run, version, rest):
    """The known message, and the way out."""
    rest.batching = True
    result = verified(run, version, rest)
    assert result.exit_code == 3
    problems = result.output.split("Error: ")[1]
    assert "serving_default: the server responds with an error: HTTP 400: Batched output tensor's 0th" in problems
    assert "the server runs with --enable_batching" in problems and "of the crnn: dense" in problems
    assert "dense: the server answers" not in problems


def test_other_files_under_the_number_are_found_out(run, version, rest, tmp_path):
    """The server has a model without this signature."""
    shutil.copytree(str(version), str(tmp_path / "other" / "1"))
    changed(tmp_path / "other" / "1", lambda meta_graph: meta_graph.signature_def.pop("dense"))
    rest.base = tmp_path / "other"
    result = verified(run, version, rest)
    assert result.exit_code == 3
    assert 'Serving signature name: "dense" not found in signature def (the server has other files' in result.output


@pytest.mark.parametrize(
    "fault, message, timeout",
    [("garbage", "this is not a response of TF Serving", "20"), ("hang", "no response within", "0.2")],
)
def test_a_server_that_does_not_answer_requests(run, version, rest, monkeypatch, fault, message, timeout):
    """Garbage is exit 1, as it is no TF Serving; silence is red."""
    monkeypatch.setattr(live, "_LEAST_SECONDS", 0.2)
    rest.fault = fault
    result = run("verify", version, "--server", rest.url, "--timeout", timeout)
    assert result.exit_code == (1 if fault == "garbage" else 3), result.output
    assert message in result.output


def test_a_model_name_of_its_own(run, version, rest):
    """Not the directory's."""
    rest.name = "reader"
    assert "it has no model crnn" in run("verify", version, "--server", rest.url, "--timeout", "0.1").output
    assert verified(run, version, rest, "--model-name", "reader", "-q").exit_code == 0


def test_values_that_json_knows_only_by_name_and_bytes(run, tmp_path):
    """NaN is refused before; infinities, bytes, texts, truth values and no elements come back as they were."""

    def build(x):
        return {
            "inf": x / 0.0,
            "picture_bytes": tf.map_fn(lambda _: tf.constant(b"\xff\x00"), x, tf.string),
            "text": tf.as_string(tf.cast(x, tf.int32)),
            "large": x > 2,
            "none": tf.zeros([0, 2], tf.int64) + tf.cast(tf.size(x), tf.int64),
            "scalar": tf.reduce_max(x),
        }

    version = write_version(tmp_path / "m" / "3", build, shape=(None,))
    with serving_rest(tmp_path / "m", "m") as server:
        result = run("verify", version, "--server", server.url, "--json", "-q")
    content = json.loads(result.output)
    assert result.exit_code == 0 and content["server"]["answers"] == 1, result.output
    assert len(content["server"]["max_abs_difference"]["serving_default"]) == 6


def test_a_single_output_comes_without_its_name(run, tmp_path):
    """TF Serving leaves it away."""
    version = write_version(tmp_path / "m" / "3", lambda x: {"y": x * 2})
    with serving_rest(tmp_path / "m", "m") as server:
        assert run("verify", version, "--server", server.url, "-q").exit_code == 0


def test_over_grpc_the_same(run, version):
    """The real API's own messages at the other end; wrong answers and refusals too."""
    pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    with serving_grpc(version.parent, "crnn") as server:
        result = verified(run, version, server)
        assert result.exit_code == 0, result.output
        assert "answers     2 matching the files, largest difference " in result.output
        assert "Predict 1 dense" in server.asked
        server.wrong = lambda key, value: value + 1
        assert verified(run, version, server).exit_code == 3
        server.wrong = lambda key, value: value
        server.batching = True
        result = verified(run, version, server)
        assert result.exit_code == 3
        assert "FAILED_PRECONDITION: Batched output tensor's 0th dimension" in result.output


def test_export_waits_for_what_it_published(run, tmp_path, crnn_checkpoint):
    """The directory on stdout, the server on stderr; --json has both."""
    (tmp_path / "crnn").mkdir()
    arguments = ["export", "-m", "crnn", "-c", crnn_checkpoint, "-o", tmp_path / "crnn"]
    with serving_rest(tmp_path / "crnn", "crnn") as server:
        result = run(*arguments, "--wait-for", server.url)
        assert result.exit_code == 0, result.output
        lines = result.output.splitlines()
        assert lines.count(str(tmp_path / "crnn" / "1")) == 1
        assert any(line.startswith("server      crnn 1 is AVAILABLE") for line in lines)
        assert any(
            line.startswith("answers     3 matching the files") for line in lines
        )  # a warm-up request, two parity cases
        server.script[2] = [404]
        server.lists = [(1, "AVAILABLE")]
        result = run(*arguments, "--wait-for", server.url, "--timeout", "0.3", "--json", "-q")
        assert result.exit_code == 3
        content = json.loads(result.output[: result.output.rindex("}") + 1])
        assert content["path"] == str(tmp_path / "crnn" / "2") and content["checkpoint"]["name"] == "model.ckpt-7"
        assert content["server"]["outcome"] == "timed out" and content["format"] == 1
        assert f"Error: {server.url}: crnn 2 is not live\n  - not live after 0.3 s" in result.output


def test_the_directory_is_printed_though_the_server_never_gets_there(run, version):
    """It is published: a CI step that fails still knows what."""
    with serving_rest(version.parent, "crnn") as server:
        server.script[2] = ["LOADING", ("END", "DATA_LOSS", "checksum")]
        result = run("bump-version", version.parent, "--wait-for", server.url)
    assert result.exit_code == 3
    assert result.output.splitlines()[0] == str(version.parent / "2")
    assert "crnn 2 failed to load and will not be retried: DATA_LOSS: checksum" in result.output
    assert not [path for path in server.asked if "predict" in path]


def test_bump_version_waits_and_compares(run, version):
    """Roll back, and see it live."""
    with serving_rest(version.parent, "crnn") as server:
        result = run("bump-version", version.parent, "--wait-for", server.url, "--json", "-q")
        content = json.loads(result.output)
        assert result.exit_code == 0 and content["version"] == 2 and content["server"]["compared"] is True
        assert server.asked[-1] == "/v1/models/crnn/versions/2:predict"


def test_without_tensorflow_it_is_asked_and_not_compared(version):
    """The machine that rolls back need not have one; and nothing else would import it."""
    with serving_rest(version.parent, "crnn") as server:
        code = "import sys; sys.modules['tensorflow'] = None; from ckpt2saved.cli import main; main({!r}, 'ckpt2saved')"
        done = python(code.format(["bump-version", str(version.parent), "--wait-for", server.url]))
        assert done.returncode == 0, done.stdout
        assert (
            "answers     2, not compared with the files: that needs TensorFlow, which is not installed in this Python"
            in done.stdout
        )
        server.models.clear()
        server.uninitialised = True
        done = python(code.format(["bump-version", str(version.parent), "--wait-for", server.url]))
        assert done.returncode == 3 and "before its variables were complete" in done.stdout


def test_files_of_another_tensorflow_are_asked_on_the_server_alone(run, version):
    """This one can't load them; the server has them all the same."""
    with serving_rest(version.parent, "crnn") as server:
        server.loaded(1)
        server.models[2] = server.models[1]
        changed(version, lambda meta_graph: meta_graph.graph_def.node.add(name="stray", op="NoSuchOp"))
        record_content(version)
        result = run("bump-version", version.parent, "--wait-for", server.url)
    assert result.exit_code == 0, result.output
    assert "answers     2, not compared with the files: they do not load here: TF Serving's loader refuses" in (
        result.output
    )


def test_json_is_printed_though_something_else_answers(run, version):
    """The version is published, which a CI job has to know."""
    with serving_rest(version.parent, "crnn") as server:
        server.script[2] = [(200, "<html>")]
        result = run("bump-version", version.parent, "--wait-for", server.url, "--json", "-q")
    assert result.exit_code == 1
    content = json.loads(result.output[: result.output.rindex("}") + 1])
    assert (
        content["path"] == str(version.parent / "2")
        and "not a response of TF Serving" in content["server"]["problems"][0]
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["bump-version", "{}", "--wait-for", "http://x", "--dry-run"], "--wait-for: not with --dry-run"),
        (["bump-version", "{}", "--model-name", "x"], "--model-name: only with the address of a server"),
        (["prune", "{}", "--server", "x:1"], "'x:1' is not a server address"),
        (["bump-version", "{}", "--wait-for", "http://x", "--timeout", "-1"], "-1.0 is not in the range"),
    ],
)
def test_what_is_wrong_with_the_command_line(run, version, arguments, message):
    """Exit 2, and nothing is published."""
    result = run(*[argument.format(version.parent) for argument in arguments])
    assert result.exit_code == 2 and message in result.output, result.output
    assert [path.name for path in version.parent.iterdir()] == ["1"]


def test_prune_spares_what_the_server_has(run, version):
    """And deletes nothing while the newest is not there."""
    base = version.parent
    for number in (2, 3, 4):
        shutil.copytree(str(version), str(base / str(number)))
    with serving_rest(base, "crnn") as server:
        server.lists = [(4, "LOADING"), (3, "AVAILABLE")]
        result = run("prune", base, "--keep", "1", "--server", server.url)
        assert result.exit_code == 3 and "crnn 4, the newest version, is LOADING there" in result.output
        assert len(list(base.iterdir())) == 4
        server.lists = [(4, "AVAILABLE"), (3, "UNLOADING"), (1, "END")]
        result = run("prune", base, "--keep", "1", "--server", server.url)
        said = f"server      {server.url} has versions 4 (AVAILABLE), 3 (UNLOADING); none of them is deleted"
        assert (result.exit_code, result.output.splitlines()) == (0, [said, str(base / "2"), str(base / "1")])
        server.name = "other"
        result = run("prune", base, "--keep", "1", "--server", server.url, "--model-name", "other", "--json")
        content = json.loads(result.output.partition("\n")[2])  # after the line on stderr
        assert content["deleted"] == []
        assert content["server"] == {"address": server.url, "versions": {"3": "UNLOADING", "4": "AVAILABLE"}}
    result = run("prune", base, "--keep", "1", "--server", server.url)
    assert result.exit_code == 1 and "it does not report its versions: connection refused" in result.output


def test_a_terminal_has_a_live_line():
    """A CI log has none."""
    from rich.console import Console

    from ckpt2saved.console.narration import Narration

    class Status:
        def __init__(self):
            self.texts = []

        def update(self, running):
            self.texts.append(running.text((running.start or 0) + 12.4))

    status = Status()
    Narration(Console(file=sys.stderr), "wait", status, lambda step, text: None).progress("m 2 is LOADING, 3 s of 600")
    Narration(Console(file=sys.stderr), "wait", None, lambda step, text: None).progress("nothing")
    Narration(Console(file=sys.stderr), "wait", status, lambda step, text: None).begin("asking m 2")
    assert status.texts == ["wait: m 2 is LOADING, 3 s of 600", "wait: asking m 2  12 s"]


def test_strings_are_asked_too(run, tmp_path):
    """Requests from a file, bytes both ways."""
    version = write_version(tmp_path / "m" / "1", lambda x: {"y_bytes": tf.string_join([x, "!"])}, "string", (None,))
    np.savez(str(tmp_path / "in.npz"), x=np.array([b"\xff\x01", b"a"]))
    with serving_rest(tmp_path / "m", "m") as server:
        result = run("verify", version, "--server", server.url, "--inputs", tmp_path / "in.npz")
    assert result.exit_code == 0, result.output
    assert "answers     1 matching the files, largest difference 0" in result.output


def checksum(data):
    """As a TFRecord has it."""
    return struct.pack("<I", masked(crc32c(data)))


def test_recorded_requests_go_before_made_up_ones(run, version):
    """Those of the version's warm-up file; a signature that has none there is asked as ever."""
    record = Request(
        "recorded",
        "dense",
        {"input_data": np.full([3, 32, 8, 3], 7.0, "float32"), "input_batch_size": np.array([2, 0, 1], "int32")},
    )
    content = as_prediction_log(record, "crnn")
    length = struct.pack("<Q", len(content))
    framed = length + checksum(length) + content + checksum(content)
    (version / WARMUP_FILE).write_bytes(framed * 2)
    with serving_rest(version.parent, "crnn") as server:
        server.wrong = lambda key, value: value + 1
        result = run("verify", version, "--server", server.url)
    for name in (
        "warm-up request 1: dense.ids: ",
        "warm-up request 2: dense.ids: ",
        "a made-up request: serving_default.",
    ):
        assert "  - " + name in result.output
    assert "a made-up request: dense" not in result.output
    (version / WARMUP_FILE).write_bytes(framed * 1001)
    result = run("verify", version)
    assert result.exit_code == 3 and "1001 requests or more, and TF Serving takes 1000 at most" in result.output
    assert "answers     11 requests, each run twice" in result.output
    (version / WARMUP_FILE).write_bytes(framed[:-7])
    result = run("verify", version)
    assert result.exit_code == 3 and "tf_serving_warmup_requests: cut off" in result.output
