"""Measures what docs/performance.md reports, and prints it as a table. Ratios within this run: machines differ.

python -m tests.benchmarks [--rounds N]
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
from typing import Iterator, List, NamedTuple

import click

from ckpt2saved.cli import main as commands

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHON = sys.executable
# This process stays small, and what needs TensorFlow runs in others: a child's peak memory counts its parent's.
# The plain script computes as the exports do: without oneDNN, which they switch off. Modules are compiled once, as pip
# compiles those of an installed package.
ENVIRONMENT = dict(
    os.environ,
    PYTHONPATH=str(ROOT),
    CUDA_VISIBLE_DEVICES="-1",
    TF_CPP_MIN_LOG_LEVEL="3",
    TF_ENABLE_ONEDNN_OPTS="0",
    PYTHONDONTWRITEBYTECODE="",
)


class Cost(NamedTuple):
    seconds: float
    megabytes: float  # peak resident memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often everything is measured, in turns (7)")
    rounds = parser.parse_args().rounds
    failed = False
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        scratch = Path(folder)
        run([str(HERE / "make_checkpoints.py"), folder])
        print(f"median of {rounds} rounds | seconds | MB | ratio of time (at most) | of memory (at most)")
        for model in ("crnn", "ctpn"):
            failed |= exports(model, scratch, rounds)
        failed |= helps(rounds)
        failed |= bump(scratch, rounds)
        failed |= alone("masking", rounds)
        failed |= alone("pictures", rounds)
        failed |= alone("ctc_bigrams", rounds)
    sys.exit(1 if failed else 0)


def exports(model: str, scratch: Path, rounds: int) -> bool:
    """The export with and without parity beside the plain script, in turns; whether a limit is exceeded."""
    checkpoint = str(scratch / model)
    command = ["-m", "ckpt2saved", "export", "-q", "-m", model, "-c", checkpoint, "-o"]
    costs = {"plain": [], "no-parity": [], "parity": []}
    for number in range(rounds + 1):
        base = scratch / f"{model}-{number}"
        measured = {
            "plain": run([str(HERE / "plain_script.py"), model, checkpoint, str(base / "plain")]),
            "no-parity": run(command + [str(base / "fast"), "--no-parity"]),
            "parity": run(command + [str(base / "checked")]),
        }
        if number:  # the first round fills the disk's cache
            for kind, cost in measured.items():
                costs[kind].append(cost)
    medians = {kind: Cost(*map(statistics.median, zip(*several))) for kind, several in costs.items()}
    plain = medians["plain"]
    print("{}: plain script | {:.2f} | {:.0f} | |".format(model, *plain))
    failed = False
    for kind, time_limit, memory_limit in (("no-parity", 1.3, 1.2), ("parity", 2.0, 1.6)):
        cost = medians[kind]
        slower, larger = cost.seconds / plain.seconds, cost.megabytes / plain.megabytes
        name = "export" if kind == "parity" else "export --no-parity"
        print(
            f"{model}: {name} | {cost.seconds:.2f} | {cost.megabytes:.0f} | {slower:.2f} ({time_limit}) | {larger:.2f} ({memory_limit})"
        )
        failed |= slower > time_limit or larger > memory_limit
    return failed


def helps(rounds: int) -> bool:
    """Every --help."""
    failed = False
    for arguments in words(commands):
        costs = [run(["-m", "ckpt2saved"] + arguments + ["--help"]) for _ in range(rounds)]
        cost = Cost(*map(statistics.median, zip(*costs)))
        print("{} | {:.2f} (0.25) | {:.0f} | |".format(" ".join(["ckpt2saved"] + arguments + ["--help"]), *cost))
        failed |= cost.seconds > 0.25
    return failed


def words(command: click.Command) -> Iterator[List[str]]:
    """What follows the program's name to reach the command and each one below it."""
    yield []
    for name, below in sorted(getattr(command, "commands", {}).items()):
        for rest in words(below):
            yield [name] + rest


def bump(scratch: Path, rounds: int) -> bool:
    """bump-version of the ctpn that was exported above, 70 MB."""
    base = str(scratch / "ctpn-1" / "checked")
    costs = [run(["-m", "ckpt2saved", "bump-version", base]) for _ in range(rounds)]
    cost = Cost(*map(statistics.median, zip(*costs)))
    print("ckpt2saved bump-version, 70 MB | {:.2f} (0.4) | {:.0f} (60) | |".format(*cost))
    return cost.seconds > 0.4 or cost.megabytes > 60


def alone(module: str, rounds: int) -> bool:
    """A benchmark that prints its own table, in a process of its own."""
    command = [PYTHON, "-m", "tests.benchmarks." + module, "--rounds", str(rounds)]
    sys.stdout.flush()
    return subprocess.run(command, cwd=str(ROOT), env=ENVIRONMENT, check=False).returncode != 0


def run(arguments: list) -> Cost:
    """What one process costs, from its start to its end."""
    start = time.perf_counter()
    process = subprocess.Popen([PYTHON] + arguments, cwd=str(ROOT), env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = status
    if status:
        sys.exit(f"failed: {arguments}")
    return Cost(seconds, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
