"""`export` publishes a version that answers as its checkpoint, or nothing at all."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from ckpt2saved.exporting import pipeline
from ckpt2saved.graph.tf1 import SavedModel, tf
from ckpt2saved.signature.file import load_model
from tests.support.checkpoints import crnn_shapes, filled, write_checkpoint
from tests.support.command_line import exported

QUICK = ("-q", "--no-parity", "--no-warmup")  # where answers have no part


def children(base):
    return sorted(path.name for path in base.iterdir()) if base.exists() else []


def test_numbers_go_up_from_the_one_asked_for(run, tmp_path, crnn_checkpoint):
    """The first is 1 or what --version says; then always the next."""
    assert exported(run, tmp_path, crnn_checkpoint, "--version", "100001", *QUICK).exit_code == 0
    assert exported(run, tmp_path, crnn_checkpoint, *QUICK).exit_code == 0
    assert children(tmp_path) == ["100001", "100002"]
    result = exported(run, tmp_path, crnn_checkpoint, "--version", "100002", *QUICK)
    assert result.exit_code == 1
    assert "100002" in result.output and children(tmp_path) == ["100001", "100002"]


def test_dry_run_does_everything_but_publish(run, tmp_path, crnn_checkpoint):
    """The number is printed, the base is not even created; a checkpoint that could not be published is refused."""
    base = tmp_path / "models"
    result = exported(run, base, crnn_checkpoint, "--dry-run", "-q")
    assert (result.exit_code, result.output) == (0, f"{base / '1'}\n")
    assert not base.exists()
    values = filled(crnn_shapes())
    values["shadow/LSTMLayers/w"][:] = np.nan
    result = exported(run, base, write_checkpoint(tmp_path / "nan", values), "--dry-run", "-q")
    assert result.exit_code == 3


def test_json_carries_the_provenance(run, tmp_path, crnn_checkpoint):
    """--json prints what was published and how it compared; the same stands beside the SavedModel."""
    result = exported(run, tmp_path, crnn_checkpoint, "--json", "-q")
    content = json.loads(result.output)
    assert content["format"] == 1
    assert content["path"] == str(tmp_path / "1")
    assert content["checkpoint"]["name"] == "model.ckpt-7" and content["checkpoint"]["step"] == 7
    assert content["weights"] == "raw"
    assert content["parity"]["answers"] == 8
    assert set(content["parity"]["max_abs_difference"]) == {"serving_default", "dense"}
    assert content["bytes"]["checkpoint"] > 0 and content["bytes"]["version"] > 0
    provenance = json.loads((tmp_path / "1" / "assets.extra" / "ckpt2saved.json").read_text())
    assert {key: content[key] for key in provenance} == provenance
    assert provenance["tensorflow"] == tf.version.VERSION


def test_json_of_a_refused_export_has_the_problems(run, tmp_path):
    """One object, with codes; the message for people and the exit code stay."""
    values = filled(crnn_shapes())
    values["shadow/conv1/W"][0] = np.nan
    result = exported(run, tmp_path / "m", write_checkpoint(tmp_path / "nan", values), "-q", "--json")
    assert result.exit_code == 3
    printed, _, said = result.output.partition("Error: ")
    content = json.loads(printed)
    assert content["format"] == 1 and content["error"]["exit_code"] == 3
    message = content["error"]["message"]
    assert "weights are NaN" in message and "\n" not in message
    assert said == f"{message}\n  - {content['problems'][0]}\nMore: ckpt2saved explain nan-weights\n"
    (detail,) = content["problem_details"]
    assert (detail["code"], detail["where"]) == ("nan-weights", "shadow/conv1/W")
    assert detail["text"] == content["problems"][0]


def test_aliases_underscores_and_environment_variables_do(run, tmp_path, crnn_checkpoint):
    """People come from other TensorFlow tools, and from CI systems."""
    arguments = ["--model", "crnn", "--input_checkpoint", crnn_checkpoint, "--output_dir", tmp_path, "--no_parity"]
    assert run("export", *arguments).exit_code == 0
    environment = {
        "CKPT2SAVED_MODEL": "crnn",
        "CKPT2SAVED_CHECKPOINT": str(crnn_checkpoint),
        "CKPT2SAVED_EXPORT_DIR": str(tmp_path),
        "CKPT2SAVED_PARITY": "0",
    }
    result = run("export", env=environment)
    assert result.exit_code == 0, result.output
    assert children(tmp_path) == ["1", "2"]


def test_without_parity_it_says_so(run, tmp_path, crnn_checkpoint):
    """A version that was not compared does not look like one that was."""
    result = exported(run, tmp_path, crnn_checkpoint, "--no-parity", "--json")
    assert "parity      not checked, as requested" in result.output
    assert json.loads((tmp_path / "1" / "assets.extra" / "ckpt2saved.json").read_text())["parity"] is None


def test_options_go_before_those_of_the_file(run, tmp_path, crnn_checkpoint):
    """--option beam_width=3 reaches the graph and the provenance; a wrong one is a wrong command line."""
    result = exported(run, tmp_path, crnn_checkpoint, *QUICK, "--json", "--option", "beam_width=3")
    options = json.loads(result.output)["graph"]["options"]
    assert options == {"scope": "shadow", "beam_width": 3, "merge_repeated": False}
    for option in ("beam_width", "beam_width=many", "width=3", "beam_width=2024-99-06", "beam_width=[1"):
        assert exported(run, tmp_path, crnn_checkpoint, "-q", "--option", option).exit_code == 2
    assert children(tmp_path) == ["1"]


@pytest.mark.parametrize(
    "kind, said, stock_nodes",
    [
        ("fast", "decoder     fast in place of CTCBeamSearchDecoder (beam_width 1)\n", 0),
        ("stock", "decoder     stock, as requested\n", 1),
        ("greedy", "decoder     greedy in place of CTCBeamSearchDecoder (beam_width 1)\n", 0),
    ],
)
def test_the_decoder_is_the_one_asked_for(run, tmp_path, crnn_checkpoint, kind, said, stock_nodes):
    """What was replaced is said and stands in the provenance; greedy counts the lines that it reads differently."""
    result = exported(run, tmp_path, crnn_checkpoint, "--ctc-decoder", kind)
    assert result.exit_code == 0, result.output
    assert said in result.output
    counted = re.search(r"greedy      decodes ([0-9]) of 5 lines differently from the beam search\n", result.output)
    assert bool(counted) == (kind == "greedy")
    provenance = json.loads((tmp_path / "1" / "assets.extra" / "ckpt2saved.json").read_text())
    assert provenance["ctc_decoder"] == kind
    assert provenance["replaced_nodes"] == ([] if kind == "stock" else ["CTCBeamSearchDecoder"])
    saved_model = SavedModel()
    saved_model.ParseFromString((tmp_path / "1" / "saved_model.pb").read_bytes())
    ops = [node.op for node in saved_model.meta_graphs[0].graph_def.node]
    assert ops.count("CTCBeamSearchDecoder") == stock_nodes


def test_a_signature_of_ones_own(run, tmp_path, crnn_checkpoint):
    """A file with other names for clients, and the logits besides."""
    text = (
        load_model("crnn")
        .source.read_text()
        .replace("      input_data: {dtype", "      image: {tensor: input_data, dtype")
    )
    text = text.replace("      input_data: {uniform", "      image: {uniform")
    own = tmp_path / "own.yaml"
    own.write_text(text)
    result = run("export", "--model", own, "-c", crnn_checkpoint, "-o", tmp_path / "m", "-q")
    assert result.exit_code == 0, result.output
    with tf.Graph().as_default(), tf.Session() as session:
        signature = tf.saved_model.loader.load(session, ["serve"], str(tmp_path / "m" / "1")).signature_def["dense"]
    assert sorted(signature.inputs) == ["image", "input_batch_size"]


def corrupting(original):
    """Writes the files, then flips the sign of what one variable holds: readable, loadable, wrong."""

    def write(directory, serving, checkpoint, weights):
        original(directory, serving, checkpoint, weights)
        reader = tf.train.NewCheckpointReader(str(directory / "variables" / "variables"))
        values = {name: reader.get_tensor(name) for name in weights.keys}
        name = [name for name in values if name.endswith("LSTMLayers/w")][0]
        write_checkpoint(directory / "variables" / "variables", dict(values, **{name: -values[name]}))

    return write


def test_what_batching_would_break_is_noted(run, tmp_path, crnn_checkpoint):
    """The sparse triple has no batch in front; dense, beside it, has."""
    result = exported(run, tmp_path, crnn_checkpoint, "--no-parity")
    notes = [line for line in result.output.splitlines() if line.startswith("note")]
    expected = "serving_default: cannot be used with --enable_batching: output_indices, output_shape, output_values"
    left_out = "text: left out: it needs --option charset=VALUE"
    assert notes == ["note        " + left_out, "note        " + expected]


def test_files_that_answer_differently_are_not_published(run, tmp_path, monkeypatch, crnn_checkpoint):
    """Exit 3, every output that differs, and not a trace in the directory that TF Serving watches."""
    monkeypatch.setattr(pipeline, "write_saved_model", corrupting(pipeline.write_saved_model))
    exported(run, tmp_path, crnn_checkpoint, "--no-parity", "-q")
    assert children(tmp_path) == ["1"]
    result = exported(run, tmp_path, crnn_checkpoint, "-q")
    assert result.exit_code == 3
    assert "Error: the staged files answer differently from the original graph; nothing is published" in result.output
    assert "  - parity[0]: dense.score: values differ by up to" in result.output
    assert children(tmp_path) == ["1"]


def damaged(prefix, directory):
    values = filled(crnn_shapes())
    write_checkpoint(directory / "bad", values)
    data = directory / "bad.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[50] ^= 4
    data.write_bytes(bytes(content))
    return directory / "bad"


def damaged_beside(prefix, directory):
    """In what Adam keeps for itself, and nothing of that is served."""
    write_checkpoint(directory / "bad", dict(filled(crnn_shapes()), **{"zzz/Adam": np.ones(8, "float32")}))
    data = directory / "bad.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    return directory / "bad"


def of_ctpn(prefix, directory):
    return write_checkpoint(directory / "other", {"bbox_pred/weights": np.zeros([2, 8], "float32")})


@pytest.mark.parametrize(
    "make, code, message",
    [
        pytest.param(lambda p, d: d / "nowhere", 1, "no such checkpoint", id="missing"),
        pytest.param(damaged, 1, "this checkpoint is damaged", id="flipped bit"),
        pytest.param(damaged_beside, 1, "zzz/Adam: ", id="flipped bit of no weight"),
        pytest.param(of_ctpn, 1, "shadow/conv1/W: missing; expected", id="another network"),
    ],
)
@pytest.mark.parametrize("parity", ["--parity", "--no-parity"])
def test_bad_checkpoints_publish_nothing(run, tmp_path, crnn_checkpoint, make, code, message, parity):
    """One message, the exit code, and no directory left behind, whether or not answers are compared."""
    result = exported(run, tmp_path / "models", make(crnn_checkpoint, tmp_path), "-q", parity)
    assert result.exit_code == code
    assert message in result.output and "Traceback" not in result.output
    assert not (tmp_path / "models").exists()


def test_a_bug_keeps_its_traceback(run, tmp_path, monkeypatch, crnn_checkpoint):
    """Only what a user can cause is told in a line."""
    monkeypatch.setattr(pipeline, "check_servable", lambda graph_def, device: 1 / 0)
    result = exported(run, tmp_path / "m", crnn_checkpoint, "-q")
    assert isinstance(result.exception, ZeroDivisionError)
    assert not (tmp_path / "m").exists()
