"""Copying of a SavedModel's files; links that lead outside and special files are refused."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO, Iterator, List, Sequence, Tuple

from ckpt2saved.errors import VersionError
from ckpt2saved.files.reading import MOST_ENTRIES, MOST_LEVELS, OPENED, PathLike, kind, printable
from ckpt2saved.files.write_errors import writing
from ckpt2saved.versions.provenance import PROVENANCE

_MOST_LINKS = 40  # from one name to a file, as in Linux
_PIECE = 1 << 20

Parts = Tuple[str, ...]


def copy_version(source: PathLike, target: PathLike, *, link: bool) -> None:
    """Fill the directory `target` with the files of `source`; symbolic links become the files that they lead to.

    `source` may be a link itself; a link inside that leads out of it is refused, also while others change it. With
    `link`, hard links stand for the files that nobody changes: `source` must be a version that ckpt2saved published,
    which is immutable by contract. Never for what lies behind a symbolic link, nor for the provenance.
    """
    descriptor = os.open(os.fspath(source), OPENED | os.O_DIRECTORY)
    try:
        _Copier(Path(source), descriptor).copy(Path(target), link and not Path(source).is_symlink())
    finally:
        os.close(descriptor)


class _Leaves(Exception):
    """A link leads out of the source, to the path in the message."""


class _Copier:
    def __init__(self, source: Path, descriptor: int) -> None:
        self._source = source
        self._descriptor = descriptor
        self._root = Path(os.path.realpath(os.fspath(source))).parts
        # Absolute links may name the source as it was given, which may be through links.
        self._given = Path(os.path.abspath(os.fspath(source))).parts
        self._count = 0

    def copy(self, target: Path, link: bool) -> None:
        self._copy_directory((), target, link, ())

    def _copy_directory(self, parts: Parts, target: Path, link: bool, above: Sequence[Tuple[int, int]]) -> None:
        if len(parts) > MOST_LEVELS:
            raise VersionError(
                f"{self._shown(parts[:1])}: more than {MOST_LEVELS} nested directories; remove them from the SavedModel"
            )
        with self._opened(parts) as directory:
            status = os.fstat(directory)
            here = (status.st_dev, status.st_ino)
            if here in above:
                raise VersionError(
                    f"{self._shown(parts)}: a symbolic link leads to one of its parent directories; remove it"
                )
            with os.scandir(directory) as entries:
                names = [entry.name for entry in itertools.islice(entries, MOST_ENTRIES + 1)]
            self._count += len(names)
            if self._count > MOST_ENTRIES:
                raise VersionError(
                    f"{self._source}: more than {MOST_ENTRIES} files; expected the directory of one SavedModel"
                )
            for name in sorted(names):
                self._copy_child(parts + (name,), directory, target / name, link, (*above, here))

    def _copy_child(
        self, parts: Parts, directory: int, target: Path, link: bool, above: Sequence[Tuple[int, int]]
    ) -> None:
        _check_name(self._shown(parts), parts[-1])
        mode = os.stat(parts[-1], dir_fd=directory, follow_symlinks=False).st_mode
        shared = link and not stat.S_ISLNK(mode) and parts[-1] != PROVENANCE.name
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            raise self._no_file(parts, mode)
        if shared and stat.S_IMODE(mode) == 0o644 and stat.S_ISREG(mode):
            # Any other mode would have to be changed for publishing, and a link has the mode of the source.
            with contextlib.suppress(OSError, NotImplementedError):  # another device, too many links: then a copy
                os.link(parts[-1], os.fspath(target), src_dir_fd=directory, follow_symlinks=False)
                return
        with self._opened(parts) as descriptor:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISREG(mode):
                self._copy_file(parts, descriptor, target)
        if stat.S_ISDIR(mode):
            target.mkdir()
            self._copy_directory(parts, target, shared, above)
        elif not stat.S_ISREG(mode):
            raise self._no_file(parts, mode)

    def _copy_file(self, parts: Parts, descriptor: int, target: Path) -> None:
        before = os.fstat(descriptor)
        with writing(target), os.fdopen(os.dup(descriptor), "rb") as file, target.open("xb") as copy:
            shutil.copyfileobj(_Limited(file, before.st_size), copy, _PIECE)
        after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise VersionError(
                f"{self._shown(parts)}: changed while it was copied; wait until it is written, then run again"
            )

    def _no_file(self, parts: Parts, mode: int) -> VersionError:
        return VersionError(
            f"{self._shown(parts)}: {kind(mode)}, neither a file nor a directory; remove it from the SavedModel"
        )

    def _shown(self, parts: Parts) -> str:
        return printable(os.fspath(self._source.joinpath(*parts)))

    @contextlib.contextmanager
    def _opened(self, parts: Parts) -> Iterator[int]:
        """Return an open descriptor, following only links that stay inside the source; devices are refused."""
        try:
            descriptor = self._open(parts)
        except _Leaves as error:
            raise VersionError(
                f"{self._shown(parts)}: a symbolic link to {printable(str(error))}, which is not in the SavedModel; put"
                " the file itself there, or remove it"
            ) from None
        except FileNotFoundError:
            raise VersionError(
                f"{self._shown(parts)}: a symbolic link to a missing file; put the file itself there, or remove it"
            ) from None
        except OSError as error:
            error.filename = self._shown(parts)
            raise
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, parts: Parts) -> int:
        """Open step by step from parent descriptors, so that concurrent changes can't lead outside."""
        above = [os.dup(self._descriptor)]  # the directories that were gone through, the source first
        pending, links = list(parts), 0
        try:
            while pending:
                name = pending.pop(0)
                if name == "..":
                    if len(above) == 1:
                        pending = self._entered_again([*self._root, name, *pending])
                    else:
                        os.close(above.pop())
                    continue
                mode = os.stat(name, dir_fd=above[-1], follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode):
                    links += 1
                    linked = Path(os.readlink(name, dir_fd=above[-1]))
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    if linked.is_absolute():
                        pending = self._entered_again([*linked.parts, *pending])
                        while len(above) > 1:
                            os.close(above.pop())
                    else:
                        pending = [*linked.parts, *pending]
                elif stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                    above.append(os.open(name, OPENED | os.O_NOFOLLOW, dir_fd=above[-1]))
                else:
                    raise self._no_file(parts, mode)
            return above.pop()
        finally:
            for descriptor in above:
                os.close(descriptor)

    def _entered_again(self, path: List[str]) -> List[str]:
        """Return the rest of an absolute path below the source; raises _Leaves if it is outside."""
        found: List[str] = []
        for number, name in enumerate(path):
            if name == "..":
                del found[max(len(found) - 1, 1) :]
            else:
                found.append(name)
            # The source as it was given may be a path through links, and so may those inside that name it.
            if tuple(found) in (self._root, self._given) and path[number + 1 : number + 2] != [".."]:
                return path[number + 1 :]
        raise _Leaves(os.path.join(*path))


class _Limited:
    """A file of which at most its initial size and one byte more is read, to detect that it grew."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size + 1

    def read(self, size: int = _PIECE) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


def _check_name(shown: str, name: str) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise VersionError(
            f"{shown}: its name is not UTF-8, which TensorFlow's file names are; rename it, or remove it"
        ) from None
