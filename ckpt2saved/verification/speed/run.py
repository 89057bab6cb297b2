"""A whole measurement: open the targets, make the requests, sweep."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Sequence, Tuple, Union

from ckpt2saved.client.address import ModelAddress
from ckpt2saved.console.say import Say, begin, silent
from ckpt2saved.errors import UsageError
from ckpt2saved.files.reading import PathLike
from ckpt2saved.verification.speed.figures import Point
from ckpt2saved.verification.speed.loader_target import LoaderTarget
from ckpt2saved.verification.speed.opening import Opening, open_targets
from ckpt2saved.verification.speed.profiles import BatchProfile, profile_batches
from ckpt2saved.verification.speed.report import title_of
from ckpt2saved.verification.speed.sweep import Result, Windows, measure, try_out
from ckpt2saved.verification.speed.target import Target
from ckpt2saved.verification.speed.workload import Given, Workload, workload_for


@dataclass(frozen=True)
class Plan:
    """What is measured on each target."""

    opening: Opening
    given: Given
    points: Tuple[Point, ...]
    windows: Windows
    has_profile: bool = False  # also where the time goes, of versions


def measure_places(places: Sequence[Union[PathLike, ModelAddress]], plan: Plan, say: Say = silent) -> Result:
    """Measure the targets at these places; raises UsageError, and the errors of a target for its first request."""
    if len(set(map(str, places))) < len(places):
        raise UsageError("one target is given twice; expected different ones")
    with contextlib.ExitStack() as stack:
        targets = []
        for place in places:
            begin(say, f"opening {place}")
            targets += [stack.enter_context(target) for target in open_targets(place, plan.opening, say)]
        if plan.has_profile and not all(isinstance(target, LoaderTarget) for target in targets):
            raise UsageError(
                "--profile: a server does not tell where its time goes; expected the directory of a version"
            )
        workloads = []
        for target in targets:
            say("target", title_of(target))
            begin(say, f"making requests for {target.name}")
            workload = workload_for(target, plan.given, targets)
            try_out(target, workload)
            workloads.append(workload)
        result = measure(targets, workloads, plan.points, plan.windows, say)
        return replace(result, profiles=_profiles(targets, workloads, plan, say)) if plan.has_profile else result


def _profiles(
    targets: Sequence[Target], workloads: Sequence[Workload], plan: Plan, say: Say
) -> Tuple[Tuple[BatchProfile, ...], ...]:
    """The profiles of each target, for each size of its requests."""
    found = []
    for target, workload in zip(targets, workloads):
        assert isinstance(target, LoaderTarget)
        begin(say, f"profiling {target.name}")
        found.append(profile_batches(target, workload, sorted({point.batch for point in plan.points})))
    return tuple(map(tuple, found))
