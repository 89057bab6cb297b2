"""Files are read for the signature that takes them."""

from __future__ import annotations

import os

import numpy as np
import pytest

from ckpt2saved.errors import UsageError
from ckpt2saved.requests.files import choose_signature, given_paths, read_given
from ckpt2saved.signature.tensors import Signature, TensorSpec


def tensor(key, dtype="float32", shape=(None,)):
    return TensorSpec(key, key + ":0", dtype, shape)


def taking(name, *inputs):
    return Signature(name, inputs, (tensor("y"),))


IMAGES, LENGTHS, BYTES = tensor("images", shape=(None, 2)), tensor("lengths", "int32"), tensor("image_bytes", "string")
TENSORS = [taking("serving_default", IMAGES, LENGTHS), taking("dense", IMAGES, LENGTHS)]
OF_TENSORS = [*TENSORS, taking("logits", IMAGES)]
CRNN = [*OF_TENSORS, taking("text", BYTES)]
TWO_READERS = [taking("page", BYTES), taking("text", BYTES)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("both.npz", images=np.zeros([1, 2]), lengths=np.ones(1, "int64"), other=np.zeros(1))
    np.savez("images.npz", images=np.zeros([1, 2]))
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    return tmp_path


@pytest.mark.parametrize(
    "signatures, requested, path, name",
    [
        (CRNN, None, "a.png", "text"),
        (CRNN, None, "a.unknown", "text"),
        (CRNN, None, "both.npz", "serving_default"),
        (CRNN, None, "images.npz", "logits"),
        (CRNN, None, "damaged.npz", "serving_default"),
        (CRNN, None, "absent.npz", "serving_default"),
        (CRNN, None, None, "serving_default"),
        (CRNN, "dense", "both.npz", "dense"),
        ([taking("logits", IMAGES)], None, "a.NPY", "logits"),
        (TWO_READERS, None, "a.png", "text"),
        ([*TWO_READERS, taking("serving_default", BYTES)], None, "a.png", "serving_default"),
    ],
)
def test_the_signature_is_chosen_by_the_first_file(folder, signatures, requested, path, name):
    """The only one that takes it, or serving_default, or text; a file that can't be read fits every signature."""
    assert choose_signature({one.name: one for one in signatures}, requested, path, "m").name == name


@pytest.mark.parametrize(
    "signatures, requested, path, messages",
    [
        (
            CRNN,
            "x",
            "a.png",
            ["--signature x: m has no such signature; expected one of serving_default, dense, logits, text"],
        ),
        (OF_TENSORS, None, "a.png", ["a.png: a picture can't be sent to a signature of m", "an array for each input"]),
        (CRNN, "dense", "a.png", ["a picture can't be sent to the signature dense of m; --signature text takes it"]),
        (
            CRNN,
            "dense",
            "a.npy",
            ["this array can't be sent to the signature dense of m", "dense takes images float32 [?, 2]"],
        ),
        (TENSORS, "dense", "images.npz", ["these arrays can't be sent to the signature dense of m"]),
        (
            TWO_READERS[:1] + [taking("b", BYTES)],
            None,
            "a.png",
            ["m: choose one of several signatures: --signature page or b"],
        ),
        ([], None, "a.png", ["a.png: a picture can't be sent to a signature of m"]),
        ([], "text", "a.png", ["m has no such signature; expected one of none"]),
    ],
)
def test_no_signature_for_the_first_file(folder, signatures, requested, path, messages):
    """What those that exist take, and which one would take the file."""
    with pytest.raises(UsageError) as caught:
        choose_signature({one.name: one for one in signatures}, requested, path, "m")
    assert [message for message in messages if message not in str(caught.value)] == []


def test_what_files_hold(folder):
    """Arrays in the dtypes of the inputs, without those that the signature lacks; pictures as they are."""
    given = read_given("both.npz", CRNN[0])
    assert {key: value.dtype.name for key, value in given.inputs.items()} == {"images": "float32", "lengths": "int32"}
    np.save("a.npy", np.array([[1, 2]], "float64"))
    assert read_given("a.npy", CRNN[2]).inputs["images"].tolist() == [[1, 2]]
    (folder / "a.png").write_bytes(b"\x89PNG\x00")
    assert read_given("a.png", CRNN[3]).picture == b"\x89PNG\x00"


@pytest.mark.parametrize(
    "path, signature, problem",
    [
        (
            "images.npz",
            CRNN[0],
            "images.npz: lengths int32 [?]: missing; serving_default takes images float32 [?, 2], lengths",
        ),
        ("both.npz", CRNN[3], "both.npz: image_bytes string [?]: missing; text takes image_bytes string [?]: expected"),
        ("a.npy", CRNN[0], "a.npy: one array, for 2 inputs; serving_default takes"),
        ("damaged.npz", CRNN[0], "damaged.npz: not a .npz file of plain arrays, as numpy.savez writes it"),
        ("a.png", CRNN[0], "a.png: not an array; serving_default takes"),
        (".", CRNN[3], ".: a directory without pictures (.bmp, .gif, .jpeg, .jpg, .png)"),
        ("a\x00.npz", CRNN[0], r"a\x00.npz: "),
        ("a\x00.png", CRNN[3], r"a\x00.png: "),
        ("x" * 5000, CRNN[3], "File name too long"),
    ],
)
def test_files_that_cannot_be_sent(folder, path, signature, problem):
    """The problem, instead of an exception."""
    given = read_given(path, signature)
    assert (given.inputs, given.picture) == (None, None)
    assert problem in given.problem.text


def test_paths_are_listed_in_order(folder):
    """Directories by the names of their pictures, lines of stdin where - stands, bytes that are no UTF-8."""
    for name in ("b.PNG", "a.jpg", "c.txt"):
        (folder / name).write_bytes(b"")
    listed = [b"x\r\n", b"\n", b"\xff y \n", b"."]
    found = list(given_paths(["1", "-", "2"], iter(listed)))
    assert found == ["1", "x", os.fsdecode(b"\xff y "), "./a.jpg", "./b.PNG", "2"]
