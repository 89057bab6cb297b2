"""The time of requests by groups of nodes, as a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence

from ckpt2saved.answers.profile import IDLE, Profile
from ckpt2saved.console.tables import print_figures
from ckpt2saved.verification.speed.loader_target import LoaderTarget
from ckpt2saved.verification.speed.workload import Workload

_SECONDS = 5.0  # for the runs of one profile, about
_LEAST_RUNS, _MOST_RUNS = 3, 50


@dataclass(frozen=True)
class BatchProfile:
    """The profile of requests of one size."""

    batch: int
    profile: Profile

    def as_content(self) -> Dict[str, Any]:
        """Return the JSON content."""
        profile = self.profile
        return {
            "batch": self.batch,
            "runs": profile.runs,
            "seconds": profile.seconds,
            "traced_seconds": profile.traced_seconds,
            "idle_seconds": profile.idle_seconds,
            "groups": [
                {"group": one.group, "seconds": one.seconds, "share": one.share, "nodes": one.nodes, "runs": one.runs}
                for one in profile.groups
            ],
            "ops": [
                {"op": one.op, "group": one.group, "seconds": one.seconds, "runs": one.runs} for one in profile.ops
            ],
        }


def profile_batches(target: LoaderTarget, workload: Workload, batches: Sequence[int]) -> List[BatchProfile]:
    """Profile the first request of each size, one at a time."""
    found = []
    for batch in batches:
        request = workload.requests(batch)[0]
        target.predict(request)
        seconds = target.predict(request).seconds
        runs = int(min(max(_SECONDS / 2 / max(seconds, 1e-6), _LEAST_RUNS), _MOST_RUNS))
        found.append(BatchProfile(batch, target.profile(request, runs)))
    return found


def print_profile(measured: BatchProfile) -> None:
    """Print the groups, and the ops that take the most time."""
    profile = measured.profile
    shares = [
        [one.group, f"{one.seconds * 1e3:.2f}", f"{one.share * 100:.1f} %", str(one.nodes), f"{one.runs:.0f}"]
        for one in profile.groups
    ]
    shares.append([IDLE, f"{profile.idle_seconds * 1e3:.2f}", "-", "-", "-"])
    lines = f"batch {measured.batch}: {profile.seconds * 1e3:.1f} ms, with step statistics"
    title = f"{lines} {profile.traced_seconds * 1e3:.1f} ms (of {profile.runs} requests)"
    print_figures(title, ["group", "ms", "of all ops", "nodes", "runs"], shares, left=("group",))
    ops = [[one.op, one.group, f"{one.seconds * 1e3:.2f}", f"{one.runs:.0f}"] for one in profile.ops]
    print_figures("the ops that take the most time", ["op", "group", "ms", "runs"], ops, left=("op", "group"))
