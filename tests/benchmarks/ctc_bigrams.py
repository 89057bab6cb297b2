"""Measures what a language model costs the CTC beam search: with one beside without, in turns, in one process.

python -m tests.benchmarks.ctc_bigrams [--rounds N]

Prints a line for each case and ends with 1 where the ratio is above the limit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np

from ckpt2saved.ctc import beam_search
from ckpt2saved.ctc.bench import Case, make_logits
from ckpt2saved.ctc.language_model import LanguageModel
from ckpt2saved.graph.tf1 import tf, v1_control_flow

LIMITS = {37: 1.5, 3862: 8.0}  # by classes
CASES = [
    Case(batch=batch, steps=64, classes=classes, beam_width=10, logits=logits)
    for classes in LIMITS
    for logits in ("peaked", "flat")
    for batch in (1, 8, 64)
]


def main() -> None:
    """Measure, print, and say by the exit code whether the limits hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often each is run, in turns (7)")
    rounds = parser.parse_args().rounds
    failed = False
    for case in CASES:
        without, with_model = measure(case, rounds)
        ratio, limit = with_model / without, LIMITS[case.classes]
        print(f"ctc with a language model, {case} | {with_model:.4f} | | {ratio:.2f} ({limit}) | |", flush=True)
        failed |= ratio > limit
    sys.exit(1 if failed else 0)


def measure(case: Case, rounds: int) -> list:
    values = make_logits(case)
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        variable = tf.get_variable("logits", values.shape, trainable=False, use_resource=False)
        arriving = tf.placeholder(tf.float32, values.shape)
        session.run(tf.assign(variable, arriving).op, {arriving: values})
        logits, lengths = tf.identity(variable), tf.fill([case.batch], case.steps)
        decoders = []
        for model in (None, LanguageModel(made_up_table(case.classes), 0.5)):
            (path,), _ = beam_search(
                logits,
                lengths,
                beam_width=case.beam_width,
                top_paths=1,
                merge_repeated=False,
                language_model=model,
            )
            decoders.append([path.indices.op, path.values.op, path.dense_shape.op])
        seconds = [[] for _ in decoders]
        for number in range(rounds + 1):
            for targets, measured in zip(decoders, seconds):
                start = time.perf_counter()
                session.run(targets)
                if number:
                    measured.append(time.perf_counter() - start)
        return [statistics.median(measured) for measured in seconds]


def made_up_table(classes: int) -> np.ndarray:
    """Pairs as in a text: a label is followed by few others, and most pairs have not been seen."""
    rng = np.random.RandomState(1)
    alone = 1 / (np.arange(classes) + 3.0)
    counts = np.zeros([classes, classes], np.float32)
    pairs = rng.choice(classes, size=[2, classes * 20], p=alone / alone.sum())
    np.add.at(counts, tuple(pairs), 1)
    return np.log((counts + alone / alone.sum()) / (counts.sum(1, keepdims=True) + 1)).astype(np.float32)


if __name__ == "__main__":
    main()
