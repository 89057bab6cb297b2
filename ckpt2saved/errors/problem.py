"""Problems, notes and choices that commands report, and their conversion to text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Sequence, Tuple, Union

from ckpt2saved.errors import Ckpt2SavedError
from ckpt2saved.errors.codes import CODES


@dataclass(frozen=True)
class Message:
    """A statement about a file, node or option: a code for programs, text for people."""

    code: str  # one of CODES
    where: str  # file, node, tensor, signature or option; "" if general
    found: str
    remedy: str = ""  # what to do
    op: str = ""  # op type of the node `where`
    reason: str = ""  # the cause, in the words of its source

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"{self.code} is not in ckpt2saved/errors/codes.py")

    @property
    def text(self) -> str:
        """Return `where (op): found: reason; remedy`, without empty parts."""
        where = f"{self.where} ({self.op})" if self.op else self.where
        stated = ": ".join(part for part in (where, self.found, self.reason) if part)
        return f"{stated}; {self.remedy}" if self.remedy else stated

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Problem(Message):
    """A reason why an operation is impossible or a graph must not be served."""

    nodes: Tuple[str, ...] = ()  # all graph nodes concerned

    def with_suffix(self, more: str) -> Problem:
        """Return a copy with `more` appended to `found`."""
        return replace(self, found=self.found + more)

    def as_note(self) -> Note:
        """Return the same content as a Note."""
        return Note(self.code, self.where, self.found, self.remedy, op=self.op, reason=self.reason)


@dataclass(frozen=True)
class Unread(Problem):
    """A Problem that says nothing of a file, as this process could not read it: missing rights, a failing disk."""


@dataclass(frozen=True)
class Note(Message):
    """Information that does not prevent anything."""


@dataclass(frozen=True)
class Choice:
    """A decision that the user has to make."""

    option: str  # of `export`
    values: Tuple[str, ...]  # possible values; () if unknown
    reason: str
    subject: str = ""  # text for the choice, if other than option and values

    @property
    def text(self) -> str:
        """Return `option value or option value: reason`."""
        options = " or ".join(f"{self.option} {value}" for value in self.values) or self.option
        return f"{self.subject or options}: {self.reason}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return the first names for a message, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def texts(messages: Iterable[Union[Message, Choice]]) -> List[str]:
    """Return one line of text for each item."""
    return [message.text for message in messages]


def details(messages: Iterable[Message]) -> List[Dict[str, str]]:
    """Return the fields that --json prints for each message in addition to its text."""
    return [
        {"code": message.code, "where": message.where, "text": message.text, "remedy": message.remedy}
        for message in messages
    ]


def choice_details(choices: Iterable[Choice]) -> List[Dict[str, object]]:
    """Return the fields that --json prints for each choice in addition to its text."""
    return [
        {"option": choice.option, "values": list(choice.values), "reason": choice.reason, "text": choice.text}
        for choice in choices
    ]


def error_content(error: Ckpt2SavedError) -> Dict[str, Any]:
    """Return the fields of --json for an error."""
    return {
        "error": {"message": error.message, "exit_code": error.exit_code},
        "problems": texts(error.problems),
        "problem_details": details(error.problems),
    }
