"""Networks with the channels first, as GPUs like them, are served on CPUs too."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites.to_signatures import in_cpu_ops
from tests.support.saved_models import asked

# The rest of the graph has no place on a machine without a GPU.
ONLY_WHAT_RUNS = tf.ConfigProto(graph_options=tf.GraphOptions(place_pruned_graph=True))
FORMATS = {"first": ("NCHW", "NCDHW"), "last": ("NHWC", "NDHWC")}


class Layers:
    """Layers on images [batch, height, width, channels], or with the channels first; one network, however computed."""

    def __init__(self, channels, training):
        self.first = channels == "first"
        self.flat, self.deep = FORMATS[channels]
        self.training = training

    def sizes(self, height, width, depth=None):
        """Of a window or a stride."""
        inner = [height, width] if depth is None else [depth, height, width]
        return [1, 1] + inner if self.first else [1] + inner + [1]

    def weights(self, name, *shape):
        return tf.get_variable(name, shape, initializer=tf.random_normal_initializer(stddev=0.4, seed=len(name)))

    def turned(self, tensor, back=False):
        order = [0, 2, 3, 1] if back else [0, 3, 1, 2]
        return tf.transpose(tensor, order) if self.first else tensor

    def convolved(self, x, name, channels, depth, **options):
        kernel = self.weights(name, 3, 3, channels, depth)
        options = dict({"strides": self.sizes(1, 1), "padding": "SAME"}, **options)
        return tf.nn.conv2d(x, kernel, data_format=self.flat, **options)

    def normal(self, x, depth):
        gamma, beta = self.weights("bn/gamma", depth), self.weights("bn/beta", depth)
        zeros, ones = tf.zeros_initializer(), tf.ones_initializer()
        mean = tf.get_variable("bn/moving_mean", [depth], initializer=zeros, trainable=False)
        variance = tf.get_variable("bn/moving_variance", [depth], initializer=ones, trainable=False)
        given = {} if self.training else {"mean": mean, "variance": variance}
        normal, of_batch, var_of_batch = tf.nn.fused_batch_norm(
            x, gamma, beta, is_training=self.training, data_format=self.flat, **given
        )
        if self.training:
            for average, value in ((mean, of_batch), (variance, var_of_batch)):
                update = tf.assign_sub(average, (average - value) * 0.1)
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        return normal

    def doubled(self, x, channels):
        """Twice as large by a transposed convolution, whose answer's size is known when it runs."""
        shape = tf.shape(x)
        height, width = (2, 3) if self.first else (1, 2)
        size = [shape[height] * 2, shape[width] * 2]
        size = [shape[0], channels] + size if self.first else [shape[0]] + size + [channels]
        kernel = self.weights("doubled", 3, 3, channels, channels)
        return tf.nn.conv2d_transpose(
            x, kernel, tf.stack(size), self.sizes(2, 2), padding="SAME", data_format=self.flat
        )

    def deepened(self, x):
        """Through a volume of one picture's depth."""
        volume = tf.expand_dims(x, 2 if self.first else 1)
        kernel = self.weights("deep", 1, 3, 3, 4, 4)
        volume = tf.nn.conv3d(volume, kernel, self.sizes(1, 1, 1), padding="SAME", data_format=self.deep)
        window = self.sizes(2, 1, 1)
        volume = tf.nn.max_pool3d(volume, window, window, padding="SAME", data_format=self.deep)
        volume = tf.nn.avg_pool3d(volume, window, window, padding="SAME", data_format=self.deep)
        return tf.squeeze(volume, 2 if self.first else 1)

    def pooled(self, x):
        x = tf.nn.max_pool(x, self.sizes(2, 1), self.sizes(2, 1), padding="VALID", data_format=self.flat)
        x = tf.nn.avg_pool(x, self.sizes(3, 2), self.sizes(1, 2), padding="SAME", data_format=self.flat)
        return tf.raw_ops.MaxPoolV2(
            input=x, ksize=self.sizes(2, 2), strides=self.sizes(1, 1), padding="SAME", data_format=self.flat
        )


def network(channels, training=False):
    """Every op that has an order of channels; the answer [batch, height, width, 4]."""
    layers = Layers(channels, training)
    images = tf.placeholder(tf.float32, [None, 16, None, 3], name="images")
    padding = [[0, 0], [1, 2], [3, 0], [0, 0]]
    padding = [padding[axis] for axis in (0, 3, 1, 2)] if layers.first else padding
    x = layers.convolved(layers.turned(images), "a", 3, 4, strides=layers.sizes(2, 1))
    x = tf.nn.bias_add(x, layers.weights("a/bias", 4), data_format=layers.flat)
    x = tf.nn.relu(layers.normal(x, 4))
    x = layers.convolved(x, "bb", 4, 4, dilations=layers.sizes(1, 2))
    x = layers.convolved(x, "ccc", 4, 4, padding=padding)
    x = layers.pooled(x)
    kernel = layers.weights("depthwise", 3, 3, 4, 1)
    x = tf.nn.depthwise_conv2d(x, kernel, layers.sizes(1, 1), padding="SAME", data_format=layers.flat)
    x = layers.doubled(x, 4)
    x = tf.space_to_depth(tf.depth_to_space(x, 2, data_format=layers.flat), 2, data_format=layers.flat)
    x = layers.deepened(x)
    kernel = layers.weights("looped", 3, 3, 4, 4)

    def step(number, x):
        return number + 1, tf.tanh(tf.nn.conv2d(x, kernel, layers.sizes(1, 1), "SAME", data_format=layers.flat))

    x = tf.while_loop(lambda number, x: number < 3, step, [0, x])[1]
    return tf.identity(layers.turned(x, back=True), name="answer")


def sparse(tensor):
    """What can't be served, and may stand beside what is."""
    where = tf.where(tensor > 0)
    return tf.SparseTensor(where, tf.gather_nd(tensor, where), tf.shape(tensor, out_type=tf.int64))


def pictures():
    return np.random.RandomState(0).uniform(-1, 1, (2, 16, 12, 3)).astype("float32")


def of_the_other_order(prefix):
    """What the network answers in inference, written with the channels last."""
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        answer = network("last")
        tf.train.Saver().restore(session, prefix)
        return session.run(answer, {"images:0": pictures()})


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """A training that only a GPU can run, saved with what its variables were initialised with, and averages."""
    with tf.Graph().as_default(), v1_control_flow(), tf.Session(config=ONLY_WHAT_RUNS) as session:
        loss = tf.reduce_mean(network("first", training=True))
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            tf.train.AdamOptimizer().minimize(loss, global_step=tf.train.get_or_create_global_step())
        session.run(tf.global_variables_initializer())
        for name, value in (("bn/moving_mean", [0.5, -1, 2, 0.25]), ("bn/moving_variance", [0.5, 4, 2, 1])):
            (variable,) = [v for v in tf.global_variables() if v.op.name == name]
            variable.load(value, session)
        return tf.train.Saver().save(session, str(tmp_path_factory.mktemp("channels") / "model.ckpt"), global_step=100)


def test_a_training_with_the_channels_first(run, tmp_path, prefix):
    """Each op computes what it would on a GPU, inside of a loop too; and the training can't be run here."""
    result = run("export", "--checkpoint", prefix, "--input", "images", "--output", "answer", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "and 14 more: AvgPool, AvgPool3D, Conv2D, Conv2DBackpropInput, Conv3D, Dep" in result.output, result.output
    wanted = of_the_other_order(prefix)
    found = asked(tmp_path / "1", images=pictures())["answer"]
    assert wanted.std() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    with tf.Graph().as_default(), tf.Session(config=ONLY_WHAT_RUNS) as session:
        tf.train.import_meta_graph(prefix + ".meta").restore(session, prefix)
        with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.UnimplementedError)):
            session.run("answer:0", {"images:0": pictures()})


def test_a_function_of_ones_own_with_the_channels_first(run, tmp_path, prefix):
    """As a training's graph."""
    (tmp_path / "channels_of_mine.py").write_text(
        "from tests.rewrites import test_convert_to_nhwc as networks\n\ndef build(variables, options):\n"
        "    answer = networks.network('first')\n"
        "    images = answer.graph.get_tensor_by_name('images:0')\n"
        "    return {'images': images, 'answer': answer, 'sparse': networks.sparse(answer)}\n"
    )
    arguments = ["--graph", "channels_of_mine:build", "--python-path", tmp_path, "--checkpoint", prefix]
    result = run("export", *arguments, "--input", "images", "--output", "answer", "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    found = asked(tmp_path / "base" / "1", images=pictures())["answer"]
    np.testing.assert_allclose(found, of_the_other_order(prefix), atol=1e-5)
    result = run("export", *arguments, "--input", "images", "--output", "sparse", "-o", tmp_path / "base")
    assert result.exit_code == 3 and "SparseTensor" in result.output, result.output


def test_between_two_ops_there_is_no_transpose():
    """One before the first, and one for each answer, of which the first's is used by nobody."""
    with tf.Graph().as_default() as graph:
        layers = Layers("first", training=False)
        x = tf.placeholder(tf.float32, [None, 3, 16, 16])
        for name, channels in (("a", 3), ("bb", 4)):
            x = layers.convolved(x, name, channels, 4)
    given = graph.as_graph_def()
    turned, (edit,) = in_cpu_ops(given)
    nodes = {node.name: node for node in turned.node}
    assert edit.node == "Conv2D" and given == graph.as_graph_def()
    assert nodes["Conv2D_1/channels_last"].input[0] == "Conv2D/channels_last"
    assert [name for name in nodes if nodes[name].op == "Transpose"] == ["Conv2D", "Conv2D_1", "Conv2D/input"]
    assert in_cpu_ops(turned) == (turned, ())


def test_where_nothing_says_the_order_nothing_is_written():
    """As in graphs without their default attributes, of Saver.save(strip_default_attrs=True)."""
    with tf.Graph().as_default() as graph:
        Layers("last", training=False).convolved(tf.placeholder(tf.float32, [None, 16, 16, 3]), "a", 3, 4)
    given = graph.as_graph_def()
    (node,) = [node for node in given.node if node.op == "Conv2D"]
    del node.attr["data_format"]
    assert in_cpu_ops(given) == (given, ()) and "data_format" not in node.attr
