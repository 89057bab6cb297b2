"""Poll a server until a version is live, has failed, was superseded, or the timeout is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Tuple

from ckpt2saved.client.clock import Clock
from ckpt2saved.client.explanations import PUBLISH_HIGHER, explained
from ckpt2saved.client.server import (
    AVAILABLE,
    END,
    LOADING,
    START,
    STATUS_SECONDS,
    UNLOADING,
    Refused,
    Server,
    Unknown,
    Unreachable,
    VersionStatus,
)
from ckpt2saved.console.say import Say, progress_of, silent
from ckpt2saved.errors import ServerError

# A server retries a failed load five times, one minute apart, before it reports the failure.
TIMEOUT_SECONDS = 600
POLL_SECONDS = 1.0  # default poll interval of a server for new versions
_LEAST_SECONDS = 2.0  # minimum timeout of a status request, so that even with --timeout 0 the server is polled once
_PATIENCE_SECONDS = 5.0  # after this time a server that polls the directory has found the version

# Outcomes.
LIVE, FAILED, SUPERSEDED, TIMED_OUT = "live", "failed", "superseded", "timed out"
# States in addition to those of TF Serving.
NOT_SEEN, UNREACHABLE = "NOT_SEEN", "UNREACHABLE"


@dataclass(frozen=True)
class Sighting:
    """A state of the version, and the time in seconds at which it was first seen."""

    state: str
    seconds: float
    text: str


@dataclass(frozen=True)
class Arrival:
    """The outcome of a wait, and the states seen during it."""

    outcome: str
    seconds: float
    seen: Tuple[Sighting, ...]
    problem: str  # "" if the version is live

    @property
    def is_live(self) -> bool:
        return self.outcome == LIVE


def wait_until_live(
    server: Server,
    model: str,
    version: int,
    timeout: float = TIMEOUT_SECONDS,
    *,
    say: Say = silent,
    clock: Optional[Clock] = None,
) -> Arrival:
    """Poll the state of the version until it is final, for at most `timeout` seconds.

    `say` reports each new state, and its progress at every poll. Raises ServerError if the address is not a TF Serving,
    or the server refuses to report the state.
    """
    return _Wait(server, model, version, timeout, say=say, clock=clock or Clock()).until_settled(progress_of(say))


class _Wait:
    """One wait, with the states seen so far."""

    def __init__(self, server: Server, model: str, version: int, timeout: float, *, say: Say, clock: Clock) -> None:
        self.server = server
        self.model = model
        self.version = version
        self.timeout = timeout
        self.say = say
        self.clock = clock
        self.start = clock.now()
        self.seen: List[Sighting] = []
        self.is_explained = False

    def until_settled(self, progress: Callable[[str], None]) -> Arrival:
        while True:
            state, text, outcome = self.look()
            if not self.seen or self.seen[-1].state != state or (outcome and outcome != LIVE):
                self.seen.append(Sighting(state, round(self.elapsed(), 1), text))
                self.say("server", text)
            if outcome:
                # The remedy is printed once, at the end of the wait.
                advice = "; " + PUBLISH_HIGHER if outcome == FAILED else ""
                return self.arrival(outcome, "" if outcome == LIVE else text + advice)
            progress(f"{text.partition(';')[0]}, {self.elapsed():.0f} s of {self.timeout:g}")
            if state == NOT_SEEN:
                self.explain_absence()
            if self.elapsed() >= self.timeout:
                return self.arrival(TIMED_OUT, self.timeout_text(text))
            self.clock.sleep(max(min(POLL_SECONDS, self.timeout - self.elapsed()), 0.001))

    def elapsed(self) -> float:
        return self.clock.now() - self.start

    def left(self) -> float:
        """Timeout of the next status request, in seconds."""
        return max(min(STATUS_SECONDS, self.timeout - self.elapsed()), min(_LEAST_SECONDS, STATUS_SECONDS))

    def arrival(self, outcome: str, problem: str) -> Arrival:
        return Arrival(outcome, round(self.elapsed(), 1), tuple(self.seen), problem)

    def look(self) -> Tuple[str, str, str]:
        """Poll once; returns the state, its text, and the outcome ("" if not final)."""
        try:
            status = self.server.statuses(self.model, self.version, self.left())[0]
        except Unknown:
            return self.absent()
        except IndexError:
            return self.absent()
        except Unreachable as error:
            return UNREACHABLE, f"{self.server.address}: {error}", ""
        except Refused as error:
            raise ServerError(
                f"{self.server.address}: it does not report the state of {self.model} {self.version}: {error}"
            ) from error
        return self.described(status)

    def described(self, status: VersionStatus) -> Tuple[str, str, str]:
        name = f"{self.model} {self.version}"
        if status.state == AVAILABLE:
            return AVAILABLE, f"{name} is AVAILABLE after {self.elapsed():.1f} s", LIVE
        if status.state in (START, LOADING):
            return (
                status.state,
                (
                    f"{name} is {status.state}; a load that fails is tried again for about five minutes, and until then"
                    " its error stands in the server's log alone"
                ),
                "",
            )
        if status.has_failed:
            text = "{} failed to load and will not be retried: {}: {}"
            meaning = explained(status.error_message).replace("; " + PUBLISH_HIGHER, "")
            return END, text.format(name, status.error_code, meaning), FAILED
        if status.state in (UNLOADING, END):
            newer = [other for other in self.others() if other.version > self.version]
            by = f"version {newer[0].version}, which is {newer[0].state}" if newer else "no newer version"
            text = "{} is {}: it was superseded by {}" if newer else "{} is {}: it was taken out of service, by {}"
            return status.state, text.format(name, status.state, by), SUPERSEDED
        return status.state, f"{name} is in the state {status.state}", ""

    def absent(self) -> Tuple[str, str, str]:
        """The result for a version that the server does not know: not yet, or superseded by a newer version."""
        newer = [
            other for other in self.others() if other.version > self.version and other.state in (LOADING, AVAILABLE)
        ]
        if newer and self.elapsed() > _PATIENCE_SECONDS:
            return (
                NOT_SEEN,
                (
                    f"{self.model} {self.version} was skipped: version {newer[0].version} is {newer[0].state}, and"
                    " a server loads only the newest"
                ),
                SUPERSEDED,
            )
        return NOT_SEEN, f"{self.server.address} has not seen {self.model} {self.version} yet", ""

    def others(self) -> Sequence[VersionStatus]:
        try:
            return sorted(self.server.statuses(self.model, None, self.left()), key=lambda status: -status.version)
        except (Unknown, Unreachable, Refused):
            return ()

    def explain_absence(self) -> None:
        if self.is_explained or self.elapsed() < _PATIENCE_SECONDS:
            return
        self.is_explained = True
        self.say("server", self.absence())

    def absence(self) -> str:
        others = self.others()
        if not others:
            return (
                f"it has no model {self.model}: does it have another name (--model-name), is the base path or the mount"
                " of the server another directory, or may the user of the server not read it? A server finds a new"
                " model in models.config only with --model_config_file_poll_wait_seconds"
            )
        has = ", ".join(f"{other.version} {other.state}" for other in others[:5])
        return (
            f"it has {self.model} {has}, not {self.version}: does it watch another directory (base path, mount), is the"
            " version closed to its user, does a version policy leave it out, does it look seldom"
            " (--file_system_poll_wait_seconds), or does a load before it take long?"
        )

    def timeout_text(self, last: str) -> str:
        more = "; " + self.absence() if self.seen[-1].state == NOT_SEEN else ""
        return f"not live after {self.timeout:g} s; last state: {last}{more}"
