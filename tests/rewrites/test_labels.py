"""Labels: what a loss compares answers with is never a request's input, whatever it is called and goes through."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.graph.graph import Graph, fed_by_data
from ckpt2saved.graph.meta_graph import read_meta_graph
from ckpt2saved.graph.op_table import read_table
from ckpt2saved.graph.ops import is_random
from ckpt2saved.graph.tf1 import op_def, tf, v1_control_flow
from ckpt2saved.rewrites.analyses.labels import find_labels

CLASSES, LETTERS = 5, 3


def weights(name, *shape):
    return tf.get_variable(name, shape, initializer=tf.truncated_normal_initializer(stddev=0.3), use_resource=False)


def picture(name="data"):
    return tf.placeholder(tf.float32, [None, 4, 6, 1], name=name)


def labels(dtype=tf.int32, shape=(None, LETTERS)):
    return tf.placeholder(dtype, shape, name="given")


def features(images, scope="net"):
    """[batch, 4, 6, 3] of a convolution."""
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        return tf.nn.relu(tf.nn.conv2d(images, weights("conv", 3, 3, 1, 3), [1, 1, 1, 1], "SAME"))


def encoded(images):
    return tf.reduce_mean(features(images), [1, 2], name="encoded")


def decoder(seen, before):
    """Logits [batch, LETTERS, CLASSES]; step i reads what `before` says of its index, answers included: [batch, 4]."""
    state, answers = tf.zeros([tf.shape(seen)[0], 7]), []
    step, out = weights("step", 3 + 4 + 7, 7), weights("out", 7, CLASSES)
    for number in range(LETTERS):
        state = tf.tanh(tf.matmul(tf.concat([seen, before(number, answers), state], 1), step))
        answers.append(tf.matmul(state, out))
    return tf.stack(answers, 1, name="logits")


def forced(seen, known):
    """Teacher forcing: each step reads the label before, [batch, LETTERS], through an embedding."""
    table = weights("embedding", CLASSES, 4)
    start = tf.zeros_like(known[:, 0])
    return decoder(seen, lambda number, _: tf.gather(table, known[:, number - 1] if number else start))


def in_a_loop(seen, known):
    """The same with a loop that reads labels out of an array."""
    read = tf.TensorArray(tf.float32, LETTERS).unstack(tf.gather(weights("embedding", CLASSES, 4), tf.transpose(known)))
    step, out = weights("step", 3 + 4 + 7, 7), weights("out", 7, CLASSES)

    def body(number, state, written):
        state = tf.tanh(tf.matmul(tf.concat([seen, read.read(number), state], 1), step))
        return number + 1, state, written.write(number, tf.matmul(state, out))

    start = (0, tf.zeros([tf.shape(seen)[0], 7]), tf.TensorArray(tf.float32, LETTERS))
    _, _, written = tf.while_loop(lambda number, *_: number < LETTERS, body, start)
    return tf.transpose(written.stack(), [1, 0, 2], name="logits")


def sparse_entropy(logits, known):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=known, logits=logits))


# Losses of logits [batch, LETTERS, CLASSES], and of the labels that they are compared with.


def smoothed(logits, known):
    smooth = tf.one_hot(known, CLASSES) * 0.9 + 0.1 / CLASSES
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=smooth, logits=logits))


def weighted(logits, known):
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.cast(known, tf.int64), logits=logits)
    mask = tf.cast(tf.not_equal(known, 0), tf.float32)
    return tf.reduce_sum(entropy * mask) / tf.reduce_sum(mask)


def by_hand(logits, known):
    chances = tf.log(tf.clip_by_value(tf.nn.softmax(logits), 1e-8, 1.0))
    return -tf.reduce_mean(tf.reduce_sum(tf.one_hot(known, CLASSES) * chances, 2))


def picked(logits, known):
    flat = tf.reshape(known, [-1])
    chances = tf.reshape(tf.nn.softmax(logits), [-1, CLASSES])
    return -tf.reduce_mean(tf.log(tf.gather_nd(chances, tf.stack([tf.range(tf.shape(flat)[0]), flat], 1))))


def squared(logits, known):
    return tf.reduce_mean(tf.square(tf.one_hot(known, CLASSES) - logits))


def absolute(logits, known):
    return tf.reduce_mean(tf.abs(logits - tf.one_hot(known, CLASSES)))


def overlap(logits, known):
    truth, chances = tf.one_hot(known, CLASSES), tf.nn.softmax(logits)
    return 1.0 - 2.0 * tf.reduce_sum(truth * chances) / (tf.reduce_sum(truth) + tf.reduce_sum(chances))


def of_sigmoids(logits, known):
    truth = tf.cast(tf.equal(tf.one_hot(known, CLASSES), 1.0), tf.float32)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=truth, logits=logits))


def ctc(logits, known):
    where = tf.where(tf.not_equal(known, 0))
    sparse = tf.SparseTensor(where, tf.gather_nd(known, where), tf.shape(known, out_type=tf.int64))
    lengths = tf.fill([tf.shape(known)[0]], LETTERS)
    return tf.reduce_mean(tf.nn.ctc_loss(sparse, tf.transpose(logits, [1, 0, 2]), lengths))


def trained(directory, build, minimised=True):
    """Train op, checkpoint and .meta of the graph whose loss `build` returns; the prefix."""
    with tf.Graph().as_default(), v1_control_flow():
        loss = build()
        if minimised:
            tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            return tf.train.Saver().save(session, str(directory / "model"))


def found(prefix):
    from pathlib import Path

    meta_graph = read_meta_graph(Path(prefix + ".meta"))
    return find_labels(Graph(meta_graph.graph_def), meta_graph.shapes)


def inspected(run, prefix):
    result = run("inspect", prefix, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout if hasattr(result, "stdout") else result.output)


def offered(content):
    return [one["tensor"] for one in content["graph"]["inputs"]]


@pytest.mark.parametrize("network", [forced, in_a_loop])
@pytest.mark.parametrize(
    "loss",
    [sparse_entropy, smoothed, weighted, by_hand, picked, squared, absolute, overlap, of_sigmoids, ctc],
    ids=lambda loss: loss.__name__,
)
def test_whatever_the_loss_its_labels_are_found(tmp_path, network, loss):
    """Through an embedding into the network, and on another way into the loss; the picture is no label."""

    def build():
        known = labels()
        return loss(network(encoded(picture()), known), known)

    assert list(found(trained(tmp_path, build)).sources) == ["given:0"]


def test_labels_of_a_shuffling_queue_are_not_offered(run, tmp_path):
    """The encoder's output is; what the labels are needed for is a problem, and export refuses it."""

    def build():
        queue = tf.queue.RandomShuffleQueue(9, 2, [tf.float32, tf.int32], [[4, 6, 1], [LETTERS]], name="labels")
        queue.enqueue([tf.random_uniform([4, 6, 1]), tf.zeros([LETTERS], tf.int32)])
        images, known = queue.dequeue_many(2, name="batch")
        logits = forced(encoded(images), known)
        tf.argmax(logits, 2, name="text")
        return smoothed(logits, known)

    prefix = trained(tmp_path, build)
    content = inspected(run, prefix)
    assert offered(content) == ["batch:0"]
    assert [one["tensor"] for one in content["graph"]["outputs"] if one["proposed"]] == ["encoded:0"]
    assert "teacher forcing" in content["graph"]["problems"][0] and "batch:1" in content["graph"]["problems"][0]
    written = tmp_path / "signature.yaml"
    assert run("inspect", prefix, "--write-signature", written).exit_code == 0
    assert "batch:1" not in re.sub(r"(?m)^#.*\n", "", written.read_text())
    export = ["export", "--checkpoint", prefix, "-o", tmp_path / "base", "--output", "text", "--input", "image=batch:0"]
    alone = run(*export)
    assert alone.exit_code == 3 and "batch:1 (QueueDequeueManyV2): an output is computed from it" in alone.output
    for tensor in ("batch:1", "one_hot:0", "GatherV2:0"):
        result = run(*export, "--input", "known=" + tensor)
        assert result.exit_code == 3, tensor
        assert "label" in result.output and "SoftmaxCrossEntropyWithLogits" in result.output
    assert not (tmp_path / "base").exists()
    insisted = run(*export, "--input", "known=batch:1", "--allow-labels", "--no-warmup", "--no-parity")
    assert insisted.exit_code == 0, insisted.output


def test_a_signature_file_can_insist(run, tmp_path):
    def build():
        known = labels()
        return sparse_entropy(forced(encoded(picture()), known), known)

    prefix = trained(tmp_path, build)
    file = tmp_path / "forced.yaml"
    text = """format: 1
graph:
  builder: meta
  allow_labels: %s
signatures:
  serving_default:
    inputs:
      data: {tensor: "data:0", dtype: float32, shape: [batch, 4, 6, 1]}
      before: {tensor: "given:0", dtype: int32, shape: [batch, 3]}
    outputs:
      logits: {tensor: "logits:0", dtype: float32, shape: [batch, 3, 5]}
parity:
  - dims: {batch: 2}
    inputs:
      data: {uniform: [0, 1]}
      before: {uniform: [0, 5]}
"""
    for allowed, code in (("false", 3), ("true", 0)):
        file.write_text(text % allowed)
        result = run("export", "--checkpoint", prefix, "--model", file, "-o", tmp_path / "base")
        assert result.exit_code == code, result.output


def test_a_ctc_head_beside_a_forced_decoder_is_proposed(run, tmp_path):
    def build():
        known, images = labels(), picture()
        columns = tf.reshape(tf.transpose(features(images), [2, 0, 1, 3]), [-1, 12])
        logits = tf.reshape(tf.matmul(columns, weights("ctc", 12, CLASSES)), [6, -1, CLASSES], name="of_columns")
        lengths = tf.fill([tf.shape(images)[0]], 6)
        tf.nn.ctc_greedy_decoder(logits, lengths)
        where = tf.where(tf.not_equal(known, 0))
        sparse = tf.SparseTensor(where, tf.gather_nd(known, where), tf.shape(known, out_type=tf.int64))
        return tf.reduce_mean(tf.nn.ctc_loss(sparse, logits, lengths)) + weighted(forced(encoded(images), known), known)

    content = inspected(run, trained(tmp_path, build))
    assert offered(content) == ["data:0"] and content["command"]
    assert "of_columns:0" in [one["tensor"] for one in content["graph"]["outputs"] if one["proposed"]]
    assert not content["graph"]["problems"] and any("teacher forcing" in note for note in content["graph"]["notes"])


def test_labels_that_only_training_reads_are_no_problem(run, tmp_path):
    """A switch decides whether the label before or the answer before is read."""

    def build():
        known, training = labels(), tf.placeholder(tf.bool, [], name="is_train")
        seen = encoded(picture())
        seen = tf.cond(training, lambda: seen * tf.floor(0.5 + tf.random_uniform(tf.shape(seen))) / 0.5, lambda: seen)
        table = weights("embedding", CLASSES, 4)

        def before(number, answers):
            if not number:
                return tf.gather(table, tf.zeros([tf.shape(seen)[0]], tf.int32))
            own = tf.argmax(answers[-1], 1, output_type=tf.int32)
            return tf.gather(table, tf.cond(training, lambda: known[:, number - 1], lambda: own))

        return sparse_entropy(decoder(seen, before), known)

    prefix = trained(tmp_path, build)
    content = inspected(run, prefix)
    assert offered(content) == ["data:0"] and not content["graph"]["problems"]
    assert [one["tensor"] for one in content["graph"]["outputs"] if one["proposed"]] == ["logits:0"]
    result = run("export", "--checkpoint", prefix, "--input", "data", "--output", "logits", "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output


def test_labels_that_give_only_their_size_are_not_offered(run, tmp_path):
    def build():
        known = labels()
        state = tf.zeros([tf.shape(known)[0], 3]) + encoded(picture())
        return sparse_entropy(tf.identity(tf.matmul(state, weights("out", 3, CLASSES)), name="logits"), known[:, 0])

    content = inspected(run, trained(tmp_path, build))
    assert offered(content) == ["data:0"] and content["command"] is None
    assert "given:0: the outputs need it" in content["graph"]["problems"][0]


def reconstruction():
    data = picture()
    made = tf.nn.conv2d(features(data), weights("back", 3, 3, 3, 1), [1, 1, 1, 1], "SAME", name="made")
    return tf.reduce_mean(tf.square(made - data))


def masked_reconstruction():
    data, lengths = picture(), tf.placeholder(tf.int32, [None], name="lengths")
    mask = tf.reshape(tf.sequence_mask(lengths, 6, tf.float32), [-1, 1, 6, 1])
    made = tf.nn.conv2d(features(data) * mask, weights("back", 3, 3, 3, 1), [1, 1, 1, 1], "SAME", name="made")
    return tf.reduce_mean(tf.abs(data - made))


def residual():
    data, clean = picture(), picture("given")
    noise = tf.nn.conv2d(features(data), weights("back", 3, 3, 3, 1), [1, 1, 1, 1], "SAME")
    return tf.reduce_mean(tf.square(clean - tf.subtract(data, noise, name="made")))


def frames():
    """The lengths that a recurrent network stops at are also where its loss does."""
    data, lengths = (
        tf.placeholder(tf.float32, [None, LETTERS, 4], name="data"),
        tf.placeholder(tf.int32, [None], name="lengths"),
    )
    known = tf.placeholder(tf.int32, [None, LETTERS], name="classes")
    state, step, out, made = tf.zeros([tf.shape(data)[0], 4]), weights("step", 8, 4), weights("out", 4, CLASSES), []
    for number in range(LETTERS):
        new = tf.tanh(tf.matmul(tf.concat([data[:, number], state], 1), step))
        state = tf.where(lengths <= number, state, new)
        made.append(tf.matmul(state, out))
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=known, logits=tf.stack(made, 1, name="logits"))
    mask = tf.sequence_mask(lengths, LETTERS, tf.float32)
    return tf.reduce_mean(tf.reduce_sum(entropy * mask, 1) / tf.cast(lengths, tf.float32))


def picked_frames():
    """The same lengths say which frames are compared, and what the others' labels are."""
    data, lengths = (
        tf.placeholder(tf.float32, [None, LETTERS, 4], name="data"),
        tf.placeholder(tf.int32, [None], name="lengths"),
    )
    known, mask = labels(), tf.sequence_mask(lengths, LETTERS)
    known = tf.where(mask, tf.placeholder(tf.int32, [None, LETTERS], name="classes"), tf.zeros_like(known))
    seen = tf.reshape(data * tf.cast(tf.expand_dims(mask, 2), tf.float32), [-1, 4])
    logits = tf.reshape(tf.matmul(seen, weights("out", 4, CLASSES)), [-1, LETTERS, CLASSES], name="logits")
    return sparse_entropy(tf.boolean_mask(logits, mask), tf.boolean_mask(known, mask))


def triplets():
    anchor, same, other = [encoded(picture(name)) for name in ("data", "same", "other")]
    return tf.reduce_mean(tf.nn.relu(tf.reduce_sum((anchor - same) ** 2 - (anchor - other) ** 2, 1) + 0.2))


def next_letters():
    """A language model: what it reads is what comes next."""
    data = tf.placeholder(tf.int32, [None, LETTERS + 1], name="data")
    logits = forced(tf.zeros([tf.shape(data)[0], 3]), data[:, :-1])
    return sparse_entropy(logits, data[:, 1:])


def clipped():
    """Boxes that end where the picture does; their deltas are learned."""
    size = tf.placeholder(tf.float32, [None, 2], name="im_info")
    targets = tf.placeholder(tf.float32, [None, 3], name="given")
    boxes = tf.matmul(encoded(picture()), weights("boxes", 3, 3))
    tf.minimum(boxes, size[:, :1], name="clipped")
    off = tf.abs(boxes - targets)
    return tf.reduce_mean(tf.where(off < 1.0, 0.5 * off**2, off - 0.5))


def to_centers():
    known = labels(tf.int64, [None])
    return tf.nn.l2_loss(encoded(picture()) - tf.gather(weights("centers", CLASSES, 3), known))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (reconstruction, []),
        (masked_reconstruction, []),
        (residual, ["given:0"]),
        (frames, ["classes:0"]),
        (triplets, []),
        (picked_frames, ["classes:0"]),
        (next_letters, []),
        (clipped, ["given:0"]),
        (to_centers, ["given:0"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_the_network_reads_is_no_label(tmp_path, build, expected):
    """A picture that is reconstructed, lengths that also weigh a loss, the other pictures of a triplet."""
    assert list(found(trained(tmp_path, build)).sources) == expected


def bounded():
    """A decoder that reads its own answers, for as many steps as the longest label has: no client knows that."""
    known, lengths = labels(shape=[None, None]), tf.placeholder(tf.int32, [None], name="lengths")
    seen, steps = encoded(picture()), tf.reduce_max(lengths)
    step, out = weights("step", 3 + 7, 7), weights("out", 7, CLASSES)

    def body(number, state, written):
        state = tf.tanh(tf.matmul(tf.concat([seen, state], 1), step))
        return number + 1, state, written.write(number, tf.matmul(state, out))

    start = (0, tf.zeros([tf.shape(seen)[0], 7]), tf.TensorArray(tf.float32, steps))
    _, _, written = tf.while_loop(lambda number, *_: number < steps, body, start)
    logits = tf.transpose(written.stack(), [1, 0, 2], name="logits")
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=known[:, :steps], logits=logits)
    return tf.reduce_mean(entropy * tf.sequence_mask(lengths, steps, tf.float32))


def test_the_lengths_of_labels_are_not_offered(run, tmp_path):
    content = inspected(run, trained(tmp_path, bounded))
    assert offered(content) == ["data:0"] and content["command"] is None
    assert "lengths:0: the outputs need it" in content["graph"]["problems"][0]


def test_an_autoencoder_is_served_before_its_loss(run, tmp_path):
    content = inspected(run, trained(tmp_path, reconstruction))
    assert offered(content) == ["data:0"]
    assert [one["tensor"] for one in content["graph"]["outputs"] if one["proposed"]] == ["made:0"]


def test_labels_that_are_parsed_out_of_an_example(run, tmp_path):
    """The request brings the picture, not the example with its label."""

    def build():
        serialized = tf.placeholder(tf.string, [None], name="serialized")
        kinds = {"a": tf.FixedLenFeature([4, 6, 1], tf.float32), "b": tf.FixedLenFeature([LETTERS], tf.int64)}
        parts = tf.parse_example(serialized, kinds)
        return sparse_entropy(forced(encoded(parts["a"]), parts["b"]), parts["b"])

    content = inspected(run, trained(tmp_path, build))
    (tensor,) = offered(content)
    assert tensor.startswith("ParseExample/ParseExample") and tensor.endswith(":0")


@pytest.mark.skipif(tf.__version__.startswith("1."), reason="functional loops and losses are TensorFlow 2's")
def test_functional_loops_and_losses_are_looked_into(run, tmp_path):
    import tensorflow

    def build():
        known = labels(tf.float32, [None, LETTERS, CLASSES])
        table = weights("of_letters", CLASSES, 4)
        numbers = tf.argmax(known, 2, output_type=tf.int32)
        logits = in_a_loop(encoded(picture()), numbers) + tf.reduce_sum(table)
        loss = tensorflow.function(lambda made, truth: tf.reduce_mean(tf.abs(made - truth)), autograph=False)
        return loss(logits, known)

    with tf.Graph().as_default():
        tf.enable_control_flow_v2()
        try:
            tf.train.MomentumOptimizer(0.1, 0.9).minimize(build())
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                prefix = tf.train.Saver().save(session, str(tmp_path / "model"))
        finally:
            tf.disable_control_flow_v2()
    assert list(found(prefix).sources) == ["given:0"]
    assert offered(inspected(run, prefix)) == ["data:0"]


@pytest.mark.parametrize("minimised", [True, False])
def test_a_loss_that_no_optimizer_minimises(tmp_path, minimised):
    def build():
        known = labels(tf.float32, [None, LETTERS, CLASSES])
        table = weights("of_letters", CLASSES, 4)
        made = decoder(encoded(picture()), lambda number, _: tf.matmul(known[:, max(number - 1, 0)], table))
        return tf.reduce_mean(tf.squared_difference(made, known))

    assert list(found(trained(tmp_path, build, minimised)).sources) == ["given:0"]


def test_one_list_of_random_ops():
    """Of every op that any TensorFlow has: what shuffles data, or only makes seeds, draws no numbers."""
    table = read_table()
    random = {op for ops in table.releases.values() for op in ops if is_random(op)}
    assert {"RandomUniform", "StatelessRandomUniformV2", "Multinomial", "RandomShuffle", "StatelessShuffle"} <= random
    assert {"TruncatedNormal", "StatefulStandardNormalV2", "FixedUnigramCandidateSampler", "RngReadAndSkip"} <= random
    assert not [op for op in random if "Queue" in op or "Dataset" in op or "Get" in op or "Seed" in op]
    assert not [op for op in random if op.startswith("Uniform") and "Candidate" not in op]


def test_what_a_shuffling_queue_hands_out_is_data():
    graph = tf.Graph()
    with graph.as_default():
        queue = tf.queue.RandomShuffleQueue(9, 2, [tf.float32], [[3]], name="queue")
        tf.identity(queue.dequeue(), name="row")
    data = fed_by_data(Graph(graph.as_graph_def()), set())
    assert {"queue", "row"} <= data and op_def("RandomShuffleQueueV2") is not None
