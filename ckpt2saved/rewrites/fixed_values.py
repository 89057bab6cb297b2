"""Tensors that are the same for every request, since they are computed from variables and constants alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set, Tuple

from ckpt2saved.checkpoint.derived import Derived
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import (
    ASSIGNS_VALUE,
    IDENTITIES,
    READS_VARIABLE,
    REFERENCE_VARIABLES,
    VARIABLES,
)
from ckpt2saved.rewrites.found import Edit

READS = (*IDENTITIES, READS_VARIABLE)
STORING = (*ASSIGNS_VALUE, "SaveV2")  # how a SavedModel is restored and saved
# Ops that compute no new numbers, and copy nothing.
VIEWS = ("Reshape", "Squeeze", "ExpandDims")
# Deterministic ops without state, of which the computation may consist.
FIXED = (
    *(*READS, *VARIABLES, *VIEWS, "Const", "Cast", "Fill", "Pack", "Unpack", "ZerosLike", "OnesLike", "Shape", "Size"),
    *("Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Div", "DivNoNan", "Neg", "Abs", "Exp", "Log", "Pow", "Tanh"),
    *("Rsqrt", "Sqrt", "Square", "SquaredDifference", "Reciprocal", "Maximum", "Minimum", "Softplus", "Sigmoid"),
    *("Transpose", "ReverseV2", "Concat", "ConcatV2", "Split", "SplitV", "Slice", "StridedSlice", "Tile", "Pad"),
    *("MatMul", "Sum", "Mean", "Prod", "Max", "Min", "Range", "Select", "SelectV2", "GatherV2", "Greater", "Less"),
)


@dataclass(frozen=True)
class ValuesStored(Edit):
    """An edit after which other values are stored for variables, some of which may be new."""

    values: Mapping[str, Derived] = field(default_factory=dict)


def behind_all(graph: Graph, refs: Iterable[Ref]) -> Set[str]:
    """The nodes that some tensors are computed from."""
    return graph.between(refs, set())


def is_fixed(graph: Graph, ref: Ref) -> bool:
    """Whether a tensor is computed from variables and constants alone, in a way that can be computed at export."""
    return all(graph[name].op in FIXED and not graph[name].controls for name in behind_all(graph, [ref]))


def only_stored(graph: Graph, name: str) -> bool:
    """Whether a node reads a variable only to save it."""
    users = graph.consumers(name)
    return graph[name].op in READS and bool(users) and all(user.op in STORING for user in users)


def variable_shape(graph: Graph, name: str) -> List[int]:
    """The static shape of a variable's node."""
    return [dim.size for dim in graph[name].attr["shape"].shape.dim]


def with_placeholders(graph: Graph, refs: Sequence[Ref]) -> Tuple[Any, Dict[str, str]]:
    """The GraphDef of some fixed tensors with a placeholder for each read of a variable, and the variable of each."""
    part = Graph(graph.graph_def([name for name, _ in refs]))
    variables: Dict[str, str] = {}
    for node in list(part.nodes.values()):
        variable = part.variable((node.name, 0)) if node.op == READS_VARIABLE else node.name
        if node.op in (READS_VARIABLE, *REFERENCE_VARIABLES):
            assert variable is not None
            shape, dtype = graph[variable].attr["shape"].shape, graph[variable].attr["dtype"].type
            variables[node.name] = variable
            node.become("Placeholder", (), dtype=dtype)
            node.attr["shape"].shape.CopyFrom(shape)
    return part.graph_def([name for name, _ in refs]), variables
