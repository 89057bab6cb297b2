"""Run requests on a version in a process of its own, by the C++ loader, at the same time and measured inside of it.

The process has the threads, oneDNN and mixed precision of a server's process. The parent sends tasks with a number,
which comes back with the result. A request is sent once, however often it runs, so that the pipe costs next to nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
import threading
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from ckpt2saved.answers.profile import Profile, profiled
from ckpt2saved.answers.worker import Worker, WorkerEnded, sender, working
from ckpt2saved.client.messages import CODES
from ckpt2saved.errors import InvalidRequest, NotServable, TensorFlowError
from ckpt2saved.files.plain_paths import as_plain_directory
from ckpt2saved.graph.devices import gpus
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.saved_model.reading import read_signatures

if TYPE_CHECKING:
    from ckpt2saved.answers.cc_loader import LoadedModel, PreparedRun
    from ckpt2saved.graph.tf1 import tf

ENDED = "the process has ended"
MOST_THREADS = 1000  # that run the session at the same time
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_FIRST_RUNS = 3  # of a profile, which are not counted: they make kernels and choose executors


@dataclass(frozen=True)
class SessionSettings:
    """Settings of the session; None: what TensorFlow does without."""

    intra_op: Optional[int] = None  # threads that compute one op
    inter_op: Optional[int] = None  # ops that run at the same time
    bfloat16: bool = False  # products and convolutions by oneDNN in bfloat16
    gpu: bool = False  # computes on the GPUs of the machine, and not on the CPU alone


@dataclass(frozen=True)
class LoadedProcess:
    """What the process says when it has loaded the version."""

    tensorflow: str  # version
    onednn: Optional[bool]  # None: this TensorFlow does not say
    gpus: int  # that the session may use


@dataclass(frozen=True)
class Timed:
    """One run of a request."""

    seconds: float  # in TF_SessionRun
    cpu_seconds: float  # of the process meanwhile, other requests included
    bytes_in: int  # of the inputs' values
    bytes_out: int
    failure: Optional[str] = None  # the code of the status, as gRPC names it; or ENDED


class TimedProcess:
    """A process that has loaded a version. Threads may share it.

    `run` returns failures; `answers` and `profile` raise InvalidRequest or NotServable.
    """

    def __init__(self, directory: Path, worker: Worker, settings: SessionSettings) -> None:
        self._directory = directory
        self._worker = worker
        self._lock = threading.Lock()  # of what follows, and of the pipe
        self._waiting: Dict[int, Future[Any]] = {}
        self._count = 0
        self._prepared: Dict[int, Tuple[Request, int]] = {}  # by identity; it keeps the request, and so its identity
        self._has_ended = False
        self._last_words = ""  # stderr, read once the process has ended
        worker.send((os.path.abspath(as_plain_directory(directory)), settings))
        self.loaded: LoadedProcess = self._checked(_received(worker))
        worker.said()  # what it said while it loaded would hide the reason for a failure
        threading.Thread(target=self._receive, daemon=True).start()

    def prepare(self, request: Request) -> int:
        """Send the request's inputs to the process, once; returns its number. Raises what `answers` raises."""
        with self._lock:
            known = self._prepared.get(id(request))
        if known is None:
            number = self._checked(self._call(_PREPARE, request))
            with self._lock:
                known = self._prepared.setdefault(id(request), (request, number))
        return known[1]

    def run(self, request: Request) -> Timed:
        """Run the request, and measure it."""
        kind, content = self._call(_RUN, self.prepare(request))
        if kind != _DONE:
            return Timed(seconds=0.0, cpu_seconds=0.0, bytes_in=0, bytes_out=0, failure=ENDED)
        return content  # type: ignore[no-any-return]

    def answers(self, request: Request) -> Answers:
        """Run the request, and return its outputs by key."""
        return self._checked(self._call(_ANSWERS, self.prepare(request)))  # type: ignore[no-any-return]

    def profile(self, request: Request, runs: int) -> Profile:
        """Run the request so often without step statistics, and as often with them."""
        return self._checked(self._call(_PROFILE, (self.prepare(request), runs)))  # type: ignore[no-any-return]

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        with self._lock:
            return self._has_ended

    def end_error(self) -> NotServable:
        """The error for a process that has ended, with what it wrote to stderr."""
        with self._lock:
            self._last_words += self._worker.said()
            return NotServable(f"{self._directory}: {(self._last_words + ENDED).strip()}")

    def _call(self, what: int, content: Any) -> Tuple[int, Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._has_ended:
                return _FAILED, ENDED
            self._count += 1
            self._waiting[self._count] = future
            self._worker.send((self._count, what, content))
        return future.result()  # type: ignore[no-any-return]

    def _receive(self) -> None:
        """Give each result to the thread that waits for it."""
        with contextlib.suppress(WorkerEnded, ValueError):  # ValueError: the pipe was closed
            while True:
                number, kind, content = self._worker.receive()
                with self._lock:
                    future = self._waiting.pop(number)
                future.set_result((kind, content))
        with self._lock:
            self._has_ended = True
            waiting, self._waiting = list(self._waiting.values()), {}
        for future in waiting:
            future.set_result((_FAILED, ENDED))

    def _checked(self, result: Tuple[int, Any]) -> Any:
        kind, content = result
        if kind == _DONE:
            return content
        if kind == _NO_TENSORFLOW:
            raise TensorFlowError(content)
        if content == ENDED:
            raise self.end_error()
        error = InvalidRequest if kind == _INVALID else NotServable
        raise error(f"{self._directory}: {content.strip()}")


_PREPARE, _RUN, _ANSWERS, _PROFILE = range(4)  # what to do
_DONE, _INVALID, _FAILED, _NO_TENSORFLOW = range(4)  # kinds of results


def _received(worker: Worker) -> Tuple[int, Any]:
    try:
        return worker.receive()  # type: ignore[no-any-return]
    except WorkerEnded:
        return _FAILED, ENDED


@contextlib.contextmanager
def timed_process(
    directory: Path, settings: SessionSettings = SessionSettings(), environment: Optional[Mapping[str, str]] = None
) -> Iterator[TimedProcess]:
    """Load the version in `directory` in a process with these settings and variables.

    Raises NotServable if it does not load, TensorFlowError if TensorFlow is not installed, has no C++ loader or, for
    `settings.gpu`, finds no GPU.
    """
    # Without a value of the caller's own, TensorFlow decides about oneDNN as it does in a server's process.
    with contextlib.ExitStack() as stack:
        with gpus(settings.gpu):
            worker = stack.enter_context(working(__name__, environment={_ONEDNN: "", **(environment or {})}))
        yield TimedProcess(directory, worker, settings)


def main() -> None:
    """Entry point of the process: load the version, and do what is read from stdin."""
    send = sender()
    try:
        from ckpt2saved.answers import cc_loader
        from ckpt2saved.graph.tf1 import check_gpus, count_gpus, tf, uses_onednn

        path, settings = pickle.load(sys.stdin.buffer)
        if settings.gpu:
            check_gpus()
    except TensorFlowError as error:
        send((_NO_TENSORFLOW, str(error)))
        return
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    library = cc_loader.find_library()
    if library is None:
        send((_NO_TENSORFLOW, f"TensorFlow {tf.__version__} does not export the C++ loader, which is measured"))
        return
    lock = threading.Lock()

    def locked_send(value: Any) -> None:
        with lock:
            send(value)

    with contextlib.ExitStack() as stack:
        try:
            model = stack.enter_context(cc_loader.loaded(library, Path(path), _config(settings)))
            work = _Work(model, Path(path), stack, on_gpus=settings.gpu)
        except NotServable as error:
            send((_FAILED, str(error)))
            return
        send((_DONE, LoadedProcess(tf.__version__, uses_onednn(), gpus=count_gpus() if settings.gpu else 0)))
        with ThreadPoolExecutor(MOST_THREADS) as pool, contextlib.suppress(EOFError):  # the parent has ended
            while True:
                number, what, content = pickle.load(sys.stdin.buffer)
                pool.submit(_do, work, (number, what, content), locked_send)


def _config(settings: SessionSettings) -> tf.ConfigProto:
    """The configuration of a session as a server with these settings has it."""
    from ckpt2saved.graph.tf1 import session_config

    with gpus(settings.gpu):
        config = session_config()
    config.intra_op_parallelism_threads = settings.intra_op or 0
    config.inter_op_parallelism_threads = settings.inter_op or 0
    if settings.bfloat16:
        options = config.graph_options.rewrite_options
        name = "auto_mixed_precision_onednn_bfloat16"
        if name not in options.DESCRIPTOR.fields_by_name:
            raise NotServable("this TensorFlow has no mixed precision bfloat16")
        setattr(options, name, options.ON)
    return config


def _do(work: _Work, task: Tuple[int, int, Any], send: Callable[[Any], None]) -> None:
    number, what, content = task
    try:
        result = _DONE, work.do(what, content)
    except InvalidRequest as error:
        result = _INVALID, str(error)
    except NotServable as error:
        result = _FAILED, str(error)
    except Exception:  # a feed that Python refuses; the process must still run the next request
        result = _FAILED, traceback.format_exc()
    send((number, *result))


class _Work:
    """What the process does."""

    def __init__(self, model: LoadedModel, directory: Path, stack: contextlib.ExitStack, *, on_gpus: bool) -> None:
        self._model = model
        self._directory = directory
        self._signatures = read_signatures(directory)
        self._stack = stack
        self._on_gpus = on_gpus
        self._lock = threading.Lock()
        self._prepared: List[Tuple[PreparedRun, List[str]]] = []  # runs, and the keys of their outputs

    def do(self, what: int, content: Any) -> Any:
        if what == _PREPARE:
            return self._prepare(content)
        if what == _RUN:
            return self._run(content)
        if what == _ANSWERS:
            return self._answers(content)
        return self._profile(*content)

    def _prepare(self, request: Request) -> int:
        feeds, fetches = request.feeds_and_fetches(self._signatures)
        with self._lock:
            run = self._stack.enter_context(self._model.prepared(list(fetches.values()), feeds))
            self._prepared.append((run, list(fetches)))
            return len(self._prepared) - 1

    def _run(self, number: int) -> Timed:
        prepared = self._prepared[number][0]
        with prepared.running() as done:
            return Timed(
                seconds=done.seconds,
                cpu_seconds=done.cpu_seconds,
                bytes_in=prepared.bytes_in,
                bytes_out=done.outputs.size,
                failure=CODES[done.code] if done.code else None,
            )

    def _answers(self, number: int) -> Answers:
        prepared, keys = self._prepared[number]
        with prepared.running() as done:
            done.check()
            return dict(zip(keys, done.outputs.values))

    def _profile(self, number: int, runs: int) -> Profile:
        from ckpt2saved.graph.node_groups import joined
        from ckpt2saved.graph.tf1 import tf
        from ckpt2saved.saved_model.parsing import parse_saved_model

        prepared = self._prepared[number][0]
        level = tf.RunOptions.FULL_TRACE if self._on_gpus else tf.RunOptions.SOFTWARE_TRACE  # the first one has kernels
        # Writing the graphs down takes as long as a request: not in the runs that are measured.
        with prepared.running(tf.RunOptions(trace_level=level, output_partition_graphs=True)) as done:
            done.check()
            partitions = done.metadata.partition_graphs
        options = {False: tf.RunOptions(), True: tf.RunOptions(trace_level=level)}
        seconds: Dict[bool, List[float]] = {False: [], True: []}
        step_stats = []
        for turn in range(_FIRST_RUNS + runs):
            for is_traced in (False, True):
                with prepared.running(options[is_traced]) as done:
                    done.check()
                    if turn >= _FIRST_RUNS:
                        seconds[is_traced].append(done.seconds)
                        step_stats += [done.metadata.step_stats] if is_traced else []
        graphs = parse_saved_model(self._directory).meta_graphs
        graph = joined(partitions, [function for one in graphs for function in one.graph_def.library.function])
        return profiled(graph, step_stats, seconds[False], seconds[True])
