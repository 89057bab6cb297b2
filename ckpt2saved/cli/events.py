"""Events of the commands that run until they are stopped: `watch` and `sync`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Mapping, Tuple

import click

from ckpt2saved.cli.invocation import print_json_line
from ckpt2saved.console.foreign_text import terminal_safe

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.console.loops import Event
    from ckpt2saved.console.narration import Narration

_RESULT = "published"  # the event whose text is printed on stdout


@dataclass(frozen=True)
class EventKinds:
    """What is special about some kinds of events."""

    failures: Tuple[str, ...]  # those that --quiet prints too
    then: Mapping[str, str]  # kind -> what the command does after it, for a terminal


class EventPrinter:
    """Prints the events: published directories, or with --json everything, on stdout; texts on stderr."""

    def __init__(self, say: Narration, kinds: EventKinds, as_json: bool, quiet: bool) -> None:
        self._say = say
        self._kinds = kinds
        self._as_json = as_json
        self._quiet = quiet

    def __call__(self, event: Event) -> None:
        with self._say.paused():
            if self._as_json:
                print_json_line({"event": event.kind, **event.content})
            elif event.kind == _RESULT:
                click.echo(event.text)
        if self._quiet and event.kind in self._kinds.failures:
            click.echo(f"{event.kind}: {terminal_safe(event.text)}", err=True)
        if event.kind != _RESULT or self._as_json:
            self._say(event.kind, event.text)
        with contextlib.suppress(KeyError):
            self._say.begin(self._kinds.then[event.kind])
