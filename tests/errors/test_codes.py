"""The codes of problems and notes: each is listed, used, and nothing else is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.codes import CODES
from ckpt2saved.errors.problem import Choice, Note, Problem, details, texts

PACKAGE = Path(__file__).resolve().parent.parent.parent / "ckpt2saved"


def literal(node):
    """A string that is written in the code; Python 3.7 keeps it in another attribute than later ones."""
    return [node.__dict__[name] for name in ("value", "s") if isinstance(node.__dict__.get(name), str)]


def used():
    """The words in the code that look like codes, without those of the list itself."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "codes.py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield from literal(node)


def made():
    """The codes of the problems and notes that the code makes, where they are written at that place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Problem", "Note") and node.args:
                yield from literal(node.args[0])


def test_every_code_that_is_used_is_listed_and_every_listed_one_is_used():
    """A code is a contract: none is made up at the place of use, and none is left over."""
    assert set(made()) <= set(CODES)
    assert set(CODES) <= set(used())
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in CODES)
    with pytest.raises(ValueError, match="no-such-code"):
        Problem("no-such-code", "", "found")


def test_the_page_about_json_lists_every_code():
    """In the words of the code."""
    rows = re.findall(
        r"^\| `(\S+)` \| (.*) \|$", (PACKAGE.parent / "docs" / "json.md").read_text("utf-8"), re.MULTILINE
    )
    assert dict(rows) == CODES and len(rows) == len(CODES)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("unknown-key", "", "found"), "found"),
        (Problem("unknown-key", "where", "found", "do this"), "where: found; do this"),
        (Problem("unknown-key", "node", "found", op="PyFunc", reason="why"), "node (PyFunc): found: why"),
        (Choice("--weights", ("ema", "raw"), "why"), "--weights ema or --weights raw: why"),
        (Choice("--input", (), "why"), "--input: why"),
        (Choice("--output", ("a",), "why", "another tower"), "another tower: why"),
    ],
)
def test_the_text_is_made_of_the_parts(problem, text):
    """Where, what was found and why, what to do; without the parts that are not there."""
    assert problem.text == text and texts([problem]) == [text]


def test_an_error_holds_its_problems():
    """The message has a line for each."""
    error = NotServable("no", [Problem("py-func", "call", "it calls Python", op="PyFunc"), Problem("cut-off", "", "a")])
    assert [problem.code for problem in error.problems] == ["py-func", "cut-off"]
    assert str(error) == "no\n  - call (PyFunc): it calls Python\n  - a"


def test_details_are_what_json_prints():
    """Code, place and remedy beside the text."""
    note = Note("pinned-device", "node", "pinned", "export it again")
    assert details([note]) == [
        {"code": "pinned-device", "where": "node", "text": "node: pinned; export it again", "remedy": "export it again"}
    ]
