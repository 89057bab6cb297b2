"""Failures of object stores and their drivers, as a VersionError with URL, reason and remedy."""

from __future__ import annotations

import contextlib
from typing import Iterator, List, Optional

from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.errors import VersionError

_MOST_CHARACTERS = 500  # of the store's own text
_REFUSED_STATUS = (401, 403)
_NETWORK = ("connect", "endpoint", "timeout", "resolve", "dns", "ssl", "proxy")


@contextlib.contextmanager
def store_failures(url: str, doing: str, remedy: str = "") -> Iterator[None]:
    """Convert whatever a driver raises in the block into a VersionError; only driver calls belong into the block.

    FileNotFoundError and FileExistsError stay, as they concern a single object.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError, ImportError, VersionError):
        raise
    except Exception as error:  # each driver has exceptions of its own, and of its HTTP client
        raise explained_failure(error, url, doing, remedy) from error


def explained_failure(error: Exception, url: str, doing: str, remedy: str = "") -> VersionError:
    """Return a VersionError that says what failed, the store's own text, and what to do."""
    return VersionError(f"{url}: could not {doing}: {_text(error)}; {remedy or _remedy(error)}")


def status_of(error: BaseException) -> Optional[int]:
    """Return the HTTP status of an answer that a driver raised, or that led to its exception; None if there is none."""
    for one in _causes(error):
        response = getattr(one, "response", None)
        metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
        known = metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None
        for status in (known, getattr(one, "status_code", None), getattr(one, "code", None)):
            if isinstance(status, int):
                return status
    return None


def is_answered(error: BaseException) -> bool:
    """Return whether the store has refused or failed the request, so that it may answer others better."""
    return status_of(error) is not None or any(isinstance(one, PermissionError) for one in _causes(error))


def code_of(error: BaseException) -> str:
    """Return the code of S3 for an error, such as NoSuchBucket; empty if there is none."""
    for one in _causes(error):
        response = getattr(one, "response", None)
        content = response.get("Error") if isinstance(response, dict) else None
        if isinstance(content, dict):
            return str(content.get("Code", ""))
    return ""


def _causes(error: BaseException) -> List[BaseException]:
    found: List[BaseException] = []
    following: Optional[BaseException] = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


def _text(error: Exception) -> str:
    text = one_line(str(error), _MOST_CHARACTERS)
    name = type(error).__name__
    return text if isinstance(error, OSError) and text else f"{name}: {text}" if text else name


def _remedy(error: Exception) -> str:
    names = " ".join(type(one).__name__ for one in _causes(error)).lower()
    if "credential" in names or "token" in names:
        return "give this process credentials of the store, by its environment or by the files of the store's own tools"
    if isinstance(error, PermissionError) or status_of(error) in _REFUSED_STATUS or "Forbidden" in str(error):
        return "use credentials that may list, read, write and delete below this URL, or have these rights granted"
    if any(word in names for word in _NETWORK):
        return "check the network and the address of the store (AWS_ENDPOINT_URL for one that is not Amazon's)"
    return "run again; if it fails again, try the URL with the store's own tools"
