"""Pictures resized as the libraries do that training code uses."""

from __future__ import annotations

from typing import Callable, Tuple

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.steps import AnyResize, ResizePage


def new_size(height: tf.Tensor, width: tf.Tensor, step: AnyResize) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return height and width after `step`, int64; the width is rounded to the nearest number, halves up, at least 1.

    `height` and `width` are int64 of any shape, from 1 on. Both sides of a page are rounded up to the step's multiple.
    """
    if isinstance(step, ResizePage):
        return _page_size(height, width, step)
    if step.width is not None:
        return tf.fill(tf.shape(height), tf.constant(step.height, tf.int64)), tf.fill(
            tf.shape(width), tf.constant(step.width, tf.int64)
        )
    height = tf.maximum(height, tf.cast(1, tf.int64))
    columns = (2 * width * step.height + height) // (2 * height)
    return tf.fill(tf.shape(height), tf.constant(step.height, tf.int64)), tf.maximum(columns, tf.cast(1, tf.int64))


def _page_size(height: tf.Tensor, width: tf.Tensor, step: ResizePage) -> Tuple[tf.Tensor, tf.Tensor]:
    height, width = tf.maximum(height, tf.cast(1, tf.int64)), tf.maximum(width, tf.cast(1, tf.int64))
    short, long = tf.minimum(height, width), tf.maximum(height, width)
    # The factor is short_side / short or max_long_side / long. In integers, which have no rounding errors.
    is_long = step.short_side * long > step.max_long_side * short
    numerator = tf.where(
        is_long,
        tf.fill(tf.shape(long), tf.cast(step.max_long_side, tf.int64)),
        tf.fill(tf.shape(long), tf.cast(step.short_side, tf.int64)),
    )
    denominator = tf.where(is_long, long, short)

    def scaled(size: tf.Tensor) -> tf.Tensor:
        rounded = tf.maximum((2 * size * numerator + denominator) // (2 * denominator), tf.cast(1, tf.int64))
        return (rounded + step.multiple - 1) // step.multiple * step.multiple

    return scaled(height), scaled(width)


def resized(pixels: tf.Tensor, step: AnyResize, as_floats: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Return float32 [height, width, channels] of whole numbers from `pixels` uint8 [height, width, any].

    `as_floats` turns decoded pixels into float32 [..., channels].
    """
    shape = tf.shape(pixels, out_type=tf.int64)
    height, width = new_size(shape[0], shape[1], step)
    if step.method == "bilinear":
        made = _interpolated(pixels, as_floats, _linear(shape[0], height), _linear(shape[1], width))
    elif step.method == "area":
        shrunk = tf.raw_ops.ResizeArea(images=as_floats(pixels)[None], size=_size(height, width))[0]
        grown = _interpolated(pixels, as_floats, _of_area(shape[0], height), _of_area(shape[1], width))
        shrinks = tf.logical_and(height <= shape[0], width <= shape[1])
        made = tf.where(tf.fill(tf.shape(shrunk), shrinks), shrunk, grown)
    else:
        size = _size(height, width)
        made = tf.raw_ops.ScaleAndTranslate(
            images=as_floats(pixels)[None],
            size=size,
            scale=tf.cast(size, tf.float32) / tf.cast(shape[:2], tf.float32),
            translation=tf.zeros([2]),
            kernel_type="triangle",
            antialias=True,
        )[0]
    return tf.floor(made + 0.5)


def _size(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.stack([height, width]), tf.int32)


# The two source positions of each new one, and the weight of the second.
_Neighbours = Tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def _interpolated(
    pixels: tf.Tensor, as_floats: Callable[[tf.Tensor], tf.Tensor], rows: _Neighbours, columns: _Neighbours
) -> tf.Tensor:
    """The rows first, and as bytes: of a large picture only a few are needed."""
    above, below, vertical = rows
    left, right, horizontal = columns
    top, bottom = as_floats(tf.gather(pixels, above)), as_floats(tf.gather(pixels, below))
    made = top + (bottom - top) * vertical[:, None, None]
    first, second = tf.gather(made, left, axis=1), tf.gather(made, right, axis=1)
    return first + (second - first) * horizontal[None, :, None]


def _linear(size: tf.Tensor, new: tf.Tensor) -> _Neighbours:
    """As INTER_LINEAR of OpenCV: pixel centres are at halves, and nothing is averaged when a picture shrinks."""
    scale = tf.cast(size, tf.float32) / tf.cast(new, tf.float32)
    at = (tf.cast(tf.range(new), tf.float32) + 0.5) * scale - 0.5
    at = tf.clip_by_value(at, 0.0, tf.cast(size - 1, tf.float32))
    first = tf.floor(at)
    number = tf.cast(first, tf.int64)
    return number, tf.minimum(number + 1, size - 1), at - first


def _of_area(size: tf.Tensor, new: tf.Tensor) -> _Neighbours:
    """As INTER_AREA of OpenCV does where a side grows: resize of modules/imgproc/src/resize.cpp, area_mode."""
    place = tf.cast(tf.range(new), tf.float64)
    scale = tf.cast(new, tf.float64) / tf.cast(size, tf.float64)
    first = tf.floor(place * (1.0 / scale))  # with OpenCV's rounding errors, which decide where it is almost a number
    number = tf.cast(first, tf.int64)
    weight = place + 1.0 - (first + 1.0) * scale
    weight = tf.where(weight <= 0, tf.zeros_like(weight), weight - tf.floor(weight))
    weight = tf.where(number >= size - 1, tf.zeros_like(weight), weight)
    return tf.minimum(number, size - 1), tf.minimum(number + 1, size - 1), tf.cast(weight, tf.float32)
