"""Measures the first request for each signature after a load, in a new process with the C++ loader and TF Serving's settings.

python -m tests.benchmarks.first_request [--rounds N] [--gpu]

The networks are the crnn and the ctpn at their full size, as `export` writes them. Before the request the process ran nothing, the
warm-up request of another signature, or all warm-up requests of the version. Then requests of sizes that no warm-up request has.
With oneDNN off and, on TensorFlow 2, on; or with --gpu on the GPU of this machine, whose times are seconds and not CPU time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np

from ckpt2saved.answers.timed_process import SessionSettings, TimedProcess, timed_process
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.warm_up.file import read_warm_up_requests
from ckpt2saved.sources.example_pictures import png

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CLASSES = 37
MOST_RATIO = 1.5  # CPU time of the first request by that of later ones
LATER = 5  # requests, of which the median counts
ONEDNN_OFF, ONEDNN_ON, GPU = "oneDNN off", "oneDNN on", "GPU"
NOTHING, OTHER, ALL = "nothing", "another signature", "all requests"
# Signature -> the one whose warm-up request is run for OTHER.
SIGNATURES = {
    "crnn": {"serving_default": "dense", "dense": "serving_default", "text": "dense"},
    "ctpn": {"serving_default": "lines", "proposals": "serving_default", "lines": "serving_default"},
}
SIZES = ((1, 40), (1, 400), (8, 180), (32, 140))  # lines, pixels of their width

Times = Dict[Tuple[str, ...], List[Tuple[float, float]]]  # CPU seconds of the first request, and of later ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured, in turns (3)")
    parser.add_argument("--gpu", action="store_true", help="on the GPU of this machine")
    parser.add_argument("--model", choices=sorted(SIGNATURES), help="only this one")
    options = parser.parse_args()
    models = [options.model] if options.model else sorted(SIGNATURES)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        versions = exported(Path(folder), models)
        times: Times = defaultdict(list)
        for _ in range(options.rounds):
            for device in (GPU,) if options.gpu else (ONEDNN_OFF, ONEDNN_ON):
                for model, version in versions.items():
                    measure(times, (device, model), version)
    sys.exit(1 if report(times, options.rounds) else 0)


def exported(folder: Path, models: List[str]) -> Dict[str, Path]:
    """A version of each model."""
    subprocess.run([sys.executable, str(HERE / "make_checkpoints.py"), str(folder)], cwd=str(ROOT), check=True)
    charset = folder / "characters.txt"
    charset.write_text("".join(chr(0x4E00 + number) + "\n" for number in range(CLASSES - 1)), encoding="utf-8")
    for model in models:
        command = [sys.executable, "-m", "ckpt2saved", "export", "-q", "-m", model, "-c", str(folder / model)]
        command += ["--option", f"charset={charset}"] if model == "crnn" else []
        command += ["--no-parity", "-o", str(folder / "models" / model)]
        subprocess.run(command, cwd=str(ROOT), check=True, stdout=subprocess.DEVNULL)
    return {model: folder / "models" / model / "1" for model in models}


def measure(times: Times, key: Tuple[str, str], version: Path) -> None:
    """Add the times of one round, each of a new process; of none where oneDNN cannot be switched on."""
    device, model = key
    recorded = read_warm_up_requests(version)
    for name, other in SIGNATURES[model].items():
        warmers = {NOTHING: [], OTHER: [one for one in recorded if one.signature == other], ALL: recorded}
        for warmed, requests in warmers.items():
            environment = {"TF_ENABLE_ONEDNN_OPTS": "1" if device == ONEDNN_ON else "0"}
            with timed_process(version, SessionSettings(gpu=device == GPU), environment) as process:
                if device == ONEDNN_ON and not process.loaded.onednn:
                    return
                for request in requests:
                    seconds(process, request)
                times[key + (name, warmed)].append(first_and_later(process, request_of(model, name, 1, 256)))
                if (name, warmed, model) == ("serving_default", ALL, "crnn"):
                    for lines, width in SIZES:
                        found = first_and_later(process, request_of(model, name, lines, width))
                        times[key + (name, f"{lines} x {width} pixels")].append(found)


def first_and_later(process: TimedProcess, request: Request) -> Tuple[float, float]:
    first = seconds(process, request)
    return first, statistics.median(seconds(process, request) for _ in range(LATER))


def seconds(process: TimedProcess, request: Request) -> float:
    """CPU time of the process while the request runs; on a GPU the time that it takes."""
    timed = process.run(request)
    assert timed.failure is None, timed.failure
    return timed.seconds if process.loaded.gpus else timed.cpu_seconds


def request_of(model: str, signature: str, lines: int, width: int) -> Request:
    """A request of random pixels, for the ctpn of a page that is as high as wide."""
    random = np.random.RandomState(0)
    pixels = random.randint(0, 256, (lines, 32 if model == "crnn" else width, width, 3))
    if signature == "text":
        files = np.empty(lines, object)
        files[:] = [png(width, 32, seed=number) for number in range(lines)]
        inputs = {"image_bytes": files}
    elif model == "crnn":
        inputs = {"input_data": pixels.astype("float32"), "input_batch_size": np.full(lines, width // 4, "int32")}
    else:
        sizes = np.tile(np.array([[width, width, 1]], "float32"), [lines, 1])
        inputs = {"input_image": pixels.astype("float32"), "input_im_info": sizes}
    return Request("a client's request", signature, inputs)


def report(times: Times, rounds: int) -> bool:
    """Print the table; whether a limit is exceeded."""
    print(
        f"CPU time (on a GPU: time), median of {rounds} rounds | first, ms | later, ms | ratio (after all requests at most {MOST_RATIO})"
    )
    failed = False
    for (device, model, name, warmed), found in times.items():
        first, later = (statistics.median(one) * 1e3 for one in zip(*found))
        ratio = statistics.median(one / other for one, other in found)
        what = f"after {warmed}" if warmed in (NOTHING, OTHER, ALL) else f"then {warmed}"
        where = f"{model} {name}, {device}, {what}"
        print(f"{where} | {first:.0f} | {later:.0f} | {ratio:.2f}", flush=True)
        failed |= warmed not in (NOTHING, OTHER) and ratio > MOST_RATIO
    return failed


if __name__ == "__main__":
    main()
