"""Folding of a graph whose switches have known values: values that become constant, branches that never run."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Set

import numpy as np

from ckpt2saved.graph.graph import Graph, Node, constant_value
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import ITERATIONS, MERGES, PASSING, READS_VARIABLE, RESOURCE_VARIABLES, SELECTS, SWITCHES
from ckpt2saved.graph.probe import ELEMENTWISE
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import reach, settle

_DEEPEST = 100  # nodes back from a predicate in which a constant is looked for; usually a few
_COMPUTED = {
    name: ELEMENTWISE[name] for name in ELEMENTWISE if name not in ("Relu", "Sigmoid", "ZerosLike", "OnesLike")
}
# True for all variables that are served: they are restored before the first request.
_INITIALIZED = ("IsVariableInitialized", "VarIsInitializedOp")
_NOTHING_ADDED = ("Add", "AddV2", "Sub")


class Folding:
    """The known values and the dead branches of a graph in which the nodes of `pins` have fixed values."""

    def __init__(self, graph: Graph, within: Iterable[str], pins: Mapping[str, Any], noise: Set[str]) -> None:
        self._graph = graph
        self._pins = pins
        self._noise = noise
        self._values: Dict[Ref, Any] = {}
        self._dead: Set[Ref] = set()
        self._dead_nodes: Set[str] = set()
        self._followers: Dict[str, Set[str]] = {}
        within = list(within)
        for name in within:
            node = graph[name]
            for source in [source for source, _ in node.inputs] + node.controls:
                self._followers.setdefault(source, set()).add(name)
        self._switches = [name for name in within if graph[name].op in SWITCHES]
        self._find_dead()

    def _find_dead(self) -> None:
        undecided, decided = self._switches, self._switches
        while decided:
            decided = [name for name in undecided if self.value(self._graph[name].inputs[1]) is not None]
            undecided = [name for name in undecided if self.value(self._graph[name].inputs[1]) is None]
            for name in decided:
                taken = bool(self.value(self._graph[name].inputs[1]))
                self._dead.add((name, 0 if taken else 1))
                settle(self._followers.get(name, ()), self._spread)
            if decided:
                self._values.clear()  # a Merge may have got a value

    def _spread(self, name: str) -> Iterable[str]:
        """Mark a node that never runs as dead; returns the nodes that may be dead with it."""
        if name in self._dead_nodes or not self._dies(self._graph[name]):
            return ()
        self._dead_nodes.add(name)
        return self._followers.get(name, ())

    def _dies(self, node: Node) -> bool:
        if any(control in self._dead_nodes for control in node.controls):
            return True
        if node.op in MERGES:  # the values of later iterations come only where there is a first
            first = [ref for ref in node.inputs if self._graph[ref[0]].op not in ITERATIONS]
            return all(self.is_dead(ref) for ref in first)
        return any(self.is_dead(ref) for ref in node.inputs)

    def is_dead(self, ref: Ref) -> bool:
        """Whether a tensor never has a value."""
        return ref in self._dead or ref[0] in self._dead_nodes

    def alias(self, ref: Ref) -> Ref:
        """The tensor that a tensor equals, once the switches and selects behind it are decided."""
        for _ in range(1000):
            following = self._next_alias(ref)
            if following is None:
                return ref
            ref = following
        return ref

    def _next_alias(self, ref: Ref) -> Optional[Ref]:
        node = self._graph.nodes.get(ref[0])
        if node is None or node.name in self._pins:
            return None
        if node.op in SWITCHES and self.value(node.inputs[1]) is not None and not self.is_dead(ref):
            return node.inputs[0]
        if node.op in MERGES and ref[1] == 0:
            return self._only_living(node)
        if node.op in SELECTS:
            return self._chosen(node)
        if node.op in _NOTHING_ADDED and len(node.inputs) == 2:
            if self._is_no_noise(node.inputs[1]):
                return node.inputs[0]
            if node.op != "Sub" and self._is_no_noise(node.inputs[0]):
                return node.inputs[1]
        return None

    def _chosen(self, node: Node) -> Optional[Ref]:
        chosen = self.value(node.inputs[0])
        if chosen is None:
            return None
        taken, other = node.inputs[1:] if chosen else node.inputs[:0:-1]
        if node.op == "SelectV2" and self.value(taken) is not None and self.value(other) is None:
            return None  # a scalar that takes the other's shape: it has to stay
        return taken

    def _only_living(self, node: Node) -> Optional[Ref]:
        living = [ref for ref in node.inputs if not self.is_dead(ref)]
        if len(living) == 1 and len(node.inputs) > 1 and self._graph[living[0][0]].op not in ITERATIONS:
            return living[0]
        return None

    def _is_no_noise(self, ref: Ref) -> bool:
        """Whether a tensor is random numbers times zero."""
        if ref[0] not in self._noise:
            return False
        node = self._graph[self._graph.root(self.alias(ref))[0]]
        return node.op == "Mul" and any(
            self._is_zero(source) or (source[0] in self._noise and self._is_no_noise(source)) for source in node.inputs
        )

    def _is_zero(self, ref: Ref) -> bool:
        value = self.value(ref)
        return value is not None and not isinstance(value, bytes) and value == 0

    def value(self, ref: Ref, depth: int = 0) -> Any:
        """The number, bool or text that a scalar has for every request; None where that is not known."""
        if ref not in self._values:
            self._values[ref] = None  # a loop comes back here
            if depth < _DEEPEST:
                self._values[ref] = self._compute(ref, depth)
        return self._values[ref]

    def _compute(self, ref: Ref, depth: int) -> Any:
        node = self._graph.nodes.get(ref[0])
        if node is None or self.is_dead(ref):
            return None
        if node.name in self._pins:
            return self._pins[node.name]
        if node.op in PASSING or node.op == "Cast":
            value = self.value(node.inputs[0], depth + 1)
            return value if value is None or node.op != "Cast" else _cast(value, node.attr["DstT"].type)
        if node.op == "Const":
            return _scalar(node)
        if node.op in _INITIALIZED:
            return True
        if node.op in ("Squeeze", "Reshape", "ExpandDims"):
            return self.value(node.inputs[0], depth + 1)
        if node.op in MERGES:
            living = self._only_living(node)
            return self.value(living, depth + 1) if living is not None and ref[1] == 0 else None
        if node.op in SELECTS:
            chosen = self.value(node.inputs[0], depth + 1)
            return None if chosen is None else self.value(node.inputs[1 if chosen else 2], depth + 1)
        if node.op in _COMPUTED:
            return self._elementwise(node, depth)
        return None

    def _elementwise(self, node: Node, depth: int) -> Any:
        values = []
        for source in node.inputs:
            values.append(self.value(source, depth + 1))
            decides = {"LogicalAnd": False, "LogicalOr": True}.get(node.op)
            if decides is not None and values[-1] is not None and bool(values[-1]) == decides:
                return decides
            if values[-1] is None and decides is None:
                return None
        if any(value is None for value in values):
            return None
        if any(isinstance(value, bytes) for value in values):
            return {"Equal": values[0] == values[-1], "NotEqual": values[0] != values[-1]}.get(node.op)
        with np.errstate(all="ignore"):
            found = _COMPUTED[node.op](*[np.asarray(value) for value in values])
        return found.item() if hasattr(found, "item") else found

    def between(self, outputs: Iterable[Ref], inputs: Set[Ref], by_data: bool = False) -> Set[str]:
        """The nodes that outputs still depend on; `by_data`: without control inputs."""

        def following(name: str) -> Iterator[str]:
            node = self._graph[name]
            sources = [] if name in self._pins else [source for source in node.inputs if source not in inputs]
            if not by_data:
                sources += [(control, 0) for control in node.controls]
            for ref in map(self.alias, sources):
                if ref not in inputs:
                    yield ref[0]

        ends = [self.alias(ref) for ref in outputs if ref not in inputs]
        return reach([name for name, index in ends if (name, index) not in inputs], following)

    def apply(self, within: Iterable[str]) -> bool:
        """Edit the graph: pinned nodes become constants; decided switches, merges and selects are bypassed.

        Returns whether that changed the graph.
        """
        edited = False
        graph = self._graph
        within = list(within)
        aliases = {}
        for name in within:
            node = graph[name]
            for ref in node.inputs:
                aliases[ref] = self.alias(ref)
            if node.op in MERGES + SELECTS:
                aliases[(name, 0)] = self.alias((name, 0))
        decided_switches = {name for name in self._switches if self.value(graph[name].inputs[1]) is not None}
        indices = {
            name: [self.is_dead(ref) for ref in graph[name].inputs].index(False)
            for name in within
            if graph[name].op in MERGES and aliases[(name, 0)] != (name, 0)
        }
        for name in within:
            node = graph[name]
            inputs = [aliases[ref] for ref in node.inputs]
            controls = [graph[c].inputs[0][0] if c in decided_switches else c for c in node.controls]
            edited = edited or inputs != node.inputs or controls != node.controls
            node.inputs, node.controls = inputs, controls
        for name in within:
            node = graph[name]
            target = aliases.get((name, 0), (name, 0))
            if node.op in MERGES + SELECTS and target != (name, 0):
                if node.op in MERGES and any((name, 1) in user.inputs for user in graph.consumers(name)):
                    index = graph.add(name + "/value_index", "Const", (), [target[0]])
                    index.become_constant(indices[name], tf.int32.as_datatype_enum)
                    graph.redirect({(name, 1): (index.name, 0)})
                node.become("Identity", [target], T=node.attr["T"].type)
                edited = True
        for name, value in self._pins.items():
            if name in graph and graph[name].op not in RESOURCE_VARIABLES:
                node = graph[name]
                node.become_constant(value, node.attr["dtype"].type, _sizes(node))
        for node in list(graph.nodes.values()):
            variable = graph.variable((node.name, 0)) if node.op == READS_VARIABLE else None
            if variable is not None and variable in self._pins:
                value = self._pins[variable]
                node.become_constant(value, node.attr["dtype"].type)
        graph.changed()
        return edited or bool(self._pins)


def _sizes(node: Node) -> Any:
    sizes = [dim.size for dim in node.attr["shape"].shape.dim] if "shape" in node.attr else []
    return sizes if all(size > 0 for size in sizes) else []


def _scalar(node: Node) -> Any:
    value = constant_value(node)
    if value is None or value.size != 1 or value.dtype.kind not in "fiubO":
        return None
    return value.item()


def _cast(value: Any, dtype: int) -> Any:
    if isinstance(value, bytes):
        return value
    target = tf.as_dtype(dtype)
    return np.asarray(value).astype(float if target == tf.bfloat16 else target.as_numpy_dtype).item()
