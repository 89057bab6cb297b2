"""Failing system calls and real file systems that are full, read-only or closed."""

from __future__ import annotations

import sys

import pytest

from tests.faults import errors, places

_MOST = 9  # calls of a kind; the long form takes all

pytestmark = pytest.mark.skipif(sys.version_info < (3, 9), reason="takes time, and shows the same on a newer Python")


def test_a_failure_of_every_call(lab_of_calls):
    """ENOSPC, EROFS, EIO, EACCES and ESTALE, once and for good: a message, nothing incomplete, nothing left."""
    for figures in errors.fail_at_every_call(lab_of_calls, _MOST):
        assert figures.problems == []
        assert figures.errors == figures.cases > 25


def test_a_failure_of_every_call_of_commands_that_read(lab_of_calls):
    """Such as list, diff and dry runs."""
    figures = errors.fail_readers(lab_of_calls, _MOST)
    assert figures.problems == []
    assert figures.errors > 100


def test_full_disks(lab):
    """A version is published, or the message says that the disk is full; prune makes room."""
    found = list(places.full_disks(lab, 4))
    if not found:
        pytest.skip("only root, where it may mount, can fill a disk")
    for figures in found:
        assert figures.problems == []
    assert sum(figures.errors for figures in found) > 10


def test_read_only_file_systems(lab):
    found = list(places.read_only(lab))
    if not found:
        pytest.skip("only root, where it may mount, can make one")
    assert found[0].problems == []


def test_closed_directories(lab):
    found = list(places.without_rights(lab))
    if not found:
        pytest.skip("only root can become another user")
    assert found[0].problems == []


def test_bases_that_are_none(lab):
    assert places.odd_bases(lab).problems == []


def test_odd_names(lab):
    """The next number is above what TF Serving reads; what is no version is never deleted."""
    assert places.odd_names(lab).problems == []


def test_clocks_that_jump(lab_of_calls):
    """Forty years back and forward, with and without locks."""
    assert places.clocks(lab_of_calls).problems == []


def test_other_file_systems(lab):
    found = list(places.other_file_systems(lab))
    if not found:
        pytest.skip("only root, where it may mount, has another file system at hand")
    assert found[0].problems == []
