"""The signature `text`: from the bytes of a picture to UTF-8 text, by one command and on every server."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ckpt2saved.sources.example_pictures import png
from tests.support.command_line import exported
from tests.support.model_server import serving_rest
from tests.support.saved_models import asking

# The small CRNN has 13 classes. Characters of one to four bytes, one of two code points, and an id without one.
SYMBOLS = ["a", "é", "ß", " ", "字", "", "😀", "ij", "ก", "ж", "9", "Ω"]


@pytest.fixture(scope="module")
def charset(tmp_path_factory):
    path = tmp_path_factory.mktemp("charset") / "characters.txt"
    path.write_bytes("".join(symbol + "\n" for symbol in SYMBOLS).encode("utf-8"))
    return path


@pytest.fixture(scope="module")
def version(tmp_path_factory, crnn_checkpoint, charset):
    from click.testing import CliRunner

    from ckpt2saved.cli import main

    base = tmp_path_factory.mktemp("models") / "crnn"
    arguments = ["export", "-q", "-m", "crnn", "-c", crnn_checkpoint, "-o", base, "--option", f"charset={charset}"]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return base / "1"


@pytest.fixture(scope="module")
def ask(version):
    """What a signature answers, by output key."""
    with asking(version) as ask:
        yield ask


def text_of(ids):
    return "".join(SYMBOLS[number] for number in ids if number >= 0)


def pixels_of(file):
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), "float32")[None]


@pytest.mark.parametrize("width", [4, 8, 61, 100, 103])
def test_text_is_that_of_the_tensor_signature(ask, width):
    """A picture of 32 rows is what `dense` reads of its pixels, with the characters of the file."""
    pytest.importorskip("PIL")
    file = png(width, 32, width)
    found = ask("text", image_bytes=[file])
    dense = ask("dense", input_data=pixels_of(file), input_batch_size=[width // 4])
    assert found["status"].tolist() == [0]
    assert found["text"][0].decode("utf-8") == text_of(dense["ids"][0])
    assert found["lengths"].tolist() == dense["lengths"].tolist()
    np.testing.assert_allclose(found["score"], dense["score"], rtol=1e-5, atol=1e-5)


def test_an_answer_does_not_depend_on_the_other_lines(ask):
    """Random widths of 8 to 800 pixels, in batches of 1 to 64."""
    random = np.random.RandomState(3)
    for count in (1, 2, 5, 16, 64):
        files = [png(random.randint(8, 801), 32, random.randint(1 << 30)) for _ in range(count)]
        together = ask("text", image_bytes=files)
        for number in range(0, count, 1 + count // 6):
            alone = ask("text", image_bytes=files[number : number + 1])
            assert together["text"][number] == alone["text"][0]
            assert abs(together["score"][number] - alone["score"][0]) <= 1e-5 * max(1, abs(alone["score"][0]))
            assert together["lengths"][number] == alone["lengths"][0]


def test_pictures_that_cannot_be_read_have_no_text(ask):
    """An empty text, no probability, and why; the others are read."""
    good = png(100, 32)
    files = [good, b"", b"no picture", good[:300], png(3, 32), good]
    found = ask("text", image_bytes=files)
    assert found["status"].tolist() == [0, 1, 2, 4, 5, 0]
    assert found["text"].tolist()[1:5] == [b""] * 4
    assert np.isneginf(found["score"][1:5]).all()
    assert found["lengths"].tolist()[1:5] == [0] * 4
    assert found["text"][0] == found["text"][5]
    assert np.isfinite(found["score"][[0, 5]]).all()


def test_a_batch_of_nothing_readable_is_answered(ask):
    assert ask("text", image_bytes=[b"", b"x"])["status"].tolist() == [1, 2]


def post(url, files):
    instances = [{"image_bytes": {"b64": base64.b64encode(file).decode()}} for file in files]
    body = json.dumps({"signature_name": "text", "instances": instances}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:
        return json.loads(answer.read().decode("utf-8"))["predictions"]


def test_curl_with_base64_gets_text(ask, version):
    """What `curl -d '{"instances": [{"image_bytes": {"b64": …}}]}'` sends, to a server with batching, in parallel."""
    random = np.random.RandomState(5)
    files = [png(width, 32, width) for width in random.randint(8, 300, 24)]
    expected = [ask("text", image_bytes=[file]) for file in files]
    with serving_rest(version.parent, "crnn") as server, ThreadPoolExecutor(12) as threads:
        server.batching = True
        url = f"{server.url}/v1/models/crnn:predict"
        answers = list(threads.map(lambda file: post(url, [file, b""]), files))
    for (found, empty), one in zip(answers, expected):
        assert found["text"] == one["text"][0].decode("utf-8")
        assert found["score"] == pytest.approx(one["score"][0], rel=1e-4, abs=1e-4)
        assert (empty["text"], empty["status"], empty["score"]) == ("", 1, float("-inf"))


def test_the_character_file_is_an_asset(version, charset):
    assert (version / "assets" / "characters.txt").read_bytes() == charset.read_bytes()


def test_the_same_input_gives_the_same_bytes(run, tmp_path, crnn_checkpoint, charset, version):
    exported(run, tmp_path, crnn_checkpoint, "--option", f"charset={charset}", "--no-parity")
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == (version / "saved_model.pb").read_bytes()


def test_without_a_character_file_text_is_left_out(run, tmp_path, crnn_checkpoint):
    """And a note says what it needs."""
    result = exported(run, tmp_path, crnn_checkpoint, "--no-parity", "--no-warmup")
    assert result.exit_code == 0
    assert "text: left out: it needs --option charset=VALUE" in result.output
    assert not (tmp_path / "1" / "assets").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(
            "".join(SYMBOLS[:10]).encode(),
            "has 1 lines, and the network has 12 classes besides the blank",
            id="one-line",
        ),
        pytest.param(
            "\n".join(SYMBOLS + ["x", "y"]).encode(),
            "without a class are 'x', 'y'; expected is one line",
            id="too-many",
        ),
        pytest.param("\n".join(SYMBOLS[:9]).encode(), "without a character are the ids 9 to 11", id="too-few"),
        pytest.param(b"a\nb\nc\na\n", "characters are given twice: 'a' on lines 1, 4", id="twice"),
        pytest.param(b"a\n\xe9\n", "line 2 is not UTF-8 (byte 0xe9); convert the file to UTF-8", id="latin-1"),
        pytest.param(b"\n\n", "the file is empty; expected a character on each line", id="empty"),
        pytest.param(None, "can't be read: No such file or directory", id="missing"),
    ],
)
def test_a_character_file_that_does_not_fit_is_refused(run, tmp_path, crnn_checkpoint, content, problem):
    path = tmp_path / "other.txt"
    if content is not None:
        path.write_bytes(content)
    result = exported(run, tmp_path / "models", crnn_checkpoint, "--option", f"charset={path}")
    assert result.exit_code == 1, result.output
    assert problem in result.output
    assert str(path) in result.output
    assert not (tmp_path / "models").exists() or not list((tmp_path / "models").iterdir())
