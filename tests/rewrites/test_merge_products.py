"""Gates of recurrent layers are computed with one product of the input and one of the state, and the answers stay."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.names import parsed
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites import merge_products
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.for_serving import FOR_SERVING
from ckpt2saved.rewrites.hoist_products import HoistProducts, ProductsHoisted
from ckpt2saved.rewrites.hoist_unrolled import HoistUnrolled
from ckpt2saved.rewrites.merge_products import MergeProducts, ProductsMerged
from ckpt2saved.rewrites.rewrite import apply
from tests.support.recurrent import check_answers, exported, trained, weights

OLD = pytest.mark.skipif(not tf.VERSION.startswith("1."), reason="today's Keras makes no such loops")
ALL = (MergeProducts(), HoistProducts(), HoistUnrolled())
STEPS, DEPTH, HIDDEN = 7, 6, 5  # as many steps as check_answers asks for


def loop(x, step):
    """The outputs [time, batch, hidden] of `step`(x, output) over `x` [time, batch, depth]."""
    steps, batch = tf.shape(x)[0], tf.shape(x)[1]
    arriving = tf.TensorArray(tf.float32, steps).unstack(x)

    def body(time, output, outputs):
        output = step(arriving.read(time), output)
        return time + 1, output, outputs.write(time, output)

    start = [0, tf.zeros([batch, HIDDEN]), tf.TensorArray(tf.float32, steps)]
    return tf.while_loop(lambda time, *_: time < steps, body, start)[-1].stack()


def unrolled(x, step):
    """The same with a copy of the cell for each step."""
    entries, output, outputs = tf.unstack(x, STEPS), tf.zeros([tf.shape(x)[1], HIDDEN]), []
    for entry in entries:
        output = step(entry, output)
        outputs.append(output)
    return tf.stack(outputs)


def split(kernel):
    return tf.split(kernel, 3, axis=-1)


def sliced(kernel):
    return [kernel[..., :HIDDEN], kernel[..., HIDDEN : 2 * HIDDEN], kernel[..., 2 * HIDDEN :]]


def backwards(kernel):
    """The last part is made first."""
    return [kernel[..., HIDDEN * n : HIDDEN * (n + 1)] for n in (2, 1, 0)]


def gates(
    x_parts=split,
    h_parts=sliced,
    bias_parts=split,
    total=lambda one, other: one + other,
    made=lambda name, *shape: weights(name, *shape),
    run=loop,
    widths=(3 * HIDDEN, 3 * HIDDEN),
    **how,
):
    """A cell of three gates that multiplies input and state by a part of the kernel for each, as Keras does."""

    def build(x):
        kernel, recurrent = made("kernel", DEPTH, widths[0]), made("recurrent", HIDDEN, widths[1])
        bias = made("bias", 3 * HIDDEN)

        def step(x, h):
            one = [tf.nn.bias_add(tf.matmul(x, k), b) for k, b in zip(x_parts(kernel), bias_parts(bias))]
            other = [tf.matmul(h, r, **how) for r in h_parts(recurrent)]
            i, f, c = [total(*pair) for pair in zip(one, other)]
            return tf.tanh(tf.sigmoid(i) * tf.tanh(c) + tf.sigmoid(f) * h)

        return run(x, step)

    return build


def merged(build, rewrites=ALL):
    """What was applied, and the nodes; the answers are the same to 1e-6."""
    with tf.Graph().as_default() as graph, tf.Session() as session, v1_control_flow():
        tf.set_random_seed(1)
        x = tf.placeholder(tf.float32, [None, None, DEPTH], name="x")
        with tf.variable_scope("net", use_resource=False):
            y = build(x)
        tf.identity(y, name="y")
        session.run(tf.global_variables_initializer())
        context = Context.of(pruned(graph.as_graph_def(), ["y"]), ["y:0"], ["x:0"])
        made = apply(list(rewrites), context, "refused")
        found = made.graph_def()
        check_answers(session, found, DEPTH)
    return made, found


def counts(made):
    """How many products are how many now, as the edits say it."""
    return [edit.text.rsplit(": ", 1)[1] for edit in made.edits_of(ProductsMerged)]


def products(made, found):
    """The product nodes in loops."""
    return [node.name for node in found.node if node.op == "MatMul" and made.graph.is_in_loop(node.name)]


MERGED = {
    "as in Keras": gates(),
    "the other way round": gates(sliced, split, sliced, lambda one, other: other + one),
    "cut outside the loop": lambda x: gates(*[lambda _, parts=parts: parts for parts in cut(split)])(x),
    "sliced outside the loop": lambda x: gates(*[lambda _, parts=parts: parts for parts in cut(sliced)])(x),
    "made backwards": gates(backwards, backwards, backwards),
    "constants": gates(made=lambda name, *shape: tf.constant(drawn(name, *shape))),
}


def cut(parts):
    """The parts of the three weights, made where this is called."""
    return [parts(weights(f"outside{n}", n, 3 * HIDDEN)) for n in (DEPTH, HIDDEN)] + [
        parts(weights("outside", 3 * HIDDEN))
    ]


def drawn(name, *shape):
    return np.random.RandomState(len(name)).uniform(-1, 1, shape).astype("float32")


@pytest.mark.parametrize("kind", sorted(MERGED))
def test_one_product_with_the_state_stays_in_the_loop(kind):
    """Its bias beside it; that with the input is before the loop."""
    made, found = merged(MERGED[kind])
    assert counts(made) == ["6 products as 2"] and len(made.edits_of(ProductsHoisted)) == 1
    (product,) = products(made, found)
    takers = [node.op for node in found.node if product in {parsed(name)[0] for name in node.input}]
    assert takers == ["BiasAdd"]
    ops = [node.op for node in found.node if made.graph.is_in_loop(node.name)]
    assert [ops.count(op) for op in ("GatherV2", "Split", "BiasAdd")] == [1, 1, 1]


def test_unrolled():
    """Each step keeps one product."""
    made, found = merged(gates(run=unrolled))
    assert counts(made) == [f"{6 * STEPS} products as {2 * STEPS}"]
    assert [node.op for node in found.node].count("MatMul") == 1 + STEPS


def with_own_bias(x):
    """Both products have a bias, which stays where it is."""
    other = weights("other", 3 * HIDDEN)
    parts = iter(split(other))
    return gates(total=lambda one, two: one + tf.nn.bias_add(two, next(parts)))(x)


def reset(x):
    """A GRU: a part of the kernel multiplies what the reset leaves."""
    kernel, recurrent = weights("kernel", DEPTH, 3 * HIDDEN), weights("recurrent", HIDDEN, 3 * HIDDEN)

    def step(x, h):
        z, r, c = [tf.matmul(x, part) for part in split(kernel)]
        one, two, three = sliced(recurrent)
        z, r = tf.sigmoid(z + tf.matmul(h, one)), tf.sigmoid(r + tf.matmul(h, two))
        return z * h + (1 - z) * tf.tanh(c + tf.matmul(r * h, three))

    return loop(x, step)


def two_of_three(x):
    """Of the inputs, some of the kernel's columns are enough."""
    recurrent = weights("recurrent", HIDDEN, HIDDEN)
    kernel, bias = weights("kernel", DEPTH, 3 * HIDDEN), weights("bias", 3 * HIDDEN)

    def step(x, h):
        one, two = [tf.nn.bias_add(tf.matmul(x, k), b) for k, b in zip(sliced(kernel)[1:], sliced(bias)[1:])]
        return tf.tanh(one + tf.matmul(h, recurrent)) * tf.sigmoid(two)

    return loop(x, step)


def three_biases(bias):
    """Parts of vectors that are alike."""
    return [split(weights(f"bias{n}", 3 * HIDDEN))[n] for n in range(3)]


def two_biases(x):
    """The third gate has none."""
    kernel, recurrent = weights("kernel", DEPTH, 3 * HIDDEN), weights("recurrent", HIDDEN, HIDDEN)
    bias = weights("bias", 3 * HIDDEN)

    def step(x, h):
        one, two, three = [tf.matmul(x, part) for part in split(kernel)]
        one, two = [tf.nn.bias_add(*pair) for pair in zip((one, two), split(bias))]
        return tf.tanh(one + tf.matmul(h, recurrent) + two * three)

    return loop(x, step)


def one_multiplied(x):
    totals = iter([tf.multiply, tf.add, tf.add])
    return gates(total=lambda one, other: next(totals)(one, other))(x)


def part_used_twice(x):
    return gates(total=lambda one, other: one + other * tf.sigmoid(other))(x)


def on_branches(x):
    """Conditions take the gates."""

    def total(one, other):
        return tf.cond(tf.reduce_sum(other) > 0, lambda: one + other, lambda: one - other)

    return gates(lambda kernel: [part + 0 for part in split(kernel)], total=total)(x)


ALONE = {
    "conditions": (on_branches, ["3 products as 1"], 4),
    "both biased": (with_own_bias, ["6 products as 2"], 1),
    "a GRU": (reset, ["3 products as 1"], 3),
    "a part of the kernel": (two_of_three, ["2 products as 1"], 1),
    "something else takes a part": (part_used_twice, ["6 products as 2"], 1),
    "biases in another order": (gates(bias_parts=lambda bias: split(bias)[::-1]), ["6 products as 2"], 1),
    "a part of the bias twice": (gates(bias_parts=lambda bias: [split(bias)[0]] * 3), ["6 products as 2"], 1),
    "the inputs alone": (gates(h_parts=lambda whole: [p + 1 for p in split(whole)]), ["3 products as 1"], 3),
    "other order": (gates(h_parts=backwards), ["6 products as 2"], 1),
    "biases of their own": (gates(bias_parts=three_biases), ["6 products as 2"], 1),
    "two biases": (two_biases, ["3 products as 1"], 1),
    "one pair is multiplied": (one_multiplied, ["6 products as 2"], 1),
    "gates of one column": (gates(h_parts=split, widths=(3 * HIDDEN, 3)), ["6 products as 2"], 1),
}


@pytest.mark.parametrize("kind", sorted(ALONE))
def test_what_is_not_added_is_merged_by_itself(kind):
    build, texts, inside = ALONE[kind]
    made, found = merged(build)
    assert counts(made) == texts and len(products(made, found)) == inside


def overlapping(kernel):
    return [kernel[:, :HIDDEN], kernel[:, HIDDEN - 1 : 2 * HIDDEN - 1], kernel[:, 2 * HIDDEN :]]


def stepping(kernel):
    return [kernel[:, number::3] for number in range(3)]


def every_second(kernel):
    return [kernel[:, 2 * HIDDEN * n : 2 * HIDDEN * (n + 1) : 2] for n in range(3)]


def without_a_row(kernel):
    whole = weights(f"higher{kernel.shape[0]}", int(kernel.shape[0]) + 1, 3 * HIDDEN)
    return [whole[1:, HIDDEN * n : HIDDEN * (n + 1)] for n in range(3)]


def of_two_widths(x):
    kernel, recurrent = weights("kernel", DEPTH, 3 * HIDDEN), weights("recurrent", HIDDEN, HIDDEN)

    def step(x, h):
        one, two = tf.matmul(x, kernel[:, :HIDDEN]), tf.matmul(x, kernel[:, HIDDEN:])
        return tf.tanh(one + tf.matmul(h, recurrent) + two[:, :HIDDEN] * two[:, HIDDEN:])

    return loop(x, step)


def without_state(x):
    """As of tf.map_fn."""
    kernel = weights("kernel", DEPTH, 3 * HIDDEN)
    return loop(x, lambda x, _: tf.tanh(sum(tf.matmul(x, part) for part in split(kernel))))


def of_rows(kernel):
    return tf.split(tf.reshape(kernel, [3 * kernel.shape[0], HIDDEN]), 3, 0)


def both(parts, **how):
    return gates(parts, parts, **how)


def heads(x):
    """Two heads, and no layer."""
    kernel = weights("kernel", DEPTH, 3 * HIDDEN)
    entries = tf.unstack(x, STEPS)
    return tf.stack([sum(tf.matmul(entry, part) for part in split(kernel)) for entry in entries])


LEFT = {
    "overlapping parts": both(overlapping),
    "every third column": both(stepping),
    "every second column": both(every_second, widths=(6 * HIDDEN, 6 * HIDDEN)),
    "rows": both(of_rows),
    "without a row": both(without_a_row),
    "of two widths": of_two_widths,
    "a loop that is no layer": without_state,
    "transposed": gates(
        lambda kernel: [part + 0 for part in split(kernel)],
        lambda kernel: [kernel[:, n * HIDDEN : (n + 1) * HIDDEN] for n in range(3)],
        transpose_b=True,
    ),
    "computed parts": both(lambda kernel: [part * 2 for part in split(kernel)]),
    "no recurrent layer": heads,
}


@pytest.mark.parametrize("kind", sorted(LEFT))
def test_other_products_stay(kind):
    made, _ = merged(LEFT[kind], [MergeProducts()])
    assert made.edits == ()


def keras(name, **how):
    def build(x):
        x = tf.transpose(x, [1, 0, 2])
        x.set_shape([None, STEPS if how.get("unroll") else None, DEPTH])
        layer = getattr(tf.keras.layers, name)(HIDDEN, return_sequences=True, bias_initializer="ones", **how)
        return tf.keras.layers.Bidirectional(layer)(x)

    return build


@OLD
@pytest.mark.parametrize(
    "name, how, texts",
    [
        ("LSTM", {}, ["8 products as 2"] * 2),
        ("LSTM", {"use_bias": False}, ["8 products as 2"] * 2),
        ("LSTM", {"unroll": True}, [f"{2 * 8 * STEPS} products as {2 * 2 * STEPS}"]),
        ("LSTM", {"implementation": 2}, []),
        ("GRU", {}, ["3 products as 1"] * 2),
        ("GRU", {"reset_after": True}, ["6 products as 2"] * 2),
    ],
)
def test_layers_of_keras(name, how, texts):
    assert counts(merged(keras(name, **how))[0]) == texts


def masked(x):
    """The loop reads a mask at each step, and keeps states where it is False."""
    x = tf.keras.layers.Masking()(tf.transpose(x, [1, 0, 2]))
    return tf.keras.layers.LSTM(HIDDEN, return_sequences=True)(x)


def two_cells(x):
    """In one loop: the input of the second is the output of the first."""
    cells = [tf.keras.layers.LSTMCell(HIDDEN) for _ in range(2)]
    return tf.keras.layers.RNN(cells, return_sequences=True)(tf.transpose(x, [1, 0, 2]))


@OLD
@pytest.mark.parametrize("build, texts", [(masked, ["8 products as 2"]), (two_cells, ["16 products as 4"])])
def test_other_loops_of_keras(build, texts):
    assert counts(merged(build)[0]) == texts


# Exports.


def graph_of_layer():
    with tf.Graph().as_default() as graph, v1_control_flow():
        x = tf.placeholder(tf.float32, [None, None, DEPTH], name="x")
        with tf.variable_scope("net", use_resource=False):
            y = gates()(x)
        tf.identity(y, name="y")
    return graph


def test_an_export_keeps_the_variables(run, tmp_path):
    made, output = exported(run, tmp_path, trained(tmp_path, graph_of_layer()))
    assert len(made["hoisted_loops"]) == 1 and made["parity"]["answers"] and made["computed_once"] == [], output
    reader = tf.train.NewCheckpointReader(str(tmp_path / "m/1/variables/variables"))
    assert sorted(reader.get_variable_to_shape_map()) == ["net/bias", "net/kernel", "net/recurrent"]


def test_wrong_parts_are_found_out(run, tmp_path, monkeypatch):
    """By the comparison with the graph before; then the layers stay, and people are told."""
    right = merge_products._computed

    def mixed_up(graph, found):
        places = right(graph, found)
        return dict(zip(places, list(places.values())[::-1]))

    monkeypatch.setattr(merge_products, "_computed", mixed_up)
    made, output = exported(run, tmp_path, trained(tmp_path, graph_of_layer()))
    assert made["parity"]["answers"] and "\nrecurrent   layers stay as they are: " in output, output


def test_it_is_on_by_default():
    assert any(isinstance(rewrite, MergeProducts) for rewrite in FOR_SERVING)
