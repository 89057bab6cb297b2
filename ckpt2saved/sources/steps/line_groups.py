"""The lines of all pages of a batch, read by a second network in groups of similar width."""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, Sequence

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.sources.steps.line_crops import Crops

AT_ONCE = 32  # lines of a group: its memory is bounded, and short lines are not padded to the longest of all


def read_in_groups(
    read: Callable[[tf.Tensor, tf.Tensor], Sequence[tf.Tensor]], crops: Crops, dtypes: Mapping[str, str]
) -> Dict[str, tf.Tensor]:
    """Return what `read` makes of all lines, each [lines], by the names in `dtypes`.

    `read` gets `images` float32 [group, height, width, channels], lines padded with zeros, and `widths` int32 [group].
    It is built once, and runs at least once: without a line it gets one of one black column, whose results are left
    out.
    """
    lines = tf.size(crops.widths)
    missing = tf.maximum(1 - lines, 0)
    widths = tf.pad(crops.widths, [[0, missing]], constant_values=1)
    columns = tf.pad(crops.columns, [[0, missing], [0, 0], [0, 0]])
    starts = tf.cumsum(widths, exclusive=True)
    _, order = tf.nn.top_k(widths, tf.size(widths))  # the widest first
    groups = (tf.size(order) + AT_ONCE - 1) // AT_ONCE

    def step(number: tf.Tensor, *arrays: tf.TensorArray) -> List[tf.Tensor]:
        chosen = order[number * AT_ONCE : (number + 1) * AT_ONCE]
        own = tf.gather(widths, chosen)
        place = tf.range(tf.reduce_max(own))[None]
        is_inside = place < own[:, None]
        rows = tf.where(is_inside, tf.gather(starts, chosen)[:, None] + place, tf.zeros_like(place + own[:, None]))
        images = tf.cast(tf.gather(columns, rows), tf.float32)
        images *= tf.cast(is_inside, tf.float32)[:, :, None, None]
        found = read(tf.transpose(images, [0, 2, 1, 3]), own)
        return [number + 1] + [array.write(number, values) for array, values in zip(arrays, found)]

    arrays = [tf.TensorArray(dtype, groups, element_shape=[None], infer_shape=False) for dtype in dtypes.values()]
    _, *arrays = tf.while_loop(
        lambda number, *_: number < groups,
        step,
        [tf.constant(0)] + arrays,
        parallel_iterations=1,
        back_prop=False,
    )
    places = tf.invert_permutation(order)[:lines]
    return {name: tf.gather(array.concat(), places) for name, array in zip(dtypes, arrays)}


def by_page(values: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Return [batch, most lines of a page, at least 1] of `values` [lines], those of each page one behind the other.

    `counts` int32 [batch] is how many lines each page has; the rest is 0, or empty.
    """
    most = tf.reduce_max(tf.concat([counts, [1]], axis=0))
    place = tf.range(most)[None]
    index = tf.cumsum(counts, exclusive=True)[:, None] + place
    nothing = tf.constant("" if values.dtype == tf.string else 0, values.dtype)
    values = tf.concat([values, [nothing]], axis=0)
    last = tf.fill(tf.shape(index), tf.size(values) - 1)
    return tf.gather(values, tf.where(place + tf.zeros_like(index) < counts[:, None], index, last))
