"""A whole measurement: open the targets, make the requests, sweep."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Sequence, Tuple, Union

from ckpt2saved.client.address import ModelAddress
from ckpt2saved.console.say import Say, begin, silent
from ckpt2saved.errors import UsageError
from ckpt2saved.files.reading import PathLike
from ckpt2saved.verification.speed.figures import Point
from ckpt2saved.verification.speed.opening import Opening, open_target
from ckpt2saved.verification.speed.report import title_of
from ckpt2saved.verification.speed.sweep import Result, Windows, measure, try_out
from ckpt2saved.verification.speed.workload import Given, workload_for


@dataclass(frozen=True)
class Plan:
    """What is measured on each target."""

    opening: Opening
    given: Given
    points: Tuple[Point, ...]
    windows: Windows


def measure_places(places: Sequence[Union[PathLike, ModelAddress]], plan: Plan, say: Say = silent) -> Result:
    """Measure the targets at these places; raises UsageError, and the errors of a target for its first request."""
    if len(set(map(str, places))) < len(places):
        raise UsageError("one target is given twice; expected different ones")
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(open_target(place, plan.opening)) for place in places]
        workloads = []
        for target in targets:
            say("target", title_of(target))
            begin(say, f"making requests for {target.name}")
            workload = workload_for(target, plan.given)
            try_out(target, workload)
            workloads.append(workload)
        return measure(targets, workloads, plan.points, plan.windows, say)
