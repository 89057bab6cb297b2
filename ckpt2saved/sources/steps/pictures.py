"""Pictures decoded, and resized, inside a graph: one that can't be read does not fail the others.

An op that decodes raises an error for a damaged file, and the only stock ops that catch errors are those of tf.data.
Each picture is a small dataset of its attempts, of which the first that succeeds is taken, and the last always does.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from ckpt2saved.signature.steps import AnyResize, DecodePictures, Resize, ResizePage
from ckpt2saved.sources.steps import headers
from ckpt2saved.sources.steps.resizing import new_size, resized
from ckpt2saved.tf1 import Defun, tf

# Values of `status`.
READ, NO_BYTES, NO_PICTURE, TOO_LARGE, DAMAGED, TOO_SMALL = range(6)

_FRAMES = 4  # of the largest picture that an animation may have
_FRAME_OF_GIF = 0x2C  # the byte before the place and the size of a frame

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
        self._types = [tf.float32, tf.int32, tf.int32, tf.int32] + [tf.uint8] * keep_pixels
        sizes: List[List[Optional[int]]] = [[rows, None, decode.channels], [], [], [2]]
        sizes += [[None, None, decode.channels]] * keep_pixels
        self._shapes = [tf.TensorShape(size) for size in sizes]

    def read(self, contents: tf.Tensor) -> Pictures:
        found = headers.read_headers(contents)
        fits = self._fits(found.height, found.width)
        failure = _status(found.kind, fits)
        kind = tf.where(fits, found.kind, tf.fill(tf.shape(found.kind), headers.UNKNOWN))
        dataset = tf.raw_ops.TensorSliceDataset(components=[contents, kind, failure], output_shapes=[[], [], []])
        dataset = self._with_result(
            tf.raw_ops.FlatMapDataset, input_dataset=dataset, other_arguments=[], f=self._picture()
        )
        batch = tf.shape(contents, out_type=tf.int64)[0]
        shapes = [tf.TensorShape([None]).concatenate(shape) for shape in self._shapes]
        dataset = tf.raw_ops.PaddedBatchDatasetV2(
            input_dataset=dataset,
            batch_size=batch,
            padded_shapes=[
                tf.constant([-1 if size is None else size for size in shape.as_list()], tf.int64)
                for shape in self._shapes
            ],
            padding_values=[tf.constant(0, dtype) for dtype in self._types],
            drop_remainder=tf.constant(False),
            output_shapes=shapes,
        )
        return Pictures(
            *tf.raw_ops.DatasetToSingleElement(dataset=dataset, output_types=self._types, output_shapes=shapes)
        )

    def _fits(self, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Whether pictures of these sizes, int64, are within the limits."""
        fits = height * width <= self._decode.max_pixels
        if not isinstance(self._resize, Resize):
            return fits
        _, columns = new_size(height, width, self._resize)
        return tf.logical_and(fits, columns <= self._resize.max_width)

    def _picture(self) -> Any:
        """A function from a file to the dataset of its one result."""
        decoders: Dict[int, Any] = {
            headers.PNG: self._attempt("png", lambda content: _png(content, 3)),
            headers.JPEG: self._attempt("jpeg", _jpeg),
            headers.PNG_WITH_ALPHA: self._attempt("png_with_alpha", lambda content: _png(content, 4)),
            headers.GIF: self._attempt("gif", lambda content: tf.raw_ops.DecodeGif(contents=content)[0]),
            headers.BMP: self._attempt("bmp", _bmp),
        }
        checks = {
            (kind, wanted): self._check(f"{name}_{'small' if wanted else 'large'}", fits, wanted)
            for kind, name, fits in ((headers.JPEG, "jpeg", self._jpeg_fits), (headers.GIF, "gif", self._gif_fits))
            for wanted in (True, False)
        }
        too_large = self._too_large()

        def picture(content: tf.Tensor, kind: tf.Tensor, failure: tf.Tensor) -> tf.Tensor:
            file = tf.raw_ops.TensorDataset(components=[content], output_shapes=[[]])

            def files_of(number: int, wanted: bool) -> tf.Tensor:
                return _checked(_only(file, tf.equal(kind, number)), checks.get((number, wanted)))

            # The usual formats first: TensorFlow prepares the functions of all attempts up to the one that succeeds.
            attempts = [self._mapped(files_of(number, True), decoder) for number, decoder in decoders.items()]
            attempts += [self._mapped(files_of(number, wanted), too_large) for number, wanted in checks if not wanted]
            found = self._with_result(
                tf.raw_ops.ExperimentalIgnoreErrorsDataset, input_dataset=self._concatenated(attempts)
            )
            last = tf.raw_ops.TensorDataset(components=self._nothing(failure), output_shapes=self._shapes)
            return self._with_result(
                tf.raw_ops.TakeDataset,
                input_dataset=self._concatenated([found, last]),
                count=tf.constant(1, tf.int64),
            )

        return Defun(tf.string, tf.int32, tf.int32, func_name=self._name + "_picture")(picture)

    def _attempt(self, name: str, decoded: Callable[[tf.Tensor], tf.Tensor]) -> Any:
        """A function from a file to its result."""

        def attempt(content: tf.Tensor) -> Sequence[tf.Tensor]:
            pixels = decoded(content)
            if self._resize is None:
                images = self._as_floats(pixels)
            else:
                images = resized(pixels, self._resize, self._as_floats)
            kept = [self._as_bytes(pixels)] * self._keep_pixels
            return [images, tf.shape(images)[1], tf.constant(READ), tf.shape(pixels)[:2], *kept]

        return Defun(tf.string, func_name=f"{self._name}_{name}")(attempt)

    def _check(self, name: str, fits: Callable[[tf.Tensor], tf.Tensor], wanted: bool) -> Any:
        """A predicate of files within the limits, or beyond them, that only the whole file tells."""
        return Defun(tf.string, func_name=f"{self._name}_{name}")(lambda content: tf.equal(fits(content), wanted))

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

    def _too_large(self) -> Any:
        def too_large(content: tf.Tensor) -> Sequence[tf.Tensor]:
            return self._nothing(tf.constant(TOO_LARGE))

        return Defun(tf.string, func_name=self._name + "_too_large")(too_large)

    def _nothing(self, status: tf.Tensor) -> List[tf.Tensor]:
        size = [1, 1]
        if isinstance(self._resize, Resize):
            size = [self._resize.height, 1]
        elif isinstance(self._resize, ResizePage):
            size = [self._resize.multiple, self._resize.multiple]
        channels = self._decode.channels
        kept = [tf.zeros([1, 1, channels], tf.uint8)] * self._keep_pixels
        return [tf.zeros([*size, channels]), tf.constant(1), status, tf.constant([1, 1]), *kept]

    def _mapped(self, dataset: tf.Tensor, function: Any) -> tf.Tensor:
        return self._with_result(tf.raw_ops.MapDataset, input_dataset=dataset, other_arguments=[], f=function)

    def _concatenated(self, datasets: Sequence[tf.Tensor]) -> tf.Tensor:
        found = datasets[0]
        for dataset in datasets[1:]:
            found = self._with_result(tf.raw_ops.ConcatenateDataset, input_dataset=found, another_dataset=dataset)
        return found

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


def _only(dataset: tf.Tensor, condition: tf.Tensor) -> tf.Tensor:
    """The dataset of one file if the condition holds, otherwise none."""
    count = tf.cast(condition, tf.int64)
    return tf.raw_ops.TakeDataset(
        input_dataset=dataset, count=count, output_types=[tf.string], output_shapes=[tf.TensorShape([])]
    )


def _checked(dataset: tf.Tensor, predicate: Any) -> tf.Tensor:
    """The dataset of one file if the predicate holds, or there is none."""
    if predicate is None:
        return dataset
    return tf.raw_ops.FilterDataset(
        input_dataset=dataset,
        other_arguments=[],
        predicate=predicate,
        output_types=[tf.string],
        output_shapes=[tf.TensorShape([])],
    )


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
