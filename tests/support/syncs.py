"""A sync in this process: a source, a local base directory, and the events."""

from __future__ import annotations

from ckpt2saved.console.loops import Stop
from ckpt2saved.console.say import silent
from ckpt2saved.versions.syncing.loop import Syncer, synced_models
from ckpt2saved.versions.syncing.model import Surroundings, SyncOptions
from tests.support.schemas import misfits_of_output
from tests.support.versions import names


class Sync:
    """Rounds of a sync of one model, or of several."""

    def __init__(self, base, *urls, **options):
        self.base, self.events, self.stop = base, [], Stop()
        options.setdefault("interval", 0.0)  # so that a failure is tried again in the next round
        self.around = Surroundings(SyncOptions(**options), self.emit, silent, self.stop)
        self.syncer = Syncer(synced_models([str(url) for url in urls], base, self.around), self.around)
        self.models = self.syncer._models
        for model in self.models:
            model.begin()

    def emit(self, event):
        assert misfits_of_output("sync", {"event": event.kind, **event.content, "format": 1}) == []
        self.events.append(event)

    def round(self):
        """Whether the model has its newest version after one more round, and the kinds of its events."""
        self.events.clear()
        current = [model.round(self.syncer.state) for model in self.models]
        return all(current), [event.kind for event in self.events]

    def told(self, kind):
        return [event.content for event in self.events if event.kind == kind]

    @property
    def state(self):
        return self.models[0].state

    def local(self):
        return names(self.base) if self.base.exists() else []
