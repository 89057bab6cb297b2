"""Pictures resized as the libraries do that training code uses."""

from __future__ import annotations

from typing import Callable, Tuple

from ckpt2saved.signature.steps import Resize
from ckpt2saved.tf1 import tf


def new_size(height: tf.Tensor, width: tf.Tensor, step: Resize) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return height and width after `step`, int64; the width is rounded to the nearest number, halves up, at least 1.

    `height` and `width` are int64 of any shape, from 1 on.
    """
    if step.width is not None:
        return tf.fill(tf.shape(height), tf.constant(step.height, tf.int64)), tf.fill(
            tf.shape(width), tf.constant(step.width, tf.int64)
        )
    height = tf.maximum(height, tf.cast(1, tf.int64))
    columns = (2 * width * step.height + height) // (2 * height)
    return tf.fill(tf.shape(height), tf.constant(step.height, tf.int64)), tf.maximum(columns, tf.cast(1, tf.int64))


def resized(pixels: tf.Tensor, step: Resize, as_floats: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Return float32 [height, width, channels] of whole numbers from `pixels` uint8 [height, width, any].

    `as_floats` turns decoded pixels into float32 [..., channels].
    """
    shape = tf.shape(pixels, out_type=tf.int64)
    height, width = new_size(shape[0], shape[1], step)
    above, below, vertical = _neighbours(shape[0], height)
    left, right, horizontal = _neighbours(shape[1], width)
    # The rows first, and as bytes: of a large picture only a few are needed.
    top, bottom = as_floats(tf.gather(pixels, above)), as_floats(tf.gather(pixels, below))
    rows = top + (bottom - top) * vertical[:, None, None]
    first, second = tf.gather(rows, left, axis=1), tf.gather(rows, right, axis=1)
    return tf.floor(first + (second - first) * horizontal[None, :, None] + 0.5)


def _neighbours(size: tf.Tensor, new: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the two source positions of each new one, and the weight of the second, as INTER_LINEAR of OpenCV.

    Pixel centres are at halves, and nothing is averaged when a picture shrinks.
    """
    scale = tf.cast(size, tf.float32) / tf.cast(new, tf.float32)
    at = (tf.cast(tf.range(new), tf.float32) + 0.5) * scale - 0.5
    at = tf.clip_by_value(at, 0.0, tf.cast(size - 1, tf.float32))
    first = tf.floor(at)
    number = tf.cast(first, tf.int64)
    return number, tf.minimum(number + 1, size - 1), at - first
