"""A version's answers beside those of the checkpoint that it was exported from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Collection, List, Sequence, Tuple

from ckpt2saved.answers.expected import expected_answers
from ckpt2saved.answers.file_answers import ask_files
from ckpt2saved.answers.parity import TOLERANCE
from ckpt2saved.answers.proof import Proof, Searched
from ckpt2saved.answers.search_limits import DEFAULT_LIMITS, SearchLimits
from ckpt2saved.checkpoint.contents import open_checkpoint
from ckpt2saved.console.narration import Say
from ckpt2saved.graph.beam_searches import BEAM_SEARCH
from ckpt2saved.graph.names import node_name
from ckpt2saved.inspection.saved import parse_saved_model
from ckpt2saved.requests.differences import Answers, Difference, find_differences
from ckpt2saved.requests.questions import Question
from ckpt2saved.requests.requests import Excerpt, Request, served_signatures
from ckpt2saved.rewrites.for_serving import for_serving, rewrite_serving
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.sources.graph_plan import GraphPlan
from ckpt2saved.sources.preparation import prepare_network
from ckpt2saved.versions import read_provenance


@dataclass(frozen=True)
class ComparisonPlan:
    """The graph and the checkpoint that a version is compared with, and how far."""

    graph: GraphPlan
    search_limits: SearchLimits = DEFAULT_LIMITS


@dataclass(frozen=True)
class Reference:
    """What the checkpoint answers, through the graph that it was trained with."""

    prefix: Path
    requests: Tuple[Request, ...]  # whole ones
    compared: Tuple[Request, ...]  # the same, or what of them could be answered in time
    answers: Tuple[Answers, ...]  # to what is compared
    beam_search: Tuple[Searched, ...]  # how far a slow beam search is compared
    notes: Tuple[str, ...]
    problems: Tuple[str, ...]  # what of the model the version does not serve


@dataclass(frozen=True)
class Compared:
    """How the version's answers compare with those of the checkpoint."""

    checkpoint: Path
    answers: int
    differences: Tuple[Difference, ...]
    beam_search: Tuple[Searched, ...]
    notes: Tuple[str, ...]
    problems: Tuple[str, ...]

    @property
    def max_abs(self) -> float:
        return max((difference.max_abs for difference in self.differences), default=0.0)


def ask_checkpoint(comparison: ComparisonPlan, version_dir: Path, say: Say = lambda step, text: None) -> Reference:
    """Put to the checkpoint what can also be put to the version; raises as an export would."""
    plan = comparison.graph
    provenance = read_provenance(version_dir) or {}
    kept, problems = _shared_signatures(plan, version_dir, provenance.get("signatures"))
    notes = []
    recorded = provenance.get("checkpoint")
    if isinstance(recorded, dict) and recorded.get("sha256") not in (None, plan.checkpoint.sha256()):
        notes.append(
            f"the version says that it was exported from another checkpoint: {recorded.get('name')}, step"
            f" {recorded.get('step')}"
        )
    proof = Proof((), (), ())
    if kept:
        plan = replace(plan, model=replace(plan.model, signatures=kept))
        checkpoint = open_checkpoint(plan.checkpoint)
        network = prepare_network(plan, checkpoint)
        greedy = rewrite_serving(network.serving, for_serving("greedy")) if plan.ctc_decoder == "greedy" else None
        nodes = {
            node.name: node.op for graph in parse_saved_model(version_dir).meta_graphs for node in graph.graph_def.node
        }
        limits = comparison.search_limits
        limits = limits.for_stock() if BEAM_SEARCH in nodes.values() else limits
        proof = expected_answers(checkpoint, network, greedy, limits, say)
        proof, more = _answerable(proof, nodes)
        notes += more
    return Reference(
        plan.checkpoint.prefix,
        as_requests(proof.requests),
        as_requests(proof.asked),
        proof.expected,
        proof.searched,
        tuple(notes),
        tuple(problems),
    )


def _answerable(proof: Proof, nodes: Collection[str]) -> Tuple[Proof, List[str]]:
    """What of it can be asked of a graph of these nodes: one that was made elsewhere may have others."""
    asked: List[Question] = []
    expected: List[Answers] = []
    notes: List[str] = []
    for question, answers in zip(proof.asked, proof.expected):
        excerpt = question.excerpt or Excerpt(())
        missing = [name for name in (*excerpt.inner, *excerpt.given) if node_name(name) not in nodes]
        if missing and excerpt.given:
            notes.append(
                f"{question.where}: not compared with the checkpoint: {', '.join(excerpt.outputs)}; TensorFlow's beam"
                f" search would take too long for all lines, and the version has no {', '.join(missing)} to give it"
                " fewer: --parity-seconds gives it more time"
            )
            continue
        if missing:
            question = replace(question, excerpt=Excerpt(excerpt.outputs))
            answers = {key: answers[key] for key in excerpt.outputs}
        if answers:
            asked.append(question)
            expected.append(answers)
    return replace(proof, asked=tuple(asked), expected=tuple(expected)), notes


def compare_with(reference: Reference, version_dir: Path) -> Compared:
    """Ask the version's files the same, twice."""
    answered = ask_files(version_dir, reference.compared, vary=False)
    wanted = dict(zip(map(id, reference.compared), reference.answers))
    expected = [wanted[id(request)] for request in answered.requests]
    differences, differing = find_differences(answered.requests, expected, answered.answers, TOLERANCE)
    return Compared(
        reference.prefix,
        len(expected),
        tuple(differences),
        reference.beam_search,
        reference.notes,
        reference.problems
        + answered.problems
        + tuple(f"{line} (the version's answer, and the checkpoint's)" for line in differing),
    )


def as_requests(asked: Sequence[Question]) -> Tuple[Request, ...]:
    """The requests on which an export is compared."""
    return tuple(
        Request(question.name, question.signature, question.inputs, excerpt=question.excerpt) for question in asked
    )


def _shared_signatures(plan: GraphPlan, version_dir: Path, recorded: object) -> Tuple[Tuple[Signature, ...], List[str]]:
    """The model's signatures that the version has under the same keys, and what is wrong with the others."""
    served = served_signatures(version_dir)
    kept: List[Signature] = []
    problems: List[str] = []
    for signature in plan.model.signatures:
        found = served.get(signature.name)
        if found is None:
            if not isinstance(recorded, list) or signature.name in recorded:
                problems.append(f"{signature.name}: the model has this signature, the version does not")
            continue
        sides = ((signature.inputs, found.inputs), (signature.outputs, found.outputs))
        keys = [
            (sorted(spec.key for spec in wanted), sorted(tensor.key for tensor in there)) for wanted, there in sides
        ]
        if all(wanted == there for wanted, there in keys):
            kept.append(signature)
        else:
            texts = [f"{', '.join(keys[0][side])} -> {', '.join(keys[1][side])}" for side in (0, 1)]
            problems.append("{}: {} in the model, {} in the version".format(signature.name, *texts))
    return tuple(kept), problems
