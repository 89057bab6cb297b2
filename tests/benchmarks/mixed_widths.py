"""Measures lines of 40 to 400 pixels from 8 clients: a server that batches beside one that answers each request alone.

python -m tests.benchmarks.mixed_widths [--small] [--gpu] [--windows N] [--batched URL --unbatched URL]

Each request has the bytes of one picture, for the signature `text` of the full-size crnn, or with --small of the
example's. The servers are those of the tests, in processes of their own, or at the URLs. The two are measured in turns,
and have to give equal texts for all pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator, List

from ckpt2saved.verification.speed.figures import Point
from ckpt2saved.verification.speed.opening import Opening, open_target
from ckpt2saved.verification.speed.sweep import Windows, measure
from ckpt2saved.verification.speed.target import Target
from ckpt2saved.verification.speed.widths import parse_widths
from ckpt2saved.verification.speed.workload import Given, workload_for

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CLIENTS = 8
CLASSES = 37
LEAST_RATIO = 2.0
MOST_SCORE_DIFFERENCE = 1e-3
WAIT_SECONDS = 0.005  # of a batch, as in the defaults of serving-config
SERVER = """
import sys, time
from tests.support.model_server import serving_rest
with serving_rest({base!r}, "crnn") as model:
    model.batching, model.batches.timeout_seconds = {batching}, {wait}
    print(model.url + "/v1/models/crnn", flush=True)
    sys.stdin.read()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="the network of examples/crnn")
    parser.add_argument("--gpu", action="store_true", help="servers on the GPU of this machine")
    parser.add_argument("--windows", type=int, default=5, help="windows of 3 s of each server, in turns (5)")
    parser.add_argument("--batched", metavar="URL", help="the model on a server with --enable_batching")
    parser.add_argument("--unbatched", metavar="URL", help="the model on a server without it")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        urls = [options.unbatched, options.batched]
        if None in urls:
            base = exported(Path(stack.enter_context(tempfile.TemporaryDirectory())), options.small, options.gpu)
            urls = [stack.enter_context(served(base, batching, options.gpu)) for batching in (False, True)]
        targets = [stack.enter_context(open_target(url, Opening("text"))) for url in urls]
        sys.exit(0 if measured(targets, options.windows) else 1)


def exported(folder: Path, small: bool, gpu: bool) -> Path:
    """The base directory of a crnn with `text`."""
    command = [sys.executable, "-m", "ckpt2saved", "export", "-q", "-m", "crnn", "--no-parity", "-o", str(folder / "m")]
    command += ["--for-device", "gpu"] if gpu else []
    if small:
        charset = ROOT / "examples" / "crnn" / "charset.txt"
        command += ["-c", str(ROOT / "examples" / "crnn" / "checkpoint")]
    else:
        subprocess.run([sys.executable, str(HERE / "make_checkpoints.py"), str(folder)], cwd=str(ROOT), check=True)
        charset = folder / "characters.txt"
        charset.write_text("".join(chr(0x4E00 + one) + "\n" for one in range(CLASSES - 1)), encoding="utf-8")
        command += ["-c", str(folder / "crnn")]
    subprocess.run([*command, "--option", f"charset={charset}"], cwd=str(ROOT), check=True, stdout=subprocess.DEVNULL)
    return folder / "m"


@contextlib.contextmanager
def served(base: Path, batching: bool, gpu: bool) -> Iterator[str]:
    """The address of the model on a server in a process of its own."""
    code = SERVER.format(base=str(base), batching=batching, wait=WAIT_SECONDS)
    environment = dict(os.environ, PYTHONPATH=str(ROOT), TF_CPP_MIN_LOG_LEVEL="3")
    # The two share a GPU.
    environment.update({"TF_FORCE_GPU_ALLOW_GROWTH": "true"} if gpu else {"CUDA_VISIBLE_DEVICES": "-1"})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "universal_newlines": True}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=str(ROOT), **pipes) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def measured(targets: List[Target], windows: int) -> bool:
    """Print the table; whether the ratio reaches its limit, and the texts are equal."""
    pictures = Given(widths=parse_widths("40-400"))
    workloads = [workload_for(target, pictures) for target in targets]
    unequal = differences(targets, workloads[0].requests(1))
    result = measure(targets, workloads, [Point(CLIENTS, 1)], Windows(3.0, most=windows, tolerance=-1.0))
    print(f"{CLIENTS} clients, lines of {workloads[0].widths} pixels | lines/s | p50, ms | p99, ms | failures")
    for name, one in zip(("each request alone", "the server batches"), result.measured):
        (row,) = one.rows
        p50, _, p99 = [seconds * 1e3 for seconds in row.percentiles or [0.0] * 3]
        print(f"{name} | {row.lines_per_second:.1f} | {p50:.0f} | {p99:.0f} | {sum(row.failures.values())}", flush=True)
    ratio = result.comparisons[0].ratios["requests_per_second"]
    print(f"ratio {ratio.value:.2f}, {ratio.low:.2f} to {ratio.high:.2f} (at least {LEAST_RATIO})")
    print(f"{unequal} of {len(workloads[0].requests(1))} texts differ (none may)")
    return ratio.value >= LEAST_RATIO and not unequal and not any(one.rows[0].failures for one in result.measured)


def differences(targets: List[Target], requests: list) -> int:
    """How many pictures get another text, or score, when 8 clients ask at a time."""
    from concurrent.futures import ThreadPoolExecutor

    alone = [targets[0].answers(request) for request in requests]
    with ThreadPoolExecutor(CLIENTS) as pool:
        together = list(pool.map(targets[1].answers, requests))
    pairs = list(zip(alone, together))
    scores = max(float(abs(one["score"] - other["score"]).max()) for one, other in pairs)
    print(f"largest difference of a score: {scores:.2g} (at most {MOST_SCORE_DIFFERENCE})")
    return sum(
        one["text"].tolist() != other["text"].tolist()
        or float(abs(one["score"] - other["score"]).max()) > MOST_SCORE_DIFFERENCE
        for one, other in pairs
    )


if __name__ == "__main__":
    main()
