"""The decoders are timed side by side, and shown as a table, as JSON and as a picture."""

from __future__ import annotations

import json

import pytest

from ckpt2saved.ctc.bench import CASES, Case, parse_case
from ckpt2saved.errors import UsageError


def test_ctc_prints_a_table_and_draws_a_picture(run, tmp_path):
    """A line for each case, every decoder's seconds in it; the picture is a PNG."""
    pytest.importorskip("matplotlib")
    picture = tmp_path / "decoders.png"
    result = run("bench", "ctc", "-q", "--case", "4x5x300:2", "--repeats", "1", "--plot", picture)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines() if "4 x 5 x 300" in line]
    assert [row[5:7] for row in rows] == [["2", "flat"], ["2", "peaked"]]
    for row in rows:
        stock, fast, _ = map(float, row[7:10])
        assert float(row[10].rstrip("x")) == pytest.approx(stock / fast, rel=0.02)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_ctc_prints_json(run):
    """With the versions that the figures depend on."""
    result = run("bench", "ctc", "-q", "--json", "--case", "2x3x20:1", "--repeats", "1")
    content = json.loads(result.output)
    assert content["format"] == 1 and content["tensorflow"]
    assert [case["logits"] for case in content["cases"]] == ["flat", "peaked"]
    assert all(seconds > 0 for case in content["cases"] for seconds in case["seconds"].values())


def test_the_originals_experiment_is_the_default():
    """A batch of 128 at 50, 64 and 128 steps with 3862 classes, and wider beams."""
    assert {(case.steps, case.logits) for case in CASES if case.batch == 128 and case.classes == 3862} == {
        (steps, logits) for steps in (50, 64, 128) for logits in ("flat", "peaked")
    }
    assert {case.beam_width for case in CASES} == {1, 10, 100}


def test_cases_are_parsed():
    """BATCHxSTEPSxCLASSES:WIDTH, anything else is a wrong command line."""
    assert parse_case("128x50x37:1")[0] == Case(128, 50, 37, 1, "flat")
    wrong = dict.fromkeys(("128x50x37", "axbxc:1", "1x1x5:1 "), "is not BATCHxSTEPSxCLASSES:WIDTH")
    wrong.update(dict.fromkeys(("0x1x5:1", "1x0x5:1", "1x1x5:0"), "has a 0; .* are at least 1"))
    wrong["4x20x1:10"] = "has 1 class; expected at least 2"
    for text, message in wrong.items():
        with pytest.raises(UsageError, match=message):
            parse_case(text)
