"""`sync`: the places of its models, the loop that keeps them up to date, and what it returns."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ckpt2saved.console.loops import Event, Stopped
from ckpt2saved.errors import Ckpt2SavedError, UsageError
from ckpt2saved.errors.problem import error_content
from ckpt2saved.files.reading import PathLike
from ckpt2saved.versions.syncing.model import Surroundings, SyncedModel
from ckpt2saved.versions.syncing.sources import LocalSource, Source, source_at
from ckpt2saved.versions.syncing.state import SyncState


@dataclass(frozen=True)
class Synced:
    """A model after one round."""

    name: str
    url: str  # of the source
    base: Path
    local: Optional[int]  # the newest version in `base`
    remote: Optional[int]  # the newest complete version of the source
    is_current: bool  # the newest complete version of the source is in `base`
    published: Tuple[Path, ...]
    deleted: Tuple[Path, ...]


class Syncer:
    """Pulls the new versions of some models, one after the other."""

    def __init__(self, models: Sequence[SyncedModel], around: Surroundings) -> None:
        self._models = tuple(models)
        self._around = around
        self.state = SyncState(tuple(model.state for model in models))
        self._current: Dict[str, bool] = {}

    def run(self, endpoint: Optional[str] = None) -> int:
        """Sync until it is stopped or, with some options, done; returns the exit code.

        `endpoint` is the URL of the health endpoint, to be told.
        """
        models = [
            {"model": model.state.name, "url": model.source.url, "path": str(model.base)} for model in self._models
        ]
        text = "; ".join(f"{model['url']} for {model['path']}" for model in models)
        text += f"; metrics at {endpoint}/metrics" if endpoint else ""
        self._tell("syncing", text, models=models, endpoint=endpoint)
        try:
            reason, code = self._run()
        except Stopped:
            options = self._around.options
            # What comes after it, such as a server, would do without what was not pulled.
            reason, code = "signal", 1 if options.once or options.until_ready else 0
        except Ckpt2SavedError as error:
            self._tell("stopped", _REASONS["error"], reason="error", exit_code=error.exit_code, **error_content(error))
            raise
        self._tell("stopped", _REASONS[reason], reason=reason, exit_code=code)
        return code

    def results(self) -> Tuple[Synced, ...]:
        """Return what has become of each model."""
        return tuple(
            Synced(
                name=model.state.name,
                url=model.source.url,
                base=model.base,
                local=model.state.local,
                remote=model.state.remote,
                is_current=self._current.get(model.state.name, False),
                published=tuple(model.published),
                deleted=tuple(model.deleted),
            )
            for model in self._models
        )

    def _run(self) -> Tuple[str, int]:
        for model in self._models:
            model.begin()
        due = dict.fromkeys(self._models, 0.0)
        while True:
            for model in self._models:
                self._around.stop.check()
                if due[model] <= time.monotonic():
                    self._current[model.state.name] = model.round(self.state)
                    due[model] = time.monotonic() + model.pause
            if self._around.options.until_ready and self.state.is_ready:
                return "ready", 0
            if self._around.options.once:
                return ("once", 0) if all(self._current.values()) else ("behind", 1)
            self.state.step()
            self._around.stop.wait(max(min(due.values()) - time.monotonic(), 0.05))

    def _tell(self, kind: str, text: str, **content: Any) -> None:
        self._around.emit(Event(kind, text, content))


_REASONS = {
    "error": "an error that the next round would have too",
    "behind": "not every model has its newest version",
    "ready": "a server has a version of each model",
    "once": "each model has its newest version",
    "signal": "as a signal asked for",
}


def synced_models(urls: Sequence[PathLike], local_base: PathLike, around: Surroundings) -> List[SyncedModel]:
    """Return the models of `sync URL... LOCAL_BASE`: one URL is for the base directory itself.

    Of several URLs each is for the directory of its last name in there. Raises UsageError and VersionError.
    """
    if around.options.versions > around.options.keep:
        raise UsageError(f"--versions {around.options.versions}: expected at most as many as --keep leaves")
    sources = [source_at(os.fspath(url)) for url in urls]
    base = Path(local_base)
    bases = [base] if len(sources) == 1 else [base / _last_name(source) for source in sources]
    for number, (source, own) in enumerate(zip(sources, bases)):
        if own in bases[:number]:
            raise UsageError(
                f"{source.url}: two of the URLs end in {own.name}, which names the directory of the model in {base};"
                " sync one of them by another command"
            )
        if isinstance(source, LocalSource) and os.path.realpath(source.base) == os.path.realpath(own):
            raise UsageError(f"{source.url}: the source is the local base directory itself; expected another one")
    return [SyncedModel(source, own, around) for source, own in zip(sources, bases)]


def _last_name(source: Source) -> str:
    name = os.path.basename(source.url.rstrip("/") if "://" in source.url else os.path.abspath(source.url))
    if name in ("", ".", "..") or source.url.rstrip("/").endswith(":/"):
        raise UsageError(f"{source.url}: with several URLs, the last name of each one is that of its model; found none")
    return name
