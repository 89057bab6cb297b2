"""Checkpoints of every kind are read, damaged ones are refused, and each variable gets the right tensor."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from ckpt2saved.checkpoint.contents import choose_weights, misfits, open_checkpoint
from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.checkpoint.reading import restore
from ckpt2saved.checkpoint.variables import add_restore, graph_variables
from ckpt2saved.errors import CheckpointError, UsageError
from ckpt2saved.errors.problem import texts
from ckpt2saved.graph.tf1 import tf
from tests.support import golden_rule
from tests.support.checkpoints import write_checkpoint

AVERAGE = "/ExponentialMovingAverage"
SHAPES = {"a/w": (2, 3), "a/b": (3,), "n/moving_mean": (3,)}


def opened(path):
    return open_checkpoint(find_checkpoint(path))


def write(prefix, names):
    """A checkpoint of these names, filled by the golden rule, each of the shape of its variable."""
    shapes = {name: SHAPES.get(name.replace(AVERAGE, ""), (2,)) for name in names}
    return write_checkpoint(prefix, {name: golden_rule.fill(name, shape) for name, shape in shapes.items()})


@pytest.fixture
def variables():
    """Variables of SHAPES, in a graph of their own: of both kinds."""
    with tf.Graph().as_default() as graph:
        for name, shape in sorted(SHAPES.items()):
            tf.get_variable(name, shape, use_resource=name == "a/b")
        yield graph_variables(graph)


def restored(checkpoint, variables, weights="auto"):
    """The values that the variables get."""
    chosen = choose_weights(checkpoint, variables, weights)
    saver_def = add_restore(tf.get_default_graph(), chosen.keys)
    with tf.Session() as session:
        restore(session, saver_def, checkpoint, chosen)
        return {v.op.name: session.run(v) for v in tf.global_variables()}


def test_a_v1_checkpoint_is_read(tmp_path, variables):
    """The single-file format of tf.train.SaverDef.V1."""
    prefix = tmp_path / "old.ckpt-5"
    with tf.Session() as session:
        values = tf.global_variables()
        session.run([tf.assign(v, golden_rule.fill(v.op.name, v.get_shape().as_list())).op for v in values])
        tf.train.Saver(write_version=tf.train.SaverDef.V1).save(session, str(prefix))
    checkpoint = opened(prefix)
    assert checkpoint.files.is_v1 and checkpoint.shapes == SHAPES
    for name, value in restored(checkpoint, variables).items():
        np.testing.assert_array_equal(value, golden_rule.fill(name, SHAPES[name]))


def test_sharded_data_files_are_read(tmp_path, variables):
    """Three data files, as parameter servers write them."""
    parts = [str(tmp_path / f"part{i}") for i in range(3)]
    for part, name in zip(parts, sorted(SHAPES)):
        write(part, [name])
    with tf.Session() as session:
        session.run(tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(tmp_path / "m")))
    assert (tmp_path / "m.data-00002-of-00003").exists()
    for name, value in restored(opened(tmp_path / "m.data-00001-of-00003"), variables).items():
        np.testing.assert_array_equal(value, golden_rule.fill(name, SHAPES[name]))


@pytest.mark.parametrize(
    "held, weights, kind, averaged",
    [
        pytest.param([], "auto", "raw", [], id="no averages"),
        pytest.param(["a/w", "a/b"], "auto", "ema", ["a/w", "a/b"], id="batch norm's statistics need none"),
        pytest.param(["a/w", "a/b", "n/moving_mean"], "auto", "ema", list(SHAPES), id="averages of all"),
        pytest.param(["a/w"], "auto", "raw", [], id="averages of some"),
        pytest.param(["a/w", "a/b"], "raw", "raw", [], id="raw is asked for"),
        pytest.param(["a/w", "a/b"], "ema", "ema", ["a/w", "a/b"], id="averages are asked for"),
    ],
)
def test_weights_are_averages_where_there_is_one_of_everything_trained(
    tmp_path, variables, held, weights, kind, averaged
):
    """auto takes averages only as a whole; the values are the averages' own."""
    checkpoint = opened(write(tmp_path / "m", list(SHAPES) + [name + AVERAGE for name in held]))
    assert choose_weights(checkpoint, variables, weights).kind == kind
    for name, value in restored(checkpoint, variables, weights).items():
        key = name + AVERAGE if name in averaged else name
        np.testing.assert_array_equal(value, golden_rule.fill(key, SHAPES[name]))


def test_auto_says_which_averages_are_missing(tmp_path, variables):
    """Falling back to raw weights is not done in silence."""
    checkpoint = opened(write(tmp_path / "m", list(SHAPES) + ["a/w" + AVERAGE]))
    reason = choose_weights(checkpoint, variables, "auto").reason
    assert reason == "the checkpoint holds moving averages, but none of a/b"


def test_averages_alone_will_do(tmp_path, variables):
    """A checkpoint that was stripped to its averages still shows its variables, and serves them."""
    checkpoint = opened(write(tmp_path / "m", ["a/w" + AVERAGE, "a/b" + AVERAGE, "n/moving_mean"]))
    assert checkpoint.variables() == SHAPES
    assert choose_weights(checkpoint, variables, "auto").kind == "ema"


def test_ema_without_averages_is_refused(tmp_path, variables):
    """--weights ema on a checkpoint without them names every average that is missing."""
    prefix = write(tmp_path / "m", list(SHAPES))
    with pytest.raises(CheckpointError) as caught:
        choose_weights(opened(prefix), variables, "ema")
    assert str(caught.value) == (
        f"{prefix}: --weights ema needs an average of every variable, and 2 of 3 have none; "
        "pass --weights raw to serve the raw weights\n"
        "  - a/b/ExponentialMovingAverage: missing\n"
        "  - a/w/ExponentialMovingAverage: missing"
    )


def test_weights_is_one_of_three(tmp_path, variables):
    """Anything else is a wrong command line."""
    with pytest.raises(UsageError, match="'mean' is not auto, raw or ema"):
        choose_weights(opened(write(tmp_path / "m", list(SHAPES))), variables, "mean")


def test_all_misfits_are_said_at_once(tmp_path, variables):
    """A missing variable, another shape and another dtype in one message."""
    values = {"a/b": np.zeros(4, "float32"), "n/moving_mean": np.zeros(3, "float64")}
    prefix = write_checkpoint(tmp_path / "m", values)
    with pytest.raises(CheckpointError) as caught:
        choose_weights(opened(prefix), variables, "auto")
    assert str(caught.value) == (
        f"{prefix}: 3 of the graph's 3 variables do not fit\n"
        "  - a/b: found [4], expected [3]\n"
        "  - a/w: missing; expected [2, 3]\n"
        "  - n/moving_mean: found float64, expected float32"
    )


def test_misfits_takes_unknown_sizes():
    """None fits every size, but not another number of axes."""
    assert misfits({"x": (None, 3)}, {"x": (7, 3)}) == []
    assert texts(misfits({"x": (None, 3)}, {"x": (3,)})) == ["x: found [3], expected [?, 3]"]


@pytest.mark.parametrize("step, found", [(np.int64(12), 12), (np.float32(123), 123), (np.zeros(2), None)])
def test_the_step_is_global_step_of_any_number_type(tmp_path, step, found):
    """A float in the original CTPN, an integer elsewhere; something else of that name is not it."""
    assert opened(write_checkpoint(tmp_path / "m", {"global_step": np.asarray(step)})).step == found


def test_a_flipped_bit_is_found_and_every_damaged_tensor_named(tmp_path, variables):
    """Each tensor has a checksum; the message lists all that do not match, not the first alone."""
    prefix = write(tmp_path / "m", list(SHAPES))
    data = tmp_path / "m.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[0] ^= 1  # a/b comes first
    content[-1] ^= 1  # and n/moving_mean last
    data.write_bytes(bytes(content))
    with pytest.raises(CheckpointError) as caught:
        restored(opened(prefix), variables)
    message, problems = str(caught.value).splitlines()[0], texts(caught.value.problems)
    assert message == f"{prefix}: this checkpoint is damaged; take another one, or copy it again"
    assert [problem.split(":")[0] for problem in problems] == ["a/b", "n/moving_mean"]


def test_truncated_data_is_found(tmp_path, variables):
    """A copy that stopped half-way."""
    prefix = write(tmp_path / "m", list(SHAPES))
    data = tmp_path / "m.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="this checkpoint is damaged") as caught:
        restored(opened(prefix), variables)
    assert [problem.split(":")[0] for problem in texts(caught.value.problems)] == ["n/moving_mean"]


@pytest.mark.parametrize("position", [0, 20, -60])
def test_a_damaged_index_is_refused(tmp_path, position):
    """An index that ends as one but is damaged inside is TensorFlow's to refuse, in one message."""
    prefix = write(tmp_path / "m", list(SHAPES))
    index = tmp_path / "m.index"
    content = bytearray(index.read_bytes())
    content[position] ^= 0x55
    index.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="TensorFlow can't read this checkpoint"):
        opened(prefix)


def test_a_damaged_v1_checkpoint_is_refused(tmp_path, variables):
    """A bit flipped in the tensors of the old format is found too."""
    prefix = tmp_path / "old"
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        tf.train.Saver(write_version=tf.train.SaverDef.V1).save(session, str(prefix))
    content = bytearray(prefix.read_bytes())
    content[30] ^= 1
    prefix.write_bytes(bytes(content))
    with pytest.raises(CheckpointError):
        restored(opened(prefix), variables)


def test_files_of_another_checkpoint_are_refused(tmp_path, variables):
    """The index of one checkpoint beside the data of another."""
    prefix = write(tmp_path / "m", list(SHAPES))
    other = write_checkpoint(tmp_path / "o", {name: np.ones(shape, "float32") for name, shape in SHAPES.items()})
    shutil.copy(str(other) + ".data-00000-of-00001", str(prefix) + ".data-00000-of-00001")
    with pytest.raises(CheckpointError) as caught:
        restored(opened(prefix), variables)
    assert len(texts(caught.value.problems)) == 3
