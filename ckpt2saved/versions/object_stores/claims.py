"""Claims of version numbers in an object store, and what killed publishers have left there.

A claim is the object `.ckpt2saved/claims/N`, which can be created once. Claims stay when a version is deleted, so that
its number is never used again.
"""

from __future__ import annotations

import datetime
import json
import socket
import uuid
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from ckpt2saved.errors import VersionError
from ckpt2saved.files.json_text import read_json
from ckpt2saved.files.reading import TooLarge, printable
from ckpt2saved.versions.base import number_after, parse_version
from ckpt2saved.versions.object_stores.store import ObjectStore, StoredObject
from ckpt2saved.versions.object_stores.versions_in_store import StoredVersion, versions_among
from ckpt2saved.versions.stage import STAGING

OWN = ".ckpt2saved/"  # TF Serving reads no number in it
_CLAIMS = OWN + "claims/"
_PROBES = OWN + "probe-"
_MOST_BYTES = 1 << 16  # of a claim
_ABANDONED_AFTER = datetime.timedelta(hours=24)


def claim_key(number: int) -> str:
    """Return the key of the claim of a number."""
    return f"{_CLAIMS}{number}"


def claimed(objects: Iterable[StoredObject]) -> Dict[int, StoredObject]:
    """Return number -> claim of it, in a listing of the base."""
    names = ((one.key[len(_CLAIMS) :], one) for one in objects if one.key.startswith(_CLAIMS))
    return {int(name): one for name, one in names if name.isdigit() and parse_version(name) is not None}


def next_number(store: ObjectStore, objects: Sequence[StoredObject], requested: Optional[int]) -> int:
    """Return the number that follows all versions and claims of a listing; `requested` if it is larger."""
    names = {one.key.partition("/")[0] for one in objects}
    numbers = {parse_version(name): f"{store.url}/{printable(name)}" for name in sorted(names)}
    found = {number: where for number, where in numbers.items() if number is not None}
    for number in claimed(objects):
        found.setdefault(number, f"a claim of {store.url}/{number}")
    newest = max(found, default=None)
    return number_after(store.url, requested, newest, "" if newest is None else found[newest])


def prove_exclusive(store: ObjectStore) -> None:
    """Raise VersionError if two processes could create the same object, and so publish under the same number.

    Servers that speak the language of S3 may ignore the condition; an object is created twice to know it.
    """
    found = ""
    if not store.creates_exclusively:
        found = "its driver can't create an object only if it is absent"
    else:
        probe = f"{_PROBES}{uuid.uuid4().hex}"
        store.create(probe, b"probe")
        try:
            store.create(probe, b"probe")
        except FileExistsError:
            pass
        else:
            found = "it has created an object that was there already, though the request forbade that"
        finally:
            store.delete([probe])
    if found:
        raise VersionError(
            f"{store.url}: two publishers could take the same version number in this store: {found}; pass"
            " --single-writer if nothing else publishes under this URL at the same time"
        )


def claim(store: ObjectStore, number: int, stage: str) -> bool:
    """Claim a number for a stage; returns False if another publisher has it."""
    content = {
        "format": 1,
        "stage": stage,
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "host": printable(socket.gethostname()),
    }
    try:
        store.create(claim_key(number), json.dumps(content).encode("utf-8"))
    except FileExistsError:
        return holds(store, number, stage)  # the driver may have repeated a request whose answer was lost
    return True


def holds(store: ObjectStore, number: int, stage: str) -> bool:
    """Return whether the claim of a number is that of this stage."""
    try:
        content = read_json(store.read(claim_key(number), _MOST_BYTES).decode("utf-8"))
    except (FileNotFoundError, TooLarge, ValueError, VersionError):
        return False
    return isinstance(content, dict) and content.get("stage") == stage


def remove_abandoned(store: ObjectStore, objects: Sequence[StoredObject]) -> None:
    """Delete stages and unfinished versions that nobody has written to for a day."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stages: Dict[str, List[StoredObject]] = {}
    for one in objects:
        name = one.key.partition("/")[0]
        if name.startswith(STAGING):
            stages.setdefault(name, []).append(one)
        elif one.key.startswith(_PROBES):
            stages.setdefault(one.key, []).append(one)
    claims = claimed(objects)
    unfinished: List[Tuple[StoredObject, ...]] = [tuple(one) for one in stages.values()]
    for version in versions_among(objects):
        # Without a claim another tool may be writing it.
        if version.number in claims and version.name == str(version.number) and not version.has_graph:
            unfinished.append((*version.objects, claims[version.number]))
    for group in unfinished:
        if all(one.modified is not None and now - one.modified > _ABANDONED_AFTER for one in group):
            store.delete(one.key for one in group if not one.key.startswith(_CLAIMS))


def old_claims(objects: Sequence[StoredObject], versions: Sequence[StoredVersion]) -> Tuple[str, ...]:
    """Return the keys of claims that nobody needs: of deleted versions below the highest one."""
    present = {version.number for version in versions}
    highest = max((version.number for version in versions if version.is_complete), default=0)
    now = datetime.datetime.now(datetime.timezone.utc)
    return tuple(
        one.key
        for number, one in claimed(objects).items()
        if number < highest
        and number not in present
        and one.modified is not None
        and now - one.modified > _ABANDONED_AFTER
    )
