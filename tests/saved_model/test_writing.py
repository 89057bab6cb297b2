"""The files of a SavedModel: what is in them, what is not, and that they are the same each time."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.answers import cc_loader
from ckpt2saved.checkpoint.contents import choose_weights, open_checkpoint
from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.checkpoint.variables import graph_variables
from ckpt2saved.errors import NotServable, SignatureError
from ckpt2saved.errors.problem import texts
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.tf1 import SavedModel, tf
from ckpt2saved.saved_model.fingerprint import write_fingerprint
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.saved_model.writing import _write_variables, bind_signatures
from ckpt2saved.signature.file import load_model, parse_model
from ckpt2saved.sources.networks import build_network
from ckpt2saved.versions import read_provenance
from ckpt2saved.versions.content import content_sha256
from tests.support.checkpoints import crnn_shapes, filled, write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
READS_FINGERPRINTS = importlib.util.find_spec("tensorflow.python.saved_model.fingerprinting") is not None

SPARSE = """
format: 1
graph: {builder: crnn}
signatures:
  serving_default:
    inputs: {image: {dtype: float32, shape: [batch, 4], tensor: "x:0"}}
    outputs: {decoded: {dtype: int64, shape: [batch], tensor: decoded}}
"""


@pytest.fixture(scope="module")
def version(tmp_path_factory, crnn_checkpoint):
    """The files that the export of a small CRNN stages."""
    return export(tmp_path_factory.mktemp("version"), crnn_checkpoint)


def export(base, checkpoint, *options):
    """The directory that `ckpt2saved export` publishes."""
    from click.testing import CliRunner

    from ckpt2saved.cli import main

    arguments = ["export", "--model", "crnn", "--checkpoint", str(checkpoint), "--export-dir", str(base), "--quiet"]
    result = CliRunner().invoke(main, arguments + list(options))
    assert result.exit_code == 0, result.output
    return base / "1"


def meta_graph(directory):
    saved_model = SavedModel()
    saved_model.ParseFromString((directory / "saved_model.pb").read_bytes())
    assert saved_model.saved_model_schema_version == 1
    (content,) = saved_model.meta_graphs
    return content


def test_it_is_tagged_for_serving_and_predicts(version):
    """The tag set is SERVING alone, and every signature is asked through Predict."""
    content = meta_graph(version)
    assert list(content.meta_info_def.tags) == ["serve"]
    assert sorted(content.signature_def) == ["dense", "serving_default"]
    assert {s.method_name for s in content.signature_def.values()} == {"tensorflow/serving/predict"}


def test_signatures_have_the_originals_names_types_and_shapes(version):
    """Clients of the original system find what they ask for; -1 is what a request may choose."""
    definitions = meta_graph(version).signature_def

    def described(tensors):
        return {
            key: (tf.as_dtype(info.dtype).name, [dim.size for dim in info.tensor_shape.dim])
            for key, info in tensors.items()
        }

    assert described(definitions["serving_default"].inputs) == {
        "input_data": ("float32", [-1, 32, -1, 3]),
        "input_batch_size": ("int32", [-1]),
    }
    assert described(definitions["serving_default"].outputs) == {
        "output_indices": ("int64", [-1, 2]),
        "output_values": ("int64", [-1]),
        "output_shape": ("int64", [2]),
    }
    assert described(definitions["dense"].outputs) == {
        "ids": ("int64", [-1, -1]),
        "lengths": ("int32", [-1]),
        "score": ("float32", [-1]),
    }


def test_every_tensor_of_a_signature_has_a_name(version):
    """No TensorInfo is a composite, which TF Serving would fetch as 'Tensor :0'."""
    for definition in meta_graph(version).signature_def.values():
        for info in list(definition.inputs.values()) + list(definition.outputs.values()):
            assert info.name and info.WhichOneof("encoding") == "name"


def test_default_attributes_are_stripped_and_devices_cleared(version):
    """An older server refuses attributes that it does not know; nodes are tied to no device and no other node."""
    content = meta_graph(version)
    assert content.meta_info_def.stripped_default_attrs
    assert not any(node.device or "_class" in node.attr for node in content.graph_def.node)
    # use_cudnn_on_gpu has been Conv2D's, with a default, in every release
    assert not any("use_cudnn_on_gpu" in node.attr for node in content.graph_def.node)


def test_only_what_is_served_is_written(version):
    """No slots, no global_step, no initialisers: the variables of the graph, under their own names."""
    held = tf.train.NewCheckpointReader(str(version / "variables" / "variables")).get_variable_to_shape_map()
    assert {name: tuple(shape) for name, shape in held.items()} == crnn_shapes()
    nodes = {node.name for node in meta_graph(version).graph_def.node}
    assert not [name for name in nodes if "Initializer" in name or "Adam" in name or "global_step" in name]


def test_loops_are_those_of_a_1x_server(version):
    """v1 control flow, reference variables, no function library."""
    graph_def = meta_graph(version).graph_def
    ops = {node.op for node in graph_def.node}
    assert {"Enter", "Exit", "NextIteration", "VariableV2"} <= ops
    assert not [op for op in ops if op.startswith(("While", "Stateless", "VarHandle", "Partitioned"))]
    assert not graph_def.library.function


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path, version, crnn_checkpoint):
    """Whatever names a file is built, again: only the provenance may differ."""
    again = export(tmp_path, crnn_checkpoint)
    files = sorted(file.relative_to(version) for file in version.rglob("*") if file.is_file())
    assert [str(file) for file in files] == [
        "assets.extra/ckpt2saved.json",
        "assets.extra/tf_serving_warmup_requests",
        *(["fingerprint.pb"] if READS_FINGERPRINTS else []),
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]
    for file in files[1:]:
        assert (version / file).read_bytes() == (again / file).read_bytes(), file


@pytest.mark.skipif(not READS_FINGERPRINTS, reason="fingerprints are of TensorFlow 2.12 and newer")
def test_the_fingerprint_is_that_of_tensorflow(tmp_path, version):
    """TensorFlow reads it, computes the same for the files that were published, and another one for another graph."""
    from tensorflow.python.saved_model import fingerprinting_utils

    read = tf.compat.v2.saved_model.experimental.read_fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(str(version), str(copy))
    (copy / "fingerprint.pb").unlink()
    fingerprinting_utils.write_fingerprint(str(copy))
    assert read(str(copy)) == read(str(version)) and read(str(version)).checkpoint_hash
    assert (copy / "fingerprint.pb").read_bytes() != (version / "fingerprint.pb").read_bytes()  # a random UUID
    (tmp_path / "other").mkdir()
    other = export(tmp_path, write_checkpoint(tmp_path / "other" / "model", filled(crnn_shapes(classes=14))))
    assert read(str(other)) != read(str(version))
    ids = [re.findall(rb"[0-9]{30,}", (one / "fingerprint.pb").read_bytes()) for one in (other, version)]
    assert len(ids[0]) == len(ids[1]) == 1 and ids[0] != ids[1]


@pytest.mark.skipif(not READS_FINGERPRINTS, reason="fingerprints are of TensorFlow 2.12 and newer")
@pytest.mark.parametrize(
    "name, change",
    [
        ("saved_model.pb", lambda path: path.write_bytes(b"abc")),
        ("saved_model.pb", lambda path: path.unlink()),
        ("variables/variables.index", lambda path: (path.unlink(), path.mkdir())),
    ],
    ids=["graph", "no graph", "variables"],
)
def test_a_fingerprint_of_files_that_cannot_be_read_is_not_written(tmp_path, version, name, change):
    """TensorFlow leaves a hash out, without an error, of a file that it does not find or, of the index, cannot read."""
    copy = tmp_path / "copy"
    shutil.copytree(str(version), str(copy))
    (copy / "fingerprint.pb").unlink()
    change(copy / name)
    with pytest.raises(OSError, match=f"could not read it for the fingerprint.*{name}"):
        write_fingerprint(copy)
    assert not (copy / "fingerprint.pb").exists()


def test_they_do_not_depend_on_the_process_nor_on_directories(version, tmp_path, crnn_checkpoint):
    """Another order of hashes, another working directory, another path of the checkpoint."""
    checkpoint = tmp_path / "copy"
    shutil.copytree(str(crnn_checkpoint.parent), str(checkpoint))
    command = [sys.executable, "-m", "ckpt2saved", "export", "--model", "crnn", "-c", str(checkpoint), "-o", "base"]
    environment = dict(os.environ, PYTHONHASHSEED="7", PYTHONPATH=str(ROOT))
    subprocess.run(command, cwd=str(tmp_path), env=environment, check=True, stdout=subprocess.DEVNULL)
    for one in (version, tmp_path / "base" / "1"):
        assert read_provenance(one)["content_sha256"] == content_sha256(version)


def test_pythons_loader_reads_it_too(version):
    """saved_model_cli and Python clients load with a Saver made of the saver_def."""
    with tf.Graph().as_default(), tf.Session() as session:
        content = tf.saved_model.loader.load(session, ["serve"], str(version))
        signature = content.signature_def["dense"]
        feeds = {
            signature.inputs["input_data"].name: [[[[0.0] * 3] * 40] * 32],
            signature.inputs["input_batch_size"].name: [10],
        }
        assert session.run(signature.outputs["ids"].name, feeds).shape == (1, 10)


def test_what_does_not_fit_the_graph_is_said_at_once():
    """A tensor that is not there, another dtype and another shape in one message."""
    text = """
format: 1
graph: {builder: crnn}
signatures:
  serving_default:
    inputs:
      input_data: {dtype: float64, shape: [batch, 32, width, 1]}
      input_batch_size: {dtype: int32, shape: [batch]}
    outputs: {text: {dtype: string, shape: [batch]}}
"""
    model = parse_model(text, Path("own.yaml"))
    with pytest.raises(SignatureError) as caught, tf.Graph().as_default() as graph:
        bind_signatures(model, build_network("crnn", crnn_shapes(), {}), graph)
    assert tuple(texts(caught.value.problems)) == (
        "signatures.serving_default.inputs.input_data.dtype: float32 in the graph, float64 in the file",
        "signatures.serving_default.inputs.input_data.shape: [?, 32, ?, 3] in the graph, [batch, 32, width, 1] in the file",
        "signatures.serving_default.outputs.text: the graph has no tensor 'text'; the builder names ids, "
        "input_batch_size, input_data, lengths, logits, output_indices, output_shape, output_values, score",
    )


def test_a_sparse_tensor_is_refused_with_the_way_out():
    """It would load, and then fail every request."""
    with pytest.raises(NotServable) as caught, tf.Graph().as_default() as graph:
        tf.placeholder(tf.float32, [None, 4], name="x")
        sparse = tf.SparseTensor([[0, 0]], [1], [1, 1])
        bind_signatures(parse_model(SPARSE, Path("own.yaml")), {"decoded": sparse}, graph)
    assert caught.value.exit_code == 3
    (problem,) = texts(caught.value.problems)
    assert problem.startswith("signatures.serving_default.outputs.decoded: 'decoded' is a SparseTensor")
    assert problem.endswith("serve its indices, values and dense_shape")


def test_a_sparse_tensor_bound_whole_fails_every_request(tmp_path):
    """What is refused, as SavedModelBuilder writes it without a word: no name, so that the server looks for ":0"."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 4], name="x")
        sparse = tf.SparseTensor(tf.where(x > 0), tf.boolean_mask(x, x > 0), tf.shape(x, out_type=tf.int64))
        builder = tf.saved_model.Builder(str(tmp_path / "naive"))
        signature = tf.saved_model.predict_signature_def({"x": x}, {"decoded": sparse})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    name = read_signatures(tmp_path / "naive")["serving_default"].output("decoded").tensor
    with cc_loader.loaded(cc_loader.find_library(), tmp_path / "naive") as loaded:
        with pytest.raises(NotServable, match="Tensor , specified in a signature, is not in the SavedModel's graph"):
            loaded.run([name], {"x:0": np.ones([1, 4], "float32")})


def test_any_tensor_of_the_graph_can_be_served():
    """A signature of one's own names tensors of the builder, or any node:0."""
    model = load_model("crnn")
    text = model.source.read_text().replace(
        "score: {dtype: float32, shape: [batch]}",
        'raw: {dtype: float32, shape: [time, batch, classes], tensor: "shadow/logits:0"}',
    )
    with tf.Graph().as_default() as graph:
        tensors = build_network("crnn", crnn_shapes(), {})
        definitions = bind_signatures(parse_model(text, Path("own.yaml")), tensors, graph)
    assert definitions["dense"].output("raw").tensor == "shadow/logits:0"


def test_pruned_keeps_what_is_needed_and_leaves_its_argument():
    """Inputs, control inputs and second outputs are followed; the rest goes; the graph given stays as it was."""
    with tf.Graph().as_default() as graph:
        with tf.device("/device:CPU:0"):
            parts = tf.split(tf.placeholder(tf.float32, [4], name="x"), 2, name="parts")
        tf.constant(1.0, name="unused")
        guard = tf.no_op(name="guard")
        with tf.control_dependencies([guard]):
            tf.identity(parts[1], name="y")
    graph_def = graph.as_graph_def()
    before = graph_def.SerializeToString()
    kept = pruned(graph_def, ["y"])
    assert {node.name for node in kept.node} == {"x", "parts", "parts/split_dim", "guard", "y"}
    assert not any(node.device for node in kept.node)
    assert graph_def.SerializeToString() == before


@pytest.mark.parametrize("name, node", [("a/b:1", "a/b"), ("^a/b", "a/b"), ("a", "a")])
def test_node_name(name, node):
    """Of a tensor, of a control input, of an operation."""
    assert node_name(name) == node


def test_moving_averages_are_written_under_their_variables_names(tmp_path, ctpn_checkpoint):
    """The served file knows nothing of averages: their values stand where the variables' did."""
    checkpoint = open_checkpoint(find_checkpoint(ctpn_checkpoint))
    with tf.Graph().as_default():
        build_network("ctpn", checkpoint.variables(), {})
        variables = graph_variables(tf.get_default_graph())
        weights = choose_weights(checkpoint, variables, "auto")
    assert weights.kind == "ema"
    _write_variables(tmp_path / "variables", checkpoint, weights)
    written = tf.train.NewCheckpointReader(str(tmp_path / "variables" / "variables"))
    source_reader = tf.train.NewCheckpointReader(str(ctpn_checkpoint))
    for variable in variables:
        name = variable.name
        average = source_reader.get_tensor(name + "/ExponentialMovingAverage")
        assert (written.get_tensor(name) == average).all()
        assert (written.get_tensor(name) != source_reader.get_tensor(name)).any()
