"""Models whose versions a side-car pulls from an object store: `serving-config --from URL`."""

from __future__ import annotations

import contextlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple

from ckpt2saved.console.loops import Event, Stop
from ckpt2saved.console.say import silent
from ckpt2saved.errors import ServingError, UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.server_config.models import MODEL_NAME, MODELS_IN_SERVER
from ckpt2saved.versions.object_stores.url import checked_url, is_store_url
from ckpt2saved.versions.syncing.loop import Syncer, synced_models
from ckpt2saved.versions.syncing.model import Surroundings, SyncOptions

SYNC_IMAGE = "ckpt2saved:sync"
VOLUME = "models"
SYNC_PORT = 9090

_NAMED = re.compile(r"([^=:/]+)=(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Pulling:
    """What the side-car of a server does."""

    urls: Tuple[str, ...]
    versions: int  # that the server loads
    image: str = SYNC_IMAGE

    def arguments(self, *more: str) -> List[str]:
        """Return the arguments of ckpt2saved in the side-car, with `more` options."""
        base = MODELS_IN_SERVER if len(self.urls) > 1 else f"{MODELS_IN_SERVER}/{last_name(self.urls[0])}"
        # One version more than the server loads: it answers from the old ones while it loads a new one.
        counts = ["--versions", str(self.versions), "--keep", str(self.versions + 1)]
        return ["sync", *self.urls, base, *counts, *more]


@dataclass(frozen=True)
class NamedUrl:
    """A URL and the name of its model, as in NAME=URL."""

    name: str  # "" for the last name of the URL
    url: str


def parse_source(text: str) -> NamedUrl:
    """Parse [NAME=]URL."""
    match = _NAMED.match(text)
    name, url = match.groups() if match else ("", text)
    if not is_store_url(url):
        raise ValueError(f"{text!r} is not the URL of an object store, as in s3://bucket/models/crnn")
    return NamedUrl(name, url)


def last_name(url: str) -> str:
    """Return the last name of a URL, which is that of the directory of its model."""
    return url.rstrip("/").rpartition("/")[2]


def checked_sources(sources: Sequence[NamedUrl]) -> Tuple[NamedUrl, ...]:
    """Return the sources with a name for each; raises UsageError and VersionError."""
    found: Dict[str, NamedUrl] = {}
    for source in sources:
        url = checked_url(source.url)
        directory = last_name(url)
        if not MODEL_NAME.match(directory):
            raise UsageError(
                f"--from: {url}: its last name is that of the directory of the model; expected letters, digits, '_',"
                " '.' and '-'"
            )
        if directory in found:
            raise UsageError(
                f"--from: {found[directory].url} and {url} have the same last name, which is that of the directory of a"
                " model; expected different ones"
            )
        found[directory] = NamedUrl(source.name or directory, url)
    return tuple(found.values())


@contextlib.contextmanager
def pulled(sources: Sequence[NamedUrl], versions: int) -> Iterator[Path]:
    """Yield a temporary directory with the newest versions of each model, to be checked.

    Raises ServingError unless each model has a version that a server could load.
    """
    problems: List[Problem] = []

    def emit(event: Event) -> None:
        if event.kind in ("failed", "empty"):
            problems.append(Problem("unusable-base", "", event.text))

    options = SyncOptions(versions, keep=versions + 1, once=True)
    around = Surroundings(options, emit, silent, Stop())
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as name:
        places = [(source.url, Path(name) / last_name(source.url)) for source in sources]
        models = [model for url, base in places for model in synced_models([url], base, around)]
        syncer = Syncer(models, around)
        syncer.run()
        if not syncer.state.is_ready:
            text = "--from: not every URL has a version that a server could load; nothing was written"
            raise ServingError(text, problems)
        yield Path(name)
