"""Pages: each computed alone, sizes after resizing, coordinates in the picture's own pixels, the detector's stride."""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, Sequence

from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.signature.detection import PageArray
from ckpt2saved.signature.steps import COUNT
from ckpt2saved.sources.steps.pictures import Pictures


def each_page(
    of_page: Callable[..., Sequence[tf.Tensor]],
    given: Sequence[tf.Tensor],
    results: Mapping[str, PageArray],
    lists: Mapping[str, PageArray] = {},
) -> Dict[str, tf.Tensor]:
    """Return `results` [batch, ...] that `of_page` makes, in their order, of each page's part of `given` [batch, ...].

    Behind them `of_page` makes `lists`, whose first dimension differs by page: those of all pages are returned one
    behind the other. One page at a time: its answer does not depend on the others, and only the results grow with the
    batch.
    """
    batch = tf.shape(given[0])[0]

    def step(page: tf.Tensor, *arrays: tf.TensorArray) -> List[tf.Tensor]:
        found = of_page(*[value[page] for value in given])
        return [page + 1] + [array.write(page, value) for array, value in zip(arrays, found)]

    with v1_control_flow():
        arrays = [tf.TensorArray(one.dtype, batch, element_shape=one.shape) for one in results.values()]
        arrays += [
            tf.TensorArray(one.dtype, batch, element_shape=(None, *one.shape), infer_shape=False)
            for one in lists.values()
        ]
        loop = tf.while_loop(
            lambda page, *_: page < batch, step, [tf.constant(0)] + arrays, parallel_iterations=1, back_prop=False
        )
        made = {name: array.stack() for name, array in zip(results, loop[1:])}
        made.update({name: array.concat() for name, array in zip(lists, loop[1 + len(results) :])})
    for name, one in results.items():
        made[name].set_shape(given[0].shape[:1].concatenate(one.shape))
    for name, one in lists.items():
        made[name].set_shape([None, *one.shape])
    return made


def cut_padding(made: Mapping[str, tf.Tensor], results: Mapping[str, PageArray]) -> Dict[str, tf.Tensor]:
    """Return the arrays of `made` without the rows that are padding for every page, but for one."""
    if COUNT not in results:
        return {}
    most = tf.reduce_max(tf.concat([made[COUNT], [1]], axis=0))
    return {name: made[name][:, :most] for name, one in results.items() if one.shape and name in made}


def sizes_of(pictures: Pictures) -> tf.Tensor:
    """Return height, width and scale of resized pages, float32 [batch, 3], as clients of CTPN send them."""
    shape = tf.shape(pictures.images)[1:3]
    resized = tf.cast(tf.tile(shape[None], [tf.shape(pictures.original)[0], 1]), tf.float32)
    return tf.concat([resized, resized[:, 1:] / tf.cast(pictures.original[:, 1:], tf.float32)], axis=1)


def scaled_back(coordinates: tf.Tensor, sizes: tf.Tensor, original: tf.Tensor) -> tf.Tensor:
    """Return points in the pictures' own pixels: x and y divided by the factors of resizing, as in the published code.

    `coordinates` is float32 [batch, n, 2 * points], x and y in turn; `sizes` [batch, 3] has height and width of the
    resized pages, `original` int32 [batch, 2] those of the pictures.
    """
    factors = tf.reverse(tf.cast(original, tf.float32) / sizes[:, :2], axis=[1])  # of x, y
    return coordinates * tf.tile(factors, [1, tf.shape(coordinates)[2] // 2])[:, None]


def check_stride(answer: tf.Tensor, images: tf.Tensor, stride: int) -> tf.Tensor:
    """Return `answer` [batch, rows, columns, any]; the graph fails if rows are not `stride` pixels of `images` high."""
    height, rows = tf.shape(images)[1], tf.shape(answer)[1]
    fits = tf.less(tf.abs(height - rows * stride), stride)
    message = [f"the stride of the detector is not {stride}; rows of the image, rows of the answer:", height, rows]
    with tf.control_dependencies([tf.Assert(fits, message)]):
        return tf.identity(answer)
