"""Choice of a server's settings: from the number of its CPUs, and from measurements of `bench served`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.compatibility.image import Image
from ckpt2saved.errors import UsageError
from ckpt2saved.server_config.batch_sizes import allowed_sizes
from ckpt2saved.server_config.batching import Batching
from ckpt2saved.server_config.measurements import Load, Measured, Measurements, Row, read_measurements
from ckpt2saved.server_config.settings import BFLOAT16, ONEDNN_VARIABLE, ServerSettings
from ckpt2saved.server_config.version_batching import check_release

LATENCY, THROUGHPUT = "latency", "throughput"

_EQUAL = 0.03  # settings whose figures differ by less are equally good
_ENOUGH = 0.95  # of the most lines a second
_WORTH = 1.1  # times the lines a second of single lines: below it, batching brings nothing
_WAIT = 0.1  # of the time of a batch
# Source: "experiment with batch_timeout_micros values in the 1-10 millisecond range, while keeping in mind that 0 may
# be the optimal value", for servers without GPU: tensorflow_serving/batching/README.md, as also the rule of a batching
# thread for each CPU.
_LONGEST_WAIT = 10000  # microseconds


@dataclass(frozen=True)
class SpeedOptions:
    """What is asked of the settings; None where they are chosen."""

    intra_op: Optional[int] = None
    inter_op: Optional[int] = None
    onednn: Optional[bool] = None
    mixed_precision: Optional[str] = None
    accuracy: Optional[Path] = None  # what `evaluate --json` has printed of a server with mixed precision
    batching: Optional[bool] = None  # None: if measurements say that it is worth it
    batching_per_model: bool = False  # by the parameters in each version
    batching_values: Mapping[str, Any] = field(default_factory=dict)  # of Batching, in place of those chosen
    tune: Optional[Path] = None  # what `bench served --json` has printed
    goal: str = THROUGHPUT
    max_p99: Optional[float] = None  # seconds


@dataclass(frozen=True)
class Chosen:
    """Settings, and why they are so."""

    settings: ServerSettings
    reasons: Tuple[str, ...]
    rows: Tuple[Row, ...] = ()  # the measurements of the settings
    signatures: Tuple[str, ...] = ()  # that were measured
    batching_is_asked: bool = False  # False: a choice, which is dropped where batching would break answers


def parse_sizes(text: str) -> Tuple[int, ...]:
    """Parse increasing numbers with commas between them, as in 1,8,32."""
    words = text.split(",")
    if not all(re.match(r"[0-9]{1,6}\Z", word) for word in words):
        raise ValueError(f"{text!r} is no list of batch sizes; expected increasing ones from 1 on, as in 1,8,32")
    sizes = tuple(int(word) for word in words)
    if sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
        raise ValueError(f"{text!r}: batch sizes must increase, from 1 on, as in 1,8,32")
    return sizes


def choose_settings(
    options: SpeedOptions, image: Image, cpus: Optional[float], *, is_limit: bool, has_gpu: bool = False
) -> Chosen:
    """Choose the settings of a server with so many CPUs, None if that is not known.

    With `is_limit` the server's container is limited to them. Raises UsageError for measurements that cannot be used,
    and for settings that the release does not have.
    """
    _check(options, image)
    chosen = (
        _by_measurements(read_measurements(options.tune), options, cpus)
        if options.tune
        else Chosen(ServerSettings(), ())
    )
    settings, reasons = chosen.settings, list(chosen.reasons)
    settings = _with_threads(settings, options, cpus, reasons, is_limit)
    settings = _with_onednn(settings, options, image, reasons)
    settings = replace(settings, mixed_precision=options.mixed_precision)
    batching = settings.batching
    if options.batching is False:
        batching = None
    elif options.batching and batching is None:
        batching = Batching()
    if batching is not None:
        batching = _completed(batching, options, cpus)
    if batching is not None and chosen.rows and "allowed_batch_sizes" not in options.batching_values:
        sizes, reason = allowed_sizes(chosen.rows, batching.max_batch_size, has_gpu=has_gpu)
        batching = replace(batching, allowed_batch_sizes=sizes)
        reasons += [reason] if reason else []
    return replace(
        chosen,
        settings=replace(settings, batching=batching),
        reasons=tuple(reasons),
        batching_is_asked=bool(options.batching),
    )


def _check(options: SpeedOptions, image: Image) -> None:
    if options.onednn is not None and not image.has_onednn:
        raise UsageError(
            f"--onednn: TF Serving {image.version} does not read {ONEDNN_VARIABLE}; expected 2.5 or later, or leave it"
            " out"
        )
    if options.batching_per_model:
        check_release(image, "--batching-per-model")
    if options.mixed_precision is not None and not image.has_mixed_precision:
        raise UsageError(
            f"--mixed-precision: TF Serving {image.version} has no --mixed_precision; expected 2.15 or later, or leave"
            " it out"
        )
    if options.mixed_precision is not None and options.onednn is False:
        raise UsageError(f"--mixed-precision {BFLOAT16}: TF Serving computes it in oneDNN; leave --onednn off out")


def _with_threads(
    settings: ServerSettings, options: SpeedOptions, cpus: Optional[float], reasons: List[str], is_limit: bool
) -> ServerSettings:
    """Set the threads that are asked for, else those of the measurements, else one for each CPU."""
    if settings.intra_op is None and settings.inter_op is None and cpus is not None:
        count = math.ceil(cpus)
        settings = replace(settings, intra_op=count, inter_op=count)
        if options.intra_op is None or options.inter_op is None:
            whose = "of --cpus" if is_limit else "of this machine; --cpus N if the server has others"
            more = ", as TensorFlow sees all CPUs of the machine, and not the limit" if is_limit else ""
            reasons.append(
                f"{_counted(count, 'thread')} for each op and {count} for ops at once: the CPUs {whose}{more}"
            )
    return replace(
        settings,
        intra_op=settings.intra_op if options.intra_op is None else options.intra_op,
        inter_op=settings.inter_op if options.inter_op is None else options.inter_op,
    )


def _with_onednn(settings: ServerSettings, options: SpeedOptions, image: Image, reasons: List[str]) -> ServerSettings:
    """Set whether oneDNN is on: as asked for, else as measured, else off."""
    if not image.has_onednn:
        return replace(settings, onednn=None)
    if options.onednn is not None:
        return replace(settings, onednn=options.onednn)
    if options.mixed_precision is not None:
        reasons.append(f"oneDNN on: --mixed-precision {options.mixed_precision} needs it")
        return replace(settings, onednn=True)
    if settings.onednn is None:
        default = "on" if image.has_onednn_on else "off"
        reasons.append(
            f"oneDNN off, as when export proved the answers (this release's default: {default}); single lines took 1.1"
            " to 1.8 times the CPU time with it, batches of 32 took 0.76 of it: --onednn on, or measure: --tune"
        )
        return replace(settings, onednn=False)
    return settings


def _completed(batching: Batching, options: SpeedOptions, cpus: Optional[float]) -> Batching:
    """Fill in the values that are asked for, and a batching thread for each CPU."""
    if batching.threads is None and cpus is not None:
        batching = replace(batching, threads=math.ceil(cpus))
    batching = replace(batching, **options.batching_values)
    sizes = batching.allowed_batch_sizes
    if not sizes or sizes[-1] == batching.max_batch_size:
        return batching
    if "max_batch_size" in options.batching_values:
        raise UsageError(
            f"--allowed-batch-sizes: the last one must be --max-batch-size, {batching.max_batch_size}, not {sizes[-1]};"
            " a server does not load a model otherwise"
        )
    return replace(batching, max_batch_size=sizes[-1])


# Measurements


@dataclass(frozen=True)
class _Candidate:
    """The measurements of one setting, of all targets that had it."""

    settings: ServerSettings  # without batching
    rows: Mapping[Load, Row]


def _by_measurements(measurements: Measurements, options: SpeedOptions, cpus: Optional[float]) -> Chosen:
    candidates = _candidates(measurements.targets, options)
    if not candidates:
        dropped = sum(target.dropped for target in measurements.targets)
        others = sum(len(target.rows) for target in measurements.targets)
        raise UsageError(
            f"--tune {options.tune}: no row can be used: {dropped} had failed requests or were not stable, and"
            f" {others} were measured with another --mixed-precision; measure again"
        )
    reasons: List[str] = []
    dropped = sum(target.dropped for target in measurements.targets)
    if dropped:
        reasons.append(f"{_counted(dropped, 'row')} of {options.tune} with failed requests, or not stable, left out")
    best = _best(candidates, options, reasons)
    settings = _fitted(best.settings, measurements.cpus, cpus, reasons)
    rows = tuple(best.rows.values())
    batching = _batching(rows, options, reasons)
    signatures = tuple(sorted({row.load.signature for row in rows if row.load.signature}))
    return Chosen(replace(settings, batching=batching), tuple(reasons), rows=rows, signatures=signatures)


def _candidates(targets: Sequence[Measured], options: SpeedOptions) -> List[_Candidate]:
    """The measured settings, in the order of the file; those with another precision than asked for are left out."""
    found: Dict[ServerSettings, Dict[Load, Row]] = {}
    for target in targets:
        if target.rows and target.settings.mixed_precision == options.mixed_precision:
            found.setdefault(replace(target.settings, batching=None), {}).update({row.load: row for row in target.rows})
    return [_Candidate(settings, rows) for settings, rows in found.items()]


def _best(candidates: Sequence[_Candidate], options: SpeedOptions, reasons: List[str]) -> _Candidate:
    """The best setting at the loads that all were measured at; of equal ones that with the fewest threads."""
    allowed = [one for one in candidates if _is_allowed(one.settings, options)]
    if not allowed:
        raise UsageError(
            f"--tune {options.tune}: no setting was measured that --onednn, --intra-op and --inter-op allow"
        )
    loads = set(allowed[0].rows).intersection(*(one.rows for one in allowed))
    if len(allowed) > 1 and not loads:
        raise UsageError(
            f"--tune {options.tune}: the settings were measured at no load in common, so they cannot be compared"
        )
    costs = {one.settings: _cost(one, loads, options) for one in allowed}
    lowest = min(costs.values())
    if math.isinf(lowest):
        limit = "answers" if options.max_p99 is None else f"answers within --max-p99 {options.max_p99:g} s"
        raise UsageError(f"--tune {options.tune}: no setting {limit} at any load")
    if len(allowed) == 1:
        reasons.append(f"{_named(allowed[0].settings)}: the only setting with rows that count")
        return allowed[0]
    good = [one for one in allowed if costs[one.settings] <= lowest * (1 + _EQUAL)]
    best = min(good, key=lambda one: _size(one.settings))
    others = sorted((one for one in allowed if one is not best), key=lambda one: costs[one.settings])
    compared = ", ".join(f"{_figure(costs[one.settings], options)} with {_named(one.settings)}" for one in others[:3])
    more = f", and {len(others) - 3} more" if len(others) > 3 else ""
    reasons.append(
        f"{_named(best.settings)}: {_figure(costs[best.settings], options)} "
        f"({_goal_text(options)}, {_counted(len(loads), 'load')}), against {compared}{more}"
    )
    return best


def _is_allowed(settings: ServerSettings, options: SpeedOptions) -> bool:
    pairs = (
        (options.intra_op, settings.intra_op),
        (options.inter_op, settings.inter_op),
        (options.onednn, settings.onednn),
    )
    return all(asked is None or measured is None or asked == measured for asked, measured in pairs)


def _cost(candidate: _Candidate, loads: Any, options: SpeedOptions) -> float:
    """The geometric mean, over signatures of seconds a line or over loads of p99; infinite if over the limit."""
    if options.goal == LATENCY:
        return _mean([candidate.rows[load].p99 for load in loads])
    fastest: Dict[Tuple[str, str], float] = {}
    for load in loads:
        row = candidate.rows[load]
        if options.max_p99 is None or row.p99 <= options.max_p99:
            asked = (load.model, load.signature)
            fastest[asked] = max(fastest.get(asked, 0.0), row.lines_per_second)
    if set(fastest) != {(load.model, load.signature) for load in loads} or not all(fastest.values()):
        return math.inf
    return _mean([1 / speed for speed in fastest.values()])


def _mean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(max(value, 1e-9)) for value in values) / len(values))


def _size(settings: ServerSettings) -> Tuple[bool, int]:
    return bool(settings.onednn), (settings.intra_op or 0) + (settings.inter_op or 0)


def _goal_text(options: SpeedOptions) -> str:
    if options.goal == LATENCY:
        return "p99, the mean of"
    limit = f" with a p99 of at most {options.max_p99:g} s" if options.max_p99 is not None else ""
    return f"the most lines a second{limit}, the best of"


def _figure(cost: float, options: SpeedOptions) -> str:
    if options.goal == LATENCY:
        return f"{1000 * cost:.3g} ms"
    return "none" if math.isinf(cost) else f"{1 / cost:.3g} lines a second"


def _named(settings: ServerSettings) -> str:
    parts = [] if settings.intra_op is None else [f"{_counted(settings.intra_op, 'thread')} for each op"]
    parts += [] if settings.inter_op is None else [f"{settings.inter_op} for ops at once"]
    parts += [] if settings.onednn is None else [f"oneDNN {'on' if settings.onednn else 'off'}"]
    parts += [] if settings.mixed_precision is None else [settings.mixed_precision]
    return ", ".join(parts) or "settings that the server chose"


def _fitted(
    settings: ServerSettings, measured: Optional[float], cpus: Optional[float], reasons: List[str]
) -> ServerSettings:
    """The threads for a server with another number of CPUs than the machine of the measurements."""
    if measured is None or cpus is None or math.ceil(measured) == math.ceil(cpus):
        return settings
    there, here = math.ceil(measured), math.ceil(cpus)

    def fitted(threads: Optional[int]) -> Optional[int]:
        return threads if threads is None or threads == 1 else max(1, round(threads * here / there))

    reasons.append(
        f"measured with {there} CPUs, and the server has {here}: threads beyond one are in proportion; measure there"
    )
    return replace(settings, intra_op=fitted(settings.intra_op), inter_op=fitted(settings.inter_op))


def _batching(rows: Sequence[Row], options: SpeedOptions, reasons: List[str]) -> Optional[Batching]:
    """Parameters by the number of lines a second at each size of a request; None if batching is not worth it.

    A batch that a server joins costs what a request of its size costs.
    """
    within = [row for row in rows if row.load.rate is None and (options.max_p99 is None or row.p99 <= options.max_p99)]
    fastest: Dict[int, Row] = {}
    for row in within:
        if row.load.batch not in fastest or row.lines_per_second > fastest[row.load.batch].lines_per_second:
            fastest[row.load.batch] = row
    if len(fastest) < 2:
        reasons.append("batching: not judged, as one size of requests was measured")
        return None
    smallest = min(fastest)
    most = max(row.lines_per_second for row in fastest.values())
    size = min(batch for batch, row in fastest.items() if row.lines_per_second >= _ENOUGH * most)
    before, after = fastest[smallest].lines_per_second, fastest[size].lines_per_second
    compared = f"{after:.3g} lines a second in requests of {size}, {before:.3g} in requests of {smallest}"
    if before <= 0 or size == smallest or after < _WORTH * before:
        reasons.append(f"no batching: it would bring nothing ({compared})")
        return None
    wait = 0 if options.goal == LATENCY else min(_LONGEST_WAIT, round(1e6 * _WAIT * fastest[size].p50))
    threads = _threads([row for row in within if row.load.batch == size])
    reasons.append(
        f"batches of {size}: {compared}; larger ones bring less than {100 * (1 - _ENOUGH):.0f} % more"
        f"; a wait of {wait} µs for a batch to fill, {'as latency is the goal' if not wait else 'a tenth of its time'}"
        + (f"; {_counted(threads, 'batch', 'batches')} at once were as fast as more" if threads else "")
    )
    return Batching(max_batch_size=size, timeout_micros=wait, threads=threads)


def _threads(rows: Sequence[Row]) -> Optional[int]:
    """The fewest clients with nearly the most lines a second; None if one number of clients was measured."""
    if len({row.load.concurrency for row in rows}) < 2:
        return None
    most = max(row.lines_per_second for row in rows)
    return min(row.load.concurrency for row in rows if row.lines_per_second >= _ENOUGH * most)


def _counted(count: int, what: str, plural: str = "") -> str:
    return f"{count} {what if count == 1 else plural or what + 's'}"
