"""Find out whether a path is a checkpoint, a training's graph or a SavedModel, without TensorFlow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

from ckpt2saved.checkpoint.files import CheckpointFiles, find_checkpoint
from ckpt2saved.errors import CheckpointError, NoCheckpoint
from ckpt2saved.errors.problem import Note
from ckpt2saved.files.kinds import is_frozen_graph, is_meta_graph
from ckpt2saved.saved_model.reading import SAVED_MODEL_FILES
from ckpt2saved.versions import numbered_children

FROZEN = "frozen graph"


@dataclass(frozen=True)
class Subject:
    """The files to inspect."""

    path: Path
    kind: str  # checkpoint, meta graph, frozen graph, SavedModel
    checkpoint: Optional[CheckpointFiles]
    meta: Optional[Path]
    saved_model: Optional[Path]  # the directory
    remarks: Tuple[Note, ...] = ()


def find_subject(path: Path) -> Subject:
    """Find the files at `path`; raises CheckpointError if there is nothing to inspect."""
    directory = _saved_model(path)
    if directory:
        return Subject(path=path, kind="SavedModel", checkpoint=None, meta=None, saved_model=directory)
    if os.path.isfile(str(path)) and (path.name.endswith(".meta") or is_meta_graph(path)):
        return _of_meta(path)
    if is_frozen_graph(path):
        return Subject(path=path, kind=FROZEN, checkpoint=None, meta=path, saved_model=None)
    if os.path.isdir(str(path)):
        return _of_directory(path)
    return _of_checkpoint(path, find_checkpoint(path))


def _saved_model(path: Path) -> Optional[Path]:
    directory = path.parent if path.name in SAVED_MODEL_FILES else path
    found = any(os.path.isfile(str(directory / name)) for name in SAVED_MODEL_FILES)
    return directory if found else None


def _of_checkpoint(path: Path, files: CheckpointFiles, remarks: Tuple[Note, ...] = ()) -> Subject:
    return Subject(path=path, kind="checkpoint", checkpoint=files, meta=files.meta, saved_model=None, remarks=remarks)


def _of_meta(path: Path) -> Subject:
    try:
        return Subject(path=path, kind="meta graph", checkpoint=find_checkpoint(path), meta=path, saved_model=None)
    except CheckpointError as error:
        note = Note("no-checkpoint", "", f"no checkpoint beside it that can be read: {error}")
        return Subject(path=path, kind="meta graph", checkpoint=None, meta=path, saved_model=None, remarks=(note,))


def _of_directory(path: Path) -> Subject:
    """A checkpoint has priority over versions in the same directory: trainings export into their own directory."""
    try:
        return _of_checkpoint(path, find_checkpoint(path))
    except CheckpointError as error:
        try:
            children = [child for child in numbered_children(path) if _saved_model(child.path)]
            metas = sorted(name for name in os.listdir(str(path)) if name.endswith(".meta"))
        except OSError as problem:
            raise CheckpointError(f"{path}: can't be read: {problem.strerror}") from problem
        if children:
            newest = children[-1].path
            note = Note("newest-version", "", f"{newest} is the newest of {len(children)} versions")
            return Subject(
                path=path,
                kind="SavedModel",
                checkpoint=None,
                meta=None,
                saved_model=newest,
                remarks=(note,) if len(children) > 1 else (),
            )
        if len(metas) == 1:
            return _of_meta(path / metas[0])
        if isinstance(error, NoCheckpoint):
            raise CheckpointError(
                f"{path}: neither a checkpoint here (a 'checkpoint' state file, a *.index file, a V1 checkpoint), nor a"
                " SavedModel (saved_model.pb), nor numbered versions of one, nor a single .meta file; pass the path of"
                " one of these"
            ) from error
        raise
