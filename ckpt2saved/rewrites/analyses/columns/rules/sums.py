"""Products with weights, and reductions."""

from __future__ import annotations

from ckpt2saved.graph.probe import reduction_axes
from ckpt2saved.rewrites.analyses.axes import is_of_batch, widths_in
from ckpt2saved.rewrites.analyses.columns.registry import rule
from ckpt2saved.rewrites.analyses.columns.values import Step, Unprovable, Value

_REDUCTIONS = ("Mean", "Sum", "Max", "Min", "Prod", "All", "Any", "EuclideanNorm")


@rule("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def _product_with_weights(step: Step) -> Value:
    one, other = step.inputs
    if other.is_data or other.is_of_sizes or one.axes is None:
        raise Unprovable("it multiplies columns with each other, as attention does")
    flipped = step.is_true("transpose_a") or step.is_true("adj_x")
    if flipped or is_of_batch(one.axes[-1]):
        raise Unprovable("it adds up columns or lines")
    if other.axes is None or len(other.axes) > 2:
        raise Unprovable("its weights are more than a matrix")
    static = step.outputs[0]
    last = other.axes[0 if step.is_true("transpose_b") or step.is_true("adj_y") else -1]
    last = static[-1] if static else last
    return Value(axes=(*one.axes[:-1], last), is_zero_behind=one.is_zero_behind)


@rule(*_REDUCTIONS, "ArgMax", "ArgMin")
def _reduction(step: Step) -> Value:
    value = step.data
    axes = value.axes
    reduced = reduction_axes(step.graph, step.node.name)
    if axes is None or reduced is None:
        raise Unprovable("which axes it reduces is not known")
    gone = {axis % len(axes) for axis in reduced} if axes else set()
    over = [axes[axis] for axis in gone if is_of_batch(axes[axis])]
    if value.steps is not None and step.node.op == "Max":
        return Value(axes=(), is_of_sizes=True, at_least=value.steps)
    if over and value.steps is not None:
        return Value(axes=(), is_of_sizes=True)
    if over and not (value.is_blank and step.node.op == "Sum"):
        step.lose("it reduces the columns of a padded batch" if widths_in(over) else "it mixes lines")
    keeps = step.is_true("keep_dims")
    left = [(1,) if place in gone else axis for place, axis in enumerate(axes) if keeps or place not in gone]
    return Value(
        axes=tuple(left),
        is_zero_behind=value.is_zero_behind and step.node.op != "All",
        is_positive=value.is_positive,
        is_blank=value.is_blank and step.node.op == "Sum",
    )
