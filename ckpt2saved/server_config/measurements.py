"""What `bench served --json` has printed: the speed of a served version at several loads, for each setting."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from ckpt2saved.errors import UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.json_text import read_json_file
from ckpt2saved.server_config.settings import ServerSettings

_OPTION = "--tune"
_MOST_PROBLEMS = 10
_EXPECTED = "expected what ckpt2saved bench served --json prints"


@dataclass(frozen=True)
class Load:
    """How a version was asked; measurements at equal loads can be compared."""

    model: str
    signature: str
    concurrency: int = 1
    batch: int = 1
    rate: Optional[float] = None  # requests a second; None: each client sends its next request after an answer
    widths: str = "null"  # of the pictures, as JSON


@dataclass(frozen=True)
class Row:
    """The measurement at one load; times in seconds."""

    load: Load
    p50: float
    p99: float
    requests_per_second: float
    lines_per_second: float
    bytes_per_answer: float


@dataclass(frozen=True)
class Measured:
    """The measurements of one target with one setting, without rows that had failures."""

    name: str
    driver: str
    settings: ServerSettings
    rows: Tuple[Row, ...]
    dropped: int  # rows with failed requests, or that did not become stable


@dataclass(frozen=True)
class Measurements:
    """All measurements of a file."""

    cpus: Optional[float]
    targets: Tuple[Measured, ...]


def read_measurements(path: Path) -> Measurements:
    """Read the file; raises UsageError with everything that is wrong in it."""
    content = read_json_file(path, f"{_OPTION} {path}", _EXPECTED)
    reader = _Reader()
    found = reader.measurements(content)
    if reader.problems:
        raise UsageError(f"{_OPTION} {path}: {_EXPECTED}", reader.problems[:_MOST_PROBLEMS])
    return found


class _Reader:
    """Reads a JSON content, and collects what is wrong."""

    def __init__(self) -> None:
        self.problems: List[Problem] = []

    def measurements(self, content: Any) -> Measurements:
        top = self._record(content, "the file")
        if top.get("format") != 1:
            self._wrong("format", top.get("format"), "1")
            return Measurements(None, ())
        cpus = self._value(self._record(top.get("machine"), "machine"), "cpus", "machine", _amount_or_null)
        targets = [
            self._target(self._record(one, where), where) for where, one in self._list(top, "targets", "the file")
        ]
        return Measurements(cpus, tuple(targets))

    def _target(self, content: Dict[str, Any], where: str) -> Measured:
        model, signature = (self._value(content, key, where, _text_or_null) or "" for key in ("model", "signature"))
        settings = self._settings(content.get("settings"), f"{where}.settings")
        rows = [(self._record(one, place), place) for place, one in self._list(content, "rows", where)]
        asked = Load(model=model, signature=signature)
        good = [self._row(row, place, asked) for row, place in rows]
        usable = tuple(row for row in good if row is not None)
        name, driver = (self._value(content, key, where, _text) or "" for key in ("name", "driver"))
        return Measured(name=name, driver=driver, settings=settings, rows=usable, dropped=len(rows) - len(usable))

    def _settings(self, content: Any, where: str) -> ServerSettings:
        found = self._record(content, where)
        before = len(self.problems)
        for key, check in _SETTINGS.items():
            self._value(found, key, where, check)
        batching = found.get("batching")
        if batching is not None:
            record = self._record(batching, f"{where}.batching")
            for key, check in _BATCHING.items():
                self._value(record, key, f"{where}.batching", check)
            batching = {key: record.get(key) for key in _BATCHING}
        if len(self.problems) > before:
            return ServerSettings()
        return ServerSettings.from_content(dict({key: found.get(key) for key in _SETTINGS}, batching=batching))

    def _row(self, row: Dict[str, Any], where: str, asked: Load) -> Optional[Row]:
        before = len(self.problems)
        failures = self._record(row.get("failures"), f"{where}.failures")
        if failures:  # without percentiles, if no request was answered
            return None
        concurrency, batch = (self._value(row, key, where, _count) for key in ("concurrency", "batch"))
        rate = self._value(row, "rate", where, _amount_or_null)
        numbers = [
            self._value(row, key, where, _amount)
            for key in ("p50", "p99", "requests_per_second", "lines_per_second", "bytes_received", "requests")
        ]
        stable = self._value(row, "stable", where, _truth)
        if len(self.problems) > before or not stable:
            return None
        p50, p99, requests_per_second, lines_per_second, received, requests = numbers
        widths = json.dumps(row.get("widths"), sort_keys=True)
        return Row(
            load=replace(asked, concurrency=concurrency, batch=batch, rate=rate, widths=widths),
            p50=p50,
            p99=p99,
            requests_per_second=requests_per_second,
            lines_per_second=lines_per_second,
            bytes_per_answer=received / max(requests, 1),
        )

    def _record(self, content: Any, where: str) -> Dict[str, Any]:
        if isinstance(content, dict):
            return content
        self._wrong(where, content, "an object")
        return {}

    def _list(self, content: Dict[str, Any], key: str, where: str) -> List[Tuple[str, Any]]:
        found = content.get(key)
        if isinstance(found, list):
            place = key if where == "the file" else f"{where}.{key}"
            return [(f"{place}[{number}]", one) for number, one in enumerate(found)]
        self._wrong(f"{where}: {key}", found, "a list")
        return []

    def _value(self, content: Dict[str, Any], key: str, where: str, check: Callable[[Any], str]) -> Any:
        found = content.get(key)
        expected = check(found)
        if expected:
            self._wrong(f"{where}.{key}", found, expected)
            return None
        return found

    def _wrong(self, where: str, found: Any, expected: str) -> None:
        text = json.dumps(found, ensure_ascii=True)
        shown = text if len(text) <= 40 else text[:40] + "…"
        self.problems.append(Problem("wrong-value", where, f"{shown} where {expected} is expected"))


_LARGEST = 1e15  # of any measurement; far below what is no float any more


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _amount(value: Any) -> str:
    return "" if _is_number(value) and value >= 0 else "a number from 0 on"


def _amount_or_null(value: Any) -> str:
    return "" if value is None or (_is_number(value) and value > 0) else "a number above 0, or null"


def _count(value: Any) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) and value > 0 else "a whole number from 1 on"


def _count_or_null(value: Any) -> str:
    return "" if value is None or not _count(value) else "a whole number from 1 on, or null"


def _whole(value: Any) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else "a whole number from 0 on"


def _counts(value: Any) -> str:
    is_list = isinstance(value, list) and not any(map(_count, value))
    return "" if is_list else "a list of whole numbers"


def _truth(value: Any) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _truth_or_null(value: Any) -> str:
    return "" if value is None or isinstance(value, bool) else "true, false or null"


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "a text"


def _text_or_null(value: Any) -> str:
    return "" if value is None or isinstance(value, str) else "a text, or null"


_SETTINGS: Dict[str, Callable[[Any], str]] = {
    "intra_op": _count_or_null,
    "inter_op": _count_or_null,
    "onednn": _truth_or_null,
    "mixed_precision": _text_or_null,
}
_BATCHING: Dict[str, Callable[[Any], str]] = {
    "max_batch_size": _count,
    "timeout_micros": _whole,
    "pad_inputs": _truth,
    "equal_shapes": _truth,
    "threads": _count_or_null,
    "allowed_batch_sizes": _counts,
}
