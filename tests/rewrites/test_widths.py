"""The arithmetic of own widths: as TensorFlow counts the columns that a window makes of a line alone."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.axes import LINES, Size, broadcast, reshaped
from ckpt2saved.rewrites.analyses.widths import SAME, VALID, OwnWidth, Window

W, HALF = OwnWidth(), OwnWidth().then(0, 2)


def random_window(random):
    """Strides and dilations at once are what TensorFlow has no kernel for."""
    size, stride, dilation = random.randint(1, 7), random.randint(1, 5), random.randint(1, 4)
    if random.rand() < 0.5:
        stride = 1
    else:
        dilation = 1
    return Window(size=size, stride=stride, dilation=dilation, padding=random.choice([SAME, VALID]))


def test_chains_of_windows_make_as_many_columns_as_tensorflow():
    """Random chains of four convolutions, each on lines of random widths from 8 to 800."""
    random = np.random.RandomState(1)
    for _ in range(12):
        windows = [random_window(random) for _ in range(4)]
        own = W
        with tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float32, [1, 1, None, 1])
            y = x
            for window in windows:
                kernel = tf.ones([1, window.size, 1, 1])
                strides, dilations = [1, 1, window.stride, 1], [1, 1, window.dilation, 1]
                y = tf.nn.conv2d(y, kernel, strides, window.padding, dilations=dilations)
                own = window.after(own)
            for width in random.randint(8, 800, 6):
                if own.at(width) > 0:  # TensorFlow refuses windows that are wider than what they look at
                    assert session.run(y, {x: np.ones([1, 1, width, 1])}).shape[2] == own.at(width), (windows, width)


def test_the_padding_before_a_line_is_tensorflows():
    """The convolution's first answer on a line of ones is how many of them its first window has."""
    random = np.random.RandomState(2)
    for _ in range(20):
        window = random_window(random)
        with tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float32, [1, 1, None, 1])
            strides, dilations = [1, 1, window.stride, 1], [1, 1, window.dilation, 1]
            y = tf.nn.conv2d(x, tf.ones([1, window.size, 1, 1]), strides, window.padding, dilations=dilations)
            for width in random.randint(30, 60, 3):
                first = session.run(y, {x: np.ones([1, 1, width, 1])})[0, 0, 0, 0]
                taps = [window.dilation * tap - window.before(width) for tap in range(window.size)]
                assert first == sum(0 <= tap < width for tap in taps)


@pytest.mark.parametrize("multiple", [1, 2, 3, 4, 8])
def test_which_paddings_occur(multiple):
    random = np.random.RandomState(multiple)
    for _ in range(50):
        own = W
        for _ in range(2):
            own = random_window(random).after(own)
        window = random_window(random)
        widths = [width for width in range(multiple, 700, multiple) if own.at(width) > 0]
        expected = {window.before(own.at(width)) for width in widths}
        assert set(window.all_before(own, multiple)) == expected


def test_equal_for_widths_that_are_multiples():
    """floor(w / 4) and ceil(w / 4) are the same for all multiples of 4, and of 8, not of 2."""
    down, up = OwnWidth(0, 4), OwnWidth(3, 4)
    assert down.among(8) == up.among(8) and down.among(4) == up.among(4)
    assert down.among(2) != up.among(2) and down != up
    for multiple in (1, 2, 3, 4, 6):
        for own in (OwnWidth(3, 4), OwnWidth(-5, 6), OwnWidth(7, 3)):
            widths = range(0, 120, multiple)
            assert [own.at(width) for width in widths] == [own.among(multiple).at(width) for width in widths]


def test_reshapes():
    """Each axis keeps what it stands for, in order, or nothing is known."""
    axes = ((LINES,), (2,), (W,), (512,))
    lines, width = Size(1, (LINES,)), Size(1, (W,))
    assert reshaped(axes, [lines, None, Size(512)]) == ((LINES,), (2, W), (512,))
    assert reshaped(axes, [lines, width, Size(1024)]) is None  # this needs a transpose
    assert reshaped(((LINES,), (W,), (2,), (512,)), [lines, width, Size(1024)]) == ((LINES,), (W,), (1024,))
    assert reshaped(((W,), (LINES,), (1024,)), [None, Size(1024)]) == ((W, LINES), (1024,))
    assert reshaped(((W, LINES), (7,)), [width, lines, Size(7)]) == ((W,), (LINES,), (7,))
    assert reshaped(((W, LINES), (7,)), [lines, width, Size(7)]) is None
    assert reshaped(((W, LINES), (6,)), [None, Size(2), Size(3)]) == ((W, LINES), (2,), (3,))
    assert reshaped(axes, [Size(64), None, Size(512)]) is None


def test_broadcasting():
    assert broadcast([((LINES,), (W,), (3,)), ((3,),), ()]) == ((LINES,), (W,), (3,))
    assert broadcast([((LINES,), (W,)), ((LINES,), (1,))]) == ((LINES,), (W,))
    assert broadcast([((LINES,), (W,)), ((LINES,), (HALF,))]) is None
    assert broadcast([((W,), (LINES,)), ((LINES,), (W,))]) is None
