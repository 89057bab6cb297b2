"""Compare the answer of each line of a batch with the answer that the line gets alone."""

from __future__ import annotations

from dataclasses import replace
from typing import List, Sequence

import numpy as np

from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.comparison import Comparison, Tolerance, compare
from ckpt2saved.errors.problem import Note
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.requests.splitting import batch_of, unsplit_outputs

# Sums in another order, in a matrix product of more rows; a log-probability is a sum over all steps.
ALONE = Tolerance(1e-5, 1.0)


def compare_lines(asker: Asker, requests: Sequence[Request], tolerance: Tolerance = ALONE) -> Comparison:
    """Run each request, and then each of its lines alone; a problem for each output of a line that differs.

    Of an output that is longer in the batch, as many elements are compared as the line has alone. Outputs whose first
    dimension is not the batch are not compared.
    """
    asked: List[Request] = []
    expected: List[Answers] = []
    found: List[Answers] = []
    for request in requests:
        count = batch_of(request.inputs) or 0
        if count < 2:
            continue
        together = asker.answer(request)
        keys = sorted(set(together) - unsplit_outputs(request.inputs, together))
        for number in range(count):
            inputs = {key: value[number : number + 1] for key, value in request.inputs.items()}
            alone = replace(request, name=f"{request.name}, line {number}", inputs=inputs, outputs=tuple(keys))
            answers = asker.answer(alone)
            asked.append(alone)
            expected.append(answers)
            found.append({key: _cropped(together[key][number : number + 1], answers[key]) for key in keys})
    return compare(asked, expected, found, tolerance)


def notes_on_lines(comparison: Comparison) -> List[Note]:
    """The differences of lines as notes."""
    text = "a line in a batch of several widths has another answer than alone: "
    return [Note("depends-on-batch", problem.where, text + problem.found) for problem in comparison.problems]


def _cropped(together: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """The first elements of a line's part of an answer, as many as it has alone."""
    if together.ndim != alone.ndim:
        return together
    return together[tuple(slice(size) for size in alone.shape)]
