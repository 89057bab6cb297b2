"""Loops of recurrent layers do without what has no effect: a second counter, and masks at each step.

tf.nn.dynamic_rnn keeps the state of a line that has ended, and writes zeros for it, with three Selects at each step of
an LSTM. The state of such a line has no effect on what is written for others, and zeros can be set for all steps at
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.graph.ops import EXITS
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import reach, walk
from ckpt2saved.rewrites.analyses.loop_states import State, is_by_row, is_counter, states_of
from ckpt2saved.rewrites.analyses.loops import (
    counts_from_0,
    entered,
    is_of_recurrent_layer,
    outer_loops,
    products_of,
    unchanged,
)
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.insertion import insert, lead_in
from ckpt2saved.rewrites.rewrite import Rewrite

_INTEGER = tf.int32.as_datatype_enum


@dataclass(frozen=True)
class LoopTrimmed(Edit):
    """A loop that does less at each step."""


class TrimLoops(Rewrite):
    """Removes from the loops of recurrent layers what has no effect on the answers.

    That is a counter that always equals another, the masks that keep the states of lines that have ended, where nothing
    takes the last states, and the mask of the outputs, which is applied to all steps behind the loop. Answers stay as
    they are to the last bit.
    """

    name = "trim loops"

    def __call__(self, graph: Graph, context: Context) -> Found:
        within = graph.between(context.outputs, context.inputs)
        edits = []
        for frame, nodes in outer_loops(graph, within).items():
            if is_of_recurrent_layer(graph, products_of(nodes)):
                removed = EditedLoop(graph, context, states_of(graph, [node.name for node in nodes])).trim()
                if removed:
                    text = f"{frame}: without {', '.join(removed)}"
                    edits.append(LoopTrimmed(frame, "recurrent", text, is_shown=False))
        return Found(tuple(edits))


@dataclass(frozen=True)
class _Mask:
    """What selects by whether a line has ended."""

    ended: str  # the GreaterEqual of the counter and the lengths
    lengths: Ref  # outside
    selects: Tuple[Node, ...]


class EditedLoop:
    """The loop of one recurrent layer, which is edited."""

    def __init__(self, graph: Graph, context: Context, states: Sequence[State]) -> None:
        self.graph = graph
        self.context = context
        self.states = states
        self.edited()

    def trim(self) -> List[str]:
        """Edit the loop; returns what was removed."""
        counters = [state for state in self.states if is_counter(self.graph, state)]
        removed = []
        if len(counters) > 1:
            self.join_counters(counters)
            removed.append("a second counter")
        for mask in self.masks(counters[:1]):
            if self.keep_no_states(mask):
                removed.append("masks of states")
            if self.mask_behind(mask, counters[0]):
                removed.append("masks of outputs")
        return removed

    def edited(self) -> None:
        """Find anew which nodes run."""
        self.graph.changed()
        self.within = self.graph.between(self.context.outputs, self.context.inputs)

    # Counters.

    def join_counters(self, counters: Sequence[State]) -> None:
        """Let the first counter take the place of the others, and compare it with the smaller of two bounds."""
        first, graph = counters[0], self.graph
        moved = {}
        for other in counters[1:]:
            moved[(other.merge.name, 0)] = (first.merge.name, 0)
            moved.update({other.inside: first.inside, other.last: first.last})
        graph.redirect(moved)
        self.edited()
        condition = graph[first.switch.inputs[1][0]]
        both = graph[unchanged(graph, condition.inputs[0])[0]]
        compared = [graph[unchanged(graph, ref)[0]] for ref in both.inputs] if both.op == "LogicalAnd" else []
        found = [entered(graph, one.inputs[1]) for one in compared if self.is_bound(one, first)]
        bounds = [enter for enter in found if enter is not None]
        if condition.op == "LoopCond" and len(bounds) == 2:
            ends = [enter.inputs[0] for enter in bounds]
            steps = graph.add(f"{both.name}/steps", "Minimum", ends, T=_INTEGER)
            compared[0].inputs[1] = lead_in(graph, (steps.name, 0), bounds[0], _INTEGER)
            condition.inputs = [(compared[0].name, 0)]
            self.edited()

    def is_bound(self, node: Node, counter: State) -> bool:
        """Whether a node compares a counter with the number of steps, and nothing else takes the answer."""
        takes = node.op == "Less" and unchanged(self.graph, node.inputs[0]) == (counter.merge.name, 0)
        return takes and len(self.users((node.name, 0))) == 1

    # Masks.

    def masks(self, counters: Sequence[State]) -> List[_Mask]:
        """What selects by whether the counter has reached the lengths of the lines."""
        found = []
        for counter in counters:
            users = [user for ref in self.same(counter.inside) for user in self.users(ref)]
            for node in dict.fromkeys(user for user in users if user.op == "GreaterEqual"):
                lengths = entered(self.graph, node.inputs[1])
                selects = self.users((node.name, 0))
                if unchanged(self.graph, node.inputs[0]) == counter.inside and lengths is not None:
                    if all(select.op == "Select" and select.inputs[0] == (node.name, 0) for select in selects):
                        found.append(_Mask(node.name, lengths.inputs[0], tuple(selects)))
        return found

    def keep_no_states(self, mask: _Mask) -> bool:
        """Let the states of lines that have ended change, if that has no effect; returns False otherwise."""
        kept = {}
        for state in self.states:
            select = self.graph[unchanged(self.graph, state.iteration.inputs[0])[0]]
            if select in mask.selects and unchanged(self.graph, select.inputs[1]) == state.inside:
                if len(self.users((select.name, 0))) == 1 and not self.users(state.last):
                    kept[select.name] = state
        if not kept or not self.is_hidden(mask, kept):
            return False
        for name, state in kept.items():
            state.iteration.inputs = [self.graph[name].inputs[2]]
        self.edited()
        return True

    def is_hidden(self, mask: _Mask, kept: Dict[str, State]) -> bool:
        """Whether states of lines that have ended have effects on nothing but themselves, and on what is masked.

        `kept` are the Selects that keep the states. A line that has ended stays so, as the counter only grows.
        """
        switches = {state.switch.name for state in kept.values()}

        def takers(name: str) -> List[Node]:
            users = self.users((name, 1)) if name in switches else self.takers(name)
            return [user for user in users if user not in mask.selects]

        starts = [ref[0] for state in kept.values() for ref in self.same(state.inside)]
        seen = reach(starts, lambda name: [user.name for user in takers(name)])
        if not all(is_by_row(self.graph, user, name) for name in seen for user in takers(name)):
            return False
        return all(select.inputs[1][0] not in seen for select in mask.selects if select.name not in kept)

    def mask_behind(self, mask: _Mask, counter: State) -> bool:
        """Mask the outputs of all steps behind the loop, if only they are masked; returns False otherwise."""
        graph, selects = self.graph, self.users((mask.ended, 0))
        writes = self.users((selects[0].name, 0)) if len(selects) == 1 else []
        if len(writes) != 1 or writes[0].op != "TensorArrayWriteV3" or not self.is_vector(mask.lengths):
            return False
        select, write = selects[0], writes[0]
        gathered = self.gathered(write, counter)
        zeros = entered(graph, select.inputs[1])
        if write.inputs[2] != (select.name, 0) or gathered is None or zeros is None or not self.is_zero(zeros):
            return False
        users, dtype = self.users((gathered.name, 0)), gathered.attr["dtype"].type
        sources = {
            "steps": ((gathered.name, 0), tf.as_dtype(dtype), None),
            "lengths": (mask.lengths, tf.int32, [None]),
        }
        write.inputs[2] = select.inputs[2]
        (masked,) = insert(graph, f"{gathered.name}/masked", sources, masked_steps)
        for user in users:
            user.inputs = [masked if ref == (gathered.name, 0) else ref for ref in user.inputs]
        self.edited()
        return True

    def gathered(self, write: Node, counter: State) -> Optional[Node]:
        """What takes all that a node writes, one entry at each step, from an array that nothing else reads."""
        graph = self.graph
        states = [state for state in self.states if unchanged(graph, state.iteration.inputs[0]) == (write.name, 0)]
        enter = entered(graph, write.inputs[0])
        if len(states) != 1 or enter is None or unchanged(graph, write.inputs[1]) != counter.inside:
            return None
        state = states[0]
        inside = {user.name for ref in self.same(state.inside) for user in self.users(ref) if user.op != "Identity"}
        ends = self.users(state.last)
        if inside != {write.name} or len(ends) != 1 or ends[0].op not in EXITS:
            return None
        takers = self.users((ends[0].name, 0))
        gathers = [taker for taker in takers if taker.op == "TensorArrayGatherV3"]
        if len(gathers) != 1 or any(taker.op not in ("TensorArrayGatherV3", "TensorArraySizeV3") for taker in takers):
            return None
        (gather,) = gathers
        if gather.inputs[0] != enter.inputs[0] or not counts_from_0(graph, gather.inputs[1]):
            return None
        return None if (gather.name, 0) in self.context.outputs else gather

    def is_zero(self, enter: Node) -> bool:
        """Whether an Enter leads zeros into the loop."""
        made = self.graph[unchanged(self.graph, enter.inputs[0])[0]]
        value = self.graph.constant(made.inputs[1] if made.op == "Fill" else (made.name, 0))
        return made.op == "ZerosLike" or (value is not None and not value.any())

    def is_vector(self, ref: Ref) -> bool:
        """Whether a tensor outside has one dimension."""
        if ref[0] not in self.context.original:
            return False
        return bool(self.context.imported.get_tensor_by_name(full_name(ref)).shape.ndims == 1)

    # Edges of the part that runs.

    def users(self, ref: Ref) -> List[Node]:
        """The nodes that take a tensor."""
        return [user for user in self.graph.users(ref) if user.name in self.within]

    def takers(self, name: str) -> List[Node]:
        """The nodes that take a tensor of a node."""
        return [user for user in self.graph.consumers(name) if user.name in self.within]

    def same(self, ref: Ref) -> List[Ref]:
        """A tensor, and what identities pass it on as."""

        def passed_on(one: Ref) -> List[Ref]:
            return [(user.name, 0) for user in self.users(one) if user.op == "Identity"]

        return list(walk([ref], passed_on))


def masked_steps(steps: Any, lengths: Any) -> Sequence[Any]:
    """Steps [time, batch, ...] with zeros where the line of that row has ended."""
    shape = tf.shape(steps)
    ended = tf.expand_dims(tf.range(shape[0]), 1) >= tf.expand_dims(lengths, 0)
    rows = tf.reshape(steps, tf.concat([[shape[0] * shape[1]], shape[2:]], 0))
    # Not a product with zeros: what is computed behind the end of a line need not be finite.
    kept = tf.raw_ops.Select(condition=tf.reshape(ended, [-1]), x=tf.zeros_like(rows), y=rows)
    return [tf.reshape(kept, shape)]
