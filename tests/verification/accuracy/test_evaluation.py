"""`evaluate`: from pictures and labels to figures, by the files of a version."""

from __future__ import annotations

import json

import pytest

from tests.support.command_line import call
from tests.support.model_server import serving_rest
from tests.support.readers import picture_of, write_lines, write_reader

TEXTS = ("kitten", "ab cd", "caf\u00e9")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A version that reads sitting for kitten, and e with a combining accent; it does not know `lost`."""
    answers = dict(zip(map(picture_of, TEXTS), ("sitting", "ab cd", "cafe\u0301")))
    return write_reader(tmp_path_factory.mktemp("reader") / "ocr" / "1", answers)


def test_figures_of_a_version(run_apart, tmp_path, reader):
    """As JSON: rates by hand, confusions, and every line."""
    labels = write_lines(tmp_path, (*TEXTS, "lost"))
    result = run_apart("evaluate", reader, "--lines", labels, "--json", "--batch-size", 3)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["format"] == 1 and found["signature"] == "text" and found["model"] == str(reader)
    # 3 in kitten, 4 missing in lost; of 6 + 5 + 4 + 4 characters. Words: kitten and lost of 5.
    assert (found["edits"], found["characters"], found["cer"]) == (7, 19, 7 / 19)
    assert (found["word_edits"], found["words"], found["wer"]) == (2, 5, 2 / 5)
    assert (found["lines"], found["exact"], found["unread"]) == (4, 2, 1)
    assert {"reference": "k", "read": "s", "count": 1} in found["confusions"]
    assert {"reference": "", "read": "g", "count": 1} in found["confusions"]
    assert [(one["picture"], one["edits"], one["status"]) for one in found["results"]] == [
        ("1.png", 3, 0),
        ("2.png", 0, 0),
        ("3.png", 0, 0),
        ("4.png", 4, 4),
    ]
    assert found["results"][0]["answer"] == "sitting" and found["results"][0]["score"] == -0.5
    assert found["results"][3]["score"] is None  # minus infinity, which JSON has not
    assert found["is_good_enough"]


def test_the_table_and_the_report(run_apart, tmp_path, reader):
    """Figures, confusions and worst lines; the newest version of a base directory."""
    labels, report = write_lines(tmp_path, (*TEXTS, "lost")), tmp_path / "report.md"
    result = run_apart("evaluate", reader.parent, "--lines", labels, "--report", report)
    assert result.exit_code == 0, result.output
    table = result.stdout
    assert "character error rate   36.8 %   7 of 19" in table
    assert "not read: damaged" in table and "sitting" in table and "pictures not read" in table
    markdown = report.read_text(encoding="utf-8")
    assert "| character error rate | 36.8 % | 7 of 19 |" in markdown
    assert "| 1.png | kitten | sitting | 3 | 50 % |" in markdown
    assert markdown.startswith(f"### ckpt2saved evaluate: `{reader}`: characters 36.8 % (7 errors in 19 characters);")


def test_a_limit_makes_it_fail_after_the_result_is_printed(run_apart, tmp_path, reader):
    """Exit code 3; the limit itself is allowed."""
    labels = write_lines(tmp_path, TEXTS)
    assert run_apart("evaluate", reader, "--lines", labels, "--max-cer", 3 / 15).exit_code == 0
    result = run_apart("evaluate", reader, "--lines", labels, "--max-cer", "0.19", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["problem_details"][0]["code"] == "cer-over-limit"
    assert "20 % (3 errors in 15 characters), and --max-cer allows 19 %" in result.stderr
    assert "1.png: 'kitten' is read as 'sitting'" in result.stderr


def test_without_normalisation(run_apart, tmp_path, reader):
    """A decomposed answer is no longer equal to its composed reference."""
    labels = write_lines(tmp_path, TEXTS)
    result = run_apart("evaluate", reader, "--lines", labels, "--json", "--no-nfc")
    assert json.loads(result.stdout)["edits"] == 5


def test_the_only_signature_that_reads_text_is_found_by_its_outputs(run_apart, tmp_path):
    """Whatever its name; without status and score."""
    version = write_reader(tmp_path / "1", {picture_of("a"): "a"}, name="ocr", with_status=False)
    labels = write_lines(tmp_path / "lines", ["a"])
    result = run_apart("evaluate", version, "--lines", labels, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["signature"] == "ocr" and found["results"][0]["status"] == 0
    result = run_apart("evaluate", version, "--lines", labels, "--signature", "text")
    assert result.exit_code == 2
    assert "there is no signature text; expected one that reads text from pictures of lines: ocr" in result.stderr


def test_a_version_without_such_a_signature(run_apart, tmp_path, version):
    """The message says what is expected, and which signatures there are."""
    result = run_apart("evaluate", version, "--lines", write_lines(tmp_path, ["a"]))
    assert result.exit_code == 2
    assert "no signature reads text from pictures" in result.stderr and "dense" in result.stderr


def test_bad_labels_are_told_before_anything_is_loaded(run_apart, tmp_path):
    """Also if the version does not exist."""
    (tmp_path / "labels.tsv").write_text("a.png\tx\nno tab\n")
    result = run_apart("evaluate", tmp_path / "nowhere", "--lines", tmp_path / "labels.tsv")
    assert result.exit_code == 1
    assert "line 1: there is no file" in result.stderr and "line 2: no tab" in result.stderr


def test_the_worst_lines_as_a_picture(run_apart, tmp_path, reader):
    """A PNG file, also of pictures that cannot be decoded; another suffix is refused first."""
    from PIL import Image

    labels = write_lines(tmp_path, (*TEXTS, "lost"))
    Image.new("RGB", (60, 20), "red").save(str(tmp_path / "4.png"))
    result = run_apart("evaluate", reader, "--lines", labels, "--worst", tmp_path / "worst.png", "--worst-count", 1)
    assert result.exit_code == 0, result.output
    with Image.open(str(tmp_path / "worst.png")) as picture:
        assert picture.getpixel((50, 50)) == (255, 0, 0)  # the red picture is the worst line
        one = picture.height
    run_apart("evaluate", reader, "--lines", labels, "--worst", tmp_path / "worst.png")
    with Image.open(str(tmp_path / "worst.png")) as picture:
        assert picture.height > one
    result = run_apart("evaluate", reader, "--lines", labels, "--worst", tmp_path / "worst.gif")
    assert result.exit_code == 2 and "expected the name of a .png file" in result.stderr
    result = run_apart("evaluate", reader, "--lines", labels, "--worst", tmp_path / "w.png", "--font", labels)
    assert result.exit_code == 2 and "expected a TrueType or OpenType font" in result.stderr


def test_a_server_gives_the_same_figures_without_tensorflow(run_apart, tmp_path, reader):
    """Over REST, in a process that has no TensorFlow; by the address of the model, or its name."""
    labels = write_lines(tmp_path, (*TEXTS, "lost"))
    by_files = json.loads(run_apart("evaluate", reader, "--lines", labels, "--json").stdout)
    with serving_rest(reader.parent, "ocr") as server:
        address = f"{server.url}/v1/models/ocr"
        done = call("evaluate", address, "--lines", labels, "--json", "--quiet")
        assert done.returncode == 0, done.stdout
        found = json.loads(done.stdout)
        assert found["model"] == address
        assert {**found, "model": ""} == {**by_files, "model": ""}
        result = run_apart("evaluate", server.url, "--model-name", "ocr", "--lines", labels, "--max-cer", 0.1)
        assert result.exit_code == 3, result.output
        result = run_apart("evaluate", server.url, "--lines", labels)
        assert result.exit_code == 2 and "--model-name" in result.stderr
        result = run_apart("evaluate", f"{server.url}/v1/models/other", "--lines", labels)
        assert result.exit_code == 1 and "the server has no such model" in result.stderr


def test_a_server_that_batches_gets_requests_of_its_size(run_apart, tmp_path):
    """32 pictures by default; a request that is too large is divided."""
    texts = [f"text {number}" for number in range(70)]
    version = write_reader(tmp_path / "ocr" / "1", {picture_of(text): text for text in texts})
    labels = write_lines(tmp_path / "lines", texts)
    with serving_rest(version.parent, "ocr") as server:
        server.batching = True
        address = f"{server.url}/v1/models/ocr"
        result = run_apart("evaluate", address, "--lines", labels, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["exact"] == 70
        result = run_apart("evaluate", address, "--lines", labels, "--batch-size", 70)
        assert result.exit_code == 0 and "exact lines            100 %" in result.stdout
