"""URLs of base directories in object stores."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Union
from urllib.parse import unquote

from ckpt2saved.errors import VersionError
from ckpt2saved.files.reading import PathLike, printable

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LOCAL = re.compile(r"(?i)file:(//)?(?=/)")
_PASSWORD = re.compile(r"(?<=://)[^/@]*:[^/@]*@")
_NOT_WRITABLE = ("ftp", "github", "http", "https")  # no listing, no exclusive creation, or read-only
_EXAMPLE = "s3://BUCKET/models/crnn"


@dataclass(frozen=True)
class VersionUrl:
    """The URL of a version: what a path is for a version in a local directory."""

    base: str
    name: str

    def __str__(self) -> str:
        return f"{self.base}/{printable(self.name)}"

    def __fspath__(self) -> str:
        """Return the text, for messages and shell words; no file of this machine has this name."""
        return str(self)


VersionPlace = Union[Path, VersionUrl]  # where a version is


def is_store_url(text: object) -> bool:
    """Return whether a text is scheme://...; not file:///directory, which is a local directory."""
    return isinstance(text, str) and _SCHEME.match(text) is not None and not _LOCAL.match(text)


def local_path(text: PathLike) -> Path:
    """Return the path of a local directory, which may be given as file:///directory."""
    match = _LOCAL.match(os.fspath(text))
    return Path(unquote(os.fspath(text)[match.end() :])) if match else Path(text)


def scheme_of(url: str) -> str:
    """Return the scheme of an URL in lower case: s3."""
    match = _SCHEME.match(url)
    return match.group(1).lower() if match else ""


def without_password(url: str) -> str:
    """Return the URL for messages: what may be a password is left out."""
    return printable(_PASSWORD.sub("...@", url.partition("?")[0]))


def checked_url(url: str) -> str:
    """Return the URL of a directory without a trailing slash; raises VersionError if it can be none."""
    shown = without_password(url)
    match = _SCHEME.match(url)
    if match is None or scheme_of(url) in _NOT_WRITABLE:
        raise VersionError(f"{shown}: not a URL of an object store; expected one such as {_EXAMPLE}")
    if _PASSWORD.search(url):
        raise VersionError(
            f"{shown}: there are credentials in the URL, which would be printed and recorded; pass them by the"
            " environment or the configuration files of the store's own tools, and leave them out of the URL"
        )
    if "?" in url or "#" in url or not url.isprintable():
        raise VersionError(
            f"{shown}: a query, a fragment or control characters are in the URL; expected bucket and directory alone,"
            f" such as {_EXAMPLE}"
        )
    parts = url[match.end() :].rstrip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise VersionError(
            f"{shown}: a part of the path is empty, '.' or '..', or the bucket is missing; expected one such as"
            f" {_EXAMPLE}"
        )
    return scheme_of(url) + "://" + "/".join(parts)
