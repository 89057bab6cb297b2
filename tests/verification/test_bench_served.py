"""The command bench served, against the tests' own server."""

from __future__ import annotations

import json

import pytest

from ckpt2saved.requests.pictures import request_of_pictures
from ckpt2saved.verification.speed.opening import Opening, open_target
from tests.support.command_line import call
from tests.support.model_server import serving_grpc, serving_rest
from tests.support.saved_models import write_version

QUICK = ["--window", "0.1", "--most-windows", "3"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model of one version that answers how long each picture is. Not to be written to."""
    from ckpt2saved.graph.tf1 import tf

    base = tmp_path_factory.mktemp("served") / "m"
    base.mkdir()
    write_version(
        base / "1", lambda x: {"text": tf.as_string(tf.strings.length(x))}, "string", (None,), key="image_bytes"
    )
    return base


@pytest.fixture(params=["rest", "grpc"])
def server(request, base):
    if request.param == "grpc":
        pytest.importorskip("grpc")
        pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    with (serving_rest if request.param == "rest" else serving_grpc)(base, "m") as server:
        yield server


def test_a_sweep_without_tensorflow(server):
    """In a process that has none; the output fits its schema."""
    url = f"{server.url}/v1/models/m"
    done = call("bench", "served", url, "--concurrency", "1,3", "--batch", "2", "--json", "--quiet", *QUICK)
    assert done.returncode == 0, done.stdout
    content = json.loads(done.stdout)
    (target,) = content["targets"]
    assert (target["name"], target["driver"], target["model"], target["version"]) == (url, "server", "m", 1)
    assert target["signature"] == "serving_default" and set(target["settings"].values()) == {None}
    assert [(row["concurrency"], row["batch"], row["rate"]) for row in target["rows"]] == [(1, 2, None), (3, 2, None)]
    for row in target["rows"]:
        assert row["failures"] == {} and row["lines"] == 2 * row["requests"] >= 2 * 3 * 20
        assert 0 < row["p50"] <= row["p90"] <= row["p99"] < 2
        assert row["bytes_sent"] > 500 * row["lines"] and row["bytes_received"] > 4 * row["lines"]
        low, high = map(int, row["widths"].split("-"))
        assert 40 <= low < high <= 400
    assert content["comparison"] is None and content["machine"]["cpus"] >= 1


def test_two_versions_at_planned_rates_as_tables_and_a_plot(base, run_apart, tmp_path):
    plot = tmp_path / "m.png"
    with serving_rest(base, "m") as server:
        url = f"{server.url}/v1/models/m"
        result = run_apart("bench", "served", url, url + "/versions/1", "--rate", "200", "--plot", plot, *QUICK)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("planned/s") == 2 and f"{url}/versions/1 / {url}: ratios" in result.stdout
    assert "200 requests/s, batch 1" in result.stdout and "none" in result.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")


def failure(target):
    (spec,) = target.signature.inputs
    return target.predict(request_of_pictures("serving_default", spec.key, ["a"], [b"abc"])).failure


def test_failures_are_of_kinds(base):
    """They are returned, not raised, and not hidden by a second attempt."""
    with serving_rest(base, "m") as model:
        with open_target(f"{model.url}/v1/models/m", Opening(timeout=0.5)) as target:
            assert failure(target) is None
            model.busy = 1
            assert failure(target) == "HTTP 503"
            assert failure(target) is None
            model.fault = "garbage"
            assert failure(target) is None  # the answers are not read
            model.fault = "hang"
            assert failure(target) == "timed out"
    with open_target_of_ended(base) as target:
        assert failure(target) == "unreachable"


def open_target_of_ended(base):
    with serving_rest(base, "m") as model:
        return open_target(f"{model.url}/v1/models/m", Opening(timeout=0.5))


def test_what_can_not_be_measured(base, run_apart):
    with serving_rest(base, "m") as model:
        url = f"{model.url}/v1/models/m"
        result = run_apart("bench", "served", url, "--signature", "text")
        assert result.exit_code == 2 and "has serving_default" in result.stderr
        result = run_apart("bench", "served", url, url)
        assert result.exit_code == 2 and "given twice" in result.stderr
        result = run_apart("bench", "served", url, "--plot", "m.gif")
        assert result.exit_code == 2 and "ends in .png, .svg, .pdf" in result.stderr
        result = run_apart("bench", "served", url + "x")
        assert result.exit_code == 1 and "no such model" in result.stderr
