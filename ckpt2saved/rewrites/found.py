"""What a rewrite reports: edits, problems and notes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, Tuple

from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.names import Ref


@dataclass(frozen=True)
class Edit:
    """One difference between the rewritten graph and the original."""

    node: str
    kind: str  # "switch", "dropout", "batch norm", "side effect", "layout", …
    text: str  # for people
    is_shown: bool = True  # False where only the form of the graph changes, which is not shown to users

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Found:
    """The report of one rewrite: its edits, what it could not do, and what users should know."""

    edits: Tuple[Edit, ...] = ()
    problems: Tuple[Problem, ...] = ()  # later rewrites do not report their nodes again
    notes: Tuple[Note, ...] = ()
    moved: Mapping[Ref, Ref] = field(
        default_factory=dict
    )  # input or output of the context -> the tensor that replaces it
