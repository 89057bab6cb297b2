"""Runs inputs in processes with limits, and collects what no reader may do: crash, hang, take the memory."""

from __future__ import annotations

import functools
import gc
import mmap
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from tests.fuzz.targets import Target, every_seed, folder_emptied

CPU_SECONDS = 5  # for one input
WALL_SECONDS = 60  # for one input that waits
MEMORY = 1 << 30  # bytes more than the process has before
_LARGEST_INPUT = 1 << 18
_HEAD = struct.Struct("<QQ")  # inputs that were begun, and the size of the last one
_BATCH = 2000  # inputs of one process


class Finding(NamedTuple):
    """An input that a reader does not survive."""

    target: str
    kind: str  # crash, hang or memory
    what: str  # the error and where it was raised; the same for all inputs of one fault
    content: bytes


class Figures(NamedTuple):
    """What was done to one target."""

    name: str
    inputs: int
    refused: int  # with an error of the project's own
    seconds: float
    peak: int  # bytes of memory of the process that read them


class _Progress:
    """What a process is doing, in memory that outlives it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _HEAD.size + _LARGEST_INPUT)

    def begin(self, count: int, content: bytes) -> None:
        self._memory[_HEAD.size : _HEAD.size + len(content)] = content
        self._memory[: _HEAD.size] = _HEAD.pack(count, len(content))

    @property
    def last(self) -> bytes:
        _, size = _HEAD.unpack(self._memory[: _HEAD.size])
        return self._memory[_HEAD.size : _HEAD.size + size]

    @property
    def count(self) -> int:
        return int(_HEAD.unpack(self._memory[: _HEAD.size])[0])


def fuzz(
    targets: Sequence[Target],
    seed: int,
    seconds: float = 0,
    inputs: int = 0,
    say: Callable[[str], Any] = lambda line: None,
) -> Any:
    """Fuzz each target with so many inputs, or all of them in turn for so many seconds; (figures, findings)."""
    others = every_seed()
    end = time.monotonic() + seconds
    done: Dict[str, List[Figures]] = {target.name: [] for target in targets}
    found: Dict[Any, Finding] = {}
    turn = 0
    slice_ = max(0.5, min(5.0, seconds / (2 * len(targets)))) if seconds else None
    while True:
        for target in targets:
            chance = random.Random(f"{seed} {target.name} {turn}")
            figures, findings = _run(target, chance, others, inputs or _BATCH, slice_)
            done[target.name].append(figures)
            for finding in findings:
                if (finding.target, finding.what) not in found:
                    found[finding.target, finding.what] = finding
                    say(f"{finding.kind} of {finding.target}: {finding.what}")
        turn += 1
        if not seconds or time.monotonic() > end:
            return [_sum(name, parts) for name, parts in done.items()], list(found.values())


def _sum(name: str, parts: Sequence[Figures]) -> Figures:
    inputs, refused = (sum(getattr(part, field) for part in parts) for field in ("inputs", "refused"))
    return Figures(name, inputs, refused, sum(part.seconds for part in parts), max(part.peak for part in parts))


def _run(target: Target, chance: Any, others: Sequence[bytes], count: int, seconds: Optional[float]) -> Any:
    """Some inputs in processes of their own; a process that ends too early is followed by another."""
    findings: List[Finding] = []
    begun, refused, peak = 0, 0, 0
    start = time.monotonic()
    while begun < count and len(findings) < 20 and (seconds is None or time.monotonic() < start + seconds):
        progress = _Progress()
        end = None if seconds is None else start + seconds
        state = chance.getrandbits(64)
        answer, status, memory = forked(
            functools.partial(_read, target, state, others, count=count - begun, end=end, progress=progress)
        )
        begun += max(progress.count, 1)
        peak = max(peak, memory)
        if answer is None:
            ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            kind = "hang" if ended in (signal.SIGPROF, signal.SIGALRM) else "crash"
            findings.append(Finding(target.name, kind, f"the process ended with status {status}", progress.last))
        else:
            refused += answer[0]
            findings += answer[1]
    return Figures(target.name, begun, refused, time.monotonic() - start, peak), findings


def _read(
    target: Target, state: int, others: Sequence[bytes], count: int, end: Optional[float], progress: _Progress
) -> Any:
    """In the process of its own: how many inputs were refused, and what is wrong."""
    chance = random.Random(state)
    findings: Dict[str, Finding] = {}
    refused = 0
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        for number in range(1, count + 1):
            content = target.input(chance, others)[:_LARGEST_INPUT]
            progress.begin(number, content)
            with_timers(CPU_SECONDS, WALL_SECONDS)
            try:
                target.read(content, folder)
            except target.errors:
                refused += 1
            except Exception as error:
                kind = "memory" if isinstance(error, MemoryError) else "crash"
                what = f"{type(error).__name__} in {_place(error)}"
                findings.setdefault(what, Finding(target.name, kind, what, content))
            with_timers(0, 0)
            folder_emptied(folder)
            if end is not None and time.monotonic() > end:
                break
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)
    return refused, list(findings.values())


def _place(error: BaseException) -> str:
    """The innermost line of the package in a traceback, else of whatever raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "ckpt2saved/" in frame.filename and "/tests/" not in frame.filename] or frames[
        -1:
    ]
    return f"{'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno} {own[-1].name}"


def with_timers(cpu: float, wall: float) -> None:
    """End this process by a signal after so much of its own time, or of everybody's; 0: never.

    Its own time does not depend on what else the machine does.
    """
    signal.setitimer(signal.ITIMER_PROF, cpu)
    signal.setitimer(signal.ITIMER_REAL, wall)


def forked(call: Callable[[], Any]) -> Any:
    """What the call returns in a process with limits, None if that dies; its status, and the memory that it took."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            for number in (signal.SIGPROF, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            _limit_memory()
            warnings.simplefilter("error")  # one that a reader lets through is printed to the user
            gc.disable()
            answer = pickle.dumps(call())
            gc.enable()
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(answer)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status, usage = os.wait4(child, 0)
    return pickle.loads(answer) if status == 0 else None, status, usage.ru_maxrss << 10


def _limit_memory() -> None:
    """Let the process map no more than MEMORY beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
