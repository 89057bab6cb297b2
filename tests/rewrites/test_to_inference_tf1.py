"""Training graphs as TensorFlow 1.x's own layers write them: tf.layers, contrib, Keras, recurrent cells."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.networks import RANDOM, SIZES, Built, answer, check, refused, variable

layers = pytest.importorskip("tensorflow.contrib.layers", reason="contrib, of TensorFlow 1.x")

SEQUENCE = [None, 6, 3]


def phase():
    return tf.placeholder(tf.bool, [], name="is_train")


TRAIN = {"is_train:0": True}


def tf_layers(x, training):
    x = tf.layers.conv2d(x, 4, 3, name="conv")
    x = tf.layers.batch_normalization(x, training=training, name="bn", fused=tf_layers.fused)
    return tf.layers.dropout(tf.nn.relu(x), 0.4, training=training, name="drop")


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("resources", [False, True])
@pytest.mark.parametrize("training", ["constant", "placeholder"])
def test_tf_layers(fused, resources, training):
    """Batch norm and dropout of tf.layers, switched and bare."""
    tf_layers.fused = fused
    check(
        lambda x: tf_layers(x, True if training == "constant" else phase()),
        lambda x: tf_layers(x, False),
        feeds=TRAIN,
        resources=resources,
    )


def contrib_layers(x, training, **options):
    parameters = dict(is_training=training, scale=True, **options)
    x = layers.conv2d(x, 4, 3, normalizer_fn=layers.batch_norm, normalizer_params=parameters, scope="conv")
    x = layers.dropout(x, 0.5, is_training=training, scope="drop")
    return layers.fully_connected(layers.flatten(x), 5, scope="fc") if options.get("fused") else x


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("updates", ["collected", "in place"])
@pytest.mark.parametrize("zero_debias", [False, True])
@pytest.mark.parametrize("training", ["constant", "placeholder"])
def test_contrib_layers(fused, updates, zero_debias, training):
    """slim's batch norm, whose updates may be control inputs of the answer itself."""
    options = {"fused": fused, "zero_debias_moving_mean": zero_debias}
    if updates == "in place":
        options["updates_collections"] = None
    check(
        lambda x: contrib_layers(x, True if training == "constant" else phase(), **options),
        lambda x: contrib_layers(x, False, **options),
        feeds=TRAIN,
        sizes=[None, 5, 4, 3],
    )


@pytest.mark.parametrize("training", ["constant", "placeholder"])
def test_contrib_batch_norm_channels_first(training):
    """NCHW, without the op that can't run on this CPU: unfused."""

    def norm(x, training):
        x = tf.transpose(x, [0, 3, 1, 2])
        return layers.batch_norm(x, is_training=training, data_format="NCHW", fused=False, scale=True, scope="bn")

    check(lambda x: norm(x, True if training == "constant" else phase()), lambda x: norm(x, False), feeds=TRAIN)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("training", ["argument", "learning phase"])
def test_keras_layers(fused, training):
    """Keras as a TF 1.x graph has it: resource variables, and a learning phase that is false by default."""

    def network(x, training):
        x = tf.keras.layers.Conv2D(4, 3, name="conv")(x)
        x = tf.keras.layers.BatchNormalization(fused=fused, name="bn")(x, training=training)
        return tf.keras.layers.Dropout(0.4, name="drop")(x, training=training)

    tf.keras.backend.clear_session()

    def train(x):
        if training == "argument":
            return network(x, True)
        return network(x, tf.keras.backend.learning_phase())

    feeds = {"keras_learning_phase:0": True}
    check(train, lambda x: network(x, False), feeds=feeds)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_keras_recurrent_dropout(cell):
    """Masks made of ones, before the loop."""

    def network(x, training):
        layer = getattr(tf.keras.layers, cell)(4, dropout=0.3, recurrent_dropout=0.3, name="rnn", return_sequences=True)
        return layer(x, training=training)

    check(lambda x: network(x, True), lambda x: network(x, False), sizes=SEQUENCE)


def tflearn_dropout(x, keep):
    """tflearn's: a variable that is set to train, and a cond on it."""
    training = tf.get_variable("is_training", [], tf.bool, tf.constant_initializer(False), trainable=False)
    tf.assign(training, True), tf.assign(training, False)
    return tf.cond(training, lambda: tf.nn.dropout(x, keep), lambda: x)


def test_tflearn():
    """Batch norm and dropout of tflearn."""
    from tensorflow.python.training import moving_averages

    def norm(x, training):
        beta, gamma = variable("beta", trainable=True), variable("gamma", 1.0, trainable=True)
        mean, variance = variable("moving_mean"), variable("moving_variance", 1.0)

        def update_mean_var():
            batch_mean, batch_variance = tf.nn.moments(x, [0, 1, 2])
            with tf.control_dependencies(
                [
                    moving_averages.assign_moving_average(mean, batch_mean, 0.9, zero_debias=False),
                    moving_averages.assign_moving_average(variance, batch_variance, 0.9, zero_debias=False),
                ]
            ):
                return tf.identity(batch_mean), tf.identity(batch_variance)

        if training:
            with tf.variable_scope("", reuse=tf.AUTO_REUSE):
                mode = tf.get_variable("is_training", [], tf.bool, tf.constant_initializer(False), trainable=False)
            used = tf.cond(mode, update_mean_var, lambda: (mean, variance))
        else:
            used = mean, variance
        y = tf.nn.batch_normalization(x, used[0], used[1], beta, gamma, 1e-5)
        if training:
            with tf.variable_scope("", reuse=tf.AUTO_REUSE):
                return tflearn_dropout(y, 0.5)
        return y

    made = check(lambda x: norm(x, True), lambda x: norm(x, False))
    assert [str(edit) for edit in made.edits] == ["is_training: pinned to False"]


def wrapped(size, training, keep, **options):
    cell = tf.nn.rnn_cell.LSTMCell(size, name="lstm_cell")
    if not training:
        return cell
    return tf.nn.rnn_cell.DropoutWrapper(
        cell, input_keep_prob=keep, output_keep_prob=keep, state_keep_prob=keep, **options
    )


@pytest.mark.parametrize("keep", ["constant", "placeholder"])
@pytest.mark.parametrize("recurrent", [False, True])
def test_dropout_wrapper_in_dynamic_rnn(keep, recurrent):
    """Dropout inside of a loop over time; variational: masks made outside."""

    def network(x, training):
        probability = tf.placeholder(tf.float32, name="keep_prob") if keep == "placeholder" else 0.6
        options = (
            {"variational_recurrent": True, "input_size": tf.TensorShape([3]), "dtype": tf.float32} if recurrent else {}
        )
        cells = [wrapped(4, training, probability, **options) for _ in range(2)]
        lengths = tf.fill([tf.shape(x)[0]], 6)
        outputs, _ = tf.nn.bidirectional_dynamic_rnn(cells[0], cells[1], x, lengths, dtype=tf.float32)
        return tf.concat(outputs, 2)

    made = check(lambda x: network(x, True), lambda x: network(x, False), feeds={"keep_prob:0": 0.6}, sizes=SEQUENCE)
    assert not [node.name for node in made.graph_def.node if "Random" in node.op]


def test_stacked_wrapped_cells():
    """stack_bidirectional_dynamic_rnn, the CRNN's."""

    def network(x, training):
        def cells():
            return [wrapped(size, training, 0.6) for size in (4, 5)]

        return layers_rnn().stack_bidirectional_dynamic_rnn(cells(), cells(), x, dtype=tf.float32)[0]

    check(lambda x: network(x, True), lambda x: network(x, False), sizes=SEQUENCE)


def layers_rnn():
    import tensorflow.contrib.rnn

    return tensorflow.contrib.rnn


def test_batch_renorm_is_refused():
    """Its correction is neither batch norm in training nor in inference."""

    def renorm(training):
        return lambda x: tf.layers.batch_normalization(x, training=training, renorm=True, fused=False, name="bn")

    refused(renorm(True), "batch norm uses batch statistics", wrong=renorm(False))


def test_alpha_dropout_is_refused():
    """What it drops it does not set to 0."""
    refused(lambda x: layers_alpha(x), "random numbers that are not proven to be dropout", wrong=RANDOM)


def layers_alpha(x):
    import tensorflow.contrib.nn

    return tensorflow.contrib.nn.alpha_dropout(x, 0.6)


def test_layer_norm_cells_stay():
    """contrib's layer norm reduces over features."""

    def network(x):
        return layers.layer_norm(x, scope="norm")

    built = Built(network, sizes=SIZES)
    made = built.inference()
    assert made.edits == ()
    question = built.question()
    np.testing.assert_array_equal(answer(made.graph_def, question), answer(built.graph_def, question))
