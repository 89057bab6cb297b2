"""Objects whose names say which checkpoints were published in an object store, so that a listing is enough to know it.

For version N that is `.ckpt2saved/published/N-HASH`; it stays when the version is deleted. A version without such an
object, or with a provenance that is newer than it, is read.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import re
from typing import Dict, FrozenSet, List, Optional, Sequence

from ckpt2saved.errors import VersionError
from ckpt2saved.versions.object_stores.claims import OWN
from ckpt2saved.versions.object_stores.store import ObjectStore, StoredObject

_PUBLISHED = OWN + "published/"
_NAME = re.compile(r"(?P<number>[0-9]+)-(?P<digest>[0-9a-f]{64})\Z")


def record_published(store: ObjectStore, name: str, content: FrozenSet[str]) -> None:
    """Create the object of a version with a checkpoint of this content; without it the version is read, as before."""
    if content:
        with contextlib.suppress(FileExistsError, VersionError):
            store.create(_key(name, content), b"published\n")


class RecordedCheckpoints:
    """The objects in a listing of the base."""

    def __init__(self, objects: Sequence[StoredObject]) -> None:
        self._by_name: Dict[str, List[StoredObject]] = {}
        for one in objects:
            match = _NAME.match(one.key[len(_PUBLISHED) :]) if one.key.startswith(_PUBLISHED) else None
            if match:
                self._by_name.setdefault(match.group("number"), []).append(one)

    def rule_out(self, name: str, content: FrozenSet[str], provenance: Optional[StoredObject] = None) -> bool:
        """Return whether a version is known to have, or to have had, another checkpoint.

        `provenance` is the object of a version that is still there.
        """
        found = self._by_name.get(name, [])
        if len(found) != 1 or found[0].key == _key(name, content):
            return False  # of two, as of a version that was replaced by hand, nothing says which is right
        return provenance is None or _is_after(found[0].modified, provenance.modified)

    def has(self, name: str, content: FrozenSet[str]) -> bool:
        """Return whether there is an object that says of a version that it has this checkpoint."""
        return any(one.key == _key(name, content) for one in self._by_name.get(name, []))


def _key(name: str, content: FrozenSet[str]) -> str:
    return f"{_PUBLISHED}{name}-{hashlib.sha256(','.join(sorted(content)).encode('utf-8', 'replace')).hexdigest()}"


def _is_after(recorded: Optional[datetime.datetime], written: Optional[datetime.datetime]) -> bool:
    return recorded is not None and written is not None and recorded >= written
