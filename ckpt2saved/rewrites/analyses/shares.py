"""Batches that a training splits between several towers, while the outputs use only some of the towers."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref, full_name, parsed
from ckpt2saved.graph.ops import READS_VARIABLE, REFERENCE_VARIABLES
from ckpt2saved.graph.tf1 import open_session, tf
from ckpt2saved.signature.tensors import TensorSpec

_POINTWISE = ("Identity", "Cast", "Sub", "Add", "AddV2", "Mul", "RealDiv", "StopGradient")  # lines stay where they are
_SPLITS, _SLICES = ("Split", "SplitV", "Unpack"), ("Slice", "StridedSlice")
_CONSTANT = ("Const", READS_VARIABLE) + REFERENCE_VARIABLES
_SIZE = 12  # in place of an unknown size, to compute bounds; divisible by many numbers

_Bounds = Tuple[Optional[int], Optional[int], Optional[int]]  # begin, end and step


def problems_of_shares(
    graph: Graph,
    outputs: Iterable[Ref],
    places: Mapping[Ref, Ref],
    specs: Mapping[str, TensorSpec],
    training: Optional[Graph],
) -> List[Problem]:
    """A problem for each node that gives the outputs a part of an input's batch, while other towers get the rest.

    `places` are the tensors of `graph` that replace inputs, `specs` the inputs by tensor name. The other slices of a
    batch are only in `training`, the whole graph of the training. Slices along another dimension are views of the same
    lines.
    """
    batches = {name: spec for name, spec in specs.items() if _has_batch_first(spec, specs.values())}
    reached = graph.between(outputs, set())
    nodes = [graph[name] for name in graph.nodes if name in reached]
    taken = {ref for node in nodes for ref in node.inputs}.union(outputs)
    takers = _Takers(graph, {places[parsed(name)]: name for name in batches})
    problems = [problem for node in nodes if node.op in _SPLITS for problem in takers.unused_shares(node, taken)]
    slices: Dict[str, List[str]] = {}
    for node in nodes:
        tensor = takers.source(node.inputs[0]) if node.op in _SLICES else None
        if tensor is not None:
            slices.setdefault(tensor, []).append(node.name)
    if slices and training is not None:
        whole = _Takers(training, {parsed(name): name for name in batches})
        for tensor, names in slices.items():
            problems += whole.unused_slices(names, tensor, batches[tensor])
    return problems


def _has_batch_first(spec: TensorSpec, others: Iterable[TensorSpec]) -> bool:
    """Whether the first dimension is the batch, as far as shapes show; not for sizes or time steps first."""
    if not spec.shape or "batch" in spec.shape[1:]:
        return False
    if isinstance(spec.shape[0], int):
        return len(spec.shape) > 1
    return spec.shape[0] == "batch" or not any("batch" in (other.shape or ()) for other in others)


class _Takers:
    """The nodes that take lines out of batches; `batches` maps the tensor of a batch to the input's name."""

    def __init__(self, graph: Graph, batches: Mapping[Ref, str]) -> None:
        self._graph = graph
        self._batches = batches

    def source(self, ref: Ref) -> Optional[str]:
        """The input from which a tensor is computed line by line, in the same order; None where there is none."""
        while ref not in self._batches:
            node = self._graph.nodes.get(ref[0])
            varying = [one for one in node.inputs if not self._is_constant(one)] if node else []
            if node is None or node.op not in _POINTWISE or len(varying) != 1:
                return None
            ref = varying[0]
        return self._batches[ref]

    def _is_constant(self, ref: Ref) -> bool:
        node = self._graph.nodes.get(ref[0])
        while node is not None and node.op == "Identity":
            node = self._graph.nodes.get(node.inputs[0][0])
        return node is not None and node.op in _CONSTANT

    def unused_shares(self, node: Node, taken: Set[Ref]) -> List[Problem]:
        """The problem of a node with an output for each tower, where not all of them are taken."""
        count = node.attr["num" if node.op == "Unpack" else "num_split"].i
        tensor = self.source(node.inputs[1 if node.op == "Split" else 0])
        shares = [(node.name, number) for number in range(count)]
        if count < 2 or tensor is None or set(shares) <= taken or not self._is_of_lines(node):
            return []
        return [_problem(node, tensor, count, [share for share in shares if share in taken])]

    def _is_of_lines(self, node: Node) -> bool:
        """Whether a node splits along the first dimension."""
        if node.op == "Unpack":
            return _number(node, "axis") == 0
        axis = self._graph.constant(node.inputs[0 if node.op == "Split" else 2])
        return axis is not None and int(axis) == 0

    def unused_slices(self, used: Sequence[str], tensor: str, spec: TensorSpec) -> List[Problem]:
        """The problem of the slices `used`, on which outputs depend, where other slices take other lines."""
        found = [n for n in self._graph.nodes.values() if n.op in _SLICES and self.source(n.inputs[0]) == tensor]
        rows = self._rows(found, tensor, spec)
        if not all(name in rows for name in used):
            return []
        answered: Set[int] = set().union(*(rows[name] for name in used))
        others = [name for name in rows if rows[name] and not rows[name] & answered]
        if not answered or not others:
            return []
        towers = len({rows[name] for name in others}) + len({rows[name] for name in used})
        return [_problem(self._graph[used[0]], tensor, towers, [(name, 0) for name in used])]

    def _rows(self, nodes: Sequence[Node], tensor: str, spec: TensorSpec) -> Dict[str, FrozenSet[int]]:
        """The lines that each slice takes out of a batch; without slices whose bounds are not known."""
        bounds = {node.name: self._bounds(node, tensor, spec) for node in nodes}
        known = {name: found for name, found in bounds.items() if found is not None}
        ends = [end for _, end, _ in known.values() if end is not None and 0 <= end < 1 << 30]
        batch = spec.dimensions[0]
        size = batch if isinstance(batch, int) else max([_SIZE, *ends])
        return {name: frozenset(range(size)[slice(*found)]) for name, found in known.items()}

    def _bounds(self, node: Node, tensor: str, spec: TensorSpec) -> Optional[_Bounds]:
        """The bounds of the lines that a slice takes, computed for a batch of zeros; None where that can't be done."""
        names = [full_name(ref) for ref in node.inputs[1:4]]
        part = self._graph.graph_def(name for name, _ in node.inputs[1:4])
        try:
            with tf.Graph().as_default() as graph, open_session() as session:
                tf.import_graph_def(part, name="")
                placeholders = [op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder"]
                feeds = {one: _zeros(one, one.shape.as_list()) for one in placeholders}
                if parsed(tensor)[0] in {one.name for one in part.node}:
                    fed = graph.get_tensor_by_name(tensor)
                    feeds[fed] = _zeros(fed, spec.dimensions)
                begin, *more = [value.ravel().tolist() for value in session.run(names, feeds)]
        except (ValueError, KeyError, TypeError, tf.errors.OpError):
            return None
        return _as_slice(node, begin, *more) if begin else None


def _as_slice(node: Node, begin: Sequence[int], end: Sequence[int], steps: Sequence[int] = ()) -> Optional[_Bounds]:
    """Begin, end (of a Slice: size) and steps of a node's first dimension as those of a Python slice."""
    if node.op == "Slice":
        return begin[0], None if end[0] == -1 else begin[0] + end[0], 1
    if _number(node, "new_axis_mask") & 1:
        return None
    if _number(node, "ellipsis_mask") & 1:
        return None, None, 1
    if _number(node, "shrink_axis_mask") & 1:
        return begin[0], begin[0] + 1 if begin[0] != -1 else None, 1
    first = None if _number(node, "begin_mask") & 1 else begin[0]
    return first, None if _number(node, "end_mask") & 1 else end[0], steps[0]


def _number(node: Node, attribute: str) -> int:
    return int(node.attr[attribute].i) if attribute in node.attr else 0  # the default, which may be stripped


def _zeros(tensor: tf.Tensor, sizes: Iterable[Any]) -> np.ndarray:
    return np.zeros([size if isinstance(size, int) else _SIZE for size in sizes], tensor.dtype.as_numpy_dtype)


def _problem(node: Node, tensor: str, towers: int, used: Sequence[Ref]) -> Problem:
    found = (
        f"it splits the batch of {tensor} between {towers} towers, and the outputs use {len(used)} of them, which"
        " would answer only a part of each request"
    )
    remedy = f"make {' or '.join(full_name(ref) for ref in used)} the input instead"
    return Problem("part-of-the-batch", node.name, found, remedy, op=node.op)
