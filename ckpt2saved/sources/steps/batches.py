"""Steps on a batch of pictures: normalise, pad."""

from __future__ import annotations

from typing import Tuple

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.steps import Normalise, Pad


def normalised(images: tf.Tensor, step: Normalise) -> tf.Tensor:
    """Return (pixel - mean) * scale of `images` float32 [..., channels], in the order of the step."""
    if step.order == "bgr":
        images = tf.reverse(images, axis=[-1])
    if step.mean:
        images = images - tf.constant(step.mean, tf.float32)
    if step.scale:
        images = images * tf.constant(step.scale, tf.float32)
    return images


def padded(images: tf.Tensor, widths: tf.Tensor, step: Pad) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return `images` [batch, height, width, channels] with the columns from `widths` on filled, and the new widths."""
    size = tf.shape(images)
    wanted = tf.maximum(size[2], step.min_width)
    wanted += tf.math.floormod(-wanted, step.multiple)
    images = tf.pad(images, [[0, 0], [0, 0], [0, wanted - size[2]], [0, 0]])
    inside = tf.sequence_mask(widths, wanted, dtype=images.dtype)[:, None, :, None]
    images = images * inside if step.value == 0 else images * inside + step.value * (1.0 - inside)
    return images, widths + tf.math.floormod(-widths, step.multiple)
