"""Train a small CTPN on rendered pages, and save it as TensorFlow's own Saver does."""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must precede the import of TensorFlow
warnings.simplefilter("ignore")  # TensorFlow 1.x warns about the numpy of its own time

import numpy  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402
from anchors import IGNORED, TEXT  # noqa: E402
from crops import training_batches  # noqa: E402
from network import ANCHORS, ctpn  # noqa: E402

AVERAGE_DECAY = 0.997
WARM_UP_STEPS = 100
LARGEST_GRADIENT = 5.0
STEEPNESS = 9.0  # the loss of offsets is quadratic below 1 / 9 of an anchor's height
STEPS_BETWEEN_REPORTS = 250


def main() -> None:
    options = _parse_options()
    tf.logging.set_verbosity(tf.logging.ERROR)
    if hasattr(tf, "disable_control_flow_v2"):  # TensorFlow 1.14 has no other loops than those that this keeps
        tf.disable_control_flow_v2()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    train(options)


def train(options: argparse.Namespace) -> None:
    """Train for `minutes`; `output_dir` then holds the newest checkpoint."""
    batches = training_batches(options.seed, options.batch, options.processes)
    started = time.time()
    with tf.Graph().as_default(), tf.Session(config=_session_config(options.threads)) as session:
        tf.set_random_seed(options.seed)
        graph = build_training_graph()
        # The weights, their averages and the step, without Adam's moments: two thirds of the size.
        averaged = [graph.averages.average(variable) for variable in tf.trainable_variables()]
        saver = tf.train.Saver(
            tf.trainable_variables() + averaged + [graph.global_step], max_to_keep=1, save_relative_paths=True
        )
        session.run(tf.global_variables_initializer())
        if options.start is not None:
            saver.restore(session, tf.train.latest_checkpoint(str(options.start)))
        losses, share = [], 0.0
        for step, batch in enumerate(batches, start=1):
            rate = options.learning_rate * min(step / WARM_UP_STEPS, max(1 - share, 0.01))
            feed = {
                graph.pages: batch.crops,
                graph.kinds: batch.kinds,
                graph.offsets: batch.offsets,
                graph.rate: rate,
            }
            *both, _ = session.run([graph.class_loss, graph.offset_loss, graph.train], feed)
            losses.append(both)
            share = (time.time() - started) / 60 / options.minutes
            if step % STEPS_BETWEEN_REPORTS == 0 or share >= 1:
                saver.save(
                    session, str(options.output_dir / "ctpn.ckpt"), global_step=int(session.run(graph.global_step))
                )
                of_class, of_offsets = numpy.mean(losses, axis=0)
                print(
                    f"step {step} loss of classes {of_class:.4f} of offsets {of_offsets:.4f}"
                    f" after {share * options.minutes:.1f} minutes",
                    flush=True,
                )
                losses = []
            if share >= 1:
                return


class TrainingGraph(NamedTuple):
    pages: tf.Tensor
    kinds: tf.Tensor
    offsets: tf.Tensor
    rate: tf.Tensor
    class_loss: tf.Tensor
    offset_loss: tf.Tensor
    global_step: tf.Variable
    averages: tf.train.ExponentialMovingAverage
    train: tf.Operation


def build_training_graph() -> TrainingGraph:
    pages = tf.placeholder(tf.float32, [None, None, None, 3], "pages")
    kinds = tf.placeholder(tf.int32, [None, None, None], "kinds")
    offsets = tf.placeholder(tf.float32, [None, None, None, 2], "offsets")
    rate = tf.placeholder(tf.float32, [], "rate")
    bbox_pred, cls_pred = ctpn(pages)
    class_loss, offset_loss = _losses(bbox_pred, cls_pred, kinds, offsets)
    # A float, as in the original.
    global_step = tf.get_variable(
        "global_step", [], tf.float32, tf.zeros_initializer(), trainable=False, use_resource=False
    )
    optimizer = tf.train.AdamOptimizer(rate)
    gradients, variables = zip(*optimizer.compute_gradients(class_loss + offset_loss))
    gradients, _ = tf.clip_by_global_norm(gradients, LARGEST_GRADIENT)
    optimization = optimizer.apply_gradients(zip(gradients, variables), global_step)
    averages = tf.train.ExponentialMovingAverage(AVERAGE_DECAY, global_step)
    with tf.control_dependencies([optimization]):
        train = averages.apply(tf.trainable_variables())
    return TrainingGraph(pages, kinds, offsets, rate, class_loss, offset_loss, global_step, averages, train)


def _losses(
    bbox_pred: tf.Tensor, cls_pred: tf.Tensor, kinds: tf.Tensor, offsets: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the cross entropy of the anchors that are not ignored, and the smooth L1 distance of dy and dh where
    there is text (Tian et al. 2016, arXiv:1609.03605, formula 5, without side-refinement).
    """
    counted, is_text = tf.not_equal(kinds, IGNORED), tf.equal(kinds, TEXT)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.boolean_mask(kinds, counted), logits=tf.boolean_mask(cls_pred, counted)
    )
    shape = tf.shape(bbox_pred)
    predicted = tf.reshape(bbox_pred, [shape[0], shape[1], shape[2] * ANCHORS, 4])[..., 1::2]  # of dx, dy, dw, dh
    distance = tf.abs(tf.boolean_mask(predicted, is_text) - tf.boolean_mask(offsets, is_text))
    smooth = tf.where(distance < 1 / STEEPNESS, 0.5 * STEEPNESS * tf.square(distance), distance - 0.5 / STEEPNESS)
    texts = tf.maximum(tf.reduce_sum(tf.cast(is_text, tf.float32)), 1.0)
    return tf.reduce_mean(entropy), tf.reduce_sum(smooth) / texts


def _session_config(threads: int) -> tf.ConfigProto:
    return tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, required=True, help="Folder for the checkpoint.")
    parser.add_argument(
        "--start", type=Path, metavar="DIR", help="Start from the checkpoint there (default: from scratch)."
    )
    parser.add_argument("--minutes", type=float, default=40, help="How long to train (default: %(default)s).")
    parser.add_argument("--batch", type=int, default=8, help="Crops in a batch (default: %(default)s).")
    parser.add_argument("--learning-rate", type=float, default=0.002, help="At its highest (default: %(default)s).")
    parser.add_argument("--seed", type=int, default=1, help="Of pages and weights (default: %(default)s).")
    parser.add_argument("--threads", type=int, default=2, help="Threads of TensorFlow (default: %(default)s).")
    parser.add_argument("--processes", type=int, default=1, help="Processes to draw with (default: %(default)s).")
    return parser.parse_args()


if __name__ == "__main__":
    main()
