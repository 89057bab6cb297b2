"""Many processes at once on one base."""

from __future__ import annotations

import sys

import pytest

from tests.faults import races

pytestmark = pytest.mark.skipif(sys.version_info < (3, 9), reason="takes time, and shows the same on a newer Python")


def test_32_writers_at_once(lab):
    """Each number once, none left out, and never an incomplete version."""
    figures = races.writers(lab)
    assert figures.problems == []
    assert figures.cases == 32


def test_prunes_among_writers_rollbacks_and_readers(lab):
    """The newest versions stay; what was printed as published was there."""
    assert races.prune_with_everything(lab, 1).problems == []


def test_two_mount_points_of_one_base(lab):
    """Locks and numbers belong to the directory, not to its path."""
    found = list(races.two_mount_points(lab, 1))
    if not found:
        pytest.skip("only root, where it may mount, can make a second mount point")
    assert found[0].problems == []


def test_a_base_that_is_deleted_meanwhile(lab):
    """Messages, no tracebacks."""
    assert races.base_deleted(lab, 1).problems == []
