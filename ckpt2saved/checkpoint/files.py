"""Resolution of a path to a checkpoint prefix and its files, without TensorFlow."""

from __future__ import annotations

import difflib
import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Match, Optional, Sequence, Tuple

from ckpt2saved.errors import CheckpointError, NoCheckpoint
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.kinds import EMPTY, POINTER, is_lfs_pointer, kind_of
from ckpt2saved.files.plain_paths import as_plain_prefix
from ckpt2saved.files.reading import is_url, open_file, sha256_of

STATE_FILE = "checkpoint"
_SHARD = re.compile(r"(?P<prefix>.+)\.data-(?P<number>[0-9]{5})-of-(?P<count>(?!00000)[0-9]{5})\Z")
# V1 of several files: TensorFlow calls such a checkpoint by a pattern for all of them.
_V1_SHARD = re.compile(r"(?P<prefix>.+(?<!\.data))-(?P<number>[0-9]{5}|\?{5})-of-(?P<count>(?!00000)[0-9]{5})\Z")
_RECORDED = re.compile(rb"""^\s*model_checkpoint_path\s*:\s*(["'])((?:\\.|(?!\1)[^\\\n])*)\1""", re.MULTILINE)
_ALL_RECORDED = re.compile(rb"""^\s*all_model_checkpoint_paths\s*:\s*(["'])((?:\\.|(?!\1)[^\\\n])*)\1""", re.MULTILINE)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)")
_MOST_OF_STATE = 16 << 20  # bytes; the latest checkpoint stands in the first line
# The last eight bytes of a table file (little endian), which both a V2 index and a V1 checkpoint are.
TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
TABLE_FOOTER = 48  # bytes, with the magic
_CANDIDATE = "candidate-checkpoint"
_MOST_MISSING = 100  # data files of one set that are named
_MOST_LOOKED_AT, _MOST_SHOWN = 100, 5  # files of a directory without a checkpoint


@dataclass(frozen=True)
class CheckpointFiles:
    """The files of one checkpoint; `prefix` is the checkpoint prefix of TensorFlow."""

    prefix: Path
    files: Tuple[Path, ...]
    meta: Optional[Path]  # the training graph, where it was kept
    is_v1: bool = False  # the single-file format of TensorFlow 0.x, which tf.train.Saver still writes when asked

    @property
    def name(self) -> str:
        return self.prefix.name

    @property
    def for_tensorflow(self) -> str:
        """Return a prefix for TensorFlow that it does not treat as a glob pattern."""
        return as_plain_prefix(self.prefix, self.files)

    @property
    def size(self) -> int:
        """Return the size of all variable files in bytes."""
        return sum(file.stat().st_size for file in self.files)

    def sha256(self) -> Dict[str, str]:
        """Return file name -> SHA-256 of the files that identify the checkpoint: the V2 index, or all V1 files.

        A V2 index contains a checksum of every tensor.
        """
        return {file.name: sha256_of(file) for file in (self.files if self.is_v1 else self.files[:1])}


def find_checkpoint(path: Path) -> CheckpointFiles:
    """Return the checkpoint for `path`: a prefix, one of the checkpoint's files, or a directory.

    For a directory it is the latest checkpoint in its `checkpoint` state file; files in the directory take precedence
    over a recorded absolute path, since directories are moved and copied. Raises CheckpointError with everything
    missing or damaged that shows without reading tensors.
    """
    try:
        return _files_of(_prefix(path))
    except OSError as error:
        raise CheckpointError(f"{error.filename or path}: can't be read: {error.strerror}") from error


def checkpoints_at(path: Path) -> List[Path]:
    """Return the prefixes of the checkpoints at or in `path`; [] if none is readable."""
    try:
        is_directory = os.path.isdir(str(path))
        if is_directory and not _is_file(path / STATE_FILE):
            return prefixes_in(path)  # not a checkpoint beside the directory with its name
        try:
            return [find_checkpoint(path).prefix]
        except CheckpointError:
            return prefixes_in(path) if is_directory else []
    except OSError:
        return []


def _prefix(path: Path) -> Path:
    if os.path.isdir(str(path)):
        return _prefix_in_directory(path)
    if path.name == STATE_FILE and _is_file(path) and not _is_table(path):
        return _recorded_prefix(path)
    return _prefix_of_file(path)


def _prefix_in_directory(directory: Path) -> Path:
    state = directory / STATE_FILE
    if _is_file(state) and not _is_table(state):
        return _recorded_prefix(state)
    prefixes = prefixes_in(directory)
    if len(prefixes) == 1:
        return prefixes[0]
    if prefixes:
        raise CheckpointError(
            f"{directory}: it has no {STATE_FILE!r} state file, and {len(prefixes)} checkpoints; pass one of them",
            [Problem(_CANDIDATE, str(prefix), "") for prefix in prefixes],
        )
    if _has_checkpoint(directory):  # "crnn.index" beside a directory "crnn"
        return directory
    kind = kind_of(directory)
    if kind:
        raise CheckpointError(f"{directory}: {kind.instead_of('a checkpoint')}")
    raise NoCheckpoint(
        f"{directory}: no checkpoint here, neither a {STATE_FILE!r} state file nor a *.index file nor a V1 checkpoint; "
        "pass the directory, the prefix or a file that tf.train.Saver wrote",
        _others_in(directory),
    )


def _others_in(directory: Path) -> List[Problem]:
    """Describe what a directory without a checkpoint contains."""
    found = []
    for name in sorted(os.listdir(str(directory)))[:_MOST_LOOKED_AT]:
        kind = kind_of(directory / name)
        if kind and kind.what != EMPTY:
            found.append(Problem("not-a-checkpoint", name, kind.instead_of("a checkpoint")))
    return found[:_MOST_SHOWN]


def _recorded_prefix(state: Path) -> Path:
    """Return the latest checkpoint in a CheckpointState file (text protobuf)."""
    with state.open("rb") as file:
        match = _RECORDED.search(file.read(_MOST_OF_STATE))
    recorded = _unescaped(match.group(2)) if match else ""
    if is_lfs_pointer(state):
        expected = "a checkpoint's state file"
        raise CheckpointError(f"{state}: {POINTER.instead_of(expected)}")
    if not recorded or "\0" in recorded:
        raise _no_use(f"{state}: no line 'model_checkpoint_path: \"…\"' in this state file", state.parent)
    # A path recorded on Windows or on another machine still ends in the right name.
    beside = state.parent / re.split(r"[/\\]", recorded)[-1]
    candidates = [beside, state.parent / recorded]  # joining an absolute path gives that path
    if not os.path.isabs(recorded):
        candidates.reverse()
    # Prefer a complete checkpoint; else report what an incomplete one lacks.
    for there in (_has_checkpoint, lambda prefix: prefix != state and (_is_file(prefix) or _shards_of(prefix))):
        for candidate in candidates:
            if there(candidate):
                return candidate if _is_file(_index(candidate)) else _v1_prefix(candidate) or candidate
    raise _no_use(
        f"{state}: it names {recorded!r} as the latest checkpoint, and no such files are there or beside it",
        state.parent,
    )


def recorded_names(directory: Path) -> Tuple[str, ...]:
    """The names of all checkpoints in a directory's state file, the latest last; () without a readable one."""
    try:
        with open_file(directory / STATE_FILE) as file:  # a pipe is not waited for
            content = file.read(_MOST_OF_STATE)
    except OSError:
        return ()
    recorded = [*_ALL_RECORDED.finditer(content), *_RECORDED.finditer(content)]
    names = [re.split(r"[/\\]", _unescaped(match.group(2)))[-1] for match in recorded]
    return tuple(name for place, name in enumerate(names) if name not in names[place + 1 :])


def _no_use(text: str, directory: Path) -> CheckpointError:
    others = [Problem(_CANDIDATE, str(prefix), "") for prefix in prefixes_in(directory)]
    remedy = "pass one of the checkpoints that are there" if others else "pass the prefix of a checkpoint"
    return CheckpointError(f"{text}; {remedy}", others)


def _unescaped(text: bytes) -> str:
    """Return the path in a text-protobuf string, whose escapes are bytes."""
    simple = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}

    def byte(match: re.Match[bytes]) -> bytes:
        escape = match.group(1)
        if escape[:1].isdigit() and escape[:1] < b"8":
            return bytes([int(escape, 8) & 255])
        return bytes([int(escape[1:], 16)]) if len(escape) > 1 else simple.get(escape, escape)

    return os.fsdecode(_ESCAPE.sub(byte, text))


def _prefix_of_file(path: Path) -> Path:
    if _is_file(_index(path)):
        return path
    sharded = _v1_prefix(path)
    if sharded:
        return sharded
    shard = _SHARD.match(path.name)
    if shard:
        return path.with_name(shard.group("prefix"))
    return path.with_suffix("") if path.suffix in (".index", ".meta") else path


def _v1_prefix(path: Path) -> Optional[Path]:
    """Return the pattern for the shards of a V1 checkpoint, given one file, its prefix or its .meta.

    A complete set takes precedence. None if there are no such files.
    """
    given = _V1_SHARD.match(path.name)
    if not os.path.isdir(str(path.parent)) or (_is_table(path) and not given):
        return None
    stem = given.group("prefix") if given else path.name[: -len(".meta")] if path.suffix == ".meta" else path.name
    counts: Dict[str, int] = {}
    for name in os.listdir(str(path.parent)):
        shard = _V1_SHARD.match(name)
        if shard and shard.group("prefix") == stem and (given or _is_table(path.with_name(name))):
            counts[shard.group("count")] = counts.get(shard.group("count"), 0) + 1
    if given and given.group("count") in counts:
        counts = {given.group("count"): 0}
    if not counts:
        return None
    best = min(counts, key=lambda count: (counts[count] != int(count), count))
    return path.with_name(f"{stem}-?????-of-{best}")


def _files_of_v1(prefix: Path, match: Match[str]) -> CheckpointFiles:
    """Return the shards of a V1 checkpoint whose prefix is a pattern."""
    count = match.group("count")
    files = [prefix.with_name(f"{match.group('prefix')}-{number:05d}-of-{count}") for number in range(int(count))]
    problems = [
        Problem("damaged-file", file.name, "empty, truncated or overwritten")
        if _is_file(file)
        else Problem("missing-shard", file.name, "missing")
        for file in files
        if not _is_table(file)
    ]
    if problems:
        raise CheckpointError(f"{prefix}: this checkpoint is damaged; take another one, or copy it again", problems)
    meta = prefix.with_name(match.group("prefix") + ".meta")
    return CheckpointFiles(prefix, tuple(files), meta if _is_file(meta) else None, is_v1=True)


def _files_of(prefix: Path) -> CheckpointFiles:
    pattern = _V1_SHARD.match(prefix.name) if "?????-of-" in prefix.name else None
    if pattern and not _is_file(prefix):
        return _files_of_v1(prefix, pattern)
    meta = Path(str(prefix) + ".meta")
    meta_or_none = meta if _is_file(meta) else None
    index = _index(prefix)
    if _is_file(index):
        shards, problems = _complete_set(prefix, _shards_of(prefix))
        problems = _index_problems(index) + problems
        _refuse_pointers(prefix, (index, *_shards_of(prefix)))
        if problems:
            raise CheckpointError(f"{prefix}: this checkpoint is damaged; take another one, or copy it again", problems)
        return CheckpointFiles(prefix, (index,) + tuple(shards), meta_or_none)
    if _is_file(prefix):
        if _is_table(prefix):
            return CheckpointFiles(prefix, (prefix,), meta_or_none, is_v1=True)
        kind = kind_of(prefix)
        if kind and kind.what != EMPTY:
            raise CheckpointError(f"{prefix}: {kind.instead_of('a checkpoint')}")
        raise CheckpointError(
            f"{prefix}: this is not a checkpoint ({'the file is empty' if kind else 'or a truncated V1 one'}); expected"
            " a prefix with a .index file, one of its files, a directory, or a V1 checkpoint, which is a table file"
        )
    raise _not_found(prefix)


def _refuse_pointers(prefix: Path, files: Sequence[Path]) -> None:
    """Raise CheckpointError for Git LFS pointers in place of all files, or of the large ones."""
    pointers = [file for file in files if is_lfs_pointer(file)]
    if pointers:
        problems = [Problem("lfs-pointer", file.name, "a pointer") for file in pointers]
        raise CheckpointError(f"{prefix}: {POINTER.instead_of('a checkpoint')}", problems)


def _not_found(prefix: Path) -> CheckpointError:
    if is_url(prefix):
        return CheckpointError(
            f"{prefix}: this is an address, and a checkpoint is read from this machine's disk: copy its files here, and"
            " pass the path of the copy"
        )
    from_windows = Path(str(prefix).replace("\\", "/"))
    if from_windows != prefix and _has_checkpoint(_prefix_of_file(from_windows)):
        return CheckpointError(f"{prefix}: no such checkpoint; did you mean {from_windows}?")
    try:
        names = os.listdir(str(prefix.parent))
    except (FileNotFoundError, NotADirectoryError):
        return CheckpointError(f"{prefix}: there is no directory {prefix.parent}")
    index = _index(prefix).name
    remains = [shard.name for shard in _shards_of(prefix)] + [name for name in names if name == prefix.name + ".meta"]
    if remains:
        return CheckpointError(
            f"{prefix}: the index file {index} is missing, and the checkpoint can't be read without it; copy it too",
            [Problem("missing-index", name, "present") for name in remains],
        )
    others = [found.name for found in prefixes_in(prefix.parent)]
    near = difflib.get_close_matches(prefix.name, others, n=5, cutoff=0.3) or others[:5]
    return CheckpointError(
        f"{prefix}: no such checkpoint: neither {index} nor a V1 file of that"
        f" name{'; in the same directory there are' if near else ''}",
        [Problem(_CANDIDATE, name, "") for name in near],
    )


def _index(prefix: Path) -> Path:
    return Path(str(prefix) + ".index")


def _has_checkpoint(prefix: Path) -> bool:
    return _is_file(_index(prefix)) or _is_table(prefix) or _v1_prefix(prefix) is not None


def prefixes_in(directory: Path) -> List[Path]:
    """Return the prefixes in a directory: V2 checkpoints, else V1 checkpoints, single files of any name."""
    names = [name for name in sorted(os.listdir(str(directory))) if ".tempstate" not in name]
    v2 = [directory / name[: -len(".index")] for name in names if name.endswith(".index")]
    found = [prefix for prefix in v2 if _is_file(_index(prefix))]
    if found:
        return found
    v1 = [directory / name for name in names if not name.endswith(".index") and _is_table(directory / name)]
    return list(dict.fromkeys((_V1_SHARD.match(file.name) and _v1_prefix(file)) or file for file in v1))


def _shards_of(prefix: Path) -> List[Path]:
    if not os.path.isdir(str(prefix.parent)):
        return []
    matches = [(_SHARD.match(name), name) for name in os.listdir(str(prefix.parent))]
    return sorted(prefix.with_name(name) for match, name in matches if match and match.group("prefix") == prefix.name)


def _index_problems(index: Path) -> List[Problem]:
    if _is_table(index):
        return []
    size = index.stat().st_size
    return [
        Problem(
            "damaged-file",
            index.name,
            f"{size} bytes that do not end as an index file does: empty, truncated or overwritten",
        )
    ]


def _complete_set(prefix: Path, shards: Sequence[Path]) -> Tuple[List[Path], List[Problem]]:
    """Return the data files and the missing ones; one of several sets with different counts must be complete."""
    if not shards:
        where = f"{prefix.name}.data-?????-of-?????"
        return [], [Problem("missing-shard", where, "missing", "there are no data files")]
    missing: List[Problem] = []
    counts = {match.group("count") for match in (_SHARD.match(shard.name) for shard in shards) if match}
    for count in sorted(counts):
        numbers = range(int(count))
        every = (prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{count}") for number in numbers)
        # The names of a directory may be anything: thousands of files could be one each of 99,999.
        lacking = list(itertools.islice((file.name for file in every if not _is_file(file)), _MOST_MISSING))
        if not lacking:
            names = [f"{prefix.name}.data-{number:05d}-of-{count}" for number in numbers]
            files = [prefix.with_name(name) for name in names]
            empty = all(file.stat().st_size == 0 for file in files)
            return files, [Problem("empty-file", name, "0 bytes") for name in names] if empty else []
        missing += [Problem("missing-shard", name, "missing") for name in lacking[: _MOST_MISSING - len(missing)]]
    return [], missing


def _is_file(path: Path) -> bool:
    """Return whether a file exists; False, unlike Path.is_file, for impossible names too."""
    return os.path.isfile(str(path))


def _is_table(path: Path) -> bool:
    """Return whether the file ends like TensorFlow's table files."""
    if not _is_file(path):
        return False
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(TABLE_MAGIC)))
            return size >= TABLE_FOOTER and file.read() == TABLE_MAGIC
    except OSError:
        return False
