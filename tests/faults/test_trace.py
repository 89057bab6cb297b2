"""What is visible is on disk: the order of writes, fsyncs and renames."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import trace
from tests.faults.interposer import Call, Kind

_STAGE, _VERSION = "/base/.staging-1", "/base/1"


def test_the_order_of_writes_fsyncs_and_renames(lab_of_calls):
    """Of publishing, of bump-version and of prune."""
    figures = trace.check_order(lab_of_calls)
    assert figures.problems == []
    assert figures.cases == 7


def _publication():
    return [
        Call(Kind.DIRECTORY, "mkdir", _STAGE, "", 0),
        Call(Kind.DIRECTORY, "create", f"{_STAGE}/saved_model.pb", "", 0),
        Call(Kind.WRITE, "write", f"{_STAGE}/saved_model.pb", "", 0),
        Call(Kind.SYNC, "fsync", f"{_STAGE}/saved_model.pb", "", 0),
        Call(Kind.SYNC, "fsync", _STAGE, "", 0),
        Call(Kind.DIRECTORY, "rename-new", _STAGE, _VERSION, 0),
        Call(Kind.SYNC, "fsync", "/base", "", 0),
    ]


def _deletion():
    return [
        Call(Kind.DIRECTORY, "rename-new", _VERSION, "/base/.pruned-1", 0),
        Call(Kind.SYNC, "fsync", "/base", "", 0),
        Call(Kind.DIRECTORY, "unlink", "/base/.pruned-1/saved_model.pb", "", 0),
        Call(Kind.DIRECTORY, "rmdir", "/base/.pruned-1", "", 0),
    ]


def test_the_rules_accept_the_right_order():
    assert trace.problems_of_order(_publication(), Path("/base")) == []
    assert trace.problems_of_order(_deletion(), Path("/base")) == []


@pytest.mark.parametrize(
    ("calls", "left_out", "expected"),
    [
        (_publication(), 3, "visible before /base/.staging-1/saved_model.pb is synced"),
        (_publication(), 4, "visible before /base/.staging-1 is synced"),
        (_publication(), 6, "/base is not synced at the end"),
        (_deletion(), 1, "before the base is synced"),
    ],
)
def test_the_rules_refuse_a_missing_fsync(calls, left_out, expected):
    problems = trace.problems_of_order(calls[:left_out] + calls[left_out + 1 :], Path("/base"))
    assert problems and expected in problems[0]


def test_the_rules_refuse_a_write_after_the_rename_and_a_rename_that_replaces():
    late = [*_publication()[:-1], Call(Kind.WRITE, "write", f"{_VERSION}/saved_model.pb", "", 0), _publication()[-1]]
    assert "changes a published version" in trace.problems_of_order(late, Path("/base"))[0]
    replacing = [call._replace(name="rename") if call.other else call for call in _publication()]
    assert "could replace a version" in trace.problems_of_order(replacing, Path("/base"))[0]
