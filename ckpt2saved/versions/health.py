"""What in a SavedModel directory TF Serving could not load or not read, found without TensorFlow."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, Iterator, List, Set, Tuple

from ckpt2saved.file_kinds import EMPTY, kind_of
from ckpt2saved.versions.base import PathLike, may_access
from ckpt2saved.wire import Malformed, fields

_INDEX = "variables/variables.index"
_WITHOUT_VALUES = "TF Serving would load the version without a value in any variable"
_SHARD = re.compile(r"variables\.data-([0-9]{5})-of-([0-9]{5})\Z")
_TABLE_FOOTER_SIZE = 48
_TABLE_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")

# Fields of the messages SavedModel and MetaGraphDef.
_META_GRAPHS = 2
_SAVER_DEF = 3


def health(version_dir: PathLike) -> Tuple[str, ...]:
    """Everything that would keep a TF Serving that runs as any user from loading the directory; () if nothing."""
    return content_problems(version_dir) + access_problems(version_dir)


def content_problems(version_dir: PathLike) -> Tuple[str, ...]:
    """What is missing, cut off or unreadable in the SavedModel."""
    directory = Path(version_dir)
    if not os.path.isdir(os.fspath(directory)):
        return (_instead_of_directory(directory),)
    try:
        unreadable = _unreadable(directory)
        return unreadable or tuple(dict.fromkeys(_graph_problems(directory) + _variable_problems(directory)))
    except OSError as error:
        return ("{}: {}".format(error.filename or directory, error.strerror),)


def access_problems(version_dir: PathLike) -> Tuple[str, ...]:
    """What a server that runs as another user could not read; publishing a copy gives every file the right mode."""
    problems = []
    for path, name in _tree(Path(version_dir)):
        is_directory = os.path.isdir(path)
        mode = stat.S_IMODE(os.stat(path).st_mode)
        needed = stat.S_IROTH | stat.S_IXOTH if is_directory else stat.S_IROTH
        if mode & needed != needed:
            advice = "chmod o+rx" if is_directory else "chmod o+r"
            problems.append("{}: mode {:04o}, which keeps out a server of another user; {}".format(name, mode, advice))
    return tuple(problems)


def _instead_of_directory(path: Path) -> str:
    if path.is_symlink():
        return "a symbolic link to {}, which is no directory".format(os.readlink(os.fspath(path)))
    kind = kind_of(path)
    if kind and kind.what != EMPTY:
        return kind.instead_of("a version's directory")
    return "not a directory" if os.path.lexists(os.fspath(path)) else "there is no such directory"


def _tree(directory: Path) -> Iterator[Tuple[str, str]]:
    """The directory, if it is one, and everything in it, each with its name inside; without dangling links."""
    if os.path.isdir(os.fspath(directory)):
        yield os.fspath(directory), "."
    for parent, directories, files in os.walk(os.fspath(directory)):
        for name in sorted(directories + files):
            path = os.path.join(parent, name)
            if os.path.exists(path):
                yield path, os.path.relpath(path, os.fspath(directory))


def _unreadable(directory: Path) -> Tuple[str, ...]:
    return tuple(
        "{}: this user may not read it".format(name)
        for path, name in _tree(directory)
        if not may_access(path, os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK)
    )


def _graph_problems(directory: Path) -> List[str]:
    binary, text = directory / "saved_model.pb", directory / "saved_model.pbtxt"
    if not binary.is_file():
        if not text.is_file():
            return ["saved_model.pb: missing; TF Serving has nothing to load"]
        return [] if text.stat().st_size else ["saved_model.pbtxt: empty"]
    size = binary.stat().st_size
    if not size:
        return ["saved_model.pb: empty"]
    with binary.open("rb") as file:
        try:
            meta_graphs = [span for number, span in fields(file, 0, size) if number == _META_GRAPHS]
        except Malformed:
            return ["saved_model.pb: truncated after {} bytes; copy it again, whole".format(size)]
        if not meta_graphs:
            return ["saved_model.pb: truncated or of something else: no meta graph in its {} bytes".format(size)]
        if any(_restores_variables(file, *span) for span in meta_graphs) and not (directory / _INDEX).is_file():
            return [_INDEX + ": missing; " + _WITHOUT_VALUES]
    return []


def _variable_problems(directory: Path) -> List[str]:
    variables = directory / "variables"
    names = os.listdir(os.fspath(variables)) if variables.is_dir() else []
    shards = {(int(shard.group(1)), int(shard.group(2))) for shard in map(_SHARD.match, names) if shard}
    index = directory / _INDEX
    if index.is_file():
        return _index_problems(index) + _missing_shards(shards)
    return [_INDEX + ": missing; " + _WITHOUT_VALUES] if shards else []


def _index_problems(index: Path) -> List[str]:
    size = index.stat().st_size
    if size < _TABLE_FOOTER_SIZE:
        return ["{}: truncated to {} bytes; copy it again, whole".format(_INDEX, size) if size else _INDEX + ": empty"]
    with index.open("rb") as file:
        file.seek(-len(_TABLE_MAGIC), os.SEEK_END)
        if file.read() != _TABLE_MAGIC:
            return ["{}: truncated, or no checkpoint index: its last 8 bytes are not a table's".format(_INDEX)]
    return []


def _missing_shards(present: Set[Tuple[int, int]]) -> List[str]:
    if not present:
        return ["variables/variables.data-*: missing, though {} is there".format(_INDEX)]
    missing = {count: [number for number in range(count) if (number, count) not in present] for _, count in present}
    if not all(missing.values()):
        return []  # one whole set; another beside it is not read
    count = max(missing)
    return ["variables/variables.data-{:05d}-of-{:05d}: missing".format(number, count) for number in missing[count]]


def _restores_variables(file: BinaryIO, start: int, end: int) -> bool:
    """Whether the meta graph names a restore op: TensorFlow's writers leave it out if there is no variable."""
    try:
        return any(number == _SAVER_DEF for number, _ in fields(file, start, end))
    except Malformed:
        return False  # the loader will say so; nothing can be concluded here
