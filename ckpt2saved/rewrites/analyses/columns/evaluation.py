"""The value of a node's outputs, by the rule of its op."""

from __future__ import annotations

from dataclasses import replace
from typing import List, Union

from ckpt2saved.graph.ops import SIZES
from ckpt2saved.rewrites.analyses.columns.kinds import MADE_OF_SIZES, QUOTIENTS, UNBOUNDED
from ckpt2saved.rewrites.analyses.columns.rules import RULES
from ckpt2saved.rewrites.analyses.columns.sizes import sizes_of, without_lines
from ckpt2saved.rewrites.analyses.columns.values import Filled, Step, Unprovable, Value


def evaluate(step: Step) -> Union[Value, List[Value]]:
    """The value of a node's outputs, one for all where they are alike; raises Unprovable with the reason."""
    op, inputs = step.node.op, step.inputs
    if op in SIZES:
        return sizes_of(step)
    if any(value.is_decoded for value in inputs):
        return _lost(step, Value(is_decoded=True))
    rule = RULES.get(op)
    try:
        if op not in MADE_OF_SIZES and not any(value.is_data for value in inputs):
            return without_lines(step)
        if rule is None:
            raise Unprovable("the width of lines is not followed through this op")
        return _lost(step, _marked(step, rule(step)))
    except Unprovable:
        lost = _lost(step, Value())  # one reason is enough: that of the op before
        if lost == Value():
            raise
        return lost


def _lost(step: Step, found: Union[Value, List[Value]]) -> Union[Value, List[Value]]:
    """The values, with the node behind which an answer may depend on other lines."""
    places = [value.lost_at for value in step.inputs if value.lost_at]
    if not places and not step.lost:
        return found
    place = places[0] if places else step.node.name
    if places:
        del step.lost[:]
    if isinstance(found, list):
        return [replace(value, lost_at=place) for value in found]
    return replace(found, lost_at=place)


def _marked(step: Step, found: Union[Value, List[Value]]) -> Union[Value, List[Value]]:
    """The values, with what may be infinite in them."""
    # Of a quotient the divisor counts: that of a norm's root is made of weights.
    divisors = step.inputs[1:] if step.node.op in QUOTIENTS else step.inputs if step.node.op in UNBOUNDED else []
    is_masked = any(isinstance(need, Filled) and need.node == step.node.name for need in step.found.needs)
    came = any(value.may_be_infinite for value in step.inputs) and not is_masked
    if not came and not any(value.is_data for value in divisors):
        return found
    # 0 times what is not a number is no number either.
    if isinstance(found, list):
        return [replace(value, may_be_infinite=True, is_zero_behind=False) for value in found]
    return replace(found, may_be_infinite=True, is_zero_behind=False)
