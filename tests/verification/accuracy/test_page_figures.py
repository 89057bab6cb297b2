"""Lines of pages that are found, and their text, against numbers that were computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.client.east import overlap
from ckpt2saved.verification.accuracy.page_figures import PageReading, matched, measure_pages
from ckpt2saved.verification.accuracy.page_labels import Page, PlacedText
from tests.support.readers import box


def placed(*lines):
    return tuple(PlacedText(text, quad) for text, quad in lines)


def measured(labelled, answered, **how):
    """The accuracy of one page."""
    page = Page("a.png", Path("a.png"), placed(*labelled), 1)
    reading = answered if isinstance(answered, PageReading) else PageReading(placed(*answered))
    return measure_pages([page], [reading], **how)


def positions(labelled, answered):
    return [None if match is None else match.position for match in matched(labelled, answered)]


def test_more_than_half_has_to_overlap():
    """Of a box of 100 x 10: one that is moved by a third of its width has exactly half."""
    (half,) = matched([box(0, 0, 90, 10)], [box(30, 0, 120, 10)])
    assert half is None
    (more,) = matched([box(0, 0, 90, 10)], [box(29, 0, 119, 10)])
    assert more.position == 0 and more.overlap == pytest.approx(61 / 119)


def test_the_pairs_that_overlap_most_come_first():
    """The second answer is the better one for the first label; the first answer is left for nothing."""
    labelled = [box(0, 0, 100, 10), box(0, 20, 100, 30)]
    answered = [box(0, 0, 80, 10), box(0, 0, 99, 10), box(0, 20, 60, 30)]
    assert positions(labelled, answered) == [1, 2]
    assert positions(labelled[:1] * 2, answered) == [1, 0]


def test_slanted_lines_overlap_by_their_area_not_by_their_boxes():
    """A slanted line of 10 pixels in height, and its bounding box of 30."""
    slanted = (0, 20, 200, 0, 200, 10, 0, 30)
    assert positions([slanted], [slanted]) == [0]
    assert positions([slanted], [box(0, 0, 200, 30)]) == [None]


def test_the_overlap_is_that_of_opencv():
    """For random quadrilaterals of lines of text."""
    cv2 = pytest.importorskip("cv2")
    draws = np.random.RandomState(1)
    for _ in range(200):
        pair = []
        for _ in range(2):
            angle, (width, height) = draws.uniform(-0.4, 0.4), draws.uniform([40, 10], [200, 40])
            corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            pair.append((corners.dot(turn) + draws.uniform(0, 60, 2)).astype("float32"))
        common, _ = cv2.intersectConvexConvex(*pair)
        expected = common / (cv2.contourArea(pair[0]) + cv2.contourArea(pair[1]) - common)
        assert overlap(pair[0].tolist(), pair[1].tolist()) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "quad",
    [
        box(0, 0, 0, 0),
        (0, 10, 100, 10, 100, 0, 0, 0),  # counterclockwise
        (0, 0, 100, 10, 100, 0, 0, 10),  # crossed
        (float("nan"), *box(0, 0, 100, 10)[1:]),
        (float("inf"), *box(0, 0, 100, 10)[1:]),
    ],
)
def test_an_answer_that_is_no_convex_quadrilateral_matches_nothing(quad):
    assert positions([box(0, 0, 100, 10)], [quad]) == [None]
    assert positions([box(0, 0, 100, 10)], [quad, box(0, 0, 100, 10)]) == [1]


def test_figures_by_hand():
    """One line read with an edit, one exact, one not found, one added."""
    a, b, c, d = (box(0, top, 100, top + 20) for top in (0, 30, 60, 90))
    accuracy = measured(
        [("kitten", a), ("ab cd", b), ("lost", c)],
        [("ab cd", b), ("xyz", d), ("sitten", a)],
    )
    figures = accuracy.figures
    assert (figures.lines, figures.answered, figures.found) == (3, 3, 2)
    assert (figures.recall, figures.precision, figures.f1) == (2 / 3, 2 / 3, 2 / 3)
    # 1 substituted, 4 missing, 3 added; of 6 + 5 + 4 characters.
    assert (figures.text.edits, figures.text.characters, figures.text.cer) == (8, 15, 8 / 15)
    assert (figures.found_text.edits, figures.found_text.characters) == (1, 11)
    assert figures.right_characters == 10
    assert (figures.found_text.exact, figures.unread, figures.pages) == (1, 0, 1)
    assert (figures.text.words, figures.text.word_edits) == (4, 3)
    (page,) = accuracy.results
    assert [line.answer for line in page.labelled] == ["sitten", "ab cd", ""]
    assert [line.answer for line in page.added] == ["xyz"] and page.added_quads == (d,)
    assert [line.line.where for line in accuracy.text.worst] == [
        "a.png, line 3",
        "a.png, no labelled line",
        "a.png, line 1",
    ]


def test_recall_and_precision_differ():
    """One of two labelled lines is found; one of three answers is right."""
    a, b = box(0, 0, 100, 20), box(0, 30, 100, 50)
    figures = measured([("a", a), ("b", b)], [("a", a), ("", box(0, 60, 9, 69)), ("c", box(0, 90, 9, 99))]).figures
    assert (figures.recall, figures.precision, figures.f1) == (1 / 2, 1 / 3, 2 / 5)


def test_a_page_that_was_not_read():
    """All of its text is missing."""
    accuracy = measured([("ab", box(0, 0, 9, 9))], PageReading(status=4, reason="damaged"))
    figures = accuracy.figures
    assert (figures.unread, figures.found, figures.text.cer, figures.recall, figures.precision) == (1, 0, 1, 0, None)
    assert accuracy.text.results[0].reading.reason == "damaged" and not accuracy.text.results[0].reading.is_read


def test_blank_pages_have_no_shares():
    """Neither labels nor answers: no rate; answers alone: all added."""
    figures = measured([], []).figures
    assert (figures.recall, figures.precision, figures.f1, figures.text.cer) == (None, None, None, 0)
    figures = measured([], [("ab", box(0, 0, 9, 9))]).figures
    assert (figures.recall, figures.precision, figures.f1) == (None, 0, 0)
    assert (figures.text.edits, figures.text.cer) == (2, 1)


def test_texts_are_normalised_unless_told_otherwise():
    a = box(0, 0, 9, 9)
    assert measured([("caf\u00e9", a)], [("cafe\u0301", a)]).figures.text.edits == 0
    assert measured([("caf\u00e9", a)], [("cafe\u0301", a)], normalise=False).figures.text.edits == 2
