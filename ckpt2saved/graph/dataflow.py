"""A graph as tensors that nodes make of other tensors: what depends on what, and in which dtype and shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Collection, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import CheckpointError
from ckpt2saved.graph.backward import backward_nodes
from ckpt2saved.graph.control_flow import ControlFlow, Step, frame_of, steps_of
from ckpt2saved.graph.meta_graph import MetaGraph
from ckpt2saved.graph.names import node_name, parsed
from ckpt2saved.tf1 import op_def, tf

# These look at the sizes of a tensor, not at what is in it.
SHAPE_OPS = frozenset(["Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"])

Shape = Optional[Tuple[Optional[int], ...]]  # None: of unknown rank


@dataclass(frozen=True)
class Tensor:
    """A node's output."""

    name: str
    dtype: str
    shape: Shape

    @property
    def rank(self) -> Optional[int]:
        return None if self.shape is None else len(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype in ("float32", "float16", "float64", "bfloat16")

    @property
    def is_scalar(self) -> bool:
        return self.shape == ()


@dataclass(frozen=True)
class Node:
    """An operation, with the names of the tensors that it takes and the tensors that it makes."""

    name: str
    op: str
    inputs: Tuple[str, ...]
    controls: Tuple[str, ...]  # the nodes that run before it
    outputs: Tuple[Tensor, ...]
    attr: Any


class Dataflow:
    """The nodes of a graph by name, and the ways through them."""

    def __init__(
        self,
        nodes: Mapping[str, Node],
        functions: Mapping[str, Any],
        backward: Collection[str] = (),
        forward_def: Any = None,
    ) -> None:
        self.nodes = nodes
        self.backward = frozenset(backward)  # the nodes of gradients, and of what is computed of them
        self.forward_def = forward_def  # GraphDef of the others
        self.functions = functions  # name -> FunctionDef
        self._exits: Optional[Dict[str, List[Node]]] = None
        self._control: Optional[ControlFlow] = None
        self.takers: Dict[str, List[Node]] = {}
        for node in nodes.values():
            for name in dict.fromkeys(node.inputs):
                self.takers.setdefault(name, []).append(node)

    @property
    def control(self) -> ControlFlow:
        """The loops and conditions of the graph."""
        if self._control is None:
            self._control = ControlFlow(
                Step(
                    name=node.name,
                    op=node.op,
                    inputs=[parsed(name) for name in node.inputs],
                    controls=node.controls,
                    frame=frame_of(node),
                )
                for node in self.nodes.values()
            )
        return self._control

    def is_inside_loop(self, name: str) -> bool:
        """Whether a tensor is inside a while loop, where nothing can be fed or fetched."""
        return bool(self.control.loops(name.rpartition(":")[0]))

    def tensor(self, name: str) -> Tensor:
        node, _, number = name.rpartition(":")
        return self.nodes[node].outputs[int(number)]

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        node, _, number = name.rpartition(":")
        return node in self.nodes and int(number) < len(self.nodes[node].outputs)

    def maker(self, name: str) -> Node:
        """The node that makes a tensor."""
        return self.nodes[name.rpartition(":")[0]]

    @property
    def exits(self) -> Mapping[str, List[Node]]:
        """The Exits of each loop, by the scope that they are in."""
        if self._exits is None:
            self._exits = {}
            for node in self.nodes.values():
                if node.op == "Exit":
                    self._exits.setdefault(node.name.rpartition("/")[0], []).append(node)
        return self._exits

    def consumers(self, tensor: str) -> List[Node]:
        return self.takers.get(tensor, [])

    def called(self, attr: Any) -> List[Any]:
        """The NodeDefs of the functions that a node with these attributes runs, and of those that they run."""
        ahead: List[Any] = [attr]
        seen: Set[str] = set()
        found: List[Any] = []
        while ahead:
            values = ahead.pop().values()
            names = [value.func.name for value in values if value.WhichOneof("value") == "func"]
            names += [func.name for value in values for func in value.list.func]
            for name in names:
                if name in self.functions and name not in seen:
                    seen.add(name)
                    found += self.functions[name].node_def
                    ahead += [node.attr for node in self.functions[name].node_def]
        return found

    def downstream(self, tensors: Iterable[str], enter: Callable[[Node], bool] = lambda node: True) -> Set[str]:
        """The nodes that depend on one of the tensors; a node that may not be entered leads no further."""
        reached: Set[str] = set()
        ahead = list(tensors)
        while ahead:
            for node in self.consumers(ahead.pop()):
                if node.name not in reached and enter(node):
                    reached.add(node.name)
                    ahead.extend(output.name for output in node.outputs)
        return reached

    def upstream(
        self,
        tensors: Iterable[str],
        cut: Collection[str] = (),
        enter: Callable[[Node], bool] = lambda node: True,
        controls: bool = False,
    ) -> Set[str]:
        """The nodes that the tensors depend on, as far as the tensors `cut`, which are given."""
        given = {name.rpartition(":")[0] for name in cut}
        reached: Set[str] = set()
        ahead = [name for name in tensors if name not in cut]
        while ahead:
            node = self.maker(ahead.pop())
            if node.name not in reached and enter(node):
                reached.add(node.name)
                ahead.extend(name for name in node.inputs if name not in cut)
                if controls:
                    ahead.extend(name + ":0" for name in node.controls if name not in given)
        return reached


def read_dataflow(meta_graph: MetaGraph) -> Dataflow:
    """The dataflow of a training's graph, without what depends on ops that this TensorFlow does not have.

    Raises CheckpointError where it can't import the rest.
    """
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    known = _without_foreign(meta_graph.graph_def)
    backward, spare = backward_nodes(steps_of(known))
    forward = _without(known, spare) if spare else known
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(forward, name="")
    except (ValueError, tf.errors.OpError) as error:
        raise CheckpointError(
            f"{meta_graph.path}: TensorFlow {tf.VERSION} can't import this graph: {reason_of(error)}"
        ) from error
    outputs = {op.name: _tensors(op, meta_graph.shapes.get(op.name, ())) for op in graph.get_operations()}
    definitions = {node.name: node for node in known.node}
    nodes = [_node(definitions[name], tensors) for name, tensors in outputs.items()]
    nodes += [_node(node, _unseen_tensors(node, functions)) for node in known.node if node.name not in outputs]
    return Dataflow({node.name: node for node in nodes}, functions, backward, forward)


def foreign_nodes(graph_def: Any) -> List[Any]:
    """The nodes of ops that this TensorFlow does not have, such as the loss of somebody's own library."""
    functions = {function.signature.name for function in graph_def.library.function}
    lacking = {op for op in {node.op for node in graph_def.node} - functions if op_def(op) is None}
    return [node for node in graph_def.node if node.op in lacking]


def _without_foreign(graph_def: Any) -> Any:
    lost = {node.name for node in foreign_nodes(graph_def)}
    if not lost:
        return graph_def
    takers: Dict[str, List[str]] = {}
    for node in graph_def.node:
        for source in node.input:
            takers.setdefault(node_name(source.lstrip("^")), []).append(node.name)
    ahead = list(lost)
    while ahead:
        for name in takers.get(ahead.pop(), ()):
            if name not in lost:
                lost.add(name)
                ahead.append(name)
    known = tf.GraphDef(versions=graph_def.versions)
    known.library.CopyFrom(graph_def.library)
    known.node.extend(node for node in graph_def.node if node.name not in lost)
    return known


def _without(graph_def: Any, spare: Set[str]) -> Any:
    """A graph without some nodes, whose tensors no others take; nobody waits for them any more."""
    kept = tf.GraphDef(versions=graph_def.versions)
    kept.library.CopyFrom(graph_def.library)
    for node in graph_def.node:
        if node.name not in spare:
            copy = kept.node.add()
            copy.CopyFrom(node)
            inputs = [name for name in node.input if name[:1] != "^" or name[1:] not in spare]
            if len(inputs) < len(node.input):
                copy.input[:] = inputs
    return kept


def _tensors(op: tf.Operation, recorded: Sequence[Any]) -> Tuple[Tensor, ...]:
    """What an operation makes, in the shapes that TensorFlow finds, and those that the training knew."""
    outputs: List[Tensor] = []
    for number, output in enumerate(op.outputs):
        shape = output.shape
        if number < len(recorded) and not shape.is_fully_defined():
            known = tf.TensorShape(recorded[number])
            if shape.is_compatible_with(known):
                shape = shape.merge_with(known)
        sizes = None if shape.ndims is None else tuple(shape.as_list())
        outputs.append(Tensor(f"{op.name}:{number}", output.dtype.base_dtype.name, sizes))
    return tuple(outputs)


def _unseen_tensors(node: Any, functions: Mapping[str, Any]) -> Tuple[Tensor, ...]:
    """What a node of the backward pass makes, whose dtypes and shapes nobody asks for."""
    definition = functions[node.op].signature if node.op in functions else op_def(node.op)
    count = 0
    for argument in definition.output_arg:
        if argument.number_attr:
            count += node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            count += len(node.attr[argument.type_list_attr].list.type)
        else:
            count += 1
    return tuple(Tensor(f"{node.name}:{number}", "", None) for number in range(count))


def _node(definition: Any, outputs: Tuple[Tensor, ...]) -> Node:
    # The inputs are those of the definition, which is many times faster than to ask TensorFlow for each.
    inputs = list(definition.input)
    count = next((number for number, name in enumerate(inputs) if name[:1] == "^"), len(inputs))
    names = tuple([name if ":" in name else name + ":0" for name in inputs[:count]])
    controls = tuple([name[1:] for name in inputs[count:]])
    return Node(
        name=definition.name, op=definition.op, inputs=names, controls=controls, outputs=outputs, attr=definition.attr
    )
