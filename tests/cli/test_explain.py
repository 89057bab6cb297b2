"""`explain`, and the errors that name it."""

from __future__ import annotations

import json

from ckpt2saved.errors.codes import CODES
from ckpt2saved.errors.explanation import explanation, parse_sections
from tests.support.command_line import call
from tests.support.terminal import on_terminal
from tests.support.versions import version_of

PAGE = """
# Troubleshooting
## Checkpoints
### `missing-variable` {#missing-variable}

From another training.

#### In detail
Look there.

### nan-weights
It diverged.
## Others
Not this.
"""


def test_each_code_is_explained():
    """One, several, or all of them."""
    assert call("explain", "missing-variable").stdout.startswith(f"missing-variable: {CODES['missing-variable']}")
    done = call("explain", "cut_off", "checksum").stdout
    assert f"cut-off: {CODES['cut-off']}" in done and f"checksum: {CODES['checksum']}" in done
    lines = call("explain").stdout.splitlines()
    assert lines == [f"{code}: {CODES[code]}" for code in sorted(CODES)]
    for code in CODES:
        first, *more = explanation(code).split("\n\n")
        assert first == f"{code}: {CODES[code]}" and len(more) >= 2, code  # an example, and what to do
        assert not any("`" in part or "](" in part for part in more), code


def test_explanations_for_programs():
    """The same as for people, of the codes that are asked for, or of all."""
    (found,) = json.loads(call("explain", "checksum", "--json").stdout)["codes"]
    assert found == {"code": "checksum", "meaning": CODES["checksum"], "text": explanation("checksum")}
    assert [one["code"] for one in json.loads(call("explain", "--json").stdout)["codes"]] == sorted(CODES)


def test_an_explanation_is_plain_text():
    """The meaning, a message as an example, and what to do; links name their page."""
    expected = "    w: missing; expected [2, 3]\n\nThe checkpoint is of another network, or the names differ: --map"
    assert expected in explanation("missing-variable")
    assert "(batching: docs/batching.md)" in explanation("no-batching")


def test_the_part_of_the_page_below_a_code_is_printed():
    """Up to the next heading of its level; deeper ones belong to it."""
    found = parse_sections(PAGE)
    assert found == {
        "missing-variable": "From another training.\n\n#### In detail\nLook there.",
        "nan-weights": "It diverged.",
    }


def test_a_misspelt_code():
    """The error names the one that is meant."""
    done = call("explain", "missing-varable")
    assert done.returncode == 2 and "did you mean missing-variable?" in done.stdout


def broken(tmp_path):
    version = version_of(tmp_path / "m", 1)
    (version / "saved_model.pb").write_bytes(b"")
    return tmp_path / "m"


def test_an_error_names_the_command_that_explains_its_codes(tmp_path):
    """In its last line; an error without problems has none."""
    done = call("bump-version", broken(tmp_path))
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last == "More: ckpt2saved explain empty-file"
    assert call(*last.split()[2:]).returncode == 0
    assert "More:" not in call("list", tmp_path / "nowhere").stdout


def test_an_error_on_a_terminal_is_broken_at_words(tmp_path):
    """In a log each problem is one line."""
    base = broken(tmp_path)
    terminal = on_terminal("bump-version", base, columns=100)
    lines = terminal.lines()
    plain = call("bump-version", base).stdout.splitlines()
    assert lines != plain and " ".join(" ".join(lines).split()) == " ".join(" ".join(plain).split())
    words = [word for line in plain for word in line.split()]
    assert [word for line in lines for word in line.split()] == words
    assert all(len(line) <= 100 for line in lines)
    assert lines[1].startswith("  ")
