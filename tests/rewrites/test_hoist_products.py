"""Products of recurrent layers with their inputs are computed before the loop, and the answers stay."""

from __future__ import annotations

import pytest

import ckpt2saved
from ckpt2saved.graph.names import parsed
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites import hoist_products
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.for_serving import FOR_SERVING
from ckpt2saved.rewrites.hoist_products import HoistProducts
from ckpt2saved.rewrites.rewrite import apply
from tests.support.recurrent import check_answers, exported, gru_step, keras_step, weights

OLD = pytest.mark.skipif(not tf.VERSION.startswith("1."), reason="today's TensorFlow refuses the cells")
DEPTH, HIDDEN = 6, 5


def loop(x, step, indices=None, hidden=HIDDEN):
    """The outputs [time, batch, hidden] of `step`(x, output) over `x` [time, batch, depth], as dynamic_rnn makes them."""
    steps, batch = tf.shape(x)[0], tf.shape(x)[1]
    arriving = tf.TensorArray(x.dtype, steps)
    arriving = arriving.unstack(x) if indices is None else arriving.scatter(indices(steps), x)

    def body(time, output, outputs):
        output = step(arriving.read(time), output)
        return time + 1, output, outputs.write(time, output)

    start = [0, tf.zeros([batch, hidden], x.dtype), tf.TensorArray(x.dtype, steps)]
    with v1_control_flow():
        made = tf.while_loop(lambda time, *_: time < steps, body, start)
    return made[-1].stack()


def simple(x, join=lambda x, output: [x, output], indices=None):
    """A cell of one gate."""
    kernel, bias = weights("kernel", DEPTH + HIDDEN, HIDDEN), weights("bias", HIDDEN)
    return loop(x, lambda x, h: tf.tanh(tf.nn.bias_add(tf.matmul(tf.concat(join(x, h), 1), kernel), bias)), indices)


def without_bias(x):
    kernel = weights("kernel", DEPTH + HIDDEN, HIDDEN)
    return loop(x, lambda x, h: tf.tanh(tf.matmul(tf.concat([x, h], 1), kernel)))


def gated(x):
    """A GRU: two products at each step."""
    return loop(x, gru_step(DEPTH, HIDDEN))


def as_keras(x):
    """Parts of the kernels are taken at every step; a product for each gate."""
    return loop(x, keras_step(DEPTH, HIDDEN))


def on_a_branch(x):
    """A product beside a condition, and one on a branch, whose step comes through a Switch."""
    kernel = weights("kernel", DEPTH + HIDDEN, HIDDEN)

    def step(x, h):
        made = tf.matmul(tf.concat([x, h], 1), kernel)
        return tf.cond(tf.reduce_sum(h) > 0, lambda: made, lambda: tf.tanh(tf.matmul(x, kernel[:DEPTH])))

    return loop(x, step)


def two_loops(x):
    """Both ways with the same kernel."""
    kernel = weights("kernel", DEPTH + HIDDEN, HIDDEN)

    def step(x, h):
        return tf.tanh(tf.matmul(tf.concat([x, h], 1), kernel))

    return loop(x, step) + loop(tf.reverse(x, [0]), step)


def two_layers_in_a_loop(x):
    """The inputs of the second are the outputs of the first at the same step: only one product can leave."""
    first, second = weights("first", DEPTH + HIDDEN, HIDDEN), weights("second", HIDDEN, HIDDEN)
    return loop(x, lambda x, h: tf.tanh(tf.matmul(tf.tanh(tf.matmul(tf.concat([x, h], 1), first)), second)))


def cells(name):
    return {
        "basic": tf.nn.rnn_cell.BasicLSTMCell,
        "lstm": tf.nn.rnn_cell.LSTMCell,
        "gru": tf.nn.rnn_cell.GRUCell,
        "peepholes": lambda size: tf.nn.rnn_cell.LSTMCell(size, use_peepholes=True),
        "projection": lambda size: tf.nn.rnn_cell.LSTMCell(size, num_proj=3),
    }[name](HIDDEN)


def dynamic(name, lengths=False):
    def build(x):
        count = tf.fill([tf.shape(x)[1]], tf.shape(x)[0] - 1) if lengths else None
        pair = cells(name), cells(name)
        made, _ = tf.nn.bidirectional_dynamic_rnn(*pair, x, count, dtype=tf.float32, time_major=True)
        return tf.concat(made, 2)

    return build


def keras(name, **how):
    def build(x):
        layer = getattr(tf.keras.layers, name)(HIDDEN, return_sequences=True, **how)
        return tf.keras.layers.Bidirectional(layer)(tf.transpose(x, [1, 0, 2]))

    return build


def compared(build):
    """The edits, and the rewritten GraphDef; the answers are the same to 1e-6."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.set_random_seed(1)
        x = tf.placeholder(tf.float32, [None, None, DEPTH], name="x")
        with tf.variable_scope("net", use_resource=False):
            y = build(x)
        y = tf.identity(y, name="y")
        session.run(tf.global_variables_initializer())
        made = apply([HoistProducts()], Context.of(graph.as_graph_def(), ["y:0"], ["x:0"]), "refused")
        found = made.graph_def()
        check_answers(session, found, DEPTH)
    return made, found


def multiplied(graph_def):
    """The op that makes the first input of each product."""
    ops = {node.name: node.op for node in graph_def.node}
    return [ops[parsed(node.input[0])[0]] for node in graph_def.node if node.op == "MatMul"]


BUILDS = {
    "a concatenation": (simple, 1),
    "without a bias": (without_bias, 1),
    "two gates": (gated, 2),
    "parts of kernels": (as_keras, 4),
    "two layers": (two_layers_in_a_loop, 1),
}


@pytest.mark.parametrize("kind", sorted(BUILDS))
def test_products_with_the_inputs_leave_the_loop(kind):
    """The answers stay; nothing concatenates inputs and states any more."""
    build, count = BUILDS[kind]
    made, found = compared(build)
    assert [edit.kind for edit in made.edits] == ["recurrent"] and f": {count} products" in made.edits[0].text
    assert not {"ConcatV2", "TensorArrayReadV3"} & {node.op for node in found.node}
    assert "Reshape" in multiplied(found)  # all steps of the inputs


def test_loops_with_the_same_kernel():
    made, _ = compared(two_loops)
    assert [": 1 products" in edit.text for edit in made.edits] == [True, True]


def test_a_condition_in_a_loop():
    """The product on a branch stays there, and takes its part of the kernel from outside."""
    made, found = compared(on_a_branch)
    assert [": 2 products" in edit.text for edit in made.edits] == [True] and "Switch" in multiplied(found)


def backwards(x):
    return simple(x, indices=lambda steps: tf.range(steps - 1, -1, -1))


def state_first(x):
    return simple(x, join=lambda x, h: [h, x])


def step_twice(x):
    kernel = weights("kernel", 2 * DEPTH, HIDDEN)
    return loop(x, lambda x, h: tf.tanh(tf.matmul(tf.concat([x, x], 1), kernel) + h))


def kernel_that_changes(x):
    kernel = weights("kernel", DEPTH, HIDDEN)
    return loop(x, lambda x, h: tf.tanh(tf.matmul(x, kernel * tf.reduce_mean(h)) + h + 1))


def computed_input(x):
    kernel = weights("kernel", DEPTH + HIDDEN, HIDDEN)
    return loop(x, lambda x, h: tf.tanh(tf.matmul(tf.concat([x * tf.reduce_sum(h + 1), h], 1), kernel)))


def three_joined(x):
    return simple(x, join=lambda x, h: [x[:, :2], x[:, 2:], h])


def transposed_kernel(x):
    kernel = weights("kernel", HIDDEN, DEPTH + HIDDEN)
    return loop(x, lambda x, h: tf.tanh(tf.matmul(tf.concat([x, h], 1), kernel, transpose_b=True)))


def mapped(x):
    """As of tf.map_fn: no state."""
    kernel = weights("kernel", DEPTH, HIDDEN)
    return loop(x, lambda x, h: tf.tanh(tf.matmul(x * 2, kernel)))


def already_outside(x):
    """The products with the inputs are."""
    kernel, recurrent = weights("kernel", DEPTH, HIDDEN), weights("recurrent", HIDDEN, HIDDEN)
    product = tf.reshape(tf.matmul(tf.reshape(x, [-1, DEPTH]), kernel), [tf.shape(x)[0], -1, HIDDEN])
    return loop(product, lambda x, h: tf.matmul(tf.tanh(x + tf.matmul(h, recurrent)), recurrent))


def decoding(x):
    """A decoder of a sequence, which reads no inputs but its own states."""
    recurrent = weights("recurrent", HIDDEN, HIDDEN)
    return loop(x, lambda x, h: tf.tanh(tf.matmul(h + 1, recurrent)))


def kernel_of_the_loop(x):
    """The loop passes the kernel on, and changes it."""
    kernel, steps = weights("kernel", DEPTH, HIDDEN), tf.shape(x)[0]
    arriving = tf.TensorArray(tf.float32, steps).unstack(x)

    def body(time, kernel, outputs):
        return time + 1, kernel * 0.9, outputs.write(time, tf.matmul(arriving.read(time), kernel))

    with v1_control_flow():
        start = [0, tf.identity(kernel), tf.TensorArray(tf.float32, steps)]
        return tf.while_loop(lambda time, *_: time < steps, body, start)[-1].stack()


def double(x):
    kernel = tf.cast(weights("kernel", DEPTH, HIDDEN), tf.float64)
    return tf.cast(loop(tf.cast(x, tf.float64), lambda x, h: tf.tanh(tf.matmul(x, kernel) + h)), tf.float32)


def loop_in_a_loop(x):
    """Each step of the outer loop gives the inner one another sequence."""
    kernel = weights("kernel", DEPTH, DEPTH)

    def body(number, y):
        return number + 1, loop(y, lambda x, h: tf.tanh(tf.matmul(x, kernel) + h), hidden=DEPTH)

    with v1_control_flow():
        return tf.while_loop(lambda number, _: number < 2, body, [0, x])[1]


LEFT = [
    (backwards, "the loop reads its inputs in another order than from first to last"),
    (state_first, "the state stands before the input, not after it"),
    (kernel_that_changes, "the kernel changes inside the loop"),
    (computed_input, "the loop changes its inputs before the product"),
    (three_joined, "3 tensors are joined before the product, not input and state"),
    (transposed_kernel, "the product transposes a matrix"),
    (double, ""),
    (step_twice, ""),
    (mapped, ""),
    (already_outside, ""),
    (decoding, ""),
    (kernel_of_the_loop, ""),
    (loop_in_a_loop, ""),
]


@pytest.mark.parametrize("build, why", LEFT, ids=lambda value: getattr(value, "__name__", ""))
def test_other_products_stay(build, why):
    """Those of which it is not known that they can be computed before the loop; a note says why of recurrent layers."""
    made, _ = compared(build)
    assert made.edits == ()
    assert [(note.code, note.reason) for note in made.notes] == ([("products-in-loop", why)] if why else [])
    assert all("/while" in note.where for note in made.notes)


@OLD
@pytest.mark.parametrize(
    "name, count, lengths",
    [("basic", 1, True), ("lstm", 1, False), ("gru", 2, False), ("peepholes", 1, False), ("projection", 1, False)],
)
def test_cells_of_tensorflow_1(name, count, lengths):
    """In bidirectional_dynamic_rnn, with sequence lengths or without."""
    made, _ = compared(dynamic(name, lengths))
    assert [f": {count} products" in edit.text for edit in made.edits] == [True, True]


@OLD
@pytest.mark.parametrize("name, how", [("LSTM", {}), ("LSTM", {"implementation": 2}), ("GRU", {"reset_after": True})])
def test_layers_of_keras(name, how):
    made, found = compared(keras(name, **how))
    assert len(made.edits) == 2
    inside = [node.name for node in found.node if "/while/" in node.name and node.op == "TensorArrayReadV3"]
    assert not inside


# Exports.


def trained(folder, build):
    """A checkpoint with its graph."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, None, DEPTH], name="x")
        with tf.variable_scope("net", use_resource=False):
            y = build(x)
        tf.identity(y, name="y")
        session.run(tf.global_variables_initializer())
        return tf.train.Saver().save(session, str(folder / "run" / "model.ckpt"))


def test_an_export_says_what_left_the_loops(run, tmp_path):
    """The variables keep their names and values."""
    made, output = exported(run, tmp_path, trained(tmp_path, gated))
    assert "\nrecurrent   1 loop: products with the inputs are computed before the steps\n" in output
    assert len(made["hoisted_loops"]) == 1 and made["parity"]["answers"]
    reader = tf.train.NewCheckpointReader(str(tmp_path / "m/1/variables/variables"))
    assert reader.get_variable_to_shape_map() == {
        "net/gates": [DEPTH + HIDDEN, 2 * HIDDEN],
        "net/kernel": [DEPTH + HIDDEN, HIDDEN],
        "net/bias": [HIDDEN],
    }


def test_an_export_notes_which_loops_stay(tmp_path):
    """After the line about decoders, and among the notes of the version."""
    said = []
    version = ckpt2saved.export(
        trained(tmp_path, kernel_that_changes),
        tmp_path / "m",
        inputs={"x": "x"},
        outputs={"y": "y"},
        no_warmup=True,
        progress=lambda *line: said.append(line),
    )
    (note,) = [note for note in version.notes if note.code == "products-in-loop"]
    assert note.reason == "the kernel changes inside the loop"
    assert said.count(("note", note.text)) == 1
    assert ("decoder", "the graph has no CTC beam search") in said and "recurrent" not in dict(said)
    assert version.provenance["hoisted_loops"] == []


def test_wrong_products_are_found_out(run, tmp_path, monkeypatch):
    """By the comparison with the graph before; then the loops stay, and people are told."""
    right = hoist_products.product_of_steps
    monkeypatch.setattr(hoist_products, "product_of_steps", lambda *given: [right(*given)[0] * 1.01])
    made, output = exported(run, tmp_path, trained(tmp_path, gated))
    assert made["hoisted_loops"] == [] and made["parity"]["answers"], output
    assert "\nrecurrent   layers stay as they are: " in output and "\ndiffers     " in output


def test_it_is_on_by_default():
    assert any(isinstance(rewrite, HoistProducts) for rewrite in FOR_SERVING)
