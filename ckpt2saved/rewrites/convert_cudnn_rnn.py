"""Recurrent networks of cuDNN, which run on GPUs only, become loops of ops that CPUs have.

For servers with a GPU they become a call of one of two functions, as Keras' LSTM and GRU layers do: the op for GPUs and
the loops for other devices. TensorFlow chooses by the device of the call.

The layout of cuDNN's buffer of parameters: the matrices of every layer and direction, each [units, inputs] (of an LSTM
for i, f, c, o; of a GRU for r, z, n; those of the inputs before those of h), and then all bias vectors in that order.
The names and the form in which tf.contrib.cudnn_rnn saves it are those of CudnnOpaqueParamsSaveable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Collection, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.graph.ops import CUDNN_RNNS, IMPLEMENTS, PREFERS
from ckpt2saved.graph.tf1 import Defun, tf
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.insertion import insert
from ckpt2saved.rewrites.recurrent_loop import LayerWeights, run_layer
from ckpt2saved.rewrites.rewrite import Rewrite

_GATES = {"lstm": 4, "gru": 3}
_NAMES = {"lstm": "LSTM", "gru": "GRU"}  # for people
_CELL = {"lstm": "cudnn_compatible_lstm_cell", "gru": "cudnn_compatible_gru_cell"}
_PARTS = {
    "lstm": ("kernel", "bias"),
    "gru": tuple(
        f"{part}/{kind}"
        for kind in ("kernel", "bias")
        for part in ("gates", "candidate/input_projection", "candidate/hidden_projection")
    ),
}
_FLOATS = (tf.float32, tf.float64)


@dataclass(frozen=True)
class CudnnConverted(Edit):
    """A recurrent network of cuDNN that became a loop, or a call that GPUs run as before."""

    replaced: str = ""  # the variable that `variables` replace; "" if it stays
    variables: Tuple[str, ...] = ()


class ConvertCudnnRnn(Rewrite):
    """Replaces CudnnRNN, CudnnRNNV2 and CudnnRNNV3 by a loop for each layer and direction.

    The parameters are slices of the buffer, which the graph may compute. Where the checkpoint has them under the names
    of tf.contrib.cudnn_rnn instead, variables of these names replace that of the buffer. With `keeps_op` GPUs run the
    op as before.
    """

    name = "convert cuDNN's recurrent networks"

    def __init__(self, keeps_op: bool = False) -> None:
        self._keeps_op = keeps_op

    def __call__(self, graph: Graph, context: Context) -> Found:
        edits: List[Edit] = []
        problems: List[Problem] = []
        moved: Dict[Ref, Ref] = {}
        used: Dict[str, str] = {}
        nodes = [node for node in graph.nodes.values() if node.op in CUDNN_RNNS]
        within = graph.between(context.outputs, context.inputs) if nodes else ()
        for node in [node for node in nodes if node.name in within]:
            try:
                network = _network(graph, node, context)
                weights = _weights(graph, network, context, used)
            except _Refused as refused:
                found = f"it has kernels for GPUs only, and it can't be converted to a loop: {refused}"
                problems.append(Problem("no-kernel", node.name, found, op=node.op))
                continue
            if self._keeps_op:
                text = f"{node.name}: {node.op} ({network}) kept for GPUs; CPUs run it as loops, with which answers are"
                text += " compared where there is no GPU"
                output, *states = _called(graph, network, weights, context)
            else:
                text = f"{node.name}: {node.op} ({network}) converted to loops, which CPUs run; answers are compared"
                text += " with these loops, as the op runs on GPUs only; --for-device gpu keeps it for GPUs"
                output, *states = _inserted(graph, network, weights)
            node.become("Identity", [output], T=network.dtype.as_datatype_enum)
            now = {(node.name, 1 + number): ref for number, ref in enumerate(states)}
            graph.redirect(now)
            moved.update({old: new for old, new in now.items() if old in (*context.outputs, *context.inputs)})
            edits.append(CudnnConverted(node.name, "cudnn", text, replaced=weights.replaced, variables=weights.names))
        return Found(tuple(edits), tuple(problems), moved=moved)


class _Refused(Exception):
    """Why a network can't be converted."""


@dataclass(frozen=True)
class _Network:
    """A recurrent network of cuDNN."""

    node: Node
    mode: str
    dtype: Any
    layers: int
    directions: int
    units: int
    is_time_major: bool

    def __str__(self) -> str:
        layers = f"{self.layers} layers" if self.layers > 1 else "1 layer"
        way = ", bidirectional" if self.directions > 1 else ""
        return f"{_NAMES[self.mode]}, {layers} of {self.units} units{way}"

    @property
    def parts(self) -> List[Tuple[int, int]]:
        """(layer, direction) in cuDNN's order."""
        return [(layer, direction) for layer in range(self.layers) for direction in range(self.directions)]

    def width(self, layer: int, inputs: int) -> int:
        """The size of a layer's input."""
        return self.units * self.directions if layer else inputs

    def size(self, inputs: int) -> int:
        """How many numbers the buffer has."""
        gates = _GATES[self.mode]
        return sum(gates * self.units * (self.width(layer, inputs) + self.units + 2) for layer, _ in self.parts)

    def inputs_of(self, size: int) -> int:
        """The size of an input, for a buffer of that size; raises _Refused where there is none."""
        step = self.size(1) - self.size(0)
        inputs, rest = divmod(size - self.size(0), step)
        if rest or inputs < 1:
            raise _Refused(f"its buffer of {size} numbers is not that of {self}")
        return inputs


@dataclass(frozen=True)
class _Weights:
    """Where the parameters of a network are."""

    tensors: Sequence[Tuple[Ref, Sequence[int]]]  # the buffer alone, or the variables of tf.contrib.cudnn_rnn
    inputs: int  # the size of an input
    names: Tuple[str, ...] = ()  # of these variables
    replaced: str = ""  # the variable that they replace


def _network(graph: Graph, node: Node, context: Context) -> _Network:
    """The network of a node; raises _Refused."""
    mode, way = _text(node, "rnn_mode", "lstm"), _text(node, "input_mode", "linear_input")
    if mode not in _GATES:
        raise _Refused(f"rnn_mode {mode}; lstm and gru can be")
    if "num_proj" in node.attr and node.attr["num_proj"].i:
        raise _Refused(f"num_proj {node.attr['num_proj'].i}, a projection")
    training = "is_training" not in node.attr or node.attr["is_training"].b
    if training and "dropout" in node.attr and node.attr["dropout"].f:
        raise _Refused("its dropout is on: build the graph for inference (is_training=False)")
    dtype = tf.as_dtype(node.attr["T"].type)
    if dtype not in _FLOATS:
        raise _Refused(f"{dtype.name}; float32 and float64 can be")
    if graph.is_in_loop(node.name):
        raise _Refused("it is inside a loop")
    is_time_major = "time_major" not in node.attr or node.attr["time_major"].b
    shape = _shape(context, node.inputs[1])
    count, units = (shape[0 if is_time_major else 1], shape[2]) if len(shape) == 3 else (None, None)
    directions = 2 if _text(node, "direction", "unidirectional") == "bidirectional" else 1
    if not count or not units or count % directions:
        raise _Refused(f"the shape of its first state is {shape or 'unknown'}; numbers of layers and units are needed")
    network = _Network(
        node,
        mode,
        dtype,
        layers=count // directions,
        directions=directions,
        units=units,
        is_time_major=is_time_major,
    )
    last = (_shape(context, node.inputs[0]) or [None])[-1]
    if way == "skip_input" or (way == "auto_select" and last in (None, units)):
        raise _Refused(f"input_mode {way}; linear_input can be")
    return network


def _text(node: Node, key: str, default: str) -> str:
    return str(node.attr[key].s.decode("ascii")) if key in node.attr else default


def _shape(context: Context, ref: Ref) -> List[Optional[int]]:
    """The static shape of a tensor; empty where its rank is unknown."""
    shape = context.imported.get_tensor_by_name(full_name(ref)).shape
    return list(shape.as_list()) if shape.ndims else []


def _weights(graph: Graph, network: _Network, context: Context, used: Dict[str, str]) -> _Weights:
    """Find the parameters of a network, and add the variables that replace its buffer; raises _Refused.

    `used` has the variables that replace a buffer, with that buffer.
    """
    variables = context.variables
    params = network.node.inputs[3]
    buffer = graph.variable(params)
    width = (_shape(context, network.node.inputs[0]) or [None])[-1]
    if buffer is None:
        shape = _shape(context, params)
        inputs = width
        if len(shape) == 1 and shape[0]:
            inputs = network.inputs_of(shape[0])
        if not inputs:
            raise _Refused("the graph does not have the size of its inputs")
        return _Weights([(params, [network.size(inputs)])], inputs)
    for scope in _scopes(buffer):
        names = [f"{scope}{name}" for part in network.parts for name in _saved_names(network, part)]
        if all(name in variables for name in names):
            return _saved(graph, network, {name: variables[name] for name in names}, buffer, used)
    size = (_shape(context, params) or [0])[0] or 0
    if buffer in variables:
        # Without a checkpoint, as in an inspection, the shapes are the graph's, and this one may be unknown.
        size = variables[buffer][0] if variables[buffer] else size or (network.size(width) if width else 0)
    if not size:
        example = f"{next(_scopes(buffer))}{_saved_names(network, (0, 0))[0]}"
        raise _Refused(f"the checkpoint lacks {buffer}, and its parts, such as {example}")
    inputs = network.inputs_of(size)
    shape = graph[buffer].attr["shape"].shape
    shape.CopyFrom(tf.TensorShape([size]).as_proto())
    return _Weights([(params, [size])], inputs)


def _scopes(name: str) -> Iterator[str]:
    """The scopes that a variable is in, the innermost first, each with a slash; the last one is empty."""
    parts = name.split("/")[:-1]
    return ("".join(f"{part}/" for part in parts[:count]) for count in range(len(parts), -1, -1))


def parts_in(graph: Graph, names: Collection[str]) -> Dict[str, List[str]]:
    """Buffer of a network in a graph -> those of the checkpoint's `names` that tf.contrib.cudnn_rnn gives its parts."""
    found: Dict[str, List[str]] = {}
    for node in graph.nodes.values():
        buffer = graph.variable(node.inputs[3]) if node.op in CUDNN_RNNS else None
        for scope in _scopes(buffer) if buffer else ():
            cells = tuple(scope + cell for cell in ("rnn/multi_rnn_cell/cell_", "stack_bidirectional_rnn/cell_"))
            parts = [name for name in names if name.startswith(cells) and _is_part(name, node)]
            if buffer and parts:
                found[buffer] = parts
                break
    return found


def _is_part(name: str, node: Node) -> bool:
    cell = _CELL.get(_text(node, "rnn_mode", "lstm"))
    return cell is not None and f"/{cell}/" in name


def _saved_names(network: _Network, part: Tuple[int, int]) -> List[str]:
    layer, direction = part
    cell = (
        "rnn/multi_rnn_cell/cell_{}" if network.directions == 1 else "stack_bidirectional_rnn/cell_{}/bidirectional_rnn"
    )
    way = "" if network.directions == 1 else f"/{('fw', 'bw')[direction]}"
    return [f"{cell.format(layer)}{way}/{_CELL[network.mode]}/{name}" for name in _PARTS[network.mode]]


def _saved(
    graph: Graph, network: _Network, variables: Mapping[str, Sequence[int]], buffer: str, used: Dict[str, str]
) -> _Weights:
    """Add variables (name -> shape) for the parameters as tf.contrib.cudnn_rnn saves them; raises _Refused."""
    names = list(variables)
    others = sorted({used[name] for name in names if used.get(name, buffer) != buffer})
    if others:
        raise _Refused(f"the checkpoint has {names[0]} once, for {others[0]} and for {buffer}")
    units = network.units
    inputs = variables[names[0]][0] - units if len(variables[names[0]]) == 2 else 0
    expected = [shape for layer, _ in network.parts for shape in _saved_shapes(network, layer, inputs)]
    for name, shape in zip(names, expected):
        if list(variables[name]) != shape:
            raise _Refused(f"the checkpoint's {name} has shape {list(variables[name])}, expected {shape}")
    tensors = []
    for name, shape in zip(names, expected):
        if used.setdefault(name, buffer) == buffer and name not in graph:
            node = graph.add(name, "VariableV2", [], dtype=network.dtype.as_datatype_enum)
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
        tensors.append((graph.add_read(f"{name}/read", name), shape))
    return _Weights(tensors, inputs, tuple(names), buffer)


def _saved_shapes(network: _Network, layer: int, inputs: int) -> List[List[int]]:
    units, width = network.units, network.width(layer, inputs)
    if network.mode == "lstm":
        return [[width + units, 4 * units], [4 * units]]
    return [[width + units, 2 * units], [width, units], [units, units], [2 * units], [units], [units]]


def _inserted(graph: Graph, network: _Network, weights: _Weights) -> List[Ref]:
    """Add the loops of a network; returns its output and the last states."""
    node, dtype = network.node, network.dtype
    sources: Dict[str, Tuple[Ref, Any, Any]] = {
        "inputs": (node.inputs[0], dtype, [None, None, weights.inputs]),
        "h": (node.inputs[1], dtype, [None, None, network.units]),
    }
    if network.mode == "lstm":
        sources["c"] = (node.inputs[2], dtype, [None, None, network.units])
    if len(node.inputs) > 4:
        sources["lengths"] = (node.inputs[4], tf.int32, [None])
    for number, (ref, shape) in enumerate(weights.tensors):
        sources[f"weights_{number}"] = (ref, dtype, shape)

    def build(**given: Any) -> Sequence[Any]:
        parts = [given[f"weights_{number}"] for number in range(len(weights.tensors))]
        unpacked = _from_saved(network, weights, parts) if weights.names else _from_buffer(network, weights, parts[0])
        return _built(network, unpacked, given)

    return insert(graph, f"{node.name}/loop", sources, build)


def _called(graph: Graph, network: _Network, weights: _Weights, context: Context) -> List[Ref]:
    """Add a call of a network, with a function for GPUs and one for CPUs; returns its output and the last states."""
    node, dtype = network.node, network.dtype
    keys = ["inputs", "h", "c", "params", "lengths"][: len(node.inputs)]
    types = [tf.int32 if key == "lengths" else dtype for key in keys]
    sources = {key: (ref, of, None) for key, ref, of in zip(keys, node.inputs, types)}
    if weights.names:
        sources["params"] = (_packed(graph, network, weights), dtype, None)
    # Not the sizes of the graph's own batch: a signature may have others.
    shapes = [[None, None, network.units * network.directions]]
    shapes += [[None, None, network.units]] * (2 if network.mode == "lstm" else 1)
    name = _free_name(graph, node)
    functions = {
        device: Defun(*types, func_name=f"{name}_on_{device.lower()}")(body)
        for device, body in (
            ("CPU", lambda *given: _loops_of(network, weights, dict(zip(keys, given)))),
            ("GPU", lambda *given: _op_of(network, dict(zip(keys, given)))[: len(shapes)]),
        )
    }

    def build(**given: Any) -> Sequence[Any]:
        functions["GPU"].add_to_graph(tf.get_default_graph())
        how = {"args": [given[key] for key in keys], "Tout": [dtype] * len(shapes), "f": functions["CPU"]}
        return [
            tf.ensure_shape(one, shape)
            for one, shape in zip(tf.raw_ops.StatefulPartitionedCall(**how, name="call"), shapes)
        ]

    found = insert(graph, node.name, sources, build)
    for device, function in functions.items():
        definition = graph.functions[function.name]
        definition.attr[IMPLEMENTS].s = name.encode()
        definition.attr[PREFERS].s = device.encode()
    return found


def _free_name(graph: Graph, node: Node) -> str:
    """A name for the functions of a node, with the first number with which no other function has it."""
    name, number = re.sub(r"\W", "_", node.name), 0
    while any(other.startswith(f"{name}_{number}_on_") for other in graph.functions):
        number += 1
    return f"{name}_{number}"


def _loops_of(network: _Network, weights: _Weights, given: Dict[str, Any]) -> Sequence[Any]:
    """The body of the function for CPUs; `given` are its arguments, whose shapes functions do not have."""
    if network.mode == "gru":
        del given["c"]
    shapes = {key: [None, None, network.units] for key in ("h", "c")}
    shapes.update(inputs=[None, None, weights.inputs], params=[network.size(weights.inputs)])
    for key in shapes.keys() & given.keys():
        given[key].set_shape(shapes[key])
    return _built(network, _from_buffer(network, weights, given.pop("params")), given)


def _op_of(network: _Network, given: Mapping[str, Any]) -> List[Any]:
    """The body of the function for GPUs: CudnnRNNV3, of whichever op it was.

    CudnnRNN and CudnnRNNV2 know no lengths of sequences, and fail every request where TensorFlow was built with cuDNN
    9, as the package of 2.21 is: "Sequence lengths for RNN are required from CUDNN 9.0+", cuda_dnn.cc of TensorFlow.
    Every release from 1.14 on has kernels of CudnnRNNV3.
    """
    lengths = given.get("lengths")
    if lengths is None:
        shape = tf.shape(given["inputs"])
        lengths = tf.fill(shape[1:2], shape[0])
    kept = ("T", "rnn_mode", "input_mode", "direction", "num_proj", "time_major")
    attributes = {key: value for key, value in network.node.attr.items() if key in kept}
    attributes["is_training"] = tf.AttrValue(b=False)  # which computes the same, and keeps nothing for a gradient
    inputs = [given[key] for key in ("inputs", "h", "c", "params")] + [lengths]
    types = [network.dtype] * 4 + [tf.int8]
    return list(tf.get_default_graph().create_op("CudnnRNNV3", inputs, types, attrs=attributes).outputs)


def _packed(graph: Graph, network: _Network, weights: _Weights) -> Ref:
    """Add what lays the tensors of tf.contrib.cudnn_rnn out as cuDNN's buffer."""
    sources = {f"weights_{number}": (ref, network.dtype, shape) for number, (ref, shape) in enumerate(weights.tensors)}

    def build(**given: Any) -> Sequence[Any]:
        return [_to_buffer(network, _from_saved(network, weights, list(given.values())))]

    return insert(graph, f"{network.node.name}/params", sources, build)[0]


def _from_saved(network: _Network, weights: _Weights, tensors: Sequence[Any]) -> Dict[Tuple[int, int], LayerWeights]:
    """The weights of each layer, from the tensors of tf.contrib.cudnn_rnn."""
    found = {}
    count = len(_PARTS[network.mode])
    for number, part in enumerate(network.parts):
        sizes = [network.width(part[0], weights.inputs), network.units]
        given = tensors[number * count : (number + 1) * count]
        kernel, recurrent = tf.split(given[0], sizes, axis=0)
        if network.mode == "lstm":
            found[part] = LayerWeights(kernel, recurrent, given[1], gates="icfo")
        else:
            _, new, hidden, bias, new_bias, hidden_bias = given
            found[part] = LayerWeights(
                kernel=tf.concat([kernel, new], 1),
                recurrent=tf.concat([recurrent, hidden], 1),
                bias=tf.concat([bias, new_bias], 0),
                recurrent_bias=hidden_bias,
            )
    return found


def _from_buffer(network: _Network, weights: _Weights, buffer: Any) -> Dict[Tuple[int, int], LayerWeights]:
    """The weights of each layer, cut out of cuDNN's buffer."""
    units, gates = network.units, _GATES[network.mode]
    sizes = []
    for layer, _ in network.parts:
        sizes += [gates * units * network.width(layer, weights.inputs), gates * units * units]
    sizes += [gates * units] * (2 * len(network.parts))
    pieces = tf.split(buffer, sizes)
    biases = pieces[2 * len(network.parts) :]
    found = {}
    for number, part in enumerate(network.parts):
        width = network.width(part[0], weights.inputs)
        kernel = tf.transpose(tf.reshape(pieces[2 * number], [gates * units, width]))
        recurrent = tf.transpose(tf.reshape(pieces[2 * number + 1], [gates * units, units]))
        bias, second = biases[2 * number : 2 * number + 2]
        if network.mode == "lstm":
            found[part] = LayerWeights(kernel, recurrent, bias + second)
        else:
            two, last = tf.split(second, [2 * units, units])
            bias = bias + tf.concat([two, tf.zeros_like(last)], 0)
            found[part] = LayerWeights(kernel, recurrent, bias, recurrent_bias=last)
    return found


def _to_buffer(network: _Network, layers: Mapping[Tuple[int, int], LayerWeights]) -> Any:
    """The weights of each layer as cuDNN's buffer."""
    return _laid_out([layers[part] for part in network.parts])


def lstm_buffer(weights: LayerWeights) -> Any:
    """The weights of an LSTM of one layer and direction as cuDNN's buffer."""
    return _laid_out([weights])


def _laid_out(layers: Sequence[LayerWeights]) -> Any:
    matrices, biases = [], []
    for weights in layers:
        given = (weights.kernel, weights.recurrent, weights.bias)
        if weights.recurrent_bias is None:
            given = tuple(_reordered(one, weights.gates, "ifco") for one in given)
            second = tf.zeros_like(given[2])
        else:
            units = int(weights.recurrent.shape[0])
            second = tf.concat([tf.zeros([2 * units], weights.bias.dtype), weights.recurrent_bias], 0)
        matrices += [tf.reshape(tf.transpose(one), [-1]) for one in given[:2]]
        biases += [given[2], second]
    return tf.concat(matrices + biases, 0)


def _reordered(values: Any, gates: str, order: str) -> Any:
    """The gates along the last axis in another order."""
    parts = dict(zip(gates, tf.split(values, len(gates), axis=-1)))
    return tf.concat([parts[gate] for gate in order], -1)


def _built(network: _Network, weights: Mapping[Tuple[int, int], LayerWeights], given: Mapping[str, Any]) -> List[Any]:
    """The output and the last states, from the inputs and the first ones."""
    steps, first = given["inputs"], [given[key] for key in ("h", "c") if key in given]
    if not network.is_time_major:
        steps, first = tf.transpose(steps, [1, 0, 2]), [tf.transpose(state, [1, 0, 2]) for state in first]
    last = []
    for layer in range(network.layers):
        outputs = []
        for direction in range(network.directions):
            number = layer * network.directions + direction
            begin = [state[number] for state in first]
            lengths = given.get("lengths")
            output, end = run_layer(steps, weights[layer, direction], begin, lengths, backward=direction > 0)
            outputs.append(output)
            last.append(end)
        steps = outputs[0] if len(outputs) == 1 else tf.concat(outputs, 2)
    states = [tf.stack(of_parts) for of_parts in zip(*last)]
    if not network.is_time_major:
        steps, states = tf.transpose(steps, [1, 0, 2]), [tf.transpose(state, [1, 0, 2]) for state in states]
    return [steps, *states]
