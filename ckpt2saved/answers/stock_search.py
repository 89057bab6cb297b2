"""Run TensorFlow's CTC beam search in a process of its own, line by line, within a time limit."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.answers.search_limits import SearchLimits
from ckpt2saved.answers.worker import Worker, WorkerEnded, sender, working_again
from ckpt2saved.console.reasons import reason_in
from ckpt2saved.errors import SignatureError, TensorFlowError
from ckpt2saved.graph.beam_searches import SECONDS_PER_CLASS, BeamSearch
from ckpt2saved.graph.devices import gpus
from ckpt2saved.graph.tf1 import open_session, tf

_STARTED_WITHIN = 300.0  # seconds until the process must have imported TensorFlow
_LATEST = 60.0  # seconds in addition to 1.5 times the limit, for the first line
_TRIAL = 1 / 20  # share of the time for the first steps, which measure the speed of this machine
_ENOUGH = 0.5  # share of the remaining time to plan with: the first steps may have been fast by chance
_FASTEST = SECONDS_PER_CLASS / 10  # no machine is faster
_NARROW_SHARE = 0.5  # share of the time for lines with few of their classes
_FEW = 20  # minimum number of classes

Outputs = Tuple[np.ndarray, ...]  # outputs of CTCBeamSearchDecoder

_FIRST, _NARROW, _ALL = -1, 0, 1  # kinds of messages
_Read = Tuple[int, Outputs]  # number of steps, and the outputs for them
_Decode = Callable[[np.ndarray, Sequence[int]], Outputs]  # arguments: logits, lengths
_NEVER = -1e9  # logit of an impossible class


@dataclass(frozen=True)
class Decoded:
    """The outputs of the op for a batch that was shortened to fit into the time.

    The first `lengths` [batch] steps of each line were decoded; with `labels` [batch, few], only these classes and the
    blank were used in the lines of `lines`.
    """

    lengths: np.ndarray
    outputs: Outputs
    lines: Tuple[int, ...]  # lines of which more than the first steps were decoded
    labels: Optional[np.ndarray] = None

    def shortened(self, logits: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """`logits` [time, batch, classes] changed so that any CTC decoder decodes only this part.

        Steps that were not decoded become certain blanks, classes that were not used become impossible. `lengths` stay
        unchanged: where they are constants, they cannot be replaced.
        """
        steps = np.arange(len(logits))[:, np.newaxis]
        found: np.ndarray = logits.copy()
        if self.labels is not None:
            for line in self.lines:
                kept = np.append(self.labels[line], logits.shape[2] - 1)
                found[: lengths[line], line] = _NEVER
                found[: lengths[line], line, kept] = logits[: lengths[line], line, kept]
        left_out = (steps >= self.lengths) & (steps < lengths)
        found[left_out] = _NEVER
        found[left_out, -1] = 0
        return found


@dataclass(frozen=True)
class _Job:
    """The work of the process: first steps of all lines, complete lines with few classes, lines with all classes."""

    search: BeamSearch
    seconds: float
    lengths: np.ndarray  # [batch]
    first: np.ndarray  # [few steps, batch, classes]
    order: Tuple[int, ...]  # lines of the batch in the order of decoding
    narrow: Optional[np.ndarray]  # [time, len(order), few classes]
    logits: np.ndarray  # [time, as many lines as could fit, classes]
    needs_line: bool  # whether one complete line must be decoded, however long that takes


def decode_in_time(
    search: BeamSearch,
    logits: np.ndarray,
    lengths: np.ndarray,
    limits: SearchLimits,
    tell: Callable[[int, float], None] = lambda lines, seconds: None,
) -> Tuple[Decoded, ...]:
    """Decode as many lines as fit into the seconds of `limits`; returns one result, or two if not all lines fit.

    Of two results the first has complete lines, decoded with their likeliest classes only; `limits.is_for_stock` leaves
    it out. The last one is decoded with all classes, and its last line may be cut short.

    `logits` are [time, batch, classes], `lengths` [batch], each at most time. `tell` is called every second with the
    number of decoded lines and the seconds passed. The process ends with this function, at the latest after 1.5 times
    the seconds, or a minute later if no line was decoded by then. Raises SignatureError if the op refuses the logits,
    TensorFlowError if it decodes no line, or if its process dies, for example for lack of memory.
    """
    seconds = limits.seconds
    labels = None if limits.is_for_stock else _labels(search, logits, lengths, seconds)
    job = _job(search, logits, lengths, limits, labels)
    base: Optional[_Read] = None
    done: Tuple[Dict[int, _Read], Dict[int, _Read]] = ({}, {})
    started, shown = time.monotonic(), 0.0
    with _messages(job) as messages:
        for message in messages:
            now = time.monotonic()
            late = now - started - 1.5 * seconds
            if base is not None and (late > _LATEST or (late > 0 and _tells(job, done))):
                break  # the op is slower than its first steps
            if message is not None:
                kind, line, read = message
                if kind == _FIRST:
                    base, started = read, now
                else:
                    done[kind][line] = read
            if base is not None and now - shown >= 1:
                shown = now
                tell(max(map(len, done)), now - started)
    if base is None:
        raise TensorFlowError(f"{search.name}: TensorFlow's beam search did not start within 300 s")
    if not _tells(job, done):
        raise TensorFlowError(
            f"{search.name}: TensorFlow's beam search did not decode a single line in {time.monotonic() - started:.0f}"
            " s, so there is nothing to compare the files with: --parity-seconds gives it more time, --no-parity skips"
            " the comparison"
        )
    whole = _merged(search, lengths, base, done[_ALL])
    if job.narrow is None or not done[_NARROW]:
        return (whole,)
    return _merged(search, lengths, base, done[_NARROW], labels), whole


def _tells(job: _Job, done: Tuple[Dict[int, _Read], Dict[int, _Read]]) -> bool:
    """Whether enough was decoded for a comparison: a complete line, or a part if `needs_line` is False."""
    whole = any(steps == job.lengths[line] for line, (steps, _) in done[_ALL].items())
    return not job.order or whole or bool(done[_NARROW] if job.needs_line else done[_ALL])


def _job(
    search: BeamSearch, logits: np.ndarray, lengths: np.ndarray, limits: SearchLimits, labels: Optional[np.ndarray]
) -> _Job:
    """The job for these logits: a fixed order of lines, cut to those that could fit into the time."""
    classes = logits.shape[2]
    order = [int(line) for line in np.random.RandomState(0).permutation(len(lengths)) if lengths[line] > 1]
    order = order[: limits.lines]
    work = np.cumsum([0.0] + [search.work(classes, lengths[line : line + 1]) for line in order])
    possible = order[: int(np.sum(work[:-1] * _FASTEST <= limits.seconds))]
    narrow = None
    if labels is not None and order:
        kept = [np.append(labels[line], classes - 1) for line in order]
        narrow = np.stack([logits[:, line, few] for line, few in zip(order, kept)], axis=1)
    # After one step the beam has as many prefixes as there are classes.
    first = logits[: 1 if search.top_paths <= classes else search.top_paths + 1]
    return _Job(
        search=search,
        seconds=limits.seconds,
        lengths=lengths,
        first=first,
        order=tuple(order),
        narrow=narrow,
        logits=logits[:, possible],
        needs_line=not limits.is_for_stock,
    )


def _labels(search: BeamSearch, logits: np.ndarray, lengths: np.ndarray, seconds: float) -> Optional[np.ndarray]:
    """The likeliest labels [batch, few] of each line, sorted; None if all classes fit into the time.

    At most the beam width: more lines test more than more classes.
    """
    classes = logits.shape[2]
    if SECONDS_PER_CLASS * search.work(classes, lengths) <= seconds / 10:
        return None
    per_class = SECONDS_PER_CLASS * search.work(1, lengths)
    affordable = int(_NARROW_SHARE / 2 * seconds / max(per_class, 1e-9))
    count = max(min(affordable, search.beam_width), _FEW, search.top_paths)
    if count >= classes - 1:
        return None
    highest = np.stack([logits[: max(length, 1), line, :-1].max(axis=0) for line, length in enumerate(lengths)])
    return np.sort(np.argpartition(-highest, count - 1, axis=1)[:, :count], axis=1)


def _merged(
    search: BeamSearch,
    lengths: np.ndarray,
    base: _Read,
    done: Dict[int, _Read],
    labels: Optional[np.ndarray] = None,
) -> Decoded:
    """Merge the outputs of single lines into outputs of the batch."""
    steps, outputs = base
    taken = np.minimum(lengths, steps).astype(lengths.dtype)
    paths = search.top_paths
    values = [_by_line(outputs, path, paths, len(lengths)) for path in range(paths)]
    scores = outputs[-1].copy()
    for line, (count, alone) in done.items():
        taken[line] = count
        scores[line] = alone[-1][0]
        for path in range(paths):
            text = alone[paths + path]
            values[path][line] = text if labels is None else labels[line][text]
    indices = [
        np.array([(line, place) for line, text in enumerate(texts) for place in range(len(text))], np.int64)
        for texts in values
    ]
    merged = [found.reshape(-1, 2) for found in indices]
    merged += [np.concatenate(texts) for texts in values]
    merged += [np.array([len(texts), max(map(len, texts))], np.int64) for texts in values]
    return Decoded(taken, tuple(merged) + (scores,), tuple(sorted(done)), labels)


def _by_line(outputs: Outputs, path: int, paths: int, batch: int) -> List[np.ndarray]:
    lines, values = outputs[path][:, 0], outputs[paths + path]
    return [values[lines == line] for line in range(batch)]


@contextlib.contextmanager
def _messages(job: _Job) -> Iterator[Iterator[Any]]:
    """Run the job in a process; yields its messages, and None every half second without one."""
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as folder:
        path = Path(folder) / "job.pickle"  # read only by our own process, in a private directory
        path.write_bytes(pickle.dumps(job, protocol=4))
        with contextlib.suppress(_Busy), gpus(False), working_again(__name__) as worker:  # no kernel for GPUs
            received: queue.Queue[Tuple[str, Any]] = queue.Queue()
            done = threading.Event()
            worker.send(str(path))
            threading.Thread(target=_forward, args=(worker, received, done), daemon=True).start()
            yield _received(worker, job.search.name, received)
            if not done.is_set():
                raise _Busy


class _Busy(Exception):
    """The process still decodes, so that it is of no use to the next job."""


def _received(worker: Worker, name: str, received: queue.Queue[Tuple[str, Any]]) -> Iterator[Any]:
    end = time.monotonic() + _STARTED_WITHIN
    started = False
    while started or time.monotonic() < end:
        try:
            kind, content = received.get(timeout=0.5)
        except queue.Empty:
            yield None
            continue
        started = True
        if kind == "end":
            return
        if kind == "refused":
            raise SignatureError(f"{name}: TensorFlow's beam search can't decode this: {content}")
        if kind == "lost":
            said = worker.said()[-2000:].strip()
            raise TensorFlowError(
                f"{name}: the process in which TensorFlow's beam search ran has ended (exit code {content}; out of"
                f" memory?); --parity-lines and --parity-seconds make its work less{said and ':'}\n{said}".rstrip()
            )
        yield content


def _forward(worker: Worker, received: queue.Queue[Tuple[str, Any]], done: threading.Event) -> None:
    """Put the messages of one job into the queue; `done` is set when the process is ready for the next job."""
    while True:
        try:
            message = worker.receive()
        except WorkerEnded as error:
            message = "lost", error.exit_code
        if message[0] != "result":
            done.set()
        received.put(message)
        if message[0] != "result":
            return


def main() -> None:
    """Entry point of the process: read paths of jobs from stdin, and send the results of each job."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python would wait for the op
    paths: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_paths, args=(paths,), daemon=True).start()
    send = sender()
    while True:
        _run(Path(paths.get()), send)


def _read_paths(paths: queue.Queue[str]) -> None:
    """End the process with the parent process, also while the op runs."""
    with contextlib.suppress(EOFError):
        while True:
            paths.put(pickle.load(sys.stdin.buffer))
    os._exit(1)


def _run(path: Path, send: Callable[[Any], None]) -> None:
    job = pickle.loads(path.read_bytes())
    try:
        for result in _results(job):
            send(("result", result))
    except tf.errors.OpError as error:
        send(("refused", reason_in(error.message)))
    else:
        send(("end", None))


def _results(job: _Job) -> Iterator[Tuple[int, int, _Read]]:
    """The results of the job: kind, line, and outputs."""
    search, classes = job.search, job.first.shape[2]
    decode = _decoder(job, classes)
    yield _FIRST, 0, _first_steps(job, decode)
    if not job.order:
        return
    end = time.monotonic() + job.seconds
    line, own = job.order[0], int(job.lengths[job.order[0]])
    tried = min(own, max(2, int(job.seconds * _TRIAL / (SECONDS_PER_CLASS * search.beam_width * classes))))
    rate, outputs = _timed(job, decode, 0, tried)
    yield _ALL, line, (tried, outputs)
    rate = max(rate, SECONDS_PER_CLASS / 2)
    whole = rate * search.work(classes, job.lengths[list(job.order)])
    if job.narrow is not None and whole > _ENOUGH * (end - time.monotonic()):
        few = _decoder(job, job.narrow.shape[2])
        for place, line in enumerate(job.order):
            steps = int(job.lengths[line])
            yield _NARROW, line, (steps, few(job.narrow[:steps, place : place + 1], [steps]))
            if end - time.monotonic() < (1 - _NARROW_SHARE) * job.seconds:
                break
    for place, line in enumerate(job.order[: job.logits.shape[1]]):
        own = int(job.lengths[line])
        if place == 0 and tried == own:
            continue
        possible = int(_ENOUGH * (end - time.monotonic()) / (rate * search.beam_width * classes))
        must = job.needs_line and job.narrow is None and place == 0
        steps = own if must else min(own, possible)
        if steps <= tried if place == 0 else steps < own:
            return
        rate, outputs = _timed(job, decode, place, steps)
        yield _ALL, line, (steps, outputs)
        if steps < own:
            return


def _timed(job: _Job, decode: _Decode, place: int, steps: int) -> Tuple[float, Outputs]:
    """Decode the first steps of a line; returns seconds per class of the beam, and the outputs."""
    before = time.monotonic()
    outputs = decode(job.logits[:steps, place : place + 1], [steps])
    return (time.monotonic() - before) / job.search.work(job.logits.shape[2], np.array([steps])), outputs


def _decoder(job: _Job, classes: int) -> _Decode:
    """A function that runs the op for logits with this number of classes."""
    search = job.search
    with tf.Graph().as_default() as graph:
        logits = tf.placeholder(tf.as_dtype(job.first.dtype), [None, None, classes])
        lengths = tf.placeholder(tf.int32, [None])
        paths, scores = tf.nn.ctc_beam_search_decoder(
            logits,
            lengths,
            beam_width=search.beam_width,
            top_paths=search.top_paths,
            merge_repeated=search.merge_repeated,
        )
    fetches = [getattr(path, part) for part in ("indices", "values", "dense_shape") for path in paths] + [scores]
    session = open_session(graph)
    return lambda part, steps: tuple(session.run(fetches, {logits: part, lengths: steps}))


def _first_steps(job: _Job, decode: _Decode) -> _Read:
    """Decode the fewest steps of all lines after which the beam has `top_paths` prefixes."""
    most = len(job.first)
    for steps in range(1, most + 1):
        try:
            return steps, decode(job.first, np.minimum(job.lengths, steps))
        except tf.errors.InvalidArgumentError:
            if steps == most:
                raise
    raise AssertionError("logits have no steps")
