"""Every failure that a user can cause, and the exit code that goes with it."""

from __future__ import annotations

from typing import Sequence, Union

from ckpt2saved.errors.problem import Problem, as_problems


class Ckpt2SavedError(Exception):
    """The work could not be done; the message says where, what was found, what was expected and what to do.

    `problems` holds everything that is wrong, not just the first thing: the message ends in one line for each.
    """

    exit_code = 1

    def __init__(self, message: str, problems: Sequence[Union[str, Problem]] = ()) -> None:
        self.problems = as_problems(problems)
        super().__init__("\n  - ".join((message, *(problem.text for problem in self.problems))))


class OutputError(Ckpt2SavedError):
    """What a command has to say can't be written: stdout is closed or full, or the file of --report is."""


class UsageError(Ckpt2SavedError):
    """The command line asks for something that does not exist or contradicts itself."""

    exit_code = 2


class SignatureError(Ckpt2SavedError):
    """A signature file is not what its format asks for, or does not fit the graph."""


class CheckpointError(Ckpt2SavedError):
    """The checkpoint is absent, unreadable, or not of this graph."""


class NoCheckpoint(CheckpointError):
    """A directory holds no checkpoint."""


class WriteError(Ckpt2SavedError):
    """A file could not be written: the disk is full, or a quota or a limit is reached."""


class VersionError(Ckpt2SavedError):
    """A version could not be published, found or deleted."""


class WarmupError(Ckpt2SavedError):
    """The requests to warm a server up with can't be made of what was given for them."""


class ServingError(Ckpt2SavedError):
    """A server could not be configured for these models, or not be started."""


class ServerError(Ckpt2SavedError):
    """A running server can't be asked: what answers at its address is none, or something to ask it with is missing."""


class NotLive(Ckpt2SavedError):
    """A running server does not have the version, or answers otherwise than the version's files."""

    exit_code = 3


class TensorFlowError(Ckpt2SavedError):
    """TensorFlow is absent, or this one can't do what is asked."""


class NotServable(Ckpt2SavedError):
    """TF Serving could load this graph, but not answer from it."""

    exit_code = 3


class NotCompatible(Ckpt2SavedError):
    """The SavedModel asks for ops or attributes that a release of TF Serving does not have."""

    exit_code = 3


class InvalidRequest(NotServable):
    """The SavedModel was loaded, and refuses this one request for its values or shapes."""


class VerificationError(Ckpt2SavedError):
    """A version is not what it should be."""

    exit_code = 3


class ParityError(Ckpt2SavedError):
    """The staged SavedModel answers differently from the checkpoint that it came from."""

    exit_code = 3
