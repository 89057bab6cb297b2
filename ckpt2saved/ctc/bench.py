"""A benchmark of CTC decoders on this machine and TensorFlow."""

from __future__ import annotations

import platform
import re
import statistics
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence

import numpy as np

from ckpt2saved import ctc
from ckpt2saved.console.say import Say, begin
from ckpt2saved.errors import UsageError
from ckpt2saved.graph.tf1 import open_session, tf, v1_control_flow

DECODERS = ("stock", "fast", "greedy")
_LEAST_SECONDS = 0.5


@dataclass(frozen=True)
class Case:
    """Size and kind of the logits to decode."""

    batch: int
    steps: int
    classes: int
    beam_width: int
    logits: str  # flat: noise, as of an untrained network; peaked: as of a trained one, sure of most steps

    def __str__(self) -> str:
        return f"{self.batch} x {self.steps} x {self.classes}, width {self.beam_width}, {self.logits}"


# The original measured 13, 18, 33 and 46 s for a batch of 128 at up to 128 steps, width 1; the wider beams are smaller
# cases, since the stock op takes minutes for them.
CASES = tuple(
    [
        Case(batch=128, steps=steps, classes=3862, beam_width=1, logits=logits)
        for logits in ("flat", "peaked")
        for steps in (50, 64, 128)
    ]
    + [
        Case(batch=32, steps=50, classes=3862, beam_width=10, logits="flat"),
        Case(batch=32, steps=50, classes=3862, beam_width=10, logits="peaked"),
    ]
    + [
        Case(batch=16, steps=50, classes=3862, beam_width=100, logits="flat"),
        Case(batch=16, steps=50, classes=3862, beam_width=100, logits="peaked"),
        Case(batch=128, steps=50, classes=37, beam_width=1, logits="flat"),
    ]
)


@dataclass(frozen=True)
class Timing:
    """The median seconds of each decoder for one case."""

    case: Case
    seconds: Dict[str, float]

    @property
    def speedup(self) -> float:
        """Return the seconds of the stock op divided by those of the fast decoder."""
        return self.seconds["stock"] / self.seconds["fast"]


def parse_case(text: str) -> List[Case]:
    """Parse `128x50x3862:1` into two cases, flat and peaked logits; raises UsageError."""
    match = re.match(r"([0-9]+)x([0-9]+)x([0-9]+):([0-9]+)\Z", text)
    numbers = [int(number) for number in match.groups()] if match else []
    if not numbers:
        raise UsageError(f"--case: {text!r} is not BATCHxSTEPSxCLASSES:WIDTH, as in 128x50x3862:1")
    batch, steps, classes, width = numbers
    if min(numbers) < 1:
        raise UsageError(f"--case: {text!r} has a 0; batch, steps, classes and width are at least 1")
    if classes < 2:
        raise UsageError(f"--case: {text!r} has 1 class; expected at least 2, a label and the blank")
    return [
        Case(batch=batch, steps=steps, classes=classes, beam_width=width, logits=logits)
        for logits in ("flat", "peaked")
    ]


def machine() -> Dict[str, str]:
    """Return a description of the machine and TensorFlow, for the figures."""
    return {
        "tensorflow": tf.version.VERSION,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def time_decoders(cases: Sequence[Case], *, repeats: int, say: Say) -> List[Timing]:
    """Time every decoder on every case in one process, each `repeats` times after a first run.

    Runs of milliseconds are repeated until they take half a second, before and while they are timed. The logits are
    variables, so that feeding is not timed; nothing is fetched.
    """
    timings = []
    for case in cases:
        begin(say, f"timing {case}")
        timing = Timing(case, _time_case(case, repeats))
        say("bench", f"{case}: {', '.join('{} {:.3g} s'.format(*item) for item in timing.seconds.items())}")
        timings.append(timing)
    return timings


def _time_case(case: Case, repeats: int) -> Dict[str, float]:
    values = make_logits(case)
    with tf.Graph().as_default(), v1_control_flow(), open_session() as session:
        variable = tf.get_variable("logits", values.shape, trainable=False, use_resource=False)
        arriving = tf.placeholder(tf.float32, values.shape)
        session.run(tf.assign(variable, arriving).op, {arriving: values})
        logits, lengths = tf.identity(variable), tf.fill([case.batch], case.steps)
        targets = {name: _targets(name, logits, lengths, case) for name in DECODERS}
        return {name: _median_seconds(session, ops, repeats) for name, ops in targets.items()}


def _targets(decoder: str, logits: tf.Tensor, lengths: tf.Tensor, case: Case) -> List[tf.Operation]:
    """Return the operations that compute the best path, without its log-probability.

    They are run directly, since TensorFlow prunes a tf.group of them.
    """
    if decoder == "greedy":
        (best,), _ = tf.nn.ctc_greedy_decoder(logits, lengths)
    elif decoder == "stock":
        (best,), _ = tf.nn.ctc_beam_search_decoder(logits, lengths, case.beam_width, 1, merge_repeated=False)
    else:
        (best,), _ = ctc.beam_search(logits, lengths, beam_width=case.beam_width, top_paths=1, merge_repeated=False)
    return [best.indices.op, best.values.op, best.dense_shape.op]


def _median_seconds(session: tf.Session, targets: List[tf.Operation], repeats: int) -> float:
    # TensorFlow gives an op to another thread until it has seen some 100 times that the op is short.
    _run(session, targets, 1)
    return statistics.median(_run(session, targets, repeats))


def _run(session: tf.Session, targets: List[tf.Operation], least: int) -> List[float]:
    """Run the operations at least so often, and for some time; returns the seconds of each run."""
    seconds: List[float] = []
    while len(seconds) < least or sum(seconds) < _LEAST_SECONDS:
        start = time.perf_counter()
        session.run(targets)
        seconds.append(time.perf_counter() - start)
    return seconds


def make_logits(case: Case) -> np.ndarray:
    """Return random logits of the case, float32 [steps, batch, classes]."""
    random = np.random.RandomState(0)
    logits = random.standard_normal((case.steps, case.batch, case.classes)).astype("float32")
    if case.logits == "peaked":
        # Three steps of four say blank, the others a label, both by a wide margin.
        peaks = random.randint(0, case.classes - 1, (case.steps, case.batch))
        peaks[random.uniform(size=peaks.shape) < 0.75] = case.classes - 1
        np.put_along_axis(logits, peaks[:, :, np.newaxis], 15, axis=2)
    return logits


def as_content(timings: Sequence[Timing]) -> Dict[str, Any]:
    """Return the JSON content of the figures."""
    rows = [dict(vars(timing.case), seconds=timing.seconds, speedup=timing.speedup) for timing in timings]
    return dict(machine(), cases=rows)
