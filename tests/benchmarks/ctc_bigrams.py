"""Measures what a language model costs in the CTC beam search: the seconds with one, in relation to those without.

python -m tests.benchmarks.ctc_bigrams [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from ckpt2saved.ctc import beam_search
from ckpt2saved.ctc.bench import Case, make_logits
from ckpt2saved.ctc.language_model import LanguageModel
from ckpt2saved.tf1 import tf, v1_control_flow

STEPS = 64
CASES = [
    Case(batch=batch, steps=STEPS, classes=classes, beam_width=10, logits=logits)
    for classes in (37, 3862)
    for logits in ("peaked", "flat")
    for batch in (1, 8, 64)
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often each is run, in turns (7)")
    rounds = parser.parse_args().rounds
    print(f"TensorFlow {tf.version.VERSION}, median of {rounds} rounds")
    print("batch x steps x classes, width, logits | seconds without | with a language model | ratio")
    for case in CASES:
        without, with_model = measure(case, rounds)
        print(f"{case} | {without:.4f} | {with_model:.4f} | {with_model / without:.2f}", flush=True)


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
