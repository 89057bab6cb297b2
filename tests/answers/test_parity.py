"""Files that answer differently from their checkpoint are found out, whichever way they differ."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ckpt2saved.answers import cc_loader, parity
from ckpt2saved.answers.checkpoint_asker import open_checkpoint_asker
from ckpt2saved.answers.comparison import SAME_TENSORFLOW, find_difference
from ckpt2saved.answers.new_process import loaded_in_new_process
from ckpt2saved.checkpoint.contents import open_checkpoint
from ckpt2saved.errors import NotServable, ParityError, SignatureError
from ckpt2saved.errors.problem import texts
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.parity import default_case, parity_requests
from ckpt2saved.saved_model.writing import ServingGraph, write_saved_model
from ckpt2saved.signature.file import load_model, parse_model
from ckpt2saved.sources.binding import bind
from ckpt2saved.sources.graph_plan import GraphOptions, plan_graph
from tests.support.checkpoints import crnn_shapes, filled, write_checkpoint


@pytest.fixture(params=["crnn", "ctpn"])
def prefix(request, crnn_checkpoint, ctpn_checkpoint):
    return {"crnn": crnn_checkpoint, "ctpn": ctpn_checkpoint}[request.param]


def prepared(prefix, **plan):
    """What export prepares for the checkpoint at `prefix`, and the right answers."""
    plan.setdefault("model", "ctpn" if "ctpn" in str(prefix) else "crnn")
    planned = plan_graph(GraphOptions(checkpoints=(Path(str(prefix)),), **plan))
    checkpoint = open_checkpoint(planned.checkpoint)
    network = bind(planned, checkpoint)
    asked = parity_requests(planned.model, planned.model.parity)
    with open_checkpoint_asker(network, checkpoint) as asker:
        answers = asker.numbers(asked)
    return SimpleNamespace(network=network, checkpoint=checkpoint, asked=asked, answers=answers)


def staged(directory, made):
    """The SavedModel's files, as export stages them."""
    write_saved_model(directory, made.network.serving, made.checkpoint, made.network.weights)
    return directory


def test_untouched_files_answer_alike_and_the_report_says_how(tmp_path, prefix):
    """Every signature is asked every case twice, through TF Serving's own loader; the differences are tiny."""
    made = prepared(prefix)
    report = parity.compare_files(staged(tmp_path, made), made.asked, made.answers)
    signatures = made.network.serving.signatures
    assert report.answers == 2 * len(made.asked) == 2 * 2 * len(signatures)
    assert {(d.signature, d.output) for d in report.comparison.differences} == {
        (name, spec.key) for name, signature in signatures.items() for spec in signature.outputs
    }
    assert report.comparison.max_abs < 1e-3
    assert report.loader == "the C++ loader that TF Serving uses"


def test_other_weights_are_found_out(tmp_path, crnn_checkpoint):
    """One variable with another value than the checkpoint's."""
    values = filled(crnn_shapes())
    values["shadow/LSTMLayers/w"] *= -1
    other = prepared(write_checkpoint(tmp_path / "other", values))
    made = prepared(crnn_checkpoint)
    with pytest.raises(ParityError) as caught:
        parity.compare_files(staged(tmp_path, other), made.asked, made.answers)
    assert caught.value.exit_code == 3
    assert any(
        problem.startswith("parity[0]: dense.score: values differ by up to ")
        for problem in texts(caught.value.problems)
    )


def test_raw_weights_in_place_of_averages_are_found_out(tmp_path, ctpn_checkpoint):
    """The mistake of a script that restores by the variables' own names."""
    raw, averages = prepared(ctpn_checkpoint, weights="raw"), prepared(ctpn_checkpoint, weights="ema")
    with pytest.raises(ParityError):
        parity.compare_files(staged(tmp_path, raw), averages.asked, averages.answers)


def with_graph(made, change):
    """What was made, with another GraphDef in its files."""
    graph_def = tf.GraphDef()
    graph_def.CopyFrom(made.network.serving.graph_def)
    change(graph_def)
    serving = ServingGraph(graph_def, made.network.serving.saver_def, made.network.serving.signatures)
    made.network = dataclasses.replace(made.network, serving=serving)
    return made


def of_serving_default(error):
    """Where the answers of the network itself differ; other signatures are computed from these."""
    places = [problem.split(": values")[0] for problem in texts(error.problems)]
    return [place for place in places if "serving_default" in place]


def test_a_changed_node_is_found_out(tmp_path, ctpn_checkpoint):
    """The graph of the files is compared too: here the class probabilities are left unnormalised."""

    def change(graph_def):
        (node,) = [node for node in graph_def.node if node.name == "output_cls_prob"]
        node.op = "Identity"

    made = with_graph(prepared(ctpn_checkpoint), change)
    with pytest.raises(ParityError) as caught:
        parity.compare_files(staged(tmp_path, made), made.asked, made.answers)
    assert of_serving_default(caught.value) == [
        "parity[0]: serving_default.output_cls_prob",
        "parity[1]: serving_default.output_cls_prob",
    ]


def test_an_answer_that_changes_from_call_to_call_is_found_out(tmp_path, ctpn_checkpoint):
    """Random ops with a seed answer a new session's first requests alike; the second round tells."""

    def change(graph_def):
        (node,) = [node for node in graph_def.node if node.name == "output_bbox_pred"]
        with tf.Graph().as_default() as noisy, tf.name_scope("noise"):
            boxes = tf.placeholder(tf.float32, name="boxes")
            tf.add(boxes, tf.random_normal(tf.shape(boxes), seed=1), name="sum")
        for extra in noisy.as_graph_def().node:
            extra.input[:] = [node.input[0] if name == "noise/boxes" else name for name in extra.input]
            if extra.name != "noise/boxes":
                graph_def.node.add().CopyFrom(extra)
        node.input[0] = "noise/sum"

    made = with_graph(prepared(ctpn_checkpoint), change)
    staged(tmp_path, made)
    with loaded_in_new_process(tmp_path) as files:
        answers = [files.answer(request) for request in made.asked]
    with pytest.raises(ParityError, match="the same request differently each time") as caught:
        parity.compare_files(tmp_path, made.asked, answers)
    assert of_serving_default(caught.value) == [
        "parity[0]: serving_default.output_bbox_pred",
        "parity[1]: serving_default.output_bbox_pred",
    ]


def test_variables_without_their_index_are_found_out(tmp_path, crnn_checkpoint):
    """The loader takes such a version for one without variables, and every request to it fails."""
    made = prepared(crnn_checkpoint)
    os.remove(str(staged(tmp_path, made) / "variables" / "variables.index"))
    with pytest.raises(NotServable, match="TF Serving would answer this request with an error.*uninitialized"):
        parity.compare_files(tmp_path, made.asked, made.answers)


def test_damaged_variables_are_found_out(tmp_path, crnn_checkpoint):
    """A bit that flipped on the way to the disk; the message carries the loader's own words."""
    made = prepared(crnn_checkpoint)
    data = staged(tmp_path, made) / "variables" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(bytes(content))
    with pytest.raises(NotServable, match="TF Serving's loader refuses .*hecksum"):
        parity.compare_files(tmp_path, made.asked, made.answers)


def test_nan_answers_are_refused(tmp_path):
    """A training that diverged: no server should answer from it."""
    values = filled(crnn_shapes())
    values["shadow/LSTMLayers/w"][0] = np.nan
    with pytest.raises(NotServable) as caught:
        prepared(write_checkpoint(tmp_path / "nan", values))
    assert "contain NaN" in str(caught.value)
    assert texts(caught.value.problems)[0] == "parity[0]: dense.score: 2 of 2 values are NaN"


def test_nan_weights_are_refused_even_where_the_answers_hide_them(tmp_path):
    """A ReLU turns NaN into 0: the answers are numbers, and meaningless."""
    values = filled(crnn_shapes())
    values["shadow/conv1/W"][0] = np.nan
    made = prepared(write_checkpoint(tmp_path / "nan", values))
    (tmp_path / "version").mkdir()
    with pytest.raises(NotServable) as caught:
        staged(tmp_path / "version", made)
    assert tuple(texts(caught.value.problems)) == ("shadow/conv1/W: 36 values are NaN",)


def test_the_python_loader_in_a_new_process_stands_in(tmp_path, monkeypatch, crnn_checkpoint):
    """Where a build hides the C++ loader the comparison is done all the same, and the report says so."""
    made = prepared(crnn_checkpoint)
    monkeypatch.setattr(cc_loader, "find_library", lambda: None)
    monkeypatch.chdir(str(tmp_path))
    Path("version").mkdir()
    report = parity.compare_files(staged(Path("version"), made), made.asked, made.answers)
    assert report.loader == "Python's loader in a new process (this TensorFlow does not export the C++ one)"
    assert report.comparison.max_abs < 1e-3
    os.remove("version/variables/variables.index")
    with pytest.raises(NotServable, match="does not load or answer in a new process"):
        parity.compare_files(Path("version"), made.asked, made.answers)


def test_the_cc_loader_is_found_in_this_tensorflow():
    """1.14, 1.15 and every 2.x tried so far export it; if one does not, the fallback is what is tested above."""
    assert cc_loader.find_library() is not None


def test_the_cc_loader_says_what_is_wrong_with_a_request(tmp_path, crnn_checkpoint):
    """A tensor that is not there, and one of another shape."""
    made = prepared(crnn_checkpoint)
    with cc_loader.loaded(cc_loader.find_library(), staged(tmp_path, made)) as loaded:
        with pytest.raises(NotServable, match="Tensor nowhere:0, specified in a signature, is not in"):
            loaded.run(["nowhere:0"], {})
        with pytest.raises(NotServable, match="TF Serving would answer this request with an error"):
            loaded.run(["ids:0"], {"input_data:0": np.zeros([1, 3], "float32")})


@pytest.mark.parametrize(
    "wanted, found, message",
    [
        ([1, 2], [1, 2], ""),
        ([1, 2], [1, 3], "1 of 2 values differ"),
        ([1.0, -np.inf], [1.00001, -np.inf], ""),
        ([1.0, 2.0], [1.0, 2.1], "values differ by up to 0.1, where 0.0003 is allowed"),
        ([1000.0], [1000.05], ""),
        ([1.0], [np.inf], "values differ by up to inf, where 0.0002 is allowed"),
        ([1.0], [np.nan], "values differ by up to nan, where 0.0002 is allowed"),
        ([1, 2], [1.0, 2.0], "int64 [2] expected, float64 [2] found"),
        ([[1]], [1], "int64 [1, 1] expected, int64 [1] found"),
        ([], [], ""),
    ],
)
def test_values_are_compared_by_their_kind(wanted, found, message):
    """Integers must be equal, floats near for their tensor's size, shapes and types the same; NaN equals nothing."""
    assert find_difference(np.array(wanted), np.array(found), SAME_TENSORFLOW)[1] == message


OWN = """
format: 1
graph: {{builder: crnn}}
signatures:
  serving_default:
    inputs:
      input_data: {{dtype: float32, shape: [batch, 32, width, 3]}}
      input_batch_size: {{dtype: int32, shape: [batch]}}
    outputs: {{ids: {{dtype: int64, shape: [batch, time]}}}}
{}
"""


@pytest.mark.parametrize(
    "case, message",
    [
        pytest.param(
            "",
            "own.yaml: it needs a 'parity' part that says how to make input_batch_size: the staged version is compared "
            "with the checkpoint on such inputs",
            id="no parity part",
        ),
        pytest.param(
            "parity: [{dims: {batch: 2, width: 8}, inputs: {input_data: {uniform: [0, 1]}, "
            "input_batch_size: {values: [1]}}}]",
            "own.yaml: the inputs to compare on can't be made\n"
            "  - parity[0].inputs.input_batch_size: the values have the shape [1], expected [2]",
            id="another shape",
        ),
        pytest.param(
            "parity: [{dims: {batch: 1, width: 8}, inputs: {input_data: {uniform: [0, 1]}, "
            "input_batch_size: {values: [many]}}}]",
            "own.yaml: the inputs to compare on can't be made\n"
            "  - parity[0].inputs.input_batch_size: the values are not int32",
            id="another type",
        ),
    ],
)
def test_inputs_that_cant_be_made_are_said(case, message):
    """A signature file of one's own says how to make what can't be guessed."""
    with pytest.raises(SignatureError) as caught:
        model = parse_model(OWN.format(case), Path("own.yaml"))
        parity_requests(model, model.parity or [default_case(model)])
    assert str(caught.value) == message


def test_images_need_no_parity_part():
    """Floats are random pixel values where the file says nothing; the batch, 4, is no other size of the signature."""
    text = OWN.format("").replace("      input_batch_size: {dtype: int32, shape: [batch]}\n", "")
    model = parse_model(text, Path("own.yaml"))
    (question,) = parity_requests(model, [default_case(model)])
    assert question.inputs["input_data"].shape == (4, 32, 64, 3)
    assert 100 < question.inputs["input_data"].mean() < 155


def test_inputs_the_graph_refuses_are_the_files_mistake(tmp_path, crnn_checkpoint):
    """A sequence longer than its line: the untouched graph can't answer it either."""
    text = load_model("crnn").source.read_text().replace("values: [25, 20]", "values: [26, 20]")
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(SignatureError, match="the original graph cannot run signature serving_default"):
        prepared(crnn_checkpoint, model=str(tmp_path / "own.yaml"))


def test_questions_are_the_same_each_time():
    """A failure can be repeated: the random inputs come from a seed."""
    first, second = [parity_requests(model, model.parity) for model in (load_model("ctpn"), load_model("ctpn"))]
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one.inputs["input_image"], other.inputs["input_image"])
