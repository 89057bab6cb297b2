"""JSON that others wrote."""

from __future__ import annotations

import pytest

from ckpt2saved.files import json_text
from ckpt2saved.files.json_text import MOST_LEVELS, read_json


def nested(levels, inside="1"):
    return "[" * levels + inside + "]" * levels


@pytest.mark.parametrize(
    "text", [nested(MOST_LEVELS), '{"a": ' * 50 + nested(50) + "}" * 50, "[[]" + ",[]" * 500 + "]"]
)
def test_what_is_not_too_deep_is_read(text):
    """Many lists beside each other are no depth."""
    assert read_json(text)


@pytest.mark.parametrize("inside", ["[" * 500, r"a\"[" * 200, "]" * 500])
def test_brackets_in_a_string_count_for_nothing(inside):
    """In whatever way its quotation marks are escaped."""
    assert read_json('["' + inside + '", 1]')[1] == 1


@pytest.mark.parametrize(
    "text",
    [
        nested(MOST_LEVELS + 1),
        nested(100000),
        "[" * 100000,
        '{"a":' * 100000,
        '["]]]]]]",' * 100000,
        '["' + r"\"" + '",' + nested(500) + "]",
    ],
    ids=["one more", "much more", "not closed", "objects", "closed in strings", "behind an escape"],
)
def test_what_is_too_deep_never_reaches_the_reader(monkeypatch, text):
    """Which on Python 3.7 may abort the process."""
    monkeypatch.setattr(json_text.json, "loads", lambda text: pytest.fail("read"))
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        read_json(text)


def test_endless_numbers_never_reach_the_reader(monkeypatch):
    """Python 3.7.13 and older take hours for millions of digits; in a text they are no number."""
    assert read_json('["' + "9" * 500 + '", ' + "9" * 400 + "]")[1] == 10**400 - 1
    monkeypatch.setattr(json_text.json, "loads", lambda text: pytest.fail("read"))
    for text in ("9" * 1001, "[1, -" + "1" * 5000000 + "]", '{"a\\"": 0.' + "1" * 1001 + "}"):
        with pytest.raises(ValueError, match="a number of more than 1000 digits"):
            read_json(text)
