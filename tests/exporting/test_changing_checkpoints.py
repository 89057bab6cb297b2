"""Checkpoints that a training deletes or replaces while they are exported, and those that were published before."""

from __future__ import annotations

import numpy as np
import pytest

import ckpt2saved
from ckpt2saved.errors import AlreadyPublished, CheckpointError
from tests.support.checkpoints import crnn_shapes, filled, write_checkpoint
from tests.support.run_directories import delete, place
from tests.support.versions import names


@pytest.fixture(scope="module")
def other_checkpoint(tmp_path_factory):
    """Of the same shapes, and with other values."""
    values = {name: np.asarray(value) * 2 for name, value in filled(crnn_shapes()).items()}
    return write_checkpoint(tmp_path_factory.mktemp("other") / "model.ckpt-8", values)


def export(prefix, base, then=lambda: None, **options):
    """Export, and do something when the answers have been compared."""

    def progress(step, text):
        if step == "parity":
            then()

    return ckpt2saved.export(prefix, base, model="crnn", no_warmup=True, progress=progress, **options)


def test_a_deleted_checkpoint_that_was_read_is_published(tmp_path, crnn_checkpoint):
    prefix = place(tmp_path / "run" / "m-7", crnn_checkpoint)
    version = export(prefix, tmp_path / "models", lambda: delete(prefix))
    assert version.path == tmp_path / "models" / "1" and version.path.is_dir()
    assert version.provenance["checkpoint"]["step"] == 7 and version.provenance["bytes"]["checkpoint"] > 1000


def test_a_replaced_checkpoint_is_refused(tmp_path, crnn_checkpoint, other_checkpoint):
    """Some of its tensors could be of the other one; and the recorded hash would be."""
    prefix = place(tmp_path / "run" / "m-7", crnn_checkpoint)
    with pytest.raises(CheckpointError, match="replaced while they were exported"):
        export(prefix, tmp_path / "models", lambda: place(prefix, other_checkpoint))
    assert not (tmp_path / "models").exists()


def test_a_published_checkpoint_is_refused_if_asked(tmp_path, crnn_checkpoint):
    """Under any name; without the option it is published again."""
    base = tmp_path / "models"
    export(crnn_checkpoint, base, parity=False)
    copy = place(tmp_path / "run" / "other-name", crnn_checkpoint)
    begun = []

    def progress(step, text):
        begun.append(step)

    with pytest.raises(AlreadyPublished, match="version 1, has this checkpoint already"):
        ckpt2saved.export(copy, base, model="crnn", unless_published=True, progress=progress)
    assert names(base) == ["1"] and "graph" not in begun  # before it takes time
    export(copy, base, parity=False)
    assert names(base) == ["1", "2"]


def test_a_checkpoint_that_is_published_meanwhile_is_refused(tmp_path, crnn_checkpoint):
    """By another exporter of it; that is seen under the lock of the base."""
    base = tmp_path / "models"
    with pytest.raises(AlreadyPublished, match="version 1, has this checkpoint already"):
        export(crnn_checkpoint, base, lambda: export(crnn_checkpoint, base, parity=False), unless_published=True)
    assert names(base) == ["1"]
