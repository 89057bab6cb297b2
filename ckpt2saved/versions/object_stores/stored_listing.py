"""The list of the versions in an object store with origin, size and health, and the deletion of old ones."""

from __future__ import annotations

import contextlib
import datetime
import json
import tempfile
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterable, List, Optional, Sequence, Tuple

from ckpt2saved.errors import VersionError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.json_text import read_json
from ckpt2saved.files.reading import TooLarge, printable
from ckpt2saved.saved_model.judgement import EVERYTHING
from ckpt2saved.saved_model.reading import SAVED_MODEL_FILES
from ckpt2saved.versions.base import NumberedPlace, parse_version
from ckpt2saved.versions.deletion import not_deleted, refuse_undeleted
from ckpt2saved.versions.health import content_problems
from ckpt2saved.versions.listing import (
    NEGATIVE,
    Ignored,
    Listing,
    Version,
    ignored_reason,
    origin_of,
)
from ckpt2saved.versions.object_stores.claims import OWN, old_claims
from ckpt2saved.versions.object_stores.failures import is_answered
from ckpt2saved.versions.object_stores.published import RecordedCheckpoints, record_published
from ckpt2saved.versions.object_stores.store import ObjectStore, StoredObject
from ckpt2saved.versions.object_stores.url import VersionUrl
from ckpt2saved.versions.object_stores.versions_in_store import (
    StoredVersion,
    check_names,
    download_version,
    versions_among,
)
from ckpt2saved.versions.provenance import PROVENANCE, content_of
from ckpt2saved.versions.published_checkpoints import recorded_entry

_MOST_BYTES = 1 << 22  # of a provenance
_PRUNED = OWN + "pruned/"
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.timezone.utc)


def list_stored(store: ObjectStore, *, deep: bool = False) -> Listing:
    """Return the versions, newest first, judged by their listing; with `deep` each is downloaded and judged."""
    objects = store.objects()
    versions = versions_among(objects)
    loaded = {version.number: version.name for version in versions}  # the last of a number wins, as in TF Serving
    described = [_described(store, version, loaded[version.number], deep) for version in reversed(versions)]
    return Listing(tuple(described), _ignored(store, objects))


def provenance_in(store: ObjectStore, version: StoredVersion) -> Optional[Dict[str, Any]]:
    """Return the recorded origin of a version; None if there is no readable record."""
    provenance = _provenance_of(version)
    return None if provenance is None else _json_at(store, provenance.key)


def _provenance_of(version: StoredVersion) -> Optional[StoredObject]:
    """Return the object with the provenance of a version; None if the listing has none."""
    key = f"{version.name}/{PROVENANCE.as_posix()}"
    return next((one for one in version.objects if one.key == key), None)


def prune_stored(
    store: ObjectStore, keep: int, spare: FrozenSet[int], *, dry_run: bool = False
) -> Tuple[NumberedPlace, ...]:
    """Delete the versions older than the `keep` newest complete ones; return what was (would be) deleted.

    The health of a version is that of its listing. saved_model.pb goes first, so that an interrupted deletion leaves no
    version that a server would load. Raises NotDeleted if some could not be deleted, after it has deleted the others.
    """
    if keep < 1:
        raise VersionError(f"{store.url}: can't keep {keep} versions; expected 1 or more")
    objects = store.objects()
    versions = versions_among(objects)
    superseded = _superseded(versions, keep, spare)
    problems: List[Problem] = []
    deleted = superseded if dry_run else _delete_all(store, superseded, RecordedCheckpoints(objects), problems)
    if not dry_run and not problems:
        names = {version.name for version in deleted}
        store.delete(old_claims(objects, [version for version in versions if version.name not in names]))
    places = tuple(NumberedPlace(one.number, VersionUrl(store.url, one.name)) for one in deleted)
    refuse_undeleted(store.url, places, problems)
    return places


def _delete_all(
    store: ObjectStore, versions: Iterable[StoredVersion], recorded: RecordedCheckpoints, problems: List[Problem]
) -> Sequence[StoredVersion]:
    """Delete versions, and return those that were; adds to `problems` why the others were not."""
    deleted = []
    for version in versions:
        keys = [one.key for one in version.objects]
        try:
            _record_pruned(store, version, recorded)
            store.delete(sorted(keys, key=lambda key: key.partition("/")[2] not in SAVED_MODEL_FILES))
        except VersionError as error:
            problems.append(not_deleted(version.name, error.message))
            if not is_answered(error):
                break  # as without a network, whose time limits are not to be waited for once more for each version
        else:
            deleted.append(version)
    return deleted


def published_with(store: ObjectStore, content: FrozenSet[str]) -> Optional[str]:
    """Return the newest version that has, or had, a checkpoint of this content, for people."""
    objects = store.objects()
    recorded = RecordedCheckpoints(objects)
    for version in reversed(versions_among(objects)):
        provenance = _provenance_of(version)
        if not version.is_complete or provenance is None or recorded.rule_out(version.name, content, provenance):
            continue
        if content_of(provenance_in(store, version)) == content:
            return f"version {printable(version.name)}"
    for one in reversed(objects):
        name = one.key[len(_PRUNED) :]
        if not one.key.startswith(_PRUNED) or recorded.rule_out(name, content):
            continue
        if content_of(_json_at(store, one.key)) == content:
            return f"version {printable(name)}, which was pruned"
    return None


def _described(store: ObjectStore, version: StoredVersion, loaded_name: str, deep: bool) -> Version:
    provenance = provenance_in(store, version)
    times = [one.modified for one in version.objects if one.modified is not None]
    return Version(
        number=version.number,
        path=VersionUrl(store.url, version.name),
        size=version.size,
        modified=max(times, default=_EPOCH),
        origin=origin_of(provenance),
        problems=_problems(store, version, deep),
        duplicate_of=None if version.name == loaded_name else loaded_name,
    )


def _problems(store: ObjectStore, version: StoredVersion, deep: bool) -> Tuple[Problem, ...]:
    problems = [Problem("negative-number", "", NEGATIVE)] if version.number < 0 else []
    problems += [Problem("missing-file", name, "missing or empty in the store") for name in version.missing]
    try:
        check_names(store, version)
        if deep and not problems:
            problems += _deep_problems(store, version)
    except VersionError as error:
        found = error.problems or (Problem("broken-version", printable(version.name), error.message),)
        problems += found
    return tuple(problems)


def _deep_problems(store: ObjectStore, version: StoredVersion) -> List[Problem]:
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as directory:
        download_version(store, version, Path(directory))
        return list(content_problems(directory, EVERYTHING))


def _ignored(store: ObjectStore, objects: Sequence[StoredObject]) -> Tuple[Ignored, ...]:
    """Return the names of the first level that look like a version, and that TF Serving ignores."""
    names: Dict[str, bool] = {}  # -> whether it holds a SavedModel
    for one in objects:
        name, _, rest = one.key.partition("/")
        if rest and not name.startswith(".") and parse_version(name) is None:
            names[name] = names.get(name, False) or rest in SAVED_MODEL_FILES
    reasons = {name: ignored_reason(name, holds) for name, holds in sorted(names.items())}
    return tuple(
        Ignored(VersionUrl(store.url, printable(name)), reason)
        for name, reason in reasons.items()
        if reason is not None
    )


def _superseded(versions: Sequence[StoredVersion], keep: int, spare: FrozenSet[int]) -> Tuple[StoredVersion, ...]:
    """Return the versions that can be deleted, newest first."""
    loaded = {version.number: version for version in versions}
    complete = [number for number in sorted(loaded, reverse=True) if number >= 0 and loaded[number].is_complete]
    oldest_kept = complete[:keep][-1] if complete else -1
    return tuple(
        version
        for version in reversed(versions)
        if 0 <= version.number < oldest_kept and version.number not in spare and version.is_saved_model
    )


def _record_pruned(store: ObjectStore, version: StoredVersion, recorded: RecordedCheckpoints) -> None:
    """Keep the checkpoint of a version that is to be deleted."""
    entry = recorded_entry(version.number, provenance_in(store, version))
    name, content = str(version.number), content_of(entry)
    if content:
        if not recorded.has(name, content):
            record_published(store, name, content)
        with contextlib.suppress(FileExistsError):  # of an interrupted deletion
            store.create(f"{_PRUNED}{name}", json.dumps(entry).encode("utf-8"))


def _json_at(store: ObjectStore, key: str) -> Optional[Dict[str, Any]]:
    try:
        content = read_json(store.read(key, _MOST_BYTES).decode("utf-8"))
    except (FileNotFoundError, TooLarge, ValueError):
        return None
    return content if isinstance(content, dict) else None
