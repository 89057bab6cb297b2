"""Real, small checkpoints, and the command line as a function."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parent))

import golden_rule

# As ckpt2saved.tf1 has it, for tests that import TensorFlow before that does.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


@pytest.fixture(scope="session", autouse=True)
def _without_gpu_and_narrow_tables():
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.pop("COLUMNS", None)  # of whoever runs the tests; the tables obey it


@pytest.fixture
def run():
    """Call the command line in this process."""
    from ckpt2saved.cli import main

    def call(*arguments, **keywords):
        return CliRunner().invoke(main, [str(argument) for argument in arguments], **keywords)

    return call


def without_chatter(err):
    """`err` without the one line that TensorFlow 2.20's C++ logs whatever it is told; before and after, none is there."""
    from ckpt2saved.tf1 import tf

    if not tf.__version__.startswith("2.20."):
        return err
    return re.sub(r"(?m)^(WARNING: All log messages before absl|I0000 .* MLIR V1 optimization pass).*\n", "", err)


def against_schema(name, path):
    """What a schema that check-jsonschema comes with has against a file; "" if nothing."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor." + name, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.decode() if done.returncode else ""


# No two sizes alike, so that none can stand for another by mistake.


def crnn_shapes(scope="shadow", channels=(4, 5, 6, 7, 8, 9, 10), hidden=(11, 12), classes=13, image_channels=3):
    """Name -> shape of a CRNN's variables; `hidden` has an entry for each LSTM layer."""
    shapes, depth = {}, image_channels
    for number, (size, count) in enumerate(zip([3, 3, 3, 3, 3, 3, 2], channels), start=1):
        shapes[f"{scope}/conv{number}/W"] = (size, size, depth, count)
        depth = count
    for norm, count in (("BatchNorm", channels[4]), ("BatchNorm_1", channels[5])):
        for name in ("beta", "gamma", "moving_mean", "moving_variance"):
            shapes[f"{scope}/{norm}/{name}"] = (count,)
    for cell, units in enumerate(hidden):
        for direction in ("fw", "bw"):
            name = (
                f"{scope}/LSTMLayers/stack_bidirectional_rnn/cell_{cell}/bidirectional_rnn/{direction}/basic_lstm_cell"
            )
            shapes[name + "/kernel"] = (depth + units, 4 * units)
            shapes[name + "/bias"] = (4 * units,)
        depth = 2 * units
    shapes[scope + "/LSTMLayers/w"] = (depth, classes)
    return shapes


def ctpn_shapes(channels=(2, 3, 4, 5, 6), conv=7, hidden=8, features=9, anchors=3, averages=True):
    """Name -> shape of a CTPN's variables, with the averages of all and a global_step."""
    shapes, depth = {}, 3
    names = [
        (f"vgg_16/conv{block}/conv{block}_{number + 1}", channels[block - 1])
        for block, count in enumerate((2, 2, 3, 3, 3), start=1)
        for number in range(count)
    ]
    for name, count in names + [("Conv", conv)]:
        shapes[name + "/weights"], shapes[name + "/biases"] = (3, 3, depth, count), (count,)
        depth = count
    for direction in ("fw", "bw"):
        name = f"BiLSTM/bidirectional_rnn/{direction}/lstm_cell"
        shapes[name + "/kernel"], shapes[name + "/bias"] = (depth + hidden, 4 * hidden), (4 * hidden,)
    shapes["BiLSTM/weights"], shapes["BiLSTM/biases"] = (2 * hidden, features), (features,)
    for head, values in (("bbox_pred", 4 * anchors), ("cls_pred", 2 * anchors)):
        shapes[head + "/weights"], shapes[head + "/biases"] = (features, values), (values,)
    if averages:
        shapes.update({name + "/ExponentialMovingAverage": shape for name, shape in shapes.items()})
    shapes["global_step"] = ()
    return shapes


def write_checkpoint(prefix, values):
    """A V2 checkpoint of one data file that holds `values` (name -> array), at the path `prefix`."""
    from ckpt2saved.tf1 import tf

    names = sorted(values)
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = [tf.placeholder(tf.as_dtype(values[name].dtype), values[name].shape) for name in names]
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
        )
        session.run(save, {tensor: values[name] for tensor, name in zip(tensors, names)})
    return prefix


def filled(shapes):
    """Values by the golden rule for all of `shapes`."""
    return {name: golden_rule.fill(name, shape) for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def crnn_checkpoint(tmp_path_factory):
    """The prefix of a small CRNN's checkpoint. Not to be written to."""
    prefix = tmp_path_factory.mktemp("crnn") / "model.ckpt-7"
    values = filled(crnn_shapes())
    values["global_step"] = golden_rule.np.int64(7)
    values["shadow/conv1/W/Adam"] = values["shadow/conv1/W"]
    return write_checkpoint(prefix, {name: golden_rule.np.asarray(value) for name, value in values.items()})


@pytest.fixture(scope="session")
def ctpn_checkpoint(tmp_path_factory):
    """The prefix of a small CTPN's checkpoint, averages included. Not to be written to."""
    prefix = tmp_path_factory.mktemp("ctpn") / "model.ckpt-123"
    values = filled(ctpn_shapes())
    return write_checkpoint(prefix, {name: golden_rule.np.asarray(value) for name, value in values.items()})


@pytest.fixture(scope="session")
def exported_crnn(tmp_path_factory, crnn_checkpoint):
    """A version of the small CRNN, published once. Not to be written to."""
    from ckpt2saved.export.pipeline import export_checkpoint
    from ckpt2saved.export.plan import plan_export

    base = tmp_path_factory.mktemp("exported") / "crnn"
    return export_checkpoint(plan_export(model="crnn", checkpoint=crnn_checkpoint, base=base)).path


@pytest.fixture
def version(tmp_path, exported_crnn):
    """A copy of it that may be spoilt."""
    target = tmp_path / "models" / "crnn" / "1"
    shutil.copytree(str(exported_crnn), str(target))
    return target
