"""JSON that others wrote."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from ckpt2saved.files import json_text
from ckpt2saved.files.json_text import MOST_LEVELS, TooMuchMemory, memory_of, read_json
from tests.fuzz.fuzzer import CPU_SECONDS, WALL_SECONDS, forked, with_timers


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


@pytest.mark.parametrize(
    "text",
    ["[" + ("9" * 1000 + ",") * 16000 + "1]", "[" * 101 + '"' + '\\"' * 300000],
    ids=["many long numbers", "a string that is not closed"],
)
def test_the_checks_of_a_text_take_no_longer_than_its_reading(text):
    """Both texts took quadratic time."""

    def read():
        with_timers(CPU_SECONDS, WALL_SECONDS)
        try:
            read_json(text)
        except ValueError:
            return "refused"
        return "read"

    assert forked(read)[0] in ("read", "refused")


UNITS = [
    "[]",
    "[1.5]",
    "[[1]]",
    "{}",
    '{"":0}',
    '{"%05d":1.5}',
    "1.5",
    "300",
    "-1e300",
    "true",
    '""',
    '"ab"',
    '"\u4e2d\U0001f600"',
    '{"b64":"eA=="}',
]


@pytest.mark.parametrize("unit", UNITS)
def test_the_memory_of_a_text_is_known_before_it_is_read(unit):
    """As an upper limit, whatever the values are; for numbers it is no more than twice what they take."""
    count = 30000
    text = "[" + ",".join(unit.replace("%05d", str(number)) for number in range(count)) + "]"
    tracemalloc.start()
    try:
        values = json.loads(text)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(values) == count and taken <= memory_of(text)
    assert unit not in ("1.5", "300") or memory_of(text) < 2 * taken


def test_the_members_of_one_object_count_too():
    text = "{" + ",".join(f'"{number}":{number}.5' for number in range(30000)) + "}"
    tracemalloc.start()
    try:
        assert len(json.loads(text)) == 30000
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken <= memory_of(text)


def test_values_that_would_take_too_much_memory_never_reach_the_reader(monkeypatch):
    assert read_json("[[], []]", 1000) == [[], []]
    monkeypatch.setattr(json_text.json, "loads", lambda text: pytest.fail("read"))
    with pytest.raises(TooMuchMemory, match="its values would take more than 1 MB of memory"):
        read_json("[" + "[]," * 10000 + "[]]", 1 << 20)
