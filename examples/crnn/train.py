"""Train a small CRNN on rendered lines of text, and save it as TensorFlow's own Saver does."""

from __future__ import annotations

import argparse
import itertools
import os
import time
import warnings
from pathlib import Path
from typing import NamedTuple, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must precede the import of TensorFlow
warnings.simplefilter("ignore")  # TensorFlow 1.x warns about the numpy of its own time

import numpy  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402
from batches import training_batches  # noqa: E402
from network import crnn_logits  # noqa: E402
from pictures import to_height  # noqa: E402
from reader import Reader, session_config  # noqa: E402
from render import render_readable  # noqa: E402
from texts import class_ids, validation_lines  # noqa: E402

WARM_UP_STEPS = 50
LARGEST_GRADIENT = 5.0
STEPS_BETWEEN_REPORTS = 250


def main() -> None:
    options = _parse_options()
    tf.logging.set_verbosity(tf.logging.ERROR)
    if hasattr(tf, "disable_control_flow_v2"):  # TensorFlow 1.14 has no other loops than those that this keeps
        tf.disable_control_flow_v2()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    train(options)


def train(options: argparse.Namespace) -> None:
    """Train for `steps` steps; `output_dir` then holds the newest checkpoint."""
    batches = training_batches(options.seed, options.batch, options.processes)
    random = numpy.random.RandomState(0)
    exam = [(line, to_height(render_readable(line, random))) for line in validation_lines()]
    reader = Reader(options.threads)
    started = time.time()
    with tf.Graph().as_default(), tf.Session(config=session_config(options.threads)) as session:
        tf.set_random_seed(options.seed)
        graph = build_training_graph(options.learning_rate, options.steps)
        saver = tf.train.Saver(max_to_keep=1, save_relative_paths=True)
        session.run(tf.global_variables_initializer())
        if options.weights is not None:
            _load_weights(session, options.weights)
        losses = []
        for step, (lines, images, widths) in enumerate(itertools.islice(batches, options.steps), start=1):
            feed = {graph.images: images, graph.lengths: widths // 4, graph.labels: sparse_labels(lines)}
            loss, _ = session.run([graph.loss, graph.train], feed)
            losses.append(loss)
            if step % STEPS_BETWEEN_REPORTS == 0 or step == options.steps:
                prefix = saver.save(session, str(options.output_dir / "model.ckpt"), global_step=graph.global_step)
                reader.restore(prefix)
                print(
                    f"step {step} loss {numpy.mean(losses):.3f} read {reader.share_right(exam):.2%} of the characters"
                    f" after {(time.time() - started) / 60:.1f} minutes",
                    flush=True,
                )
                losses = []


def _load_weights(session: tf.Session, path: Path) -> None:
    """Start from what pretrain.py wrote: everything but Adam's moments and the count of steps."""
    with numpy.load(str(path)) as weights:
        for variable in tf.global_variables():
            if variable.op.name in weights:
                variable.load(weights[variable.op.name], session)


class TrainingGraph(NamedTuple):
    images: tf.Tensor
    lengths: tf.Tensor
    labels: tf.SparseTensor
    loss: tf.Tensor
    global_step: tf.Variable
    train: tf.Operation


def build_training_graph(learning_rate: float, steps: int) -> TrainingGraph:
    images = tf.placeholder(tf.float32, [None, 32, None, 3], "images")
    lengths = tf.placeholder(tf.int32, [None], "lengths")
    labels = tf.sparse_placeholder(tf.int32, name="labels")
    logits = crnn_logits(images, lengths, training=True)
    loss = tf.reduce_mean(tf.nn.ctc_loss(labels, logits, lengths), name="loss")
    global_step = tf.get_variable(
        "global_step", [], tf.int64, tf.zeros_initializer(), trainable=False, use_resource=False
    )
    train = _optimization(loss, global_step, learning_rate, steps)
    return TrainingGraph(images, lengths, labels, loss, global_step, train)


def _optimization(loss: tf.Tensor, global_step: tf.Variable, learning_rate: float, steps: int) -> tf.Operation:
    """One step of Adam, at a rate that rises at first and then falls linearly to a hundredth, and of batch norm's
    running averages.
    """
    done = tf.cast(global_step, tf.float32)
    rate = learning_rate * tf.minimum((done + 1.0) / WARM_UP_STEPS, tf.maximum(1.0 - done / float(steps), 0.01))
    optimizer = tf.train.AdamOptimizer(rate)
    gradients, variables = zip(*optimizer.compute_gradients(loss))
    gradients, _ = tf.clip_by_global_norm(gradients, LARGEST_GRADIENT)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return optimizer.apply_gradients(zip(gradients, variables), global_step)


def sparse_labels(lines: Sequence[str]) -> tf.SparseTensorValue:
    """Return the class numbers of `lines` in the form that CTC loss takes."""
    ids = [class_ids(line) for line in lines]
    indices = [(row, column) for row, numbers in enumerate(ids) for column in range(len(numbers))]
    values = numpy.concatenate(ids).astype("int32")
    return tf.SparseTensorValue(numpy.array(indices, "int64"), values, (len(lines), max(map(len, lines))))


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, required=True, help="Folder for the checkpoint.")
    parser.add_argument("--weights", type=Path, help="Start from what pretrain.py wrote (default: from scratch).")
    parser.add_argument("--steps", type=int, default=20000, help="Batches to train on (default: %(default)s).")
    parser.add_argument("--batch", type=int, default=48, help="Lines in a batch (default: %(default)s).")
    parser.add_argument("--learning-rate", type=float, default=0.003, help="At its highest (default: %(default)s).")
    parser.add_argument("--seed", type=int, default=1, help="Of lines, pictures and weights (default: %(default)s).")
    parser.add_argument("--threads", type=int, default=2, help="Threads of TensorFlow (default: %(default)s).")
    parser.add_argument("--processes", type=int, default=1, help="Processes to draw with (default: %(default)s).")
    return parser.parse_args()


if __name__ == "__main__":
    main()
