"""The variables of a SavedModel: copied a part at a time, looked through for NaN, with no second copy in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.checkpoint.contents import Weights
from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import texts
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.saved_model import writing
from ckpt2saved.saved_model.writing import _write_variables
from tests.support.checkpoints import write_checkpoint
from tests.support.tensors import opened, save

KINDS = {
    "a": np.arange(30, dtype="float32").reshape(5, 6),
    "b": np.arange(7, dtype="int64"),
    "c/texts": np.array([b"one", b"three"], object),
    "d": np.zeros((0, 3), "float32"),
    "e": np.full((3,), np.inf, "float32"),
    "f": np.array(2.5, "float64"),
}


def read(prefix):
    reader = tf.train.NewCheckpointReader(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.parametrize("at_once, files", [(1, 5), (60, 3), (1 << 29, 1)])
def test_variables_are_copied_a_part_at_a_time(tmp_path, monkeypatch, at_once, files):
    """Into as many data files as it takes; the tensors are the same, infinite ones too, and nothing else is left."""
    monkeypatch.setattr(writing, "_AT_ONCE", at_once)
    write_checkpoint(tmp_path / "m", dict(KINDS, unserved=np.ones(3, "float32")))
    _write_variables(tmp_path / "variables", opened(tmp_path / "m"), Weights("raw", {"v/" + k: k for k in KINDS}, ""))
    found = read(tmp_path / "variables" / "variables")
    assert set(found) == {"v/" + name for name in KINDS}
    for name, value in KINDS.items():
        np.testing.assert_array_equal(found["v/" + name], value)
    names = sorted(path.name for path in (tmp_path / "variables").iterdir())
    data = [f"variables.data-{number:05d}-of-{files:05d}" for number in range(files)]
    assert names == data + ["variables.index"]


def test_parts_of_a_partitioned_variable(tmp_path, monkeypatch):
    """Each is a variable of the graph; its size is that of the slice, not of the whole."""
    monkeypatch.setattr(writing, "_AT_ONCE", 96)
    half = np.arange(12, dtype="float32").reshape(4, 3)
    save(tmp_path / "m", [("w", "8 3 0,4:-", half), ("w", "8 3 4,4:-", half + 12)])
    weights = Weights("raw", {"w/0": "w", "w/1": "w"}, "", {"w/0": "8 3 0,4:-", "w/1": "8 3 4,4:-"})
    _write_variables(tmp_path / "variables", opened(tmp_path / "m"), weights)
    found = read(tmp_path / "variables" / "variables")
    np.testing.assert_array_equal(found["w/0"], half)
    np.testing.assert_array_equal(found["w/1"], half + 12)
    assert len(list((tmp_path / "variables").glob("*.data-*"))) == 1


@pytest.mark.parametrize("at_once", [1, 1 << 29])
def test_every_weight_that_is_nan_is_named(tmp_path, monkeypatch, at_once):
    """With the count, in whichever part; infinite ones are none."""
    monkeypatch.setattr(writing, "_AT_ONCE", at_once)
    values = dict(KINDS, a=np.array([1, np.nan, np.nan, np.inf], "float32"), f=np.array(np.nan))
    write_checkpoint(tmp_path / "m", values)
    with pytest.raises(NotServable, match="weights are NaN") as caught:
        _write_variables(tmp_path / "variables", opened(tmp_path / "m"), Weights("raw", {k: k for k in values}, ""))
    assert list(texts(caught.value.problems)) == ["a: 2 values are NaN", "f: 1 values are NaN"]


PEAK = """
import resource, sys, threading
from pathlib import Path
from ckpt2saved.checkpoint.contents import Weights, open_checkpoint
from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.saved_model.writing import _write_variables
folder = Path(sys.argv[1])
def memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
def watch(seen, done):
    while not done.wait(0.002):
        seen.append(memory())
for name in ("small", "large"):  # the first is what TensorFlow takes to begin with
    checkpoint = open_checkpoint(find_checkpoint(folder / name))
    seen, done = [memory()], threading.Event()
    thread = threading.Thread(target=watch, args=(seen, done))
    thread.start()
    _write_variables(folder / ("variables-" + name), checkpoint, Weights("raw", {"w": "w"}, ""))
    done.set()
    thread.join()
print(max(seen) - seen[0])  # not the process's own peak, which importing TensorFlow may have made
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc elsewhere")
def test_a_large_variable_is_in_memory_once(tmp_path):
    """Looking for NaN, too, takes no copy of it; a plain script needs as much."""
    size = 25 << 20
    write_checkpoint(tmp_path / "small", {"w": np.ones(2, "float32")})
    write_checkpoint(tmp_path / "large", {"w": np.ones(size, "float32")})
    environment = dict(os.environ, PYTHONPATH=str(Path(writing.__file__).resolve().parents[2]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PEAK, str(tmp_path)], env=environment, stdout=subprocess.PIPE, check=True
    )
    assert 0.9 < int(done.stdout.decode().split()[-1]) / (size * 4) < 1.25
