"""An object store that lists and sends whatever an input says, and the commands that read it."""

from __future__ import annotations

import datetime
import io
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Sequence

import fsspec
from click.testing import CliRunner

from ckpt2saved.cli import main as command_line
from ckpt2saved.versions import PROVENANCE
from ckpt2saved.versions.base import parse_version
from ckpt2saved.versions.object_stores.store import open_store
from ckpt2saved.versions.object_stores.versions_in_store import stored_versions

_URL = "hostile://bucket/m"
_MOST_TIMES = 100  # of an entry that is repeated
_MOST_SENT = 32 << 20  # bytes of one object


class _HostileFiles(fsspec.AbstractFileSystem):
    """The store of one input, which all instances share."""

    protocol = "hostile"
    cachable = False
    listed: Dict[str, Dict[str, Any]] = {}
    sent: Dict[str, int] = {}

    def find(self, path: str, detail: bool = False, **_: Any) -> Any:
        """As s3fs does it; the store may also list what is not below the path."""
        found = {
            name: entry for name, entry in self.listed.items() if name.startswith(path + "/") or entry.get("anywhere")
        }
        if not found:
            raise FileNotFoundError(path)
        return found

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        return _Sending(self, path)

    def exists(self, path: str, **_: Any) -> bool:
        return path in self.listed

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        self.listed[path] = {"name": path, "type": "file", "size": len(value), "bytes": value}

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        if path1 not in self.listed:
            raise FileNotFoundError(path1)
        self.listed[path2] = dict(self.listed[path1], name=path2)

    def rm_file(self, path: str) -> None:
        if self.listed.pop(path, None) is None:
            raise FileNotFoundError(path)


class _Sending(io.RawIOBase):
    """An object that is read, of which all that was sent is counted."""

    def __init__(self, files: _HostileFiles, path: str) -> None:
        super().__init__()
        if path not in files.listed:
            raise FileNotFoundError(path)
        self._entry = files.listed[path]
        self._content = io.BytesIO(self._entry["bytes"])
        self._files, self._path = files, path

    def read(self, size: int = -1) -> bytes:
        data = bytes(size) if self._entry.get("endless") else self._content.read(size)
        self._files.sent[self._path] = self._files.sent.get(self._path, 0) + len(data)
        if self._files.sent[self._path] > _MOST_SENT:
            raise OSError("reset by peer")
        return data


fsspec.register_implementation("hostile", _HostileFiles, clobber=True)


def store_seeds(version: Path) -> List[bytes]:
    """Listings with the files of a version, and with names that lead elsewhere."""
    files = [path.relative_to(version).as_posix() for path in sorted(version.rglob("*")) if path.is_file()]
    time = "2024-05-06T07:08:09Z"

    def entries(name: str) -> List[Dict[str, Any]]:
        return [{"name": f"bucket/m/{name}/{file}", "file": str(version / file), "modified": time} for file in files]

    def texts(*names: str, **more: Any) -> List[Dict[str, Any]]:
        return [{"name": f"bucket/m/{name}", "content": '{"format": 1}', "modified": 1e9, **more} for name in names]

    pruned = {"version": 5, "checkpoint": {"name": "a", "step": 1, "sha256": {"a": "00" * 32}}}
    own = [
        *texts(".ckpt2saved/claims/7", ".ckpt2saved/claims/8", ".staging-1/saved_model.pb", ".ckpt2saved/probe-1"),
        *texts(f".ckpt2saved/published/7-{'a' * 64}"),
        {"name": "bucket/m/.ckpt2saved/pruned/5", "content": json.dumps(pruned), "size": 80},
        {
            "name": f"bucket/m/7/{PROVENANCE.as_posix()}",
            "content": json.dumps(dict(pruned, format=1)),
            "modified": time,
        },
    ]
    odd = [
        "7", "7/../../x", "7//a", "7/a/", "7/a\u0000b", "7/saved_model.pb/a", "\n8/saved_model.pb", "08/saved_model.pb",
        "+9/saved_model.pb", "-1/saved_model.pb", "9223372036854775808/saved_model.pb", "v1\u001b[2J/saved_model.pb",
        ".ckpt2saved/claims/..", ".ckpt2saved/claims/9223372036854775807", ".staging-1/../7/saved_model.pb",
    ]  # fmt: skip
    elsewhere = [
        {"name": name, "content": "x", "anywhere": True} for name in ("/etc/x", "bucket/m", "bucket/mm/9/a", "")
    ]
    when = {"at": [1, 1, 1, 0, 0, 0], "offset": 50000}
    lying = [dict(entry, size=size, modified=when) for entry, size in zip(entries("7"), (10, 2**40, 10))]
    many = texts("#/saved_model.pb", times=_MOST_TIMES) + texts("7/variables/variables.data-00000-of-#####", times=300)
    endless = [dict(entry, size=100, endless=True) for entry in entries("9")]
    listings = (
        entries("6") + entries("7") + own,
        entries("5") + texts(*odd) + elsewhere,
        entries("6") + lying,
        entries("7") + many,
        entries("7") + endless + texts("7/assets.extra/ckpt2saved.json", endless=True),
    )
    return [json.dumps(listing).encode("utf-8") for listing in listings]


def read_store(content: bytes, folder: Path) -> None:
    """List, prune, pull and publish with a store that lists this; JSON alone is a listing."""
    try:
        entries = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return
    _HostileFiles.listed = listed = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            listed.update(_details(entry))
    base = folder / "base"
    _run(["list", _URL])
    _run(["list", _URL, "--deep", "--json"])
    _run(["prune", _URL, "--keep", "1", "--dry-run"])
    _run(["sync", _URL, str(base), "--once", "--quiet"])
    assert set(os.listdir(str(folder))) <= {"base"}, os.listdir(str(folder))
    for path in base.iterdir() if base.exists() else ():
        if parse_version(path.name) is not None:
            assert (path / "saved_model.pb").is_file() or (path / "saved_model.pbtxt").is_file(), list(path.iterdir())
    _run(["bump-version", _URL, "--from", "7", "--single-writer", "--json"])
    _prune()


def _prune() -> None:
    """Delete the old versions; the newest complete one stays."""
    kept = _newest_keys()
    _run(["prune", _URL, "--keep", "1"])
    assert kept <= set(_HostileFiles.listed), kept - set(_HostileFiles.listed)


def _newest_keys() -> Any:
    try:
        complete = [one for one in stored_versions(open_store(_URL)) if one.is_complete and one.number >= 0]
    except Exception:  # the command has the same error, and tells it
        return set()
    return {f"bucket/m/{one.key}" for one in complete[-1].objects} if complete else set()


def _details(entry: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    """What a driver makes of an entry of a listing."""
    name, times = str(entry.get("name", "")), entry.get("times", 1)
    data = _bytes(entry)
    details = {"type": entry.get("type", "file"), "size": entry.get("size", len(data)), "bytes": data}
    details.update({key: entry.get(key) for key in ("endless", "anywhere")}, LastModified=_time(entry.get("modified")))
    numbers = range(min(times, _MOST_TIMES)) if isinstance(times, int) else (0,)
    hashes = name.count("#")
    names = (name.replace("#" * hashes, f"{number:0{max(hashes, 1)}d}") if hashes else name for number in numbers)
    return {one: dict(details, name=one) for one in names}


def _bytes(entry: Dict[str, Any]) -> bytes:
    try:
        return Path(entry["file"]).read_bytes()
    except (KeyError, TypeError, ValueError, OSError):
        return str(entry.get("content", "")).encode("utf-8", "surrogatepass")


def _time(value: Any) -> Any:
    """A time as one of the drivers gives it: a text, a number, or a value with a time zone."""
    try:
        zone = datetime.timezone(datetime.timedelta(seconds=value["offset"]))
        return datetime.datetime(*value["at"], tzinfo=zone)
    except (KeyError, TypeError, ValueError, OverflowError, IndexError):
        return value


def _run(arguments: Sequence[str]) -> None:
    """Run a command, which may end with a message alone, and read little more than what was listed."""
    _HostileFiles.sent = {}
    result = CliRunner().invoke(command_line, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert all(letter.isprintable() or letter == "\n" for letter in result.output), result.output
    for name, count in _HostileFiles.sent.items():
        size = _HostileFiles.listed.get(name, {}).get("size")
        most = max(size if isinstance(size, int) else 0, 4 << 20) + 1
        assert count <= 2 * most, (name, count, most)
