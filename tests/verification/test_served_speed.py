"""The load of bench served and its figures, on a target of this process."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from ckpt2saved.errors import UsageError
from ckpt2saved.files.pictures import picture_size
from ckpt2saved.requests.request import Request
from ckpt2saved.server_config.settings import ServerSettings
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.verification.speed.comparison import compare
from ckpt2saved.verification.speed.figures import Point, are_stable, row_of
from ckpt2saved.verification.speed.lists import parse_counts, parse_rates
from ckpt2saved.verification.speed.load import Load, Window
from ckpt2saved.verification.speed.sweep import Windows, measure, sweep_points
from ckpt2saved.verification.speed.target import SERVER, Answered, Target, labels_of, lines_of
from ckpt2saved.verification.speed.widths import parse_widths
from ckpt2saved.verification.speed.workload import Given, workload_for

LINES = Signature(
    "text",
    (TensorSpec("image_bytes", "x:0", "string", (None,)),),
    (TensorSpec("text", "y:0", "string", (None,)),),
)
PIXELS = Signature(
    "dense",
    (
        TensorSpec("lengths", "n:0", "int32", (None,)),
        TensorSpec("pixels", "x:0", "float32", (None, 32, None, 3)),
    ),
    (TensorSpec("ids", "y:0", "int64", (None, None)),),
)


class Sleeping(Target):
    """Answers after `seconds`; at most `workers` requests are computed at a time."""

    name, driver, model, version = "here", SERVER, "m", 1

    def __init__(self, seconds=0.005, workers=64, signature=LINES, fails=lambda number: None):
        self.seconds = seconds
        self.signature = signature
        self.workers = threading.Semaphore(workers)
        self.fails = fails
        self.lock = threading.Lock()
        self.asked = []
        self.now = self.most = 0

    def prepare(self, requests):
        self.prepared = list(requests)

    def predict(self, request):
        with self.lock:
            self.asked.append(request)
            self.now += 1
            self.most = max(self.most, self.now)
        start = time.perf_counter()
        with self.workers:
            time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        return answered(time.perf_counter() - start, lines_of(request), self.fails(len(self.asked)))

    def answers(self, request):
        return {}

    def close(self):
        pass


def answered(seconds, lines=1, failure=None):
    return Answered(seconds=seconds, lines=lines, bytes_sent=10, bytes_received=3, failure=failure)


def windows_of(*seconds, length=1.0):
    return [Window(length, 0.1, [answered(one) for one in each]) for each in seconds]


def request(rows=1):
    return Request("r", "text", {"image_bytes": np.array([b"x"] * rows, object)})


def test_each_client_sends_its_next_request_when_the_last_is_answered():
    target = Sleeping(0.02)
    with Load(target, [request(), request(2)], 4, None) as load:
        load.window(0.1, 4)
        window = load.window(0.4, 1)
    assert target.most == 4
    row = row_of(Point(4, 1), "", [window], is_stable=True)
    assert 60 < row.requests_per_second <= 4 / 0.02
    assert {len(one.inputs["image_bytes"]) for one in target.asked} == {1, 2}  # the requests in turns
    assert 1.4 < row.lines / row.requests < 1.6


def test_a_planned_request_counts_from_its_planned_time():
    """One that waits for a slow server has waited, though it took no longer than others once it was sent."""
    target = Sleeping(0.02, workers=1)
    with Load(target, [request()], 2, 200.0) as load:  # four times as many as are answered
        load.window(0.2, 1)
        late = load.window(0.4, 1)
    row = row_of(Point(2, 1, 200.0), "", [late], is_stable=False)
    assert row.percentiles[0] > 0.2  # 0.04 if it counted from sending
    assert row.requests_per_second < 60


def test_planned_requests_are_sent_at_the_rate():
    target = Sleeping(0.002)
    with Load(target, [request()], 8, 100.0) as load:
        load.window(0.1, 1)
        window = load.window(0.5, 1)
    assert 70 <= len(window.answers) / window.seconds <= 130
    assert row_of(Point(8, 1, 100.0), "", [window], is_stable=True).percentiles[0] < 0.1


def test_a_window_waits_for_some_answers():
    with Load(Sleeping(0.05), [request()], 1, None) as load:
        assert len(load.window(0.01, 3).answers) >= 3


def test_an_error_in_a_thread_is_raised():
    class Broken(Sleeping):
        def predict(self, request):
            raise KeyError("bug")

    start = time.perf_counter()
    with pytest.raises(KeyError, match="bug"), Load(Broken(), [request()], 2, None) as load:
        load.window(30, 1)
    assert time.perf_counter() - start < 10  # and not at the end of the window


def test_failures_are_counted_by_kind_and_left_out_of_the_latencies():
    answers = [answered(0.1, 4), answered(0.3, 4), answered(60.0, 4, "timed out"), answered(0.0, 4, "HTTP 503")]
    row = row_of(Point(1, 4), "", [Window(2.0, 0.5, answers)], is_stable=True)
    content = row.as_content()
    assert content["failures"] == {"HTTP 503": 1, "timed out": 1}
    assert (content["requests"], content["lines"], content["p50"]) == (4, 8, pytest.approx(0.2))
    assert (content["requests_per_second"], content["lines_per_second"]) == (1.0, 4.0)
    assert (content["bytes_sent"], content["bytes_received"], content["client_cpu"]) == (40, 12, 0.25)


def test_without_answers_there_are_no_percentiles():
    row = row_of(Point(1, 1), "", [Window(1.0, 0.1, [answered(0.1, 1, "unreachable")])], is_stable=False)
    assert (row.as_content()["p50"], row.requests_per_second) == (None, 0)


def test_three_windows_have_to_agree():
    assert are_stable(windows_of([9.0], [1.0], [1.05], [1.09]), 0.1)  # the last three
    assert not are_stable(windows_of([1.0], [1.05], [1.2]), 0.1)
    assert not are_stable(windows_of([1.0], [1.0]), 0.1)
    assert not are_stable(windows_of([1.0], [], [1.0]), 0.1)


def test_windows_end_when_three_agree_or_there_are_the_most():
    target = Sleeping(0.005)
    workload = workload_for(target, Given())
    windows = Windows(0.05, least=2, most=6, tolerance=1e9)
    (measured,) = measure([target], [workload], [Point(1, 1)], windows).measured
    assert measured.rows[0].is_stable and measured.rows[0].seconds < 0.3
    windows = Windows(0.05, least=2, most=4, tolerance=-1.0)
    (measured,) = measure([target], [workload], [Point(1, 1)], windows).measured
    assert not measured.rows[0].is_stable


def test_two_targets_are_measured_in_turns():
    """One at a time is under load, and the ratio has an interval that the true one lies in."""
    fast, slow = Sleeping(0.010), Sleeping(0.015)
    workloads = [workload_for(target, Given()) for target in (fast, slow)]
    points = sweep_points([2], [1], None)
    result = measure([fast, slow], workloads, points, Windows(0.1, least=4, most=5, tolerance=0))
    ratios = result.comparisons[0].ratios
    assert ratios["p50"].differs and 1.1 < ratios["p50"].value < 2
    assert ratios["requests_per_second"].high < 1
    assert [measured.rows[0].point for measured in result.measured] == list(points) * 2


def test_intervals_of_a_comparison():
    random = np.random.RandomState(3)
    noise = [random.uniform(0.9, 1.1, (2, 50)) * random.uniform(0.8, 1.25) for _ in range(12)]  # common to neighbours
    first = windows_of(*[list(pair[0]) for pair in noise])
    same = compare(Point(1, 1), first, windows_of(*[list(pair[1]) for pair in noise])).ratios
    assert not same["p50"].differs and same["p50"].high - same["p50"].low < 0.1
    slower = compare(Point(1, 1), first, windows_of(*[list(pair[1] * 1.2) for pair in noise])).ratios
    assert slower["p50"].differs and slower["p50"].low < 1.2 < slower["p50"].high
    assert slower["p50"].low > 1.1
    assert compare(Point(1, 1), first, windows_of(*[[] for _ in noise])).ratios == {}


def test_made_up_pictures_have_the_widths():
    workload = workload_for(Sleeping(), Given(widths=parse_widths("40-60"), height=20))
    sent = workload.requests(8)
    sizes = {picture_size(content) for one in sent for content in one.inputs["image_bytes"]}
    assert {height for _, height in sizes} == {20}
    assert min(sizes)[0] >= 40 and max(sizes)[0] <= 60 and len(sizes) > 10
    low, high = map(int, workload.widths.split("-"))
    assert (low, high) == (min(sizes)[0], max(sizes)[0])
    assert {len(one.inputs["image_bytes"]) for one in sent} == {8}


def test_made_up_pictures_can_be_decoded():
    image = pytest.importorskip("PIL.Image")
    import io

    (content,) = workload_for(Sleeping(), Given(widths=parse_widths("50"))).requests(1)[0].inputs["image_bytes"]
    with image.open(io.BytesIO(content)) as opened:
        pixels = np.asarray(opened)
    assert pixels.shape == (32, 50, 3) and pixels.min() == 40 and pixels.max() <= 236 and 150 < pixels.mean() < 230


def test_lengths_are_the_longest_that_the_model_answers():
    class Counting(Sleeping):
        def answers(self, request):
            width, length = request.inputs["pixels"].shape[2], request.inputs["lengths"][0]
            if length > width // 4 - 1:
                raise UsageError("sequence_length is too long")
            return {}

    target = Counting(signature=PIXELS)
    made = workload_for(target, Given(widths=parse_widths("64,128"))).requests(3)
    found = {(one.inputs["pixels"].shape, tuple(one.inputs["lengths"])) for one in made}
    assert found == {((3, 32, 64, 3), (15, 15, 15)), ((3, 32, 128, 3), (31, 31, 31))}


def test_files_are_sent_or_give_their_widths(tmp_path):
    from ckpt2saved.verification.speed.drawn_lines import as_png

    for width in (30, 60):
        (tmp_path / f"{width}.png").write_bytes(as_png(np.zeros((16, width, 3), np.uint8)))
    workload = workload_for(Sleeping(), Given((tmp_path,)))
    assert workload.widths == "30-60"
    assert {one.inputs["image_bytes"][0] for one in workload.requests(1)} == {
        path.read_bytes() for path in tmp_path.iterdir()
    }
    shapes = {
        one.inputs["pixels"].shape for one in workload_for(Sleeping(signature=PIXELS), Given((tmp_path,))).requests(1)
    }
    assert shapes == {(1, 32, 60, 3), (1, 32, 120, 3)}  # as high as the input
    np.savez(str(tmp_path / "x.npz"), pixels=np.zeros((1, 32, 9, 3), np.float32), lengths=[2])
    (one,) = workload_for(Sleeping(signature=PIXELS), Given((tmp_path / "x.npz",))).requests(4)
    assert one.inputs["pixels"].shape == (4, 32, 9, 3) and one.inputs["lengths"].tolist() == [2] * 4
    with pytest.raises(UsageError, match="can't be sent"):
        workload_for(Sleeping(signature=PIXELS), Given((tmp_path / "none.npz",)))


@pytest.mark.parametrize("text", ["", "0-4", "9-4", "a", "4,,5", "0", "-4"])
def test_what_is_no_distribution_of_widths(text):
    with pytest.raises(ValueError, match="expected"):
        parse_widths(text)


def test_lists_of_numbers():
    assert parse_counts("1,2,16") == (1, 2, 16)
    assert parse_rates("0.5,20") == (0.5, 20.0)
    for text in ("", "0", "1.5", "x", "1e9", "nan"):
        with pytest.raises(ValueError, match="expected"):
            parse_counts(text)
    for text in ("0", "inf", "-1"):
        with pytest.raises(ValueError, match="expected"):
            parse_rates(text)


def test_a_dead_server_is_not_measured_to_the_last_window():
    """Three windows without an answer are enough."""
    target = Sleeping(0.005, fails=lambda number: "unreachable")
    windows = Windows(0.05, least=2, most=9)
    (measured,) = measure([target], [workload_for(target, Given())], [Point(1, 1)], windows).measured
    assert not measured.rows[0].is_stable and measured.rows[0].answered == 0
    assert len(target.asked) < 6 * 0.05 / 0.005  # of nine windows 90


def test_requests_are_encoded_once_for_all_loads_of_a_size():
    class Counting(Sleeping):
        prepared = []

        def prepare(self, requests):
            self.prepared = [*self.prepared, *map(id, requests)]

    target = Counting()
    windows = Windows(0.01, least=1, most=3)
    measure([target], [workload_for(target, Given())], sweep_points([1, 2], [1], None), windows)
    assert len(target.prepared) == 2 * len(set(target.prepared))


def test_threads_that_the_system_does_not_start(monkeypatch):
    """Those that were started end."""
    started = []
    start = threading.Thread.start

    def limited(thread):
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)
        started.append(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(UsageError, match="--concurrency 5: the system starts only 2 threads"):
        with Load(Sleeping(0.001), [request()], 5, None):
            pass
    for thread in started:
        thread.join(5)
        assert not thread.is_alive()


def test_targets_of_one_name_are_told_apart():
    off, on, other = Sleeping(), Sleeping(), Sleeping()
    off.settings, on.settings = ServerSettings(onednn=False), ServerSettings(intra_op=2, onednn=True)
    other.name = "other"
    assert labels_of([off, on, other]) == ["here (oneDNN off)", "here (intra-op 2, oneDNN on)", "other"]


def test_points_of_a_sweep():
    with pytest.raises(UsageError, match="--concurrency 1001: expected at most 1000"):
        sweep_points([1, 1001], [1], None)
    assert sweep_points([1, 8], [1, 4], None) == (Point(1, 1), Point(8, 1), Point(1, 4), Point(8, 4))
    assert sweep_points(None, [2], [5.0, 9.0]) == (Point(64, 2, 5.0), Point(64, 2, 9.0))
    assert len(sweep_points(None, [1], None)) == 4
