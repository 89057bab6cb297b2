"""`verify` finds what is wrong with a version, whatever it is, and says all of it."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest

from ckpt2saved.errors.problem import texts
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.saved_model import judgement
from ckpt2saved.verification.servability import check_name, check_version
from ckpt2saved.verification.steps import verify_version
from ckpt2saved.versions import health
from tests.support.checkpoints import crnn_shapes, filled, write_checkpoint
from tests.support.command_line import call
from tests.support.saved_models import as_text, changed, write_version


def test_a_good_version_is_loaded_and_asked(run, version):
    """A version or its base; the directory on stdout, what was found on stderr."""
    result = run("verify", version.parent)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert sorted(lines) == sorted(
        [
            "files       complete, no problems found",
            "note        serving_default: cannot be used with --enable_batching: output_indices, output_shape, output_values",
            "answers     2 requests, each run twice; loaded by the C++ loader that TF Serving uses",
            str(version),
        ]
    )
    content = json.loads(run("verify", version, "--json", "--quiet").output)
    assert content["format"] == 1 and content["problems"] == [] and content["answers"] == 2
    assert content["path"] == str(version) and content["checkpoint"] is None and content["server"] is None


def test_it_is_compared_with_its_checkpoint(run, version, crnn_checkpoint):
    """The model and the weights are what the version itself says."""
    result = run("verify", version, "--checkpoint", crnn_checkpoint, "--json", "-q")
    assert result.exit_code == 0, result.output
    content = json.loads(result.output)
    assert content["checkpoint"]["answers"] == 4 and content["checkpoint"]["path"] == str(crnn_checkpoint)
    assert set(content["checkpoint"]["max_abs_difference"]) == {"serving_default", "dense"}


def test_another_checkpoint_is_found_out(run, version, tmp_path):
    """Exit 3, with every output that differs; and that the version says that it has another origin."""
    values = filled(crnn_shapes())
    values["shadow/LSTMLayers/w"] *= -1
    result = run("verify", version, "-c", write_checkpoint(tmp_path / "other", values))
    assert result.exit_code == 3
    assert "note        the version says that it was exported from another checkpoint: model.ckpt-7, step 7" in (
        result.output
    )
    assert "  - parity[0]: dense.score: values differ by up to" in result.output
    assert "(the version's answer, and that of the checkpoint)" in result.output
    assert not any(line == str(version) for line in result.output.splitlines())


def test_a_greedy_version_is_compared_with_greedy_answers(run, tmp_path, crnn_checkpoint):
    """As the export was."""
    assert (
        run("export", "-m", "crnn", "-c", crnn_checkpoint, "-o", tmp_path / "m", "--ctc-decoder", "greedy").exit_code
        == 0
    )
    result = run("verify", tmp_path / "m", "-c", crnn_checkpoint)
    assert result.exit_code == 0, result.output
    assert "lines differently from the beam search" in result.output


def test_what_the_provenance_does_not_say_is_asked_for(run, version, crnn_checkpoint):
    """Which options to pass; and with them it works."""
    path = version / "assets.extra" / "ckpt2saved.json"
    content = json.loads(path.read_text())
    content["model"] = "own"
    path.write_text(json.dumps(content))
    result = run("verify", version, "-c", crnn_checkpoint)
    assert result.exit_code == 2
    assert f"{version}: it was exported from crnn, and a version records all options" in result.output
    assert "--model NAME|FILE.yaml, or --graph with --input and --output" in result.output
    assert run("verify", version, "-c", crnn_checkpoint, "-m", "crnn").exit_code == 0
    path.unlink()
    assert "ckpt2saved did not export it, and a version" in run("verify", version, "-c", crnn_checkpoint).output


def test_a_signature_that_the_version_lacks_is_a_problem(run, version, crnn_checkpoint):
    """The model has it, as its provenance says."""
    changed(version, lambda meta_graph: meta_graph.signature_def.pop("dense"))
    result = run("verify", version, "-c", crnn_checkpoint)
    assert result.exit_code == 3
    assert "  - dense: the model has this signature, the version does not" in result.output

    def rename(meta_graph):
        outputs = meta_graph.signature_def["serving_default"].outputs
        outputs["other"].CopyFrom(outputs.pop("output_shape"))

    changed(version, rename)
    result = run("verify", version, "-c", crnn_checkpoint)
    assert result.exit_code == 3
    assert (
        "serving_default: input_batch_size, input_data -> output_indices, output_shape, output_values in the model, "
        "input_batch_size, input_data -> other, output_indices, output_values in the version" in result.output
    )


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["nowhere"], 1, "nowhere: there is no such directory; expected a version"),
        (["."], 1, ".: neither a version (saved_model.pb is not there) nor"),
        ([".", "--model", "crnn", "--server", "http://x"], 1, "neither a version"),
        (["{}", "--model", "crnn", "--set", "a=1"], 2, "--model, --set: only with --checkpoint"),
        (["{}", "--model-name", "x"], 2, "--model-name: only with the address of a server"),
        (["{}", "--inputs", "no.npz"], 2, "--inputs no.npz: No such file or directory"),
        (["{}", "-c", "nowhere"], 1, "nowhere: no such checkpoint"),
    ],
)
def test_what_is_wrong_with_the_command_line(run, version, monkeypatch, tmp_path, arguments, code, message):
    """One message, no traceback."""
    monkeypatch.chdir(str(tmp_path))
    result = run("verify", *[argument.format(version) for argument in arguments])
    assert result.exit_code == code and message in result.output, result.output
    assert result.exc_info[0] is SystemExit


def test_options_of_other_commands_in_the_environment_do_no_harm(run, version):
    """A CI job sets CKPT2SAVED_MODEL for its export."""
    assert run("verify", version, "-q", env={"CKPT2SAVED_MODEL": "crnn", "CKPT2SAVED_MODEL_NAME": "x"}).exit_code == 0


def test_what_the_server_would_not_see_or_load_is_said(run, version):
    """Everything at once."""
    (version / "export.meta").write_bytes(b"x")

    def spoil(meta_graph):
        dense = meta_graph.signature_def["dense"]
        dense.method_name = "predict"
        dense.outputs["score"].ClearField("name")
        default = meta_graph.signature_def.pop("serving_default")
        meta_graph.signature_def["other"].CopyFrom(default)
        meta_graph.graph_def.node[0].device = "/device:GPU:0"
        meta_graph.graph_def.node[1].device = "/device:CPU:0"
        meta_graph.graph_def.node.add(name="stray", op="NoSuchOp")

    changed(version, spoil)
    result = run("verify", version)
    assert result.exit_code == 3
    for message in (
        "export.meta: with a file of this name TF Serving takes the directory for a session bundle",
        "dense.score: it has no tensor name (a SparseTensor?), and every request for it fails",
        "dense: the method name is 'predict', and TF Serving up to 2.3 answers only tensorflow/serving/predict",
        "(/device:GPU:0): tied to a device, and a server without it does not load the graph",
        f"stray (NoSuchOp): no op of this TensorFlow, {tf.version.VERSION}, nor of a server of its release; the graph was written by {tf.version.VERSION}",
    ):
        assert "  - " in result.output and message in result.output, result.output
    assert "note        there is no signature serving_default, so that a request has to name one of dense, other" in (
        result.output
    )
    assert "CPU:0" not in result.output


@pytest.mark.parametrize(
    "tags, message",
    [
        (["train"], "is tagged 'serve' and nothing else, so TF Serving loads none; the tags are: train"),
        (["serve", "gpu"], "is tagged 'serve' and nothing else, so TF Serving loads none; the tags are: gpu, serve"),
    ],
)
def test_the_tags_must_be_serve_alone(run, version, tags, message):
    """As the server compares them."""
    changed(version, lambda meta_graph: meta_graph.meta_info_def.ClearField("tags"))
    changed(version, lambda meta_graph: meta_graph.meta_info_def.tags.extend(tags))
    result = run("verify", version)
    assert result.exit_code == 3 and message in result.output, result.output


def test_files_that_are_not_whole_are_not_loaded(run, version):
    """The index that is missing would let the server load a version without values."""
    (version / "variables" / "variables.index").unlink()
    result = run("verify", version, "--json", "-q")
    assert result.exit_code == 3
    assert "variables/variables.index: missing; TF Serving would load the version without a value" in result.output
    (version / "saved_model.pb").unlink()
    assert "saved_model.pb: missing; TF Serving has nothing to load" in run("verify", version).output


def test_a_graph_that_does_not_load_is_said_in_the_servers_words(run, version):
    """A node whose input is of another type; one whose input is not there is found without loading it."""

    def retype(meta_graph):
        (node,) = [node for node in meta_graph.graph_def.node if node.name == "ids"]
        node.input[0] = "input_data"

    result = run("verify", changed(version, retype))
    assert result.exit_code == 3
    assert "TF Serving's loader refuses" in result.output

    def cut(meta_graph):
        (node,) = [node for node in meta_graph.graph_def.node if node.name == "ids"]
        node.input[0] = "nowhere"

    result = run("verify", changed(version, cut))
    assert result.exit_code == 3
    assert "  - saved_model.pb: nowhere: no node of the graph, and inputs of ids" in result.output


def test_a_request_is_made_up_for_a_path_that_is_a_glob_pattern(run, tmp_path):
    """TensorFlow does not find the variables of such a path by itself."""
    (tmp_path / "m[1]").mkdir()
    build = lambda x: {"y": x * tf.get_variable("w", [4], use_resource=False)}
    result = run("verify", write_version(tmp_path / "m[1]" / "1", build, restores=True))
    assert result.exit_code == 0 and "answers     1 request, run twice" in result.output, result.output


def test_answers_that_change_each_time_are_found_out(run, tmp_path):
    """A random op that no list of ops knows of would show here."""
    directory = write_version(
        tmp_path / "m" / "1",
        lambda x: {"y": x + tf.random.stateless_uniform([2, 4], seed=tf.cast(tf.timestamp() * [1e6, 1.0], tf.int64))},
    )
    result = run("verify", directory)
    assert result.exit_code == 3, result.output
    assert "values differ by up to" in result.output and "between two answers to one request" in result.output


def test_a_graph_in_text_form_is_loaded_but_not_asked(run, tmp_path):
    """A note and a warning say so; it is an error with requests of one's own."""
    version = as_text(
        write_version(tmp_path / "m" / "1", lambda x: {"y": x * tf.get_variable("w", [4])}, restores=True)
    )
    for path in (version, version.parent, version / "saved_model.pbtxt"):
        result = run("verify", path)
        assert result.exit_code == 0, result.output
        assert "note        saved_model.pbtxt: loaded, but no signature was run" in result.output
        assert "answers     none: no signature could be run; loaded by " in result.output
        assert "warning     no signature was run: whether the version answers requests is not known" in result.output
    content = json.loads(run("verify", version, "--json", "-q").output)
    assert content["answers"] == 0 and len(content["warnings"]) == 1
    np.savez(str(tmp_path / "requests.npz"), x=np.ones([2, 4], "float32"))
    result = run("verify", version, "--inputs", tmp_path / "requests.npz")
    assert result.exit_code == 1 and "the signatures of a saved_model.pbtxt are not read here" in result.output
    result = run("doctor", version)
    assert result.exit_code == 1 and "the ops of a saved_model.pbtxt are not read here" in result.output
    assert run("bump-version", tmp_path / "m").exit_code == 0


def test_a_graph_in_text_form_that_does_not_load(run, tmp_path):
    """Its variables have another name; and a file that is not in text form at all."""

    def build(x):
        return {"y": x * tf.get_variable("w", [4], use_resource=False)}

    version = as_text(
        write_version(tmp_path / "m" / "1", build, restores=True), lambda text: text.replace('"w"', '"other"')
    )
    result = run("verify", version)
    assert result.exit_code == 3 and "other" in result.output and "Traceback" not in result.output, result.output
    (version / "saved_model.pbtxt").write_text("meta_graphs {{{")
    result = run("verify", version)
    assert result.exit_code == 3 and "saved_model.pbtxt: it can't be read as protobuf's text form" in result.output
    for command in (["list", tmp_path / "m"], ["bump-version", tmp_path / "m"]):
        assert "it can't be read as protobuf's text form" in " ".join(run(*command).output.split())


def test_nan_answers_are_found_out(run, tmp_path):
    """The square root of less than nothing."""
    result = run("verify", write_version(tmp_path / "m" / "1", lambda x: {"y": tf.sqrt(-x - 1.0)}))
    assert result.exit_code == 3
    assert "a made-up request: serving_default.y: 12 of 12 values are NaN" in result.output


def test_strings_can_be_brought_in_a_file(run, tmp_path):
    """No request is made up for them, which is said; --inputs has one."""
    directory = write_version(tmp_path / "m" / "1", lambda x: {"y": tf.string_join([x, "!"])}, "string", (None,))
    result = run("verify", directory)
    assert result.exit_code == 0
    assert (
        "note        serving_default: not run: x takes string, which can't be guessed; pass a valid request with "
        "--inputs FILE.npz\n" in result.output
    )
    assert "answers     none: no signature could be run" in result.output
    np.savez(str(tmp_path / "in.npz"), x=np.array(["a", "b\u00e4"]))
    result = run("verify", directory, "--inputs", tmp_path / "in.npz")
    assert result.exit_code == 0 and "answers     1 request, run twice" in result.output, result.output


def test_a_made_up_request_that_is_refused_is_no_fault_of_the_version(run, tmp_path):
    """A graph that takes one width alone, and does not say which."""
    directory = write_version(tmp_path / "m" / "1", lambda x: {"y": tf.reshape(x, [-1, 7])}, shape=(None, None))
    result = run("verify", directory)
    assert result.exit_code == 0, result.output
    assert "serving_default: not run: it refuses a made-up request: TF Serving would answer" in result.output
    np.savez(str(tmp_path / "in.npz"), x=np.zeros([2, 8]))
    result = run("verify", directory, "--inputs", tmp_path / "in.npz")
    assert result.exit_code == 3 and "in.npz: serving_default: TF Serving would answer this request" in result.output
    np.savez(str(tmp_path / "in.npz"), x=np.zeros([2, 14]))
    assert run("verify", directory, "--inputs", tmp_path / "in.npz").exit_code == 0


@pytest.mark.parametrize(
    "arrays, message",
    [
        (
            {"z": [1.0]},
            "it contains z, but for no signature all inputs; expected all inputs of one of these\n  - serving_default: x",
        ),
        ({"x": np.zeros([2, 3])}, "x: the shape [2, 3], expected [?, 4]"),
        ({"x": np.array([["a"] * 4])}, "x: <U1, expected float32"),
        ({"x": np.array([[None] * 4])}, "not a .npz file of plain arrays, as numpy.savez writes it"),
    ],
)
def test_inputs_that_do_not_fit(run, tmp_path, arrays, message):
    """Exit 2: where, what was found, what was expected."""
    directory = write_version(tmp_path / "m" / "1", lambda x: {"y": x})
    np.savez(str(tmp_path / "in.npz"), **arrays)
    result = run("verify", directory, "--inputs", tmp_path / "in.npz")
    assert result.exit_code == 2 and message in result.output, result.output


@pytest.mark.parametrize(
    "name, problem, note",
    [
        ("7", "", ""),
        ("007", "", "007: TF Serving counts it as version 7"),
        ("+5", "", "+5: TF Serving before 2.19 ignores a name with a sign"),
        ("v1", "v1: TF Serving ignores a directory with this name; expected a number, as", ""),
        ("-3", "-3: the number is negative, which TF Serving does not load", ""),
    ],
)
def test_the_name_of_the_directory_decides_whether_the_server_counts_it(tmp_path, name, problem, note):
    """As TF Serving parses it."""
    (tmp_path / name).mkdir()
    found = check_name(tmp_path / name)
    assert [text.startswith(problem) for text in texts(found.problems)] == ([True] if problem else [])
    assert texts(found.notes) == ([note] if note else [])


def test_of_two_names_for_one_number_one_is_never_loaded(tmp_path):
    """1 goes before 01."""
    for name in ("1", "01"):
        (tmp_path / name).mkdir()
    assert texts(check_name(tmp_path / "01").problems) == ["01: TF Serving loads 1 for this number instead"]
    assert check_name(tmp_path / "1").problems == ()


def test_a_version_for_nobody_else_is_noted(version):
    """Mode bits keep out a server of another user, and none of the same."""
    version.chmod(0o700)
    found = check_version(version)
    assert found.problems == ()
    assert ".: mode 0700, which denies access to a server that runs as another user; chmod o+rx" in texts(found.notes)


def test_the_outcome_is_values(version):
    """For whoever writes a report of it."""
    found = verify_version(version)
    assert found.problems == () and found.answered.loader and found.server is None
    assert [request.signature for request in found.answered.requests] == ["dense", "serving_default"]


def test_a_directory_without_a_number_is_on_no_server(run, version):
    """There is nothing to ask it for."""
    version.rename(version.parent / "v1")
    result = run("verify", version.parent / "v1", "--server", "http://x")
    assert result.exit_code == 2 and "v1: its name is not a version number, so no server can serve it" in result.output
    result = run("verify", version.parent / "v1")
    assert result.exit_code == 3 and "  - v1: TF Serving ignores a directory with this name" in result.output


def test_verify_without_tensorflow_says_what_installs_it(version):
    """After the cheap checks."""
    done = call("verify", version)
    assert done.returncode == 1 and "pip install 'ckpt2saved[cpu]'" in done.stdout


@pytest.mark.parametrize(("number", "code"), [(errno.EIO, 1), (errno.ESTALE, 1), (errno.EACCES, 1), (errno.EINVAL, 3)])
@pytest.mark.parametrize("place", [(health, "why_no_access"), (judgement, "read_graph_facts"), (health, "walk")])
def test_what_can_not_be_read_is_no_answer(run, version, monkeypatch, number, code, place):
    """A disk that fails, or missing rights: exit code 1. A directory in a file's place, by EINVAL, is one."""
    module, name = place

    def fail(path, rights=0):
        error = OSError(number, os.strerror(number), os.path.join(os.fspath(path), "saved_model.pb"))
        if name == "why_no_access":
            return error
        raise error

    monkeypatch.setattr(module, name, fail)
    result = run("verify", version, "--json")
    assert result.exit_code == code, result.output
    assert "unreadable-file" in result.output and "Traceback" not in result.output
    assert ("it could not be checked, as files of it can't be read" in result.output) == (code == 1)
