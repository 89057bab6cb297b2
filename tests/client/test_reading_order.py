"""The order of the lines of a page."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.client.reading_order import reading_order


def quad(left, top, right, bottom, degrees=0.0):
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], "float64")
    angle = np.radians(degrees)
    return (corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])).ravel()


@pytest.mark.parametrize("degrees", [0, 4, -4])
def test_a_title_then_two_columns_then_a_footer(degrees):
    """Lines so close that their boxes overlap, in any order."""
    boxes = [(0, 0, 600, 40)]
    boxes += [(0, top, 270, top + 24) for top in range(60, 260, 20)]
    boxes += [(340, top, 600, top + 24) for top in range(65, 265, 20)]
    boxes += [(0, 330, 600, 350)]
    quads = np.array([quad(*box, degrees) for box in boxes])
    shuffled = np.random.RandomState(0).permutation(len(quads))
    found = reading_order(quads[shuffled])
    assert [int(shuffled[position]) for position in found] == list(range(len(quads)))


def test_the_order_of_few_lines():
    assert reading_order(np.zeros((0, 8))) == [] and reading_order(np.zeros((1, 8))) == [0]
    assert reading_order(np.array([quad(50, 0, 90, 20), quad(0, 2, 40, 22)])) == [1, 0]
    assert sorted(reading_order(np.zeros((3, 8)))) == [0, 1, 2]


def test_a_page_of_many_lines():
    """The cuts are no recursion of Python."""
    quads = np.array([quad(0, top, 90, top + 10) for top in range(0, 40000, 20)])
    assert reading_order(quads[::-1]) == list(range(len(quads)))[::-1]
