"""The steps of a signature file: what they become, and the message of each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt2saved.errors import SignatureError
from ckpt2saved.signature.detection import Anchors, LineRules, ProposalRules
from ckpt2saved.signature.file import load_model, parse_model
from ckpt2saved.signature.steps import (
    Characters,
    CropLines,
    DecodeCtc,
    DecodeCtpn,
    DecodePictures,
    Failed,
    Feed,
    JoinLines,
    Normalise,
    Pad,
    Resize,
    ResizePage,
    ScaleBack,
    Steps,
)
from tests.support.signature_files import DETECTOR, FILE, READER


def parsed(folder, text=FILE, **options):
    (folder / "characters.txt").write_text("a\nb\n", encoding="utf-8")
    return parse_model(text, folder / "own.yaml", {"charset": str(folder / "characters.txt"), **options})


def test_steps_are_values(tmp_path):
    """With the values of options, which the command line may give."""
    model = parsed(tmp_path)
    file = tmp_path / "characters.txt"
    assert model.signatures[0].steps == Steps(
        (
            DecodePictures(),
            Resize(32),
            Normalise("bgr", mean=(1.0, 2.0, 3.0), scale=(0.5,)),
            Pad(min_width=4, value=-1.0),
        ),
        {"image:0": Feed("images"), "length": Feed("widths", 4)},
        (
            DecodeCtc("logits", "length", beam_width=3),
            Characters(file, ("a", "b")),
            Failed({"text": "", "score": float("-inf")}),
        ),
    )
    assert model.signatures[0].fetched == ("logits",)
    assert model.step_options == {"charset": str(file), "order": "bgr", "width": 3}
    assert parsed(tmp_path, width=7).signatures[0].steps.postprocess[0].beam_width == 7


def test_characters_may_be_stripped(tmp_path):
    text = FILE.replace("{file: $charset}", "{file: $charset, strip: true}")
    assert parsed(tmp_path, text).signatures[0].steps.postprocess[1].strip
    assert not parsed(tmp_path).signatures[0].steps.postprocess[1].strip


def test_a_file_in_the_signature_file_lies_beside_it(tmp_path):
    assert parsed(tmp_path, FILE.replace("$charset", "characters.txt")).signatures[0].steps.postprocess[1].symbols


def test_a_signature_without_its_option_is_left_out():
    """With a note, and what the parity part has for it is no mistake."""
    model = load_model("crnn")
    assert [signature.name for signature in model.signatures] == ["serving_default", "dense"]
    assert [note.text for note in model.notes] == ["text: left out: it needs --option charset=VALUE"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("- decode", "- decoed", "preprocess[0]: 'decoed' is not a known step; did you mean decode?"),
        ("- decode", "- decode: {channels: 2}", "preprocess[0].decode.channels: '2' is not a known value"),
        ("- decode\n", "- pad\n      - decode\n", "preprocess[1]: decode is not the first step; put it first"),
        ("      - decode\n", "", "preprocess[0]: resize does not follow decode; put it directly after decode"),
        ("height: 32", "heigth: 32", "preprocess[1].resize: 'heigth' is not a known key; did you mean height?"),
        ("{height: 32, width: null}", "{width: 3}", "preprocess[1].resize: height is missing"),
        ("height: 32", "height: 0", "preprocess[1].resize.height: a number from 1 on is expected; found 0"),
        ("mean: [1, 2, 3]", "mean: [1, 2]", "preprocess[2].normalise.mean: 2 numbers; one, or one for each of the 3"),
        (
            "$order",
            "$oder",
            "preprocess[2].normalise.order: 'oder' is not a known option of this file; did you mean order?",
        ),
        ("order: bgr", "order: bgra", "preprocess[2].normalise.order: 'bgra' is not a known value"),
        ("order: bgr", "order: 3", "preprocess[2].normalise.order: '3' is not a known value"),
        ("width: 3\n", "width: wide\n", "ctc_decode.beam_width: --option width=wide: a value of type int is expected"),
        ("image:0: images", "image:0: image", "feed.image:0: 'image' is not a known result of a step, or input"),
        ("divide_by: 4", "divide_by: 0", "feed.length.divide_by: a number from 1 on is expected; found 0"),
        ("logits: logits, ", "", "postprocess[0].ctc_decode: logits is missing"),
        ("$charset", "none.txt", "none.txt: can't be read: No such file or directory"),
        (
            "dtype: string, shape: [batch]}\n    pre",
            "dtype: int32, shape: [batch]}\n    pre",
            "for the pictures; found 0",
        ),
    ],
)
def test_each_mistake_has_its_message(tmp_path, old, new, problem):
    assert old in FILE
    with pytest.raises(SignatureError) as caught:
        parsed(tmp_path, FILE.replace(old, new, 1))
    assert problem in str(caught.value)
    assert str(Path(tmp_path) / "own.yaml") in str(caught.value)


def test_a_feed_is_needed(tmp_path):
    text = FILE[: FILE.index("    feed:")] + FILE[FILE.index("    postprocess:") :]
    with pytest.raises(SignatureError, match="feed is missing: what each input of the network gets"):
        parsed(tmp_path, text)


def test_steps_of_a_detector_are_values(tmp_path):
    """Heights of anchors are numbers with commas on the command line, and a list in the file."""
    steps = parsed(tmp_path, DETECTOR, heights="11, 16,23").signatures[0].steps
    anchors = Anchors((11, 16, 23))
    assert steps.preprocess == (DecodePictures(), ResizePage(600, 1200))
    assert steps.postprocess == (
        DecodeCtpn("p", "d", "info", anchors, ProposalRules(min_score=0.1, most=9)),
        JoinLines("info", LineRules(is_slanted=True, max_gap=20)),
        ScaleBack("quads"),
    )
    assert parsed(tmp_path, DETECTOR.replace("$heights", "[5, 6]")).signatures[0].steps.postprocess[
        0
    ].anchors.heights == (
        5,
        6,
    )
    assert parsed(tmp_path, DETECTOR, heights=7).signatures[0].steps.postprocess[0].anchors == Anchors((7,))
    assert parsed(tmp_path, DETECTOR).signatures[0].steps.postprocess[0].anchors.heights == ()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("short_side: 600, ", "", "preprocess[1].resize_page: short_side is missing"),
        ("      - decode\n", "", "preprocess[0]: resize_page does not follow decode; put it directly after decode"),
        ("1200}\n", "1200}\n      - pad\n", "preprocess[2]: pad is for pictures of one height"),
        ("image: images", "image: images\n      lengths: steps", "feed.lengths: 'steps' is not a known result"),
        ("$heights", "[11, 0]", "heights[1]: a number from 1 on is expected; found 0"),
        ("$heights", "11;16", "ctpn_decode.heights: heights as in 11,16,23 are expected; found 11;16"),
        ("min_score: 0.1", "min_score: 1.5", "min_score: a number from 0 to 1 is expected; found 1.5"),
        ("most: 9", "max_overlap: 0", "max_overlap: a number above 0 is expected, of which 1 keeps all; found 0"),
        ("  quads: {dtype", "  p: {dtype", "outputs.p: the shape of p depends on the page, and a batch has pages"),
    ],
)
def test_each_mistake_of_a_detector_has_its_message(tmp_path, old, new, problem):
    assert old in DETECTOR
    with pytest.raises(SignatureError) as caught:
        parsed(tmp_path, DETECTOR.replace(old, new, 1))
    assert problem in str(caught.value)


def test_steps_of_a_second_network_are_values(tmp_path):
    """What each network is fed with and what is fetched of it stand apart, for a graph that has both."""
    signature = parsed(tmp_path, READER).signatures[0]
    lines = signature.steps.lines
    assert lines.preprocess == (CropLines("quads", 32), Normalise("bgr"), Pad(min_width=4))
    assert lines.postprocess == (DecodeCtc("l", "counts"),)
    assert signature.fetched == ("p", "d") and signature.all_fetched == ("p", "d", "l")
    assert set(signature.steps.feed) == {"image", "info"}
    assert set(signature.steps.all_feeds) == {"image", "info", "line", "counts"}
    assert signature.steps.line_results == {"score": "float32", "lengths": "int32"}
    renamed = signature.steps.renamed({"l": "l:0", "line": "line:0", "p": "p:0"})
    assert renamed.lines.postprocess[0].logits == "l:0" and "line:0" in renamed.lines.feed


def test_an_output_of_a_step_with_a_mistake_is_no_second_one(tmp_path):
    text = READER.replace("      score: {dtype: float32", "      text: {dtype: string")
    text = text.replace(
        "sequence_length: counts}", "sequence_length: counts}\n        - characters: {file: nowhere.txt}"
    )
    with pytest.raises(SignatureError) as caught:
        parsed(tmp_path, text)
    assert [problem.code for problem in caught.value.problems] == ["character-file"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "        - crop_lines: {quads: quads, height: 32}\n",
            "",
            "each_line.preprocess: crop_lines is expected as the",
        ),
        ("crop_lines: {quads: quads, height: 32}", "crop_lines: {quads: quads}", "crop_lines: height is missing"),
        ("crop_lines: {quads: quads", "crop_lines: {quads: boxes", "crop_lines.quads: 'boxes' is not a known result"),
        ("- pad: {min_width: 4}", "- decode", "each_line.preprocess[2]: 'decode' is not a known step"),
        ("counts: steps", "counts: step", "each_line.feed.counts: 'step' is not a known result of a step, or input"),
        ("      - resize_page: {short_side: 600, max_long_side: 1200}\n", "", "lines are cut out of pages"),
        ("      score: {dtype", "      text: {dtype", "outputs.text: the shape of text depends on the page"),
        ("      feed:\n        line: images\n        counts: steps\n", "", "each_line: feed is missing"),
        ("    feed:\n      image: images\n      info: sizes\n", "", "serving_default: feed is missing"),
    ],
)
def test_each_mistake_of_a_second_network_has_its_message(tmp_path, old, new, problem):
    assert old in READER
    with pytest.raises(SignatureError) as caught:
        parsed(tmp_path, READER.replace(old, new, 1))
    assert problem in str(caught.value)
