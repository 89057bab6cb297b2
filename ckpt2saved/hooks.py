"""Hooks of trainings, which publish the checkpoints that a training writes."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Mapping, NamedTuple, Optional, Tuple, Type

import ckpt2saved
from ckpt2saved.checkpoint.files import STATE_FILE, find_checkpoint
from ckpt2saved.errors import Ckpt2SavedError, UsageError
from ckpt2saved.files.kinds import is_keras_file
from ckpt2saved.files.reading import is_url
from ckpt2saved.graph.tf1 import same_random_numbers, tf
from ckpt2saved.versions.bases import base_at

if TYPE_CHECKING:
    from ckpt2saved.exporting.exported import Exported
    from ckpt2saved.files.reading import PathLike

__all__ = ["ExportCallback", "ExportHook"]

LOG, RAISE = "log", "raise"  # what a failing export does
_log = logging.getLogger("ckpt2saved")


class _Written(NamedTuple):
    """A checkpoint, and the state of the file that is written last."""

    path: Path
    is_model: bool  # a Keras file with a model, which needs no other graph
    state: Tuple[int, ...]


class _Publisher:
    """Publishes every Nth checkpoint of those that it is shown, and the last one."""

    def __init__(self, export_dir: PathLike, every: int, on_error: str, options: Mapping[str, Any]) -> None:
        if every < 1:
            raise UsageError(f"every={every}: expected 1 or more")
        if on_error not in (LOG, RAISE):
            raise UsageError(f"on_error={on_error!r}: expected {LOG!r} or {RAISE!r}")
        self.versions: List[Exported] = []
        if is_url(export_dir):  # a wrong one is told before the training; nothing is asked of the store
            base_at(export_dir, single_writer=bool(options.get("single_writer"))).check()
        self._export_dir = export_dir
        self._every = every
        self._raises = on_error == RAISE
        self._options = dict(options)
        self._seen: Optional[_Written] = None
        self._waiting: Optional[_Written] = None  # written, and not exported yet
        self._count = 0

    def start(self, found: Optional[_Written]) -> None:
        """Take no notice of a checkpoint that was there before the training."""
        self._seen, self._waiting, self._count = found, None, 0

    def show(self, found: Optional[_Written]) -> None:
        """Publish the checkpoint if it was written since the last call, and N were."""
        if found is None or found == self._seen:
            return
        self._seen = self._waiting = found
        self._count += 1
        if self._count % self._every == 0:
            self.finish()

    def finish(self) -> None:
        """Publish the last checkpoint, unless that was done."""
        found, self._waiting = self._waiting, None
        if found is None:
            return
        try:
            self.versions.append(self._exported(found))
        except Exception as error:
            if self._raises:
                raise
            version = getattr(error, "version", None)
            if version is not None:
                self.versions.append(version)
            text = "%s: it is published as %s, but: %s" if version else "%s: it is not published%s: %s"
            has_traceback = not isinstance(error, Ckpt2SavedError)
            _log.error(text, found.path, version.path if version else "", error, exc_info=has_traceback)

    def _exported(self, found: _Written) -> Exported:
        options = dict(self._options, graph=found.path) if found.is_model else self._options
        checkpoint = None if found.is_model else found.path
        with same_random_numbers():
            version = ckpt2saved.export(checkpoint, self._export_dir, **options)
        _log.info("%s: published as %s", found.path, version.path)
        return version


class ExportHook(tf.train.SessionRunHook):  # type: ignore[misc]  # TensorFlow has no types
    """Publishes the checkpoints that a tf.estimator or MonitoredTrainingSession writes.

    `checkpoint` is the directory of the training (model_dir, checkpoint_dir), whose newest checkpoint is exported once
    the training has written it; `export_dir` is the base directory of the model, or its URL in an object store.
    `every` N: only every Nth one. The last one is exported in any case. What was there before the first step is not
    exported. `options` are those of `ckpt2saved.export`, such as graph="meta", inputs and outputs. An export takes
    place between two steps, in a graph and sessions of its own, and without GPUs by default.

    A failing export is logged with the logger `ckpt2saved`, and the training goes on; with on_error="raise" the
    exception is raised. `versions` has the published versions. Of a training on several machines give it to the chief
    alone, as a training_chief_hook.
    """

    def __init__(
        self, checkpoint: PathLike, export_dir: PathLike, *, every: int = 1, on_error: str = LOG, **options: Any
    ) -> None:
        """Raises UsageError for wrong values of `every` and `on_error`, and VersionError for a URL that can be none."""
        self._directory = Path(checkpoint)
        self._publisher = _Publisher(export_dir, every, on_error, options)
        self._has_begun = False
        self._state: Optional[Tuple[int, ...]] = None  # of the file that names the newest checkpoint

    @property
    def versions(self) -> List[Exported]:
        """The versions that were published, oldest first."""
        return self._publisher.versions

    def begin(self) -> None:
        """A new session: its first checkpoint, before the first step, is not exported."""
        self._has_begun = False

    def before_run(self, run_context: Any) -> None:
        """Remember the checkpoint that was there before the first step."""
        if not self._has_begun:
            self._has_begun = True
            self._is_changed()
            self._publisher.start(_written(self._directory))

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Export a checkpoint that was written since the step before."""
        if self._is_changed():
            self._publisher.show(_written(self._directory))

    def end(self, session: Any) -> None:
        """Export the last checkpoint."""
        if self._has_begun:
            self._publisher.show(_written(self._directory))
            self._publisher.finish()

    def _is_changed(self) -> bool:
        """Whether the training has written a checkpoint since the last call."""
        before = self._state
        with contextlib.suppress(OSError):
            self._state = _state(self._directory / STATE_FILE)
        return self._state != before


class ExportCallback:
    """Publishes the checkpoints that a Keras training writes, after each epoch that has written one.

    `checkpoint` is what writes or names it: the ModelCheckpoint or the tf.train.CheckpointManager of the training, or a
    path, which may have {epoch} and names of logs as that of ModelCheckpoint has; list this callback after the
    ModelCheckpoint. `export_dir` is the base directory of the model, or its URL in an object store. A file with a model
    (.keras, .h5) needs no graph; weights and object-based checkpoints need graph="module:function". `every` N: only
    every Nth checkpoint, and the last one. `options` are those of `ckpt2saved.export`.

    A failing export is logged with the logger `ckpt2saved`, and the training goes on; with on_error="raise" the
    exception is raised. `versions` has the published versions. It is a Callback of the Keras that the training uses.
    """

    def __new__(cls, *arguments: Any, **options: Any) -> ExportCallback:
        """A Callback of Keras, which is imported for the first one."""
        made: ExportCallback = object.__new__(_as_keras_callback(cls))
        return made

    def __init__(
        self, checkpoint: Any, export_dir: PathLike, *, every: int = 1, on_error: str = LOG, **options: Any
    ) -> None:
        """Raises UsageError for wrong values of `every` and `on_error`, and VersionError for a URL that can be none."""
        super().__init__()
        self._checkpoint = checkpoint
        self._publisher = _Publisher(export_dir, every, on_error, options)

    @property
    def versions(self) -> List[Exported]:
        """The versions that were published, oldest first."""
        return self._publisher.versions

    def on_train_begin(self, logs: Optional[Mapping[str, Any]] = None) -> None:
        """Take no notice of a checkpoint that was there before."""
        self._publisher.start(self._found(None, logs))

    def on_epoch_end(self, epoch: int, logs: Optional[Mapping[str, Any]] = None) -> None:
        """Export a checkpoint that was written since the epoch before."""
        self._publisher.show(self._found(epoch, logs))

    def on_train_end(self, logs: Optional[Mapping[str, Any]] = None) -> None:
        """Export the last checkpoint."""
        self._publisher.finish()

    def _found(self, epoch: Optional[int], logs: Optional[Mapping[str, Any]]) -> Optional[_Written]:
        given = self._checkpoint
        if hasattr(given, "latest_checkpoint"):
            given = given.latest_checkpoint
        path = os.fspath(getattr(given, "filepath", given) or "")
        if "{" in path:
            if epoch is None:
                return None
            path = path.format(epoch=epoch + 1, **(logs or {}))
        return _written(Path(path)) if path else None


def _as_keras_callback(kind: Type[ExportCallback]) -> Type[ExportCallback]:
    """The class as a Callback of the Keras that the training uses."""
    has_other = "keras" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "true", "True")
    keras = sys.modules["keras"] if has_other else tf.compat.v2.keras
    return type(kind.__name__, (kind, keras.callbacks.Callback), {"__doc__": kind.__doc__, "__module__": __name__})


def _written(path: Path) -> Optional[_Written]:
    """The checkpoint at a path, a Keras file, or the newest checkpoint of a directory; None if there is none."""
    try:
        if path.is_file() and is_keras_file(path):
            return _Written(path, not path.name.endswith(".weights.h5"), _state(path))
        found = find_checkpoint(path)
        return _Written(found.prefix, False, _state(found.files[0]))
    except (Ckpt2SavedError, OSError):
        return None


def _state(file: Path) -> Tuple[int, ...]:
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
