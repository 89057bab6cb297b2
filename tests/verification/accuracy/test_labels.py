"""Labels files: what is accepted, and everything that is wrong with one, told at once."""

from __future__ import annotations

import pytest

from ckpt2saved.errors import LabelsError
from ckpt2saved.verification.accuracy.labels import read_labels


def labels(folder, content, pictures=("a.png", "b.png", "c.png")):
    """The path of a labels file beside these pictures."""
    for name in pictures:
        (folder / name).write_bytes(b"x")
    path = folder / "labels.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def test_lines_are_paths_and_texts(tmp_path):
    """Relative to the folder of the file, or absolute; spaces of the text are kept."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "d.png").write_bytes(b"x")
    path = labels(tmp_path, f"a.png\tHello World\nmore/d.png\tÄ ſ 字 \n{tmp_path / 'b.png'}\t#1\n")
    found = read_labels(path)
    assert [(line.picture, line.text, line.number) for line in found.lines] == [
        ("a.png", "Hello World", 1),
        ("more/d.png", "Ä ſ 字 ", 2),
        (str(tmp_path / "b.png"), "#1", 3),
    ]
    assert all(line.path.is_file() for line in found.lines)
    assert len(found.sha256) == 64


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa.png\tone\nb.png\ttwo\n",  # a byte order mark
        b"a.png\tone\r\nb.png\ttwo\r\n",
        b"a.png\tone\nb.png\ttwo",  # no line break at the end
        b"a.png\tone\nb.png\ttwo\n\n \r\n\n",  # blank lines at the end
    ],
)
def test_what_editors_add_is_accepted(tmp_path, content):
    """Byte order mark, CRLF, blank lines at the end."""
    assert [(line.picture, line.text) for line in read_labels(labels(tmp_path, content)).lines] == [
        ("a.png", "one"),
        ("b.png", "two"),
    ]


def test_all_problems_at_once_with_their_lines(tmp_path):
    """Each with its code, line and remedy."""
    content = (
        b"# comment\n"
        b"a.png\tone\n"
        b"\n"
        b"b.png one\n"
        b"nowhere.png\ttwo\n"
        b"./a.png\tthree\n"
        b"b.png\t\n"
        b"c.png\t\xff\n"
        b"c.png\tone\t0.9\n"
        b".\tfolder\n"
    )
    with pytest.raises(LabelsError) as caught:
        read_labels(labels(tmp_path, content))
    found = [(problem.code, problem.where) for problem in caught.value.problems]
    assert found == [
        ("no-label", "line 1"),
        ("no-label", "line 3"),
        ("no-label", "line 4"),
        ("missing-picture", "line 5"),
        ("duplicate-picture", "line 6"),
        ("no-label", "line 7"),
        ("other-encoding", "line 8"),
        ("no-label", "line 9"),
        ("missing-picture", "line 10"),
    ]
    assert all(problem.remedy for problem in caught.value.problems)
    assert "9 problem(s)" in str(caught.value) and caught.value.exit_code == 1


def test_pictures_without_text_on_request(tmp_path):
    """Also as the last line, whose end is white space only."""
    path = labels(tmp_path, b"a.png\t\nb.png\t")
    with pytest.raises(LabelsError, match="--allow-empty"):
        read_labels(path)
    assert [line.text for line in read_labels(path, allow_empty=True).lines] == ["", ""]


def test_a_nul_in_a_path_is_no_file(tmp_path):
    """Some Pythons raise ValueError for it."""
    with pytest.raises(LabelsError, match="there is no file"):
        read_labels(labels(tmp_path, b"a\0.png\tone\n"))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf\n"])
def test_an_empty_file(tmp_path, content):
    """It says what is expected in it."""
    with pytest.raises(LabelsError, match="it is empty; expected a line path<TAB>text"):
        read_labels(labels(tmp_path, content))


def test_no_file(tmp_path):
    """A file that is missing, or a directory."""
    with pytest.raises(LabelsError, match="No such file"):
        read_labels(tmp_path / "labels.tsv")
    with pytest.raises(LabelsError, match="a directory, not a file"):
        read_labels(tmp_path)


def test_a_file_in_another_format_is_not_listed_whole(tmp_path):
    """The first problems and the number of the others."""
    with pytest.raises(LabelsError) as caught:
        read_labels(labels(tmp_path, b"a.png,one\n" * 1000))
    assert len(caught.value.problems) == 51 and caught.value.problems[-1].text == "and 950 more"
    assert "1000 problem(s)" in str(caught.value)
