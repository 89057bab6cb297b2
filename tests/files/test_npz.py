"""Files of arrays: read as numpy reads them, and refused before they take memory or run code."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import struct
import zipfile

import numpy as np
import pytest

from ckpt2saved.files import npz
from ckpt2saved.files.npz import NoArrays, read_array, read_arrays


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_of_numpy(tmp_path, save):
    """Of every dtype and order that a request can have, without elements and without axes."""
    arrays = {
        "a": np.arange(12, dtype="float32").reshape(3, 4),
        "columns": np.asfortranarray(np.arange(12).reshape(3, 4)),
        "big": np.arange(3, dtype=">i4"),
        "single": np.array(7, "int8"),
        "none": np.zeros([2, 0, 3], "float64"),
        "bytes": np.array([b"ab", b"c\x00d"]),
        "texts": np.array([["\u00e4", ""]]),
        "no texts": np.array([""], "U"),
        "flags": np.array([True, False]),
        "x/y.npy": np.ones(1, "complex64"),
    }
    save(str(tmp_path / "x.npz"), **arrays)
    found = read_arrays(tmp_path / "x.npz")
    with np.load(str(tmp_path / "x.npz")) as wanted:
        assert sorted(found) == sorted(wanted.files)
        for name in found:
            np.testing.assert_array_equal(found[name], wanted[name])
            assert found[name].dtype == wanted[name].dtype
    found["a"][0] = 1  # a copy of one's own


def test_a_single_array_is_that_of_numpy(tmp_path):
    """Of a .npy file."""
    for array in (
        np.arange(12, dtype="float32").reshape(3, 4),
        np.asfortranarray(np.eye(3)),
        np.array([b"a"]),
        np.array(1),
    ):
        np.save(str(tmp_path / "x.npy"), array)
        found = read_array(tmp_path / "x.npy")
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype


def test_a_single_array_that_cannot_be_read(tmp_path, monkeypatch):
    """Objects are not unpickled, and nothing larger than the limit is read."""
    np.save(str(tmp_path / "objects.npy"), np.array([Evil()], object), allow_pickle=True)
    np.save(str(tmp_path / "whole.npy"), np.zeros(1000))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:500])
    (tmp_path / "empty.npy").write_bytes(b"")
    np.savez(str(tmp_path / "arrays.npz"), x=np.zeros(1))
    for name in ("objects.npy", "cut.npy", "empty.npy", "arrays.npz"):
        with pytest.raises(NoArrays, match=r"not a \.npy file of a plain array, as numpy\.save writes it"):
            read_array(tmp_path / name)
    monkeypatch.setattr(npz, "_MOST_BYTES", 1000)
    with pytest.raises(NoArrays, match="its array takes 0 MB; at most 0 MB are read"):
        read_array(tmp_path / "whole.npy")


def member(header, content=b"", length=None):
    """A .npy file with this header."""
    header = header.encode() if isinstance(header, str) else header
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) if length is None else length) + header + content


def described(dtype, shape):
    return f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}\n"


class Evil:
    def __reduce__(self):
        return os.mkdir, ("/tmp/this_must_not_be_made",)


BROKEN = {
    "not a numpy array": b"hello, world",
    "a header of 60000 bytes": member("{" * 99, length=60000),
    "does not take the 4 bytes": member(described("<f4", (10**12,)), b"abcd"),
    "of shape (-1, -1)": member(described("<f4", (-1, -1)), b"abcd"),
    "objects, which are not unpickled": member(described("|O", (1,)), pickle.dumps([Evil()])),
    "texts of no length": member(described("|S0", (10**15,))),
    "as numpy.savez writes it": member("[" * 5000 + "]" * 5000),
    "numpy.savez writes": member("__import__('os').mkdir('/tmp/this_must_not_be_made')\n"),
    "savez": member("{'descr': '<f4'}\n"),
}


@pytest.mark.parametrize("problem", sorted(BROKEN))
def test_members_that_are_no_arrays(tmp_path, problem):
    """Each with its name, and never with what it asks to be run."""
    with zipfile.ZipFile(str(tmp_path / "x.npz"), "w") as archive:
        archive.writestr("image.npy", BROKEN[problem])
    with pytest.raises(NoArrays) as caught:
        read_arrays(tmp_path / "x.npz")
    assert problem in str(caught.value) and len(str(caught.value)) < 400
    assert not os.path.exists("/tmp/this_must_not_be_made")


def test_a_bomb_is_refused_by_its_size(tmp_path, monkeypatch):
    """Zeros, which are packed a thousand times smaller; here against a smaller limit."""
    assert npz._MOST_BYTES == 1 << 30
    monkeypatch.setattr(npz, "_MOST_BYTES", 3 << 20)
    np.savez_compressed(str(tmp_path / "x.npz"), a=np.zeros(2 << 20, "u1"), b=np.zeros(2 << 20, "u1"))
    with pytest.raises(NoArrays, match="its arrays take 4 MB unpacked; at most 3 MB are read"):
        read_arrays(tmp_path / "x.npz")


def test_other_files(tmp_path):
    """Another format, a directory, a device, a list of two million names."""
    np.save(str(tmp_path / "one.npy"), np.ones(3))
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "objects.npz").write_bytes(pickle.dumps(Evil()))
    listed = io.BytesIO()
    with zipfile.ZipFile(listed, "w") as archive:
        archive.writestr("a", b"")
    content = bytearray(listed.getvalue())
    content[-10:-6] = struct.pack("<L", 90 << 20)
    (tmp_path / "names.npz").write_bytes(content)
    for name, message in (
        ("one.npy", "a single unnamed array, as numpy.save writes it"),
        ("text.npz", "not a .npz file of plain arrays"),
        ("empty.npz", "not a .npz file of plain arrays"),
        ("objects.npz", "not a .npz file of plain arrays"),
        ("names.npz", "a list of its arrays of 92160 KB; at most 1024 KB are read"),
        ("absent.npz", "No such file or directory"),
        (".", "a directory, not a file"),
    ):
        with pytest.raises(NoArrays, match=message):
            read_arrays(tmp_path / name)
    with pytest.raises(NoArrays, match="a device, not a file"):
        read_arrays(type(tmp_path)("/dev/zero"))


def test_any_damage_is_told(tmp_path):
    """Some thousand files with bytes that were changed: arrays or NoArrays, and nothing else."""
    np.savez_compressed(str(tmp_path / "x.npz"), a=np.arange(50, dtype="float32"), b=np.array([b"ab"]))
    good = (tmp_path / "x.npz").read_bytes()
    chance = random.Random(0)
    path = tmp_path / "y.npz"
    for _ in range(1500):
        content = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content[: chance.choice([len(content), chance.randrange(len(content))])])
        with contextlib.suppress(NoArrays):
            read_arrays(path)
