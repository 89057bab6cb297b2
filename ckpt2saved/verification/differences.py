"""Differences of two SavedModels, read without TensorFlow, and whether clients of the first can use the second."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Sized, Tuple

from ckpt2saved.checkpoint.index import Damaged, Entry, NotRead, read_index
from ckpt2saved.errors import BreaksClients, VersionError
from ckpt2saved.errors.problem import Note, Problem, details, listed, texts
from ckpt2saved.files.protobuf.data_types import name_of
from ckpt2saved.files.reading import printable, sha256_of, walk
from ckpt2saved.saved_model.reading import FINGERPRINT_FILE, GRAPH_FILE, MetaGraph, SavedModelFile
from ckpt2saved.signature.tensors import Dimension, Signature, TensorSpec, shape_text
from ckpt2saved.versions.base import os_errors_explained
from ckpt2saved.versions.health import content_problems
from ckpt2saved.versions.provenance import PROVENANCE, read_provenance, recorded_without_batch

_BREAKS, _DIFFERS = "breaks-clients", "other-content"
_AS_BEFORE = "keep it as it was"
_INDEX = Path("variables") / "variables.index"

Shape = Optional[Sequence[Dimension]]


@dataclass(frozen=True)
class Differences:
    """How the SavedModel `new` differs from `old`; `problems` are what breaks clients of `old`."""

    old: Path
    new: Path
    problems: Tuple[Problem, ...]
    notes: Tuple[Note, ...]

    @property
    def are_none(self) -> bool:
        """Return whether both have the same content, but for where they come from."""
        return not self.problems and not self.notes

    def raise_if_breaking(self) -> None:
        """Raise BreaksClients with all problems, if there are any."""
        if self.problems:
            raise BreaksClients(f"{self.new}: clients of {self.old} could not use it", self.problems)

    def as_content(self) -> Dict[str, Any]:
        """Return the content of --json."""
        return {
            "old": str(self.old),
            "new": str(self.new),
            "same": self.are_none,
            "problems": texts(self.problems),
            "problem_details": details(self.problems),
            "notes": texts(self.notes),
            "note_details": details(self.notes),
        }


def differences(old: Path, new: Path) -> Differences:
    """Compare two version directories; raises VersionError for one that TF Serving could not load."""
    for directory in (old, new):
        problems = content_problems(directory, warmup=False)
        if problems:
            raise VersionError(f"{directory}: can't be compared, since TF Serving could not load it", problems)
    with os_errors_explained(new, f"compare it with {old}"):  # a failing disk, or a prune meanwhile
        before, after = SavedModelFile(old), SavedModelFile(new)
        breaking, notes = compare_signatures(before.signatures, after.signatures)
        notes += _batching_notes(old, new)
        notes += _graph_notes(before, after)
        notes += _variable_notes(old, new)
        notes += _file_notes(old, new)
    return Differences(old, new, tuple(breaking), tuple(notes))


def compare_signatures(old: Mapping[str, Signature], new: Mapping[str, Signature]) -> Tuple[List[Problem], List[Note]]:
    """Return what breaks clients of the `old` signatures, and what else differs."""
    problems: List[Problem] = []
    notes: List[Note] = []
    for name in sorted(name for name, one in old.items() if not one.is_for_warmup):
        if name not in new:
            problems.append(_breaks(f"signature {name}", "it is gone"))
            continue
        if old[name].method != new[name].method:
            found = f"its method is {new[name].method!r}, and was {old[name].method!r}"
            problems.append(_breaks(f"signature {name}", found, _AS_BEFORE))
        for side in (_Inputs, _Outputs):
            side(name, old[name], new[name]).compare(problems, notes)
    added = sorted(name for name, one in new.items() if name not in old and not one.is_for_warmup)
    notes += [_differs(f"signature {name}", "it is new") for name in added]
    return problems, notes


def _breaks(where: str, found: str, remedy: str = "keep it") -> Problem:
    return Problem(_BREAKS, where, found, f"{remedy}, or publish under another model name for new clients")


def _differs(where: str, found: str, remedy: str = "") -> Note:
    return Note(_DIFFERS, where, found, remedy)


class _Side(ABC):
    """The inputs or outputs of a signature in two SavedModels."""

    noun = ""

    def __init__(self, signature: str, old: Signature, new: Signature) -> None:
        self._signature = signature
        self._old = {spec.key: spec for spec in self.specs(old)}
        self._new = {spec.key: spec for spec in self.specs(new)}

    def compare(self, problems: List[Problem], notes: List[Note]) -> None:
        for key in sorted(self._old):
            where = self._where(key)
            if key not in self._new:
                problems.append(_breaks(where, "it is gone"))
                continue
            old, new = self._old[key], self._new[key]
            if old.dtype != new.dtype:
                problems.append(_breaks(where, f"its dtype is {new.dtype}, and was {old.dtype}", _AS_BEFORE))
            if old.shape != new.shape:
                found = f"its shape is {shape_text(new.shape)}, and was {shape_text(old.shape)}"
                if self.fits(old.shape, new.shape):
                    notes.append(_differs(where, found))
                else:
                    problems.append(_breaks(where, found, _AS_BEFORE))
        for key in sorted(self._new.keys() - self._old.keys()):
            self.add_new(self._where(key), problems, notes)

    def _where(self, key: str) -> str:
        return f"signature {self._signature}, {self.noun} {key}"

    @staticmethod
    @abstractmethod
    def specs(signature: Signature) -> Tuple[TensorSpec, ...]:
        """Return the inputs, or the outputs."""

    @staticmethod
    @abstractmethod
    def fits(old: Shape, new: Shape) -> bool:
        """Return whether clients that know the old shape can use the new one."""

    @staticmethod
    @abstractmethod
    def add_new(where: str, problems: List[Problem], notes: List[Note]) -> None:
        """Add the problem or note for a key that only the new SavedModel has."""


class _Inputs(_Side):
    noun = "input"

    @staticmethod
    def specs(signature: Signature) -> Tuple[TensorSpec, ...]:
        return signature.inputs

    @staticmethod
    def fits(old: Shape, new: Shape) -> bool:
        """Each size that the old one accepts, the new one must accept."""
        if old is None or new is None:
            return new is None
        return len(old) == len(new) and all(after in (None, before) for before, after in zip(old, new))

    @staticmethod
    def add_new(where: str, problems: List[Problem], notes: List[Note]) -> None:
        problems.append(_breaks(where, "it is new, and requests without it fail", "remove it"))


class _Outputs(_Side):
    noun = "output"

    @staticmethod
    def specs(signature: Signature) -> Tuple[TensorSpec, ...]:
        return signature.outputs

    @staticmethod
    def fits(old: Shape, new: Shape) -> bool:
        """A size that the old one promises may become open, since clients read the size of what they get."""
        if old is None or new is None:
            return True
        return len(old) == len(new) and all(
            None in (before, after) or before == after for before, after in zip(old, new)
        )

    @staticmethod
    def add_new(where: str, problems: List[Problem], notes: List[Note]) -> None:
        notes.append(_differs(where, "it is new"))


def _batching_notes(old: Path, new: Path) -> List[Note]:
    if "without_batch" not in (read_provenance(old) or {}):
        return []  # not recorded
    before, after = recorded_without_batch(old), recorded_without_batch(new)
    names = sorted((after.keys() - before.keys()) & SavedModelFile(old).signatures.keys())
    found = "it cannot be used with --enable_batching any more: without a batch dimension: {}"
    return [_differs(f"signature {name}", found.format(listed(after[name]))) for name in names]


class _Nodes(NamedTuple):
    """The nodes that run in requests, those of functions included: digests of their content, and their ops."""

    digests: Mapping[str, bytes]
    ops: Mapping[str, str]


def _graph_notes(old: SavedModelFile, new: SavedModelFile) -> List[Note]:
    before, after = _nodes(old), _nodes(new)
    parts = []
    for verb, names, ops in (
        ("new", after.digests.keys() - before.digests.keys(), after.ops),
        ("gone", before.digests.keys() - after.digests.keys(), before.ops),
        (
            "changed",
            {name for name, digest in after.digests.items() if before.digests.get(name, digest) != digest},
            after.ops,
        ),
    ):
        if names:
            counted = Counter(ops[name] for name in names)
            common = sorted(counted, key=lambda op: (-counted[op], op))
            parts.append(f"{_count(names, 'node')} {verb} ({listed([f'{counted[op]} {op}' for op in common], 4)})")
    notes = [_differs("graph", "; ".join(parts))] if parts else []
    added = sorted(set(after.ops.values()) - set(before.ops.values()))
    if added:
        remedy = "check the release of the server: ckpt2saved doctor VERSION_DIR --serving RELEASE"
        notes.append(_differs("graph", f"it uses ops that it did not use: {listed(added, 8)}", remedy))
    return notes


def _nodes(saved_model: SavedModelFile) -> _Nodes:
    digests: Dict[str, bytes] = {}
    ops: Dict[str, str] = {}
    with saved_model.reading("nodes") as meta_graph:
        assert isinstance(meta_graph, MetaGraph)  # checked by content_problems
        for name, node in meta_graph.answering_nodes():
            digest = hashlib.blake2b(repr((node.op, node.inputs)).encode(), digest_size=16)
            for key, value in sorted(node.attributes(), key=lambda one: one[0]):
                digest.update(repr(key).encode())
                digest.update(value.content())
            digests[name] = digest.digest()
            ops[name] = node.op
    return _Nodes(digests, ops)


def _variable_notes(old: Path, new: Path) -> List[Note]:
    before, after = _variables(old), _variables(new)
    if before is None or after is None:
        return [_differs("variables", "they are not compared: the index of one is compressed")]
    notes = []
    for verb, names in (("new", after.keys() - before.keys()), ("gone", before.keys() - after.keys())):
        if names:
            notes.append(_differs("variables", f"{_count(names, 'variable')} {verb}: {listed(sorted(names), 3)}"))
    both = sorted(before.keys() & after.keys())
    reshaped = [name for name in both if _form(before[name]) != _form(after[name])]
    if reshaped:
        forms = [f"{name} is {_form(after[name])}, and was {_form(before[name])}" for name in reshaped]
        notes.append(_differs("variables", f"{_of(reshaped, both)} another dtype or shape: {listed(forms, 3)}"))
    same_form = [name for name in both if name not in set(reshaped)]
    changed = [name for name in same_form if _content(before[name]) != _content(after[name])]
    if changed:
        notes.append(_differs("variables", f"{_of(changed, both)} other values: {listed(changed, 3)}"))
    return notes


def _of(some: Sequence[str], every: Sequence[str]) -> str:
    return f"{len(some)} of {len(every)} {'have' if len(some) > 1 else 'has'}"


def _count(names: Sized, noun: str) -> str:
    return f"{len(names)} {noun}s are" if len(names) > 1 else f"1 {noun} is"


def _variables(directory: Path) -> Optional[Dict[str, Entry]]:
    try:
        entries = read_index(directory / _INDEX).entries
    except FileNotFoundError:
        return {}
    except NotRead:
        return None
    except (OSError, Damaged) as error:
        raise VersionError(f"{directory / _INDEX}: can't be read: {error}; export it again") from error
    return {printable(os.fsdecode(key)): entry for key, entry in entries.items()}


def _form(entry: Entry) -> str:
    shape = None if entry.shape is None else [None if size < 0 else size for size in entry.shape]
    return f"{name_of(entry.data_type)} {shape_text(shape)}"


def _content(entry: Entry) -> Tuple[int, int, Tuple[str, ...]]:
    """What differs for tensors of different values: the checksum is CRC-32C of all bytes."""
    return entry.checksum, entry.size, entry.slices


def _file_notes(old: Path, new: Path) -> List[Note]:
    """Compare the files other than the graph and the variables, which are compared by content."""
    before, after = _files(old), _files(new)
    notes = [_differs(name, "the file is new") for name in sorted(after.keys() - before.keys())]
    notes += [_differs(name, "the file is gone") for name in sorted(before.keys() - after.keys())]
    for name in sorted(before.keys() & after.keys()):
        if sha256_of(before[name]) != sha256_of(after[name]):
            notes.append(_differs(name, "the file has other content"))
    return notes


def _files(directory: Path) -> Dict[str, Path]:
    compared = (GRAPH_FILE, FINGERPRINT_FILE, PROVENANCE.as_posix())
    names = (printable(entry.name) for entry in walk(os.fspath(directory)) if os.path.isfile(entry.path))
    return {name: directory / name for name in names if name not in compared and not name.startswith("variables/")}
