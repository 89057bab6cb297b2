"""Measures the signature `text` beside the tensor signature with the same pictures decoded by OpenCV (libpng, libjpeg).

python -m tests.benchmarks.pictures [--rounds N]

The network is the crnn at its full size, on pictures of 32 x 256; ratios within this run, in turns. Memory is that of 64
large pictures, of which each has 16 million pixels.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CLASSES = 37
MOST_RATIO = 1.10
MOST_MEGABYTES = 600  # of 64 pictures whose pixels have 3 GB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured, in turns (5)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        failed = measured(exported(Path(folder)), rounds)
    sys.exit(1 if failed else 0)


def exported(folder: Path) -> Path:
    """A version of the crnn with `text`."""
    subprocess.run([sys.executable, str(HERE / "make_checkpoints.py"), str(folder)], cwd=str(ROOT), check=True)
    charset = folder / "characters.txt"
    charset.write_text("".join(chr(0x4E00 + number) + "\n" for number in range(CLASSES - 1)), encoding="utf-8")
    command = [sys.executable, "-m", "ckpt2saved", "export", "-q", "-m", "crnn", "-c", str(folder / "crnn")]
    command += ["--option", f"charset={charset}", "--no-parity", "--no-warmup", "-o", str(folder / "models")]
    subprocess.run(command, cwd=str(ROOT), check=True, stdout=subprocess.DEVNULL)
    return folder / "models" / "1"


def measured(version: Path, rounds: int) -> bool:
    """Print the table; whether a limit is exceeded."""
    import cv2

    from ckpt2saved.graph.tf1 import tf

    random = np.random.RandomState(0)
    failed = False
    config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        signatures = tf.saved_model.loader.load(session, ["serve"], str(version)).signature_def

        def run(name, **inputs):
            definition = signatures[name]
            feeds = {definition.inputs[key].name: value for key, value in inputs.items()}
            return session.run({key: info.name for key, info in definition.outputs.items()}, feeds)

        def by_client(files):
            pictures = [cv2.imdecode(np.frombuffer(file, "uint8"), cv2.IMREAD_COLOR)[..., ::-1] for file in files]
            return run("dense", input_data=np.stack(pictures).astype("float32"), input_batch_size=[64] * len(files))

        # Before the rest: the peak of a process never falls.
        small, large = (cv2.imencode(".png", np.zeros((size, size, 3), "uint8"))[1].tobytes() for size in (32, 4096))
        run("text", image_bytes=[small] * 64)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run("text", image_bytes=[large] * 64)
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"64 pictures of 4096 x 4096: {more:.0f} MB more than 64 of 32 x 32 (at most {MOST_MEGABYTES})")
        failed |= more > MOST_MEGABYTES
        print(f"CPU time, median of {rounds} rounds | client decodes, ms | text, ms | ratio (at most {MOST_RATIO})")
        for kind in (".png", ".jpg"):
            for count in (1, 64):
                files = [cv2.imencode(kind, strokes(random))[1].tobytes() for _ in range(count)]
                times = {"client": [], "text": []}
                repeats = 1 if count > 1 else 10
                for number in range(rounds + 1):
                    for name, call in (("client", by_client), ("text", lambda x: run("text", image_bytes=x))):
                        start = time.process_time()
                        for _ in range(repeats):
                            call(files)
                        if number:  # the first round also prepares the graph
                            times[name].append((time.process_time() - start) / repeats * 1e3)
                client, text = (statistics.median(times[name]) for name in ("client", "text"))
                ratio = statistics.median(t / c for c, t in zip(times["client"], times["text"]))
                print(f"{kind[1:]}, batch {count} | {client:.1f} | {text:.1f} | {ratio:.3f}", flush=True)
                failed |= ratio > MOST_RATIO
        return failed


def strokes(random: np.random.RandomState) -> np.ndarray:
    """A picture that compresses as text does: dark strokes on light paper with some noise."""
    picture = np.full((32, 256, 3), 230, "int32") + random.randint(-6, 7, (32, 256, 3))
    for left in range(4, 250, 9):
        top, bottom = sorted(random.randint(3, 29, 2))
        picture[top : bottom + 1, left : left + 3] = 40
    return picture.clip(0, 255).astype("uint8")


if __name__ == "__main__":
    main()
