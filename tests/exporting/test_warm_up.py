"""The requests with which a server warms a version up: what TF Serving reads is what was meant, and was answered."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.answers import cc_loader
from ckpt2saved.checkpoint.contents import open_checkpoint
from ckpt2saved.errors import NotServable, ServingError, UsageError, WarmupError
from ckpt2saved.exporting.warm_up import read_staged_requests, write_warm_up
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.warm_up.file import (
    as_prediction_log,
    read_warm_up_requests,
    requests_by_signature,
)
from ckpt2saved.requests.warm_up.maker import WarmUpMaker
from ckpt2saved.requests.warm_up.marks import is_marked
from ckpt2saved.requests.warm_up.source import warm_up_source
from ckpt2saved.saved_model.judgement import WARMUP_FILE
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.signature.file import load_model
from ckpt2saved.sources.binding import bind
from ckpt2saved.sources.graph_plan import GraphOptions, plan_graph
from tests.support.checkpoints import filled, write_checkpoint

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "crnn"


@pytest.fixture(scope="module")
def exported(tmp_path_factory, crnn_checkpoint, ctpn_checkpoint):
    """A function: the outcome of an export without comparing, and the requests in the published version."""
    from click.testing import CliRunner

    from ckpt2saved.cli import main

    def export(*options, checkpoint=crnn_checkpoint, model=None):
        base = tmp_path_factory.mktemp("base")
        model = model or ("ctpn" if "ctpn" in str(checkpoint) else "crnn")
        arguments = ["export", "-m", model, "-c", checkpoint, "-o", base, "--no-parity"] + list(options)
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0 or not list(base.iterdir()), "something was published"
        return result, base / "1"

    return export


@pytest.fixture(scope="module")
def version(exported):
    """A version of the crnn as export writes it without being told anything."""
    result, path = exported()
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def warmup(crnn_checkpoint):
    """A function: the requests for the crnn that the values of --warmup stand for, without an export around it."""
    plan = plan_graph(GraphOptions(model="crnn", checkpoints=(crnn_checkpoint,)))
    checkpoint = open_checkpoint(plan.checkpoint)
    network = bind(plan, checkpoint)

    def make(value, signatures=()):
        source = warm_up_source(plan.model, [value], signatures)
        return WarmUpMaker(source, network, network.model.parity, checkpoint).make()

    return make


def test_tf_serving_reads_what_was_meant(version):
    """By the protos of tensorflow-serving-api, and by TensorFlow's own reader, which compares the checksums."""
    pytest.importorskip("tensorflow_serving")
    from tensorflow_serving.apis import prediction_log_pb2

    record, _ = tf.python_io.tf_record_iterator(str(version / WARMUP_FILE))
    log = prediction_log_pb2.PredictionLog.FromString(record)
    assert log.WhichOneof("log_type") == "predict_log"
    request = log.predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("crnn", "dense")
    inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
    assert sorted(inputs) == ["input_batch_size", "input_data"]
    assert inputs["input_batch_size"].tolist() == [25, 20]
    assert inputs["input_data"].dtype == np.float32 and inputs["input_data"].shape == (2, 32, 100, 3)
    own, of_default = read_warm_up_requests(version)
    assert (own.signature, of_default.signature) == ("dense", "serving_default")
    for key, value in inputs.items():
        np.testing.assert_array_equal(own.inputs[key], value)


NUMBERS = "float32 float64 int32 uint8 int16 int8 complex64 int64 bool uint16 complex128 float16 uint32 uint64"


def written(directory, *logs):
    path = directory / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.python_io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log)
    return path


def test_every_dtype_goes_there_and_back(tmp_path):
    """Strings with a NUL at their end, empty arrays and single values too."""
    inputs = {name: (np.arange(6) * 3 - 4).astype(name).reshape(2, 3) for name in NUMBERS.split()}
    inputs["string"] = np.array([b"a\0", b"", b"\xff"], object)
    inputs["empty"], inputs["single"] = np.zeros([0, 3], "int64"), np.array(3, "float32")
    written(tmp_path, as_prediction_log(Request("r", "text", inputs), "m"))
    (read,) = read_warm_up_requests(tmp_path)
    assert read.signature == "text" and sorted(read.inputs) == sorted(inputs)
    for key, value in inputs.items():
        assert (read.inputs[key].dtype, read.inputs[key].shape) == (value.dtype, value.shape), key
        np.testing.assert_array_equal(read.inputs[key], value)


def test_records_of_other_writers_are_read(tmp_path):
    """tf.make_tensor_proto lists single values and strings; the last one of a list stands for the rest."""
    pytest.importorskip("tensorflow_serving")
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    inputs = log.predict_log.request.inputs
    given = {name: np.array(1, name) for name in NUMBERS.split()}
    given.update(negative=np.array(-7, "int32"), text=np.array(b"x", object), many=np.ones([2, 2], "float16"))
    for key, value in given.items():
        inputs[key].CopyFrom(tf.make_tensor_proto(value))
    inputs["filled"].CopyFrom(tf.make_tensor_proto(2.5))
    inputs["filled"].tensor_shape.dim.add(size=3)
    log.predict_log.request.model_spec.version.value = 5
    written(tmp_path, log.SerializeToString())
    (read,) = read_warm_up_requests(tmp_path)
    assert read.signature == "serving_default"
    for key, value in given.items():
        assert read.inputs[key].dtype == value.dtype
        np.testing.assert_array_equal(read.inputs[key], value)
    assert read.inputs["filled"].tolist() == [2.5] * 3


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda content: content[:-1], "cut off, or no TFRecords of PredictionLog"),
        (lambda content: content[:5], "cut off, or no TFRecords of PredictionLog"),
        (lambda content: b"nothing of the kind", "cut off, or no TFRecords of PredictionLog"),
        (lambda content: content[:12] + b"\xff" * (len(content) - 12), "cut off, or no TFRecords of PredictionLog"),
        (lambda content: content[:12] + b"\x3a" + content[13:], "a record that is no Predict request"),
    ],
)
def test_a_spoilt_file_is_told(tmp_path, version, spoil, message):
    """Never a traceback; a version without the file has no requests."""
    (tmp_path / "assets.extra").mkdir()
    assert read_warm_up_requests(tmp_path) == []
    (tmp_path / WARMUP_FILE).write_bytes(spoil((version / WARMUP_FILE).read_bytes()))
    with pytest.raises(ServingError, match=message):
        read_warm_up_requests(tmp_path)


def test_the_records_make_a_version_without_values_fail(tmp_path, version):
    """What they are for: TF Serving loads it without a word, and only a request shows that nothing was restored."""
    from ckpt2saved.versions import bump_version

    base = tmp_path / "base"
    broken = bump_version(base, str(version)).path
    assert (broken / WARMUP_FILE).read_bytes() == (version / WARMUP_FILE).read_bytes()
    library, signatures = cc_loader.find_library(), read_signatures(version)
    request, _ = read_warm_up_requests(broken)
    feeds, fetches = request.feeds_and_fetches(signatures)
    with cc_loader.loaded(library, broken) as loaded:
        ids = loaded.run([fetches["ids"]], feeds)[0]
    assert ids.shape == (2, 25)
    os.remove(str(broken / "variables" / "variables.index"))
    with cc_loader.loaded(library, broken) as loaded, pytest.raises(NotServable, match="ninitialized"):
        loaded.run([fetches["ids"]], feeds)


@pytest.mark.parametrize(
    "options, counts",
    [
        ([], {"dense": 1, "serving_default": 1}),
        (["--warmup", "3"], {"dense": 3, "serving_default": 1}),
        (["--warmup-signature", "serving_default", "--warmup-signature", "dense"], {"serving_default": 1, "dense": 1}),
        (["--no-warmup"], {}),
    ],
)
def test_every_signature_is_asked(exported, options, counts):
    """Unless others are chosen, whose price is told; how many there are stands in the provenance."""
    result, path = exported(*options)
    assert result.exit_code == 0, result.output
    assert requests_by_signature(read_warm_up_requests(path)) == counts
    provenance = json.loads((path / "assets.extra" / "ckpt2saved.json").read_text())
    assert provenance["warmup"] == counts
    files = [file for file in path.rglob("*") if file.is_file() and file.name != "ckpt2saved.json"]
    assert provenance["bytes"]["version"] == sum(file.stat().st_size for file in files)
    said = "none, as requested"
    if len(counts) == 1:
        ((name, count),) = counts.items()
        said = f"{count} request{'s' if count > 1 else ''} written (signature {name})"
    elif counts:
        listed = "; ".join(f"{count} of signature {name}" for name, count in counts.items())
        said = f"{sum(counts.values())} requests written ({listed})"
    assert f"\nwarm-up     {said}\n" in result.output
    price = "note        serving_default: with its warm-up requests, a server with --enable_batching never loads"
    assert (price in result.output) == ("serving_default" in options)
    assert (path / WARMUP_FILE).exists() == bool(counts)


def test_of_many_requests_no_two_are_alike(warmup):
    """The parity cases in turn, then other batches and widths; steps that count are never more than there are."""
    requests = warmup(8).requests[:8]
    shapes = [request.inputs["input_data"].shape for request in requests]
    assert shapes == [
        (2, 32, 100, 3),
        (3, 32, 67, 3),
        (2, 32, 200, 3),
        (2, 32, 134, 3),
        (3, 32, 100, 3),
        (3, 32, 67, 3),
        (4, 32, 200, 3),
        (4, 32, 134, 3),
    ]
    assert requests[6].inputs["input_batch_size"].tolist() == [25, 20, 25, 20]
    assert len({zlib.crc32(request.inputs["input_data"].tobytes()) for request in requests}) == 8
    again = warmup(8).requests[:8]
    assert [as_prediction_log(r, "m") for r in again] == [as_prediction_log(r, "m") for r in requests]


def test_the_arrays_of_a_file_become_records(exported, tmp_path):
    """An axis in front is the records'; without one all records share the array."""
    data = np.arange(2 * 32 * 40 * 3, dtype="float32").reshape(2, 1, 32, 40, 3)
    np.savez(str(tmp_path / "two.npz"), input_data=data, input_batch_size=np.array([10], "int32"))
    result, path = exported("--warmup", tmp_path / "two.npz")
    assert result.exit_code == 0, result.output
    requests = read_warm_up_requests(path)
    assert [request.signature for request in requests] == ["dense"] * 2 + ["serving_default"]
    assert is_marked(requests[2].inputs)
    requests[2].inputs["input_data"][0, 0, 0, 0] = data[0, 0, 0, 0, 0]  # in place of the mark
    for request, wanted in zip(requests, [*data, data[0]]):
        np.testing.assert_array_equal(request.inputs["input_data"], wanted)
        assert request.inputs["input_batch_size"].tolist() == [10]


def arrays(directory, **values):
    np.savez(str(directory / "bad.npz"), **values)
    return directory / "bad.npz"


def test_everything_wrong_with_a_file_is_said_at_once(exported, warmup, tmp_path):
    """Types, shapes, sizes that contradict each other, keys too many and too few."""
    path = arrays(tmp_path, input_data=np.zeros([2, 31, 40, 3]), picture=np.zeros(1))
    result, _ = exported("-q", "--warmup", path)
    assert result.exit_code == 1
    assert result.output == (
        f"Error: {path}: no requests can be made of it\n"
        "  - picture: no such input; expected input_batch_size, input_data\n"
        "  - input_batch_size: missing\n"
        "  - input_data: float64 found, float32 expected\n"
        "  - input_data: the shape [2, 31, 40, 3] found, [batch, 32, width, 3] expected, or that with the number of "
        "records as first dimension\n"
        "More: ckpt2saved explain unknown-input missing-input array-dtype\n"
    )
    path = arrays(tmp_path, input_data=np.zeros([2, 32, 40, 3], "float32"), input_batch_size=np.ones(3, "int32"))
    with pytest.raises(WarmupError, match="  - input_batch_size: batch is 3, but 2 in input_data$"):
        warmup(path)
    path = arrays(tmp_path, input_data=np.zeros([2, 1, 32, 8, 3], "float32"), input_batch_size=np.ones([3, 1], "int32"))
    with pytest.raises(WarmupError, match="2 of input_data, 3 of input_batch_size: the same number of records of"):
        warmup(path)


def test_a_file_that_is_no_npz_is_said(warmup, tmp_path):
    """Whatever numpy raises, and pickled objects, which are never read."""
    np.save(str(tmp_path / "one.npy"), np.zeros(3))
    np.savez(str(tmp_path / "packed.npz"), input_data=np.zeros(3))
    packed = bytearray((tmp_path / "packed.npz").read_bytes())
    packed[packed.index(b"PK\x01\x02") + 10] = 99  # compressed in a way that zipfile does not know
    for content in (b"", b"PK\x03\x04 cut off", b"words", (tmp_path / "one.npy").read_bytes(), bytes(packed)):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(WarmupError, match="not a .npz file of plain arrays, as numpy.savez writes it"):
            warmup(tmp_path / "x.npz")
    with pytest.raises(WarmupError, match="strings are arrays of dtype S, not objects"):
        warmup(arrays(tmp_path, input_data=np.array([b"x", None], object)))


def test_pictures_become_requests(exported):
    """As high as the network wants them, as many steps as the graph makes of their width: what a client would send."""
    import sys

    pictures = [EXAMPLE / "images" / name for name in ("quay.png", "route66.png")]
    options = ["--warmup", pictures[0], "--warmup", pictures[1]]
    result, path = exported(*options, checkpoint=EXAMPLE / "checkpoint", model="crnn")
    assert result.exit_code == 0, result.output
    *requests, last = read_warm_up_requests(path)
    assert [request.signature for request in requests] == ["dense"] * 2
    assert last.signature == "serving_default" and is_marked(last.inputs)
    assert last.inputs["input_data"].shape == requests[0].inputs["input_data"].shape
    sys.path.insert(0, str(EXAMPLE))
    from texts import text_of

    library, signatures = cc_loader.find_library(), read_signatures(path)
    texts = []
    with cc_loader.loaded(library, path) as loaded:
        for request in requests:
            image = request.inputs["input_data"]
            assert image.dtype == np.float32 and image.shape[:2] == (1, 32) and 1 < image.max() <= 255
            assert request.inputs["input_batch_size"].tolist() == [image.shape[2] // 4]
            feeds, fetches = request.feeds_and_fetches(signatures)
            (ids,) = loaded.run([fetches["ids"]], feeds)
            texts.append(text_of(ids[0][ids[0] >= 0]))
    assert texts == ["Quay 7, gate 17B", "Route 66"]


def picture(path, height, width, colour=(255, 128, 0)):
    with tf.Graph().as_default(), tf.Session() as session:
        pixels = np.full([height, width, 3], colour, "uint8")
        encode = tf.image.encode_jpeg if path.suffix == ".jpg" else tf.image.encode_png
        path.write_bytes(session.run(encode(pixels)))
    return path


def test_pictures_are_brought_to_the_size_of_the_input(exported, tmp_path, ctpn_checkpoint):
    """The crnn's lines are 32 high and keep their proportions; the ctpn takes any size, and its im_info as in parity."""
    result, path = exported("--warmup", picture(tmp_path / "line.jpg", 64, 200))
    assert result.exit_code == 0, result.output
    request, _ = read_warm_up_requests(path)
    image = request.inputs["input_data"]
    assert image.shape == (1, 32, 100, 3) and request.inputs["input_batch_size"].tolist() == [25]
    assert np.abs(image - [255, 128, 0]).max() < 4
    result, path = exported("--warmup", picture(tmp_path / "page.png", 50, 70), checkpoint=ctpn_checkpoint)
    assert result.exit_code == 0, result.output
    requests = read_warm_up_requests(path)
    assert [request.signature for request in requests] == ["serving_default", "proposals", "lines"]
    for request in requests:
        assert request.inputs["input_image"].shape == (1, 50, 70, 3)
        assert request.inputs["input_im_info"].tolist() == [[64, 96, 1]]


def test_what_is_no_picture_is_said(exported, tmp_path):
    """All of them at once."""
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(b"not a picture")
    result, _ = exported("-q", "--warmup", tmp_path / "a.png", "--warmup", tmp_path / "b.jpg")
    assert result.exit_code == 1
    assert "a.png: no PNG or JPEG picture\n" in result.output and "b.jpg: no PNG or JPEG picture\n" in result.output


def own(directory, text, name="own.yaml"):
    (directory / name).write_text(text)
    return directory / name


def test_an_input_that_a_picture_says_nothing_about_is_refused(exported, tmp_path, ctpn_checkpoint):
    """The signature file makes it of random numbers."""
    text = load_model("ctpn").source.read_text()
    text = text.replace("{values: [[64, 96, 1]]}", "{uniform: [0, 1]}")
    result, _ = exported(
        "-q",
        "--warmup",
        picture(tmp_path / "page.png", 50, 70),
        checkpoint=ctpn_checkpoint,
        model=own(tmp_path, text),
    )
    assert result.exit_code == 1
    assert "  - serving_default.input_im_info: its value for a picture is unknown" in result.output


def test_a_request_that_is_not_answered_publishes_nothing(exported, tmp_path):
    """More steps than the line has: the server would not load the version either."""
    path = arrays(tmp_path, input_data=np.zeros([1, 32, 40, 3], "float32"), input_batch_size=np.array([11], "int32"))
    for options in ([], ["--dry-run"], ["--parity"]):
        result, _ = exported("-q", "--ctc-decoder", "stock", "--warmup", path, *options)
        assert result.exit_code == 3, result.output
        assert (
            "Error: warm-up request 1: signature dense: TF Serving would answer this request with an error"
            in result.output
        )
        assert "a server would not load the version" in result.output


def test_too_many_items_for_a_batching_server_are_noted(warmup, tmp_path):
    """Its max_batch_size is 32 unless it was told otherwise."""
    path = arrays(tmp_path, input_data=np.zeros([33, 32, 8, 3], "float32"), input_batch_size=np.ones(33, "int32"))
    (note,) = warmup(path).notes
    assert (note.code, "max_batch_size is 33 or more" in note.text) == ("batch-limit", True)


def test_no_requests_are_none():
    """--warmup 0 says what --no-warmup does."""
    model = load_model("crnn")
    assert warm_up_source(model, [0]) is None and warm_up_source(model, none=True) is None
    assert not warm_up_source(model).asked and warm_up_source(model, [1]).asked


@pytest.mark.parametrize(
    "options, message",
    [
        (["--warmup", "1001"], "--warmup: 1001 records, and TF Serving loads no version with more than 1000"),
        (["--warmup", "600", "--warmup-signature", "dense", "--warmup-signature", "serving_default"], "1200 records"),
        (["--warmup", "many"], "--warmup many: a number of requests, an .npz file or pictures (.png, .jpg)"),
        (["--warmup", "-1"], "--warmup -1: a number of requests"),
        (["--warmup", "nowhere.npz"], "there is no file nowhere.npz"),
        (["--warmup", "nowhere.png"], "there is no file nowhere.png"),
        (["--warmup", "1", "--warmup", "2"], "one number, one .npz file, or pictures are expected"),
        (["--warmup", "1", "--no-warmup"], "--no-warmup: not with --warmup"),
        (["--warmup", "0", "--warmup-signature", "dense"], "--warmup-signature: not with --warmup 0"),
        (["--warmup-signature", "sparse"], "there is no such signature; expected one of serving_default, dense"),
    ],
)
def test_a_wrong_command_line(exported, options, message):
    """Exit 2, before anything is done where that is possible."""
    result, _ = exported("-q", *options)
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_more_records_in_a_file_than_a_server_takes(warmup, tmp_path):
    """Known once the file is read."""
    path = arrays(tmp_path, input_data=np.zeros([1001, 1, 32, 4, 3], "float32"), input_batch_size=np.ones(1, "int32"))
    with pytest.raises(UsageError, match="1002 records"):
        warmup(path)


TEXT = """
format: 1
graph: {builder: "reader_of_bytes:build"}
signatures:
  serving_default:
    inputs: {image_bytes: {dtype: string, shape: [batch]}}
    outputs: {mean: {dtype: float32, shape: [batch]}}
parity: [{dims: {batch: 2}, inputs: {image_bytes: {values: ["12.5", "4"]}}}]
"""

READER = """
import tensorflow.compat.v1 as tf
def build(variables, options):
    weight = tf.get_variable("w", variables["w"])
    texts = tf.placeholder(tf.string, [None], name="image_bytes")
    return {"image_bytes": texts, "mean": tf.string_to_number(texts) * weight}
"""


def test_strings_are_requests_too(exported, tmp_path):
    """Bytes as they are; a request that fails is told in the same way."""
    (tmp_path / "reader_of_bytes.py").write_text(READER)
    checkpoint = write_checkpoint(tmp_path / "m.ckpt", filled({"w": (1,)}))
    options = ["--python-path", tmp_path, "--allow-code"]
    keywords = {"checkpoint": checkpoint, "model": own(tmp_path, TEXT)}
    result, path = exported(*options, **keywords)
    assert result.exit_code == 0, result.output
    (request,) = read_warm_up_requests(path)
    assert request.inputs["image_bytes"].tolist() == [b"12.5", b"4"]
    np.savez(str(tmp_path / "words.npz"), image_bytes=np.array(["1", "two"]))
    result, _ = exported("-q", *options, "--warmup", tmp_path / "words.npz", **keywords)
    assert result.exit_code == 3
    assert "warm-up request 1: signature serving_default: " in result.output and "two" in result.output
    assert "Traceback" not in result.output


def test_requests_that_the_disk_damages(tmp_path):
    """What is read back is what was written, or nothing is published."""
    requests = [Request("r", "s", {"x": np.arange(number, dtype=np.float32)}) for number in (3, 5)]
    write_warm_up(tmp_path, requests, "m")
    assert [request.inputs["x"].tolist() for request in read_staged_requests(tmp_path)] == [[0, 1, 2], [0, 1, 2, 3, 4]]
    path = tmp_path / WARMUP_FILE
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # of the last array
    path.write_bytes(content)
    with pytest.raises(NotServable, match="damaged"):
        read_staged_requests(tmp_path)
