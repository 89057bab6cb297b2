"""Error rates, against numbers that were computed by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ckpt2saved.errors import Ckpt2SavedError
from ckpt2saved.verification.accuracy.figures import Confusion, Reading, measure
from ckpt2saved.verification.accuracy.labels import Line


def measured(*pairs, **how):
    """The accuracy of pairs of reference and answer."""
    lines = [Line(f"{number}.png", Path("x"), text, number) for number, (text, _) in enumerate(pairs, start=1)]
    readings = [answer if isinstance(answer, Reading) else Reading(answer) for _, answer in pairs]
    return measure(lines, readings, **how)


def test_rates_by_hand():
    """3 edits in 15 characters, 3 wrong words of 5, one line of 3 exact."""
    found = measured(("kitten", "sitting"), ("ab cd", "ab cd"), ("x yz", "x yz"))
    figures = found.figures
    # kitten -> sitting: k/s, e/i, and a g is added.
    assert (figures.edits, figures.characters) == (3, 15)
    assert figures.cer == 3 / 15
    assert (figures.word_edits, figures.words, figures.wer) == (1, 5, 1 / 5)
    assert (figures.lines, figures.exact, figures.unread) == (3, 2, 0)
    assert found.results[0].cer == 3 / 6
    assert found.confusions == [(Confusion("", "g"), 1), (Confusion("e", "i"), 1), (Confusion("k", "s"), 1)]


def test_the_rate_is_that_of_all_characters_not_the_mean_of_the_lines():
    """One short line that is wrong, one long line that is right."""
    assert measured(("ab", "xy"), ("abcdefgh", "abcdefgh")).figures.cer == 2 / 10


def test_words_are_what_white_space_separates():
    """A missing space joins two words: one substituted and one missing word, for one edit."""
    figures = measured(("the cat  sat", "thecat sat")).figures
    assert (figures.words, figures.word_edits) == (3, 2)
    assert figures.edits == 2  # spaces count as characters
    assert measured(("a b c", "c b a")).figures.word_edits == 2


def test_the_rate_may_exceed_one_and_an_empty_reference_counts():
    """An answer for a picture without text is all added characters."""
    assert measured(("a", "bcd")).figures.cer == 3
    assert measured(("", "ab")).figures.cer == 1 and measured(("", "")).figures.cer == 0
    figures = measured(("", "ab"), ("cd", "cd")).figures
    assert (figures.edits, figures.cer) == (2, 1)


def test_most_frequent_confusions_come_first():
    """Substituted, missing and added characters alike, then in the order of the characters."""
    found = measured(("O O", "0 0"), ("lie", "1ie"), ("ab", "a"), ("O", "O!"))
    assert found.confusions == [
        (Confusion("O", "0"), 2),
        (Confusion("", "!"), 1),
        (Confusion("b", ""), 1),
        (Confusion("l", "1"), 1),
    ]


def test_the_worst_lines_first():
    """By rate, then by edits; lines that are right are left out."""
    found = measured(("abcd", "abcx"), ("ab", "cd"), ("abcd", "wxyz"), ("ok", "ok"))
    assert [one.line.number for one in found.worst] == [3, 2, 1]


def test_composed_and_decomposed_characters_are_equal_unless_told_otherwise():
    """NFC; without it, e with a combining accent is two characters, of which both differ from the one."""
    assert measured(("caf\u00e9", "cafe\u0301")).figures.edits == 0
    figures = measured(("caf\u00e9", "cafe\u0301"), normalise=False).figures
    assert figures.edits == 2 and figures.exact == 0


def test_characters_outside_of_the_basic_plane_are_one_character():
    """Code points, not UTF-16 units or bytes."""
    assert measured(("\U0001f600字", "字")).figures.edits == 1
    assert measured(("\U0001f600字", "字")).figures.characters == 2


def test_pictures_that_were_not_read_count_as_missing_text():
    """They are counted apart, too."""
    figures = measured(("abc", Reading("", status=4, score=float("-inf"))), ("de", "de")).figures
    assert (figures.unread, figures.edits, figures.cer) == (1, 3, 3 / 5)


def test_without_rapidfuzz_the_message_says_what_to_install(monkeypatch):
    """The extra of the package."""
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    with pytest.raises(Ckpt2SavedError, match=r"pip install 'ckpt2saved\[evaluate\]'"):
        measured(("a", "a"))
