"""Measures a batch norm that no convolution can take in, one behind an activation, beside a product and a sum.

python -m tests.benchmarks.batch_norm [--rounds N]

Two convolutions with the batch norm between them, run in turns in one process with one thread; CPU seconds of the median
round. TF_ENABLE_ONEDNN_OPTS=0 or 1 in the environment chooses the kernels.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from ckpt2saved.graph.tf1 import tf

SHAPES = ((1, 32, 128, 64), (1, 16, 64, 128), (16, 16, 64, 128))  # lines, height, width, channels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=41, help="how often each batch is measured (41)")
    rounds = parser.parse_args().rounds
    for shape in SHAPES:
        fused, computed, without = measured(shape, rounds)
        print(
            f"{'x'.join(map(str, shape)):>12}: FusedBatchNormV3 {fused * 1e3:.2f} ms, {(fused - without) / fused:.1%} of it"
            f" the batch norm; product and sum {computed / fused:.3f} of the time"
        )


def measured(shape, rounds):
    """Seconds with a fused batch norm, with a product and a sum, and without either."""
    channels = shape[-1]
    with tf.Graph().as_default(), tf.Session(config=one_thread()) as session:
        x = tf.placeholder(tf.float32, [None, *shape[1:]])
        kernel = variable("kernel", 3, 3, channels, channels)
        scale, offset, mean, variance = (variable(name, channels) for name in ("scale", "offset", "mean", "variance"))
        active = tf.nn.relu(convolved(x, kernel))
        how = {"scale": scale, "offset": offset, "mean": mean, "variance": variance, "is_training": False}
        fused = tf.raw_ops.FusedBatchNormV3(x=active, **how)[0]
        ends = [tf.reduce_sum(convolved(one, kernel)) for one in (fused, active * scale + offset, active)]
        session.run(tf.global_variables_initializer())
        picture = np.random.RandomState(1).uniform(size=shape).astype("float32")
        return [statistics.median(times) for times in zip(*(turn(session, ends, {x: picture}) for _ in range(rounds)))]


def turn(session, ends, feeds):
    """CPU seconds of a run of each."""
    times = []
    for end in ends:
        begun = time.process_time()
        session.run(end, feeds)
        times.append(time.process_time() - begun)
    return times


def convolved(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def variable(name, *shape):
    values = np.random.RandomState(len(name)).uniform(0.5, 1.5, shape).astype("float32")
    return tf.get_variable(name, initializer=values, use_resource=False)


def one_thread():
    return tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)


if __name__ == "__main__":
    main()
