"""A short run of the fuzzer, always of the same inputs; and that it sees what it is there for."""

from __future__ import annotations

import os
import signal

import pytest

from ckpt2saved.errors import Ckpt2SavedError
from tests.fuzz import fuzzer
from tests.fuzz.fuzzer import fuzz
from tests.fuzz.targets import Target, targets

INPUTS = 60  # of each reader


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
def test_a_reader_survives(target):
    """`python -m tests.fuzz` gives it a hundred thousand times as many."""
    (figures,), findings = fuzz([target], seed=2024, inputs=INPUTS)
    assert [finding[:3] for finding in findings] == []
    assert figures.inputs == INPUTS


def run(read):
    return fuzz([Target("mine", [b"seed"], read)], seed=1, inputs=3)[1]


def raising(error):
    def read(content, folder):
        raise error

    return read


def test_an_error_of_the_reader_is_a_crash():
    """One for each place, and none for an error that tells what is wrong."""
    (finding,) = run(raising(ValueError("x")))
    assert finding.kind == "crash" and finding.what.startswith("ValueError in ") and finding.content
    assert run(raising(Ckpt2SavedError("x"))) == []


def test_a_warning_is_a_crash():
    def read(content, folder):
        import warnings

        warnings.warn("of somebody else's code", UserWarning, stacklevel=1)

    assert run(read)[0].what.startswith("UserWarning in ")


def test_a_process_that_dies_is_a_crash_and_the_next_inputs_are_read():
    """Of each of the three inputs."""
    found = run(lambda content, folder: os.kill(os.getpid(), signal.SIGKILL))
    assert [finding.kind for finding in found] == ["crash"] and "status 9" in found[0].what


def endless(content, folder):
    while True:
        pass


def waiting(content, folder):
    os.read(os.pipe()[0], 1)


@pytest.mark.parametrize("read, limit", [(endless, "CPU_SECONDS"), (waiting, "WALL_SECONDS")])
def test_an_input_that_does_not_end_is_a_hang(monkeypatch, read, limit):
    """Whether the reader computes or waits."""
    monkeypatch.setattr(fuzzer, limit, 0.2)
    assert [finding.kind for finding in run(read)] == ["hang"]


def test_an_input_that_takes_the_memory_is_found():
    """Some systems do not count what is reserved and not used, so that the limit is higher where TensorFlow is loaded."""
    found = run(lambda content, folder: bytearray(64 * fuzzer.MEMORY))
    assert [finding.kind for finding in found] == ["memory"]
