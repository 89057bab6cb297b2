"""Pictures of every format become pixels; what is no picture has a status, and does not fail the others."""

from __future__ import annotations

import functools
import io
import struct
import zlib

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.steps import DecodePictures, Resize, ResizePage
from ckpt2saved.sources.example_pictures import png
from ckpt2saved.sources.steps import pictures
from ckpt2saved.sources.steps.pictures import DAMAGED, NO_BYTES, NO_PICTURE, READ, TOO_LARGE, read_pictures

Image = pytest.importorskip("PIL.Image")
COLOURS = DecodePictures()
PIXELS = np.random.RandomState(7).randint(0, 256, (20, 33, 3)).astype("uint8")
SMOOTH = np.add.outer(np.arange(20), np.arange(33))[..., None].astype("uint8") * np.array([3, 2, 4], "uint8")


@functools.lru_cache(maxsize=None)
def built(decode, resize):
    with tf.Graph().as_default() as graph:
        contents = tf.placeholder(tf.string, [None], name="contents")
        return tf.Session(graph=graph), tuple(read_pictures(contents, decode, resize, "read"))


def read(files, decode=COLOURS, resize=None):
    """Images, widths and status of the files."""
    session, results = built(decode, resize)
    return session.run(results[:3], {"contents:0": files})


def originals(files, resize):
    """Height and width of each file before it was resized."""
    session, results = built(COLOURS, resize)
    return session.run(results[3], {"contents:0": files}).tolist()


def encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def image(pixels=PIXELS, mode=None):
    return Image.fromarray(pixels).convert(mode) if mode else Image.fromarray(pixels)


def sixteen_bits():
    """A gray PNG of 16 bits, written part by part: the pixels of PIXELS's first channel, 257 times."""
    whole = png(33, 20)
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in PIXELS[..., 0])
    header = struct.pack(">IIBBBBB", 33, 20, 16, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    made = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts]
    return whole[:8] + b"".join(made)


GRAY = np.repeat(PIXELS[..., :1], 3, axis=2)
PALETTE = image().convert("P", palette=Image.ADAPTIVE if hasattr(Image, "ADAPTIVE") else Image.Palette.ADAPTIVE)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param(encoded(image(), "PNG"), PIXELS, id="png"),
        pytest.param(encoded(image(PIXELS[..., 0]), "PNG"), GRAY, id="png-gray"),
        pytest.param(encoded(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")), id="png-palette"),
        pytest.param(sixteen_bits(), GRAY, id="png-16-bit"),
        pytest.param(encoded(image(), "BMP"), PIXELS, id="bmp"),
        pytest.param(encoded(image(PIXELS[..., 0]), "BMP"), GRAY, id="bmp-gray"),
        pytest.param(encoded(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB")), id="gif"),
    ],
)
def test_lossless_formats_are_read_exactly(file, expected):
    images, widths, status = read([file])
    assert (widths.tolist(), status.tolist()) == ([33], [READ])
    np.testing.assert_array_equal(images[0], expected)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_is_read_as_pillow_reads_it(mode):
    """Within two gray levels: conversions of colours are rounded otherwise from release to release."""
    file = encoded(image(SMOOTH, mode), "JPEG", quality=95)
    images, _, status = read([file])
    assert status.tolist() == [READ]
    assert np.abs(images[0] - np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))).max() <= 2


def test_the_first_frame_of_an_animation_is_read():
    frames = [PALETTE, PALETTE.rotate(180)]
    file = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    images, _, status = read([file])
    assert status.tolist() == [READ]
    np.testing.assert_array_equal(images[0], np.asarray(PALETTE.convert("RGB")))


def test_an_animation_of_many_frames_is_not_decoded():
    """All frames together count: the op of TensorFlow decodes them all."""
    frames = [PALETTE.rotate(angle) for angle in range(0, 90, 9)]
    file = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read([file], DecodePictures(max_pixels=33 * 20 * 3))[2].tolist() == [READ]
    assert read([file], DecodePictures(max_pixels=33 * 20 * 2))[2].tolist() == [TOO_LARGE]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(mode):
    alpha = np.zeros((20, 33), "uint8")
    alpha[:, 11:22], alpha[:, 22:] = 128, 255
    picture = image(PIXELS, mode)
    picture.putalpha(Image.fromarray(alpha))
    white = Image.new("RGBA", picture.size, "white")
    expected = np.asarray(Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB"))
    images, _, _ = read([encoded(picture, "PNG")])
    assert np.abs(images[0] - expected.astype("float32")).max() <= 1
    assert (images[0, :, :11] == 255).all()


def test_gray_is_that_of_opencv():
    """One channel, within one gray level of cvtColor."""
    cv2 = pytest.importorskip("cv2")
    images, _, _ = read([encoded(image(), "PNG")], DecodePictures(channels=1))
    assert images.shape == (1, 20, 33, 1)
    assert np.abs(images[0, ..., 0] - cv2.cvtColor(PIXELS, cv2.COLOR_RGB2GRAY).astype("float32")).max() <= 1


def huge(kind):
    """The header of a picture of 60000 x 60000, whose pixels would not fit into the memory."""
    size = 60000
    if kind == "png":
        file = png(33, 20)
        return file[:16] + struct.pack(">II", size, size) + file[24:]
    if kind == "gif":
        file = encoded(PALETTE, "GIF")
        return file[:6] + struct.pack("<HH", size, size) + file[10:]
    if kind == "bmp":
        file = encoded(image(), "BMP")
        return file[:18] + struct.pack("<ii", size, -size) + file[26:]
    file = encoded(image(), "JPEG")
    at = file.index(b"\xff\xc0") + 5
    return file[:at] + struct.pack(">HH", size, size) + file[at + 4 :]


GOOD = png(50, 32)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param(b"", NO_BYTES, id="empty"),
        pytest.param(b"x", NO_PICTURE, id="one-byte"),
        pytest.param(b"%PDF-1.4 and more", NO_PICTURE, id="pdf"),
        pytest.param(b"\x89PNG\r\n\x1a\n", NO_PICTURE, id="signature-alone"),
        pytest.param(b"II*\0" + bytes(100), NO_PICTURE, id="tiff"),
        pytest.param(GOOD[:-200], DAMAGED, id="png-cut-off"),
        pytest.param(GOOD[:40], DAMAGED, id="png-header"),
        pytest.param(GOOD[:60] + bytes(20) + GOOD[80:], DAMAGED, id="png-checksum"),
        pytest.param(encoded(image(), "JPEG")[:200], DAMAGED, id="jpeg-cut-off"),
        pytest.param(b"\xff\xd8\xff", DAMAGED, id="jpeg-start"),
        pytest.param(encoded(PALETTE, "GIF")[:20], DAMAGED, id="gif-cut-off"),
        pytest.param(encoded(image(), "BMP")[:100], DAMAGED, id="bmp-cut-off"),
        *[pytest.param(huge(kind), TOO_LARGE, id="huge-" + kind) for kind in ("png", "gif", "bmp", "jpeg")],
    ],
)
def test_what_cannot_be_read_has_a_status(file, expected):
    """And the pictures before and behind it are read."""
    images, widths, status = read([GOOD, file, GOOD], resize=Resize(32))
    assert status.tolist() == [READ, expected, READ]
    assert widths.tolist() == [50, 1, 50]
    assert not images[1].any()
    np.testing.assert_array_equal(images[0], images[2])


def test_a_picture_beyond_the_limits_is_not_decoded():
    """The limit of pixels is the option's, and a resized picture may be as wide as the option says."""
    assert read([GOOD], DecodePictures(max_pixels=50 * 32))[2].tolist() == [READ]
    assert read([GOOD], DecodePictures(max_pixels=50 * 32 - 1))[2].tolist() == [TOO_LARGE]
    assert read([GOOD], resize=Resize(16, max_width=25))[2].tolist() == [READ]
    assert read([GOOD], resize=Resize(16, max_width=24))[2].tolist() == [TOO_LARGE]
    jpeg = encoded(image(), "JPEG")
    assert read([jpeg], DecodePictures(max_pixels=33 * 20))[2].tolist() == [READ]
    assert read([jpeg], DecodePictures(max_pixels=33 * 20 - 1))[2].tolist() == [TOO_LARGE]


def test_pictures_of_several_sizes_are_one_batch():
    """Each stands in the upper left corner, the rest is 0."""
    images, widths, status = read([png(20, 10, 1), png(7, 30, 2)])
    assert images.shape == (2, 30, 20, 3)
    assert (widths.tolist(), status.tolist()) == ([20, 7], [READ, READ])
    assert not images[0, 10:].any()
    assert not images[1, :, 7:].any()


@pytest.mark.parametrize("resize", [None, Resize(32), ResizePage(64, 90, multiple=16)])
def test_the_size_of_each_file_is_known(resize):
    """Also where it was resized; one pixel where it could not be read."""
    assert originals([png(20, 10, 1), b"none", png(7, 30, 2)], resize) == [[10, 20], [1, 1], [30, 7]]


def test_a_batch_is_of_any_size():
    """No size is derived where none is known."""
    _, results = built(COLOURS, Resize(32))
    shapes = [[None, 32, None, 3], [None], [None], [None, 2]]
    assert [result.shape.as_list() for result in results if result is not None] == shapes


def test_each_file_of_a_batch_of_all_formats_has_its_own_result():
    """In the order of the files, whatever is tried first; also where none of them can be read."""
    jpeg = encoded(image(SMOOTH), "JPEG")
    alpha = encoded(image(PIXELS).convert("RGBA"), "PNG")
    gif = encoded(PALETTE, "GIF")
    files = [
        gif,
        jpeg[:40],
        encoded(image(), "PNG"),
        b"",
        alpha,
        b"text",
        encoded(image(SMOOTH), "BMP"),
        jpeg,
        gif[:30],
    ]
    images, widths, status = read(files)
    assert status.tolist() == [READ, DAMAGED, READ, NO_BYTES, READ, NO_PICTURE, READ, READ, DAMAGED]
    assert widths.tolist() == [33, 1, 33, 1, 33, 1, 33, 33, 1]
    for number, file in enumerate(files):
        alone = read([file])[0][0]
        assert (images[number, : alone.shape[0], : alone.shape[1]] == alone).all()
    bad = [1, 3, 5, 8]
    assert read([files[number] for number in bad])[2].tolist() == status[bad].tolist()


def test_pages_are_resized_to_multiples():
    """And a page that can't be read is as large as the multiple."""
    step = ResizePage(64, 90, multiple=16)
    assert read([png(20, 10)], resize=step)[0].shape == (1, 48, 96, 3)
    images, widths, status = read([b"none"], resize=step)
    assert images.shape == (1, 16, 16, 3) and not images.any() and status.tolist() == [NO_PICTURE]


def test_formats_have_numbers_of_their_own():
    """The statuses are what docs/pictures.md says."""
    names = ["READ", "NO_BYTES", "NO_PICTURE", "TOO_LARGE", "DAMAGED", "TOO_SMALL"]
    assert [getattr(pictures, name) for name in names] == list(range(6))
