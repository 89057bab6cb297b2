"""Which tensors of a checkpoint are damaged, which can't be read and are not damaged, and what export says of both."""

from __future__ import annotations

import base64
import shutil
import struct

import numpy as np
import pytest

from ckpt2saved.checkpoint.contents import Weights
from ckpt2saved.checkpoint.files import CheckpointFiles, find_checkpoint
from ckpt2saved.checkpoint.index import index_of, is_cut_off
from ckpt2saved.checkpoint.reading import check_unserved, values
from ckpt2saved.errors import CheckpointError
from ckpt2saved.errors.problem import texts
from ckpt2saved.files.protobuf.crc32c import crc32c, masked
from ckpt2saved.files.protobuf.wire import varint
from ckpt2saved.graph.tf1 import tf
from tests.support.checkpoints import write_checkpoint
from tests.support.tensors import FLOAT8, opened, save

NOTHING_SERVED = Weights("raw", {}, "")


def damaged_names(checkpoint, weights=NOTHING_SERVED):
    with pytest.raises(CheckpointError, match="this checkpoint is damaged; take another one") as caught:
        check_unserved(checkpoint, weights)
    return [problem.split(":")[0] for problem in texts(caught.value.problems)]


@pytest.fixture
def partitioned(tmp_path):
    """A variable in two slices, and a slot of it of which one slice was saved under a name that is not its own."""
    half = np.arange(12, dtype="float32").reshape(4, 3)
    parts = [("w", "8 3 0,4:-", half), ("w", "8 3 4,4:-", half + 12), ("w/part_0/Adagrad", "8 3 4,4:-", half + 100)]
    return save(tmp_path / "m", parts + [("z", "", np.ones(2, "float32"))])


def test_slices_that_do_not_cover_a_tensor_are_a_note(partitioned):
    """Nobody can read such an optimizer slot whole, and nothing is damaged."""
    (note,) = check_unserved(opened(partitioned), NOTHING_SERVED)
    assert note.code == "unreadable-tensor" and note.text.startswith(
        "not served, and cannot be read whole: w/part_0/Adagrad (Does not have sufficient slices"
    )
    assert index_of(find_checkpoint(partitioned)).entry("w/part_0/Adagrad").slices == ("8 3 4,4:-",)


@pytest.mark.parametrize("at, names", [(0, ["w"]), (60, ["w"]), (100, ["w/part_0/Adagrad"]), (-1, ["z"])])
def test_a_bit_flipped_in_any_slice_is_damage(partitioned, at, names):
    """Also in the slices of what is there in part; the process goes on, and every damaged tensor is named."""
    data = partitioned.with_name("m.data-00000-of-00001")
    content = bytearray(data.read_bytes())
    assert len(content) == 3 * 48 + 8
    content[at] ^= 1
    data.write_bytes(bytes(content))
    assert damaged_names(opened(partitioned)) == names
    content[0] ^= 2
    content[-1] ^= 2
    data.write_bytes(bytes(content))
    assert damaged_names(opened(partitioned)) == sorted({"w", "z", *names})
    # A damaged tensor that is served is named with those that are not, where one of those is damaged too.
    if names != ["z"]:
        assert "w" in damaged_names(opened(partitioned), Weights("raw", {"w": "w"}, ""))


def test_a_cut_off_a_missing_and_a_foreign_data_file_are_damage(partitioned, tmp_path):
    """Whatever became of the data, where no tensor is served: the index alone is there."""
    data = partitioned.with_name("m.data-00000-of-00001")
    content = data.read_bytes()
    checkpoint = opened(partitioned)
    everything = ["w", "w/part_0/Adagrad", "z"]
    data.write_bytes(content[:100])
    assert damaged_names(checkpoint) == everything[1:]
    data.unlink()
    assert damaged_names(checkpoint) == everything
    other = write_checkpoint(tmp_path / "other", {"a": np.full(200, 7, "float32")})
    shutil.copy(str(other) + ".data-00000-of-00001", str(data))
    assert damaged_names(checkpoint) == everything


def test_tensors_of_every_kind_are_read(tmp_path):
    """Texts, complex and quantized numbers, no values at all; the state of a tf.data iterator is passed over."""
    with tf.Graph().as_default(), tf.Session() as session:
        dataset = tf.data.Dataset.from_tensor_slices(np.arange(10.0)).shuffle(5)
        iterator = tf.data.make_initializable_iterator(dataset)
        iterator.get_next()
        state = tf.data.experimental.make_saveable_from_iterator(iterator)
        kinds = [("bfloat16", 1), ("complex64", 1j), ("string", "text"), ("bool", True), ("uint16", 3), ("float16", 1)]
        for dtype, value in kinds:
            tf.Variable(tf.constant(value, tf.as_dtype(dtype), [2]), name="of_" + dtype)
        tf.Variable(tf.zeros([0, 3]), name="of_nothing")
        tf.Variable(tf.bitcast(tf.constant([1, 2], tf.int8), tf.qint8), name="of_qint8")
        session.run([tf.global_variables_initializer(), iterator.initializer])
        tf.train.Saver(tf.global_variables() + [state]).save(session, str(tmp_path / "m"))
    checkpoint = opened(tmp_path / "m")
    assert tf.variant in checkpoint.dtypes.values() and len(checkpoint.dtypes) == 9
    assert check_unserved(checkpoint, NOTHING_SERVED) == []
    data = tmp_path / "m.data-00000-of-00001"
    content = data.read_bytes()
    data.write_bytes(content.replace(b"text", b"Text"))
    assert damaged_names(checkpoint) == ["of_string"]
    data.write_bytes(content[:1])  # the state of the iterator is not read, and has to be there all the same
    (name,) = [name for name, dtype in checkpoint.dtypes.items() if dtype == tf.variant]
    assert name.split(":")[0] in damaged_names(checkpoint)


def test_a_dtype_that_tensorflow_does_not_know(tmp_path):
    """What is not served need not be known: it is named, and its bytes have to be there."""
    for ending, content in FLOAT8.items():
        (tmp_path / ("m." + ending)).write_bytes(base64.b64decode(content))
    checkpoint = opened(tmp_path / "m")
    assert values(checkpoint, ["w"])["w"].tolist() == [1.0, 2.0]
    notes = check_unserved(checkpoint, Weights("raw", {"w": "w"}, ""))
    if tf.__version__.startswith("1."):
        text = "not served, and not read: TensorFlow {} does not know the dtype of w/scale (24)"
        assert texts(notes) == [text.format(tf.version.VERSION)] and set(checkpoint.shapes) == {"w"}
    else:
        assert notes == [] and set(checkpoint.shapes) == {"w", "w/scale"}
    data = tmp_path / "m.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    assert damaged_names(checkpoint) == ["w/scale"]


def partitioned_training(folder):
    """A training whose optimizer, made inside of a scope, gives the slots of a partitioned variable wrong names."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 8], name="x")
        with tf.variable_scope("rank", use_resource=False):
            w = tf.get_variable("w", [8, 3], partitioner=tf.fixed_size_partitioner(2, 0))
            slot = tf.get_variable("slot", [4, 3], initializer=tf.ones_initializer())
        tf.identity(tf.matmul(x, tf.convert_to_tensor(w)), name="out")
        # What tf.train.Saver is given by such an optimizer, said outright: newer TensorFlow names them otherwise.
        slot._set_save_slice_info(tf.Variable.SaveSliceInfo("rank/w/Adagrad", [8, 3], [4, 0], [4, 3]))
        session.run(tf.global_variables_initializer())
        kernel = np.concatenate(session.run(list(w)))
        tf.train.Saver().save(session, str(folder / "model.ckpt-1"))
    return kernel


def test_a_slot_that_nobody_can_read_whole_does_not_stop_an_export(run, tmp_path):
    """The served variable is complete; a bit flipped in the slot is damage all the same, and nothing is published."""
    from tests.support.saved_models import asked

    kernel = partitioned_training(tmp_path)
    command = ["export", "--checkpoint", tmp_path, "--input", "x=x:0", "--output", "out=out:0", "-o", tmp_path / "base"]
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "cut off" not in run("inspect", tmp_path).output
    assert "note        not served, and cannot be read whole: rank/w/Adagrad (Does not have" in result.output
    x = np.random.RandomState(0).uniform(-1, 1, (3, 8)).astype("float32")
    np.testing.assert_allclose(asked(tmp_path / "base" / "1", x=x)["out"], x @ kernel, rtol=1e-5)
    data = tmp_path / "model.ckpt-1.data-00000-of-00001"
    content = data.read_bytes()
    data.write_bytes(content.replace(np.ones(12, "float32").tobytes(), np.full(12, 2, "float32").tobytes()))
    result = run(*command)
    assert result.exit_code == 1 and not (tmp_path / "base" / "2").exists()
    assert "this checkpoint is damaged; take another one, or copy it again\n  - rank/w/Adagrad: " in result.output
    assert "Checksum does not match" in result.output
    data.write_bytes(content[:-1])
    assert "this checkpoint was cut off; copy it again" in " ".join(run("inspect", tmp_path).output.split())
    data.write_bytes(content.replace(kernel[:4].tobytes(), kernel[4:].tobytes()))
    for options in ([], ["--no-parity"]):  # what is served is read where it is copied
        result = run(*command, *options)
        assert result.exit_code == 1 and not (tmp_path / "base" / "2").exists()
        assert "copy it again\n  - rank/w: " in result.output and "Checksum does not match" in result.output


@pytest.mark.parametrize("seed", range(4))
def test_an_index_that_is_damaged_is_no_traceback(partitioned, seed):
    """Whatever byte is another one, this code finds tensors or nothing, in no time; also where the checksum fits it."""
    index = partitioned.with_name("m.index")
    content, random = index.read_bytes(), np.random.RandomState(seed)
    files = CheckpointFiles(partitioned, (index, partitioned.with_name("m.data-00000-of-00001")), None)
    end = varint(content, len(content) - 48)[0] - 5  # of the one block with tensors
    found = 0
    for number in range(300):
        spoilt = bytearray(content)
        spoilt[random.randint(end if number % 2 else len(spoilt))] = random.randint(256)
        if number % 2:
            spoilt[end + 1 : end + 5] = struct.pack("<I", masked(crc32c(bytes(spoilt[: end + 1]))))
        index.write_bytes(bytes(spoilt))
        is_cut_off(files, index_of(files).entries.values())
        found += bool(index_of(files).entries)
    assert 30 < found < 270
    index.write_bytes(content)
    names = {name for name in index_of(files).entries if not name.startswith(b"\0")}  # not of slices
    assert names == {b"w", b"w/part_0/Adagrad", b"z"}
