"""serving-config: settings by the number of CPUs, and by measurements."""

from __future__ import annotations

import copy
import json
import re

import pytest

from ckpt2saved.compatibility.image import find_image
from ckpt2saved.errors import UsageError
from ckpt2saved.server_config.client_advice import answer_bytes
from ckpt2saved.server_config.measurements import read_measurements
from ckpt2saved.server_config.tuning import LATENCY, SpeedOptions, choose_settings, parse_sizes
from ckpt2saved.signature.tensors import Signature, TensorSpec
from tests.support.published_models import FIXED_LINES, publish, succeeded

NEWEST = find_image("2.20")
TEXT = ({"image_bytes": ("string", [-1])}, {"text": ("string", [-1]), "score": ("float32", [-1])})


def row(concurrency=1, batch=1, lines_per_second=100.0, p99=0.02, **more):
    """One row of bench served."""
    content = {
        "concurrency": concurrency,
        "batch": batch,
        "rate": None,
        "widths": [40, 400],
        "requests": 100,
        "lines": 100 * batch,
        "failures": {},
        "p50": p99 / 2,
        "p90": p99 * 0.9,
        "p99": p99,
        "requests_per_second": lines_per_second / batch,
        "lines_per_second": lines_per_second,
        "bytes_sent": 100000,
        "bytes_received": 50000,
        "stable": True,
    }
    return dict(content, **more)


def target(rows, intra_op=None, inter_op=None, onednn=None, mixed_precision=None):
    """One target of bench served."""
    settings = {"intra_op": intra_op, "inter_op": inter_op, "onednn": onednn, "batching": None}
    settings["mixed_precision"] = mixed_precision
    place = {"name": "models/crnn/1", "driver": "loader", "model": "crnn", "version": 1, "signature": "text"}
    return dict(place, settings=settings, rows=rows)


def served(*targets, cpus=4):
    return {"format": 1, "machine": {"cpus": cpus}, "targets": list(targets), "comparison": None}


@pytest.fixture
def choose(tmp_path):
    """A function from measurements and options to the choice for a server with four CPUs."""

    def call(content=None, image=NEWEST, cpus=4.0, **options):
        path = None
        if content is not None:
            path = tmp_path / "served.json"
            path.write_text(json.dumps(content))
        has_gpu = options.pop("has_gpu", False)
        return choose_settings(SpeedOptions(tune=path, **options), image, cpus, is_limit=False, has_gpu=has_gpu)

    return call


# Without measurements


def test_threads_are_the_cpus_and_onednn_is_off(choose):
    found = choose(cpus=2.5)
    assert (found.settings.intra_op, found.settings.inter_op, found.settings.onednn) == (3, 3, False)
    assert found.settings.batching is None
    assert any("3 threads for each op" in reason for reason in found.reasons)
    assert any("default: on" in reason for reason in found.reasons)
    assert any("default: off" in reason for reason in choose(image=find_image("2.8")).reasons)
    assert choose(image=find_image("2.4")).settings.onednn is None


def test_what_is_asked_for_is_taken(choose):
    found = choose(intra_op=1, inter_op=7, onednn=True, batching=True, batching_values={"max_batch_size": 5})
    assert (found.settings.intra_op, found.settings.inter_op, found.settings.onednn) == (1, 7, True)
    assert (found.settings.batching.max_batch_size, found.settings.batching.threads) == (5, 4)
    assert found.reasons == ()


def test_without_cpus_the_server_decides(choose):
    found = choose(cpus=None, batching=True)
    assert (found.settings.intra_op, found.settings.inter_op, found.settings.batching.threads) == (None, None, None)


@pytest.mark.parametrize(
    ("values", "size", "sizes"),
    [
        ({"allowed_batch_sizes": (1, 4, 16)}, 16, (1, 4, 16)),
        ({"allowed_batch_sizes": (1, 4), "max_batch_size": 4}, 4, (1, 4)),
        ({"max_batch_size": 4}, 4, ()),
    ],
)
def test_the_last_allowed_size_is_the_largest_batch(choose, values, size, sizes):
    batching = choose(batching=True, batching_values=values).settings.batching
    assert (batching.max_batch_size, batching.allowed_batch_sizes) == (size, sizes)


def test_sizes_that_contradict_each_other(choose):
    with pytest.raises(UsageError, match="the last one must be --max-batch-size, 8, not 4"):
        choose(batching=True, batching_values={"allowed_batch_sizes": (1, 4), "max_batch_size": 8})
    assert parse_sizes("1,8,32") == (1, 8, 32)
    for wrong in ("", "1,,2", "8,4", "0,1", "1,1", "a", "-1", "٣"):
        with pytest.raises(ValueError):
            parse_sizes(wrong)


def test_settings_that_a_release_lacks(choose):
    with pytest.raises(UsageError, match="2.4.4 does not read TF_ENABLE_ONEDNN_OPTS"):
        choose(image=find_image("2.4"), onednn=True)
    with pytest.raises(UsageError, match="2.14.1 has no --mixed_precision"):
        choose(image=find_image("2.14"), mixed_precision="bfloat16")
    with pytest.raises(UsageError, match="leave --onednn off out"):
        choose(mixed_precision="bfloat16", onednn=False)
    assert choose(mixed_precision="bfloat16").settings.onednn is True


# With measurements

ONE = [row(1, 1, 50, 0.02), row(4, 1, 160, 0.03)]  # one thread for each op
ALL = [row(1, 1, 90, 0.012), row(4, 1, 100, 0.05)]  # all for one op


def test_throughput_and_latency_choose_differently(choose):
    content = served(target(ONE, 1, 4, False), target(ALL, 4, 4, False))
    most = choose(content)
    assert most.settings.intra_op == 1
    assert any("160 lines a second" in reason and "against 100 lines a second" in reason for reason in most.reasons)
    # Geometric means of p99: (0.02 * 0.03) ** 0.5 = 24.5 ms, and 24.49 of 0.012 * 0.05: equal, so fewer threads.
    assert choose(content, goal=LATENCY).settings.intra_op == 1
    content["targets"][0]["rows"][0]["p99"] = 0.04
    fastest = choose(content, goal=LATENCY)
    assert fastest.settings.intra_op == 4
    assert any("24.5 ms" in reason and "34.6 ms" in reason for reason in fastest.reasons)


def test_a_limit_of_the_latency(choose):
    content = served(target(ONE, 1, 4, False), target(ALL, 4, 4, False))
    assert choose(content, max_p99=0.015).settings.intra_op == 4
    with pytest.raises(UsageError, match="no setting answers within --max-p99 0.001 s"):
        choose(content, max_p99=0.001)
    with pytest.raises(UsageError, match="no setting answers within --max-p99 0.001 s"):
        choose(served(target(ONE, 1, 4, False)), max_p99=0.001)  # the only setting
    with pytest.raises(UsageError, match="no setting answers at any load"):
        choose(served(target([row(1, 1, 0)], 1, 4, False)))


def test_equal_settings_keep_onednn_off(choose):
    on, off = [row(1, 1, 102)], [row(1, 1, 100)]
    assert choose(served(target(on, 4, 4, True), target(off, 4, 4, False))).settings.onednn is False
    on[0]["lines_per_second"] = 120.0
    found = choose(served(target(on, 4, 4, True), target(off, 4, 4, False)))
    assert found.settings.onednn is True
    assert any("oneDNN on: 120 lines a second" in reason for reason in found.reasons)
    # What is asked for holds, and only what was measured with it is compared.
    assert choose(served(target(on, 4, 4, True), target(off, 4, 4, False)), onednn=False).settings.onednn is False


def test_rows_with_failures_or_unstable_do_not_count(choose):
    wrong = [row(1, 1, 999, failures={"timeout": 2}), row(1, 1, 999, stable=False)]
    found = choose(served(target([*wrong, row(1, 1, 50)], 1, 4, False), target([row(1, 1, 60)], 4, 4, False)))
    assert found.settings.intra_op == 4
    assert any("2 rows" in reason and "left out" in reason for reason in found.reasons)
    with pytest.raises(UsageError, match="no row can be used"):
        choose(served(target(wrong, 1, 4, False)))


def test_settings_without_a_load_in_common(choose):
    with pytest.raises(UsageError, match="no load in common"):
        choose(served(target([row(1, 1)], 1, 4, False), target([row(2, 1)], 4, 4, False)))


def test_bfloat16_only_on_demand(choose):
    content = served(target([row(1, 1, 500)], 4, 4, True, "bfloat16"), target([row(1, 1, 100)], 4, 4, False))
    assert choose(content).settings.mixed_precision is None
    found = choose(content, mixed_precision="bfloat16").settings
    assert (found.mixed_precision, found.onednn) == ("bfloat16", True)
    del content["targets"][1]
    with pytest.raises(UsageError, match="0 had failed requests or were not stable, and 1 were measured with another"):
        choose(content)


def test_threads_of_a_server_with_other_cpus(choose):
    content = served(target(ONE, 1, 4, False), cpus=4)
    found = choose(content, cpus=16.0)
    assert (found.settings.intra_op, found.settings.inter_op) == (1, 16)
    assert any("measured with 4 CPUs, and the server has 16" in reason for reason in found.reasons)


def test_a_server_whose_settings_are_not_known(choose):
    found = choose(served(target(ONE)))
    assert (found.settings.intra_op, found.settings.onednn) == (4, False)


BATCHES = [row(1, 1, 50), row(1, 8, 150, 0.1), row(2, 8, 290, 0.1), row(4, 8, 300, 0.1), row(4, 32, 305, 0.5)]


def test_batches_up_to_the_size_that_brings_more(choose):
    found = choose(served(target(BATCHES, 1, 4, False)))
    batching = found.settings.batching
    assert (batching.max_batch_size, batching.threads, batching.timeout_micros) == (8, 2, 5000)
    assert any(
        "batches of 8: 300 lines a second in requests of 8, 50 in requests of 1" in text for text in found.reasons
    )
    assert choose(served(target(BATCHES, 1, 4, False)), goal=LATENCY).settings.batching.timeout_micros == 0
    values = {"max_batch_size": 16, "threads": 3}
    batching = choose(served(target(BATCHES, 1, 4, False)), batching_values=values).settings.batching
    assert (batching.max_batch_size, batching.threads, batching.timeout_micros) == (16, 3, 5000)
    assert choose(served(target(BATCHES, 1, 4, False)), batching=False).settings.batching is None


@pytest.mark.parametrize(
    ("rows", "text"),
    [([row(1, 1, 100), row(1, 8, 105)], "it would bring nothing"), (ONE, "one size of requests was measured")],
)
def test_batching_that_brings_nothing(choose, rows, text):
    found = choose(served(target(rows, 1, 4, False)))
    assert found.settings.batching is None and any(text in reason for reason in found.reasons)
    assert choose(served(target(rows, 1, 4, False)), batching=True).settings.batching.max_batch_size == 32


# Sizes that batches are filled up to


def test_batches_are_not_filled_up_where_that_costs_time(choose):
    """Rows that fill up a batch are computed too."""
    found = choose(served(target(BATCHES, 1, 4, False)))
    assert found.settings.batching.allowed_batch_sizes == ()
    assert any("no allowed_batch_sizes" in text and "2.7 times as long" in text for text in found.reasons)


# A request of 3 takes 50 ms, one of 4 takes 40 ms, and one of 8 80 ms; at another load 3 and 4 are measured as well.
SLOW_3 = [row(1, 1, 50), row(1, 2, 67), row(1, 3, 60), row(1, 4, 100), row(1, 8, 120), row(2, 3, 70), row(2, 4, 110)]


def test_sizes_that_take_longer_than_a_larger_one_are_filled_up(choose):
    found = choose(served(target(SLOW_3, 1, 4, False)))
    assert found.settings.batching.max_batch_size == 8
    assert found.settings.batching.allowed_batch_sizes == (1, 2, 4, 5, 6, 7, 8)
    assert any("allowed_batch_sizes without 3: a request of 3 takes longer than one of 4" in t for t in found.reasons)
    # What is asked for holds, and the list ends with the largest batch.
    larger = choose(served(target(SLOW_3, 1, 4, False)), batching_values={"max_batch_size": 10}).settings.batching
    assert larger.allowed_batch_sizes == (1, 2, 4, 5, 6, 7, 8, 9, 10)
    # A batch is not filled up beyond the largest, or the server would not load a model.
    smaller = choose(served(target(SLOW_3, 1, 4, False)), batching_values={"max_batch_size": 3}).settings.batching
    assert smaller.allowed_batch_sizes == ()
    asked = {"allowed_batch_sizes": (1, 3)}
    assert choose(served(target(SLOW_3, 1, 4, False)), batching_values=asked).settings.batching.max_batch_size == 3
    # Only where each load shows it.
    other = [*SLOW_3[:-1], row(2, 4, 80)]
    assert choose(served(target(other, 1, 4, False))).settings.batching.allowed_batch_sizes == ()


def test_sizes_between_two_measured_ones_are_filled_up_with_the_smaller(choose):
    rows = [row(1, 1, 50), row(1, 4, 100), row(1, 8, 100), row(1, 16, 300)]  # 20, 40, 80 and 53 ms
    found = choose(served(target(rows, 1, 4, False)))
    assert found.settings.batching.allowed_batch_sizes == (1, 2, 3, 4, 5, 6, 7, 16)
    assert any("without 8 to 15:" in reason for reason in found.reasons)


def test_a_server_with_a_gpu_gets_few_sizes(choose):
    batching = choose(served(target(BATCHES, 1, 4, False)), has_gpu=True).settings.batching
    assert (batching.max_batch_size, batching.allowed_batch_sizes) == (8, (1, 2, 4, 8))
    values = {"max_batch_size": 12}
    batching = choose(served(target(BATCHES, 1, 4, False)), has_gpu=True, batching_values=values).settings.batching
    assert batching.allowed_batch_sizes == (1, 2, 4, 8, 12)
    rows = [row(1, 1, 50), row(1, 4, 50), row(1, 6, 150), row(1, 8, 150)]  # 20, 80, 40 and 53 ms
    found = choose(served(target(rows, 1, 4, False)), has_gpu=True, batching_values={"max_batch_size": 8})
    assert found.settings.batching.allowed_batch_sizes == (1, 2, 6, 8)
    assert any("on a GPU once more" in reason for reason in found.reasons)


# The file


def changed(path, value):
    """Whole measurements with one value put in place of another."""
    content = copy.deepcopy(served(target(ONE, 1, 4, False)))
    *above, last = path
    place = content
    for key in above:
        place = place[key]
    place[last] = value
    return content


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ([], "the file: [] where an object is expected"),
        (changed(["format"], 2), "format: 2 where 1 is expected"),
        (changed(["machine"], None), "machine: null where an object is expected"),
        (changed(["targets"], {}), "the file: targets: {} where a list is expected"),
        (
            changed(["targets", 0, "settings", "intra_op"], "1"),
            'targets[0].settings.intra_op: "1" where a whole number',
        ),
        (
            changed(["targets", 0, "settings", "batching"], {}),
            "targets[0].settings.batching.max_batch_size: null where",
        ),
        (changed(["targets", 0, "rows", 1, "p99"], -1), "targets[0].rows[1].p99: -1 where a number from 0 on"),
        (changed(["targets", 0, "rows", 1, "p99"], 10**390), "targets[0].rows[1].p99: 1000"),
        (changed(["targets", 0, "rows", 1, "p99"], float("nan")), "targets[0].rows[1].p99: NaN where a number"),
        (changed(["targets", 0, "rows", 1, "concurrency"], True), "targets[0].rows[1].concurrency: true where a whole"),
        (changed(["targets", 0, "rows", 1, "stable"], "yes"), 'targets[0].rows[1].stable: "yes" where true or false'),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path, content, where):
    path = tmp_path / "served.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError) as caught:
        read_measurements(path)
    assert where in str(caught.value) and "bench served --json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 5000, "\x00"])
def test_what_is_no_json(tmp_path, text):
    path = tmp_path / "served.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="it is no JSON"):
        read_measurements(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_measurements(tmp_path / "none.json")


# The command


@pytest.fixture
def configure(run, tmp_path):
    def call(*arguments, **keywords):
        return run("serving-config", "--output-dir", tmp_path / "out", *arguments, **keywords)

    return call


def test_the_command_writes_what_the_measurements_say(configure, tmp_path):
    """Batching without being asked, for the signature that was measured, with the deadline of its p99."""
    model = publish(tmp_path / "models" / "crnn", 1, signatures={"text": TEXT})
    (tmp_path / "served.json").write_text(json.dumps(served(target(BATCHES, 1, 4, True))))
    done = succeeded(configure(model, "--cpus", "4", "--tune", tmp_path / "served.json"))
    words = done.stdout.split()
    assert "--tensorflow_intra_op_parallelism=1" in words and "--tensorflow_inter_op_parallelism=4" in words
    assert "TF_ENABLE_ONEDNN_OPTS=1" in words and "--enable_batching" in words
    assert re.search(r"max_batch_size \{\s+value: 8", (tmp_path / "out" / "batching.config").read_text())
    assert "a deadline of 5 s for each request" in done.output and "clients" in done.output


def test_batching_that_would_break_answers_is_not_chosen(configure, tmp_path):
    sparse = {"output_indices": ("int64", [-1, 2]), "output_values": ("int64", [-1]), "output_shape": ("int64", [2])}
    model = publish(tmp_path / "models" / "crnn", 1, signatures={"serving_default": (FIXED_LINES, sparse)})
    content = served(target(BATCHES, 1, 4, False))
    content["targets"][0]["signature"] = "serving_default"
    (tmp_path / "served.json").write_text(json.dumps(content))
    done = succeeded(configure(model, "--tune", tmp_path / "served.json"))
    assert "--enable_batching" not in done.stdout and "no batching all the same" in done.output


def test_no_parameters_are_asked_for_without_batching(configure, tmp_path):
    """With --batching-per-model, where the measurements speak against batching."""
    model = publish(tmp_path / "models" / "crnn", 1, signatures={"text": TEXT})
    (tmp_path / "served.json").write_text(json.dumps(served(target([row(1, 1, 100.0), row(2, 1, 120.0)]))))
    done = succeeded(configure(model, "--tune", tmp_path / "served.json", "--batching-per-model"))
    assert "--enable_batching" not in done.stdout and "batching_params.pbtxt" not in done.output


@pytest.mark.parametrize(
    "options",
    [
        ["--goal", "latency"],
        ["--max-p99", "1"],
        ["--batch-threads", "2"],
        ["--batch-threads", "2", "--no-batching", "--tune", "x"],
    ],
)
def test_options_without_what_they_belong_to(configure, tmp_path, options):
    done = configure(publish(tmp_path / "m", 1), *options)
    assert done.exit_code == 2 and f"{options[0]}: only with" in done.output


def test_threads_on_kubernetes_only_by_cpus(configure, tmp_path):
    """The nodes are other machines."""
    model = publish(tmp_path / "m", 1)
    done = succeeded(configure(model, "--for", "kubernetes"))
    assert "parallelism" not in (tmp_path / "out" / "kubernetes.yaml").read_text()
    assert "give --cpus N" in done.output
    succeeded(configure(model, "--for", "kubernetes", "--cpus", "6"))
    assert "--tensorflow_intra_op_parallelism=6" in (tmp_path / "out" / "kubernetes.yaml").read_text()


# Clients


def signature(*outputs):
    specs = tuple(TensorSpec(f"o{number}", "", dtype, shape) for number, (dtype, shape) in enumerate(outputs))
    return Signature("s", (), specs)


@pytest.mark.parametrize(
    ("outputs", "size", "estimated"),
    [
        ([("float32", (None, 100))], 32 * 100 * 4, False),
        ([("float32", (None, None, 3862))], 32 * 128 * 3862 * 4, True),
        ([("int64", (None, 2)), ("bfloat16", (8, 3))], 32 * 2 * 8 + 8 * 3 * 2, False),
        ([("string", (None,))], 32 * 256, False),
        ([("int32", None)], 32 * 128 * 4, True),
        ([("int32", ())], 4, False),
    ],
)
def test_the_size_of_an_answer(outputs, size, estimated):
    assert answer_bytes(signature(*outputs), 32) == (size, estimated)


def test_clients_learn_of_answers_above_what_grpc_takes(configure, tmp_path):
    logits = {"logits": ("float32", [-1, -1, 3862])}
    model = publish(tmp_path / "m", 1, signatures={"serving_default": (FIXED_LINES, logits)})
    done = succeeded(configure(model))
    text = " ".join(done.output.split())
    assert "grpc.max_receive_message_length to 134217728" in text and "one channel" in text
