"""Figures of a measurement as tables and as JSON."""

from __future__ import annotations

import platform
from typing import Any, Dict, List, Optional

from ckpt2saved.console.tables import print_figures
from ckpt2saved.server_config.cpus import available_cpus
from ckpt2saved.verification.speed.comparison import CONFIDENCE, Comparison, Ratio
from ckpt2saved.verification.speed.figures import PERCENTILES, Row
from ckpt2saved.verification.speed.profiles import print_profile
from ckpt2saved.verification.speed.sweep import Result
from ckpt2saved.verification.speed.target import SERVER, Target, labels_of

_TEXTS = ("widths", "failures", "stable")  # columns that are not numbers


def as_content(result: Result) -> Dict[str, Any]:
    """Return the JSON content."""
    return {
        "machine": {
            "cpus": available_cpus(),
            "machine": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
        "targets": [_target_content(result, number) for number in range(len(result.measured))],
        "comparison": _comparison_content(result) if result.comparisons else None,
    }


def _target_content(result: Result, number: int) -> Dict[str, Any]:
    measured = result.measured[number]
    target = measured.target
    content = {
        "name": target.name,
        "driver": target.driver,
        "model": target.model,
        "version": target.version,
        "signature": target.signature.name,
        "settings": target.settings.as_content(),
        "gpus": target.gpus,
        "rows": [row.as_content() for row in measured.rows],
    }
    if result.profiles:
        content["profile"] = [one.as_content() for one in result.profiles[number]]
    return content


def _comparison_content(result: Result) -> Dict[str, Any]:
    first, second = (one.target.name for one in result.measured)
    rows = [one.as_content() for one in result.comparisons]
    return {"first": first, "second": second, "confidence": CONFIDENCE, "rows": rows}


def print_result(result: Result) -> None:
    """Print a table for each target, and one that compares two."""
    for number, measured in enumerate(result.measured):
        rows = measured.rows
        is_fixed_rate = any(row.point.rate is not None for row in rows)
        cells = [_cells(row) for row in rows]
        headings = ["planned/s" if is_fixed_rate else "at a time", "batch", "widths", "sent"]
        headings += [f"p{percent} ms" for percent in PERCENTILES]
        headings += ["req/s", "lines/s", "kB/s", "client", "stable", "failures"]
        print_figures(title_of(measured.target), headings, cells, left=_TEXTS)
        for profile in result.profiles[number] if result.profiles else ():
            print_profile(profile)
    if result.comparisons:
        _print_comparisons(result)


def title_of(target: Target) -> str:
    """What was measured, in one line."""
    version = "" if target.version is None else f" {target.version}"
    how = "a server" if target.driver == SERVER else "no server: the C++ loader in a process of its own"
    gpus = {None: "", 0: "", 1: "1 GPU"}.get(target.gpus, f"{target.gpus} GPUs")
    settings = ", ".join(filter(None, [gpus, target.settings.text]))
    return f"{target.name}: signature {target.signature.name} of {target.model}{version}, {how}" + (
        f" ({settings})" if settings else ""
    )


def _cells(row: Row) -> List[str]:
    load = str(row.point.concurrency) if row.point.rate is None else f"{row.point.rate:g}"
    found = ["-"] * len(PERCENTILES) if row.percentiles is None else [f"{one * 1e3:.1f}" for one in row.percentiles]
    failures = ", ".join(f"{kind}: {count}" for kind, count in row.failures.items())
    return [
        load,
        str(row.point.batch),
        row.widths,
        str(row.requests),
        *found,
        f"{row.requests_per_second:.1f}",
        f"{row.lines_per_second:.1f}",
        f"{row.bytes_sent / row.seconds / 1e3:.0f}",
        f"{row.client_cpu * 100:.0f} %",
        "yes" if row.is_stable else "no",
        failures or "none",
    ]


def _print_comparisons(result: Result) -> None:
    first, second = labels_of([one.target for one in result.measured])
    headings = ["load", "p50", "p99", "requests/s"]
    rows = [[str(one.point), *_ratio_cells(one)] for one in result.comparisons]
    title = f"{second} / {first}: ratios, {CONFIDENCE * 100:.0f} % confidence"
    print_figures(title, headings, rows, left=("load",))


def _ratio_cells(comparison: Comparison) -> List[str]:
    return [_ratio_text(comparison.ratios.get(name)) for name in ("p50", "p99", "requests_per_second")]


def _ratio_text(ratio: Optional[Ratio]) -> str:
    if ratio is None:
        return "-"
    return f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})" + ("" if ratio.differs else " =")
