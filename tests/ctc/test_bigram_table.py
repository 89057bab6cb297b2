"""Tables of pairs, counted in texts or read from files."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.ctc.bigram_table import NoTable, count_pairs, pair_table
from ckpt2saved.ctc.language_model import MOST_CLASSES, LanguageModel


def test_pairs_are_counted_and_smoothed():
    """By hand: of the 8 pairs in "abb", "ba" and an empty line, start-b is one of two starts."""
    found = count_pairs(["abb", "", "ba"], ["a", "b"], 3)
    counts = np.array([[0, 1, 1], [1, 1, 1], [1, 1, 0]])
    alone = (np.array([2, 3, 2]) + 1) / (7 + 3)
    followers = np.array([[2], [3], [2]])
    expected = (counts + followers * alone) / (counts.sum(1, keepdims=True) + followers)
    np.testing.assert_allclose(np.exp(found.table), expected, rtol=1e-6)
    np.testing.assert_allclose(np.exp(found.table).sum(1), 1, rtol=1e-6)
    assert (found.characters, found.unknown) == (5, 0)


def test_a_label_that_never_occurs_is_followed_by_any():
    """Its row has the probabilities of the labels alone, and each is above zero."""
    table = np.exp(count_pairs(["aab"], ["a", "b", "c", ""], 5).table)
    np.testing.assert_allclose(table[2], (np.array([2, 1, 0, 0, 1]) + 1) / 9, rtol=1e-6)
    assert (table > 0).all()


def test_unknown_characters_end_a_chain():
    """Neither the pair before nor the one after is counted, nor one that leaves the character out."""
    table = count_pairs(["a?b", "a"], ["a", "b"], 3)
    assert (table.characters, table.unknown) == (3, 1)
    followers = {label: np.exp(table.table[label]) for label in (0, 1, 2)}
    # Counted: start-a twice, a-end, b-end.
    assert followers[2][0] > followers[2][1]
    assert followers[0][1] < followers[0][2]


def test_the_longest_symbol_counts():
    """A class may stand for several characters."""
    table = count_pairs(["ijj"], ["i", "j", "ij"], 4)
    assert table.characters == 2
    assert np.argmax(table.table[3]) == 2 and np.argmax(table.table[2]) == 1


@pytest.mark.parametrize("name, content", [("t.txt", "\ufeffab\r\nb\n"), ("l.tsv", "x/ab.png\tab\nb.png\tb\n")])
def test_texts_and_labels(tmp_path, name, content):
    """Of a labels file the text counts; a byte order mark and carriage returns do not."""
    file = tmp_path / name
    file.write_bytes(content.encode("utf-8"))
    found = pair_table(file, ["a", "b"], 3)
    np.testing.assert_array_equal(found.table, count_pairs(["ab", "b"], ["a", "b"], 3).table)
    assert found.unknown == 0


def test_a_table_is_read(tmp_path):
    """As NumPy saved it."""
    table = np.log(np.random.RandomState(0).rand(4, 4))
    np.save(str(tmp_path / "t.npy"), table)
    np.testing.assert_array_equal(pair_table(tmp_path / "t.npy", (), 4).table, table)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("t.txt", b"ab\n\xff\n", r"line 2 is not UTF-8 \(byte 0xff\); convert the file to UTF-8"),
        ("t.txt", b"", "no text in it; expected lines as the network reads them, in UTF-8"),
        ("t.txt", b"xyz", "none of its 3 characters is one of a class; expected lines"),
        ("t.npy", b"ab", "can't be read: not a .npy file of a plain array"),
        ("t.npy", b"", "can't be read: not a .npy file of a plain array"),
        ("t.npy", np.zeros([3, 4]), r"found float64 \[3, 4\]; expected floats \[3, 3\], the blank last"),
        ("t.npy", np.zeros([3, 3], int), "found int64"),
        ("none.txt", None, "can't be read: No such file or directory"),
        ("none.npy", None, "can't be read: No such file or directory"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    """With what was found."""
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        np.save(str(file), content)
    with pytest.raises(NoTable, match=message):
        pair_table(file, ["a", "b"], 3)


def test_the_number_of_classes_is_limited():
    """The table is part of the graph, which the export copies several times."""
    table = np.broadcast_to(np.float32(0), [MOST_CLASSES + 1] * 2)
    with pytest.raises(ValueError, match="the table of 6145 classes would add 144 MB to the graph; expected 6144 at"):
        LanguageModel(table)
