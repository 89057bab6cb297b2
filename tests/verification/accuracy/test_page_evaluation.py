"""`evaluate --pages`: from labelled pages to figures, by the files of a version and by a server."""

from __future__ import annotations

import json

import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.command_line import call
from tests.support.model_server import serving_grpc, serving_rest
from tests.support.readers import box, picture_of, write_lines, write_page_reader, write_pages, write_reader
from tests.support.saved_models import write_version

TOP, MIDDLE, BOTTOM = (box(0, top, 100, top + 20) for top in (0, 30, 60))
MOVED = box(5, 30, 105, 50)
LABELLED = {
    "letter": [("kitten", TOP), ("caf\u00e9", MIDDLE)],
    "blank": [],
    "columns": [("one", TOP), ("two", MIDDLE), ("three", BOTTOM)],
    "damaged": [("lost", TOP)],
}
# An e with a combining accent; a line that is not there on `columns`, and one that is missing.
ANSWERED = {
    "letter": [("cafe\u0301", MOVED), ("sitting", TOP)],
    "blank": [],
    "columns": [("one", TOP), ("two", MIDDLE), ("noise", box(300, 0, 400, 20))],
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A version that does not know the page `damaged`."""
    answers = {picture_of(name): lines for name, lines in ANSWERED.items()}
    return write_page_reader(tmp_path_factory.mktemp("reader") / "ocr" / "1", answers)


def test_figures_of_a_version(run_apart, tmp_path, reader):
    """As JSON: figures by hand, and every line of every page; pages in requests of any size."""
    labels = write_pages(tmp_path, LABELLED)
    contents = []
    for size in (1, 3, 8):
        result = run_apart("evaluate", reader, "--pages", labels, "--json", "--batch-size", size)
        assert result.exit_code == 0, result.output
        contents.append(json.loads(result.stdout))
    found = contents[0]
    assert contents == [found] * 3
    assert (found["format"], found["signature"], found["model"]) == (1, "page", str(reader))
    assert found["labels"]["path"] == str(labels)
    assert (found["pages"], found["unread"]) == (4, 1)
    assert (found["lines"], found["answered"], found["found"]) == (6, 5, 4)
    assert (found["recall"], found["precision"], found["f1"]) == (4 / 6, 4 / 5, 8 / 11)
    # 3 of kitten, 5 + 4 missing, 5 added; of 6 + 4 + 3 + 3 + 5 + 4 characters.
    assert (found["edits"], found["characters"], found["cer"]) == (17, 25, 17 / 25)
    assert (found["right_characters"], found["exact"]) == (14, 3)
    assert (found["found_edits"], found["found_characters"], found["found_cer"]) == (3, 16, 3 / 16)
    assert {"reference": "k", "read": "s", "count": 1} in found["confusions"]
    letter, blank, columns, damaged = found["results"]
    assert [(one["line"], one["answer"], one["edits"]) for one in letter["results"]] == [
        (1, "sitting", 3),
        (2, "caf\u00e9", 0),
    ]
    assert letter["results"][1]["overlap"] == pytest.approx(95 / 105)
    assert letter["results"][1]["quad"] == list(MOVED) and letter["results"][0]["score"] == -0.5
    assert (blank["lines"], blank["answered"], blank["results"], blank["cer"]) == (0, 0, [], 0)
    assert [(one["answer"], one["overlap"], one["quad"]) for one in columns["results"][2:]] == [("", 0, None)]
    assert [(one["answer"], one["edits"]) for one in columns["added"]] == [("noise", 5)]
    assert (damaged["status"], damaged["reason"], damaged["page"]) == (4, "damaged", 4)
    assert found["is_good_enough"]


def test_the_table_and_the_report(run_apart, tmp_path, reader):
    """Figures, confusions and worst lines, with the page and the line; the newest version of a base directory."""
    labels, report = write_pages(tmp_path, LABELLED), tmp_path / "report.md"
    result = run_apart("evaluate", reader.parent, "--pages", labels, "--report", report)
    assert result.exit_code == 0, result.output
    rows = [" ".join(row.split()) for row in result.stdout.splitlines()]
    for row in (
        "lines found 66.7 % 4 of 6",
        "answered lines right 80 % 4 of 5",
        "harmonic mean 72.7 %",
        "character error rate 68 % 17 of 25",
        "error rate of found lines 18.8 % 3 of 16",
        "characters right 56 % 14 of 25",
        "exact lines 50 % 3 of 6",
        "pages not read 25 % 1 of 4",
        "columns.png, line 3 three (not found) 5 100 %",
        "columns.png, no labelled line (nothing) noise 5 100 %",
        "damaged.png, line 1 lost not read: damaged 4 100 %",
    ):
        assert row in rows, result.stdout
    markdown = report.read_text(encoding="utf-8")
    assert "| character error rate | 68 % | 17 of 25 |" in markdown
    assert "4 of 6 lines found; 4 of 5 answered lines right; characters 68 % (17 errors in 25 characters)" in markdown


def test_a_limit_makes_it_fail_after_the_result_is_printed(run_apart, tmp_path, reader):
    """Exit code 3 and the worst lines."""
    labels = write_pages(tmp_path, LABELLED)
    assert run_apart("evaluate", reader, "--pages", labels, "--max-cer", "0.68").exit_code == 0
    result = run_apart("evaluate", reader, "--pages", labels, "--max-cer", "0.67", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["problem_details"][0]["code"] == "cer-over-limit"
    assert "68 % (17 errors in 25 characters), and --max-cer allows 67 %" in result.stderr
    assert "letter.png, line 1: 'kitten' is read as 'sitting'" in result.stderr
    assert "columns.png, no labelled line: '' is read as 'noise'" in result.stderr
    assert "columns.png, line 3: 'three' is read as '' (not found)" in result.stderr
    assert "damaged.png, line 1: 'lost' is read as '' (damaged)" in result.stderr


def test_without_normalisation(run_apart, tmp_path, reader):
    result = run_apart("evaluate", reader, "--pages", write_pages(tmp_path, LABELLED), "--json", "--no-nfc")
    assert json.loads(result.stdout)["found_edits"] == 5


@pytest.mark.parametrize("serving", [serving_rest, serving_grpc])
def test_a_server_gives_the_same_figures(run_apart, tmp_path, reader, serving):
    """Over REST and over gRPC, in a process without TensorFlow."""
    if serving is serving_grpc:
        pytest.importorskip("grpc")
    labels = write_pages(tmp_path, LABELLED)
    by_files = json.loads(run_apart("evaluate", reader, "--pages", labels, "--json").stdout)
    with serving(reader.parent, "ocr") as server:
        address = f"{server.url}/v1/models/ocr"
        done = call("evaluate", address, "--pages", labels, "--json", "--quiet")
        assert done.returncode == 0, done.stdout
        assert {**json.loads(done.stdout), "model": ""} == {**by_files, "model": ""}


def test_the_signature_is_page_or_the_only_one(run_apart, tmp_path):
    """Not one that reads lines, which in turn does not read pages."""
    pages, lines = write_pages(tmp_path / "pages", {"a": []}), write_lines(tmp_path / "lines", ["a"])
    other = write_page_reader(tmp_path / "other" / "1", {picture_of("a"): []}, name="whole")
    result = run_apart("evaluate", other, "--pages", pages, "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["signature"] == "whole"
    result = run_apart("evaluate", other, "--lines", lines)
    assert result.exit_code == 2 and "no signature reads text from pictures of lines; expected" in result.stderr
    of_lines = write_reader(tmp_path / "lines-only" / "1", {picture_of("a"): "a"})
    result = run_apart("evaluate", of_lines, "--pages", pages)
    assert result.exit_code == 2
    assert (
        "no signature reads text from pictures of pages; expected a signature with one input of strings [batch] whose"
        " name ends in _bytes, and outputs text of strings [batch, lines], quads [batch, lines, 8] and count [batch]; it"
        " has text" in result.stderr
    )
    result = run_apart("evaluate", other, "--pages", pages, "--signature", "page")
    assert result.exit_code == 2 and "there is no signature page; expected one that reads" in result.stderr


def test_answers_of_other_shapes_are_refused(run_apart, tmp_path):
    """The message says what was found."""

    def build(images):
        count = tf.fill(tf.shape(images), 2)
        quads = tf.zeros([tf.shape(images)[0], 1, 4])
        return {"text": tf.expand_dims(images, 1), "quads": quads, "count": count}

    version = write_version(tmp_path / "1", build, "string", (None,), key="image_bytes")
    result = run_apart("evaluate", version, "--pages", write_pages(tmp_path, {"a": []}))
    assert result.exit_code == 1
    assert (
        "a.png: the signature answers text [1], quads [1, 4], count [] for one page; expected text [lines], quads"
        " [lines, 8] and count, of at most as many" in result.stderr
    )


def test_exactly_one_labels_file(run_apart, tmp_path, reader):
    """Of lines or of pages; the worst lines are drawn of lines alone."""
    pages, lines = write_pages(tmp_path, {"a": []}), write_lines(tmp_path, ["a"])
    expected = "expected labelled pictures: --lines FILE.tsv, or --pages FILE.json"
    for options, found in (((), "found neither"), (("--lines", lines, "--pages", pages), "found both")):
        result = run_apart("evaluate", reader, *options)
        assert result.exit_code == 2 and f"{found}; {expected}" in result.stderr
    result = run_apart("evaluate", reader, "--pages", pages, "--worst", tmp_path / "worst.png")
    assert result.exit_code == 2 and "--worst: it draws pictures of lines; only with --lines" in result.stderr


def test_bad_labels_are_told_before_anything_is_loaded(run_apart, tmp_path):
    """Also if the version does not exist."""
    (tmp_path / "pages.json").write_text('[{"picture": "a.png"}]')
    result = run_apart("evaluate", tmp_path / "nowhere", "--pages", tmp_path / "pages.json")
    assert result.exit_code == 1
    assert "page 1 (a.png): there is no file" in result.stderr and "page 1 (a.png): no lines" in result.stderr
