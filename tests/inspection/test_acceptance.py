"""What inspect prints is what export takes: the batch, no input that nothing uses, and no command that is refused."""

from __future__ import annotations

import json
import shlex

import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.graph.tf1 import tf, v1_control_flow
from tests.support.trainings import save, weights


def inspected(run, prefix):
    result = run("inspect", prefix, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def offered(content, side):
    return [one["tensor"] for one in content["graph"][side] if one.get("proposed", True)]


def exported(run, content, base):
    return run("export", *shlex.split(content["command"])[2:-2], "-o", base)


def classified(features, loss_labels="labels"):
    """Class scores and probabilities of [batch, 4] features, trained."""
    logits = tf.matmul(features, weights("head", 4, 3), name="logits")
    tf.nn.softmax(logits, name="probabilities")
    labels = tf.placeholder(tf.int64, [None], name=loss_labels)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


def in_loop(x):
    """A loop whose state begins as a constant of the batch's size."""
    start = (0, tf.zeros([8, 4]))
    return tf.while_loop(lambda n, _: n < 2, lambda n, state: (n + 1, tf.tanh(x + state)), start)[1]


HELD = {
    "concat": lambda x: tf.concat([x, tf.zeros([8, 4])], 1)[:, :4],
    "pack": lambda x: tf.reduce_sum(tf.stack([x, tf.ones([8, 4])], 1), 1),
    "fill": lambda x: x + tf.fill([8, 1], 2.0),
    "tile": lambda x: x * tf.tile(tf.ones([1, 4]), [8, 1]),
    "broadcast": lambda x: x + tf.broadcast_to(tf.ones([4]), [8, 4]),
    "reshape": lambda x: tf.reshape(tf.reshape(x, [8, 2, 2]), [-1, 4]),
    "zeros": lambda x: tf.tanh(x + tf.zeros([8, 4])),
    "variable": lambda x: x + weights("state", 8, 4),
    "loop": in_loop,
}


@pytest.mark.parametrize("batch", [8, None], ids=["fixed", "open"])
@pytest.mark.parametrize("how", sorted(HELD))
def test_the_batch_that_is_printed_is_the_batch_that_export_takes(run, tmp_path, how, batch):
    """Whatever holds it, and whether or not the placeholder is of that size as well."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [batch, 6], name="image")
        prefix = save(tmp_path, loss=classified(HELD[how](tf.matmul(image, weights("w", 6, 4)))))
    content = inspected(run, prefix)
    assert "image:0[8,6]" in content["command"]
    assert content["graph"]["proposal"]["batch"] == 8 and content["graph"]["proposal"]["fixed"]
    result = exported(run, content, tmp_path / "base")
    assert result.exit_code == 0, result.output


def test_a_batch_that_nothing_holds_is_open(run, tmp_path):
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [8, 6], name="image")
        prefix = save(tmp_path, loss=classified(tf.concat([tf.matmul(image, weights("w", 6, 4))], 1)))
    content = inspected(run, prefix)
    assert "image:0[batch,6]" in content["command"]
    result = exported(run, content, tmp_path / "base")
    assert result.exit_code == 0, result.output


@pytest.fixture
def noisy(tmp_path):
    """A placeholder that only the training's branch reads, and one that nothing of the network reads."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 6], name="image")
        noise = tf.placeholder(tf.float32, [None, 6], name="noise")
        training = tf.placeholder(tf.bool, [], name="is_train")
        tf.placeholder(tf.float32, [None, 3], name="im_info")
        seen = tf.cond(training, lambda: tf.nn.dropout(image + noise, rate=0.5), lambda: tf.identity(image))
        return save(tmp_path, loss=classified(tf.matmul(seen, weights("w", 6, 4))))


def test_an_input_that_nothing_uses_is_not_asked_for(run, tmp_path, noisy):
    """Not in inference, where the branch that reads it does not run."""
    content = inspected(run, noisy)
    assert offered(content, "inputs") == ["image:0"]
    result = exported(run, content, tmp_path / "base")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("unused", ["noise", "im_info"])
def test_export_refuses_an_input_that_nothing_uses(run, tmp_path, noisy, unused):
    """TF Serving would demand it."""
    arguments = ["--input=image", "--input=" + unused, "--output=probabilities"]
    result = run("export", "--checkpoint", noisy, *arguments, "-o", tmp_path / "base")
    assert result.exit_code == 3, result.output
    text = " ".join(result.output.split())
    assert f"--input {unused}={unused}:0: no output depends on it, and TF Serving would demand it" in text
    assert not (tmp_path / "base").exists()


def test_a_signature_file_may_keep_an_input_for_clients_that_send_it(run, tmp_path, noisy):
    model = tmp_path / "kept.yaml"
    model.write_text(
        "format: 1\ngraph:\n  builder: meta\nsignatures:\n  serving_default:\n    inputs:\n"
        "      image: {tensor: 'image:0', dtype: float32, shape: [batch, 6]}\n"
        "      im_info: {tensor: 'im_info:0', dtype: float32, shape: [batch, 3]}\n    outputs:\n"
        "      probabilities: {tensor: 'probabilities:0', dtype: float32, shape: [batch, 3]}\n"
    )
    result = run("export", "--model", model, "--checkpoint", noisy, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    assert "im_info:0: no output depends on it, and TF Serving would demand it" in " ".join(result.output.split())


VIEWS = {
    "split": lambda x: tf.split(x, 2, axis=2),
    "split_from_behind": lambda x: tf.split(x, 2, axis=-2),
    "channels": lambda x: [x[..., :1], x[..., 1:]],
    "halves": lambda x: [x[:, :, :6], x[:, :, 6:]],
    "unstack": lambda x: [part[..., None] for part in tf.unstack(x, axis=3)],
    "slice": lambda x: [tf.slice(x, [0, 0, 0, 0], [-1, -1, 6, -1]), tf.slice(x, [0, 0, 6, 0], [-1, -1, 6, -1])],
}


@pytest.mark.parametrize("how", sorted(VIEWS))
def test_views_of_one_picture_are_one_input(run, tmp_path, how):
    """Its halves, or its channels: a request brings the picture."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 8, 12, 2], name="image")
        features = []
        for view in VIEWS[how](image):
            with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
                kernel = weights("conv", 3, 3, int(view.shape[3]), 2)
            features.append(tf.reduce_mean(tf.nn.conv2d(view, kernel, [1, 1, 1, 1], "SAME"), [1, 2]))
        prefix = save(tmp_path, loss=classified(tf.concat(features, 1)))
    content = inspected(run, prefix)
    assert offered(content, "inputs") == ["image:0"]
    assert content["graph"]["towers"] == []
    result = exported(run, content, tmp_path / "base")
    assert result.exit_code == 0, result.output


def two_heads(parts):
    """A head with shared weights for each of two parts."""
    losses = []
    for number, part in enumerate(parts):
        with tf.variable_scope("net", reuse=tf.AUTO_REUSE), tf.name_scope(f"part{number}"):
            features = tf.reduce_mean(tf.nn.conv2d(part, weights("conv", 3, 3, 2, 4), [1, 1, 1, 1], "SAME"), [1, 2])
            losses.append(classified(features))
    return tf.add_n(losses)


def test_heads_of_two_views_are_served_together(run, tmp_path):
    """A line in either half of a page: both are answers to one picture."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 8, 12, 2], name="image")
        prefix = save(tmp_path, loss=two_heads(tf.split(image, 2, axis=2)))
    content = inspected(run, prefix)
    assert offered(content, "inputs") == ["image:0"]
    assert content["graph"]["towers"] == []
    assert {"net/part0/probabilities:0", "net_1/part1/probabilities:0"} <= set(offered(content, "outputs"))


def test_a_batch_that_is_dealt_out_is_of_towers(run, tmp_path):
    """Each reads a share of what was fed: one of them is served, from its share on."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 8, 12, 2], name="image")
        prefix = save(tmp_path, loss=two_heads(tf.split(image, 2, axis=0)))
    content = inspected(run, prefix)
    assert len(content["graph"]["towers"]) == 2
    assert offered(content, "inputs") == ["split:0"]


@pytest.fixture
def drawing(tmp_path):
    """A network that adds random numbers which are no dropout."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 6], name="image")
        hidden = tf.matmul(image, weights("w", 6, 4))
        return save(tmp_path, loss=classified(hidden + 0.1 * tf.random_normal(tf.shape(hidden))))


def test_no_command_is_printed_that_export_refuses(run, drawing):
    """The problems stand there, and that they are why."""
    content = inspected(run, drawing)
    assert content["command"] is None
    assert "random numbers that are not proven to be dropout" in " ".join(content["graph"]["problems"])
    page = run("inspect", drawing).output
    assert "export it with" not in page and "--output" not in page
    assert "no command: export would refuse it" in " ".join(page.split())


def test_a_command_that_lacks_variables_says_so(run, tmp_path, drawing):
    """The checkpoint of another run, whose variables may only be called otherwise."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 6], name="image")
        loss = classified(tf.matmul(image, weights("renamed", 6, 4)))
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        tf.train.export_meta_graph(drawing + ".meta")
    page = " ".join(run("inspect", drawing).output.split())
    assert "export would refuse this: 1 variables of the graph are not in this checkpoint" in page
    assert "export it with" in page


def renamed_op(prefix, node, op):
    """Write a graph in which a node is of an op that no TensorFlow has."""
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

    meta_graph = MetaGraphDef()
    path = prefix + ".meta"
    with open(path, "rb") as file:
        meta_graph.ParseFromString(file.read())
    (found,) = [one for one in meta_graph.graph_def.node if one.name == node]
    found.op = op
    with open(path, "wb") as file:
        file.write(meta_graph.SerializeToString())


def test_a_layer_of_an_op_that_is_missing_leaves_no_command(run, tmp_path):
    """What comes before it is not what the network answers."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 6], name="image")
        hidden = tf.tanh(tf.matmul(image, weights("w", 6, 4)), name="layer")
        prefix = save(tmp_path, loss=classified(hidden))
    renamed_op(prefix, "layer", "BetterTanh")
    content = inspected(run, prefix)
    assert content["command"] is None
    assert [text for text in content["graph"]["problems"] if text.startswith("layer (BetterTanh): TensorFlow")]


def test_a_loss_of_an_op_that_is_missing_does_not_stand_in_the_way(run, tmp_path):
    """It takes labels, and nothing that is served comes after it."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 6], name="image")
        loss = classified(tf.matmul(image, weights("w", 6, 4)))
        name = [op.name for op in loss.graph.get_operations() if op.type == "SparseSoftmaxCrossEntropyWithLogits"][0]
        prefix = save(tmp_path, loss=loss)
    renamed_op(prefix, name, "BetterLoss")
    content = inspected(run, prefix)
    assert content["graph"]["problems"] == []
    assert "--output probabilities=probabilities:0" in content["command"]


@pytest.mark.parametrize("lengths", ["steps", "seq_len", "seq_len:0"])
def test_sequence_length_takes_the_name_of_an_input(run, tmp_path, lengths):
    """As the user named it, or the tensor."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 12, 6], name="image")
        length = tf.placeholder(tf.int32, [None], name="seq_len")
        flat = tf.matmul(tf.reshape(tf.transpose(image, [1, 0, 2]), [-1, 6]), weights("w", 6, 5))
        logits = tf.reshape(flat, [12, -1, 5], name="logits")
        labels = tf.sparse_placeholder(tf.int32, name="labels")
        prefix = save(tmp_path, loss=tf.reduce_mean(tf.nn.ctc_loss(labels, logits, length)))
    inputs = ["--input=image", "--input=steps=seq_len"]
    decode = ["--decode", "logits", "--sequence-length", lengths]
    result = run("export", "--checkpoint", prefix, *inputs, *decode, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
