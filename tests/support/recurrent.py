"""Recurrent layers with made-up weights: in Keras on the CPU, and as the parameters of cuDNN."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.graph.tf1 import tf


@dataclass(frozen=True)
class Layers:
    """The weights of recurrent layers as Keras has them: (kernel, recurrent kernel, bias) of each direction."""

    mode: str  # "lstm" or "gru"
    units: int
    weights: Sequence[Sequence[Tuple[Any, Any, Any]]]  # layer -> direction

    @property
    def directions(self) -> int:
        return len(self.weights[0])

    def states(self, batch: int) -> List[Any]:
        """First states [layers * directions, batch, units]; of an LSTM h and c."""
        shape = [len(self.weights) * self.directions, batch, self.units]
        return [_random(f"state{number}", shape) for number in range(2 if self.mode == "lstm" else 1)]

    def scaled(self, factor: float) -> Layers:
        """The same layers with their weights multiplied."""
        return replace(self, weights=[[tuple(one * factor for one in way) for way in layer] for layer in self.weights])

    def buffer(self) -> Any:
        """The parameters as cuDNN lays them out."""
        parts = [part for layer in self.weights for part in layer]
        matrices = [gate.T.ravel() for part in parts for matrix in part[:2] for gate in self._gates(matrix)]
        biases = [gate for part in parts for bias in self._biases(part[2]) for gate in self._gates(bias)]
        return np.concatenate(matrices + biases)

    def _biases(self, bias: Any) -> Sequence[Any]:
        return bias if bias.ndim == 2 else (bias * 0.25, bias * 0.75)

    def _gates(self, values: Any) -> Sequence[Any]:
        """In cuDNN's order: of an LSTM Keras' own, i f c o; of a GRU r z n, where Keras has z r h."""
        gates = np.split(values, 4 if self.mode == "lstm" else 3, axis=-1)
        return gates if self.mode == "lstm" else [gates[1], gates[0], gates[2]]

    def contrib(self, scope: str = "") -> Any:
        """The tensors that a Saver writes for tf.contrib.cudnn_rnn's layers, by name."""
        found = {}
        for layer, directions in enumerate(self.weights):
            for number, (kernel, recurrent, bias) in enumerate(directions):
                prefix = f"{scope}rnn/multi_rnn_cell/cell_{layer}"
                if len(directions) == 2:
                    way = ("fw", "bw")[number]
                    prefix = f"{scope}stack_bidirectional_rnn/cell_{layer}/bidirectional_rnn/{way}"
                both = [self._gates(np.concatenate([kernel, recurrent]))]
                one, two = [self._gates(part) for part in self._biases(bias)]
                if self.mode == "lstm":
                    icfo = [0, 2, 1, 3]
                    prefix += "/cudnn_compatible_lstm_cell"
                    found[f"{prefix}/kernel"] = np.concatenate([both[0][g] for g in icfo], 1)
                    found[f"{prefix}/bias"] = np.concatenate([one[g] + two[g] for g in icfo])
                else:
                    prefix += "/cudnn_compatible_gru_cell"
                    found[f"{prefix}/gates/kernel"] = np.concatenate(both[0][:2], 1)
                    found[f"{prefix}/gates/bias"] = np.concatenate([one[0] + two[0], one[1] + two[1]])
                    found[f"{prefix}/candidate/input_projection/kernel"] = self._gates(kernel)[2]
                    found[f"{prefix}/candidate/hidden_projection/kernel"] = self._gates(recurrent)[2]
                    found[f"{prefix}/candidate/input_projection/bias"] = one[2]
                    found[f"{prefix}/candidate/hidden_projection/bias"] = two[2]
        return found

    def answers(self, inputs: Any, states: Sequence[Any], lengths: Optional[Sequence[int]] = None) -> List[Any]:
        """What Keras computes on the CPU of inputs [time, batch, size]: output and last states, in cuDNN's shapes."""
        steps, last, number = inputs, [], 0
        mask = np.arange(inputs.shape[0])[:, None] < (lengths or [inputs.shape[0]] * inputs.shape[1])
        for layer in self.weights:
            outputs = []
            for direction, weights in enumerate(layer):
                first = [state[number] for state in states]
                output, *ends = self._keras(weights, direction > 0, steps, first, mask)
                outputs.append(output * mask[:, :, None])
                last.append(ends)
                number += 1
            steps = np.concatenate(outputs, axis=2)
        return [steps, *(np.stack(ends) for ends in zip(*last))]

    def _keras(self, weights: Any, backward: bool, steps: Any, first: Sequence[Any], mask: Any) -> List[Any]:
        how = {"return_sequences": True, "return_state": True, "go_backwards": backward, "dtype": steps.dtype.name}
        how["recurrent_activation"] = "sigmoid"

        def layer() -> Any:
            if self.mode == "lstm":
                return tf.keras.layers.LSTM(self.units, **how)
            return tf.keras.layers.GRU(self.units, reset_after=True, **how)

        given = [np.swapaxes(steps, 0, 1), np.swapaxes(mask, 0, 1)]
        if tf.executing_eagerly():
            made = layer()
            made.build(given[0].shape)
            made.set_weights(weights)
            found = made(tf.constant(given[0]), mask=tf.constant(given[1]), initial_state=list(map(tf.constant, first)))
            found = [one.numpy() for one in found]
        else:
            with tf.Graph().as_default(), tf.Session() as session:
                made = layer()
                state = list(map(tf.constant, first))
                tensors = made(tf.constant(given[0]), mask=tf.constant(given[1]), initial_state=state)
                for variable, value in zip(made.weights, weights):
                    variable.load(value, session)
                found = session.run(tensors)
        output = np.swapaxes(found[0], 0, 1)
        return [output[::-1] if backward else output, *found[1:]]


def layers(mode: str, inputs: int, units: int, count: int = 1, directions: int = 1, dtype: str = "float32") -> Layers:
    """Layers with made-up weights."""
    gates = 4 if mode == "lstm" else 3
    found = []
    for number in range(count):
        size = units * directions if number else inputs
        bias = [gates * units] if mode == "lstm" else [2, gates * units]
        shapes = [[size, gates * units], [units, gates * units], bias]
        found.append(
            [
                tuple(_random(f"{number}{way}{shape}", shape).astype(dtype) for shape in shapes)
                for way in range(directions)
            ]
        )
    return Layers(mode, units, found)


def _random(name: str, shape: Sequence[int]) -> Any:
    return np.random.RandomState(sum(map(ord, name))).uniform(-1, 1, shape).astype("float32")


def weights(name, *shape):
    """A variable that is not what initializers make."""
    values = np.random.RandomState(sum(map(ord, name))).uniform(-1, 1, shape).astype("float32")
    return tf.get_variable(name, initializer=values)


def gru_step(depth, hidden):
    """A step of a GRU, from its input and its last output: two products."""
    gates, kernel = weights("gates", depth + hidden, 2 * hidden), weights("kernel", depth + hidden, hidden)
    bias = weights("bias", hidden)

    def step(x, h):
        r, u = tf.split(tf.sigmoid(tf.matmul(tf.concat([x, h], 1), gates)), 2, 1)
        return u * h + (1 - u) * tf.tanh(tf.matmul(tf.concat([x, r * h], 1), kernel) + bias)

    return step


def keras_step(depth, hidden):
    """A step that takes parts of its kernels, as those of Keras do: a product for each gate."""
    kernel, recurrent = weights("kernel", depth, 2 * hidden), weights("recurrent", hidden, 2 * hidden)
    bias = weights("bias", 2 * hidden)

    def step(x, h):
        parts = zip(tf.split(kernel, 2, 1), tf.split(bias, 2), (recurrent[:, :hidden], recurrent[:, hidden:]))
        one, two = [tf.nn.bias_add(tf.matmul(x, k), b) + tf.matmul(h, r) for k, b, r in parts]
        return tf.sigmoid(one) * tf.tanh(two)

    return step


def trained(folder, graph):
    """The prefix of a checkpoint of a graph with its initial variables."""
    with graph.as_default(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return tf.train.Saver().save(session, str(folder / "run" / "model.ckpt"))


def exported(run, folder, prefix):
    """The content of --json and the output of the export of a training with the tensors x and y."""
    result = run("export", "-c", prefix, "--input=x", "--output=y", "-o", folder / "m", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output[result.output.index("{\n") :]), result.output


def check_answers(session, rewritten, depth):
    """A rewritten GraphDef answers as the graph of a session, from x to y, to 1e-6, with the variables of the session."""
    graph = session.graph
    x, y = [graph.get_tensor_by_name(name) for name in ("x:0", "y:0")]
    variables = [node.name for node in rewritten.node if node.op in ("VariableV2", "VarHandleOp")]
    shared = {f"{name}:0": graph.get_tensor_by_name(f"{name}:0") for name in variables}
    (other,) = tf.import_graph_def(rewritten, {**shared, "x:0": x}, ["y:0"], name="other")
    for batch in (1, 3):
        given = np.random.RandomState(batch).uniform(-1, 1, (7, batch, depth)).astype("float32")
        # Not in one run: the loops of both have the same names.
        wanted, answers = [session.run(tensor, {x: given}) for tensor in (y, other)]
        assert np.abs(wanted).max() > 0.01
        np.testing.assert_allclose(answers, wanted, rtol=0, atol=1e-6)
