"""The checkpoints of a directory that a training writes into: complete ones alone, in the order of the training."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.checkpoint.run_directory import RunDirectory
from tests.support.checkpoints import write_checkpoint
from tests.support.run_directories import place, write_state


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Write a checkpoint of a few bytes; copies of its files, since TensorFlow is slow to start."""
    made = {}
    folder = tmp_path_factory.mktemp("made")

    def write(prefix, value, seconds=None):
        if value not in made:
            made[value] = write_checkpoint(folder / f"made-{value}", {"x": np.full(4, value, "float32")})
        return place(prefix, made[value], seconds)

    return write


def names(scan):
    return [one.files.name for one in scan.checkpoints]


def test_a_directory_without_checkpoints(tmp_path):
    """Also one that does not exist yet."""
    for path in (tmp_path, tmp_path / "run"):
        scan = RunDirectory(path).scan()
        assert not scan.checkpoints and not scan.incomplete


def test_the_order_is_that_of_the_files_times(tmp_path, checkpoint):
    """Of equal times, that of the numbers."""
    for step, seconds in ((100, 300), (200, 100), (9, 200), (10, 200)):
        checkpoint(tmp_path / f"model.ckpt-{step}", step, seconds)
    scan = RunDirectory(tmp_path).scan()
    assert names(scan) == ["model.ckpt-200", "model.ckpt-9", "model.ckpt-10", "model.ckpt-100"]
    assert [one.step_in_name for one in scan.checkpoints] == [200, 9, 10, 100]
    assert len({one.content for one in scan.checkpoints}) == 4


def test_the_order_of_the_state_file_counts_more_than_times(tmp_path, checkpoint):
    """A copy of a directory has other times. What the state file lists no more is older; unless it was written later."""
    for step, seconds in ((1, 100), (2, 500), (3, 400), (4, 450), (5, 900)):
        checkpoint(tmp_path / f"m-{step}", step, seconds)
    write_state(tmp_path, "m-2", "/elsewhere/m-3", "m-4")
    assert names(RunDirectory(tmp_path).scan()) == ["m-1", "m-2", "m-3", "m-4", "m-5"]


def test_a_training_that_began_anew_is_newer(tmp_path, checkpoint):
    """Its steps are smaller than those of the files that the first one left behind."""
    for step, seconds in ((100, 900), (200, 200), (300, 300)):
        checkpoint(tmp_path / f"m-{step}", step, seconds)
    write_state(tmp_path, "m-100")
    assert names(RunDirectory(tmp_path).scan()) == ["m-200", "m-300", "m-100"]


def test_incomplete_checkpoints_are_told_apart(tmp_path, checkpoint):
    """Without its data file, with half of it, with half an index; each with a reason."""
    for number in range(4):
        checkpoint(tmp_path / f"m-{number}", number, 100 + number)
    (tmp_path / "m-0.data-00000-of-00001").unlink()
    data, index = tmp_path / "m-1.data-00000-of-00001", tmp_path / "m-2.index"
    data.write_bytes(data.read_bytes()[:7])
    index.write_bytes(index.read_bytes()[:-9])
    scan = RunDirectory(tmp_path).scan()
    assert names(scan) == ["m-3"]
    assert sorted(prefix.name for prefix in scan.incomplete) == ["m-0", "m-1", "m-2"]
    assert all(scan.incomplete.values())


def test_a_replaced_file_is_read_again(tmp_path, checkpoint):
    """A training that writes one name again and again; files that did not change are read once."""
    prefix = checkpoint(tmp_path / "weights", 1, 100)
    directory = RunDirectory(tmp_path)
    (first,) = directory.scan().checkpoints
    assert first.is_unchanged and directory.scan().checkpoints[0] is first and first.age > 1000
    checkpoint(prefix, 2, 200)
    assert not first.is_unchanged
    (second,) = directory.scan().checkpoints
    assert second.content != first.content and second.fingerprint != first.fingerprint
    for path in tmp_path.iterdir():
        path.unlink()
    assert not second.is_unchanged and not directory.scan().checkpoints
