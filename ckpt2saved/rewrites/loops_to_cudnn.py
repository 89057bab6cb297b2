"""Loops that are LSTMs become calls of cuDNN, for servers with a GPU.

A step of such a loop is some ten kernels on a GPU, and cuDNN computes all steps by one call. It covers the cells of
tf.nn.dynamic_rnn (BasicLSTMCell, LSTMCell without peepholes), of Keras's LSTM with its default activations and of the
built-in networks, once the products with their inputs are computed before the loop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, List, Optional, Sequence, Tuple

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.loop_states import State, is_counter, states_of
from ckpt2saved.rewrites.analyses.loops import entered, outer_loops, products_of, step_of, unchanged
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.convert_cudnn_rnn import ConvertCudnnRnn, lstm_buffer
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.insertion import insert
from ckpt2saved.rewrites.recurrent_loop import LayerWeights
from ckpt2saved.rewrites.rewrite import Rewrite
from ckpt2saved.rewrites.trim_loops import EditedLoop

_FLOAT = tf.float32.as_datatype_enum
_ADDS = ("Add", "AddV2")


@dataclass(frozen=True)
class LoopToCudnn(Edit):
    """A loop that became a call of cuDNN on GPUs."""


class LoopsToCudnn(Rewrite):
    """Replaces loops that are LSTMs by CudnnRNNV3, and that by a call of it on GPUs and of a loop on CPUs."""

    name = "loops to cuDNN"

    def __call__(self, graph: Graph, context: Context) -> Found:
        within = graph.between(context.outputs, context.inputs)
        edits: List[Edit] = []
        shapes = _Shapes(graph)
        for frame, nodes in outer_loops(graph, within).items():
            layer = _Matching(graph, context, nodes, shapes).layer()
            if layer is not None:
                _put_cudnn_in(graph, frame, layer)
                edits.append(LoopToCudnn(frame, "recurrent", f"{frame}: cuDNN's LSTM on GPUs", is_shown=False))
        if not edits:
            return Found()
        graph.changed()
        called = ConvertCudnnRnn(keeps_op=True)(graph, replace(context, original=graph.copy()))
        return replace(called, edits=(*edits, *(replace(edit, is_shown=False) for edit in called.edits)))


class _Shapes:
    """Static shapes of a graph as it was, found when they are first asked for."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph.copy()
        self._imported: Optional[tf.Graph] = None

    def __getitem__(self, ref: Ref) -> List[Optional[int]]:
        """The shape of a tensor; empty where its rank is unknown."""
        if self._imported is None:
            self._imported = Context(self._graph, (), set()).imported
        shape = self._imported.get_tensor_by_name(full_name(ref)).shape
        return list(shape.as_list()) if shape.ndims else []


@dataclass(frozen=True)
class _Layer:
    """An LSTM in a loop; tensors outside of it, and what takes its outputs."""

    sequence: Ref  # [time, batch, inputs]
    kernel: Ref  # [inputs, 4 * units]
    recurrent: Ref  # [units, 4 * units]
    biases: Tuple[Ref, ...]  # [4 * units] each
    gates: str  # their order in the columns
    forget_bias: float
    states: Tuple[Ref, Ref]  # h and c before the first step
    units: int
    inputs: int
    outputs: Node  # gathers the outputs of all steps


@dataclass(frozen=True)
class _Cell:
    """The states of an LSTM, and the node that computes its output."""

    h: State
    c: State
    output: Node
    gates: str
    forget_bias: float


class _Matching:
    """Finds out whether a loop is an LSTM."""

    def __init__(self, graph: Graph, context: Context, nodes: Sequence[Node], shapes: _Shapes) -> None:
        self.graph = graph
        self.nodes = nodes
        self.shapes = shapes
        self.states = states_of(graph, [node.name for node in nodes])
        self.loop = EditedLoop(graph, context, self.states)

    def layer(self) -> Optional[_Layer]:
        """The LSTM that the loop is; None where it is none, or something takes its last states."""
        graph = self.graph
        products = products_of(self.nodes)
        splits = [node for node in self.nodes if node.op == "Split"]
        counters = [state for state in self.states if is_counter(graph, state)]
        if len(products) != 1 or len(splits) != 1 or len(counters) != 1:
            return None
        (product,), (split,) = products, splits
        recurrent = self.weights_of(product)
        states = self.cell(split)
        if recurrent is None or states is None or unchanged(graph, product.inputs[0]) != states.h.inside:
            return None
        ahead, biases = self.summands(split, product)
        step = None if ahead is None else self.step(ahead, counters[0])
        made = None if step is None else self.product_before(step)
        gathered = self.outputs(states.output, counters[0])
        if made is None or gathered is None or biases is None:
            return None
        sequence, kernel, before = made
        inputs, (rows, columns) = (self.shapes[sequence] or [None])[-1], self.shapes[recurrent] or (None, None)
        units, rest = divmod(columns or 0, 4)  # rows that were cut out of a kernel may be unknown
        if not inputs or not units or rest or rows not in (None, units):
            return None
        return _Layer(
            sequence=sequence,
            kernel=kernel,
            recurrent=recurrent,
            biases=(*before, *biases),
            gates=states.gates,
            forget_bias=states.forget_bias,
            states=(states.h.start, states.c.start),
            units=units,
            inputs=inputs,
            outputs=gathered,
        )

    def weights_of(self, product: Node) -> Optional[Ref]:
        """The matrix outside of the loop that a product multiplies with."""
        enter = entered(self.graph, product.inputs[1])
        if enter is None or product.attr["T"].type != _FLOAT:
            return None
        return None if product.attr["transpose_a"].b or product.attr["transpose_b"].b else enter.inputs[0]

    def cell(self, split: Node) -> Optional[_Cell]:
        """What an LSTM computes of its gates; None where the loop computes something else.

        The gates are i, c, f, o as in BasicLSTMCell, or i, f, c, o as in Keras.
        """
        axis = self.graph.constant(split.inputs[0])
        if split.attr["num_split"].i != 4 or axis is None or int(axis) not in (1, -1):
            return None
        users = [self.only_user((split.name, number)) for number in range(4)]
        gates = "ifco" if users[2] is not None and users[2].op == "Tanh" else "icfo"
        i, j, f, o = (users[gates.index(gate)] for gate in "icfo")
        forget_bias = 0.0
        if f is not None and f.op in _ADDS:
            (by,) = [self.graph.constant(ref) for ref in f.inputs if ref[0] != split.name] or [None]
            if by is None or by.size != 1:
                return None
            forget_bias, f = float(by), self.only_user((f.name, 0))
        if i is None or j is None or f is None or o is None:
            return None
        if (i.op, j.op, f.op, o.op) != ("Sigmoid", "Tanh", "Sigmoid", "Sigmoid"):
            return None
        new, kept, output = self.times(i), self.times(f), self.times(o)
        if new is None or kept is None or output is None or self.other(new, i) != (j.name, 0):
            return None
        memory = self.only_user((new.name, 0))
        if memory is None or memory.op not in _ADDS or self.other(memory, new) != (kept.name, 0):
            return None
        activated = self.graph[self.other(output, o)[0]]
        if activated.op != "Tanh" or activated.inputs[0] != (memory.name, 0):
            return None
        h, c = self.state_that_becomes(output), self.state_that_becomes(memory)
        if h is None or c is None or self.other(kept, f) not in self.loop.same(c.inside):
            return None
        if any(self.loop.users((user.name, 0)) for state in (h, c) for user in self.loop.users(state.last)):
            return None  # something takes the last states
        return _Cell(h=h, c=c, output=output, gates=gates, forget_bias=forget_bias)

    def outputs(self, output: Node, counter: State) -> Optional[Node]:
        """What takes the outputs of all steps, and nothing else of their array; None where there is no such node."""
        users = self.loop.users((output.name, 0))
        writes = [user for user in users if user.op in ("TensorArrayWriteV3", "TensorListSetItem")]
        if len(writes) != 1:
            return None
        (write,) = writes
        if write.op == "TensorArrayWriteV3":
            return self.loop.gathered(write, counter)
        array = self.state_that_becomes(write)
        if array is None or unchanged(self.graph, write.inputs[1]) != counter.inside:
            return None
        readers = {user.name for ref in self.loop.same(array.inside) for user in self.loop.users(ref)}
        ends = [user for end in self.loop.users(array.last) for user in self.loop.users((end.name, 0))]
        if any(name != write.name and self.graph[name].op != "Identity" for name in readers):
            return None
        return ends[0] if [end.op for end in ends] == ["TensorListStack"] else None

    def times(self, node: Node) -> Optional[Node]:
        """The product of elements that alone takes what a node computes."""
        user = self.only_user((node.name, 0))
        return user if user is not None and user.op == "Mul" else None

    def only_user(self, ref: Ref) -> Optional[Node]:
        users = self.loop.users(ref)
        return users[0] if len(users) == 1 else None

    def other(self, node: Node, known: Node) -> Ref:
        """The input of a node of two that is not that of `known`."""
        return next((ref for ref in node.inputs if ref != (known.name, 0)), node.inputs[0])

    def state_that_becomes(self, node: Node) -> Optional[State]:
        """The state whose next value a node computes."""
        found = [one for one in self.states if unchanged(self.graph, one.iteration.inputs[0]) == (node.name, 0)]
        return found[0] if len(found) == 1 else None

    def summands(self, split: Node, product: Node) -> Tuple[Optional[Ref], Optional[List[Ref]]]:
        """What is added to a product before the gates are split: a step of the inputs' products, and biases."""
        graph, biases = self.graph, []
        ref, ahead = unchanged(graph, split.inputs[1]), None
        while ref != (product.name, 0):
            node = graph[ref[0]]
            if node.op == "BiasAdd":
                enter = entered(graph, node.inputs[1])
                if enter is None:
                    return None, None
                biases.append(enter.inputs[0])
                ref = unchanged(graph, node.inputs[0])
            elif node.op in _ADDS and ahead is None:
                inside = [one for one in node.inputs if self.leads_to(one, product)]
                if len(inside) != 1:
                    return None, None
                (ahead,) = [one for one in node.inputs if one != inside[0]]
                ref = unchanged(graph, inside[0])
            else:
                return None, None
        return ahead, biases

    def leads_to(self, ref: Ref, product: Node) -> bool:
        """Whether a tensor is the product, or it with a bias."""
        node = self.graph[unchanged(self.graph, ref)[0]]
        return node is product or (node.op == "BiasAdd" and self.leads_to(node.inputs[0], product))

    def step(self, ref: Ref, counter: State) -> Optional[Ref]:
        """The sequence outside of the loop of which a tensor is the entry at each step."""
        graph, node = self.graph, self.graph[unchanged(self.graph, ref)[0]]
        if node.op == "GatherV2":
            enter, axis = entered(graph, node.inputs[0]), graph.constant(node.inputs[2])
            is_step = axis is not None and int(axis) == 0 and unchanged(graph, node.inputs[1]) == counter.inside
            return enter.inputs[0] if enter is not None and is_step else None
        step = step_of(graph, ref)
        return step.sequence if step is not None and unchanged(graph, step.index) == counter.inside else None

    def product_before(self, ahead: Ref) -> Optional[Tuple[Ref, Ref, List[Ref]]]:
        """The sequence, the kernel and the biases of which a sequence of products [time, batch, width] is made."""
        graph, biases = self.graph, []
        node = graph[unchanged(graph, ahead)[0]]
        if node.op != "Reshape" or len(self.shapes[(node.name, 0)]) != 3:
            return None
        node = graph[unchanged(graph, node.inputs[0])[0]]
        if node.op in ("BiasAdd", *_ADDS):
            product, bias = node.inputs
            if len(self.shapes[product]) == 1:
                product, bias = bias, product
            if len(self.shapes[bias]) != 1:
                return None
            biases.append(bias)
            node = graph[unchanged(graph, product)[0]]
        if node.op != "MatMul" or node.attr["transpose_a"].b or node.attr["transpose_b"].b:
            return None
        flat = graph[unchanged(graph, node.inputs[0])[0]]
        if flat.op != "Reshape":
            return None
        sequence = flat.inputs[0]
        return (sequence, node.inputs[1], biases) if len(self.shapes[sequence]) == 3 else None


def _put_cudnn_in(graph: Graph, frame: str, layer: _Layer) -> None:
    """Let CudnnRNNV3 make the outputs of a loop."""
    sources = {
        "sequence": (layer.sequence, tf.float32, [None, None, layer.inputs]),
        "kernel": (layer.kernel, tf.float32, [layer.inputs, 4 * layer.units]),
        "recurrent": (layer.recurrent, tf.float32, [layer.units, 4 * layer.units]),
        "h": (layer.states[0], tf.float32, [None, layer.units]),
        "c": (layer.states[1], tf.float32, [None, layer.units]),
    }
    sources.update({f"bias_{number}": (ref, tf.float32, [4 * layer.units]) for number, ref in enumerate(layer.biases)})

    def build(sequence: Any, kernel: Any, recurrent: Any, h: Any, c: Any, **biases: Any) -> Sequence[Any]:
        forget = [layer.forget_bias if gate == "f" else 0.0 for gate in layer.gates for _ in range(layer.units)]
        bias = tf.add_n([tf.constant(forget), *biases.values()])
        shape = tf.shape(sequence)
        buffer = lstm_buffer(LayerWeights(kernel, recurrent, bias, gates=layer.gates))
        return [h[None], c[None], buffer, tf.fill(shape[1:2], shape[0])]

    h, c, buffer, lengths = insert(graph, f"{frame.rstrip('/')}/cudnn", sources, build)
    name = graph.free_name(f"{frame.rstrip('/')}/cudnn_lstm")
    node = graph.add(name, "CudnnRNNV3", [layer.sequence, h, c, buffer, lengths], T=_FLOAT)
    node.attr["is_training"].b = False
    graph.redirect({(layer.outputs.name, 0): (node.name, 0)})
