"""Object stores whose connections are cut, whose answers are lost, late or stale, and which do not know conditions."""

from __future__ import annotations

import contextlib

import pytest

from tests.faults import stores
from tests.support.object_stores import is_exclusive_moto, s3_server


@pytest.fixture(scope="module")
def store(lab):
    """moto's server of S3, which honours If-None-Match from release 5 on."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    if not is_exclusive_moto():
        pytest.skip("this release of moto ignores If-None-Match")
    with stores.store_lab(lab, lambda directory: s3_server()) as made:
        yield made


def test_syncs_while_requests_fail(store):
    """Nothing incomplete appears, and the next sync has the newest version."""
    figures = stores.fail_syncs(store, 2, (False,))
    assert figures.problems == []
    assert figures.errors == 12


def test_syncs_that_are_killed(store):
    """The next one removes what they left."""
    figures = stores.kill_syncs(store, 5)
    assert figures.problems == []
    assert figures.kills == 5


def test_publishers_whose_requests_fail_or_are_their_last(store):
    """No version with a graph is ever incomplete, and none is lost; what is printed is published."""
    for figures in stores.disturb_publishers(store, 2, (False,), kinds=("lost",)):
        assert figures.problems == []
        assert figures.kills + figures.errors in (2, 4)


def test_many_writers(store):
    """Each number once."""
    assert stores.many_writers(store, 4).problems == []


def test_stale_listings(store):
    """They cost a number, and never a version."""
    assert stores.stale_listings(store).problems == []


def test_a_server_that_ignores_conditions(lab):
    """rclone's, which is no mock: it is refused, unless there is a single writer."""
    pytest.importorskip("s3fs")
    pytest.importorskip("boto3")
    with contextlib.ExitStack() as running:
        try:
            made = running.enter_context(stores.store_lab(lab, stores.rclone_server))
        except FileNotFoundError:
            pytest.skip("rclone is not installed")
        assert stores.refused_without_conditions(made).problems == []
