"""Every export writes warm-up requests that a server answers with and without batching, and that no variable escapes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.gathering import gather_requests
from ckpt2saved.requests.request import Requests
from ckpt2saved.requests.warm_up.coverage import has_rows_of_its_own
from ckpt2saved.requests.warm_up.file import read_warm_up_requests, requests_by_signature
from ckpt2saved.requests.warm_up.marks import MARK, is_marked
from tests.support.checkpoints import filled, write_checkpoint
from tests.support.saved_models import answers, asking, check_survives, write_version

BUILDERS = """
import tensorflow.compat.v1 as tf

def _line(variables, name="w"):
    return tf.get_variable(name, variables[name])

def _image(batch=None):
    return tf.placeholder(tf.float32, [batch, 8, 4], name="x")

def _logits(x, variables):  # [8, batch, 5], as CTC decoders want them
    rows = tf.tensordot(x, _line(variables), 1) + _line(variables, "b")
    return tf.transpose(rows, [1, 0, 2])

def _lengths(x):
    return tf.fill(tf.shape(x)[:1], 8)

def sparse(variables, options):
    x = _image()
    (found,), score = tf.nn.ctc_greedy_decoder(_logits(x, variables), _lengths(x))
    return {"x": x, "indices": found.indices, "values": found.values, "shape": found.dense_shape, "score": score}

def time_major(variables, options):
    x = _image()
    return {"x": x, "logits": _logits(x, variables)}

def scalar(variables, options):
    x = _image()
    return {"x": x, "mean": tf.reduce_mean(_logits(x, variables))}

def filtered(variables, options):  # as many values as there are large ones
    x = _image()
    rows = tf.reduce_sum(_logits(x, variables), 2)
    return {"x": x, "large": tf.reshape(tf.gather_nd(rows, tf.where(rows > 0.0)), [-1])}

def halves(variables, options):  # one output is batch-major, and depends on half of the variables
    x = _image()
    return {"x": x, "rows": tf.tensordot(x, _line(variables), 1), "logits": _logits_of(x, variables)}

def _logits_of(x, variables):
    with tf.variable_scope("", reuse=True):
        return tf.transpose(tf.tensordot(x, _line(variables), 1) + _unshared(variables), [1, 0, 2])

def _unshared(variables):
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        return _line(variables, "b")

def fixed(variables, options):
    x = _image(64)
    state = tf.zeros([64, 5])
    for step in range(8):
        state = tf.tanh(tf.matmul(x[:, step], _line_again(variables)) + state + _unshared(variables))
    return {"x": x, "state": state}

def _line_again(variables):
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        return _line(variables)

def switched(variables, options):
    x, scale = _image(), tf.placeholder(tf.float32, [], name="scale")
    rows = tf.while_loop(lambda i, r: i < 3, lambda i, r: (i + 1, r * scale), [0, tf.tensordot(x, _line(variables), 1)])
    return {"x": x, "scale": scale, "rows": rows[1] + _line(variables, "b")}

def _beams(x, variables, paths=1):
    return tf.nn.ctc_beam_search_decoder(_logits(x, variables), _lengths(x), beam_width=4, top_paths=paths)

def searched(variables, options):
    x = _image()
    (found,), score = _beams(x, variables)
    logits = tf.transpose(_logits_of(x, variables), [1, 0, 2])
    dense = tf.sparse.to_dense(found, default_value=-1)
    return {"x": x, "ids": dense, "score": score, "indices": found.indices, "values": found.values, "logits": logits}

def two_paths(variables, options):
    x = _image()
    (_, second), score = _beams(x, variables, 2)
    return {"x": x, "ids": tf.sparse.to_dense(second), "score": score[:, 1]}

def looked_up(variables, options):  # a variable that only what was decoded is looked up in
    x = _image()
    logits = tf.transpose(tf.tensordot(x, _line(variables), 1), [1, 0, 2])
    (found,), _ = tf.nn.ctc_beam_search_decoder(logits, _lengths(x), beam_width=4)
    ids = tf.cast(tf.sparse.to_dense(found), tf.int32)
    return {"x": x, "codes": tf.gather(_line(variables, "b"), ids), "logits": logits}

def searched_in_batches(variables, options):
    x = _image(3)
    (found,), score = _beams(x, variables)
    return {"x": x, "ids": tf.sparse.to_dense(found), "score": score}

def searched_after_a_loop(variables, options):  # whose copy has to be another loop
    x = _image()
    rows = tf.while_loop(lambda i, r: i < 3, lambda i, r: (i + 1, r * 1.5), [0, _logits(x, variables)])[1]
    (found,), score = tf.nn.ctc_beam_search_decoder(rows, _lengths(x), beam_width=4)
    return {"x": x, "ids": tf.sparse.to_dense(found), "sums": tf.reduce_sum(rows, [0, 2]) + score[:, 0]}

def of_bytes(variables, options):  # no value of a uint8 is left for a mark
    raw = tf.placeholder(tf.uint8, [None, 8, 4], name="x")
    x = tf.cast(raw, tf.float32)
    (found,), score = tf.nn.ctc_greedy_decoder(_logits(x, variables), _lengths(x))
    return {"x": raw, "indices": found.indices, "values": found.values, "shape": found.dense_shape, "score": score}

def halves_of_bytes(variables, options):
    raw = tf.placeholder(tf.uint8, [None, 8, 4], name="x")
    x = tf.cast(raw, tf.float32)
    return {"x": raw, "rows": tf.tensordot(x, _line(variables), 1), "logits": _logits_of(x, variables)}

def of_many_types(variables, options):
    x = _image()
    logits = _logits(x, variables)
    texts = tf.as_string(tf.reduce_sum(logits, 2))
    return {"x": x, "texts": texts, "large": logits > 0.0, "ids": tf.argmax(logits, 2), "rows": tf.shape(texts)}

def dense(variables, options):
    x = _image()
    return {"x": x, "rows": tf.tensordot(x, _line(variables), 1) + _line(variables, "b")}
"""


@pytest.fixture
def export(run, tmp_path):
    """A function: the outcome of an export of a builder's graph, and the version."""
    (tmp_path / "nets_to_warm.py").write_text(BUILDERS)
    checkpoint = write_checkpoint(tmp_path / "m.ckpt", filled({"w": (4, 5), "b": (5,)}))

    def export(name, outputs, *options, inputs="x"):
        arguments = ["export", "--graph", "nets_to_warm:" + name, "--python-path", tmp_path, "-c", checkpoint]
        arguments += [f"--input={key}={key}" for key in inputs.split()]
        arguments += [f"--output={key}={key}" for key in outputs.split()]
        result = run(*(arguments + ["-o", tmp_path / "base"] + list(options)))
        assert result.exit_code == 0, result.output
        return result, tmp_path / "base" / "1"

    return export


def check_guards(version):
    """Each variable that was not restored makes a record fail."""
    requests = read_warm_up_requests(version)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        signatures = tf.saved_model.loader.load(session, ["serve"], str(version)).signature_def
        values, fills = {}, {}
        for op in list(graph.get_operations()):
            if op.type in ("VariableV2", "Variable"):
                values[op.name] = session.run(op.outputs[0])
                fills[op.name] = tf.raw_ops.Assign(ref=op.outputs[0], value=values[op.name]).op
            elif op.type == "VarHandleOp":
                dtype = tf.as_dtype(op.get_attr("dtype"))
                values[op.name] = session.run(tf.raw_ops.ReadVariableOp(resource=op.outputs[0], dtype=dtype))
                fills[op.name] = tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=values[op.name])
        assert sorted(values) == ["b", "w"]
        for lost in fills:
            with tf.Session(graph=graph) as other:
                other.run([fill for name, fill in fills.items() if name != lost])
                with pytest.raises((tf.errors.FailedPreconditionError, tf.errors.NotFoundError)):
                    for request in requests:
                        answers(other, signatures, request, 2)


@pytest.mark.parametrize("parity", ["--parity", "--no-parity"])
@pytest.mark.parametrize(
    "name, outputs, inputs, asked, filtered",
    [
        ("dense", "rows", "x", "serving_default", ()),
        ("sparse", "indices values shape", "x", "serving_default", ()),
        ("sparse", "indices values shape score", "x", "serving_default", ()),
        ("sparse", "values", "x", "serving_default", ()),
        ("time_major", "logits", "x", "serving_default", ()),
        ("scalar", "mean", "x", "serving_default", ()),
        ("filtered", "large", "x", "serving_default", ()),
        ("halves", "rows logits", "x", "serving_default", ()),
        ("of_many_types", "texts large ids rows", "x", "serving_default", ()),
        ("of_bytes", "indices values shape", "x", "warmup", ()),
        ("of_bytes", "indices values shape score", "x", "serving_default", ("score",)),
        ("fixed", "state", "x", "warmup", ()),
        ("switched", "rows", "x scale", "warmup", ()),
    ],
)
def test_a_record_survives_batching_and_depends_on_every_variable(
    export, name, outputs, inputs, asked, filtered, parity
):
    """A signature as it is, some of its outputs, or a signature for this alone; narration and provenance say which."""
    result, version = export(name, outputs, parity, inputs=inputs)
    (request,) = check_survives(version)
    assert (request.signature, request.outputs or ()) == (asked, filtered)
    check_guards(version)
    outputs_asked = f", outputs {', '.join(filtered)}" if filtered else ""
    assert f"warm-up     1 request written (signature {asked}{outputs_asked})\n" in result.output
    provenance = json.loads((version / "assets.extra" / "ckpt2saved.json").read_text())
    assert provenance["warmup"] == {asked: 1}
    assert provenance["warmup_outputs"] == ({asked: list(filtered)} if filtered else {})
    assert ("signature warmup: for warm-up requests only" in result.output) == (asked == "warmup")
    assert is_marked(request.inputs) == (asked == "serving_default" and not filtered and name != "dense")


@pytest.mark.parametrize("parity", ["--parity-lines=1", "--no-parity"])
@pytest.mark.parametrize(
    "name, outputs, asked, filtered",
    [
        ("searched", "ids score", "warmup", ()),
        ("searched", "indices values", "warmup", ()),
        ("searched", "ids logits", "serving_default", ("logits",)),
        ("two_paths", "ids score", "warmup", ()),
        ("looked_up", "codes logits", "warmup", ()),
        ("searched_in_batches", "ids score", "warmup", ()),
        ("searched_after_a_loop", "ids sums", "warmup", ()),
    ],
)
def test_no_record_waits_for_a_slow_beam_search(run, export, name, outputs, asked, filtered, parity):
    """Though the files have the op: it depends on every variable all the same, and the answers are the op's."""
    result, version = export(name, outputs, "--ctc-decoder=stock", parity)
    (request,) = check_survives(version)
    assert (request.signature, request.outputs or ()) == (asked, filtered)
    check_guards(version)
    assert _runs_search(version, "serving_default", outputs.split())
    assert not _runs_search(version, request.signature, filtered or ["warmup"])
    assert "no warm-up request runs TensorFlow's beam search" in result.output
    result = run("verify", version)
    assert result.exit_code == 0, result.output


def _runs_search(version, signature, outputs):
    with tf.Graph().as_default(), tf.Session() as session:
        definition = tf.saved_model.loader.load(session, ["serve"], str(version)).signature_def[signature]
        names = [definition.outputs[key].name.partition(":")[0] for key in outputs]
        part = tf.graph_util.extract_sub_graph(session.graph.as_graph_def(), names)
    return any(node.op == "CTCBeamSearchDecoder" for node in part.node)


def test_a_record_of_a_slow_beam_search_can_be_asked_for(export):
    """And a quick one, which the proof has asked whole, is asked as it is."""
    for options in (["--parity-lines=1", "--warmup=1"], ["--no-parity", "--warmup-signature=serving_default"], []):
        _, version = export("searched", "ids score", "--ctc-decoder=stock", *options)
    for number in ("1", "2", "3"):
        (request,) = read_warm_up_requests(version.parent / number)
        assert _runs_search(version.parent / number, request.signature, request.outputs or ["ids", "score"])


TWO = """
format: 1
graph: {builder: "nets_to_warm:halves_of_bytes"}
signatures:
  serving_default:
    inputs: {x: {dtype: uint8, shape: [batch, 8, 4]}}
    outputs: {rows: {dtype: float32, shape: [batch, 8, 5]}}
  warmup:
    inputs: {x: {dtype: uint8, shape: [batch, 8, 4]}}
    outputs: {logits: {dtype: float32, shape: [8, batch, 5]}}
"""


def test_what_one_request_leaves_out_another_depends_on(run, export, tmp_path):
    """A signature that can be split, and one that has a variable more; its name is taken."""
    (tmp_path / "two.yaml").write_text(TWO)
    arguments = ["--model", tmp_path / "two.yaml", "--allow-code", "--python-path", tmp_path, "-c", tmp_path / "m.ckpt"]
    result = run("export", *arguments, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    version = tmp_path / "base" / "1"
    requests = check_survives(version)
    assert [request.signature for request in requests] == ["serving_default", "warmup_2"]
    check_guards(version)


def test_only_a_request_that_begins_with_the_mark_is_answered_otherwise(export):
    """Zeros for each line; the mark in another line changes nothing."""
    _, version = export("sparse", "indices values shape")
    (request,) = read_warm_up_requests(version)
    assert request.inputs["x"][:, 0, 0].tolist() == [MARK] * 3
    with asking(version) as ask:
        found = ask(**request.inputs)
        assert {key: value.shape for key, value in found.items()} == {"indices": (3, 2), "values": (3,), "shape": (3,)}
        assert not any(value.any() for value in found.values())
        x = np.tile(np.linspace(-1, 1, 32, dtype="float32").reshape(1, 8, 4), [3, 1, 1])
        usual = ask(x=x)
        assert usual["shape"].tolist() == [3, len(usual["values"]) // 3] and len(usual["values"])
        x[1, 0, 0] = MARK
        assert ask(x=x)["shape"][0] == 3
        x[0, 0, 0] = MARK
        assert not ask(x=x)["shape"].any()


def test_verify_compares_with_requests_as_clients_send_them(run, export, tmp_path):
    """Without the mark, for which the checkpoint has another answer."""
    _, version = export("sparse", "indices values shape")
    result = run("verify", version)
    assert result.exit_code == 0, result.output
    assert "answers     1 request, run twice" in result.output
    (gathered,) = gather_requests(version, lambda *_: Requests(())).requests
    assert not is_marked(gathered.inputs) and gathered.is_of_known_size
    assert gathered.inputs["x"].shape == (3, 8, 4)  # not 2, as output_shape has
    assert gathered.inputs["x"][:, 0, 0].tolist() == [0, 0, 0]


def test_the_other_signature_answers_as_before(run, export):
    """Beside the one for warm-up requests, which verify asks as well."""
    _, version = export("of_bytes", "indices values shape")
    result = run("verify", version)
    assert result.exit_code == 0, result.output
    assert "answers     2 requests, each run twice" in result.output
    assert "note        serving_default: cannot be used with --enable_batching: indices, shape, values" in result.output
    assert "warmup: not for a server" not in result.output


def test_serving_config_does_not_propose_the_signature_for_warm_up(run, export, tmp_path):
    """No client asks for it."""
    export("scalar", "mean")
    result = run("serving-config", tmp_path / "base", "--batching", "--output-dir", tmp_path / "out")
    assert result.exit_code == 3 and "mean is a scalar" in " ".join(result.output.replace("[]", "").split())
    assert "warmup" not in result.output


def test_serving_config_knows_what_the_export_saw(run, export, tmp_path):
    """A number of rows that the signature does not show."""
    export("filtered", "large")
    result = run("serving-config", tmp_path / "base", "--batching", "--output-dir", tmp_path / "out")
    assert result.exit_code == 3, result.output
    assert "output large [?] has another first dimension than the batch" in result.output


@pytest.mark.parametrize(
    "name, outputs", [("sparse", "indices values shape score"), ("scalar", "mean"), ("dense", "rows")]
)
def test_verify_and_export_say_the_same_of_batching(run, export, name, outputs):
    """The same outputs, with and without parity."""
    result, version = export(name, outputs)
    notes = [line for line in result.output.splitlines() if "--enable_batching: " in line]
    again = run("verify", version).output.splitlines()
    assert [line for line in again if "--enable_batching: " in line] == notes
    assert bool(notes) == (name != "dense")


def test_the_same_export_gives_the_same_bytes(export, tmp_path):
    """The signature for warm-up requests included."""
    _, version = export("fixed", "state")
    first = (
        (version / "saved_model.pb").read_bytes(),
        (version / "assets.extra/tf_serving_warmup_requests").read_bytes(),
    )
    export("fixed", "state")
    other = tmp_path / "base" / "2"
    assert first == (
        (other / "saved_model.pb").read_bytes(),
        (other / "assets.extra/tf_serving_warmup_requests").read_bytes(),
    )


def test_requests_of_a_file_take_the_form_that_survives(export, tmp_path):
    """Arrays of the user's own, with the mark."""
    np.savez(str(tmp_path / "own.npz"), x=np.full([5, 8, 4], 3.0, "float32"))
    _, version = export("sparse", "indices values shape score", "--warmup", tmp_path / "own.npz")
    (request,) = check_survives(version)
    assert request.inputs["x"].shape == (5, 8, 4) and request.outputs is None
    assert is_marked(request.inputs) and (request.inputs["x"].reshape(5, 32)[:, 1:] == 3).all()
    assert requests_by_signature([request]) == {"serving_default": 1}


def test_an_answer_that_changes_with_state_is_not_called_random(run, tmp_path):
    """TF Serving's own test model counts its requests; and nobody counts on a running server."""

    def build(x):
        counter = tf.get_variable("counter", initializer=0.0)
        return {"count": tf.assign_add(counter, 1.0) + 0 * x}

    version = write_version(tmp_path / "m" / "1", build, restores=True)
    result = run("verify", version)
    assert result.exit_code == 0, result.output
    assert "random" not in result.output
    assert (
        "note        serving_default: answers may differ from request to request: the graph keeps state; each request "
        "changes it: AssignAdd" in result.output
    )
    from tests.support.model_server import serving_rest

    with serving_rest(tmp_path / "m", "m") as server:
        result = run("verify", version, "--server", server.url)
        assert result.exit_code == 0 and not [path for path in server.asked if "predict" in path], result.output
        assert "serving_default: not run: the graph keeps state, and each request changes it" in result.output
        assert "warning     no signature was run: whether the server answers" in result.output
        result = run("verify", version, "--server", server.url, "--probe-signature", "serving_default")
        assert result.exit_code == 0 and [path for path in server.asked if "predict" in path], result.output


def test_verify_ends_in_a_warning_where_nothing_could_be_asked(run, tmp_path):
    """The version is loaded, and that is all that is known of it."""
    version = write_version(tmp_path / "m" / "1", lambda x: {"y": tf.string_join([x, "!"])}, "string", (None,))
    result = run("verify", version)
    lines = [line for line in result.output.splitlines() if line != str(version)]
    assert result.exit_code == 0
    assert lines[-1] == (
        "warning     no signature was run: whether the version answers requests is not known; see the notes above"
    )
    content = json.loads(run("verify", version, "--json", "-q").output)
    assert content["warnings"] == [lines[-1].partition("     ")[2]] and content["problems"] == []


def test_outputs_of_as_many_rows_as_are_found_are_told_by_their_op():
    """They may have as many as the batch by chance, in the one request that is tried."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4], name="x")
        tf.identity(tf.cast(tf.where(x > 0), tf.int32), name="places")
        logits = tf.placeholder(tf.float32, [None, None, 5], name="logits")
        (decoded,), scores = tf.nn.ctc_beam_search_decoder(logits, tf.fill(tf.shape(logits)[1:2], 3), top_paths=1)
        tf.identity(decoded.values, name="values")
        tf.identity(scores, name="scores")
        tf.identity(x * 2, name="doubled")
    found = {name: has_rows_of_its_own(graph.as_graph_def(), name + ":0") for name in ("places", "values", "scores")}
    assert found == {"places": True, "values": True, "scores": False}
    assert not has_rows_of_its_own(graph.as_graph_def(), "doubled:0")
