"""One base URL in an object store: listing, reading, writing and deleting of its objects, by fsspec."""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ContextManager, Dict, Generator, Iterable, Iterator, Optional, Tuple

from ckpt2saved.errors import VersionError
from ckpt2saved.files.reading import TooLarge, printable
from ckpt2saved.files.write_errors import writing
from ckpt2saved.versions.object_stores.drivers import Driver, driver_of
from ckpt2saved.versions.object_stores.failures import code_of, explained_failure, store_failures
from ckpt2saved.versions.object_stores.url import checked_url, scheme_of

_PIECE = 8 << 20  # bytes of one request
_LARGEST = 2**63 - 1  # bytes of an object
_NO_BUCKET = ("NoSuchBucket",)
_MAKE_BUCKET = "create the bucket, or correct its name"
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")  # keys of the drivers


@dataclass(frozen=True)
class StoredObject:
    """An object below the base URL, as the store lists it."""

    key: str  # relative to the base URL, separated by "/"; untrusted
    size: int
    modified: Optional[datetime.datetime]  # None if the store does not say it


class ObjectStore:
    """The objects below one base URL. Create it with open_store().

    Failures raise VersionError; a missing object FileNotFoundError.
    """

    def __init__(self, url: str, files: Any, path: str, driver: Driver) -> None:
        self.url = url
        self._files = files
        self._path = path.rstrip("/")
        self._driver = driver

    @property
    def creates_exclusively(self) -> bool:
        """Return whether create() is atomic in stores of this kind; a server may ignore the condition nevertheless."""
        return self._driver.creates_exclusively

    def objects(self, prefix: str = "") -> Tuple[StoredObject, ...]:
        """Return all objects whose key is below the directory `prefix`, sorted by key; () if there are none."""
        path = self._of(prefix.rstrip("/")) if prefix else self._path
        with self._failures("list it"):
            self._files.invalidate_cache()
            try:
                found = self._files.find(path, detail=True)
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
                return ()
        return tuple(sorted((one for one in map(self._object, found.items()) if one), key=lambda one: one.key))

    def children(self) -> Tuple[str, ...]:
        """Return the names of the first level, sorted; () if there are none."""
        with self._failures("list it"):
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._path, detail=False)
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
                return ()
        keys = (self._key(name.rstrip("/")) for name in found)
        return tuple(sorted({key.partition("/")[0] for key in keys if key}))

    def read(self, key: str, most: int) -> bytes:
        """Return the content of an object; raises TooLarge above `most` bytes."""
        with self._failures(f"read {key}"), self._opened(key) as file:
            data: bytes = file.read(most + 1)
        if len(data) > most:
            raise TooLarge(errno.EFBIG, f"more than {most} bytes", f"{self.url}/{printable(key)}")
        return data

    def download(self, key: str, path: Path, most: int) -> None:
        """Write the content of an object into a new file; an error of that file is an OSError with its name.

        Of a larger object than `most` bytes a little more is written, however much the store sends.
        """
        with contextlib.closing(self._pieces(key, most)) as pieces:
            first = next(pieces, b"")  # before the file is created
            with path.open("xb") as copy:
                for piece in itertools.chain((first,), pieces):
                    with writing(path):
                        copy.write(piece)

    def sha256(self, key: str, most: int) -> str:
        """Return the SHA-256 of the content of an object, which is read for that: little more than `most` bytes."""
        digest = hashlib.sha256()
        with contextlib.closing(self._pieces(key, most)) as pieces:
            for piece in pieces:
                digest.update(piece)
        return digest.hexdigest()

    def _pieces(self, key: str, most: int) -> Generator[bytes, None, None]:
        """Yield the content of an object, up to the first byte that is too many."""
        doing = f"read {key}"
        left = most + 1
        with contextlib.ExitStack() as opened:
            with self._failures(doing):
                file = opened.enter_context(self._opened(key))
            while left > 0:
                with self._failures(doing):
                    piece: bytes = file.read(min(_PIECE, left))
                if not piece:
                    return
                left -= len(piece)
                yield piece

    def upload(self, path: Path, key: str) -> None:
        """Write the content of a file into an object."""
        with self._failures(f"write {key}"), self._with_bucket():
            self._files.put_file(str(path), self._of(key))

    def copy(self, source: str, target: str) -> None:
        """Copy an object; the store's server does it."""
        with self._failures(f"copy {source} to {target}"):
            self._driver.copy(self._files, self._of(source), self._of(target))

    def create(self, key: str, data: bytes) -> None:
        """Create an object; raises FileExistsError if it exists, or if another process is creating it."""
        with self._failures(f"create {key}"), self._with_bucket():
            self._driver.create(self._files, self._of(key), data)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects one after the other; it is no error if one is missing."""
        for key in keys:
            with self._failures(f"delete {key}"):
                try:
                    self._files.rm_file(self._of(key))
                except FileNotFoundError as error:
                    self._refuse_missing_bucket(error)

    def _failures(self, doing: str) -> ContextManager[None]:
        return store_failures(self.url, printable(doing))

    @contextlib.contextmanager
    def _with_bucket(self) -> Iterator[None]:
        """Convert a missing object into a missing bucket, since a new object needs nothing else."""
        try:
            yield
        except FileNotFoundError as error:
            raise explained_failure(error, self.url, "write", _MAKE_BUCKET) from error

    def _refuse_missing_bucket(self, error: FileNotFoundError) -> None:
        if code_of(error) in _NO_BUCKET:
            raise explained_failure(error, self.url, "find the bucket", _MAKE_BUCKET) from error

    def _opened(self, key: str) -> Any:
        return self._files.open(self._of(key), "rb", block_size=_PIECE, cache_type="readahead")

    def _of(self, key: str) -> str:
        return f"{self._path}/{key}"

    def _key(self, path: str) -> Optional[str]:
        """Return the key of a path of fsspec; None if it is not below the base."""
        path = path if self._path.startswith("/") else path.lstrip("/")
        return path[len(self._path) + 1 :] if path.startswith(self._path + "/") else None

    def _object(self, item: Tuple[str, Dict[str, Any]]) -> Optional[StoredObject]:
        path, details = item
        key = self._key(path)
        if not key or details.get("type") == "directory":
            return None
        return StoredObject(key, self._size(key, details), _time(details))

    def _size(self, key: str, details: Dict[str, Any]) -> int:
        try:
            size = int(details.get("size") or 0)
            if 0 <= size <= _LARGEST:
                return size
        except (TypeError, ValueError, OverflowError):
            pass
        raise VersionError(
            f"{self.url}/{printable(key)}: the store lists it with a size that no object has; look at it with the"
            " store's own tools"
        )


def open_store(url: str) -> ObjectStore:
    """Return the store of a base URL; nothing is read yet.

    Raises VersionError if the URL can be none of a base directory, or if its driver is not installed.
    """
    base = checked_url(url)
    driver = driver_of(scheme_of(base))
    try:
        from fsspec.core import url_to_fs

        with store_failures(base, "open it"):
            files, path = url_to_fs(base, use_listings_cache=False, skip_instance_cache=True, **driver.arguments())
    except ImportError as error:
        package = (
            f"'ckpt2saved[{driver.extra}]'" if driver.extra else "fsspec, and the driver that it names for this URL"
        )
        raise VersionError(f"{base}: its driver is not installed ({error}); pip install {package}") from error
    return ObjectStore(base, files, str(path), driver)


def _time(details: Dict[str, Any]) -> Optional[datetime.datetime]:
    """Return the time of the last change in UTC."""
    value = next((details[key] for key in _TIMES if details.get(key)), None)
    try:
        if isinstance(value, str):
            # Python 3.7 reads neither Z nor a number of digits other than 3 and 6.
            value = datetime.datetime.strptime(value[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)
        elif isinstance(value, (int, float)):
            value = datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
        if not isinstance(value, datetime.datetime):
            return None
        utc = datetime.timezone.utc
        return value.astimezone(utc) if value.tzinfo else value.replace(tzinfo=utc)
    except (ValueError, OverflowError, OSError):
        return None
