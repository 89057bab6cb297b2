"""What the analysis of columns knows of tensors, and what has to be changed so that it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple, Union

import numpy as np

from ckpt2saved.errors.problem import Note
from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.rewrites.analyses.axes import LINES, Axes, Axis, Size, has_lines, widths_in
from ckpt2saved.rewrites.analyses.widths import OwnWidth, Window

ZEROS, LOWEST = "zeros", "lowest"  # what a window takes for the columns behind the end of a line


@dataclass(frozen=True)
class Given:
    """(steps + added) // divided of each line, where the request brings the steps, or the widths of pictures."""

    added: int = 0
    divided: int = 1

    def then(self, added: int, divided: int = 1) -> Given:
        """(numbers + added) // divided of these numbers."""
        own = OwnWidth(self.added, self.divided).then(added, divided)
        return Given(own.added, own.divided)


GIVEN = Given()
Steps = Union[OwnWidth, Given]


@dataclass(frozen=True)
class Value:
    """What is known of a tensor."""

    axes: Optional[Axes] = None  # None: the rank is not known; of a series, those of one item, None: of none yet
    numbers: Optional[Tuple[Size, ...]] = None  # of an integer vector or scalar that is made of sizes and constants
    is_of_sizes: bool = False  # whether it depends on how wide the batch is, or how many lines it has
    is_zero_behind: bool = False  # whether the columns behind the end of a line are 0
    is_positive: bool = False  # whether no number is less than 0
    may_be_infinite: bool = False  # whether it may be infinite or NaN behind the end of a line, as 0 / 0 is
    is_blank: bool = False  # whether all is 0
    steps: Optional[Steps] = None  # it is [batch], the own columns of each line
    at_least: Optional[Steps] = None  # it is a number that is no less than the own columns of any line
    series: Optional[Axis] = None  # it is a TensorArray or list with an item for each of these
    is_decoded: bool = False  # whether it is what a CTC decoder found
    lost_at: str = ""  # the node behind which an answer may depend on other lines

    @property
    def is_data(self) -> bool:
        """Whether it has something for each line."""
        if self.lost_at or self.is_decoded or self.series is not None or self.steps is not None:
            return True
        return self.axes is not None and (has_lines(self.axes) or bool(widths_in(self.axes)))

    @property
    def width(self) -> Optional[OwnWidth]:
        """The own width of its lines, where it has columns."""
        found = widths_in(self.axes or ())
        return found[0] if found else None

    def axis_of(self, symbol: Any) -> Optional[int]:
        """The axis that is the lines or the columns and nothing else."""
        places = [number for number, axis in enumerate(self.axes or ()) if axis == (symbol,)]
        return places[0] if places else None


class Unprovable(Exception):
    """An answer may depend on the other lines behind this op, and its axes are not known; says why."""


class NotYet(Exception):
    """What a loop writes is not known before its end was looked at."""


@dataclass(frozen=True)
class Filled:
    """An input of a window that must hold 0, or the lowest number, behind the end of each line."""

    node: str
    position: int
    fill: str
    width: OwnWidth
    lines: int  # the axes of the lines and of the columns
    columns: int
    rank: int
    may_be_infinite: bool  # whether 0 times what is there may be NaN


@dataclass(frozen=True)
class Shifted:
    """A strided window whose padding before a line depends on the line's width."""

    node: str
    fill: str
    width: OwnWidth
    columns: int  # its axis
    before: Tuple[int, ...]  # the paddings that occur
    windows: Tuple[Window, Window]  # along the height and the width


@dataclass(frozen=True)
class Averaged:
    """An average pool that must not count the columns behind the end of a line."""

    node: str
    width: OwnWidth
    columns: int  # its axis


@dataclass(frozen=True)
class Reversed:
    """A reversal of the columns that must start at the end of each line."""

    node: str
    width: OwnWidth
    lines: int
    columns: int


@dataclass(frozen=True)
class Counted:
    """A vector of the padded batch's width that must hold the own width of each line."""

    ref: Ref
    width: OwnWidth


Need = Union[Filled, Shifted, Averaged, Reversed, Counted]


@dataclass
class Columns:
    """What the analysis found."""

    values: Dict[Ref, Value] = field(default_factory=dict)
    needs: List[Need] = field(default_factory=list)
    losses: Dict[str, str] = field(default_factory=dict)  # node -> why an answer may depend on other lines behind it
    given: Set[OwnWidth] = field(default_factory=set)  # what the numbers must be that a request brings for each line
    steps: Set[OwnWidth] = field(default_factory=set)  # the columns that they stand for

    def notes(self, graph: Graph, outputs: Iterable[Ref]) -> Tuple[Note, ...]:
        """A note for each node by which one of the outputs may depend on other lines."""
        reasons: Dict[str, str] = {}
        for ref in outputs:
            value = self.values.get(ref)
            if value is None:
                reasons[ref[0]] = "what its loop writes is not known"
            elif value.lost_at:
                reasons[value.lost_at] = self.losses[value.lost_at]
            elif value.is_data and not value.is_decoded and value.axis_of(LINES) is None:
                reasons[ref[0]] = "its lines have no axis of their own"
        return tuple(Note("depends-on-batch", name, text, op=graph[name].op) for name, text in reasons.items())


@dataclass(frozen=True)
class Step:
    """A node with the values of its inputs, for the rules."""

    graph: Graph
    node: Node
    inputs: Sequence[Value]
    outputs: Sequence[Optional[Axes]]  # as far as TensorFlow's shape functions know them
    found: Columns
    multiple: int  # divides the widths of all pictures
    fixed: Optional[int]  # the width of all pictures, where the graph takes no other
    lost: List[str] = field(default_factory=list)  # why an answer may depend on other lines behind it

    @property
    def is_of_loop(self) -> bool:
        """Whether a Switch belongs to a loop and not to a condition."""
        return self.graph[self.graph.root(self.node.inputs[1])[0]].op == "LoopCond"

    @property
    def data(self) -> Value:
        """Its only input with something for each line; raises Unprovable where there are several."""
        found = [value for value in self.inputs if value.is_data]
        if len(found) != 1:
            raise Unprovable("it joins several tensors of the lines")
        return found[0]

    def constant(self, position: int) -> Any:
        """An input that is a constant; raises Unprovable where it is not."""
        numbers = self.inputs[position].numbers
        if numbers is not None and not any(size.symbols for size in numbers):
            return np.array([size.number for size in numbers])
        value = self.graph.constant(self.node.inputs[position])
        if value is None:
            raise Unprovable(f"its input {self.node.inputs[position][0]} is no constant")
        return value

    def is_true(self, name: str) -> bool:
        """Whether an attribute is true."""
        return name in self.node.attr and bool(self.node.attr[name].b)

    def lose(self, reason: str) -> None:
        """Say that an answer may depend on other lines behind this op, whose axes are known all the same."""
        self.lost.append(reason)

    def need(self, need: Need) -> None:
        """Say what has to be changed so that the value holds."""
        self.found.needs.append(need)

    def compare(self, steps: Steps, width: OwnWidth) -> bool:
        """Whether steps of lines are these columns; those of a request are said to be, or to be made of the widths."""
        if isinstance(steps, Given):
            needed = width if steps == GIVEN else OwnWidth()
            if steps != GIVEN and OwnWidth(steps.added, steps.divided).among(self.multiple) != width:
                return False
            self.found.given.add(needed)
            self.found.steps.add(width)
            return True
        return steps == width
