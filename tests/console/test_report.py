"""--report: what a CI job shows of a command, also of one that failed."""

from __future__ import annotations

import pytest
from click import UsageError

from ckpt2saved.console.report import reported
from ckpt2saved.errors import CheckpointError, Ckpt2SavedError, ParityError
from ckpt2saved.errors.problem import Problem


def test_a_report_of_what_was_done(tmp_path):
    """A heading with the outcome, a table of the steps in their order; appended to what is there."""
    path = tmp_path / "summary.md"
    path.write_text("## Training\n")
    with reported(path, "export") as record:
        record.add("checkpoint", "runs/model.ckpt-9 (3 tensors)")
        record.add("edited", "a|b_c: <dropout>\nbypassed")
        record.outcome = "published `m/3`"
    assert path.read_text() == (
        "## Training\n"
        "### ckpt2saved export: published `m/3`\n"
        "\n"
        "| step | |\n"
        "|---|---|\n"
        "| checkpoint | runs/model.ckpt-9 (3 tensors) |\n"
        "| edited | a\\|b\\_c: \\<dropout\\><br>bypassed |\n"
        "\n"
    )


@pytest.mark.parametrize(
    "error, heading, body",
    [
        (ParityError("no", [Problem("different-answer", "", "a ```")]), "exit code 3", "````text\nno\n  - a ```\n````"),
        (CheckpointError("gone"), "exit code 1", "```text\ngone\n```"),
        (
            UsageError("--model-name: only with the address of a server"),
            "exit code 2",
            "```text\n--model-name: only with the address of a server\n```",
        ),
        (KeyboardInterrupt(), "failed", "```text\ninterrupted\n```"),
        (ZeroDivisionError("1 / 0"), "failed", "```text\nZeroDivisionError: 1 / 0\n```"),
    ],
)
def test_a_report_of_what_failed(tmp_path, error, heading, body):
    """The message stands above the steps that were done, and the error goes on its way."""
    path = tmp_path / "summary.md"
    with pytest.raises(type(error)) as caught:
        with reported(path, "export") as record:
            record.add("checkpoint", "fine")
            raise error
    assert caught.value is error
    expected = "### ckpt2saved export: {}\n\n{}\n\n| step | |\n|---|---|\n| checkpoint | fine |\n\n"
    assert path.read_text() == expected.format(heading, body)


def test_what_was_published_before_it_failed_is_said(tmp_path):
    """A server that does not get there does not undo the version."""
    with pytest.raises(ParityError):
        with reported(tmp_path / "r.md", "export") as record:
            record.outcome = "published `m/3`"
            raise ParityError("the server answers otherwise")
    assert "export: published `m/3`, then exit code 3\n" in (tmp_path / "r.md").read_text()


def test_no_report_and_a_report_that_cannot_be_written(tmp_path):
    """The command does not begin where its report could not be kept."""
    with reported(None, "export") as record:
        record.add("checkpoint", "fine")
    with pytest.raises(Ckpt2SavedError, match="--report .*: Is a directory; expected a file that can be written"):
        with reported(tmp_path, "export"):
            raise AssertionError
