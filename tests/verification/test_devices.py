"""verify, inspect and the checks of export ask whether the server's device has a kernel for each node."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ckpt2saved
from ckpt2saved.errors import NotServable, TensorFlowError
from ckpt2saved.graph.kernel_table import Device
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.lint import check_servable
from ckpt2saved.versions.provenance import write_provenance
from tests.support.saved_models import as_text, write_version

CODE = "kernel-not-in-serving"


def for_gpus(x):
    """What has a node that GPUs alone compute."""
    layer = {"num_layers": 1, "num_units": 4, "input_size": 4}
    size = tf.raw_ops.CudnnRNNParamsSize(T=tf.float32, S=tf.int32, name="size", **layer)
    return {"y": x + tf.cast(size, tf.float32)}


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return write_version(tmp_path_factory.mktemp("models") / "cudnn" / "1", for_gpus)


def codes(messages):
    return [message.code for message in messages]


def test_on_the_cpu_the_node_is_a_problem(version):
    """By default; with the op, the node and the remedy."""
    for options in ({}, {"for_device": "cpu"}):
        found = ckpt2saved.verify(version, **options)
        assert codes(found.problems) == [CODE, "not-loadable"]
        assert found.problems[0].text.startswith("CudnnRNNParamsSize: no kernel for CPUs in ")
        assert found.problems[0].text.endswith("-gpu on a GPU") and "(node size)" in found.problems[0].text
        assert codes(ckpt2saved.inspect(version, **options).saved_model.problems) == [CODE]


def test_on_a_gpu_it_is_none(version):
    """What this machine cannot run is a note, and a warning that no answer was seen."""
    found = ckpt2saved.verify(version, for_device="gpu")
    assert found.problems == () and "not-run" in codes(found.notes)
    (warning,) = found.warnings
    assert "answers requests" in warning
    assert "has no kernel for CudnnRNNParamsSize; a server with a GPU has" in [note.text for note in found.notes][-1]
    assert ckpt2saved.inspect(version, for_device="gpu").saved_model.problems == ()


def test_the_commands_have_the_option(run, version):
    assert run("verify", version, "--quiet").exit_code == 3
    result = run("verify", version, "--for-device", "gpu")
    assert result.exit_code == 0, result.output
    assert "a server with a GPU has" in result.output
    content = json.loads(run("inspect", version, "--for-device", "gpu", "--json").output)
    assert content["served"]["problem_details"] == []


def test_files_are_run_on_a_gpu_if_there_is_one(version, tmp_path):
    """There is none in the tests: an error, and no silent run on the CPU."""
    np.save(str(tmp_path / "x.npy"), np.zeros([1, 4], "float32"))
    for call in (ckpt2saved.verify, lambda path, gpu: list(ckpt2saved.predict(path, [tmp_path / "x.npy"], gpu=gpu))):
        with pytest.raises(TensorFlowError, match="--gpu: TensorFlow .* finds no GPU"):
            call(version, gpu=True)


def test_the_device_that_the_version_records_is_the_default(tmp_path):
    """And so is the release for which it was exported."""
    version = write_version(tmp_path / "1", for_gpus)
    write_provenance(version, {"for_serving": "2.4.4", "for_device": "cpu"})
    (problem,) = ckpt2saved.inspect(version).saved_model.problems
    assert "for CPUs in 2.4" in problem.text and "tensorflow/serving:2.4.4-gpu" in problem.text
    write_provenance(version, {"for_serving": "2.4.4", "for_device": "gpu"})
    assert ckpt2saved.inspect(version).saved_model.problems == ()
    assert codes(ckpt2saved.inspect(version, for_device="cpu").saved_model.problems) == [CODE]


def test_a_graph_in_text_is_checked_by_the_running_tensorflow(tmp_path):
    """Its nodes are not read without TensorFlow."""
    version = as_text(write_version(tmp_path / "1", for_gpus))
    assert "no-kernel" in codes(ckpt2saved.inspect(version).saved_model.problems)


def test_what_every_cpu_computes_is_no_problem(tmp_path):
    """On a server with a GPU neither, where its CPU runs what GPUs do not: strings."""
    version = write_version(tmp_path / "1", lambda x: {"y": tf.string_to_number(tf.as_string(x))})
    for device in (None, "cpu", "gpu"):
        found = ckpt2saved.verify(version, for_device=device)
        assert found.problems == () and len(found.answered.answers) == 1


def test_a_graph_for_gpus_passes_the_check_before_it_is_written():
    with tf.Graph().as_default() as graph:
        for_gpus(tf.placeholder("float32", (None, 4)))
    check_servable(graph.as_graph_def(), Device.GPU)
    with pytest.raises(NotServable, match="it has no CPU kernel"):
        check_servable(graph.as_graph_def())
