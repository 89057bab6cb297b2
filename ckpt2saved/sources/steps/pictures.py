"""Pictures decoded, and resized, inside a graph: one that can't be read does not fail the others.

An op that decodes raises an error for a damaged file, and the only stock ops that catch errors are those of tf.data.
The batch is one dataset, whose elements that fail are left out; each result says its place in the batch. TensorFlow 1
takes milliseconds to prepare the function of a dataset, in every request: one function has the usual formats.
"""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ckpt2saved.graph.tf1 import Defun, tf
from ckpt2saved.signature.steps import AnyResize, DecodePictures, Resize, ResizePage
from ckpt2saved.sources.steps import headers
from ckpt2saved.sources.steps.resizing import new_size, resized

# Values of `status`.
READ, NO_BYTES, NO_PICTURE, TOO_LARGE, DAMAGED, TOO_SMALL = range(6)

_FRAMES = 4  # of the largest picture that an animation may have
_FRAME_OF_GIF = 0x2C  # the byte before the place and the size of a frame

_FILE_TYPES = (tf.string, tf.int32, tf.int32)  # contents, format and place in the batch
_FILE_SHAPES = [tf.TensorShape([])] * len(_FILE_TYPES)

_GRAY = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as OpenCV and Pillow have it


class Pictures(NamedTuple):
    """One batch of pictures, each in the upper left corner of its part."""

    images: tf.Tensor  # float32 [batch, height, width, channels], 0 to 255
    widths: tf.Tensor  # int32 [batch], of each picture
    status: tf.Tensor  # int32 [batch]
    original: tf.Tensor  # int32 [batch, 2], height and width of each picture before it was resized
    pixels: Optional[tf.Tensor] = None  # uint8 [batch, height, width, channels], before they were resized


def read_pictures(
    contents: tf.Tensor, decode: DecodePictures, resize: Optional[AnyResize], name: str, keep_pixels: bool = False
) -> Pictures:
    """Decode and resize the files in `contents`, string [batch]; the functions that this takes begin with `name`.

    A picture that can't be read is black, one pixel wide, with a status other than READ. Pages are as large as the
    step's multiple then. With `keep_pixels` the result has `pixels`.
    """
    return _Reader(decode, resize, name, keep_pixels).read(contents)


class _Reader:
    """Builds the datasets."""

    def __init__(self, decode: DecodePictures, resize: Optional[AnyResize], name: str, keep_pixels: bool) -> None:
        self._decode = decode
        self._resize = resize
        self._name = name
        self._keep_pixels = keep_pixels
        rows = resize.height if isinstance(resize, Resize) else None
        # Of one picture, and its place in the batch.
        self._types = [tf.float32, tf.int32, tf.int32, tf.int32] + [tf.uint8] * keep_pixels + [tf.int32]
        sizes: List[List[Optional[int]]] = [[rows, None, decode.channels], [], [], [2]]
        sizes += [[None, None, decode.channels]] * keep_pixels + [[]]
        self._shapes = [tf.TensorShape(size) for size in sizes]

    def read(self, contents: tf.Tensor) -> Pictures:
        found = headers.read_headers(contents)
        fits = self._fits(found.height, found.width)
        failure = _status(found.kind, fits)
        kind = tf.where(fits, found.kind, tf.fill(tf.shape(found.kind), headers.UNKNOWN))
        batch = tf.shape(contents)[0]
        *results, places = self._batch(self._results(contents, kind, tf.range(batch)), batch)
        count = tf.reduce_sum(tf.cast(places < batch, tf.int32))  # of those that could be read
        read = places[:count]
        size = tf.maximum(batch, places[-1])  # `batch`; written so that the static batch dimension stays open
        rows = count + tf.scatter_nd(read[:, None], tf.range(count) - count, size[None])
        pictures = Pictures(*[tf.gather(result, rows) for result in results])
        return pictures._replace(status=tf.where(rows < count, pictures.status, failure))

    def _batch(self, dataset: tf.Tensor, batch: tf.Tensor) -> List[tf.Tensor]:
        """The results of the dataset, padded to one size, and a blank one behind them if they are fewer than `batch`.

        The blank one has the place `batch`. Without results it is the only one. It is as large as the largest result,
        so that there is none where each picture could be read.
        """
        blank = tf.raw_ops.TensorDataset(components=[*self._blank(READ), batch], output_shapes=self._shapes)
        size = tf.maximum(tf.cast(batch, tf.int64), tf.constant(1, tf.int64))
        dataset = self._with_result(
            tf.raw_ops.TakeDataset, input_dataset=self._concatenated(dataset, blank), count=size
        )
        shapes = [tf.TensorShape([None]).concatenate(shape) for shape in self._shapes]
        dataset = tf.raw_ops.PaddedBatchDatasetV2(
            input_dataset=dataset,
            batch_size=size,
            padded_shapes=[
                tf.constant([-1 if size is None else size for size in shape.as_list()], tf.int64)
                for shape in self._shapes
            ],
            padding_values=[tf.constant(0, dtype) for dtype in self._types],
            drop_remainder=tf.constant(False),
            output_shapes=shapes,
        )
        return list(tf.raw_ops.DatasetToSingleElement(dataset=dataset, output_types=self._types, output_shapes=shapes))

    def _fits(self, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Whether pictures of these sizes, int64, are within the limits."""
        fits = height * width <= self._decode.max_pixels
        if not isinstance(self._resize, Resize):
            return fits
        _, columns = new_size(height, width, self._resize)
        return tf.logical_and(fits, columns <= self._resize.max_width)

    def _results(self, *files: tf.Tensor) -> tf.Tensor:
        """The dataset of the results of those of the `files` that can be read: contents, format and place of each."""
        usual = self._attempt(
            "usual",
            {headers.PNG: lambda content: _png(content, 3), headers.JPEG: _jpeg, headers.BMP: _bmp},
            {headers.JPEG: self._jpeg_fits},
        )
        with_alpha = self._attempt("png_with_alpha", {headers.PNG_WITH_ALPHA: lambda content: _png(content, 4)}, {})
        gif = self._attempt(
            "gif",
            {headers.GIF: lambda content: tf.raw_ops.DecodeGif(contents=content)[0]},
            {headers.GIF: self._gif_fits},
        )

        def rare(*file: tf.Tensor) -> tf.Tensor:
            alone = tf.raw_ops.TensorDataset(components=file, output_shapes=_FILE_SHAPES)
            return self._concatenated(self._mapped(alone, with_alpha), self._mapped(alone, gif))

        dataset = tf.raw_ops.TensorSliceDataset(components=files, output_shapes=_FILE_SHAPES)
        # TensorFlow prepares the function of a FlatMap when the first files did not give all results.
        others = self._with_result(
            tf.raw_ops.FlatMapDataset,
            input_dataset=dataset,
            other_arguments=[],
            f=Defun(*_FILE_TYPES, func_name=self._name + "_rare")(rare),
        )
        return self._with_result(
            tf.raw_ops.ExperimentalIgnoreErrorsDataset,
            input_dataset=self._concatenated(self._mapped(dataset, usual), others),
        )

    def _attempt(
        self,
        name: str,
        decoders: Mapping[int, Callable[[tf.Tensor], tf.Tensor]],
        checks: Mapping[int, Callable[[tf.Tensor], tf.Tensor]],
    ) -> Any:
        """A function from a file and its format to its result; fails for what none of the `decoders` reads.

        The decoders are by format; so are the `checks`, which tell from the whole file whether it is within the limits.
        """

        def attempt(content: tf.Tensor, kind: tf.Tensor, place: tf.Tensor) -> Sequence[tf.Tensor]:
            # Of the branches between Switch and Merge one runs, or none, which is an error of the function.
            pixels, results = [], []
            for number, decode in decoders.items():
                file, _ = _switch(content, tf.equal(kind, number))
                if number in checks:
                    file, large = _switch(file, checks[number](file))
                    results.append(_where(large, self._blank(TOO_LARGE)))
                pixels.append(decode(file))
            results.append(self._result(_merged(pixels)))
            return [*(_merged(parts) for parts in zip(*results)), place]

        return Defun(*_FILE_TYPES, func_name=f"{self._name}_{name}")(attempt)

    def _result(self, pixels: tf.Tensor) -> List[tf.Tensor]:
        """The result for the decoded `pixels`, uint8 [height, width, 3 or 4]."""
        if self._resize is None:
            images = self._as_floats(pixels)
        else:
            images = resized(pixels, self._resize, self._as_floats)
        kept = [self._as_bytes(pixels)] * self._keep_pixels
        return _where(pixels, [images, tf.shape(images)[1], tf.constant(READ), tf.shape(pixels)[:2], *kept])

    def _jpeg_fits(self, content: tf.Tensor) -> tf.Tensor:
        size = tf.cast(tf.raw_ops.ExtractJpegShape(contents=content, output_type=tf.int32), tf.int64)
        return self._fits(size[0], size[1])

    def _gif_fits(self, content: tf.Tensor) -> tf.Tensor:
        """Whether all frames together are within the limit: the op decodes them all, and only the first is used."""
        data = tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int32)
        count = tf.size(data)
        data = tf.pad(data, [[0, 10]])

        def number(place: int) -> tf.Tensor:
            return data[place : count + place] + 256 * data[place + 1 : count + place + 1]

        width, height = data[6] + 256 * data[7], data[8] + 256 * data[9]
        inside = tf.logical_and(number(1) + number(5) <= width, number(3) + number(7) <= height)
        frames = tf.reduce_sum(tf.cast(tf.logical_and(tf.equal(data[:count], _FRAME_OF_GIF), inside), tf.int64))
        return frames * tf.cast(width, tf.int64) * tf.cast(height, tf.int64) <= _FRAMES * self._decode.max_pixels

    def _blank(self, status: int) -> List[tf.Tensor]:
        size = [1, 1]
        if isinstance(self._resize, Resize):
            size = [self._resize.height, 1]
        elif isinstance(self._resize, ResizePage):
            size = [self._resize.multiple, self._resize.multiple]
        channels = self._decode.channels
        kept = [tf.zeros([1, 1, channels], tf.uint8)] * self._keep_pixels
        return [tf.zeros([*size, channels]), tf.constant(1), tf.constant(status), tf.constant([1, 1]), *kept]

    def _mapped(self, dataset: tf.Tensor, function: Any) -> tf.Tensor:
        return self._with_result(tf.raw_ops.MapDataset, input_dataset=dataset, other_arguments=[], f=function)

    def _concatenated(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        return self._with_result(tf.raw_ops.ConcatenateDataset, input_dataset=first, another_dataset=second)

    def _with_result(self, op: Callable[..., tf.Tensor], **arguments: Any) -> tf.Tensor:
        return op(output_types=self._types, output_shapes=self._shapes, **arguments)

    def _as_bytes(self, pixels: tf.Tensor) -> tf.Tensor:
        """Return uint8 [..., 3 or 4] as uint8 [..., channels]."""
        has_channels = pixels.shape.as_list()[-1] == self._decode.channels
        return pixels if has_channels else tf.cast(self._as_floats(pixels), tf.uint8)

    def _as_floats(self, pixels: tf.Tensor) -> tf.Tensor:
        """Return uint8 [..., 3 or 4] as float32 [..., channels]; what is transparent is white."""
        floats = tf.cast(pixels, tf.float32)
        if pixels.shape.as_list()[-1] == 4:
            alpha = floats[..., 3:] / 255.0
            floats = tf.floor(floats[..., :3] * alpha + 255.0 * (1.0 - alpha) + 0.5)
        if self._decode.channels == 1:
            floats = tf.floor(tf.reduce_sum(floats * tf.constant(_GRAY), axis=-1, keepdims=True) + 0.5)
        return floats


def _status(kind: tf.Tensor, fits: tf.Tensor) -> tf.Tensor:
    """The status of pictures that none of the attempts reads."""
    found = tf.where(fits, tf.fill(tf.shape(kind), DAMAGED), tf.fill(tf.shape(kind), TOO_LARGE))
    for number, status in ((headers.UNKNOWN, NO_PICTURE), (headers.EMPTY, NO_BYTES)):
        found = tf.where(tf.equal(kind, number), tf.fill(tf.shape(kind), status), found)
    return found


def _switch(value: tf.Tensor, condition: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """The value twice: what is computed from the first runs if the condition holds, and else that from the second."""
    found = tf.raw_ops.Switch(data=value, pred=condition)
    return found.output_true, found.output_false


def _where(value: tf.Tensor, results: Sequence[tf.Tensor]) -> List[tf.Tensor]:
    """The results, constants too, if `value` is computed."""
    with tf.control_dependencies([tf.identity(value)]):
        return [tf.identity(result) for result in results]


def _merged(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """The one of the values that is computed."""
    if len(values) == 1:
        return values[0]
    return tf.raw_ops.Merge(inputs=list(values)).output


def _png(content: tf.Tensor, channels: int) -> tf.Tensor:
    pixels = tf.raw_ops.DecodePng(contents=content, channels=channels)
    return tf.ensure_shape(pixels, [None, None, channels])


def _jpeg(content: tf.Tensor) -> tf.Tensor:
    """Decoded as OpenCV and Pillow do; the default of the op is faster, and differs by a few gray levels."""
    return tf.raw_ops.DecodeJpeg(contents=content, channels=3, dct_method="INTEGER_ACCURATE")


def _bmp(content: tf.Tensor) -> tf.Tensor:
    """A picture of one channel has three of the same values; of four channels the fourth is no alpha channel."""
    pixels = tf.raw_ops.DecodeBmp(contents=content)
    return tf.ensure_shape(tf.tile(pixels, [1, 1, 3])[:, :, :3], [None, None, 3])
