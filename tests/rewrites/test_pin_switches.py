"""Training switches get the values of inference, by what is in their branches or as the user says."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.batch_norms import fused, inference_norm, is_train, needs_case, norm_variables, plain, stock
from tests.support.networks import FAILS, RANDOM, Built, answer, check, refused, would_serve


def switched(x, predicate):
    """Dropout and batch norm in one branch, their inference in the other."""
    x = tf.cond(predicate, lambda: fused(x, True), lambda: inference_norm_again(x))
    return tf.cond(predicate, lambda: stock(x, 0.5), lambda: tf.identity(x))


def inference_norm_again(x):
    with tf.variable_scope("", reuse=True):
        gamma, beta, mean, variance = norm_variables()
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


def norms_first(build):
    def train(x):
        norm_variables()
        with tf.variable_scope("", reuse=True):
            return build(x)

    return train


PREDICATES = {
    "placeholder": (is_train, "is_train: pinned to False"),
    "unnamed": (lambda: tf.placeholder(tf.bool), "Placeholder: pinned to False"),
    "negated": (
        lambda: tf.logical_not(tf.placeholder(tf.bool, [], name="testing")),
        "testing: pinned to True",
    ),
    "default": (lambda: tf.placeholder_with_default(True, [], name="phase"), "phase: pinned to False"),
    "both": (
        lambda: tf.logical_and(is_train(), tf.constant(True)),
        "is_train: pinned to False",
    ),
    "mode": (lambda: tf.equal(tf.placeholder(tf.int32, [], name="mode"), 0), "mode: pinned to -1"),
    "number": (
        lambda: tf.placeholder(tf.float32, [], name="mode") > 0.5,
        "mode: pinned to 0.0",
    ),
    "cast": (lambda: tf.cast(tf.placeholder(tf.int32, [], name="mode"), tf.bool), "mode: pinned to 0"),
    "text": (
        lambda: tf.equal(tf.placeholder(tf.string, [], name="mode"), "train"),
        "mode: pinned to another",
    ),
    "variable": (
        lambda: tf.Variable(False, trainable=False, name="is_training"),
        "is_training: pinned to False",
    ),
}


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("resources", [False, True])
@pytest.mark.parametrize("kind", sorted(PREDICATES))
def test_switches_are_decided_by_what_is_in_the_branches(kind, resources, v2):
    """Bool, int, float and text; placeholders, defaults and variables; in both kinds of tf.cond."""
    if v2 and not resources:
        pytest.skip("functions take no reference variables")
    predicate, edit = PREDICATES[kind]
    if kind == "variable":
        with_variable = lambda x: switched(
            x, tf.get_variable("is_training", [], tf.bool, tf.zeros_initializer(), trainable=False)
        )
        predicate, train = None, norms_first_outside(with_variable)
    else:
        train = norms_first(lambda x: switched(x, predicate()))
    feeds = {
        "is_train:0": True,
        "Placeholder:0": True,
        "testing:0": False,
        "mode:0": {"mode": 0, "number": 1.0, "cast": 1, "text": "train"}.get(kind),
    }
    made = check(train, inference_norm, feeds=feeds, resources=resources, v2_control_flow=v2)
    assert [str(e) for e in made.edits if e.kind == "switch"] == [edit]
    assert not [node.op for node in made.graph_def.node if node.op in ("Switch", "If", "StatelessIf")]


def norms_first_outside(build):
    def train(x):
        norm_variables()
        return build_reusing(build, x)

    return train


def build_reusing(build, x):
    variable_scope = tf.variable_scope("", reuse=tf.AUTO_REUSE)
    with variable_scope:
        return build(x)


@needs_case
def test_a_number_that_chooses_a_branch_is_a_switch():
    """0 trains, with batch norm and dropout; 1 answers, and so does every number beyond."""

    def train(x):
        mode = tf.placeholder_with_default(0, [], name="mode")
        gamma, beta, mean, variance = norm_variables()

        def training():
            axes = [0, 1, 2]
            found = tf.nn.moments(x, axes)
            updates = [tf.assign_sub(v, (v - new) * 0.1) for v, new in zip((mean, variance), found)]
            with tf.control_dependencies(updates):
                return stock(tf.nn.batch_normalization(x, *found, beta, gamma, 1e-3), 0.5)

        def answering():
            return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)

        return tf.switch_case(mode, {0: training, 1: answering, 2: lambda: tf.identity(answering())})

    made = check(train, inference_norm, pinned={"mode": 1}, resources=True, v2_control_flow=True)
    assert not [node.op for node in made.graph_def.node if node.op in ("Switch", "Case", "StatelessCase")]


@pytest.mark.skipif(not hasattr(tf, "where_v2"), reason="newer")
def test_a_select_is_a_switch_too():
    """tf.where on a scalar."""
    check(lambda x: tf.where_v2(is_train(), stock(tf.tanh(x), 0.5), tf.tanh(x)), plain, feeds={"is_train:0": True})


def test_noise_in_the_training_branch():
    """Whatever is random there: it goes with the branch."""

    def train(x):
        return tf.cond(is_train(), lambda: x + tf.random_normal(tf.shape(x)), lambda: tf.tanh(x))

    check(train, plain, feeds={"is_train:0": True})


@pytest.mark.parametrize("resources", [False, True])
def test_noise_times_zero(resources):
    """Noise that the switch turns off is nothing."""

    def train(x):
        phase = is_train()
        x = tf.tanh(x)
        x = tf.cond(phase, lambda: stock(x, 0.5), lambda: tf.identity(x))
        return x + tf.random_normal(tf.shape(x)) * tf.cast(phase, tf.float32)

    check(train, plain, feeds={"is_train:0": True}, resources=resources)


def test_a_cond_in_a_loop():
    """The switch is decided outside, and what it decides about is inside."""

    def network(x, training):
        phase = is_train()

        def step(i, y):
            y = tf.cond(phase, lambda: stock(y, 0.5), lambda: y * 1.0) if training else y
            return i + 1, tf.tanh(y * 1.5)

        return tf.while_loop(lambda i, y: i < 3, step, [0, x])[1]

    for v2 in (False, True):
        check(lambda x: network(x, True), lambda x: network(x, False), feeds={"is_train:0": True}, v2_control_flow=v2)


def test_a_switch_without_evidence_is_refused_with_its_choices():
    """Both branches could be either."""

    def train(x):
        return tf.cond(is_train(), lambda: x * 2, lambda: x * 3)

    message = r"is_train \(Placeholder\): .*--set is_train=False or --set is_train=True"
    refused(train, message, wrong=FAILS)
    would_serve(train, lambda x: x * 3, feeds={"is_train:0": True})
    would_serve(train, lambda x: x * 2, feeds={"is_train:0": False})
    for value in (False, True):
        built = Built(train)
        made = built.inference({"is_train:0": value})
        assert [str(edit) for edit in made.edits] == [f"is_train: pinned to {value} (--set)"]
        np.testing.assert_allclose(answer(made.graph_def, built.question()), built.question() * (2 if value else 3))


def test_a_name_that_contradicts_the_branches_is_refused():
    """Somebody has mixed them up; who knows who."""

    def train(x):
        return tf.cond(is_train(), lambda: tf.identity(x), lambda: stock(x, 0.5))

    refused(train, r"is_train .*its name says that True is training, and its branches say that False is", wrong=FAILS)
    would_serve(train, RANDOM, feeds={"is_train:0": False})


def test_two_trainings_in_one_switch_are_refused():
    """Something random in each branch."""

    def train(x):
        return tf.cond(is_train(), lambda: stock(x, 0.5), lambda: x + tf.random_normal(tf.shape(x)))

    refused(train, r"True has .*dropout.* in its branches and False has .*random_normal", wrong=FAILS)
    for value in (True, False):
        would_serve(train, RANDOM, feeds={"is_train:0": value})


def test_three_modes_are_refused():
    """Two of them avoid training, and answer differently."""

    def train(x):
        mode = tf.placeholder(tf.int32, [], name="mode")
        x = tf.cond(tf.equal(mode, 0), lambda: stock(x, 0.5), lambda: tf.identity(x))
        return tf.cond(tf.equal(mode, 1), lambda: x * 2, lambda: x * 3)

    refused(
        train,
        r"mode .*all avoid the ops of training, and lead to different answers; choose: --set mode=VALUE",
        wrong=FAILS,
    )
    would_serve(train, RANDOM, feeds={"mode:0": 0})
    would_serve(train, lambda x: x * 3, feeds={"mode:0": 1})


def test_a_number_that_is_computed_with_is_refused():
    """1 and 0.9 lead to the same branch, and not to the same answer."""

    def train(x):
        keep = tf.placeholder(tf.float32, [], name="keep_prob")
        x = tf.cond(keep < 0.8, lambda: stock(tf.tanh(x), 0.5), lambda: tf.tanh(x))
        return x * keep

    refused(
        train,
        r"keep_prob .*answers are computed from it, besides the conditions that it decides; choose: --set keep_prob=",
        wrong=FAILS,
    )
    would_serve(train, RANDOM, feeds={"keep_prob:0": 0.5})
    would_serve(train, plain, feeds={"keep_prob:0": 0.9})
    built = Built(train)
    made = built.inference({"keep_prob": 1.0})
    np.testing.assert_allclose(answer(made.graph_def, built.question()), np.tanh(built.question()), rtol=1e-5)


def test_an_input_that_is_set_is_refused():
    """A request's value would be thrown away."""

    def train(x):
        return x * tf.placeholder(tf.float32, [], name="scale")

    refused(train, "--set scale: scale is also an input", wrong=FAILS, pinned={"scale": 2.0}, inputs=["x:0", "scale:0"])


def test_variables_are_initialized_when_they_are_served():
    """What a graph computes where they are not may be random."""

    def train(x):
        weight = tf.get_variable("weight", [3], initializer=tf.random_normal_initializer(), use_resource=True)
        ready = tf.is_variable_initialized(weight)
        return x * tf.cond(ready, lambda: weight.read_value(), lambda: tf.random_normal([3]))

    made = Built(train).inference()
    assert not [node.name for node in made.graph_def.node if "Random" in node.op]


@pytest.mark.parametrize(
    "pinned, message",
    [
        ({"is_trian": False}, r"--set is_trian: the graph has no node 'is_trian'; did you mean is_train\?"),
        ({"x": 1.0}, "--set x: x is a Placeholder; expected"),
        ({"is_train": "no"}, "--set is_train: 'no' is not a bool"),
    ],
)
def test_pins_that_do_not_fit_are_refused(pinned, message):
    """A typing error must not leave the switch to chance."""
    refused(lambda x: tf.cond(is_train(), lambda: x * 2, lambda: x * 3), message, wrong=FAILS, pinned=pinned)
