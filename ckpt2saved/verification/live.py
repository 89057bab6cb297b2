"""Wait until a version is live on a server, then run its signatures there."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Optional

from ckpt2saved.answers.server_answers import Answered, ServerReport, run_on_server
from ckpt2saved.answers.server_asker import Target
from ckpt2saved.answers.server_requests import ServerRequests
from ckpt2saved.client.clock import Clock
from ckpt2saved.client.waiting import wait_until_live
from ckpt2saved.console.say import Say, begin, silent
from ckpt2saved.versions import recorded_without_batch

# The warning at the end of a command if no signature could be run.
UNASKED_WARNING = "no signature was run: whether {} is not known; see the notes above"

_LEAST_SECONDS = 10.0  # minimum time for all requests, even if the wait took the whole timeout


def check_live(
    target: Target,
    prepare: Callable[[], ServerRequests],
    *,
    say: Say = silent,
    clock: Optional[Clock] = None,
) -> ServerReport:
    """Wait for the version, then send the requests of `prepare`; raises ServerError if no TF Serving responds.

    The timeout of the target covers waiting and requests, but not `prepare`.
    """
    clock = clock or Clock()
    end = clock.now() + target.timeout
    arrival = wait_until_live(target.server, target.model, target.version, target.timeout, say=say, clock=clock)
    answered = None
    if arrival.is_live:
        begin(say, f"asking {target.model} {target.version}")
        left = max(end - clock.now(), _LEAST_SECONDS)
        to_send = prepare()
        to_send = _with_recorded(target, to_send)
        answered = run_on_server(target, to_send, left, clock)
        answered = _with_those_of_files(answered, to_send)
        _narrate(answered, to_send.why_not_compared, say)
    return ServerReport(
        address=str(target.server.address),
        model=target.model,
        version=target.version,
        arrival=arrival,
        answered=answered,
    )


def _with_recorded(target: Target, to_send: ServerRequests) -> ServerRequests:
    """Add the outputs that could not be split during the export."""
    seen = {name: set(keys) for name, keys in to_send.without_batch.items()}
    for name, keys in recorded_without_batch(target.directory).items():
        seen.setdefault(name, set()).update(keys)
    return replace(to_send, without_batch=seen)


def _with_those_of_files(answered: Answered, to_send: ServerRequests) -> Answered:
    unasked, problems = to_send.unasked + answered.unasked, to_send.problems + answered.problems
    return replace(answered, unasked=unasked, problems=problems)


def _narrate(answered: Answered, why_not_compared: str, say: Say) -> None:
    for note in answered.unasked + answered.notes:
        say("note", note.text)
    if not answered.answers:
        say("answers", "none: no signature could be run")
    elif answered.problems:
        say("answers", f"{answered.answers}, with problems")
    elif answered.comparison:
        say(
            "answers",
            f"{answered.answers} matching the files, largest difference {answered.comparison.max_abs:.2g};"
            f" {answered.seconds:.3g} s at most for one",
        )
    else:
        say(
            "answers",
            f"{answered.answers}, not compared with the files: {why_not_compared}; {answered.seconds:.3g} s at most"
            " for one",
        )
    if not answered.answers and not answered.problems:
        say("warning", UNASKED_WARNING.format("the server answers requests for this version"))
