"""A language model of character pairs, as a table that the CTC beam search adds to its scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The table is a constant of the graph, four bytes for each pair: 144 MB. An export has about 30 copies of the graph in
# memory, and TensorFlow reads none above 2 GB.
MOST_CLASSES = 6144


@dataclass(frozen=True)
class LanguageModel:
    """The log-probabilities of the next label after the previous one, and how much they count.

    `table[previous, next]` is float [classes, classes]. The blank, the last class, stands for the ends of a line: its
    row has the labels that a line begins with, its column the labels that a line ends after. Minus infinity excludes a
    pair. The score of a text is `weight` times the sum of the entries of its pairs, both ends included, plus `bonus`
    for each label.
    """

    table: np.ndarray
    weight: float = 1.0
    bonus: float = 0.0

    def __post_init__(self) -> None:
        shape = np.shape(self.table)
        if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 1:
            raise ValueError(f"the table is {list(shape)}; expected [classes, classes]")
        if shape[0] > MOST_CLASSES:
            size = 4 * shape[0] ** 2 >> 20
            raise ValueError(
                f"the table of {shape[0]} classes would add {size} MB to the graph; expected {MOST_CLASSES} at most"
            )
        if np.isnan(self.table).any() or np.isposinf(self.table).any():
            raise ValueError("the table has NaN or +infinity; expected logarithms of probabilities")
        if not (np.isfinite(self.weight) and self.weight >= 0 and np.isfinite(self.bonus)):
            raise ValueError(f"weight={self.weight} and bonus={self.bonus} must be finite, the weight not negative")

    @property
    def classes(self) -> int:
        """The number of classes, the blank included."""
        return len(self.table)
