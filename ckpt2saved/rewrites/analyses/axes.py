"""What the axes of tensors stand for: the lines of a batch, the columns of their pictures, or a fixed size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, List, Optional, Sequence, Tuple, Union

from ckpt2saved.rewrites.analyses.widths import OwnWidth


@dataclass(frozen=True)
class Lines:
    """The number of lines in a batch."""


@dataclass(frozen=True)
class Unknown:
    """The size of an axis of which only is known where it was seen first."""

    node: str
    axis: int


LINES = Lines()
Symbol = Union[Lines, OwnWidth, Unknown]  # an OwnWidth stands for the columns that the padded batch has there
Factor = Union[int, Symbol]
Axis = Tuple[Factor, ...]  # the outermost first: (columns, lines) of [columns, lines, 64] reshaped to [-1, 64]
Axes = Tuple[Axis, ...]


@dataclass(frozen=True)
class Size:
    """A number of elements as a product; of one number and the sizes of axes."""

    number: int
    symbols: Tuple[Symbol, ...] = ()

    @staticmethod
    def of(axis: Axis) -> Size:
        """The size of an axis."""
        numbers = [factor for factor in axis if isinstance(factor, int)]
        symbols = [factor for factor in axis if not isinstance(factor, int)]
        return Size(_product(numbers), tuple(sorted(symbols, key=repr)))

    def times(self, other: Size) -> Size:
        """The product of two."""
        return Size(self.number * other.number, tuple(sorted(self.symbols + other.symbols, key=repr)))

    @property
    def width(self) -> Optional[OwnWidth]:
        """The own width, where it is the number of columns of a padded batch and nothing else."""
        alone = self.symbols[0] if self.number == 1 and len(self.symbols) == 1 else None
        return alone if isinstance(alone, OwnWidth) else None


def _product(numbers: Iterable[int]) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product


def widths_in(axes: Iterable[Axis]) -> List[OwnWidth]:
    """The own widths among the factors of axes."""
    return [factor for axis in axes for factor in axis if isinstance(factor, OwnWidth)]


def has_lines(axes: Iterable[Axis]) -> bool:
    """Whether the batch is among the factors of axes."""
    return any(factor == LINES for axis in axes for factor in axis)


def is_of_batch(axis: Axis) -> bool:
    """Whether the columns or the lines are among the factors of an axis."""
    return has_lines([axis]) or bool(widths_in([axis]))


def broadcast(several: Sequence[Axes]) -> Optional[Axes]:
    """The axes of what is computed element by element; None where sizes may differ."""
    rank = max(len(axes) for axes in several)
    result: List[Axis] = []
    for number in range(-rank, 0):
        found = {axes[number] for axes in several if len(axes) >= -number and Size.of(axes[number]) != Size(1)}
        if len(found) > 1:
            return None
        result.append(found.pop() if found else (1,))
    return tuple(result)


def reshaped(axes: Axes, sizes: Sequence[Optional[Size]], fixed: Optional[int] = None) -> Optional[Axes]:
    """The axes after a reshape to `sizes`, of which one may be open (None); None where the elements do not line up.

    `fixed` is the width of the pictures where the graph takes no other.
    """
    left = [factor for axis in axes for factor in axis if factor != 1]
    openings = [number for number, size in enumerate(sizes) if size is None]
    if len(openings) > 1:
        return None
    end = openings[0] if openings else len(sizes)
    first: List[Axis] = []
    for size in sizes[:end]:
        axis = _taken(left, size, fixed)
        if axis is None:
            return None
        first.append(axis)
    if not openings:
        return None if left else tuple(first)
    rest: List[Axis] = []
    left.reverse()
    for size in reversed(sizes[end + 1 :]):
        axis = _taken(left, size, fixed)
        if axis is None:
            return None
        rest.append(axis[::-1])
    left.reverse()
    open_axis = _taken(left, Size.of(tuple(left)))
    return (*first, open_axis or (1,), *reversed(rest))


def _taken(left: List[Factor], size: Optional[Size], fixed: Optional[int] = None) -> Optional[Axis]:
    """Take factors off the front whose product is `size`; None where that is not possible."""
    if size is None or size.number < 1:
        return None
    number, symbols = size.number, list(size.symbols)
    axis: List[Factor] = []
    while number > 1 or symbols:
        factor = left.pop(0) if left else None
        if isinstance(factor, int) and number % factor == 0:
            number //= factor
        elif isinstance(factor, int) and factor % number == 0 and number > 1:
            left.insert(0, factor // number)
            factor, number = number, 1
        elif factor is not None and not isinstance(factor, int) and factor in symbols:
            symbols.remove(factor)
        elif fixed and isinstance(factor, OwnWidth) and factor.at(fixed) and number % factor.at(fixed) == 0:
            number //= factor.at(fixed)
        else:
            return None
        if axis and isinstance(factor, int) and isinstance(axis[-1], int):
            axis[-1] *= factor
        else:
            axis.append(factor)
    return tuple(axis) or (1,)
