"""What commands report: problems, notes and choices as values, and the one place where they become text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, Iterable, List, Sequence, Tuple, Union

from ckpt2saved.errors.codes import CODES, OTHER


@dataclass(frozen=True)
class Message:
    """One statement about a file, a node, an option: what programs read by its code, and people as its text."""

    code: str  # one of CODES
    where: str  # the file, node, tensor, signature or option; "" where it is about the whole
    found: str
    remedy: str = ""  # what to do
    op: str = ""  # the type of the node `where`
    reason: str = ""  # why what was found is one, in the words of whoever found it

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"{self.code} is not in ckpt2saved/errors/codes.py")

    @property
    def text(self) -> str:
        """`where (op): found: reason; remedy`, without the parts that are empty."""
        where = f"{self.where} ({self.op})" if self.op else self.where
        stated = ": ".join(part for part in (where, self.found, self.reason) if part)
        return f"{stated}; {self.remedy}" if self.remedy else stated

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Problem(Message):
    """A reason why something can't be done or must not be served."""

    nodes: Tuple[str, ...] = ()  # of the graph, all that it is about

    def saying(self, more: str) -> Problem:
        """The same with `more` after what was found."""
        return replace(self, found=self.found + more)

    def as_note(self) -> Note:
        """The same where it is no reason against anything."""
        return Note(self.code, self.where, self.found, self.remedy, op=self.op, reason=self.reason)


@dataclass(frozen=True)
class Note(Message):
    """Good to know, and no reason against anything."""


@dataclass(frozen=True)
class Choice:
    """A decision that is left to the user."""

    option: str  # of `export`
    values: Tuple[str, ...]  # what may be passed; () where nothing can be proposed
    reason: str
    subject: str = ""  # what is chosen, where that is said otherwise than by option and values

    @property
    def text(self) -> str:
        """`option value or option value: reason`."""
        options = " or ".join(f"{self.option} {value}" for value in self.values) or self.option
        return f"{self.subject or options}: {self.reason}"


def texts(messages: Iterable[Union[Message, Choice]]) -> List[str]:
    """A line for each."""
    return [message.text for message in messages]


def details(messages: Iterable[Message]) -> List[Dict[str, str]]:
    """What --json prints of each beside its text."""
    return [
        {"code": message.code, "where": message.where, "text": message.text, "remedy": message.remedy}
        for message in messages
    ]


def choice_details(choices: Iterable[Choice]) -> List[Dict[str, object]]:
    """What --json prints of each choice beside its text."""
    return [
        {"option": choice.option, "values": list(choice.values), "reason": choice.reason, "text": choice.text}
        for choice in choices
    ]


def as_notes(found: Sequence[Union[str, Note]]) -> Tuple[Note, ...]:
    """Notes as they are; a line of text as a note that has no code of its own."""
    return tuple(one if isinstance(one, Note) else Note(OTHER, "", one) for one in found)


def as_problems(found: Sequence[Union[str, Problem]]) -> Tuple[Problem, ...]:
    """Problems as they are; a line of text as a problem that has no code of its own."""
    return tuple(one if isinstance(one, Problem) else Problem(OTHER, "", one) for one in found)
