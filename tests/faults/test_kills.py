"""kill -9: nobody ever sees an incomplete version, and the next run removes what was left."""

from __future__ import annotations

import sys

import pytest

from tests.faults import kills, trace
from tests.faults.interposer import CHANGES
from tests.faults.judging import content_of
from tests.faults.launcher import TENSORFLOW, Launcher
from tests.faults.operations import EXPORT, Lab
from tests.faults.watcher import watching
from tests.support.versions import fill, make_version


def test_a_kill_at_every_call_that_changes_a_directory(lab_of_calls):
    """Of publishing, of bump-version and of prune."""
    for figures in kills.kill_at_every_call(lab_of_calls):
        assert figures.problems == []
        assert figures.kills == figures.cases > 0


def test_a_kill_of_the_run_that_cleans_up_after_a_kill(lab_of_calls):
    """At each of its calls; the third run cleans up after both."""
    figures = kills.kill_cleanups(lab_of_calls)
    assert figures.problems == []
    assert figures.kills > figures.cases > 50


def test_kills_at_random_moments(lab):
    """With a watcher that lists the base in a tight loop."""
    for figures in kills.kill_at_random(lab, 70):
        assert figures.problems == []
        assert figures.kills == 10


@pytest.fixture(scope="module")
def lab_of_exports(lab_of_calls):
    """Its commands are forked from a process that has loaded TensorFlow."""
    pytest.importorskip("tensorflow")
    directory = lab_of_calls.directory / "exports"
    directory.mkdir()
    with Launcher(lab_of_calls.launcher.library, TENSORFLOW) as launcher:
        lab = Lab(directory, launcher)
        lab.know_export()
        yield lab


@pytest.mark.skipif(sys.version_info < (3, 9), reason="takes time, and shows the same on a newer Python")
def test_kills_of_exports(lab_of_exports):
    """At some of the calls, and at random moments: of the real command, with TensorFlow."""
    assert trace.check_order(lab_of_exports, [EXPORT]).problems == []
    for figures in (
        *kills.kill_at_every_call(lab_of_exports, CHANGES, [EXPORT], 7),
        *kills.kill_at_random(lab_of_exports, 5, [EXPORT]),
    ):
        assert figures.problems == []
        assert figures.kills > 4


def test_the_watcher_sees_what_must_not_be(tmp_path):
    """An incomplete version, one that vanishes, and a number that comes after a higher one."""
    source = tmp_path / "source"
    source.mkdir()
    fill(source)
    base = tmp_path / "base"
    make_version(base, "7")
    late = make_version(tmp_path, "late")
    with watching(base, [content_of(source)]) as watched:
        late.rename(base / "5")
        (base / "8").mkdir()
    assert len(watched.seen.shrunk) == 1 and len(watched.seen.partial) == 1 and watched.seen.lost == []

    with watching(base, [content_of(source)], keep=1) as watched:
        (base / "5").rename(tmp_path / "5")
    assert watched.seen.lost == []
    with watching(base, [content_of(source)]) as watched:
        (base / "7").rename(tmp_path / "7")
    assert watched.seen.lost == ["7 has vanished; [8] are there"]


@pytest.mark.parametrize("spoil", ["missing", "short", "more"])
def test_a_version_is_judged_byte_by_byte(tmp_path, spoil):
    source = tmp_path / "source"
    source.mkdir()
    fill(source)
    version = make_version(tmp_path, "1")
    with watching(tmp_path, [content_of(source)]) as watched:
        pass
    assert watched.seen.partial == []
    data = version / "variables" / "variables.index"
    if spoil == "missing":
        data.unlink()
    elif spoil == "short":
        data.write_bytes(data.read_bytes()[:-1])
    else:
        (version / "more").write_bytes(b"")
    with watching(tmp_path, [content_of(source)]) as watched:
        pass
    assert len(watched.seen.partial) == 1
