"""A graph that is being edited: nodes with parsed inputs, who consumes whom, what is on the way to the answers."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from ckpt2saved.graph.control_flow import ControlFlow, Step, frame_of
from ckpt2saved.graph.graph_def import take_functions
from ckpt2saved.graph.names import Ref, parsed, written
from ckpt2saved.graph.ops import MERGES, PASSING, PLACEHOLDERS, SIZES, SWITCHES, VARIABLES, is_random
from ckpt2saved.tf1 import tf


class Node:
    """A NodeDef whose inputs are parsed; `write_to` puts them back."""

    __slots__ = ("controls", "definition", "inputs")

    def __init__(self, definition: Any) -> None:
        self.definition = definition
        self.inputs: List[Ref] = []
        self.controls: List[str] = []
        for name in definition.input:
            if name[:1] == "^":
                self.controls.append(name[1:])
            else:
                self.inputs.append(parsed(name))

    @property
    def name(self) -> str:
        return str(self.definition.name)

    @property
    def op(self) -> str:
        return str(self.definition.op)

    @property
    def attr(self) -> Any:
        return self.definition.attr

    def dtype(self) -> int:
        """The type of what it computes, as NodeDefs number types; 0 where no single attribute says so."""
        for key in ("DstT", "T", "dtype", "output_type"):
            if key in self.attr:
                return int(self.attr[key].type)
        return 0

    def become(self, op: str, inputs: Sequence[Ref], **types: int) -> None:
        """Turn into a node of another op under the same name; it keeps its control inputs."""
        self.definition.op = op
        self.inputs = list(inputs)
        for key in list(self.attr):
            del self.attr[key]
        for key, value in types.items():
            self.attr[key].type = value

    def become_constant(self, value: Any, dtype: int, shape: Sequence[int] = ()) -> None:
        """Turn into a constant under the same name."""
        self.become("Const", (), dtype=dtype)
        self.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.as_dtype(dtype), list(shape)))


class Graph:
    """A copy of a GraphDef by node name, in the order of the original."""

    def __init__(self, graph_def: Any) -> None:
        self._definition = tf.GraphDef()
        self._definition.CopyFrom(graph_def)
        self.nodes: Dict[str, Node] = {node.name: Node(node) for node in self._definition.node}
        self.library = self._definition.library
        self._consumers: Optional[Dict[str, List[Node]]] = None

    def copy(self) -> Graph:
        """Another Graph with the same nodes and functions."""
        copy = Graph(self._definition)
        for name, node in self.nodes.items():
            copy.nodes[name].inputs = list(node.inputs)
            copy.nodes[name].controls = list(node.controls)
        return copy

    def __contains__(self, name: str) -> bool:
        return name in self.nodes

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def add(self, name: str, op: str, inputs: Sequence[Ref], controls: Sequence[str] = (), **types: int) -> Node:
        """A new node, called `name` or something like it."""
        definition = self._definition.node.add(name=self.free_name(name), op=op)
        node = Node(definition)
        node.inputs, node.controls = list(inputs), list(controls)
        for key, value in types.items():
            definition.attr[key].type = value
        self.nodes[definition.name] = node
        self.changed()
        return node

    def adopt(self, definition: Any, inputs: Sequence[Ref], controls: Sequence[str]) -> Node:
        """A new node made as `definition` is, under the name that it has."""
        copy = self._definition.node.add()
        copy.CopyFrom(definition)
        del copy.input[:]
        node = Node(copy)
        node.inputs, node.controls = list(inputs), list(controls)
        self.nodes[copy.name] = node
        self.changed()
        return node

    def free_name(self, name: str) -> str:
        """`name`, or that with the first number that nobody has."""
        found, number = name, 0
        while found in self.nodes:
            number += 1
            found = f"{name}_{number}"
        return found

    def changed(self) -> None:
        """Say that inputs were changed: who consumes whom is found anew."""
        self._consumers = None

    def consumers(self, name: str) -> List[Node]:
        """The nodes that take a tensor of this one."""
        if self._consumers is None:
            self._consumers = {}
            for node in self.nodes.values():
                for source in {source for source, _ in node.inputs}:
                    self._consumers.setdefault(source, []).append(node)
        return self._consumers.get(name, [])

    def users(self, ref: Ref) -> List[Node]:
        """The nodes that take this very tensor."""
        return [node for node in self.consumers(ref[0]) if ref in node.inputs]

    def redirect(self, tensors: Mapping[Ref, Ref]) -> None:
        """Let everybody who takes a tensor in `tensors` take what stands for it, but that itself."""
        for node in self.nodes.values():
            for position, source in enumerate(node.inputs):
                for _ in range(len(tensors)):  # what stands for a tensor may have been replaced too
                    if source not in tensors or tensors[source][0] == node.name:
                        break
                    source = tensors[source]
                node.inputs[position] = source
        self.changed()

    def on_the_way(self, outputs: Iterable[Ref], inputs: Set[Ref]) -> Set[str]:
        """The nodes that `outputs` depend on, by data or by control, without what is only behind `inputs`."""
        reached: Set[str] = set()
        ahead = [name for name, index in outputs if (name, index) not in inputs]
        while ahead:
            name = ahead.pop()
            if name in reached or name not in self.nodes:
                continue
            reached.add(name)
            node = self.nodes[name]
            ahead.extend(source[0] for source in node.inputs if source not in inputs)
            ahead.extend(node.controls)
        return reached

    def graph_def(self, wanted: Iterable[str]) -> Any:
        """What the nodes called `wanted` need, all that is behind them included."""
        kept = self.on_the_way([(name, 0) for name in wanted], set())
        result = tf.GraphDef(versions=self._definition.versions)
        for name, node in self.nodes.items():
            if name in kept:
                definition = result.node.add()
                definition.CopyFrom(node.definition)
                del definition.input[:]
                definition.input.extend(written(source) for source in node.inputs)
                definition.input.extend("^" + control for control in node.controls)
        take_functions(self.library, result)
        return result

    def variable(self, ref: Ref) -> Optional[str]:
        """The node of the variable that a tensor is the value or the handle of; None where it is neither."""
        for _ in range(20):
            node = self.nodes.get(ref[0])
            if node is None:
                return None
            if node.op in VARIABLES:
                return node.name
            if node.op not in PASSING or not node.inputs:
                return None
            ref = node.inputs[0]
        return None

    def root(self, ref: Ref) -> Ref:
        """Where a tensor comes from, up the nodes that hand it on as it is, or in another precision."""
        for _ in range(50):
            node = self.nodes.get(ref[0])
            if node is None or node.op in SWITCHES or not node.inputs:
                return ref
            if node.op not in PASSING and node.op != "Cast":
                return ref
            ref = node.inputs[0]
        return ref

    def constant(self, ref: Ref) -> Any:
        """A Const's value as an array; None where a tensor is none, through nodes that hand it on."""
        node = self.nodes.get(self.root(ref)[0])
        return None if node is None or node.op != "Const" else constant_value(node)


def constant_value(node: Node) -> Any:
    """The array that a Const holds; None where that is nothing that numpy knows."""
    tensor = node.attr["value"].tensor
    if not tensor.dtype or tf.as_dtype(tensor.dtype) in (tf.resource, tf.variant):
        return None
    return tf.make_ndarray(tensor)


def functions_of(definition: Any) -> Set[str]:
    """The functions that a node's attributes name."""
    names = set()
    for value in definition.attr.values():
        if value.HasField("func"):
            names.add(value.func.name)
        elif value.HasField("list"):
            names.update(function.name for function in value.list.func)
    return names


def may_be_scalar(node: Node) -> bool:
    """Whether a placeholder or variable can be a single value: it does not say that it has dimensions."""
    return "shape" not in node.attr or not node.attr["shape"].shape.dim


def fed_by_data(graph: Graph, inputs: Set[Ref]) -> Set[str]:
    """The nodes whose values depend on what a request, a queue or an iterator brings, not on weights and switches.

    Sizes don't count as values, nor does what decides between two values.
    """
    ahead = []
    for name, node in graph.nodes.items():
        if node.inputs or node.op in VARIABLES or node.op in ("Const", "NoOp"):
            if node.op != "PlaceholderWithDefault" or may_be_scalar(node):
                continue
        elif is_random(node.op) or (node.op in PLACEHOLDERS and may_be_scalar(node)):
            continue
        ahead.append(name)
    ahead.extend(name for name, _ in inputs)
    reached: Set[str] = set()
    while ahead:
        name = ahead.pop()
        if name in reached:
            continue
        reached.add(name)
        for node in graph.consumers(name):
            if node.op in SIZES or (node.op in SWITCHES and node.inputs[0][0] != name):
                continue
            ahead.append(node.name)
    return reached


def noisy(graph: Graph) -> Set[str]:
    """The nodes whose values depend on random numbers."""
    return _reached(graph, [name for name, node in graph.nodes.items() if is_random(node.op)], SIZES)


def conditional(graph: Graph) -> Set[str]:
    """The nodes that run only where a condition says so; loops aside."""
    ahead = []
    for name, node in graph.nodes.items():
        if node.op in SWITCHES and graph[graph.root(node.inputs[1])[0]].op != "LoopCond":
            ahead.append(name)
    return _reached(graph, ahead, MERGES)


def _reached(graph: Graph, ahead: List[str], ends: Sequence[str]) -> Set[str]:
    """The nodes in `ahead` and all that consume them, but for ops in `ends` and what is behind those alone."""
    reached: Set[str] = set()
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead.extend(node.name for node in graph.consumers(name) if node.op not in ends)
    return reached


def frames(graph: Graph) -> Mapping[str, Tuple[str, ...]]:
    """The loops that each node is in, from the outermost; nodes outside of loops are left out."""
    return control_flow(graph).in_loops


def control_flow(graph: Graph) -> ControlFlow:
    """The loops and conditions of a graph."""
    return ControlFlow(
        Step(name=node.name, op=node.op, inputs=node.inputs, controls=node.controls, frame=frame_of(node.definition))
        for node in graph.nodes.values()
    )
