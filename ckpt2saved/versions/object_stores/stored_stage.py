"""A stage of a version for an object store: a local directory, uploaded and then copied to its number in the store."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
import uuid
from pathlib import Path
from typing import Callable, Dict, Iterator, Optional, Tuple

from ckpt2saved.console.say import Say, begin, silent
from ckpt2saved.console.sizes import size_text
from ckpt2saved.errors import VersionError
from ckpt2saved.files.reading import sha256_of, walk
from ckpt2saved.saved_model.judgement import SAMPLED
from ckpt2saved.saved_model.reading import SAVED_MODEL_FILES
from ckpt2saved.versions.base import os_errors_explained
from ckpt2saved.versions.health import content_problems
from ckpt2saved.versions.object_stores.claims import claim, holds, next_number, prove_exclusive, remove_abandoned
from ckpt2saved.versions.object_stores.published import record_published
from ckpt2saved.versions.object_stores.store import ObjectStore
from ckpt2saved.versions.object_stores.url import VersionUrl
from ckpt2saved.versions.provenance import content_of, read_provenance
from ckpt2saved.versions.stage import STAGING, AnyStage

_ROUNDS = 3  # of deletions: a request that was interrupted may still be carried out
_MOST_CLAIMS = 1000  # of one publisher


@contextlib.contextmanager
def staged_for_store(
    store: ObjectStore, requested: Optional[int], is_single_writer: bool, say: Say = silent
) -> Iterator[StoredStage]:
    """Yield an empty stage, whose local directory is removed at the end, and whose objects unless it was published.

    First removes what killed publishers have left below the URL. Raises VersionError if two publishers could take the
    same number in this store, unless there `is_single_writer`.
    """
    objects = store.objects()
    next_number(store, objects, requested)  # publish() decides; a number that is taken need not wait until then
    if not is_single_writer:
        begin(say, f"asking {store.url} for create-if-absent")
        prove_exclusive(store)
    remove_abandoned(store, objects)
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as directory:
        stage = StoredStage(store, Path(directory), requested, say)
        try:
            yield stage
        finally:
            stage.close()


class StoredStage(AnyStage):
    """A local directory `path` to be filled; publish() makes it the next version. Create it with staged_for_store()."""

    def __init__(self, store: ObjectStore, path: Path, requested: Optional[int], say: Say) -> None:
        self.path = path
        self._store = store
        self._requested = requested
        self._say = say
        self._name = f"{STAGING}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex}"
        self._to_delete = ""  # a prefix of the version, while it is unfinished
        self._is_uploading = False

    def publish(self, check: Callable[[], None] = lambda: None) -> VersionUrl:
        """Publish the stage as a complete version, and return its URL.

        Everything is uploaded below the stage, read back and compared. Then a number is claimed, the files are copied
        to it within the store, and saved_model.pb comes last. By default a number that was taken meanwhile is skipped;
        a `requested` number that was taken raises VersionError. `check` is called before the number is claimed.
        """
        with os_errors_explained(self._store.url, "publish the version"):
            files = _files(self.path)
            problems = content_problems(self.path, SAMPLED)
        if problems:
            raise VersionError(
                f"{self._store.url}: nothing was published, since TF Serving could not load the staged version",
                problems,
            )
        self._upload(files)
        self._compare(files)
        check()
        number = self._claimed_number()
        begin(self._say, f"copying the files to {self._store.url}/{number}")
        self._copy(files, number)
        record_published(self._store, str(number), content_of(read_provenance(self.path)))
        return VersionUrl(self._store.url, str(number))

    def close(self) -> None:
        """Delete the objects of the stage, and those of a version without saved_model.pb."""
        prefixes = [prefix for prefix in (self._to_delete, self._name if self._is_uploading else "") if prefix]
        # An error here would replace the error that is being handled; a later publisher cleans up.
        with contextlib.suppress(VersionError):
            for prefix in prefixes:
                for _ in range(_ROUNDS):
                    left = self._store.objects(prefix)
                    if not left:
                        break
                    self._store.delete(one.key for one in left)

    def _upload(self, files: Dict[str, Path]) -> None:
        self._is_uploading = True
        sizes = {name: path.stat().st_size for name, path in files.items()}
        total, done = sum(sizes.values()), 0
        for name, path in files.items():
            begin(self._say, f"uploading to {self._store.url}, {size_text(done)} of {size_text(total)}")
            with os_errors_explained(path, "read it"):
                self._store.upload(path, f"{self._name}/{name}")
            done += sizes[name]

    def _compare(self, files: Dict[str, Path]) -> None:
        begin(self._say, f"reading back from {self._store.url}")
        for name, path in files.items():
            key = f"{self._name}/{name}"
            try:
                is_same = self._store.sha256(key, path.stat().st_size) == sha256_of(path)
            except FileNotFoundError:
                is_same = False
            if not is_same:
                raise VersionError(
                    f"{self._store.url}/{key}: reads back otherwise than it was uploaded; nothing was published; run"
                    " again, and if it happens again, try an upload with the store's own tools"
                )

    def _claimed_number(self) -> int:
        number = 0
        for _ in range(_MOST_CLAIMS):
            number = max(next_number(self._store, self._store.objects(), self._requested), number)
            if claim(self._store, number, self._name) and not self._store.objects(str(number)):
                return number
            # Claimed by another publisher, or just written by a process that does not claim.
            if self._requested is not None:
                raise VersionError(
                    f"{self._store.url}: another process has just published version {self._requested}, or is"
                    " publishing it, and a version is never replaced; ask for a higher number, or for none"
                )
            number += 1
        raise VersionError(
            f"{self._store.url}: {_MOST_CLAIMS} numbers in a row were taken, the last one {number - 1}: the store"
            " refuses every claim, or a program creates them; nothing was published; look at the objects below"
            " .ckpt2saved/claims"
        )

    def _copy(self, files: Dict[str, Path], number: int) -> None:
        """Copy the files of the stage to the number, saved_model.pb last."""
        target = VersionUrl(self._store.url, str(number))
        self._to_delete = str(number)
        *before, last = files
        for name in before:
            self._copy_one(name, number)
        sizes = {f"{number}/{name}": files[name].stat().st_size for name in before}
        if {one.key: one.size for one in self._store.objects(str(number))} != sizes:
            raise VersionError(
                f"{target}: the copies in the store are not the files that were staged, as if another process wrote"
                " there too; nothing was published; run again"
            )
        if not holds(self._store, number, self._name):
            raise VersionError(
                f"{target}: the claim of this number is gone or another publisher's; nothing was published; run again"
            )
        # From here on nothing is deleted: the copy of saved_model.pb may be made after its request has failed.
        self._to_delete = ""
        reason = "the store does not list it"
        try:
            self._copy_one(last, number)
        except VersionError as error:
            reason = error.message
        if not self._is_there(number, last, files[last].stat().st_size):
            raise VersionError(
                f"{target}: it is not known whether it is published: {last}, the last of its files, was copied, but"
                f" {reason}; look with ckpt2saved list {target.base}"
            )

    def _copy_one(self, name: str, number: int) -> None:
        try:
            self._store.copy(f"{self._name}/{name}", f"{number}/{name}")
        except FileNotFoundError:
            raise VersionError(
                f"{self._store.url}/{self._name}/{name}: deleted by another process before it was copied; run again"
            ) from None

    def _is_there(self, number: int, name: str, size: int) -> bool:
        return (f"{number}/{name}", size) in {(one.key, one.size) for one in self._store.objects(str(number))}


def _files(directory: Path) -> Dict[str, Path]:
    """Return name -> path of all files below a directory, saved_model.pb last."""
    found = []
    for entry in walk(directory):
        if stat.S_ISREG(entry.status.st_mode):
            found.append((entry.name.replace(os.sep, "/"), Path(entry.path)))
        elif not stat.S_ISDIR(entry.status.st_mode):
            raise VersionError(
                f"{entry.path}: neither a file nor a directory, and a version must hold all that it needs; "
                "write the file itself there"
            )
    return dict(sorted(found, key=_last_of_all))


def _last_of_all(item: Tuple[str, Path]) -> Tuple[bool, str]:
    return item[0] in SAVED_MODEL_FILES, item[0]
