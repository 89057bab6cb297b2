"""The lines of a padded batch are masked, so that each gets the answer that it gets alone.

Where a line is alone, an op puts something behind its end: a convolution 0. In a wider batch a mask puts the same
there. Masks stand directly before the windows that see behind the end of a line, and nowhere else: in between, what
stands there does not matter, and pools make tensors smaller before they are masked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ckpt2saved.errors.problem import Note
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref, full_name, parsed
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.axes import LINES, Axes, Axis, Unknown
from ckpt2saved.rewrites.analyses.columns.analysis import ColumnAnalysis
from ckpt2saved.rewrites.analyses.columns.values import (
    GIVEN,
    LOWEST,
    Averaged,
    Columns,
    Counted,
    Filled,
    Need,
    Reversed,
    Shifted,
    Value,
)
from ckpt2saved.rewrites.analyses.widths import SAME, OwnWidth
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.inline_functions import InlineFunctions
from ckpt2saved.rewrites.insertion import insert
from ckpt2saved.rewrites.rewrite import Rewrite, apply

# What a max pool takes for a column that is not there. Far from the lowest float32, so that weights do not overflow it.
_LOWEST = -1e30


@dataclass(frozen=True)
class PaddedBatch:
    """The tensors through which a graph gets pictures of several widths as one batch."""

    images: str  # float [batch, height, width, channels], of the widest picture
    widths: str  # int32 [batch], the width of each picture; a placeholder is added where the graph has no such node
    lengths: Tuple[str, ...] = ()  # placeholders [batch] of sequence lengths, which are computed instead
    width_axis: int = 2  # of the images
    multiple: int = 1  # a number that divides every width, as a step that pads the pictures says


@dataclass(frozen=True)
class Masked:
    """A graph whose lines do not depend on each other, as far as the notes do not say otherwise."""

    graph_def: Any
    steps: Optional[str]  # int32 [batch]: of the outputs' columns, those of each line; None: they have no columns
    edits: Tuple[Edit, ...]
    notes: Tuple[Note, ...]  # a note for each node by which an output may depend on other lines

    @property
    def is_proven(self) -> bool:
        """Whether no answer depends on the other lines."""
        return not self.notes


@dataclass(frozen=True)
class StepsFound(Edit):
    """The own columns of each line in the outputs."""

    tensor: str = ""


def mask_padding(graph_def: Any, batch: PaddedBatch, outputs: Sequence[str]) -> Masked:
    """The graph of some outputs with masks; `graph_def` stays as it is.

    A graph that takes pictures of one width alone needs no masks: what pads them is part of the picture, and all steps
    are those of each line. The names of tensors in `batch`, and of the outputs, stay as they are. Placeholders in
    `batch.lengths` become the steps that are computed from the widths. Raises NotServable where a tensor is missing.
    """
    widths = parsed(batch.widths)[0]
    if widths not in {node.name for node in graph_def.node}:
        graph_def = _with_placeholder(graph_def, widths)
    inputs = [batch.images, batch.widths, *batch.lengths]
    rewrites: Tuple[Rewrite, ...] = (InlineFunctions(), MaskPadding(batch))
    found = apply(rewrites, Context.of(graph_def, outputs, inputs), "the padding of lines can't be masked")
    steps = [edit.tensor for edit in found.edits_of(StepsFound)]
    return Masked(
        graph_def=found.graph.graph_def(parsed(name)[0] for name in [*outputs, *inputs, *steps]),
        steps=steps[0] if steps else None,
        edits=tuple(edit for edit in found.edits if not isinstance(edit, StepsFound)),
        notes=found.notes,
    )


def _with_placeholder(graph_def: Any, name: str) -> Any:
    copy = tf.GraphDef()
    copy.CopyFrom(graph_def)
    node = copy.node.add(name=name, op="Placeholder")
    node.attr["dtype"].type = tf.int32.as_datatype_enum
    node.attr["shape"].shape.CopyFrom(tf.TensorShape([None]).as_proto())
    return copy


class MaskPadding(Rewrite):
    """Masks what stands behind the ends of lines, where a window would see it."""

    name = "mask padding"

    def __init__(self, batch: PaddedBatch) -> None:
        self._batch = batch

    def __call__(self, graph: Graph, context: Context) -> Found:
        batch = self._batch
        images = parsed(batch.images)
        imported, fixed = _with_open_width(context, images, batch.width_axis)
        analysis = ColumnAnalysis(context.original, imported, batch.multiple, fixed)
        starts = {parsed(name): Value(axes=((LINES,),), steps=GIVEN) for name in batch.lengths}
        starts[images] = Value(axes=_picture_axes(analysis, images, batch.width_axis))
        found = analysis.follow(starts, context.outputs)
        masks = _Masks(graph, context.imported, parsed(batch.widths), fixed)
        steps, lengths, notes = _steps(found, context.outputs)
        if fixed is None:  # else the network has the padding that it was trained with
            notes += found.notes(graph, context.outputs)
            for need in found.needs:
                masks.meet(need)
        edits = masks.edits
        if lengths is not None:
            for name in batch.lengths:
                node = graph[parsed(name)[0]]
                types = {"SrcT": tf.int32.as_datatype_enum, "DstT": node.attr["dtype"].type}
                node.become("Cast", [masks.own(lengths)], **types)
                edits.append(Edit(node.name, "lengths", f"{node.name}: computed from the widths of the pictures"))
        if steps is not None:
            ref = masks.own(steps)
            edits.append(StepsFound(ref[0], "steps", "", is_shown=False, tensor=full_name(ref)))
        return Found(tuple(edits), notes=notes)


def _with_open_width(context: Context, images: Ref, axis: int) -> Tuple[Any, Optional[int]]:
    """TensorFlow's own graph for pictures of any width, and the only width that the graph takes, or None."""
    shape = context.imported.get_operation_by_name(images[0]).outputs[images[1]].shape
    fixed = None if shape.ndims is None else shape.as_list()[axis]
    if fixed is None or context.original[images[0]].op != "Placeholder":
        return context.imported, fixed
    opened = context.original.copy()
    opened[images[0]].attr["shape"].shape.dim[axis].size = -1
    return replace(context, original=opened).imported, fixed


def _picture_axes(analysis: ColumnAnalysis, images: Ref, width_axis: int) -> Axes:
    static = analysis.static(images)
    axes: List[Axis] = [(Unknown(images[0], axis),) for axis in range(4)] if static is None else list(static)
    axes[0], axes[width_axis] = (LINES,), (OwnWidth(),)
    return tuple(axes)


def _steps(found: Columns, outputs: Sequence[Ref]) -> Tuple[Optional[OwnWidth], Optional[OwnWidth], Tuple[Note, ...]]:
    """The own width of lines in the outputs, what the lengths of sequences must be, and a note if that is not clear."""
    widths = found.steps.union(filter(None, (found.values[ref].width for ref in outputs if ref in found.values)))
    if max(len(widths), len(found.given)) > 1:
        text = "the columns of its outputs and of its sequences are counted in several ways"
        return None, None, (Note("depends-on-batch", full_name(outputs[0]), text),)
    steps = next(iter(widths), None)
    return steps, next(iter(found.given), steps), ()


def _ceil(size: Any, divisor: int) -> Any:
    return (size + divisor - 1) // divisor


class _Masks:
    """Puts into a graph what the analysis needs."""

    def __init__(self, graph: Graph, imported: Any, widths: Ref, fixed: Optional[int]) -> None:
        self.edits: List[Edit] = []
        self._graph = graph
        self._imported = imported
        self._widths = widths
        self._fixed = fixed
        self._own: Dict[OwnWidth, Ref] = {}
        self._filled: Dict[Tuple[Ref, str], Ref] = {}

    def meet(self, need: Need) -> None:
        """Change the graph as one need says."""
        if isinstance(need, Filled):
            self._fill(need)
        elif isinstance(need, Shifted):
            self._shift(need)
        elif isinstance(need, Averaged):
            self._average(need)
        elif isinstance(need, Reversed):
            self._reverse(need)
        else:
            self._count(need)

    def own(self, width: OwnWidth) -> Ref:
        """The int32 [batch] tensor of an own width."""
        if width not in self._own:

            def build(widths: Any) -> Sequence[Any]:
                if self._fixed is not None:  # all columns are the line's, padding included
                    return [tf.fill(tf.shape(widths), width.at(self._fixed))]
                return [tf.maximum(tf.floordiv(widths + width.added, width.divided), 0)]

            name = f"own_width/{len(self._own)}"
            self._own[width] = insert(self._graph, name, {"widths": (self._widths, tf.int32, [None])}, build)[0]
        return self._own[width]

    def _tensor(self, ref: Ref) -> Tuple[Ref, Any, Any]:
        """A tensor with its dtype and shape, for `insert`."""
        tensor = self._imported.get_operation_by_name(ref[0]).outputs[ref[1]]
        return ref, tensor.dtype.base_dtype, tensor.shape

    def _original_input(self, name: str, position: int = 0) -> Ref:
        """An input in the graph as it was, of which the shape is known."""
        return parsed(self._imported.get_operation_by_name(name).inputs[position].name)

    def _fill(self, need: Filled) -> None:
        node = self._graph[need.node]
        ref = node.inputs[need.position]
        if (ref, need.fill) not in self._filled:
            _, dtype, shape = self._tensor(self._original_input(need.node, need.position))

            def build(x: Any, own: Any) -> Sequence[Any]:
                mask = tf.sequence_mask(own, tf.shape(x)[need.columns], dtype=dtype)
                if need.lines > need.columns:
                    mask = tf.transpose(mask)
                for axis in range(need.rank):
                    if axis not in (need.lines, need.columns):
                        mask = tf.expand_dims(mask, axis)
                if need.may_be_infinite:
                    x = tf.raw_ops.MulNoNan(x=x, y=mask)
                elif need.fill != LOWEST:
                    x = x * mask
                return [x + (1 - mask) * _LOWEST if need.fill == LOWEST else x]

            sources = {"x": (ref, dtype, shape), "own": (self.own(need.width), tf.int32, [None])}
            self._filled[(ref, need.fill)] = insert(self._graph, f"{node.name}/masked", sources, build)[0]
            what = "the lowest number" if need.fill == LOWEST else "0"
            self.edits.append(
                Edit(node.name, "mask", f"{node.name}: takes {what} for what is behind the end of a line")
            )
        node.inputs[need.position] = self._filled[(ref, need.fill)]

    def _average(self, need: Averaged) -> None:
        """Divide by the part of each window that is the line's; its input has been masked."""
        node = self._graph[need.node]
        definition = tf.NodeDef()
        definition.CopyFrom(node.definition)
        definition.name = self._graph.free_name(node.name + "/average")
        average = self._graph.adopt(definition, node.inputs, node.controls)
        ref, dtype, shape = self._tensor(self._original_input(need.node))
        axis = need.columns
        sizes, strides = [1] * 4, [1] * 4
        sizes[axis], strides[axis] = node.attr["ksize"].list.i[axis], node.attr["strides"].list.i[axis]

        def build(x: Any, own: Any) -> Sequence[Any]:
            mask = tf.sequence_mask(own, tf.shape(x)[axis], dtype=dtype)
            mask = tf.reshape(mask, [tf.shape(x)[0], *([1, -1, 1] if axis == 2 else [-1, 1, 1])])
            part = tf.nn.avg_pool(mask, ksize=sizes, strides=strides, padding="SAME")
            return [tf.maximum(part, 0.5 / sizes[axis])]  # more than 0 behind the end of a line, too

        sources = {"x": (node.inputs[0], dtype, shape), "own": (self.own(need.width), tf.int32, [None])}
        part = insert(self._graph, f"{node.name}/part", sources, build)[0]
        node.become("RealDiv", [(average.name, 0), part], T=node.attr["T"].type)
        self.edits.append(Edit(node.name, "average", f"{node.name}: the mean of a line's own columns"))

    def _shift(self, need: Shifted) -> None:
        """Put each line where it stands in its own windows, and let the op add no padding."""
        node = self._graph[need.node]
        ref = node.inputs[0]
        _, dtype, shape = self._tensor(self._original_input(need.node))
        other = 3 - need.columns
        window, across = need.windows[need.columns - 1], need.windows[other - 1]
        fill = _LOWEST if need.fill == LOWEST else 0

        def build(x: Any, own: Any) -> Sequence[Any]:
            height = shape[other].value if hasattr(shape[other], "value") else shape[other]
            height = tf.shape(x)[other] if height is None else height
            size = tf.shape(x)[need.columns]
            wanted = (_ceil(size, window.stride) - 1) * window.stride + window.reach
            missing = (_ceil(height, across.stride) - 1) * across.stride + across.reach - height
            missing = max(missing, 0) if isinstance(missing, int) else tf.maximum(missing, 0)
            above = (missing // 2, missing - missing // 2) if across.padding == SAME else across.explicit
            begins = (_ceil(own, window.stride) - 1) * window.stride + window.reach - own
            begins = tf.maximum(begins, 0) // 2
            result = None
            for before in need.before:
                paddings: List[Any] = [[0, 0]] * 4
                paddings[need.columns] = [before, tf.maximum(wanted - size - before, 0)]
                paddings[other] = list(above)
                shifted = tf.pad(x, paddings, constant_values=fill)
                sizes: List[Any] = [-1] * 4
                sizes[need.columns] = wanted
                shifted = tf.slice(shifted, [0] * 4, sizes)
                result = shifted if result is None else tf.where(tf.equal(begins, before), shifted, result)
            return [result]

        sources = {"x": (ref, dtype, shape), "own": (self.own(need.width), tf.int32, [None])}
        node.inputs[0] = insert(self._graph, f"{node.name}/shifted", sources, build)[0]
        node.attr["padding"].s = b"VALID"
        self.edits.append(Edit(node.name, "shift", f"{node.name}: each line begins where its own windows begin"))

    def _reverse(self, need: Reversed) -> None:
        node = self._graph[need.node]
        types = {"T": node.attr["T"].type, "Tlen": tf.int32.as_datatype_enum}
        node.become("ReverseSequence", [node.inputs[0], self.own(need.width)], **types)
        node.attr["seq_dim"].i = need.columns
        node.attr["batch_dim"].i = need.lines
        self.edits.append(Edit(node.name, "reverse", f"{node.name}: reverses each line from its own end"))

    def _count(self, need: Counted) -> None:
        ref, dtype, _ = self._tensor(need.ref)
        own = self.own(need.width)
        if dtype != tf.int32:
            sources = {"own": (own, tf.int32, [None])}
            own = insert(self._graph, ref[0] + "/own", sources, lambda own: [tf.cast(own, dtype)])[0]
        self._graph.redirect({need.ref: own})
        self.edits.append(Edit(ref[0], "lengths", f"{ref[0]}: the width of the batch is replaced by that of each line"))
