"""A network that reads pictures whose bytes are the letters a to d: a weight for each letter and each class."""

from __future__ import annotations

GRAPH = """
import tensorflow.compat.v1 as tf

def build(variables, options):
    images = tf.placeholder(tf.string, [None], name="image_bytes")
    letters = tf.one_hot(tf.cast(tf.decode_raw(images, tf.uint8), tf.int32) - 97, 4)
    weights = tf.get_variable("weights", variables.get("weights", [4, 4]))
    classes = tf.argmax(tf.tensordot(letters, weights, 1), -1)
    return {"image_bytes": images, "text": tf.reduce_join(tf.gather(tf.constant(list("abcd")), classes), 1)}
"""
SIGNATURES = """
format: 1
graph: {builder: "letters:build"}
signatures:
  serving_default:
    inputs: {image_bytes: {dtype: string, shape: [batch]}}
    outputs: {text: {dtype: string, shape: [batch]}}
parity: [{dims: {batch: 2}, inputs: {image_bytes: {values: [abcd, bbbb]}}}]
"""
