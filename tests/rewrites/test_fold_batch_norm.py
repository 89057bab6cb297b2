"""Batch norm that directly follows a convolution is folded into its kernel and bias, and the answers stay."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites import fold_batch_norm
from ckpt2saved.rewrites.fold_batch_norm import FoldBatchNorm
from ckpt2saved.rewrites.for_serving import FOR_SERVING
from tests.support.rewritten_exports import exported, ops, question, stored, trained
from tests.support.saved_models import asked

NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "Rsqrt")


def weights(name, *shape, low=-1.0):
    """A variable that is not what initializers make."""
    values = np.random.RandomState(sum(map(ord, name))).uniform(low, 1, shape).astype("float32")
    return tf.get_variable(name, initializer=values)


def parts(name, channels):
    """gamma, beta, mean and variance of a batch norm."""
    return [
        weights(f"{name}/gamma", channels),
        weights(f"{name}/beta", channels),
        weights(f"{name}/moving_mean", channels),
        weights(f"{name}/moving_variance", channels, low=0.1),
    ]


def fused(x, name, channels, **how):
    gamma, beta, mean, variance = parts(name, channels)
    return tf.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon=1e-3, is_training=False, **how)[0]


def convolution(x, bias=False):
    """To 5 channels, without or with a bias."""
    x = tf.nn.conv2d(x, weights("kernel", 3, 3, int(x.shape[3]), 5), [1, 2, 1, 1], "SAME")
    return tf.nn.bias_add(x, weights("bias", 5)) if bias else x


def added_bias(x):
    x = convolution(x) + tf.reshape(weights("bias", 5), [1, 1, 1, 5])
    return fused(x, "bn", 5)


def depthwise(x):
    x = tf.nn.depthwise_conv2d(x, weights("kernel", 3, 3, int(x.shape[3]), 2), [1, 1, 1, 1], "SAME")
    return fused(x, "bn", int(x.shape[3]))


def unfused(x):
    gamma, beta, mean, variance = parts("bn", 5)
    return tf.nn.batch_normalization(convolution(x), mean, variance, beta, gamma, 1e-3)


def unfused_kept_axes(x):
    shaped = [tf.reshape(part, [1, 1, 1, 5]) for part in parts("bn", 5)]
    gamma, beta, mean, variance = shaped
    return tf.nn.batch_normalization(convolution(x, bias=True), mean, variance, beta, gamma, 1e-3)


def without_gamma(x):
    _, beta, mean, variance = parts("bn", 5)
    scale = tf.ones([5])
    return tf.nn.fused_batch_norm(convolution(x), scale, beta, mean, variance, is_training=False)[0]


def without_beta(x):
    gamma, _, mean, variance = parts("bn", 5)
    return tf.nn.fused_batch_norm(convolution(x), gamma, tf.zeros([5]), mean, variance, is_training=False)[0]


def resnet(x):
    """Two blocks with a shortcut."""
    for block in "ab":
        with tf.variable_scope(block):
            shortcut = fused(tf.nn.conv2d(x, weights("w0", 1, 1, int(x.shape[3]), 4), [1] * 4, "SAME"), "bn0", 4)
            x = tf.nn.relu(fused(tf.nn.conv2d(x, weights("w1", 3, 3, int(x.shape[3]), 4), [1] * 4, "SAME"), "bn1", 4))
            x = fused(tf.nn.conv2d(x, weights("w2", 3, 3, 4, 4), [1] * 4, "SAME"), "bn2", 4)
            x = tf.nn.relu(x + shortcut)
    return x


def shared_kernel(x):
    kernel = weights("kernel", 3, 3, 3, 5)
    left, right = [tf.nn.conv2d(part, kernel, [1] * 4, "SAME") for part in (x, x * x)]
    return fused(left, "left", 5) + fused(right, "right", 5)


def read_twice(x):
    x = convolution(x)
    return fused(x, "bn", 5) + x


def after_relu(x):
    return fused(tf.nn.relu(convolution(x)), "bn", 5)


def kernel_that_is_computed(x):
    kernel = tf.nn.l2_normalize(weights("kernel", 3, 3, 3, 5), [0, 1, 2])
    return fused(tf.nn.conv2d(x, kernel, [1] * 4, "SAME"), "bn", 5)


def scaled_by_the_request(x):
    gamma, beta, mean, variance = parts("bn", 5)
    return tf.nn.batch_normalization(convolution(x), mean, variance, beta, gamma * tf.reduce_max(x), 1e-3)


def one_scale_for_all(x):
    return convolution(x) * weights("scale", 1) + weights("shift", 5)


FOLDED = {
    "fused": (lambda x: fused(convolution(x), "bn", 5), 1),
    "with a bias": (lambda x: fused(convolution(x, bias=True), "bn", 5), 1),
    "with an added bias": (added_bias, 1),
    "depthwise": (depthwise, 1),
    "unfused": (unfused, 1),
    "unfused, axes kept": (unfused_kept_axes, 1),
    "without gamma": (without_gamma, 1),
    "without beta": (without_beta, 1),
    "a residual network": (resnet, 6),
}
KEPT = [shared_kernel, read_twice, after_relu, kernel_that_is_computed, scaled_by_the_request, one_scale_for_all]


@pytest.mark.parametrize("kind, resources", [(kind, False) for kind in sorted(FOLDED)] + [("with a bias", True)])
def test_batch_norm_after_a_convolution_is_folded(run, tmp_path, kind, resources):
    """The answers stay to 1e-5 of their size; no batch norm is left; variables are, fewer of them."""
    build, count = FOLDED[kind]
    prefix = trained(tmp_path, build, resources)
    plain, _ = exported(run, tmp_path / "plain", prefix, "--no-fold")
    made, output = exported(run, tmp_path / "made", prefix)
    assert (len(made["folded_nodes"]), plain["folded_nodes"]) == (count, []), output
    assert "folded" in output
    wanted, found = [asked(tmp_path / base / "1", x=question())["y"] for base in ("plain", "made")]
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    before, after = stored(tmp_path / "plain" / "1"), stored(tmp_path / "made" / "1")
    assert set(ops(tmp_path / "plain" / "1")) & set(NORMS) and not set(ops(tmp_path / "made" / "1")) & set(NORMS)
    assert set(after) < set(before) and any("kernel" in name or "w0" in name for name in after)
    assert all(after[name].shape == before[name].shape for name in after)


@pytest.mark.parametrize("build", KEPT)
def test_what_can_not_be_folded_stays(run, tmp_path, build):
    """Where something else reads the kernel or the convolution, or the two do not meet."""
    made, output = exported(run, tmp_path / "made", trained(tmp_path, build))
    assert made["folded_nodes"] == [], output
    assert "\nfolded " not in output


def test_a_folded_version_is_the_same_bytes_each_time(run, tmp_path):
    """And is verified against the checkpoint as any other."""
    prefix = trained(tmp_path, resnet)
    for base in "ab":
        exported(run, tmp_path / base, prefix)
    for name in ("saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"):
        assert (tmp_path / "a" / "1" / name).read_bytes() == (tmp_path / "b" / "1" / name).read_bytes()
    result = run("verify", tmp_path / "a" / "1", "--checkpoint", prefix, "--input=x", "--output=y")
    assert result.exit_code == 0, result.output


def test_a_wrong_folding_is_found_out(run, tmp_path, monkeypatch):
    """By the comparison with the graph before it; then the version has its batch norms, and people are told."""
    right = fold_batch_norm._scale_and_shift
    monkeypatch.setattr(fold_batch_norm, "_scale_and_shift", lambda *given: [part * 1.01 for part in right(*given)])
    prefix = trained(tmp_path, resnet)
    made, output = exported(run, tmp_path / "made", prefix)
    assert made["folded_nodes"] == [] and made["parity"]["answers"], output
    assert "\nfolded      no batch norm: with folding" in output and "\ndiffers     " in output
    assert set(ops(tmp_path / "made" / "1")) & set(NORMS)


def test_it_is_on_by_default():
    """Without --no-fold."""
    assert any(isinstance(rewrite, FoldBatchNorm) for rewrite in FOR_SERVING)
