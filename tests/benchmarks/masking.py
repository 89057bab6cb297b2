"""Measures what masks cost the crnn: the network with masks beside the same without, in turns, in one process.

python -m tests.benchmarks.masking [--rounds N]

Prints a line for each batch and ends with 1 where masks cost more than the limit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.mask_padding import PaddedBatch, mask_padding
from ckpt2saved.sources.networks import build_network
from tests.support import golden_rule

LIMIT = 1.08
# Lines, the width of the widest, and rounds for each of --rounds: short runs vary more.
BATCHES = ((1, 256, 8), (32, 256, 1), (64, 128, 1))


def main() -> None:
    """Measure, print, and say by the exit code whether the limit holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="how often each batch is measured (9)")
    rounds = parser.parse_args().rounds
    shapes = {name: shape for name, shape in golden_rule.variables("crnn").items() if not name.endswith("global_step")}
    with tf.Graph().as_default() as graph:
        logits = build_network("crnn", shapes, {})["logits"].name
    batch = PaddedBatch("input_data:0", "widths:0", ("input_batch_size:0",))
    masked = mask_padding(graph.as_graph_def(), batch, [logits])
    plain_session, masked_session = _session(graph.as_graph_def()), _session(masked.graph_def)
    failed = False
    for lines, width, times in BATCHES:
        random = np.random.RandomState(lines)
        images = random.uniform(0, 255, (lines, 32, width, 3)).astype("float32")
        widths = [width, *random.randint(width // 2, width + 1, lines - 1)]
        plain_feed = {"input_data:0": images, "input_batch_size:0": [one // 4 for one in widths]}
        masked_feed = {"input_data:0": images, "widths:0": widths}
        pairs = [
            (_seconds(plain_session, logits, plain_feed), _seconds(masked_session, logits, masked_feed))
            for _ in range(rounds * times + 1)
        ][1:]
        ratio = statistics.median(second / first for first, second in pairs)
        seconds = [statistics.median(column) for column in zip(*pairs)]
        print(f"crnn with masks, batch {lines}, {width} pixels | {seconds[1]:.4f} | | {ratio:.3f} ({LIMIT}) | |")
        failed |= ratio > LIMIT
    sys.exit(1 if failed else 0)


def _session(graph_def: object) -> tf.Session:
    """A session of a graph whose variables are filled by their names."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        session = tf.Session(graph=graph)
        for op in graph.get_operations():
            if op.type == "VariableV2":
                value = golden_rule.fill(op.name, tf.TensorShape(op.get_attr("shape")).as_list())
                session.run(tf.raw_ops.Assign(ref=op.outputs[0], value=tf.constant(value)).op)
    return session


def _seconds(session: tf.Session, logits: str, feed: dict) -> float:
    start = time.perf_counter()
    session.run(logits, feed)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
