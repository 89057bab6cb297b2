"""`--model ocr`: two networks with a checkpoint each, and from the bytes of a page to the text of its lines."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from ckpt2saved.client.line_crops import cropped_lines
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.signature.file import signature_folder
from ckpt2saved.sources.example_pictures import png
from ckpt2saved.sources.steps.line_groups import AT_ONCE
from tests.support.checkpoints import write_checkpoint
from tests.support.saved_models import asking

SYMBOLS = ["a", "é", "ß", " ", "字", "ж", "😀", "ij", "ก", "9", "Ω", "x"]  # the small CRNN has 13 classes
PAGES = ((120, 80), (61, 150), (300, 33))  # width and height in pixels
SHORT, LONG = 96, 160  # sides of a resized page


@pytest.fixture(scope="module")
def places(tmp_path_factory, ctpn_checkpoint, crnn_checkpoint):
    """The --checkpoint options."""
    return ["--checkpoint", f"detector={ctpn_checkpoint}", "--checkpoint", f"recogniser={crnn_checkpoint}"]


@pytest.fixture(scope="module")
def charset(tmp_path_factory):
    path = tmp_path_factory.mktemp("charset") / "characters.txt"
    path.write_bytes("".join(symbol + "\n" for symbol in SYMBOLS).encode("utf-8"))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The built-in signature file with limits that the random weights of the small CTPN reach."""
    path = tmp_path_factory.mktemp("own") / "ocr.yaml"
    text = (signature_folder() / "ocr.yaml").read_text(encoding="utf-8")
    rules = "slanted: $slanted, min_proposal_score: 0.5, min_score: 0.5"
    for old, new in (("slanted: $slanted", rules), ("min_score: 0.7 ", "min_score: 0.5 ")):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def options(model, charset):
    sides = ["--option", f"short_side={SHORT}", "--option", f"max_long_side={LONG}"]
    return ["--model", model, "--option", f"charset={charset}", *sides]


@pytest.fixture(scope="module")
def version(tmp_path_factory, places, options):
    from click.testing import CliRunner

    from ckpt2saved.cli import main

    base = tmp_path_factory.mktemp("models") / "ocr"
    result = CliRunner().invoke(main, list(map(str, ["export", "-q", "-o", base, *places, *options])))
    assert result.exit_code == 0, result.output
    return base / "1"


@pytest.fixture(scope="module")
def ask(version):
    """What a signature answers, by output key."""
    with asking(version) as ask:
        yield ask


def pixels_of(file):
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def picture_of(pixels):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(tf.image.encode_png(pixels))


def test_a_page_is_answered_as_by_its_parts(ask):
    """The lines of `picture_lines`, cut out with NumPy, as `text` reads them one by one."""
    pytest.importorskip("PIL")
    files = [png(*size, seed=1) for size in PAGES]
    page, lines = ask("page", image_bytes=files), ask("picture_lines", image_bytes=files)
    counts = lines["count"].tolist()
    assert sum(counts) > 5 and page["count"].tolist() == counts
    np.testing.assert_array_equal(page["quads"], lines["quads"])
    np.testing.assert_array_equal(page["scores"], lines["scores"])
    assert page["text"].shape == page["text_scores"].shape == (len(files), max(counts))
    widths = set()
    for row, (file, count) in enumerate(zip(files, counts)):
        crops = cropped_lines(pixels_of(file), lines["quads"][row, :count])
        widths.update(crop.shape[1] for crop in crops)
        for number, crop in enumerate(crops):
            alone = ask("text", image_bytes=[picture_of(crop)])
            assert page["text"][row, number] == alone["text"][0].strip()
            np.testing.assert_allclose(page["text_scores"][row, number], alone["score"][0], rtol=1e-3, atol=1e-3)
        assert set(page["text"][row, count:]) <= {b""} and not page["text_scores"][row, count:].any()
    assert len(widths) > 3 and len(set(page["text"].ravel())) > 3


def test_a_page_does_not_depend_on_the_others(ask):
    """More lines than one group has, and bytes that are no picture between them."""
    files = [b"no page"] + [png(*size, seed=1) for size in PAGES * 8] + [b""]
    together = ask("page", image_bytes=files)
    assert together["count"].sum() > AT_ONCE
    assert together["status"].tolist() == [2] + [0] * 24 + [1]
    assert together["count"][[0, -1]].tolist() == [0, 0] and set(together["text"][[0, -1]].ravel()) == {b""}
    for row, file in enumerate(files[:4]):
        alone = ask("page", image_bytes=[file])
        count = alone["count"][0]
        for again in range(row, row + (1 if row == 0 else 24), 3):
            assert together["count"][again] == count
            np.testing.assert_array_equal(together["quads"][again, :count], alone["quads"][0, :count])
            assert together["text"][again, :count].tolist() == alone["text"][0, :count].tolist()
            np.testing.assert_allclose(
                together["text_scores"][again, :count], alone["text_scores"][0, :count], rtol=1e-4, atol=1e-4
            )


@pytest.mark.parametrize("files", [[], [b""], [b"no page"]], ids=["no page", "empty", "unknown"])
def test_pages_without_a_line(ask, files):
    found = ask("page", image_bytes=np.array(files, object))
    batch = len(files)
    assert found["count"].tolist() == [0] * batch
    assert found["text"].tolist() == [[b""]] * batch
    assert found["quads"].shape == (batch, 1, 8) and not found["quads"].any()
    assert found["scores"].shape == found["text_scores"].shape == (batch, 1)


@pytest.mark.parametrize("width, height", [(1, 1), (1, 400), (700, 2)])
def test_pages_of_strange_sizes(ask, width, height):
    """The small CTPN finds lines where there are none; they are in the page, and are read."""
    found = ask("page", image_bytes=[png(width, height)])
    count = found["count"][0]
    assert found["status"].tolist() == [0] and found["text"].shape == (1, max(count, 1))
    assert np.isfinite(found["quads"]).all() and np.isfinite(found["text_scores"]).all()


def test_requests_without_a_signature_get_pages(version):
    """One instance of the networks answers both names."""
    signatures = read_signatures(version)
    assert set(signatures) == {"serving_default", "page", "picture_lines", "text"}
    for side in ("inputs", "outputs"):
        default, page = [
            {spec.key: spec.tensor for spec in getattr(signatures[name], side)} for name in ("serving_default", "page")
        ]
        assert default == page


def test_variables_are_below_the_names_of_the_networks(version):
    reader = tf.train.NewCheckpointReader(str(version / "variables" / "variables"))
    names = list(reader.get_variable_to_shape_map())
    assert {name.partition("/")[0] for name in names} == {"detector", "recogniser"}
    assert "detector/Conv/weights" in names and "recogniser/shadow/conv1/W" in names
    assert not [name for name in names if "Adam" in name or "ExponentialMovingAverage" in name]


def test_the_origin_names_both_checkpoints(version, ctpn_checkpoint, crnn_checkpoint):
    origin = json.loads((version / "assets.extra" / "ckpt2saved.json").read_text(encoding="utf-8"))
    checkpoint = origin["checkpoint"]
    assert checkpoint["name"] == f"detector={ctpn_checkpoint.name}, recogniser={crnn_checkpoint.name}"
    assert checkpoint["format"] == "V2" and checkpoint["step"] is None
    networks = checkpoint["networks"]
    assert networks["detector"]["name"] == ctpn_checkpoint.name
    assert networks["recogniser"]["step"] == 7
    assert checkpoint["sha256"] == {
        f"{name}/{file}": digest for name, network in networks.items() for file, digest in network["sha256"].items()
    }
    # Each of the two has the weights that it would have alone: only the detector's checkpoint has averages.
    assert origin["weights"] == "mixed"


def test_averages_are_served_where_a_checkpoint_has_them(version, ctpn_checkpoint):
    served = tf.train.NewCheckpointReader(str(version / "variables" / "variables"))
    trained = tf.train.NewCheckpointReader(str(ctpn_checkpoint))
    np.testing.assert_array_equal(
        served.get_tensor("detector/Conv/weights"), trained.get_tensor("Conv/weights/ExponentialMovingAverage")
    )


def test_verify_compares_with_the_checkpoint_of_each_network(run, version, places, options, tmp_path, crnn_checkpoint):
    reader = tf.train.NewCheckpointReader(str(crnn_checkpoint))
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    values["shadow/LSTMLayers/w"] = values["shadow/LSTMLayers/w"] + np.float32(3.0) * np.arange(13, dtype="float32")
    other = write_checkpoint(tmp_path / "other", values)
    result = run("verify", version, *places[:3], f"recogniser={other}", *options)
    assert result.exit_code == 3, result.output
    assert "exported from another checkpoint" in result.output and "text" in result.output


def refused(run, options, *checkpoints):
    result = run("export", *options, "-o", "/nowhere/else", *[part for c in checkpoints for part in ("-c", c)])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def test_a_checkpoint_of_a_network_that_is_missing_or_given_twice(run, options, ctpn_checkpoint, crnn_checkpoint):
    code, text = refused(run, options, f"detector={ctpn_checkpoint}")
    assert code == 2 and "--checkpoint recogniser=PATH: missing" in text and "a crnn" in text
    both = f"detector={ctpn_checkpoint}", f"recogniser={crnn_checkpoint}"
    code, text = refused(run, options, *both, f"detector={crnn_checkpoint}")
    assert code == 2 and "--checkpoint detector=PATH: given 2 times" in text and str(crnn_checkpoint) in text
    code, text = refused(run, options, *both, ctpn_checkpoint)
    assert code == 2 and "it names no network" in text and "detector=PATH and recogniser=PATH" in text
    code, text = refused(run, options)
    assert code == 2 and text.count("PATH: missing") == 2
    code, text = refused(run, options, "detector=", both[1])
    assert code == 2 and "--checkpoint detector=PATH: missing" in text


def test_one_network_takes_one_checkpoint(run, crnn_checkpoint):
    code, text = refused(run, ["--model", "crnn"], crnn_checkpoint, crnn_checkpoint)
    assert code == 2 and "crnn takes one; found 2" in text


def test_swapped_checkpoints(run, options, ctpn_checkpoint, crnn_checkpoint, tmp_path):
    arguments = ["export", *options, "-o", tmp_path / "ocr"]
    result = run(*arguments, "-c", f"detector={crnn_checkpoint}", "-c", f"recogniser={ctpn_checkpoint}")
    assert result.exit_code == 1
    assert "they are swapped: pass" in result.output
    assert f"--checkpoint detector={ctpn_checkpoint} --checkpoint recogniser={crnn_checkpoint}" in result.output
    assert "this is a checkpoint of crnn; expected one of ctpn" in result.output
    result = run(*arguments, "-c", f"detector={crnn_checkpoint}", "-c", f"recogniser={crnn_checkpoint}")
    assert result.exit_code == 1 and "swapped" not in result.output
    assert f"detector={crnn_checkpoint}: this is a checkpoint of crnn; expected one of ctpn" in result.output
    assert not (tmp_path / "ocr").exists()


def test_a_damaged_checkpoint_is_named(run, options, ctpn_checkpoint, tmp_path, crnn_checkpoint):
    data = tmp_path / "crnn.ckpt.data-00000-of-00001"
    content = bytearray(crnn_checkpoint.with_name(crnn_checkpoint.name + ".data-00000-of-00001").read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(bytes(content))
    index = crnn_checkpoint.with_name(crnn_checkpoint.name + ".index").read_bytes()
    (tmp_path / "crnn.ckpt.index").write_bytes(index)
    places = ["-c", f"detector={ctpn_checkpoint}", "-c", f"recogniser={tmp_path / 'crnn.ckpt'}"]
    result = run("export", *options, "-o", tmp_path / "ocr", *places)
    assert result.exit_code == 1
    assert f"{tmp_path / 'crnn.ckpt'}: this checkpoint is damaged" in result.output


def test_without_characters_nothing_is_exported(run, places, tmp_path):
    result = run("export", "--model", "ocr", "-o", tmp_path / "ocr", *places)
    assert result.exit_code == 1
    assert "it needs the option charset" in result.output and "pass --option charset=VALUE" in result.output
