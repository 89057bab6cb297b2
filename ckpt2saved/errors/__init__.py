"""Exceptions for every failure that a user can cause, each with its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Sequence

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.errors.problem import Problem


class Ckpt2SavedError(Exception):
    """Base of all errors; the message says where, what was found, what was expected and what to do.

    `message` is the text without the problems; `problems` holds every problem that was found. str() has a line for
    each, or for the first `most_listed`. `version` is the version that was published before the error; None: nothing
    was published.
    """

    exit_code = 1
    most_listed: Optional[int] = None  # None: all
    version: Any = None  # Exported or Published

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.message = message
        self.problems = tuple(problems)
        lines = [problem.text for problem in self.problems[: self.most_listed]]
        if len(lines) < len(self.problems):
            lines.append(f"and {len(self.problems) - len(lines)} more; --json lists all")
        super().__init__("\n  - ".join((message, *lines)))


class OutputError(Ckpt2SavedError):
    """The output can't be written: stdout is closed or full, or the --report file can't be written."""


class ReaderGone(OutputError):
    """The reader of stdout has closed it, as `head` does when it has seen enough."""


class UsageError(Ckpt2SavedError):
    """The options name something that does not exist, or contradict themselves."""

    exit_code = 2


class StrayOptions(UsageError):
    """Options have no effect without another one; `names` are those of the keywords."""

    def __init__(self, names: Sequence[str], needed: str) -> None:
        from ckpt2saved.errors.values import option_of

        super().__init__(f"{', '.join(map(option_of, names))}: only with {needed}")
        self.names = tuple(names)


class SignatureError(Ckpt2SavedError):
    """A signature file is malformed, or does not fit the graph."""


class CheckpointError(Ckpt2SavedError):
    """The checkpoint is missing, unreadable, or does not belong to this graph."""


class NoCheckpoint(CheckpointError):
    """A directory contains no checkpoint."""


class WriteError(Ckpt2SavedError):
    """A file could not be written: the disk is full, or a quota or limit was reached."""


class VersionError(Ckpt2SavedError):
    """A version could not be published, found or deleted."""


class AlreadyPublished(VersionError):
    """A version has a checkpoint of the same content, and it was not to be published twice."""


class NotDeleted(VersionError):
    """Some old versions could not be deleted; `deleted` are the directories, or URLs, of those that were."""

    most_listed = 10  # where a file system or a server fails, it can be all of thousands

    def __init__(self, message: str, problems: Sequence[Problem] = (), deleted: Sequence[Any] = ()) -> None:
        super().__init__(message, problems)
        self.deleted = tuple(deleted)


class WarmupError(Ckpt2SavedError):
    """The warm-up requests can't be built from the given input."""


class LabelsError(Ckpt2SavedError):
    """A labels file is malformed, or pictures that it names are missing."""


class ServingError(Ckpt2SavedError):
    """A server could not be configured for these models, or could not be started."""


class ServerError(Ckpt2SavedError):
    """A running server can't be queried: no TF Serving answers at its address, or a client package is missing."""


class NotLive(Ckpt2SavedError):
    """A running server does not serve the version, or its answers differ from those of the version's files."""

    exit_code = 3


class NotAnswered(Ckpt2SavedError):
    """Some of the given files could not be read, or a model refused them."""


class NotRead(Ckpt2SavedError):
    """A model answered that it could not read some of the pictures."""

    exit_code = 3


class TensorFlowError(Ckpt2SavedError):
    """TensorFlow is not installed, or the installed release does not support the operation."""


class NotServable(Ckpt2SavedError):
    """TF Serving could load this graph, but not answer requests with it."""

    exit_code = 3


class NotCompatible(Ckpt2SavedError):
    """The SavedModel needs ops or attributes that a release of TF Serving lacks."""

    exit_code = 3


class BreaksClients(Ckpt2SavedError):
    """Clients of another version could not use this one: a signature, an input or an output is gone or differs."""

    exit_code = 3


class InvalidRequest(NotServable):
    """The SavedModel was loaded, but rejects this request because of its values or shapes."""


class VerificationError(Ckpt2SavedError):
    """A version failed verification."""

    exit_code = 3


class ParityError(Ckpt2SavedError):
    """The staged SavedModel's answers differ from those of its checkpoint."""

    exit_code = 3


class NotAccurate(Ckpt2SavedError):
    """More of the text of labelled pictures is read wrong than is allowed."""

    exit_code = 3

    def __init__(self, message: str, problems: Sequence[Problem] = (), result: Any = None) -> None:
        super().__init__(message, problems)
        self.result = result  # what was measured, for --json
        self.candidates: Sequence[Any] = ()  # with --select, the checkpoints that were tried
