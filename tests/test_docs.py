"""The documentation is right: what its console blocks print, and what its pictures show."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 9), reason="the documentation is made and read on today's Python"
)
if sys.version_info >= (3, 9):
    from tools import draw_folders, record, site


@pytest.fixture(scope="module")
def folder():
    """Where the console blocks run, each command once."""
    pytest.importorskip("pyte")
    with record.new_folder() as made:
        yield made


def all_blocks():
    return [block for page in record.PAGES for block in record.blocks_of(page, (ROOT / page).read_text("utf-8"))]


def test_console_blocks_print_what_the_pages_say(folder):
    """In one folder, in order; numbers and widths of tables may differ. The pictures of the terminal show the same."""
    ran = 0
    for block in all_blocks():
        if block.not_run or (block.needs and not shutil.which(block.needs)):
            continue
        for command in block.commands:
            found = record.plain(folder.run(command.text))
            assert record.fits(command.output, found), f"{block.page}: $ {command.text}\n" + "\n".join(found)
            is_last = command is block.commands[-1]
            assert folder.codes[command.text] == (block.exit_code if is_last else 0), command.text
            ran += 1
    assert ran >= 8
    for name in record.PICTURES:
        shown = record.texts_of((ROOT / name).read_text("utf-8"))
        lines = record.texts_of(record.picture(record.session_of(name, folder)))
        assert record.normalised(shown) == record.normalised(lines), f"run tools/record.py: {name}"


def test_a_block_that_is_not_run_says_why():
    """And there are few of them."""
    left_out = [block.not_run for block in all_blocks() if block.not_run]
    assert len(left_out) <= 4 and all(len(reason) > 10 for reason in left_out)


@pytest.mark.parametrize(
    "expected, found, same",
    [
        (["a 1.5 MB", "b"], ["a  12 kB", "b"], True),
        (["a 1.5 MB", "b"], ["a 12 kB", "c"], False),
        (["a", "…", "d"], ["a", "b", "c", "d"], True),
        (["a", "…", "d"], ["a", "b", "c"], False),
        (["…"], [], True),
        (["a"], [], False),
        ([], ["a"], False),
    ],
)
def test_how_outputs_are_compared(expected, found, same):
    """Words count, in their order; numbers do not, and an ellipsis stands for any lines."""
    assert record.fits(expected, found) is same


def test_the_front_pages_stay_short():
    """README is read before anything else, CONTRIBUTING before a first change."""
    assert len((ROOT / "README.md").read_bytes()) <= 8192
    assert len((ROOT / "CONTRIBUTING.md").read_bytes()) <= 6144


def test_the_picture_of_the_folders_is_that_of_the_table():
    """Of all folders, in layers in which imports point down as in the table."""
    assert draw_folders.PICTURE.read_text("utf-8") == draw_folders.drawn(), "run tools/draw_folders.py"
    drawn = " ".join(draw_folders.LAYERS.values()).split()
    assert drawn == list(draw_folders.folders())


@pytest.mark.parametrize(
    "html, problem",
    [
        ('<script src="https://cdn.example.org/a.js"></script>', "fetched from elsewhere"),
        ('<link rel="stylesheet" href="//fonts.example.org/css">', "fetched from elsewhere"),
        ('<img srcset="a.png 1x, https://example.org/b.png 2x">', "fetched from elsewhere"),
        ('<a href="https://example">x</a>', "no host"),
        ('<a href="htps://example.org">x</a>', "not an address of a page"),
        ('<a href="https://example.org/a#b">x</a><a href="b.html">y</a><img src="c.png">', ""),
    ],
)
def test_what_a_browser_would_fetch_from_elsewhere_fails_the_build(html, problem):
    """As does an address that is none."""
    found = list(site.problems_of(html))
    assert len(found) == bool(problem) and all(problem in one for one in found)


def test_links_out_of_the_pages_lead_to_copies():
    """Of files; a folder is no page, and code is left alone."""
    page = "[a](../examples/README.md#x) [b](json.md) [c](../examples) [d](https://example.org)\n```\n[e](../LICENSE)\n```\n"

    class Page:
        class file:
            src_uri = "predict.md"

    assert site.on_page_markdown(page, Page, None, None) == (
        "[a](repository/examples/README.md#x) [b](json.md) c [d](https://example.org)\n```\n[e](../LICENSE)\n```\n"
    )
