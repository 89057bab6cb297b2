"""The built-in networks answer as the original ones, whatever their sizes."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.errors import CheckpointError, SignatureError, UsageError
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.sources import networks
from ckpt2saved.sources.registry import find_source
from tests.support import golden_rule
from tests.support.checkpoints import crnn_shapes, ctpn_shapes, filled

AVERAGE = "/ExponentialMovingAverage"
# What the originals' float32 answers may differ by: 1e-4 on the TensorFlow that made them, 1e-3 on today's.
ATOL = 1e-4 if tf.version.VERSION.startswith("1.") else 1e-3


class Network:
    """A built-in network in a session, its variables filled by the golden rule."""

    def __init__(self, builder, shapes, suffix="", **options):
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.tensors = networks.build_network(builder, shapes, options)
            self.variables = tf.global_variables()
        self.session = tf.Session(graph=self.graph)
        with self.graph.as_default():
            values = [golden_rule.fill(v.op.name + suffix, v.get_shape().as_list()) for v in self.variables]
            arriving = [tf.placeholder(tf.float32, v.get_shape()) for v in self.variables]
            assignments = [tf.assign(v, value) for v, value in zip(self.variables, arriving)]
        self.session.run(assignments, dict(zip(arriving, values)))

    def answer(self, fetches, feeds):
        feeds = {self.tensors[name]: value for name, value in feeds.items()}
        return self.session.run({name: self.tensors[name] for name in fetches}, feeds)


def images(*shape, **keywords):
    return np.random.RandomState(keywords.get("seed", 0)).uniform(0, 255, shape).astype("float32")


@pytest.fixture(scope="module")
def small_crnn():
    return Network("crnn", crnn_shapes())


@pytest.fixture(scope="module")
def small_ctpn():
    return Network("ctpn", ctpn_shapes())


def test_crnn_gives_the_golden_logits_and_path():
    """The original CRNN's logits and sparse triple come out for its weights and its input."""
    golden = golden_rule.answers("crnn")
    network = Network("crnn", golden_rule.variables("crnn"))
    answers = network.answer(
        ["logits", "output_indices", "output_values", "output_shape"],
        {"input_data": images(2, 32, 100, 3), "input_batch_size": [25, 20]},
    )
    np.testing.assert_allclose(answers["logits"], golden["logits"], rtol=0, atol=ATOL)
    for ours, theirs in (("output_indices", "indices"), ("output_values", "values"), ("output_shape", "shape")):
        np.testing.assert_array_equal(answers[ours], golden[theirs])
        assert answers[ours].dtype == golden[theirs].dtype


@pytest.mark.parametrize("kind, suffix", [("raw", ""), ("ema", AVERAGE)])
def test_ctpn_gives_the_golden_boxes_and_probabilities(kind, suffix):
    """The original CTPN's boxes and probabilities come out for its raw weights and for their averages."""
    golden = golden_rule.answers("ctpn")
    with np.load(str(golden_rule.GOLDEN / "ctpn_float64.npz")) as file:
        exact = {name: file[name] for name in file.files}
    network = Network("ctpn", golden_rule.variables("ctpn"), suffix)
    feeds = {"input_image": images(1, 160, 224, 3), "input_im_info": [[160, 224, 1]]}
    answers = network.answer(["output_bbox_pred", "output_cls_prob"], feeds)
    for name, key in (("output_bbox_pred", kind + "_bbox"), ("output_cls_prob", kind + "_prob")):
        # The golden answers have rounding errors of their own, up to 1.3e-4 (golden/README.md). Processors that sum in
        # the original's order come as near as asked to its answers; others, to the exact ones.
        golden_error = np.abs(golden[key] - exact[key]).max()
        from_golden, from_exact = (np.abs(answers[name] - right[key]).max() for right in (golden, exact))
        assert min(from_golden, from_exact) <= ATOL
        assert from_golden <= max(ATOL, 1.1 * golden_error)


def test_crnn_sizes_follow_the_checkpoint():
    """Channels, hidden units of each LSTM, classes, image channels and scope are those of the variables."""
    shapes = crnn_shapes("net", channels=[2, 3, 2, 3, 2, 3, 4], hidden=[5, 3, 2], classes=7, image_channels=1)
    network = Network("crnn", shapes, scope="net")
    assert {v.op.name: tuple(v.get_shape().as_list()) for v in network.variables} == shapes
    logits = network.answer(["logits"], {"input_data": images(2, 32, 41, 1), "input_batch_size": [10, 4]})["logits"]
    assert logits.shape == (10, 2, 7)


def test_ctpn_sizes_follow_the_checkpoint(small_ctpn):
    """Channels, hidden units and anchors are those of the variables; averages and global_step are no variables."""
    expected = {name: shape for name, shape in ctpn_shapes(averages=False).items() if name != "global_step"}
    assert {v.op.name: tuple(v.get_shape().as_list()) for v in small_ctpn.variables} == expected


@pytest.mark.parametrize("batch, height, width", [(1, 16, 16), (2, 48, 37), (3, 33, 80)])
def test_ctpn_takes_any_batch_height_and_width(small_ctpn, batch, height, width):
    """The answers have a row for each 16 pixels, and each image's are its own."""
    pages = images(batch, height, width, 3)
    feeds = {"input_image": pages, "input_im_info": np.ones((batch, 3))}
    answers = small_ctpn.answer(["output_bbox_pred", "output_cls_prob"], feeds)
    assert answers["output_bbox_pred"].shape == (batch, height // 16, width // 16, 4 * 3)
    assert answers["output_cls_prob"].shape == (batch, height // 16, width // 16 * 3, 2)
    np.testing.assert_allclose(answers["output_cls_prob"].sum(axis=-1), 1, atol=1e-5)
    alone = small_ctpn.answer(["output_bbox_pred"], {"input_image": pages[-1:], "input_im_info": np.ones((1, 3))})
    np.testing.assert_allclose(alone["output_bbox_pred"][0], answers["output_bbox_pred"][-1], atol=1e-4)


@pytest.mark.parametrize("width, lengths", [(4, [1]), (8, [0, 0]), (100, [25, 7, 0, 1]), (103, [25])])
def test_crnn_takes_any_batch_width_and_length(small_crnn, width, lengths):
    """Lines may be shorter than the longest, and empty: dense and sparse answers agree, padding is -1."""
    feeds = {"input_data": images(len(lengths), 32, width, 3), "input_batch_size": lengths}
    answers = small_crnn.answer(
        ["output_indices", "output_values", "output_shape", "ids", "lengths", "score", "logits"], feeds
    )
    assert answers["ids"].shape == (len(lengths), width // 4)
    assert answers["score"].shape == (len(lengths),)
    for line, count in enumerate(answers["lengths"]):
        assert count <= lengths[line]
        mine = answers["output_indices"][:, 0] == line
        np.testing.assert_array_equal(answers["ids"][line, :count], answers["output_values"][mine])
        np.testing.assert_array_equal(answers["ids"][line, count:], -1)
    assert list(answers["output_shape"]) == [len(lengths), answers["lengths"].max()]


def test_crnn_answers_a_line_alike_whatever_is_beside_it(small_crnn):
    """What lies beyond a line's own steps, and the other lines of the batch, change nothing about its steps."""
    line = images(1, 32, 48, 3)
    alone = small_crnn.answer(["logits"], {"input_data": line, "input_batch_size": [9]})["logits"]
    batch = np.concatenate([line, images(1, 32, 48, 3, seed=1)])
    beside = small_crnn.answer(["logits"], {"input_data": batch, "input_batch_size": [9, 12]})["logits"]
    np.testing.assert_allclose(beside[:9, 0], alone[:9, 0], atol=1e-4)
    np.testing.assert_allclose(beside[9:, 0], 0, atol=0)  # beyond its length: no features, and w has no bias


def test_crnn_decoder_takes_the_files_options():
    """beam_width and merge_repeated reach the decoder."""
    graph = Network("crnn", crnn_shapes(), beam_width=7, merge_repeated=True).graph
    (decoder,) = [node for node in graph.as_graph_def().node if node.op == "CTCBeamSearchDecoder"]
    assert (decoder.attr["beam_width"].i, decoder.attr["merge_repeated"].b) == (7, True)


@pytest.mark.parametrize("builder, shapes", [("crnn", crnn_shapes()), ("ctpn", ctpn_shapes())])
def test_graphs_are_of_inference_with_loops_that_a_1x_server_runs(builder, shapes):
    """No dropout, no batch statistics, v1 control flow, reference variables."""
    ops = {node.op for node in Network(builder, shapes).graph.as_graph_def().node}
    assert {"Enter", "Exit", "NextIteration", "VariableV2"} <= ops
    assert not {op for op in ops if "Random" in op or op.startswith(("While", "Stateless", "VarHandle"))}


def test_building_leaves_tensorflows_control_flow_as_it_was():
    """The process-wide switch is put back, after an error too."""
    enabled = getattr(tf, "control_flow_v2_enabled", lambda: False)
    before = enabled()
    with tf.Graph().as_default():
        networks.build_network("ctpn", ctpn_shapes(), {})
    with pytest.raises(CheckpointError), tf.Graph().as_default():
        networks.build_network("ctpn", {}, {})
    assert enabled() == before


def test_everything_that_does_not_fit_is_said_at_once():
    """Missing and misshapen variables are all in one message, with what is expected."""
    shapes = crnn_shapes()
    del shapes["shadow/conv3/W"]
    shapes["shadow/BatchNorm/beta"] = (99,)
    shapes["shadow/LSTMLayers/w"] = (5, 13)
    with pytest.raises(CheckpointError) as caught, tf.Graph().as_default():
        networks.build_network("crnn", shapes, {})
    assert str(caught.value) == (
        "the checkpoint is not of the built-in crnn graph (3 of its 24 variables do not fit)\n"
        "  - shadow/conv3/W: missing; expected [3, 3, 5, ?]\n"
        "  - shadow/BatchNorm/beta: found [99], expected [8]\n"
        "  - shadow/LSTMLayers/w: found [5, 13], expected [24, 13]"
    )


@pytest.mark.parametrize(
    "builder, found, hint",
    [
        ("crnn", ctpn_shapes(), "; it looks like one of ctpn: --model ctpn"),
        ("ctpn", crnn_shapes("a/b"), "; it looks like one of crnn: --model crnn"),
        ("crnn", crnn_shapes("a/b"), "; its variables begin with 'a/b': --option scope=a/b"),
        ("crnn", {"w": (1,), "b": (1,)}, "; it has 2 others, such as b"),
        ("crnn", {}, "; it has no variables"),
    ],
)
def test_a_checkpoint_of_something_else_is_shown_for_what_it_is(builder, found, hint):
    """Where nothing fits, the message says what would."""
    with pytest.raises(CheckpointError) as caught, tf.Graph().as_default():
        networks.build_network(builder, found, {})
    assert str(caught.value).splitlines()[0].endswith(" variables do not fit)" + hint)


@pytest.mark.parametrize(
    "builder, options, error, message",
    [
        (
            "crnn",
            {"beamwidth": 1, "beam_width": "wide", "merge_repeated": 0},
            UsageError,
            "the builder crnn can't take these options\n"
            "  - beamwidth: there is no such option; did you mean beam_width?\n"
            "  - beam_width: found 'wide', expected a value of type int\n"
            "  - merge_repeated: found 0, expected a value of type bool",
        ),
        (
            "ctpn",
            {"scope": "x"},
            UsageError,
            "the builder ctpn can't take these options\n  - scope: there is no such option; expected none",
        ),
        (
            "crnn",
            {"beam_width": 0},
            UsageError,
            "the builder crnn can't take these options\n  - beam_width: found 0, expected 1 or more",
        ),
    ],
)
def test_bad_options_are_refused(builder, options, error, message):
    """An option that does not exist, or a value of another type, is an error that says so."""
    with pytest.raises(error) as caught, tf.Graph().as_default():
        networks.build_network(builder, crnn_shapes(), options)
    assert str(caught.value) == message


def test_a_name_of_no_source_is_refused_before_the_checkpoint_is_opened():
    """With the names that exist."""
    with pytest.raises(SignatureError) as caught:
        find_source("crn", {}, ())
    assert str(caught.value) == (
        "graph.builder: 'crn' is not built in; there are crnn, ctpn, ocr; a function of your own is package.module:function,"
        " the training's graph is meta"
    )


def test_golden_rule_fills_by_name():
    """The rule gives an average other values than its variable, or the tests of averages would test nothing."""
    values = filled({"a/weights": (2, 3), "a/weights" + AVERAGE: (2, 3)})
    assert not np.allclose(values["a/weights"], values["a/weights" + AVERAGE])
