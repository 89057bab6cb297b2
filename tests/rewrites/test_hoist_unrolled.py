"""Products of unrolled recurrent layers with their inputs are computed before the first step, and the answers stay."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.names import parsed
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites import hoist_unrolled
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.for_serving import FOR_SERVING
from ckpt2saved.rewrites.hoist_unrolled import HoistUnrolled
from ckpt2saved.rewrites.rewrite import apply
from tests.support.recurrent import exported, gru_step, keras_step, trained, weights

OLD = pytest.mark.skipif(not tf.VERSION.startswith("1."), reason="today's TensorFlow refuses the cells")
STEPS, DEPTH, HIDDEN = 4, 6, 5


def unrolled(entries, step, hidden=HIDDEN):
    """The outputs of `step`(x, output), as static_rnn makes them."""
    output, outputs = tf.zeros([tf.shape(entries[0])[0], hidden], entries[0].dtype), []
    for x in entries:
        output = step(x, output)
        outputs.append(output)
    return outputs


def simple(entries, join=lambda x, h: [x, h], depth=DEPTH, name="kernel"):
    """A cell of one gate."""
    kernel, bias = weights(name, depth + HIDDEN, HIDDEN), weights(name + "_bias", HIDDEN)
    return unrolled(entries, lambda x, h: tf.tanh(tf.nn.bias_add(tf.matmul(tf.concat(join(x, h), 1), kernel), bias)))


def without_bias(entries):
    kernel = weights("kernel", DEPTH + HIDDEN, HIDDEN)
    return unrolled(entries, lambda x, h: tf.tanh(tf.matmul(tf.concat([x, h], 1), kernel)))


def output_is_a_product(entries):
    """Also the last one, which is served as it is."""
    kernel = weights("kernel", DEPTH + HIDDEN, HIDDEN)
    made = unrolled(entries, lambda x, h: tf.matmul(tf.concat([x, h], 1), kernel) * 1)
    return [*made[:-1], made[-1].op.inputs[0]]


def gated(entries):
    """A GRU: two products at each step."""
    return unrolled(entries, gru_step(DEPTH, HIDDEN))


def as_keras(entries):
    """Parts of the kernels are taken at every step; a product for each gate."""
    return unrolled(entries, keras_step(DEPTH, HIDDEN))


def backwards(entries):
    return simple(entries[::-1])


def two_layers(entries):
    """The inputs of the second are the outputs of the first, which have no sequence."""
    return simple(simple(entries), depth=HIDDEN, name="second")


def both_ways(entries):
    pairs = zip(simple(entries), simple(entries[::-1], name="backward")[::-1])
    return [tf.concat(pair, 1) for pair in pairs]


BUILDS = {
    "a concatenation": (simple, {"net/kernel": STEPS}),
    "without a bias": (without_bias, {"net/kernel": STEPS}),
    "an output that is a product": (output_is_a_product, {"net/kernel": STEPS}),
    "two gates": (gated, {"net/gates": STEPS, "net/kernel": STEPS}),
    "parts of kernels": (as_keras, {"net/kernel": 2 * STEPS, "net/recurrent": 2 * STEPS}),
    "backwards": (backwards, {"net/kernel": STEPS}),
    "two layers": (two_layers, {"net/kernel": STEPS, "net/second": STEPS}),
    "both ways": (both_ways, {"net/kernel": STEPS, "net/backward": STEPS}),
}


def graph_of(build, axis=1):
    """A graph of an unrolled layer, and its placeholder and output."""
    graph = tf.Graph()
    with graph.as_default(), v1_control_flow():
        tf.set_random_seed(1)
        x = tf.placeholder(tf.float32, [None, STEPS, DEPTH], name="x")
        with tf.variable_scope("net", use_resource=False):
            outputs = build(tf.unstack(x, STEPS, 1) if axis else x)
        tf.identity(tf.stack(outputs, 1) if isinstance(outputs, list) else outputs, name="y")
        if isinstance(outputs, list):
            tf.identity(outputs[-1], name="last")
    return graph


def compared(build, outputs=("y:0",), axis=1):
    """What was applied, and the rewritten GraphDef; the answers are the same to 1e-6."""
    graph = graph_of(build, axis)
    with graph.as_default(), tf.Session() as session:
        session.run(tf.global_variables_initializer())
        made = apply([HoistUnrolled()], Context.of(graph.as_graph_def(), outputs, ["x:0"]), "refused")
        found = made.graph_def()
        x = graph.get_tensor_by_name("x:0")
        kept = ("VariableV2", "VarHandleOp")
        shared = {f"{n.name}:0": graph.get_tensor_by_name(f"{n.name}:0") for n in found.node if n.op in kept}
        others = tf.import_graph_def(found, {**shared, "x:0": x}, list(outputs), name="other")
        for batch in (1, 3):
            given = np.random.RandomState(batch).uniform(-1, 1, (batch, STEPS, DEPTH)).astype("float32")
            wanted, answers = session.run([list(outputs), others], {x: given})
            for one, other in zip(wanted, answers):
                assert np.abs(one).max() > 0.01
                np.testing.assert_allclose(other, one, rtol=0, atol=1e-6)
    return made, found


def counts(made):
    return {edit.node: int(edit.text.rsplit(": ", 1)[1].split()[0]) for edit in made.edits}


@pytest.mark.parametrize("kind", sorted(BUILDS))
def test_products_with_the_inputs_leave_the_steps(kind):
    """The answers stay; nothing concatenates inputs and states any more, and all steps are one product."""
    build, expected = BUILDS[kind]
    made, found = compared(build, ("y:0", "last:0"))
    assert counts(made) == expected and made.notes == ()
    nodes = {node.name: node for node in found.node}
    left = [nodes[parsed(node.input[0])[0]] for node in found.node if node.op == "MatMul"]
    assert "Reshape" in [node.op for node in left] and "ConcatV2" not in [node.op for node in left]
    assert all(edit.is_unrolled and edit.kind == "recurrent" for edit in made.edits)


def test_parts_of_kernels_are_taken_once():
    _, found = compared(as_keras)
    ops = [node.op for node in found.node]
    assert ops.count("Split") == 2 and ops.count("BiasAdd") == 2  # not once for each of the steps


def state_first(entries):
    return simple(entries, join=lambda x, h: [h, x])


def three_joined(entries):
    return simple(entries, join=lambda x, h: [x[:, :2], x, h], depth=DEPTH + 2)


def transposed_kernel(entries):
    kernel = weights("kernel", HIDDEN, DEPTH + HIDDEN)
    return unrolled(entries, lambda x, h: tf.tanh(tf.matmul(tf.concat([x, h], 1), kernel, transpose_b=True)))


def on_a_branch(entries):
    """As static_rnn with sequence lengths."""
    kernel = weights("kernel", DEPTH + HIDDEN, HIDDEN)

    def step(x, h):
        return tf.cond(tf.reduce_sum(h) > -9, lambda: tf.tanh(tf.matmul(tf.concat([x, h], 1), kernel)), lambda: h)

    return unrolled(entries, step)


def of_doubles(entries):
    kernel = tf.cast(weights("kernel", DEPTH + HIDDEN, HIDDEN), tf.float64)
    arriving = tf.unstack(tf.cast(tf.stack(entries), tf.float64))
    made = unrolled(arriving, lambda x, h: tf.tanh(tf.matmul(tf.concat([x, h], 1), kernel)))
    return [tf.cast(one, tf.float32) for one in made]


def decoding(entries):
    """The input of each step is made from the output before."""
    kernel = weights("kernel", 2 * HIDDEN, HIDDEN)
    return unrolled(entries, lambda x, h: tf.tanh(tf.matmul(tf.concat([h + tf.reduce_sum(x), h], 1), kernel)))


def no_states(entries):
    """A product for each step, of inputs that are no sequence, as of logits."""
    kernel = weights("kernel", DEPTH, HIDDEN)
    return [tf.matmul(x * number, kernel) for number, x in enumerate(entries, 1)]


def siamese(entries):
    """The same kernel for two pairs that don't depend on each other."""
    kernel = weights("kernel", 2 * DEPTH, HIDDEN)
    return [tf.tanh(tf.matmul(tf.concat(pair, 1), kernel)) for pair in zip(entries[::2], entries[1::2])]


def two_layers_with_one_kernel(entries):
    kernel = weights("kernel", HIDDEN + HIDDEN, HIDDEN)

    def layer(inputs):
        return unrolled(inputs, lambda x, h: tf.tanh(tf.matmul(tf.concat([x, h], 1), kernel)))

    return layer(layer([x[:, :HIDDEN] for x in entries]))


def depth_is_unknown(entries):
    """Inputs whose columns are not known to be as many at each step."""
    kernel = weights("kernel", DEPTH + HIDDEN, HIDDEN)
    inputs = [tf.placeholder_with_default(x * 2, [None, None]) for x in entries]
    return unrolled(inputs, lambda x, h: tf.tanh(tf.matmul(tf.concat([x, h], 1), kernel)))


LEFT = [
    (state_first, "the state stands before the input, not after it"),
    (three_joined, "3 tensors are joined before the product, not input and state"),
    (transposed_kernel, "the product transposes a matrix"),
    (on_a_branch, "a condition decides which steps are computed"),
    (of_doubles, "they are of float64, and only those of float32 are taken out"),
    (decoding, ""),
    (no_states, ""),
    (siamese, ""),
    (two_layers_with_one_kernel, ""),
    (depth_is_unknown, ""),
]


@pytest.mark.parametrize("build, why", LEFT, ids=lambda value: getattr(value, "__name__", ""))
def test_other_products_stay(build, why):
    """Those of which it is not known that they can be computed before; a note says why of recurrent layers."""
    made, _ = compared(build)
    assert made.edits == ()
    assert [(note.code, note.reason) for note in made.notes] == ([("products-in-loop", why)] if why else [])
    assert all(" at each step, as in the training" in note.text for note in made.notes)


def cells(name):
    return {
        "basic": tf.nn.rnn_cell.BasicLSTMCell,
        "lstm": tf.nn.rnn_cell.LSTMCell,
        "gru": tf.nn.rnn_cell.GRUCell,
        "peepholes": lambda size: tf.nn.rnn_cell.LSTMCell(size, use_peepholes=True),
    }[name](HIDDEN)


def static(name):
    return lambda entries: tf.nn.static_bidirectional_rnn(cells(name), cells(name), entries, dtype=tf.float32)[0]


@OLD
@pytest.mark.parametrize("name, kernels", [("basic", 2), ("lstm", 2), ("gru", 4), ("peepholes", 2)])
def test_cells_of_tensorflow_1(name, kernels):
    """In static_bidirectional_rnn."""
    made, _ = compared(static(name))
    assert list(counts(made).values()) == [STEPS] * kernels


@OLD
@pytest.mark.parametrize(
    "name, how, gates", [("LSTM", {}, 4), ("LSTM", {"implementation": 2}, 1), ("GRU", {"reset_after": True}, 3)]
)
def test_layers_of_keras(name, how, gates):
    def build(x):
        layer = getattr(tf.keras.layers, name)(HIDDEN, return_sequences=True, unroll=True, **how)
        return tf.keras.layers.Bidirectional(layer)(x)

    made, found = compared(build, axis=0)
    kernels = [edit.node for edit in made.edits]
    assert sum("recurrent_kernel" not in kernel for kernel in kernels) == 2, kernels
    # One product of all inputs for each kernel and gate, and for each step those of the states.
    assert sum(node.op == "MatMul" for node in found.node) == 2 * gates * (STEPS + 1)


# Exports.


def test_an_export_says_what_left_the_steps(run, tmp_path):
    made, output = exported(run, tmp_path, trained(tmp_path, graph_of(gated)))
    said = "2 kernels of unrolled layers: products with the inputs are computed before the steps"
    assert f"\nrecurrent   {said}\n" in output
    assert made["hoisted_loops"] == ["net/gates", "net/kernel"] and made["parity"]["answers"]


def test_wrong_products_are_found_out(run, tmp_path, monkeypatch):
    """By the comparison with the graph before; then the layers stay, and people are told."""
    right = hoist_unrolled.split_kernel
    monkeypatch.setattr(hoist_unrolled, "split_kernel", lambda *given: [right(*given)[0] * 1.01, right(*given)[1]])
    made, output = exported(run, tmp_path, trained(tmp_path, graph_of(gated)))
    assert made["hoisted_loops"] == [] and made["parity"]["answers"], output
    assert "\nrecurrent   layers stay as they are: " in output and "\ndiffers     " in output


def test_it_is_on_by_default():
    assert any(isinstance(rewrite, HoistUnrolled) for rewrite in FOR_SERVING)
