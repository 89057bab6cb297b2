"""CTC decoder and folding are chosen by their answers before a file is written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ckpt2saved import ctc
from ckpt2saved.exporting import pipeline
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites import fold_batch_norm


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """A checkpoint whose graph has a convolution, its batch norm, and logits."""
    path = tmp_path_factory.mktemp("run") / "model.ckpt"
    values = np.random.RandomState(0)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 8, 6, 3], name="x")
        kernel = tf.get_variable("kernel", initializer=values.uniform(-1, 1, [3, 3, 3, 5]).astype("float32"))
        parts = [
            tf.get_variable(name, initializer=values.uniform(0.5, 1, 5).astype("float32"))
            for name in ("gamma", "beta", "mean", "variance")
        ]
        made, _, _ = tf.nn.fused_batch_norm(tf.nn.conv2d(x, kernel, [1] * 4, "SAME"), *parts, is_training=False)
        tf.transpose(tf.reduce_mean(made, 1), [1, 0, 2], name="logits")
        session.run(tf.global_variables_initializer())
        return tf.train.Saver().save(session, str(path))


@pytest.mark.parametrize(
    "wrong, options, decoder, folded, said",
    [
        ((), (), "fast", 1, ()),
        (("folding",), (), "fast", 0, ("folded",)),
        (("fast",), (), "stock", 0, ("folded", "decoder")),
        (("fast",), ("--no-fold",), "stock", 0, ("decoder",)),
        (("folding",), ("--ctc-decoder", "stock"), "stock", 0, ("folded",)),
        (("folding",), ("--ctc-decoder", "greedy"), "greedy", 0, ("folded",)),
        ((), ("--ctc-decoder", "greedy"), "greedy", 1, ()),
    ],
)
def test_what_answers_otherwise_is_dropped_and_the_rest_written_once(
    run, tmp_path, monkeypatch, prefix, wrong, options, decoder, folded, said
):
    """As it says, and as stands in the provenance."""
    search, scale = ctc.beam_search, fold_batch_norm._scale_and_shift
    if "fast" in wrong:
        monkeypatch.setattr(ctc, "beam_search", lambda logits, lengths, **how: search(-logits, lengths, **how))
    if "folding" in wrong:
        monkeypatch.setattr(fold_batch_norm, "_scale_and_shift", lambda *given: [-part for part in scale(*given)])
    written = []
    write = pipeline.write_saved_model
    monkeypatch.setattr(pipeline, "write_saved_model", lambda *given: written.append(write(*given)))
    options = (*options, "--input", "x", "--decode", "logits", "--beam-width", "5", "--json")
    result = run("export", "--checkpoint", prefix, *options, "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    provenance = json.loads((tmp_path / "m/1/assets.extra/ckpt2saved.json").read_text())
    assert (provenance["ctc_decoder"], len(provenance["folded_nodes"])) == (decoder, folded), result.output
    texts = {
        "folded": "folded      no batch norm: with folding, some answers differ by more than rounding\n",
        "decoder": "decoder     stock: fast decodes some of the compared lines differently\n",
    }
    assert [key for key in texts if texts[key] in result.output] == list(said), result.output
    assert ("\ndiffers     parity[0]: " in result.output) == bool(said)
    assert len(written) == 1 and provenance["parity"]["answers"]


def test_without_parity_nothing_is_tried(run, tmp_path, monkeypatch, prefix):
    """The decoder and the folding are those of the plan."""
    search = ctc.beam_search
    monkeypatch.setattr(ctc, "beam_search", lambda logits, lengths, **how: search(-logits, lengths, **how))
    options = ("--input", "x", "--decode", "logits", "--no-parity", "--json")
    result = run("export", "--checkpoint", prefix, *options, "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    provenance = json.loads((tmp_path / "m/1/assets.extra/ckpt2saved.json").read_text())
    assert (provenance["ctc_decoder"], len(provenance["folded_nodes"])) == ("fast", 1)
