"""What is computed from variables alone is computed at export, where that costs something and takes no space."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites import compute_once
from tests.support.rewritten_exports import exported, ops, question, stored, trained
from tests.support.saved_models import asked


def weights(name, *shape):
    values = np.random.RandomState(sum(map(ord, name))).uniform(-1, 1, shape).astype("float32")
    return tf.get_variable(name, initializer=values)


def flat(x):
    return tf.reshape(x, [-1, 144])


def normalised(x):
    """Weight normalisation: a direction and a length."""
    direction, length = weights("direction", 144, 40), weights("length", 40)
    return tf.matmul(flat(x), tf.nn.l2_normalize(direction, 0) * length)


def from_one_buffer(x):
    """Kernel, bias and a recurrent kernel in a loop, as of cuDNN."""
    kernel, recurrent, bias = tf.split(weights("buffer", 30 * 144 + 30 * 30 + 30), [30 * 144, 30 * 30, 30])
    kernel, recurrent = tf.transpose(tf.reshape(kernel, [30, 144])), tf.transpose(tf.reshape(recurrent, [30, 30]))
    state = tf.tanh(tf.matmul(flat(x), kernel) + bias * 2.0)
    return tf.while_loop(
        lambda step, _: step < 3, lambda step, h: (step + 1, tf.tanh(tf.matmul(h, recurrent))), (0, state)
    )[1]


def after_a_fold(x):
    """Of two groups, with a batch norm that is folded between."""
    x = tf.nn.conv2d(x, tf.transpose(weights("turned", 64, 3, 5, 5), [2, 3, 1, 0]), [1, 1, 1, 1], "SAME")
    x = tf.nn.conv2d(tf.nn.relu(x), weights("kernel", 1, 1, 64, 5), [1, 1, 1, 1], "SAME")
    parts = [weights(name, 5) for name in ("gamma", "beta", "mean")] + [weights("variance", 5) ** 2 + 0.1]
    return tf.nn.fused_batch_norm(x, *parts, epsilon=1e-3, is_training=False)[0]


def used_as_it_is(x):
    matrix = weights("matrix", 144, 144)
    return tf.matmul(tf.matmul(flat(x), matrix), tf.transpose(matrix))


def larger(x):
    return tf.matmul(flat(x), tf.tile(weights("matrix", 144, 130), [1, 2]))


def small(x):
    return flat(x) * tf.exp(weights("scale", 144))


def by_the_request(x):
    return tf.matmul(flat(x), tf.transpose(weights("matrix", 40, 144) * tf.reduce_max(x)))


COMPUTED = {"normalised": (normalised, 1), "from one buffer": (from_one_buffer, 3), "after a fold": (after_a_fold, 1)}


@pytest.mark.parametrize("kind, resources", [(kind, False) for kind in sorted(COMPUTED)] + [("normalised", True)])
def test_what_is_computed_from_variables_is_stored(run, tmp_path, kind, resources):
    """The answers stay; the ops are gone, and with them the variables; the files do not grow."""
    build, count = COMPUTED[kind]
    prefix = trained(tmp_path, build, resources)
    exported(run, tmp_path / "plain", prefix, "--no-fold")
    made, output = exported(run, tmp_path / "made", prefix)
    assert len(made["computed_once"]) == count and "\ncomputed " in output, output
    wanted, found = [asked(tmp_path / base / "1", x=question())["y"] for base in ("plain", "made")]
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    before, after = stored(tmp_path / "plain" / "1"), stored(tmp_path / "made" / "1")
    assert set(made["computed_once"]) == set(after) - set(before)
    assert not {"direction", "length", "buffer", "turned"} & set(after)
    assert sum(value.nbytes for value in after.values()) <= sum(value.nbytes for value in before.values())
    gone = {"Transpose", "Split", "SplitV", "Rsqrt"}
    assert gone & set(ops(tmp_path / "plain" / "1")) and not gone & set(ops(tmp_path / "made" / "1"))
    result = run("verify", tmp_path / "made" / "1", "--checkpoint", prefix, "--input=x", "--output=y")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("build", [used_as_it_is, larger, small, by_the_request])
def test_the_rest_is_computed_for_each_request(run, tmp_path, build):
    """Where a variable is needed as well, the files would grow, nothing is gained, or a request has its part."""
    made, output = exported(run, tmp_path / "made", trained(tmp_path, build))
    assert made["computed_once"] == [] and "\ncomputed " not in output, output


def test_a_wrong_value_is_found_out(run, tmp_path, monkeypatch):
    """By the comparison with the graph before it; then the version computes it for each request, and people are told."""
    right = compute_once.Derived
    monkeypatch.setattr(compute_once, "Derived", lambda graph_def, _, variables: right(graph_def, "mul:0", variables))
    made, output = exported(run, tmp_path / "made", trained(tmp_path, wrong_if_swapped))
    assert made["computed_once"] == [] and made["parity"]["answers"], output
    assert "\ncomputed    for each request: " in output and "\ndiffers     " in output


def wrong_if_swapped(x):
    """The result is not `mul`."""
    return tf.matmul(flat(x), tf.multiply(weights("matrix", 144, 40), 2.0, name="mul") + 1.0)
