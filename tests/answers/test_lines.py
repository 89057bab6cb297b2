"""Lines that get another answer in a batch than alone are found out."""

from __future__ import annotations

import numpy as np

from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.lines import compare_lines, notes_on_lines
from ckpt2saved.errors.problem import texts
from ckpt2saved.requests.request import Request


class Reader(Asker):
    """Reads words: their lengths, their letters as long as the longest has some, and how many there are in all."""

    def __init__(self, leak=0.0):
        self.leak = leak

    def answer(self, request):
        words = request.inputs["words"]
        longest = max(map(len, words))
        answers = {
            "text": words,
            "ids": np.array([list(word) + [-1] * (longest - len(word)) for word in words]),
            "score": np.float32([len(word) + self.leak * (longest - len(word)) for word in words]),
            "total": np.int32(len(words)),
        }
        return answers if request.outputs is None else {key: answers[key] for key in request.outputs}


def words(*several):
    return Request("words", "text", {"words": np.array(several, object)})


def test_lines_that_do_not_depend_on_each_other():
    """What is longer in a batch is compared as far as it goes; what has no batch is not."""
    found = compare_lines(Reader(), [words(b"a", b"word", b"of"), words(b"alone")])
    assert not found.problems
    assert {(d.output, d.max_abs) for d in found.differences} == {("text", 0.0), ("ids", 0.0), ("score", 0.0)}


def test_lines_that_depend_on_the_longest():
    found = compare_lines(Reader(leak=0.01), [words(b"a", b"word", b"of")])
    assert texts(notes_on_lines(found)) == [
        "words, line 0: text.score: a line in a batch of several widths has another answer than alone: values differ by"
        " up to 0.03, where 2e-05 is allowed",
        "words, line 2: text.score: a line in a batch of several widths has another answer than alone: values differ by"
        " up to 0.02, where 3e-05 is allowed",
    ]
