"""What is computed from variables alone is computed at export, and its result is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterable, List, Optional, Sequence, Set

from ckpt2saved.checkpoint.derived import Derived
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.graph.ops import VARIABLES
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import reach
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.fixed_values import (
    FIXED,
    READS,
    STORING,
    VIEWS,
    ValuesStored,
    behind_all,
    variable_shape,
    with_placeholders,
)
from ckpt2saved.rewrites.found import Found
from ckpt2saved.rewrites.rewrite import Rewrite

# Fewer numbers are computed in microseconds: scale and shift of a batch norm, for example.
_FEWEST = 4096
_SLACK = 1 << 16  # bytes by which the stored values may grow
# A part of a variable along its first axis shares its memory; such parts alone are no reason to store other variables.
_WITHOUT_COST = (*READS, *VARIABLES, *VIEWS, "Const", "Slice", "StridedSlice", "Split", "SplitV")


@dataclass(frozen=True)
class ComputedOnce(ValuesStored):
    """Tensors that are no longer computed for each request."""


@dataclass(frozen=True)
class _End:
    """A fixed tensor that is used by nodes that are not, or that is an output."""

    ref: Ref
    variables: FrozenSet[str]  # that it is computed from
    ops: FrozenSet[str]
    is_output: bool

    @property
    def is_value(self) -> bool:
        """Whether it is the value of a variable as it is."""
        return self.ops <= {*READS, *VARIABLES}

    @property
    def has_cost(self) -> bool:
        """Whether something is computed, or copied."""
        return not self.ops <= set(_WITHOUT_COST)


class ComputeOnce(Rewrite):
    """Stores the results of computations on variables, in place of these variables.

    TensorFlow computes what depends on constants alone once, when a server loads a graph. A variable is no constant to
    it, so that transposed, normalized or concatenated variables are computed again for each request: the weights that
    are cut out of the buffer of cuDNN, for example. Nothing changes where the stored values would take more space than
    before, as where a variable is also used as it is.
    """

    name = "compute once"

    def __call__(self, graph: Graph, context: Context) -> Found:
        ends = _ends(graph, context)
        edits = []
        for group in _groups(ends):
            edit = _stored(graph, group)
            if edit:
                edits.append(edit)
        return Found(tuple(edits))


def _ends(graph: Graph, context: Context) -> List[_End]:
    """The fixed tensors that are computed from variables, and where they end."""
    within = graph.between(context.outputs, context.inputs)
    fed = [name for name, _ in context.inputs]
    others = reach(
        [*fed, *(name for name in within if graph[name].op not in FIXED or graph[name].controls)],
        lambda name: [user.name for user in graph.consumers(name)],
    )
    used = {ref for name in within & others if graph[name].op not in STORING for ref in graph[name].inputs}
    outputs = set(context.outputs)
    found = []
    for ref in sorted(used | outputs):
        if ref[0] in within and ref[0] not in others:
            behind = behind_all(graph, [ref])
            variables = frozenset(name for name in behind if graph[name].op in VARIABLES)
            if variables:
                found.append(_End(ref, variables, frozenset(graph[name].op for name in behind), ref in outputs))
    return found


def _groups(ends: Iterable[_End]) -> List[List[_End]]:
    """The ends, those together that are computed from a common variable."""
    groups: List[List[_End]] = []
    for end in ends:
        joined = [group for group in groups if any(one.variables & end.variables for one in group)]
        groups = [group for group in groups if group not in joined]
        groups.append([one for group in joined for one in group] + [end])
    return groups


def _stored(graph: Graph, group: Sequence[_End]) -> Optional[ComputedOnce]:
    """Store the ends of a group as variables, where that saves time and takes no more space."""
    kept: Set[str] = set().union(*[end.variables for end in group if end.is_value or end.is_output])
    computed = [end for end in group if not end.is_value and not end.is_output]
    sizes = {name: _elements(variable_shape(graph, name)) for end in computed for name in end.variables}
    if not any(end.has_cost and sum(sizes[name] for name in end.variables) >= _FEWEST for end in computed):
        return None
    refs = [end.ref for end in computed]
    graph_def, variables = with_placeholders(graph, refs)
    with tf.Graph().as_default() as built:
        tf.import_graph_def(graph_def, name="")
        tensors = [built.get_tensor_by_name(full_name(ref)) for ref in refs]
    if any(not tensor.shape.is_fully_defined() or not tensor.dtype.is_floating for tensor in tensors):
        return None
    freed = sum(
        size * tf.as_dtype(graph[name].attr["dtype"].type).size for name, size in sizes.items() if name not in kept
    )
    if sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in tensors) > freed + _SLACK:
        return None
    values: Dict[str, Derived] = {}
    moved: Dict[Ref, Ref] = {}
    for ref, tensor in zip(refs, tensors):
        name = graph.free_name(f"{ref[0]}/computed")
        variable = graph.add(name, "VariableV2", [], dtype=tensor.dtype.as_datatype_enum)
        variable.attr["shape"].shape.CopyFrom(tensor.shape.as_proto())
        moved[ref] = graph.add_read(f"{name}/read", name)
        values[name] = Derived(graph_def, full_name(ref), variables)
    graph.redirect(moved)
    text = f"{', '.join(sorted(sizes))}: {len(values)} tensors that are computed from them are stored instead"
    return ComputedOnce(min(values), "compute once", text, is_shown=False, values=values)


def _elements(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= max(size, 0)
    return count
