"""The own width of a line in a padded batch: how many columns of a tensor are the line's, and how windows change that.

Windows as in TensorFlow's documentation of padding (tf.nn): SAME makes ceil(width / stride) columns of windows that are
padded on both sides, the odd column on the right; VALID makes the columns whose windows are complete.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Tuple

SAME, VALID = "SAME", "VALID"


@dataclass(frozen=True)
class OwnWidth:
    """max((width + added) // divided, 0) columns, for a line whose picture is `width` pixels wide.

    Every chain of windows has this form: floor((floor((w + a) / d) + b) / e) = floor((w + a + b * d) / (d * e)). So two
    tensors have equally many columns of each line where the two numbers are equal.
    """

    added: int = 0
    divided: int = 1

    def at(self, width: int) -> int:
        """The columns of a line whose picture has this width."""
        return max((width + self.added) // self.divided, 0)

    def then(self, added: int, divided: int = 1) -> OwnWidth:
        """max((columns + added) // divided, 0) of these columns."""
        return OwnWidth(self.added + added * self.divided, self.divided * divided)

    def among(self, multiple: int) -> OwnWidth:
        """The same for pictures whose widths are multiples of a number; equal where two are equal for all of those."""
        common = math.gcd(multiple, self.divided)
        return OwnWidth(self.added // common * common, self.divided)


@dataclass(frozen=True)
class Window:
    """The window of a convolution or pool along one axis."""

    size: int
    stride: int = 1
    dilation: int = 1
    padding: str = VALID
    explicit: Tuple[int, int] = (0, 0)  # columns before and after, added to what `padding` says

    @property
    def reach(self) -> int:
        """The columns from the first to the last that it looks at."""
        return (self.size - 1) * self.dilation + 1

    @property
    def sees_padding(self) -> bool:
        """Whether an own column may be computed from columns behind the line's end."""
        return self.reach > 1 and (self.padding == SAME or self.explicit[1] > 0)

    def after(self, width: OwnWidth) -> OwnWidth:
        """The own columns of what the window makes of `width` columns."""
        if self.padding == SAME:
            return width.then(self.stride - 1, self.stride)
        return width.then(sum(self.explicit) + self.stride - self.reach, self.stride)

    def before(self, columns: int) -> int:
        """The columns of padding before a line of so many columns."""
        if self.padding != SAME:
            return self.explicit[0]
        made = -(-columns // self.stride)
        return max((made - 1) * self.stride + self.reach - columns, 0) // 2

    def all_before(self, width: OwnWidth, multiple: int = 1) -> Tuple[int, ...]:
        """The paddings before lines that occur, for pictures whose widths are multiples of a number.

        With more than one, a line has its columns elsewhere in its own windows than in those of a wider batch.
        """
        # What follows has the period divided * stride in the width of the picture; lines without columns do not count.
        first = max(-width.added, 0) // multiple + width.divided
        widths = (multiple * (first + number) for number in range(width.divided * self.stride))
        return tuple(sorted({self.before(width.at(one)) for one in widths}))
