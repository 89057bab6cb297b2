"""TensorArrays and TensorLists, which have an item for each step of a loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, List

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import ENTERS, IDENTITIES, ITERATIONS, MERGES, SWITCHES
from ckpt2saved.rewrites.analyses.axes import Size, has_lines, is_of_batch
from ckpt2saved.rewrites.analyses.columns.registry import rule
from ckpt2saved.rewrites.analyses.columns.sizes import axes_of, value_of_numbers
from ckpt2saved.rewrites.analyses.columns.values import NotYet, Step, Unprovable, Value


@rule("TensorArrayV3", "TensorListReserve")
def _series(step: Step) -> List[Value]:
    sizes = step.inputs[1 if step.node.op == "TensorListReserve" else 0]
    axes = () if sizes.numbers is None else axes_of(sizes.numbers)
    if len(axes) != 1:
        return [Value(axes=static, is_of_sizes=sizes.is_of_sizes) for static in step.outputs]
    return [Value(series=axes[0]) for _ in step.outputs]


@rule("TensorArrayScatterV3")
def _scatter(step: Step) -> Value:
    return _as_series(step.inputs[2])


@rule("TensorListFromTensor")
def _list_of(step: Step) -> Value:
    return _as_series(step.inputs[0])


def _as_series(value: Value) -> Value:
    if not value.axes:
        raise Unprovable("the shape of its input is not known")
    if has_lines(value.axes[:1]) or (is_of_batch(value.axes[0]) and len(value.axes[0]) > 1):
        raise Unprovable("it takes the lines apart, or columns with something else")
    return Value(series=value.axes[0], axes=value.axes[1:])


@rule("TensorArrayReadV3", "TensorListGetItem")
def _read(step: Step) -> Value:
    series = step.inputs[2 if step.node.op == "TensorArrayReadV3" else 0]
    _check_counter(step, 1)
    if series.series is None:
        raise Unprovable("what it reads is not known")
    if series.axes is None:
        raise NotYet
    return Value(axes=series.axes)


@rule("TensorArrayWriteV3", "TensorListSetItem")
def _write(step: Step) -> Value:
    series = step.inputs[3 if step.node.op == "TensorArrayWriteV3" else 0]
    _check_counter(step, 1)
    if series.series is None:
        raise Unprovable("where it writes is not known")
    item = step.inputs[2]
    if series.axes is not None and series.axes != item.axes:
        raise Unprovable("it writes items of different shapes")
    if item.is_of_sizes:
        raise Unprovable("what it writes depends on the width of the batch")
    return replace(series, axes=item.axes)


@rule("TensorArrayGatherV3", "TensorListStack")
def _stack(step: Step) -> Value:
    series = step.inputs[2 if step.node.op == "TensorArrayGatherV3" else 0]
    if series.series is None:
        raise Unprovable("what it reads is not known")
    if series.axes is None:
        raise NotYet
    if step.node.op == "TensorArrayGatherV3" and not _is_whole_range(step.graph, step.node.inputs[1]):
        raise Unprovable("it does not read all items in order")
    return Value(axes=(series.series, *series.axes))


@rule("TensorArraySizeV3", "TensorListLength")
def _length(step: Step) -> Value:
    series = step.inputs[-1]
    if series.series is None:
        raise Unprovable("the number of items is not known")
    return value_of_numbers(step, (Size.of(series.series),))


def _is_whole_range(graph: Graph, ref: Ref) -> bool:
    source = graph[graph.root(ref)[0]]
    start = graph.constant(source.inputs[0]) if source.op == "Range" else None
    return start is not None and int(start) == 0


def _check_counter(step: Step, position: int) -> None:
    if not _is_counter(step.graph, step.node.inputs[position]):
        raise Unprovable("its items are not in the order of the steps")


def _is_counter(graph: Graph, ref: Ref) -> bool:
    """Whether a tensor is the number of a loop's iteration, from 0 on."""
    merge = _loop_variable(graph, ref)
    if merge is None:
        return False
    starts = [one for one in merge.inputs if graph[one[0]].op in ENTERS]
    nexts = [one for one in merge.inputs if graph[one[0]].op in ITERATIONS]
    if len(starts) != 1 or len(nexts) != 1:
        return False
    start = graph.constant(starts[0])
    added = graph[graph[nexts[0][0]].inputs[0][0]]
    while added.op in IDENTITIES:
        added = graph[added.inputs[0][0]]
    if start is None or start.ndim or int(start) != 0 or added.op not in ("Add", "AddV2"):
        return False
    one = graph.constant(added.inputs[1])
    return one is not None and int(one) == 1 and _loop_variable(graph, added.inputs[0]) is merge


def _loop_variable(graph: Graph, ref: Ref) -> Any:
    """The Merge that a tensor inside of a loop is the value of."""
    for _ in range(20):
        node = graph[ref[0]]
        if node.op in MERGES:
            return node
        if node.op not in IDENTITIES + SWITCHES:
            return None
        ref = node.inputs[0]
    return None
