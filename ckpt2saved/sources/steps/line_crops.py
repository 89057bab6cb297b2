"""Lines cut out of a page and turned upright."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Tuple

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.detection import MOST_POINTS, PageArray
from ckpt2saved.signature.steps import CropLines


class Crops(NamedTuple):
    """The lines of a page, one behind the other."""

    columns: tf.Tensor  # uint8 [all columns, height, channels]
    widths: tf.Tensor  # int32 [lines]: how many columns each line has


def crop_arrays(step: CropLines, channels: int) -> Dict[str, PageArray]:
    """Return the parts of Crops with what they hold for each column, or line."""
    return {"columns": PageArray("uint8", (step.height, channels)), "widths": PageArray("int32", ())}


def cropped_lines(pixels: tf.Tensor, quads: tf.Tensor, step: CropLines) -> Crops:
    """Return the lines `quads` float32 [lines, 8] of `pixels` uint8 [height, width, channels].

    x and y of the corners are in pixels, clockwise from the top left; the first pixel extends from 0 to 1. A line is as
    wide as its aspect ratio says. It is interpolated between the four nearest pixels, and beyond the page the last
    pixels repeat. Where a line is higher than `step.height`, the mean of k x k points is taken, k being how many times
    it is, up to MOST_POINTS.
    """
    flat = tf.reshape(pixels, [-1, tf.shape(pixels)[2]])
    size = tf.shape(pixels)
    widths, counts = _sizes(quads, step)
    lines = tf.size(widths)
    channels = pixels.shape[2]

    def cut(number: tf.Tensor, columns: tf.TensorArray) -> Tuple[tf.Tensor, tf.TensorArray]:
        width, count = widths[number], counts[number]
        points = _points(quads[number], width * count, step.height * count)
        found = _interpolated(flat, size, points)
        found = tf.reshape(found, [width, count, step.height, count, size[2]])
        made = tf.cast(tf.floor(tf.reduce_mean(found, axis=[1, 3]) + 0.5), tf.uint8)
        return number + 1, columns.write(number, tf.reshape(made, [width, step.height, channels]))

    shape = tf.TensorShape([None, step.height, channels])
    array = tf.TensorArray(tf.uint8, lines, element_shape=shape, infer_shape=False)
    _, array = tf.while_loop(
        lambda number, _: number < lines,
        cut,
        [tf.constant(0), array],
        parallel_iterations=1,
        back_prop=False,
    )
    columns = array.concat()
    columns.set_shape(shape)
    return Crops(columns, widths)


def _sizes(quads: tf.Tensor, step: CropLines) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return the width of each line, int32 [lines], and how many points of each side make a pixel, int32 [lines]."""
    corners = tf.reshape(quads, [-1, 4, 2])
    sides = tf.norm(tf.concat([corners[:, 1:], corners[:, :1]], axis=1) - corners, axis=2)
    width, height = (sides[:, 0] + sides[:, 2]) / 2, tf.maximum((sides[:, 1] + sides[:, 3]) / 2, 1.0)
    columns = tf.floor(width * step.height / height + 0.5)
    columns = tf.clip_by_value(columns, 1.0, float(step.max_width))
    points = tf.clip_by_value(tf.floor(height / step.height + 0.5), 1.0, float(MOST_POINTS))
    return tf.cast(columns, tf.int32), tf.cast(points, tf.int32)


def _points(quad: tf.Tensor, columns: tf.Tensor, rows: tf.Tensor) -> List[tf.Tensor]:
    """Return x and y of points in a quad, float32 [columns, rows], evenly between its sides."""
    right, down = (
        (tf.cast(tf.range(count), tf.float32) + 0.5) / tf.cast(count, tf.float32) for count in (columns, rows)
    )
    right, down = right[:, None], down[None, :]
    top_left, top_right, bottom_right, bottom_left = tf.unstack(tf.reshape(quad, [4, 2]))
    return [
        (top_left[axis] * (1 - right) + top_right[axis] * right) * (1 - down)
        + (bottom_left[axis] * (1 - right) + bottom_right[axis] * right) * down
        for axis in (0, 1)
    ]


def _interpolated(flat: tf.Tensor, size: tf.Tensor, points: List[tf.Tensor]) -> tf.Tensor:
    """Return the pixels at `points`, float32 [columns, rows, channels].

    `flat` is uint8 [height * width, channels], `size` int32 [3] height, width, channels.
    """
    firsts, seconds, parts = [], [], []
    for place, count in zip(points, (size[1], size[0])):
        last = tf.cast(count - 1, tf.float32)
        place = tf.clip_by_value(place - 0.5, 0.0, last)
        first = tf.floor(place)
        firsts.append(tf.cast(first, tf.int32))
        seconds.append(tf.minimum(firsts[-1] + 1, count - 1))
        parts.append((place - first)[..., None])

    def at(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.gather(flat, y * size[1] + x), tf.float32)

    (left, above), (right, below), (across, down) = firsts, seconds, parts
    top = at(left, above) * (1 - across) + at(right, above) * across
    bottom = at(left, below) * (1 - across) + at(right, below) * across
    return top * (1 - down) + bottom * down
