"""The signatures of the CTPN that answer proposals and text lines, of arrays and of the bytes of pages."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.client.detection import proposals, text_lines
from ckpt2saved.client.east import east_quads
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.signature.detection import HEIGHTS, Anchors, EastRules, LineRules
from ckpt2saved.signature.file import signature_folder
from ckpt2saved.sources.example_pictures import png
from tests.support.saved_models import asking

ANCHORS = Anchors(HEIGHTS[:3])  # of the small CTPN
PAGES = ((120, 80), (61, 150), (300, 33))  # width and height in pixels
SHORT, LONG = 96, 160  # sides of a resized page
# The random weights of the small CTPN are sure of nothing.
RULES = LineRules(is_slanted=True, min_proposal_score=0.5, min_score=0.5)


def export(run, checkpoint, base, *options, model="ctpn"):
    return run("export", "--model", model, "--checkpoint", checkpoint, "--export-dir", base, *options)


@pytest.fixture(scope="module")
def version(tmp_path_factory, ctpn_checkpoint):
    from click.testing import CliRunner

    from ckpt2saved.cli import main

    base = tmp_path_factory.mktemp("models")
    rules = "slanted: $slanted, min_proposal_score: 0.5, min_score: 0.5"
    text = (signature_folder() / "ctpn.yaml").read_text(encoding="utf-8")
    (base / "own.yaml").write_text(text.replace("slanted: $slanted", rules), encoding="utf-8")
    options = ["--option", f"short_side={SHORT}", "--option", f"max_long_side={LONG}", "--option", "slanted=true"]
    arguments = ["export", "-q", "-m", base / "own.yaml", "-c", ctpn_checkpoint, "-o", base, *options]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return base / "1"


@pytest.fixture(scope="module")
def ask(version):
    """What a signature answers, by output key."""
    with asking(version) as ask:
        yield ask


def expected(ask, images, im_info):
    """Proposals and lines of each page, computed with NumPy from the answers of `serving_default`."""
    found = ask("serving_default", input_image=images, input_im_info=im_info)
    pages = proposals(found["output_cls_prob"], found["output_bbox_pred"], im_info, ANCHORS)
    return [(page, text_lines(page, tuple(size[:2]), RULES)) for page, size in zip(pages, im_info)]


def assert_rows(found, row, **arrays):
    """Row `row` of an answer begins with these arrays, and its rest is 0."""
    count = found["count"][row]
    for name, values in arrays.items():
        assert count == len(values)
        np.testing.assert_allclose(found[name][row, :count], values, rtol=0, atol=1e-3)
        assert not found[name][row, count:].any()


def test_arrays_are_answered_as_by_the_numpy_procedure(ask):
    """Each page by its own size, which may be smaller than the image."""
    images = np.random.RandomState(5).uniform(0, 255, (3, 160, 208, 3)).astype("float32")
    im_info = np.array([[160, 208, 1], [97, 208, 1], [160, 61, 1]], "float32")
    boxes = ask("proposals", input_image=images, input_im_info=im_info)
    lines = ask("lines", input_image=images, input_im_info=im_info)
    pages = expected(ask, images, im_info)
    assert sum(len(page.scores) for page, _ in pages) > 300 and sum(len(line.scores) for _, line in pages) > 3
    for row, (page, found) in enumerate(pages):
        assert_rows(boxes, row, boxes=page.boxes, scores=page.scores)
        assert_rows(lines, row, quads=found.quads, scores=found.scores)
    assert boxes["boxes"].shape[1] == boxes["count"].max()  # no more padding than the batch needs
    alone = ask("lines", input_image=images[1:2], input_im_info=im_info[1:2])
    count = alone["count"][0]
    np.testing.assert_array_equal(lines["quads"][1, :count], alone["quads"][0, :count])


def page_of(pixels):
    """A PNG file of uint8 [height, width, 3]."""
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(tf.image.encode_png(pixels))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_picture_is_answered_in_its_own_pixels(ask, factor):
    """Pixels repeated `factor` times each way are resized to the same page, and coordinates are as many times larger."""
    pixels = np.random.RandomState(2).randint(0, 256, (SHORT, LONG, 3)).astype("uint8")
    file = page_of(pixels.repeat(factor, axis=0).repeat(factor, axis=1))
    im_info = np.array([[SHORT, LONG, 1]], "float32")
    ((page, line),) = expected(ask, pixels[None].astype("float32"), im_info)
    assert len(line.scores)
    boxes = ask("picture_proposals", image_bytes=[file])
    lines = ask("picture_lines", image_bytes=[file])
    assert boxes["status"].tolist() == lines["status"].tolist() == [0]
    assert_rows(boxes, 0, boxes=page.boxes * factor, scores=page.scores)
    assert_rows(lines, 0, quads=line.quads * factor, scores=line.scores)


def test_a_page_does_not_depend_on_the_others(ask):
    """Pages of several sizes and bytes that are none, together and alone."""
    files = [png(*size, seed=1) for size in PAGES] + [b"no page", b""]
    for signature, values in (("picture_lines", "quads"), ("picture_proposals", "boxes")):
        together = ask(signature, image_bytes=files)
        assert together["status"].tolist() == [0, 0, 0, 2, 1]
        assert together["count"][3:].tolist() == [0, 0] and not together[values][3:].any()
        for row, file in enumerate(files):
            alone = ask(signature, image_bytes=[file])
            count = alone["count"][0]
            assert together["count"][row] == count
            np.testing.assert_array_equal(together[values][row, :count], alone[values][0, :count])
            np.testing.assert_array_equal(together["scores"][row, :count], alone["scores"][0, :count])


@pytest.mark.parametrize("width, height", [(1, 1), (1, 400), (500, 2)])
def test_pages_of_any_form_are_answered(ask, width, height):
    """One pixel, one column, two rows."""
    found = ask("picture_lines", image_bytes=[png(width, height)])
    assert found["status"].tolist() == [0] and np.isfinite(found["quads"]).all()


def test_an_empty_batch(ask):
    """No page, no answer, and no error."""
    images, im_info = np.zeros([0, 64, 64, 3], "float32"), np.zeros([0, 3], "float32")
    assert ask("proposals", input_image=images, input_im_info=im_info)["boxes"].shape[0] == 0
    assert ask("picture_lines", image_bytes=np.zeros([0], object))["count"].shape == (0,)


def test_predict_draws_the_lines(run, tmp_path, version):
    """On the one picture that is given."""
    pytest.importorskip("PIL")
    (tmp_path / "page.png").write_bytes(png(320, 192, seed=3))
    predict = ("predict", version, "--signature", "picture_lines", tmp_path / "page.png")
    result = run(*predict, "--draw", tmp_path / "drawn.png")
    assert result.exit_code == 0 and (tmp_path / "drawn.png").stat().st_size > 100
    result = run(*predict, tmp_path / "page.png", "--draw", tmp_path / "other.png")
    assert result.exit_code == 2 and "one picture is expected" in result.output
    (tmp_path / "page.png").write_bytes(b"no page")
    result = run(*predict, "--draw", tmp_path / "other.png")
    assert result.exit_code == 3 and not (tmp_path / "other.png").exists()


def test_without_the_size_of_training_there_are_no_picture_signatures(run, tmp_path, ctpn_checkpoint):
    """A note names the option."""
    result = export(run, ctpn_checkpoint, tmp_path / "models", "--dry-run")
    assert result.exit_code == 0
    assert "picture_lines: left out: it needs --option short_side=VALUE" in " ".join(result.output.split())


@pytest.mark.parametrize(
    "heights, message",
    [
        ("11,16", "2 heights, and the network has 3 anchors in each cell; give the heights"),
        ("11,16,23,33", "4 heights, and the network has 3 anchors in each cell"),
    ],
)
def test_anchors_fit_the_checkpoint(run, tmp_path, ctpn_checkpoint, heights, message):
    """Both numbers are in the message."""
    result = export(run, ctpn_checkpoint, tmp_path / "models", "--option", f"anchor_heights={heights}")
    assert result.exit_code == 1 and message in " ".join(result.output.split())
    assert not (tmp_path / "models" / "1").exists()


FILE = """
format: 1
graph:
  builder: meta
signatures:
  serving_default:
    inputs:
      image_bytes: {dtype: string, shape: [batch]}
    preprocess:
      - decode
      - resize_page: {short_side: 64, max_long_side: 128, multiple: 16}
      - normalise: {order: bgr}
    feed:
      pixels: images
      info: sizes
    postprocess:
      - ctpn_decode: {probabilities: probabilities, deltas: "deltas:0", sizes: info, heights: [10, 20], min_size: 2}
      - text_lines: {sizes: info, min_proposal_score: 0.4, min_score: 0.4, min_width: 8}
      - scale_back: {coordinates: quads}
      - failed: {quads: 0, scores: 0, count: 0}
    outputs:
      quads: {dtype: float32, shape: [batch, lines, 8]}
      boxes: {dtype: float32, shape: [batch, 1000, 4]}
      count: {dtype: int32, shape: [batch]}
"""


def detector(stride):
    """A detector of another training: one page at a time, probabilities [1, rows, columns, 2 * anchors]."""
    pixels = tf.placeholder(tf.float32, [1, None, None, 3], name="pixels")
    tf.placeholder(tf.float32, [None, 3], name="info")
    x = tf.nn.avg_pool(pixels / 255, [1, stride, stride, 1], [1, stride, stride, 1], "VALID")
    for name, channels in (("scores", 4), ("deltas", 8)):
        kernel = tf.get_variable(name + "_kernel", [3, 3, 3, channels], use_resource=False)
        made = tf.nn.conv2d(x, kernel, [1, 1, 1, 1], "SAME")
        tf.identity(made, name=name)
        if name == "scores":
            shape = tf.shape(made)
            pairs = tf.nn.softmax(tf.reshape(made, [1, shape[1], shape[2] * 2, 2]))
            tf.reshape(pairs, shape, name="probabilities")


@pytest.fixture(params=[16, 8])
def stranger(request, tmp_path):
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        tf.set_random_seed(2)
        detector(request.param)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    (tmp_path / "own.yaml").write_text(FILE, encoding="utf-8")
    return request.param, tmp_path


def test_the_steps_fit_other_detectors(run, stranger):
    """Of a .meta, whose stride has to be that of the anchors."""
    stride, folder = stranger
    result = export(run, folder / "model.ckpt", folder / "models", model=folder / "own.yaml")
    if stride != 16:
        assert result.exit_code == 1 and "the stride of the detector is not" in " ".join(result.output.split())
        return
    assert result.exit_code == 0, result.output
    with asking(folder / "models" / "1") as ask:
        found = ask(image_bytes=[png(200, 100), b"", png(60, 90)])
    assert found["count"][1] == 0 and found["count"].sum() > 0
    assert found["quads"].shape == (3, max(1, found["count"].max()), 8)
    boxes = (found["boxes"] != 0).any(axis=2).sum(axis=1)  # their padding stays: `count` is that of the lines
    assert found["boxes"].shape == (3, 1000, 4) and (boxes > found["count"])[[0, 2]].all()


EAST = """
format: 1
graph:
  builder: meta
signatures:
  serving_default:
    inputs:
      image_bytes: {dtype: string, shape: [batch]}
    preprocess:
      - decode
      - resize_page: {short_side: 64, max_long_side: 128, multiple: 32}
    feed: {pixels: images}
    postprocess:
      - east_decode: {score: score, geometry: geometry, sizes: sizes, min_score: 0.55, most: 40}
      - scale_back: {coordinates: quads}
      - failed: {quads: 0, scores: 0, count: 0}
    outputs:
      quads: {dtype: float32, shape: [batch, words, 8]}
      scores: {dtype: float32, shape: [batch, words]}
      count: {dtype: int32, shape: [batch]}
"""


def east(channels=5):
    """A graph with the heads of an EAST: pixels, score and geometry."""
    pixels = tf.placeholder(tf.float32, [None, None, None, 3], name="pixels")
    kernel = tf.get_variable("kernel", [8, 8, 3, 1 + channels], use_resource=False)
    made = tf.sigmoid(tf.nn.conv2d(pixels / 255, kernel, [1, 4, 4, 1], "SAME"))
    scale = tf.constant([40.0] * 4 + [0.2] * (channels - 4))
    return pixels, tf.identity(made[..., :1], name="score"), tf.identity(made[..., 1:] * scale, name="geometry")


def test_east_is_decoded_as_by_the_numpy_procedure(run, tmp_path):
    """From the bytes of a page; three times as large, its words are as many times larger."""
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        tf.set_random_seed(4)
        tensors = east()
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
        pixels = np.random.RandomState(1).randint(0, 256, (64, 128, 3)).astype("uint8")
        score, geometry = session.run(tensors[1:], {tensors[0]: pixels[None]})
    (words,) = east_quads(score, geometry, np.array([[64, 128, 1]]), EastRules(min_score=0.55, most=40))
    assert len(words.scores) > 3
    (tmp_path / "own.yaml").write_text(EAST, encoding="utf-8")
    result = export(run, tmp_path / "model.ckpt", tmp_path / "models", model=tmp_path / "own.yaml")
    assert result.exit_code == 0, result.output
    files = [page_of(pixels), b"", page_of(pixels.repeat(3, axis=0).repeat(3, axis=1))]
    with asking(tmp_path / "models" / "1") as ask:
        found = ask(image_bytes=files)
    assert_rows(found, 0, quads=words.quads, scores=words.scores)
    assert_rows(found, 2, quads=words.quads * 3, scores=words.scores)
    assert found["count"][1] == 0


def test_the_geometry_of_an_east_has_five_or_eight_channels(run, tmp_path):
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        east(channels=6)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    (tmp_path / "own.yaml").write_text(EAST, encoding="utf-8")
    result = export(run, tmp_path / "model.ckpt", tmp_path / "models", model=tmp_path / "own.yaml")
    assert result.exit_code == 1
    assert "east_decode.geometry: geometry:0: float32 (?, ?, ?, 6); [batch, rows, columns, 5 or 8]" in " ".join(
        result.output.replace("None", "?").split()
    )
