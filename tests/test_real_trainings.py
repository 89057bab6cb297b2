"""Training graphs of other people's projects give the right answers from a command line alone."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support import golden_rule
from tests.support.checkpoints import write_checkpoint
from tests.support.saved_models import asked, check_survives

FOLDER = Path(__file__).resolve().parent / "trainings"
SLOTS = ("Adam", "Adam_1", "Adadelta", "Adadelta_1", "RMSProp", "RMSProp_1", "Momentum")

# What is asked for, by the names in expected.npz.
CASES = {
    "static_batch": (
        {"image": "Placeholder:0", "seq_len": "seq_len:0"},
        {
            "logits": "transpose:0",
            "indices": "CTCBeamSearchDecoder:0",
            "values": "CTCBeamSearchDecoder:1",
            "dense_shape": "CTCBeamSearchDecoder:2",
            "dense": "SparseToDense:0",
        },
    ),
    "queues_and_dropout": (
        {"input_tensor": "Cast_1:0"},
        {
            "logits": "shadow/LSTMLayers/transpose_time_major:0",
            "decodes_indices": "CTCBeamSearchDecoder:0",
            "decodes_values": "CTCBeamSearchDecoder:1",
            "decodes_dense_shape": "CTCBeamSearchDecoder:2",
        },
    ),
    "is_train_switch": (
        {"image": "Placeholder:0", "seq_len": "Placeholder_4:0"},
        {
            "logits": "transpose:0",
            "indices": "CTCGreedyDecoder:0",
            "values": "CTCGreedyDecoder:1",
            "dense_shape": "CTCGreedyDecoder:2",
            "neg_sum_logits": "CTCGreedyDecoder:3",
        },
    ),
    "pyfunc_ctpn": (
        {"image": "data:0"},
        {
            "rpn_cls_prob": "rpn_cls_prob:0",
            "rpn_bbox_pred": "rpn_bbox_pred/Reshape_1:0",
            "rpn_cls_score": "rpn_cls_score/Reshape_1:0",
        },
    ),
}


@pytest.fixture(params=sorted(CASES))
def case(request):
    return request.param


@pytest.fixture
def prefix(tmp_path, case):
    """The checkpoint of a case, without its optimizer's slots, which are two thirds of it."""
    reader = tf.train.NewCheckpointReader(str(FOLDER / case / "model"))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    names = [name for name in shapes if name.rpartition("/")[2] not in SLOTS]
    floats = [name for name in names if dtypes[name].is_floating]
    values = {name: golden_rule.fill(name, shapes[name]) for name in floats}
    written = write_checkpoint(tmp_path / "model", values)
    (tmp_path / "model.meta").write_bytes(lzma.decompress((FOLDER / case / "model.meta.xz").read_bytes()))
    return written


def test_the_right_answers_are_served(run, tmp_path, case, prefix):
    """Logits within 1e-3 of the author's own inference, decoded sequences exactly; and a server can be warmed up."""
    inputs, outputs = CASES[case]
    arguments = ["--input={}={}".format(*item) for item in inputs.items()]
    arguments += ["--output={}={}".format(*item) for item in outputs.items()]
    result = run("export", "--checkpoint", prefix, *arguments, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    expected = np.load(str(FOLDER / case / "expected.npz"))
    found = asked(tmp_path / "base" / "1", **{name: expected["in/" + name] for name in inputs})
    for name in outputs:
        wanted = expected["out/" + name]
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(found[name], wanted, atol=1e-3, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], wanted, err_msg=name)
    check_survives(tmp_path / "base" / "1")


def test_inspect_finds_what_to_serve(run, tmp_path, case, prefix):
    """The signature file that inspect writes has these inputs and outputs, and can be exported as it is.

    What an export of them answers, test_the_right_answers_are_served compares.
    """
    own = tmp_path / "own.yaml"
    result = run("inspect", prefix, "--json", "--write-signature", own)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["format"] == 1
    text = own.read_text()
    inputs, outputs = CASES[case]
    for tensor in list(inputs.values()) + [name for name in outputs.values() if name != "CTCGreedyDecoder:3"]:
        assert f'{{tensor: "{tensor}"' in text
    result = run("export", "--model", own, "--checkpoint", prefix, "--dry-run", "--no-parity", "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
