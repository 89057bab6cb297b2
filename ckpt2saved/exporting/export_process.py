"""An export of `watch` in a process of its own, so that the watcher outlives a crash of TensorFlow and does not grow.

The parent sends a Task. The process answers with the steps, then with the published version, if there is one, and last
with its Attempt. It ends when its stdin ends, which means that the parent process has ended.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

from ckpt2saved.answers.worker import Worker, WorkerEnded, sender, working
from ckpt2saved.checkpoint.run_directory import RunCheckpoint
from ckpt2saved.console.interrupts import Interrupts, interrupt
from ckpt2saved.console.loops import Emit, Event, Stop, Stopped
from ckpt2saved.console.say import Say, begin, progress_of, table_of
from ckpt2saved.errors import (
    AlreadyPublished,
    Ckpt2SavedError,
    LabelsError,
    NotAnswered,
    ServerError,
    TensorFlowError,
    UsageError,
    VersionError,
    WriteError,
)
from ckpt2saved.errors.problem import error_content
from ckpt2saved.exporting.watching import (
    CRASHED,
    FATAL,
    KNOWN,
    REFUSED,
    TRANSIENT,
    Attempt,
    Failure,
)
from ckpt2saved.graph.devices import gpus
from ckpt2saved.versions.stage import remove_leftovers

_STEP, _BEGIN, _PROGRESS, _TABLE, _PUBLISHED, _LIVE, _NOT_LIVE, _DONE, _ENDED = range(9)  # kinds of messages
_GRACE = 10.0  # seconds to clean up; Kubernetes gives 30 to all
_POLL = 0.2  # seconds, in which a request to stop is noticed
_SHOWN = 2000  # characters of the stderr of a process that crashed

if TYPE_CHECKING:
    _Messages = queue.Queue[Tuple[int, Any]]

# Causes that pass. VersionError: the base can't be written, or its lock is held.
_TRANSIENT = (WriteError, ServerError, NotAnswered, VersionError, OSError)
_FATAL = (UsageError, TensorFlowError, LabelsError)  # of every checkpoint


@dataclass(frozen=True)
class Task:
    """What the process does: export one of the checkpoints, with keywords of ckpt2saved.export."""

    prefixes: Tuple[Path, ...]
    base: Path
    keywords: Mapping[str, Any]


class ExportProcess:
    """Exports checkpoints, each in a new process; what happens is told to `emit`, the steps to `say`."""

    def __init__(self, base: Path, keywords: Mapping[str, Any], emit: Emit, say: Say, stop: Stop) -> None:
        self._base = base
        self._keywords = keywords
        self._emit = emit
        self._say = say
        self._stop = stop

    def __call__(self, checkpoints: Sequence[RunCheckpoint]) -> Attempt:
        """Export the checkpoint, or the best one of several; raises Stopped, after which no files remain."""
        task = Task(tuple(one.prefix for one in checkpoints), self._base, self._keywords)
        messages: _Messages = queue.Queue()
        with gpus(bool(self._keywords.get("gpu"))), working(__name__) as worker:
            worker.send(task)
            threading.Thread(target=_receive, args=(worker, messages), daemon=True).start()
            try:
                attempt = self._follow(worker, messages)
            except Stopped:
                worker.interrupt(_GRACE)
                self._tell_published(messages)
                raise
            finally:
                worker.end()
                remove_leftovers(self._base)
        return attempt

    def _tell_published(self, messages: _Messages) -> None:
        """Tell of a version that was published just before the request to stop."""
        with contextlib.suppress(queue.Empty):
            while True:
                kind, content = messages.get_nowait()
                if kind == _PUBLISHED:
                    self._tell(kind, content, content)

    def _follow(self, worker: Worker, messages: _Messages) -> Attempt:
        """Tell what the process does, until it is done."""
        published: Optional[Mapping[str, Any]] = None
        while True:
            self._stop.check()
            try:
                kind, content = messages.get(timeout=_POLL)
            except queue.Empty:
                continue
            if kind == _DONE:
                assert isinstance(content, Attempt)
                return content
            if kind == _ENDED:
                return self._crashed(worker, content, published)
            if kind == _PUBLISHED:
                published = content
            self._tell(kind, content, published)

    def _tell(self, kind: int, content: Any, published: Optional[Mapping[str, Any]]) -> None:
        path = published["path"] if published else None
        if kind == _STEP:
            self._say(*content)
        elif kind == _BEGIN:
            begin(self._say, content)
        elif kind == _PROGRESS:
            progress_of(self._say)(content)
        elif kind == _TABLE:
            table_of(self._say)(*content)
        elif kind == _PUBLISHED:
            self._emit(Event("published", str(path), content))
        elif kind == _LIVE:
            self._emit(Event("live", f"{path}, on {content['address']}", {"path": path, "server": content}))
        elif kind == _NOT_LIVE:
            self._emit(Event("not-live", f"{path}: {content}", {"path": path, **error_content(content)}))

    def _crashed(self, worker: Worker, exit_code: int, published: Optional[Mapping[str, Any]]) -> Attempt:
        if published:
            return _published(published)
        said = worker.said().strip()[-_SHOWN:]
        text = f"the process of the export has ended with the exit code {exit_code}"
        return Attempt(failure=Failure(CRASHED, Ckpt2SavedError(f"{text}:\n{said}" if said else text)))


def _receive(worker: Worker, messages: _Messages) -> None:
    """Pass on the messages of the process until it ends."""
    try:
        while True:
            messages.put(worker.receive())
    except WorkerEnded as error:
        messages.put((_ENDED, error.exit_code))


def _published(content: Mapping[str, Any], **more: Any) -> Attempt:
    return Attempt(published=Path(content["path"]), step=content["checkpoint"]["step"], **more)


def main() -> None:
    """Entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which the watcher gets too
    interrupts = Interrupts(interrupt)  # which removes the files of the export
    signal.signal(signal.SIGTERM, interrupts)
    send = sender()
    with contextlib.suppress(KeyboardInterrupt):
        task = pickle.load(sys.stdin.buffer)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        send((_DONE, _attempt(task, _Sender(send, interrupts))))


def _end_with_parent() -> None:
    """Wait for the end of the parent process, then end this one as a signal does, or at once if it does not end."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):  # sys.stdin would be locked when the interpreter ends
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


class _Sender:
    """Sends the steps of an export; raises KeyboardInterrupt again if that of the signal was lost."""

    def __init__(self, send: Callable[[Any], None], interrupts: Interrupts) -> None:
        self._send = send
        self._interrupts = interrupts
        self.content: Optional[Dict[str, Any]] = None  # of the published version

    def __call__(self, step: str, text: str) -> None:
        self._message(_STEP, (step, text))

    def begin(self, text: str) -> None:
        """Send the step that begins."""
        self._message(_BEGIN, text)

    def progress(self, text: str) -> None:
        """Send how far the step is."""
        self._message(_PROGRESS, text)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Send a table."""
        self._message(_TABLE, (list(headings), [list(row) for row in rows]))

    def published(self, version: Any) -> None:
        """Send the published version, before the wait for a server."""
        self.content = version.as_content()
        self._send((_PUBLISHED, self.content))

    def live(self, server: Optional[Mapping[str, Any]], error: Optional[Ckpt2SavedError]) -> None:
        """Send what a server did with the version."""
        self._send((_LIVE, server) if error is None else (_NOT_LIVE, error))

    def _message(self, kind: int, content: Any) -> None:
        if self._interrupts.is_asked_for:
            raise KeyboardInterrupt
        self._send((kind, content))


def _attempt(task: Task, sent: _Sender) -> Attempt:
    import ckpt2saved

    several = len(task.prefixes) > 1
    keywords = dict(task.keywords, select="best" if several else None, unless_published=True, progress=sent)
    checkpoint = task.prefixes if several else task.prefixes[0]
    try:
        version = ckpt2saved.export(checkpoint, task.base, **keywords)
    except (Ckpt2SavedError, OSError) as error:
        if sent.content is not None:  # published, and then the server failed
            sent.live(None, _as_data(error))
            return _published(sent.content)
        return Attempt(failure=_failure(error))
    except Exception:
        return Attempt(failure=Failure(CRASHED, Ckpt2SavedError(traceback.format_exc()[-_SHOWN:])))
    assert sent.content is not None
    from ckpt2saved.exporting.selection import best_of

    if version.server is not None:
        from ckpt2saved.answers.server_answers import as_content

        sent.live(as_content(version.server), None)
    refused = {one.prefix: str(one.error) for one in version.candidates if one.error is not None}
    selected = best_of(version.candidates).prefix if version.candidates else None
    return _published(sent.content, selected=selected, refused=refused)


def _failure(error: Exception) -> Failure:
    content: Dict[str, Any] = {}
    measured = getattr(error, "result", None)
    if measured is not None:
        content["accuracy"] = measured.as_content()
    if isinstance(error, AlreadyPublished):
        kind = KNOWN
    elif isinstance(error, _FATAL):
        kind = FATAL
    else:
        kind = TRANSIENT if isinstance(error, _TRANSIENT) else REFUSED
    return Failure(kind, _as_data(error), content)


def _as_data(error: Exception) -> Ckpt2SavedError:
    """The error without what it holds of the export, which can't be sent."""
    if not isinstance(error, Ckpt2SavedError):
        return Ckpt2SavedError(str(error))
    made = Ckpt2SavedError(error.message, error.problems)
    made.exit_code = error.exit_code
    return made
