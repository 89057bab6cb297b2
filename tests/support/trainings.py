"""Training graphs that are saved and inspected."""

from __future__ import annotations

from ckpt2saved.graph.tf1 import tf


def weights(name, *shape):
    return tf.get_variable(name, shape, initializer=tf.zeros_initializer(), use_resource=False)


def save(directory, optimizer=None, loss=None, variables=None):
    """Train op, checkpoint and .meta, as a training writes them; returns the prefix."""
    if loss is not None:
        step = tf.train.get_or_create_global_step()
        (optimizer or tf.train.AdamOptimizer()).minimize(loss, global_step=step)
    with tf.Session() as session:
        session.run(tf.variables_initializer(tf.trainable_variables()))  # of which averages are made
        session.run(tf.global_variables_initializer())
        return tf.train.Saver(variables).save(session, str(directory / "model"))


def inputs_of(content):
    return {one["key"]: one["tensor"] for one in content["graph"]["inputs"]}


def proposed(content):
    return [output["tensor"] for output in content["graph"]["outputs"] if output["proposed"]]
