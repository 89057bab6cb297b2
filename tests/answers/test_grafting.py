"""A rewritten graph in the session of the original one: what is shared, what is copied, and the same answers."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.answers.checkpoint_asker import CheckpointAsker
from ckpt2saved.answers.grafting import graft
from ckpt2saved.checkpoint.contents import Weights
from ckpt2saved.graph.ops import ENTERS
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.requests.request import Request
from ckpt2saved.rewrites.for_serving import for_serving, rewrite_serving
from ckpt2saved.saved_model.writing import ServingGraph, cut_down, spec_of
from ckpt2saved.signature.tensors import Signature


def images():
    return np.random.RandomState(0).uniform(-1, 1, (2, 8, 6, 3)).astype("float32")


def normalized(x, name):
    """A convolution and the batch norm that is folded into it; to 4 channels."""
    values = np.random.RandomState(len(name))
    sizes = [[3, 3, int(x.shape[3]), 4], [4], [4], [4], [4]]
    made = [
        tf.get_variable(f"{name}/{part}", initializer=values.uniform(0.1, 1, size).astype("float32"))
        for part, size in zip(("kernel", "gamma", "beta", "mean", "variance"), sizes)
    ]
    x = tf.nn.conv2d(x, made[0], [1] * 4, "SAME", name=f"{name}/conv")
    return tf.nn.fused_batch_norm(x, *made[1:], is_training=False, name=f"{name}/norm")[0]


def rows(x):
    """A loop over the rows of an image."""
    return tf.scan(lambda state, row: tf.tanh(state + row), tf.transpose(tf.reduce_mean(x, 2), [1, 0, 2]))


class Session:
    """A graph of `build(x)` -> outputs by key, in a session with its variables and tables initialized."""

    def __init__(self, build, resources=False):
        with tf.Graph().as_default() as graph, v1_control_flow():
            with tf.variable_scope(tf.get_variable_scope(), use_resource=resources):
                x = tf.placeholder(tf.float32, [None, 8, 6, 3], name="x")
                outputs = build(x)
            names = {variable.op.name: variable.op.name for variable in tf.global_variables()}
            self.weights = Weights("raw", names, "")
            saver = tf.train.Saver().as_saver_def()
            init = tf.group(tf.global_variables_initializer(), tf.tables_initializer())
        signature = Signature("s", (spec_of("x", x),), tuple(spec_of(key, outputs[key]) for key in sorted(outputs)))
        self.serving = cut_down(ServingGraph(graph.as_graph_def(), saver, {"s": signature}))
        self.session = tf.Session(graph=graph)
        self.session.run(init)
        self.graph = graph
        self.asker = CheckpointAsker(self.session, "here", self.serving.signatures)

    def rewritten(self, kind="fast", fold=True):
        rewritten = rewrite_serving(self.serving, self.weights, for_serving(kind, fold=fold))
        assert rewritten.edits
        return rewritten

    def grafted(self, **how):
        return graft(self.graph, self.serving, self.rewritten(**how))


def compared(made, grafted, **request):
    """The answers of the original graph, after they were compared with those of the rewritten graph."""
    request = Request("one", "s", {"x": images()}, **request)
    wanted, found = made.asker.answer(request), made.asker.rewritten(grafted).answer(request)
    assert sorted(wanted) == sorted(found)
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5)
    return found


@pytest.mark.parametrize("resources", [False, True])
def test_a_folded_variable_is_computed_from_those_of_the_session(resources):
    """No variable is copied; with other values in the session both graphs answer otherwise, and still the same."""
    made = Session(lambda x: {"y": normalized(normalized(x, "a"), "bb")}, resources)
    grafted = made.grafted()
    kinds = [node.type for node in made.graph.get_operations() if node.name.startswith(grafted.scope)]
    assert kinds.count("Conv2D") == 2 and not {"VariableV2", "VarHandleOp", "Assign"} & set(kinds)
    before = compared(made, grafted)["y"]
    (beta,) = [v for v in made.graph.get_collection("variables") if v.op.name == "bb/beta"]
    with made.graph.as_default():
        made.session.run(beta.assign(np.full(4, 3, np.float32)).op)
    assert not np.allclose(compared(made, grafted)["y"], before, atol=0.1)


def test_what_is_before_the_first_edit_is_shared():
    """The same convolution serves both graphs; inner tensors are fed and fetched where the rewritten graph has them."""

    def build(x):
        early = tf.reshape(x, [-1, 144], name="early")
        late = tf.identity(normalized(tf.nn.relu(x, name="relu"), "a"), name="late")
        return {"early": early, "late": tf.multiply(late, 2.0, name="end")}

    made = Session(build)
    grafted = made.grafted()
    assert not {"x", "early", "relu", "a/kernel"} & grafted.copied and {"a/conv", "late"} <= grafted.copied
    assert (grafted.place("relu:0"), grafted.place("late:0")) == ("relu:0", grafted.scope + "late:0")
    found = compared(made, grafted, inner_fetches=("relu:0", "late:0"))
    fed = np.ones_like(found["late:0"])
    for tensor, key in (("relu:0", "late"), ("late:0", "late")):
        value = fed if tensor == "late:0" else np.ones([2, 8, 6, 3], np.float32)
        assert not np.allclose(compared(made, grafted, outputs=(key,), inner_feeds={tensor: value})[key], found[key])


def test_a_loop_is_copied_whole_or_not_at_all():
    """The loop after a folded convolution is another frame; the one before it stays, with all of its nodes."""

    def build(x):
        with tf.variable_scope("before"):
            first = rows(x)
        with tf.variable_scope("after"):
            return {"first": first, "second": rows(normalized(x, "a"))}

    made = Session(build)
    inside = {node.name for node in made.graph.get_operations() if node.type in ENTERS}
    frames = [node.get_attr("frame_name") for node in made.graph.get_operations() if node.type in ENTERS]
    grafted = made.grafted()
    assert {name.split("/")[0] for name in inside & grafted.copied} == {"after"}
    later = {
        node.get_attr("frame_name")
        for node in made.graph.get_operations()
        if node.type in ENTERS and node.name.startswith(grafted.scope)
    }
    assert later and not later & set(frames)
    compared(made, grafted)


def test_lookup_tables_are_shared():
    """A copy of one would have no entries."""

    def build(x):
        logits = tf.transpose(normalized(x, "a")[:, :, 0], [1, 0, 2])
        lengths = tf.fill([tf.shape(x)[0]], 8)
        (best,), _ = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=2, merge_repeated=False)
        texts = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1, 2], tf.int64), tf.constant(["a", "b", "c"])), "?"
        )
        return {"text": texts.lookup(best.values), "places": best.indices}

    made = Session(build)
    for how in ({}, {"fold": False}, {"kind": "greedy", "fold": False}):
        grafted = made.grafted(**how)
        answers = made.asker.rewritten(grafted).answer(Request("one", "s", {"x": images()}))
        assert answers["text"].size and set(answers["text"].tolist()) <= {b"a", b"b", b"c"}
        if how.get("kind") != "greedy":
            assert answers["text"].tolist() == made.asker.answer(Request("one", "s", {"x": images()}))["text"].tolist()
