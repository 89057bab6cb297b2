"""Problems of a SavedModel's files that keep TF Serving from loading or answering, found without TensorFlow."""

from __future__ import annotations

import errno
import itertools
import os
import re
import stat
import struct
from pathlib import Path
from typing import BinaryIO, Dict, List, Optional, Sequence, Set, Tuple

from ckpt2saved.checkpoint.index import RESOURCE, STRING, VARIANT, Damaged, Entry, Index, NotRead, read_index
from ckpt2saved.errors.problem import Problem, Unread, listed
from ckpt2saved.files.kinds import EMPTY, begins_as_lfs_pointer, kind_of
from ckpt2saved.files.protobuf import text_format
from ckpt2saved.files.protobuf.crc32c import crc32c, masked
from ckpt2saved.files.protobuf.wire import Malformed, varint
from ckpt2saved.files.reading import PathLike, is_of_environment, kind, open_file, size_of
from ckpt2saved.saved_model.graph_facts import (
    GraphFacts,
    lfs_problem,
    no_signature,
    read_graph_facts,
    wrong_tags,
)
from ckpt2saved.saved_model.loading import Restored
from ckpt2saved.saved_model.reading import GRAPH_FILE, SERVED, TEXT_GRAPH_FILE
from ckpt2saved.signature.tensors import shape_text

# saved_model_warmup_util.h of TF Serving: where the file is, and how many records it may have; one more, and the
# server does not load the version.
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MOST_RECORDS = 1000

# How many bytes of the variables' data are compared with their checksums.
SAMPLED = 1 << 12
READ = 1 << 26
EVERYTHING = 1 << 62

_INDEX = "variables/variables.index"
_SHARD_NAME = "variables/variables.data-{:05d}-of-{:05d}"
_SHARD = re.compile(r"variables\.data-([0-9]{5})-of-([0-9]{5})\Z")
_WITHOUT_VALUES = "TF Serving would load the version without a value in any variable"
_WHOLE = "copy the complete directory variables/ again"
_PIECE = 1 << 20
_MOST_TEXT = 1 << 22  # bytes of a graph as text that are looked into
_RECORD_HEADER, _RECORD_FOOTER = 12, 4  # bytes: length and its checksum, then the record, then its checksum
_SESSION_BUNDLE = "export.meta"


def judge(directory: PathLike, data: int = READ) -> Tuple[Problem, ...]:
    """Return every problem that keeps TF Serving from loading the directory or answering; () if there is none.

    The checksums of up to `data` bytes of the variables are compared, smallest tensors first: SAMPLED, READ or
    EVERYTHING. Raises OSError for what can't be read.
    """
    path = os.fspath(directory)  # by strings alone, as a list of versions judges many
    problems: List[Problem] = []
    facts: Optional[GraphFacts] = None
    try:
        facts = read_graph_facts(path)
        problems += facts.problems
    except FileNotFoundError:
        problems += _text_graph_problems(path)
    except OSError as error:
        return (_unreadable(GRAPH_FILE, error),)
    if os.path.lexists(os.path.join(path, _SESSION_BUNDLE)):
        found = "with a file of this name TF Serving takes the directory for a session bundle"
        problems.append(Problem("session-bundle", _SESSION_BUNDLE, found, "remove it"))
    problems += _variable_problems(path, facts, data)
    if facts is not None:
        problems += _asset_problems(path, facts)
    return tuple(dict.fromkeys(problems))


def _unreadable(name: str, error: OSError) -> Problem:
    kind_of_problem = Unread if is_of_environment(error) else Problem
    return kind_of_problem("unreadable-file", name, str(error.strerror))


def _text_graph_problems(path: str) -> List[Problem]:
    """Check tags and signatures of a saved_model.pbtxt."""
    name = TEXT_GRAPH_FILE
    if not os.path.lexists(os.path.join(path, name)):
        kind_here = kind_of(Path(path))
        what = kind_here.instead_of("a SavedModel") if kind_here else "TF Serving has nothing to load"
        return [Problem("missing-file", GRAPH_FILE, "missing", what)]
    try:
        with open_file(os.path.join(path, name)) as file:
            size = size_of(file)
            if begins_as_lfs_pointer(file):
                return [lfs_problem(name)]
            file.seek(0)
            content = file.read(_MOST_TEXT + 1)
    except OSError as error:
        return [_unreadable(name, error)]
    if not size:
        return [Problem("empty-file", name, "empty")]
    if size > _MOST_TEXT:
        return []
    try:
        meta_graphs = text_format.values(text_format.read(content.decode("utf-8")), "meta_graphs")
        infos = [text_format.values(one, "meta_info_def") for one in meta_graphs]
        tags = [[str(tag) for info in one for tag in text_format.values(info, "tags")] for one in infos]
        served = [one for one, present in zip(meta_graphs, tags) if set(present) == SERVED]
        if not served:
            return [wrong_tags(name, tags)]
        if not any(text_format.values(one, "signature_def") for one in served):
            return [no_signature(name)]
    except UnicodeDecodeError:
        found = "not UTF-8, and so no SavedModel in protobuf's text form"
        return [Problem("not-a-saved-model", name, found, "export it again")]
    except text_format.NotTextProto as error:
        found = f"it can't be read as protobuf's text form, truncated or damaged: {error}"
        return [Problem("not-a-saved-model", name, found, "export it again")]
    return []


def _variable_problems(path: str, facts: Optional[GraphFacts], data: int) -> List[Problem]:
    if not os.path.lexists(os.path.join(path, _INDEX)):
        shards = _shards(path)
        if shards or (facts is not None and facts.restores):
            return [Problem("missing-file", _INDEX, "missing", _WITHOUT_VALUES)]
        return []
    try:
        index = read_index(os.path.join(path, _INDEX))
    except Damaged as error:
        return [_pointer_or(path, _INDEX, str(error))]
    except NotRead:
        return _missing_shards(_shards(path))
    except OSError as error:
        return [_unreadable(_INDEX, error)]
    missing = _missing_shards(_shards(path), index.shards)
    if missing:
        return missing
    problems = _mismatches(index, facts.restored) if facts is not None else []
    return problems + _data_problems(path, index, data)


def _pointer_or(path: str, name: str, text: str) -> Problem:
    with open_file(os.path.join(path, name)) as file:
        return lfs_problem(name) if begins_as_lfs_pointer(file) else Problem("damaged-file", name, text)


def _shards(path: str) -> Set[Tuple[int, int]]:
    try:
        names = os.listdir(os.path.join(path, "variables"))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {(int(shard.group(1)), int(shard.group(2))) for shard in map(_SHARD.match, names) if shard}


def _missing_shards(present: Set[Tuple[int, int]], count: int = 0) -> List[Problem]:
    """Return a problem for missing data files, of the `count` in the index or of any complete set."""
    if not present:
        return [Problem("missing-shard", "variables/variables.data-*", f"missing, though {_INDEX} is there")]
    counts = {count} if count else {number for _, number in present}
    # A damaged index may name billions of files.
    missing = {
        count: list(itertools.islice((number for number in range(count) if (number, count) not in present), 100))
        for count in counts
    }
    if not all(missing.values()):
        return []  # one complete set; another beside it is not read
    count = max(missing)
    names = [_SHARD_NAME.format(number, count) for number in missing[count]]
    shown = names[:5] + ([listed(names)] if names[5:] else [])
    return [Problem("missing-shard", name, "missing") for name in shown]


def _mismatches(index: Index, restored: Sequence[Restored]) -> List[Problem]:
    """Return problems if the index lacks tensors that the graph restores: it belongs to another SavedModel."""
    absent, types, shapes = [], [], []
    for expected in restored:
        entry = index.entry(expected.name)
        if entry is None:
            absent.append(expected.name)
        elif expected.data_type and entry.data_type and expected.data_type != entry.data_type:
            types.append(expected.name)
        elif not _fits(entry.shape, expected.shape):
            shapes.append(
                f"{expected.name} ({shape_text(expected.shape)} in the graph, {shape_text(entry.shape)} here)"
            )
    problems = []
    for names, what in ((absent, "not in it"), (types, "of another dtype"), (shapes, "of another shape")):
        if names:
            found = f"of another SavedModel: what the graph restores is {what}: {listed(names)}"
            problems.append(Problem("other-variables", _INDEX, found, _WHOLE))
    return problems


def _fits(found: Optional[Tuple[int, ...]], expected: Optional[Tuple[int, ...]]) -> bool:
    if found is None or expected is None:
        return True
    return len(found) == len(expected) and all(
        there in (size, -1) or size == -1 for there, size in zip(found, expected)
    )


def _data_problems(path: str, index: Index, data: int) -> List[Problem]:
    """Return problems if the data files do not match the index."""
    by_shard: Dict[int, List[Tuple[bytes, Entry]]] = {}
    for name, entry in index.entries.items():
        if not entry.is_partitioned:
            by_shard.setdefault(entry.shard, []).append((name, entry))
    problems = []
    checked = _sampled(index, data)
    for shard in sorted(by_shard):
        file_name = _SHARD_NAME.format(shard, index.shards)
        if shard >= index.shards:
            found = f"damaged: a tensor lies in data file {shard} of {index.shards}"
            problems.append(Problem("damaged-file", _INDEX, found, _WHOLE))
            continue
        try:
            with open_file(os.path.join(path, file_name)) as file:
                problems += _shard_problems(file, file_name, by_shard[shard], checked)
        except OSError as error:
            problems.append(_unreadable(file_name, error))
    return problems


def _sampled(index: Index, data: int) -> Set[bytes]:
    """Return the tensors whose checksums are compared: the smallest, up to this many bytes."""
    found, left = set(), 0 if index.is_big_endian else data
    for size, name in sorted((entry.size, name) for name, entry in index.entries.items() if not entry.is_partitioned):
        if size > left:
            break
        left -= size
        found.add(name)
    return found


def _shard_problems(
    file: BinaryIO, name: str, entries: List[Tuple[bytes, Entry]], checked: Set[bytes]
) -> List[Problem]:
    size, end = size_of(file), max(entry.offset + entry.size for _, entry in entries)
    if size < end:
        if begins_as_lfs_pointer(file):
            return [lfs_problem(name)]
        if not size:
            return [Problem("empty-file", name, f"empty, and the index places {end} bytes there", _WHOLE)]
        return [Problem("cut-off", name, f"cut off after {size} bytes, of the {end} of the index", _WHOLE)]
    differing = [
        _shown(tensor)
        for tensor, entry in sorted(entries, key=lambda one: one[1].offset)
        if tensor in checked and not _has_its_checksum(file, entry)
    ]
    if differing:
        found = (
            "damaged, or of another SavedModel: the checksum in the index "
            f"does not match the data of {listed(differing)}"
        )
        return [Problem("checksum", name, found, _WHOLE)]
    return []


def _shown(tensor: bytes) -> str:
    name = tensor.decode("utf-8", "replace")
    return name if name.isprintable() else repr(tensor)  # a slice's key is no text


def _has_its_checksum(file: BinaryIO, entry: Entry) -> bool:
    if entry.data_type in (VARIANT, RESOURCE):
        return True  # TensorFlow alone knows how they are written
    file.seek(entry.offset)
    if entry.data_type == STRING:
        return _strings_match(file.read(entry.size), entry)
    checksum, left = 0, entry.size
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            return False
        checksum = crc32c(piece, checksum)
        left -= len(piece)
    return masked(checksum) == entry.checksum


def _strings_match(data: bytes, entry: Entry) -> bool:
    """Return whether stored strings match their checksum; format: WriteStringTensor in tensor_bundle.cc."""
    count = 1
    for size in entry.shape or ():
        count *= size
    if count > len(data):
        return False  # each has a length
    checksum, at = 0, 0
    for _ in range(count):
        try:
            length, at = varint(data, at)
        except Malformed:
            return False
        if length > len(data):
            return False
        checksum = crc32c(struct.pack("<I" if length <= 0xFFFFFFFF else "<Q", length), checksum)
    return masked(crc32c(data[at:], checksum)) == entry.checksum


def _asset_problems(path: str, facts: GraphFacts) -> List[Problem]:
    problems = []
    for asset in facts.assets:
        name = "assets/" + asset
        if ".." in asset.split("/"):
            continue  # the graph's own problem
        try:
            with open_file(os.path.join(path, name)) as file:
                if begins_as_lfs_pointer(file):
                    problems.append(lfs_problem(name))
        except (FileNotFoundError, NotADirectoryError):
            found = "missing, and the graph reads it"
            problems.append(Problem("missing-asset", name, found, "copy the complete file again"))
        except OSError as error:
            problems.append(_unreadable(name, error))
    return problems


def judge_warmup(directory: PathLike, data: int = READ) -> Tuple[Problem, ...]:
    """Return problems of the warm-up file that prevent loading; compares checksums of up to `data` bytes.

    The requests are not compared with the signatures.
    """
    path, name = os.fspath(directory), WARMUP_FILE
    try:
        with open_file(os.path.join(path, WARMUP_FILE)) as file:
            if begins_as_lfs_pointer(file):
                return (lfs_problem(name),)
            count = _count_records(file, data)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        return (_unreadable(name, error),)
    if count is None:
        found = "cut off or damaged, so that TF Serving would not load the version"
        return (Problem("damaged-file", name, found, "copy it again, or remove it"),)
    if count > MOST_RECORDS:
        found = f"{count} requests or more, and TF Serving takes {MOST_RECORDS} at most, or does not load the version"
        return (Problem("too-many-warmup-requests", name, found, "leave some out"),)
    return ()


def _count_records(file: BinaryIO, data: int) -> Optional[int]:
    """Return the number of TFRecords, counting to one above the limit; None for a damaged file."""
    size, at, count = size_of(file), 0, 0
    while at < size and count <= MOST_RECORDS:
        file.seek(at)
        header = file.read(_RECORD_HEADER)
        if len(header) < _RECORD_HEADER:
            return None
        length, checksum = struct.unpack("<QI", header)
        at += _RECORD_HEADER + length + _RECORD_FOOTER
        if masked(crc32c(header[:8])) != checksum or at > size:
            return None
        if length <= data:
            data -= length
            record = file.read(length)
            (checksum,) = struct.unpack("<I", file.read(_RECORD_FOOTER))
            if masked(crc32c(record)) != checksum:
                return None
        count += 1
    return count


def instead_of_directory(path: PathLike) -> Optional[Problem]:
    """Return the kind of a path that is not a directory; None for a directory."""
    found = _instead_of_directory(os.fspath(path))
    return None if found is None else Problem("not-a-directory", "", found)


def _instead_of_directory(path: str) -> Optional[str]:
    try:
        status = os.stat(path)  # noqa: PTH116  # `path` is text
    except OSError as error:
        if os.path.islink(path):
            return f"a symbolic link to {os.readlink(path)}, which is no directory"
        return "there is no such directory" if error.errno == errno.ENOENT else str(error.strerror)
    if stat.S_ISDIR(status.st_mode):
        return None
    if os.path.islink(path):
        return f"a symbolic link to {os.readlink(path)}, which is no directory"
    if not stat.S_ISREG(status.st_mode):
        return f"{kind(status.st_mode)}, not a directory"
    found = kind_of(Path(path))
    return found.instead_of("a version directory") if found and found.what != EMPTY else "not a directory"
