"""Measures proposals and text lines beside the network of the CTPN at its full size, on a page of 600 x 900.

python -m tests.benchmarks.detection [--rounds N]

CPU time of one process, in turns. The answers that lines are made of are random rows of text with 1,000 proposals.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HEIGHT, WIDTH = 592, 896
MOST_RATIO = 0.10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured, in turns (5)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        failed = measured(exported(Path(folder)), rounds)
    sys.exit(1 if failed else 0)


def exported(folder: Path) -> Path:
    """A version of the ctpn."""
    subprocess.run([sys.executable, str(HERE / "make_checkpoints.py"), str(folder)], cwd=str(ROOT), check=True)
    command = [sys.executable, "-m", "ckpt2saved", "export", "-q", "-m", "ctpn", "-c", str(folder / "ctpn")]
    command += ["--no-parity", "--no-warmup", "-o", str(folder / "models")]
    subprocess.run(command, cwd=str(ROOT), check=True, stdout=subprocess.DEVNULL)
    return folder / "models" / "1"


def measured(version: Path, rounds: int) -> bool:
    """Print the times; whether the limit is exceeded."""
    from ckpt2saved.graph.tf1 import tf
    from ckpt2saved.signature.detection import HEIGHTS, Anchors
    from tests.support.detector_answers import random_answers

    page = np.random.RandomState(0).uniform(0, 255, (1, HEIGHT, WIDTH, 3)).astype("float32")
    with tf.Graph().as_default(), tf.Session() as session:
        signatures = tf.saved_model.loader.load(session, ["serve"], str(version)).signature_def
        network = signatures["serving_default"]
        inputs = {key: info.name for key, info in network.inputs.items()}
        maps = [network.outputs[key].name for key in ("output_cls_prob", "output_bbox_pred")]
        anchors = Anchors(HEIGHTS[: session.graph.get_tensor_by_name(maps[1]).shape.as_list()[-1] // 4])
        answers = random_answers(0, 1, (HEIGHT // 16, WIDTH // 16), anchors, 20)
        image = {inputs["input_image"]: page}
        # With the maps fed, the network does not run.
        given = dict(image, **dict(zip(maps, (answers.cls_prob, answers.bbox_pred))))
        given[inputs["input_im_info"]] = np.array([[HEIGHT, WIDTH, 1]], "float32")
        runs = {
            "network": (maps, image),
            "proposals": (fetches(signatures["proposals"]), given),
            "lines": (fetches(signatures["lines"]), given),
        }
        times = {name: [] for name in runs}
        for number in range(rounds + 1):
            for name, (fetched, feeds) in runs.items():
                start = time.process_time()
                session.run(fetched, feeds)
                if number:  # the first round also prepares the graph
                    times[name].append((time.process_time() - start) * 1e3)
        counts = {name: session.run(runs[name][0]["count"], given)[0] for name in ("proposals", "lines")}
        print(f"boxes {answers.cls_prob.size // 2}, proposals {counts['proposals']}, lines {counts['lines']}")
        ratio = statistics.median(made / net for net, made in zip(times["network"], times["lines"]))
        medians = ", ".join(f"{name} {statistics.median(values):.0f}" for name, values in times.items())
        print(f"CPU time, median of {rounds} rounds, ms: {medians}")
        print(f"proposals and lines / network: {ratio:.4f} (at most {MOST_RATIO})")
        return ratio > MOST_RATIO


def fetches(signature):
    return {key: info.name for key, info in signature.outputs.items()}


if __name__ == "__main__":
    main()
