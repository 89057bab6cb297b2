"""Labels of pages: what is accepted, and everything that is wrong with a file, told at once."""

from __future__ import annotations

import json

import pytest

from ckpt2saved.errors import LabelsError
from ckpt2saved.verification.accuracy.page_labels import read_page_labels

QUAD = [10, 20.5, 90, 20, 90, 40, 10, 40]


def page(picture="a.png", *lines):
    return {"picture": picture, "lines": list(lines)}


def line(text="one", quad=QUAD):
    return {"text": text, "quad": quad}


def labels(folder, content):
    """The path of a labels file beside a.png and b.png."""
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"x")
    path = folder / "pages.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode("utf-8"))
    return path


def problems(folder, content):
    with pytest.raises(LabelsError) as caught:
        read_page_labels(labels(folder, content))
    assert caught.value.exit_code == 1
    return [(one.code, one.where, one.text) for one in caught.value.problems]


def test_pages_have_lines_with_text_and_corners(tmp_path):
    """A page without lines is one; other keys are ignored; a byte order mark is accepted."""
    content = [dict(page("a.png", line("Größe"), dict(line(), note=1)), seed=3), page(str(tmp_path / "b.png"))]
    found = read_page_labels(
        labels(tmp_path, b"\xef\xbb\xbf" + json.dumps(content, ensure_ascii=False).encode("utf-8"))
    )
    first, second = found.pages
    assert (first.picture, first.number, second.number) == ("a.png", 1, 2)
    assert [(one.text, one.quad) for one in first.lines] == [("Größe", tuple(QUAD)), ("one", tuple(QUAD))]
    assert second.lines == () and first.path.is_file() and second.path.is_file() and len(found.sha256) == 64


def test_all_problems_at_once_with_page_and_line(tmp_path):
    """Each says what was found and what is expected."""
    content = [
        [],
        {"picture": "a.png", "line": []},
        {"picture": 7, "lines": {}},
        page("b.png", line(quad=QUAD[:6]), line(quad=[*QUAD[:7], "40"]), {"text": "x"}, line(text=None), 3),
        page("./a.png", line(quad=[10, 40, 90, 40, 90, 20, 10, 20]), line(quad=[float("nan")] * 8)),
        page("c.png", line(text=" "), line(quad=[10**400, *QUAD[1:]])),
    ]
    found = problems(tmp_path, content)
    assert [text for _, _, text in found] == [
        "page 1: a list; expected an object with picture and lines",
        "page 2 (a.png): no lines; found picture, line; add it: a list",
        "page 3, picture: a number; expected a string",
        "page 3, lines: an object; expected a list",
        "page 4 (b.png), line 1, quad: 6 numbers; expected x and y of four corners, clockwise from the top left:"
        " 8 numbers",
        "page 4 (b.png), line 2, quad: a string among the numbers; expected x and y of four corners, clockwise from"
        " the top left: 8 numbers",
        "page 4 (b.png), line 3: no quad; found text; add it: a list",
        "page 4 (b.png), line 4, text: null; expected a string",
        "page 4 (b.png), line 5: a number; expected an object with text and quad",
        "page 5 (./a.png): it is also page 2; delete one",
        "page 5 (./a.png), line 1, quad: [10, 40, 90, 40, 90, 20, 10, 20] is no convex quadrilateral with its corners"
        " clockwise; expected x and y of four corners, clockwise from the top left",
        "page 5 (./a.png), line 2, quad: a number is not finite",
        f"page 6 (c.png): there is no file {tmp_path}/c.png; paths are relative to the folder of the labels file",
        "page 6 (c.png), line 1: no text; write the text, or pass --allow-empty if lines without text are meant to be"
        " read as empty",
        "page 6 (c.png), line 2, quad: a number is not finite",
    ]


def test_lines_without_text_on_request(tmp_path):
    assert read_page_labels(labels(tmp_path, [page("a.png", line(""))]), allow_empty=True).pages[0].lines[0].text == ""


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a.png\tone\n", "no JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'[{"picture": "a.png", "lines": []},]', "no JSON: "),
        (b"[" * 100000, "no JSON: "),
        (b'["\xff"]', "byte 3 is not UTF-8; save the file as UTF-8"),
        ({"pages": []}, "found an object instead of a list of pages; expected [{"),
        ([], "it has no pages; expected [{"),
    ],
)
def test_what_is_no_list_of_pages(tmp_path, content, found):
    with pytest.raises(LabelsError) as caught:
        read_page_labels(labels(tmp_path, content))
    assert str(caught.value).startswith(f"{tmp_path}/pages.json: {found}")


def test_no_file(tmp_path):
    with pytest.raises(LabelsError, match="No such file"):
        read_page_labels(tmp_path / "pages.json")
    with pytest.raises(LabelsError, match="a directory, not a file"):
        read_page_labels(tmp_path)


def test_a_long_list_of_problems_is_cut_off(tmp_path):
    found = problems(tmp_path, [3] * 1000)
    assert len(found) == 51 and found[-1][2] == "and 950 more"
