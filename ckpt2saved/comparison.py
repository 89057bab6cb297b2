"""A version's answers beside those of the checkpoint that it was exported from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import List, Sequence, Tuple

from ckpt2saved.checkpoint import open_checkpoint
from ckpt2saved.differences import Answers, Difference, find_differences
from ckpt2saved.export import checkpoint_answers, digest, with_decoder
from ckpt2saved.file_answers import ask_files
from ckpt2saved.narration import Say
from ckpt2saved.parity import TOLERANCE
from ckpt2saved.plan import Plan
from ckpt2saved.preparation import prepare_network
from ckpt2saved.questions import Question
from ckpt2saved.requests import Request, served_signatures
from ckpt2saved.signature import Signature
from ckpt2saved.versions import read_provenance


@dataclass(frozen=True)
class Reference:
    """What the checkpoint answers, through the graph that it was trained with."""

    prefix: Path
    requests: Tuple[Request, ...]
    answers: Tuple[Answers, ...]
    notes: Tuple[str, ...]
    problems: Tuple[str, ...]  # what of the model the version does not serve


@dataclass(frozen=True)
class Compared:
    """How the version's answers compare with those of the checkpoint."""

    checkpoint: Path
    answers: int
    differences: Tuple[Difference, ...]
    notes: Tuple[str, ...]
    problems: Tuple[str, ...]

    @property
    def max_abs(self) -> float:
        return max((difference.max_abs for difference in self.differences), default=0.0)


def ask_checkpoint(plan: Plan, version_dir: Path, say: Say = lambda step, text: None) -> Reference:
    """Put to the checkpoint of `plan` what can also be put to the version; raises as an export would."""
    provenance = read_provenance(version_dir) or {}
    kept, problems = _shared_signatures(plan, version_dir, provenance.get("signatures"))
    notes = []
    recorded = provenance.get("checkpoint")
    if isinstance(recorded, dict) and recorded.get("sha256") not in (None, digest(plan.checkpoint)):
        text = "the version says that it was exported from another checkpoint: {}, step {}"
        notes.append(text.format(recorded.get("name"), recorded.get("step")))
    asked, answers = [], []  # type: List[Question], List[Answers]
    if kept:
        plan = replace(plan, model=replace(plan.model, signatures=kept))
        checkpoint = open_checkpoint(plan.checkpoint)
        network = prepare_network(plan, checkpoint)
        kind = "greedy" if plan.ctc_decoder == "greedy" else "stock"
        asked, answers = checkpoint_answers(plan, checkpoint, network, with_decoder(kind, network.serving), say)
    return Reference(plan.checkpoint.prefix, as_requests(asked), tuple(answers), tuple(notes), tuple(problems))


def compare_with(reference: Reference, version_dir: Path) -> Compared:
    """Ask the version's files the same, twice."""
    answered = ask_files(version_dir, reference.requests)
    wanted = {_name(request): answers for request, answers in zip(reference.requests, reference.answers)}
    expected = [wanted[_name(request)] for request in answered.requests]
    differences, differing = find_differences(answered.requests, expected, answered.answers, TOLERANCE)
    return Compared(
        reference.prefix,
        len(expected),
        tuple(differences),
        reference.notes,
        reference.problems
        + answered.problems
        + tuple("{} (the version's answer, and the checkpoint's)".format(line) for line in differing),
    )


def as_requests(asked: Sequence[Question]) -> Tuple[Request, ...]:
    """The requests on which an export is compared."""
    return tuple(Request(question.name, question.signature, question.inputs) for question in asked)


def _name(request: Request) -> Tuple[str, str]:
    return request.name, request.signature


def _shared_signatures(plan: Plan, version_dir: Path, recorded: object) -> Tuple[Tuple[Signature, ...], List[str]]:
    """The model's signatures that the version has under the same keys, and what is wrong with the others."""
    served = served_signatures(version_dir)
    kept, problems = [], []  # type: List[Signature], List[str]
    for signature in plan.model.signatures:
        found = served.get(signature.name)
        if found is None:
            if not isinstance(recorded, list) or signature.name in recorded:
                problems.append("{}: the model has this signature, the version does not".format(signature.name))
            continue
        sides = ((signature.inputs, found.inputs), (signature.outputs, found.outputs))
        keys = [
            (sorted(spec.key for spec in wanted), sorted(tensor.key for tensor in there)) for wanted, there in sides
        ]
        if all(wanted == there for wanted, there in keys):
            kept.append(signature)
        else:
            texts = ["{} -> {}".format(", ".join(keys[0][side]), ", ".join(keys[1][side])) for side in (0, 1)]
            problems.append("{}: {} in the model, {} in the version".format(signature.name, *texts))
    return tuple(kept), problems
