"""The graph class: nodes and tensors, edits, and searches along the edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from ckpt2saved.graph.backward import BackwardPass
from ckpt2saved.graph.control_flow import ControlFlow
from ckpt2saved.graph.graph_def import called_functions, take_functions
from ckpt2saved.graph.names import Ref, full_name, parsed, written
from ckpt2saved.graph.ops import (
    ENTERS,
    MERGES,
    PASSING,
    PLACEHOLDERS,
    READS_VARIABLE,
    RESOURCE_VARIABLES,
    SIZES,
    SWITCHES,
    VARIABLES,
    is_random,
)
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import behind, reach, walk

Shape = Optional[Tuple[Optional[int], ...]]  # None: of unknown rank
Enter = Callable[["Node"], bool]  # whether a search includes a node, and goes on from it


@dataclass(frozen=True)
class Tensor:
    """A node's output, as far as TensorFlow's shape functions know it."""

    ref: Ref
    dtype: str
    shape: Shape

    @property
    def name(self) -> str:
        """As in `logits:0`."""
        return full_name(self.ref)

    @property
    def rank(self) -> Optional[int]:
        """The number of dimensions; None where it is unknown."""
        return None if self.shape is None else len(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers of any precision."""
        return self.dtype in ("float32", "float16", "float64", "bfloat16")

    @property
    def is_scalar(self) -> bool:
        """Whether it is known to hold a single value."""
        return self.shape == ()


class Node:
    """A NodeDef whose op and inputs are parsed; `Graph.graph_def` writes them back."""

    __slots__ = ("controls", "definition", "inputs", "name", "op")

    def __init__(self, definition: Any) -> None:
        self.definition = definition
        self.name: str = definition.name
        self.op: str = definition.op
        self.inputs: List[Ref] = []
        self.controls: List[str] = []
        for name in definition.input:
            if name[0] == "^":
                self.controls.append(name[1:])
            else:
                self.inputs.append(parsed(name) if ":" in name else (name, 0))

    def copy(self, definition: Any) -> Node:
        """The same node, with another NodeDef."""
        copy = Node.__new__(Node)
        copy.definition, copy.name, copy.op = definition, self.name, self.op
        copy.inputs, copy.controls = list(self.inputs), list(self.controls)
        return copy

    @property
    def attr(self) -> Any:
        """The attributes of the NodeDef."""
        return self.definition.attr

    @property
    def sources(self) -> List[str]:
        """The nodes whose tensors it takes."""
        return [name for name, _ in self.inputs]

    @property
    def frame(self) -> str:
        """The loop that an Enter leads into; "" of any other node."""
        return self.attr["frame_name"].s.decode("utf-8", "replace") if self.op in ENTERS else ""

    def dtype(self) -> int:
        """The type of what it computes, as NodeDefs number types; 0 where no single attribute says so."""
        for key in ("DstT", "T", "dtype", "output_type"):
            if key in self.attr:
                return int(self.attr[key].type)
        return 0

    def become(self, op: str, inputs: Sequence[Ref], **types: int) -> None:
        """Turn into a node of another op under the same name; it keeps its control inputs."""
        self.op = op
        self.inputs = list(inputs)
        for key in list(self.attr):
            del self.attr[key]
        for key, value in types.items():
            self.attr[key].type = value

    def become_constant(self, value: Any, dtype: int, shape: Sequence[int] = ()) -> None:
        """Turn into a constant under the same name."""
        self.become("Const", (), dtype=dtype)
        self.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.as_dtype(dtype), list(shape)))

    def write_to(self, graph_def: Any) -> None:
        """Add the node, with its edits, to a GraphDef."""
        definition = graph_def.node.add()
        definition.CopyFrom(self.definition)
        definition.op = self.op
        # Reading an attribute that a node lacks adds it without a value, which TensorFlow refuses.
        for key in [key for key, value in definition.attr.items() if value.WhichOneof("value") is None]:
            del definition.attr[key]
        del definition.input[:]
        definition.input.extend(written(source) for source in self.inputs)
        definition.input.extend("^" + control for control in self.controls)


class Graph:
    """The nodes of a GraphDef by name, in their order, and the functions that they call.

    A search takes tensors and returns the names of nodes; each takes time in proportion to the nodes and edges that it
    visits. Call `changed` after setting inputs or control inputs of nodes.
    """

    def __init__(
        self, graph_def: Any, tensors: Optional[Mapping[str, Sequence[Tensor]]] = None, *, is_copied: bool = True
    ) -> None:
        """A graph of a copy of `graph_def`; without `is_copied`, of `graph_def` itself: it must not be edited then.

        `tensors` are the outputs of nodes, where their dtypes and shapes are known.
        """
        self._definition = graph_def
        if is_copied:
            self._definition = tf.GraphDef()
            self._definition.CopyFrom(graph_def)
        self.nodes: Dict[str, Node] = {node.name: node for node in map(Node, self._definition.node)}
        self.library = self._definition.library
        self.outputs: Mapping[str, Sequence[Tensor]] = tensors or {}
        self._functions: Optional[Dict[str, Any]] = None
        self.changed()

    def copy(self) -> Graph:
        """Another Graph with the same nodes and functions."""
        definition = tf.GraphDef()
        definition.CopyFrom(self._definition)
        # The nodes of both are in the same order: one that is added comes last.
        nodes = [node.copy(other) for node, other in zip(self.nodes.values(), definition.node)]
        copy = Graph(tf.GraphDef())
        copy._definition, copy.library = definition, definition.library
        copy.nodes = {node.name: node for node in nodes}
        return copy

    def __contains__(self, name: str) -> bool:
        return name in self.nodes

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    # Tensors.

    def tensor(self, ref: Ref) -> Tensor:
        """A tensor with its dtype and shape; raises KeyError or IndexError where none is known."""
        return self.outputs[ref[0]][ref[1]]

    def has_tensor(self, ref: Ref) -> bool:
        """Whether the dtype and shape of a tensor are known."""
        return ref[1] < len(self.outputs.get(ref[0], ()))

    def maker(self, ref: Ref) -> Node:
        """The node that makes a tensor."""
        return self.nodes[ref[0]]

    def outputs_of(self, names: Iterable[str]) -> List[Ref]:
        """The tensors that nodes make, as far as they are known."""
        return [tensor.ref for name in names for tensor in self.outputs.get(name, ())]

    # Edits.

    def add(self, name: str, op: str, inputs: Sequence[Ref], controls: Sequence[str] = (), **types: int) -> Node:
        """A new node, called `name` or something like it."""
        definition = self._definition.node.add(name=self.free_name(name), op=op)
        node = Node(definition)
        node.inputs, node.controls = list(inputs), list(controls)
        for key, value in types.items():
            definition.attr[key].type = value
        self.nodes[node.name] = node
        self.changed()
        return node

    def adopt(self, definition: Any, inputs: Sequence[Ref], controls: Sequence[str]) -> Node:
        """A new node made as `definition` is, under the name that it has."""
        copy = self._definition.node.add()
        copy.CopyFrom(definition)
        del copy.input[:]
        node = Node(copy)
        node.inputs, node.controls = list(inputs), list(controls)
        self.nodes[node.name] = node
        self.changed()
        return node

    def add_functions(self, definitions: Iterable[Any]) -> None:
        """Add FunctionDefs, with names that no function of the graph has."""
        self.library.function.extend(definitions)
        self._functions = None

    def add_read(self, name: str, variable: str) -> Ref:
        """A new tensor with the value of a variable's node, made by a node called `name` or something like it."""
        node = self.nodes[variable]
        dtype = node.attr["dtype"].type
        if node.op in RESOURCE_VARIABLES:
            return self.add(name, READS_VARIABLE, [(variable, 0)], dtype=dtype).name, 0
        return self.add(name, "Identity", [(variable, 0)], T=dtype).name, 0

    def free_name(self, name: str) -> str:
        """`name`, or `name` with the first number that makes it unique."""
        found, number = name, 0
        while found in self.nodes:
            number += 1
            found = f"{name}_{number}"
        return found

    def changed(self) -> None:
        """Discard what is cached about the edges, after inputs were changed."""
        self._consumers: Optional[Dict[str, List[Node]]] = None
        self._control: Optional[ControlFlow] = None
        self._backward: Optional[BackwardPass] = None
        self._forward_def: Any = None

    def redirect(self, tensors: Mapping[Ref, Ref]) -> None:
        """Replace inputs by `tensors` (old -> new), except in the node that makes the new tensor."""
        if not tensors:
            return
        for node in self.nodes.values():
            for position, source in enumerate(node.inputs):
                for _ in range(len(tensors)):  # the new tensor may be replaced too
                    if source not in tensors or tensors[source][0] == node.name:
                        break
                    source = tensors[source]
                node.inputs[position] = source
        self.changed()

    def graph_def(self, names: Iterable[str]) -> Any:
        """The GraphDef of the nodes `names` and of all that they depend on."""
        return self.part(self.between([(name, 0) for name in names], set()))

    def part(self, names: Collection[str]) -> Any:
        """The GraphDef of some nodes, and of the functions that they call."""
        result = tf.GraphDef(versions=self._definition.versions)
        for name, node in self.nodes.items():
            if name in names:
                node.write_to(result)
        take_functions(self.library, result)
        return result

    # Searches.

    def consumers(self, name: str) -> List[Node]:
        """The nodes that take a tensor of this one."""
        if self._consumers is None:
            self._consumers = {}
            for node in self.nodes.values():
                for source in dict.fromkeys(node.sources):
                    self._consumers.setdefault(source, []).append(node)
        return self._consumers.get(name, [])

    def only_consumer(self, name: str) -> Optional[Node]:
        """The node that takes the tensors of this one; None where there are none or several."""
        users = self.consumers(name)
        return users[0] if len(users) == 1 else None

    def users(self, ref: Ref) -> List[Node]:
        """The nodes that take this very tensor."""
        return [node for node in self.consumers(ref[0]) if ref in node.inputs]

    def upstream(
        self,
        tensors: Iterable[Ref],
        given: Collection[Ref] = (),
        *,
        enter: Optional[Enter] = None,
        controls: bool = False,
    ) -> Set[str]:
        """The nodes that tensors are computed from, up to the tensors that are `given`.

        `enter` decides whether a node is included, with what it depends on. `controls`: also the nodes that control
        inputs run, without nodes of which a tensor is given.
        """
        nodes, waits = self.nodes, {name for name, _ in given}

        def following(name: str) -> List[str]:
            node = nodes[name]
            found = [ref[0] for ref in node.inputs if ref not in given] if given else node.sources
            if controls:
                found += [control for control in node.controls if control not in waits]
            return found if enter is None else [source for source in found if enter(nodes[source])]

        starts = [ref[0] for ref in tensors if ref not in given]
        return reach(starts if enter is None else [name for name in starts if enter(nodes[name])], following)

    def between(self, outputs: Iterable[Ref], inputs: Collection[Ref]) -> Set[str]:
        """The nodes that run when `outputs` are fetched and `inputs` are fed: those waited for as well.

        Nodes that the graph lacks are left out.
        """
        nodes = self.nodes

        def following(name: str) -> List[str]:
            node = nodes[name]
            found = [ref[0] for ref in node.inputs if ref not in inputs] if inputs else node.sources
            return [source for source in found + node.controls if source in nodes] if found or node.controls else []

        return reach([ref[0] for ref in outputs if ref not in inputs and ref[0] in nodes], following)

    def downstream(self, tensors: Iterable[Ref], enter: Optional[Enter] = None) -> Set[str]:
        """The nodes that depend on one of the tensors; `enter` decides whether a node is included."""

        def following(name: str) -> Iterator[str]:
            return (node.name for node in self.consumers(name) if enter is None or enter(node))

        takers = {node.name for ref in tensors for node in self.users(ref) if enter is None or enter(node)}
        return reach(takers, following)

    def behind(self, names: Iterable[str], enter: Optional[Enter] = None) -> Set[str]:
        """The nodes that depend on one of these nodes; these themselves only where they depend on each other."""

        def following(name: str) -> Iterator[str]:
            return (node.name for node in self.consumers(name) if enter is None or enter(node))

        return behind(names, following)

    def walk(self, name: str, following: Callable[[Node], Iterable[Node]]) -> Iterator[Node]:
        """A node and those that are reached by `following`, in breadth-first order."""
        return (self.nodes[one] for one in walk([name], lambda one: (n.name for n in following(self.nodes[one]))))

    @property
    def control(self) -> ControlFlow:
        """The loops and conditions."""
        if self._control is None:
            self._control = ControlFlow(self.nodes.values())
        return self._control

    @property
    def backward(self) -> BackwardPass:
        """The backward pass of a training."""
        if self._backward is None:
            self._backward = BackwardPass(self.nodes.values())
        return self._backward

    def is_in_loop(self, name: str) -> bool:
        """Whether a node is inside a while loop, where nothing can be fed or fetched."""
        return bool(self.control.loops(name))

    @property
    def forward_def(self) -> Any:
        """The GraphDef without `backward.spare`, and without control inputs from these nodes."""
        if self._forward_def is None:
            spare = self.backward.spare
            self._forward_def = self.part(self.nodes.keys() - spare)
            for node in self._forward_def.node if spare else ():
                inputs = [name for name in node.input if name[0] != "^" or name[1:] not in spare]
                if len(inputs) < len(node.input):
                    node.input[:] = inputs
        return self._forward_def

    # Functions.

    @property
    def functions(self) -> Mapping[str, Any]:
        """The FunctionDefs by name."""
        if self._functions is None:
            self._functions = {function.signature.name: function for function in self.library.function}
        return self._functions

    def called(self, node: Node) -> List[str]:
        """The functions that a node calls, and those that they call."""
        return called_functions([node.definition], self.functions)

    # Where a tensor comes from.

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
        """The origin of a tensor, through nodes that pass it on unchanged or cast it."""
        for _ in range(50):
            node = self.nodes.get(ref[0])
            if node is None or node.op in SWITCHES or not node.inputs:
                return ref
            if node.op not in PASSING and node.op != "Cast":
                return ref
            ref = node.inputs[0]
        return ref

    def constant(self, ref: Ref) -> Any:
        """The value of a constant, through nodes that pass it on, as an array; None where a tensor is no constant."""
        node = self.nodes.get(self.root(ref)[0])
        return None if node is None or node.op != "Const" else constant_value(node)


def constant_value(node: Node) -> Any:
    """The array that a Const holds; None where NumPy has no such type."""
    tensor = node.attr["value"].tensor
    if not tensor.dtype or tf.as_dtype(tensor.dtype) in (tf.resource, tf.variant):
        return None
    return tf.make_ndarray(tensor)


def may_be_scalar(node: Node) -> bool:
    """Whether a placeholder or variable can be a single value: its shape has no dimensions, or is unknown."""
    return "shape" not in node.attr or not node.attr["shape"].shape.dim


def fed_by_data(graph: Graph, inputs: Set[Ref]) -> Set[str]:
    """The nodes whose values depend on data of a request, a queue or an iterator, not on weights and switches alone.

    Sizes do not count as values, nor do predicates.
    """
    sources = [name for name, _ in inputs]
    for name, node in graph.nodes.items():
        if node.inputs or node.op in VARIABLES or node.op in ("Const", "NoOp"):
            if node.op != "PlaceholderWithDefault" or may_be_scalar(node):
                continue
        elif is_random(node.op) or (node.op in PLACEHOLDERS and may_be_scalar(node)):
            continue
        sources.append(name)

    def following(name: str) -> Iterator[str]:
        for node in graph.consumers(name):
            if node.op not in SIZES and not (node.op in SWITCHES and node.inputs[0][0] != name):
                yield node.name

    return reach(sources, following)


def noisy(graph: Graph) -> Set[str]:
    """The nodes whose values depend on random numbers."""
    starts = [name for name, node in graph.nodes.items() if is_random(node.op)]
    return set(starts) | graph.behind(starts, lambda node: node.op not in SIZES)


def conditional(graph: Graph) -> Set[str]:
    """The nodes that run only on a branch of a condition; loops do not count."""
    starts = [
        name
        for name, node in graph.nodes.items()
        if node.op in SWITCHES and graph[graph.root(node.inputs[1])[0]].op != "LoopCond"
    ]
    return set(starts) | graph.behind(starts, lambda node: node.op not in MERGES)
