"""The state of a sync in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from typing import Iterable, List, Optional, Tuple

from ckpt2saved.versions.syncing.state import FAILURES, ModelState, SyncState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PREFIX = "ckpt2saved_sync_"
_Labels = Tuple[Tuple[str, str], ...]
_Sample = Tuple[str, _Labels, Optional[float]]  # suffix of the name; None: there is no value yet


def metrics_text(state: SyncState) -> str:
    """Return all metrics."""
    models = state.models
    families = (
        _family(
            "last_success_timestamp_seconds",
            "gauge",
            "Time at which the newest complete version of the source was found or put into the local base directory.",
            [("", _of(model), model.last_success) for model in models],
        ),
        _family(
            "remote_version",
            "gauge",
            "Newest complete version of the source.",
            [("", _of(model), model.remote) for model in models],
        ),
        _family(
            "local_version",
            "gauge",
            "Newest version of the local base directory.",
            [("", _of(model), model.local) for model in models],
        ),
        _family(
            "ready",
            "gauge",
            "1 if the local base directory has a complete version.",
            [("", _of(model), int(model.has_version)) for model in models],
        ),
        _family(
            "downloads_total",
            "counter",
            "Versions that were downloaded and published.",
            [("", _of(model), model.downloads) for model in models],
        ),
        _family(
            "downloaded_bytes_total",
            "counter",
            "Bytes of these versions.",
            [("", _of(model), model.downloaded_bytes) for model in models],
        ),
        _family(
            "failures_total",
            "counter",
            "Failures: source (not readable), damaged (a version is not what was published), local (the base directory"
            " can't be written), prune.",
            [("", (*_of(model), ("kind", kind)), model.failures[kind]) for model in models for kind in FAILURES],
        ),
        _family(
            "download_duration_seconds",
            "summary",
            "Time for the downloads of published versions.",
            [sample for model in models for sample in _summary(model, model.downloads, model.download_seconds)],
        ),
        _family(
            "round_duration_seconds",
            "summary",
            "Time of the rounds, each with a listing of the source.",
            [sample for model in models for sample in _summary(model, model.rounds, model.round_seconds)],
        ),
    )
    return "".join(line + "\n" for family in families for line in family)


def _of(model: ModelState) -> _Labels:
    return (("model", model.name),)


def _summary(model: ModelState, count: int, seconds: float) -> List[_Sample]:
    return [("_count", _of(model), count), ("_sum", _of(model), seconds)]


def _family(name: str, kind: str, description: str, samples: Iterable[_Sample]) -> List[str]:
    lines = [f"# HELP {_PREFIX}{name} {description}", f"# TYPE {_PREFIX}{name} {kind}"]
    for suffix, labels, value in samples:
        if value is not None:
            shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
            lines.append(f"{_PREFIX}{name}{suffix}{{{shown}}} {value!r}")
    return lines


def _escaped(text: str) -> str:
    """Return the value of a label; a name that is no UTF-8 has lone surrogates."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
