"""Compare the outputs of a version with those of the checkpoint that it was exported from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Collection, List, Tuple

from ckpt2saved.answers.checkpoint_asker import open_checkpoint_asker
from ckpt2saved.answers.comparison import Comparison, compare
from ckpt2saved.answers.expected import expected_answers
from ckpt2saved.answers.file_answers import run_on_files
from ckpt2saved.answers.proof import Proof, Searched
from ckpt2saved.console.say import Say, silent
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import BEAM_SEARCH
from ckpt2saved.requests.gathering import served_signatures
from ckpt2saved.requests.parity import parity_cases, parity_requests
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.saved_model.parsing import parse_saved_model
from ckpt2saved.saved_model.reading import SavedModelFile
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.sources.binding import bind
from ckpt2saved.sources.graph_plan import GraphPlan
from ckpt2saved.verification.plan import ComparisonPlan
from ckpt2saved.versions import read_provenance


@dataclass(frozen=True)
class Reference:
    """The expected outputs: those of the original graph with the checkpoint."""

    prefix: Path
    noun: str  # of the file at `prefix` in messages
    requests: Tuple[Request, ...]  # complete requests
    compared: Tuple[Request, ...]  # the same, or the parts of them that ran within the time limit
    answers: Tuple[Answers, ...]  # expected outputs of `compared`
    beam_search: Tuple[Searched, ...]  # which part of a slow beam search is compared
    notes: Tuple[Note, ...]
    problems: Tuple[Problem, ...]  # signatures of the model that the version does not serve


@dataclass(frozen=True)
class Compared:
    """The result of the comparison."""

    checkpoint: Path
    noun: str  # of `checkpoint` in messages
    answers: int
    comparison: Comparison
    beam_search: Tuple[Searched, ...]
    notes: Tuple[Note, ...]
    problems: Tuple[Problem, ...]


def run_on_checkpoint(comparison: ComparisonPlan, version_dir: Path, say: Say = silent) -> Reference:
    """Run the parity requests that the version also has on the checkpoint; raises the errors of an export."""
    plan = comparison.graph
    provenance = read_provenance(version_dir) or {}
    kept, problems = _shared_signatures(plan, version_dir, provenance.get("signatures"))
    notes = []
    recorded = provenance.get("checkpoint")
    if isinstance(recorded, dict) and recorded.get("sha256") not in (None, plan.checkpoint.sha256()):
        found = f"the version says that it was exported from another checkpoint: {recorded.get('name')}, step"
        notes.append(Note("other-checkpoint", "", f"{found} {recorded.get('step')}"))
    proof = Proof((), (), ())
    if kept:
        plan = replace(plan, model=replace(plan.model, signatures=kept))
        nodes = {
            node.name: node.op for graph in parse_saved_model(version_dir).meta_graphs for node in graph.graph_def.node
        }
        limits = comparison.search_limits
        limits = limits.for_stock() if BEAM_SEARCH in nodes.values() else limits
        with plan.open() as checkpoint:
            network = bind(plan, checkpoint)
            asked = parity_requests(network.model, parity_cases(network, checkpoint))
            with open_checkpoint_asker(network, checkpoint) as asker:
                proof = expected_answers(asker, network, asked, limits, say, is_greedy=plan.ctc_decoder == "greedy")
        proof, more = _answerable(proof, nodes)
        notes += more
    return Reference(
        prefix=plan.checkpoint.prefix,
        noun=plan.source.noun,
        requests=proof.requests,
        compared=proof.asked,
        answers=proof.expected,
        beam_search=proof.searched,
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _answerable(proof: Proof, nodes: Collection[str]) -> Tuple[Proof, List[Note]]:
    """The part of the requests that a graph with these nodes can run, and notes about the rest."""
    asked: List[Request] = []
    expected: List[Answers] = []
    notes: List[Note] = []
    for request, answers in zip(proof.asked, proof.expected):
        missing = [name for name in (*request.inner_fetches, *request.inner_feeds) if node_name(name) not in nodes]
        if missing and request.inner_feeds:
            notes.append(
                Note(
                    "not-compared",
                    request.where,
                    f"not compared with the checkpoint: {', '.join(request.outputs or ())}; TensorFlow's beam search"
                    f" would take too long for all lines, and the version has no {', '.join(missing)} to give it fewer",
                    "--parity-seconds gives it more time",
                )
            )
            continue
        if missing:
            request = replace(request, inner_fetches=())
            answers = {key: answers[key] for key in request.outputs or ()}
        if answers:
            asked.append(request)
            expected.append(dict(answers))
    return replace(proof, asked=tuple(asked), expected=tuple(expected)), notes


def compare_with(reference: Reference, version_dir: Path) -> Compared:
    """Run the same requests on the files of the version, twice, and compare."""
    answered = run_on_files(version_dir, reference.compared, vary=False)
    answers = dict(zip(map(id, reference.compared), reference.answers))
    expected = [answers[id(request)] for request in answered.requests]
    comparison = compare(answered.requests, expected, answered.answers)
    more = f" (the version's answer, and that of the {reference.noun})"
    return Compared(
        checkpoint=reference.prefix,
        noun=reference.noun,
        answers=len(expected),
        comparison=comparison,
        beam_search=reference.beam_search,
        notes=reference.notes,
        problems=reference.problems + answered.problems + tuple(one.with_suffix(more) for one in comparison.problems),
    )


def _shared_signatures(
    plan: GraphPlan, version_dir: Path, recorded: object
) -> Tuple[Tuple[Signature, ...], List[Problem]]:
    """The signatures that the version has with the same keys, and problems of the others."""
    served = served_signatures(SavedModelFile(version_dir))
    kept: List[Signature] = []
    problems: List[Problem] = []
    for signature in plan.model.signatures:
        found = served.get(signature.name)
        if found is None:
            if not isinstance(recorded, list) or signature.name in recorded:
                text = "the model has this signature, the version does not"
                problems.append(Problem("missing-signature", signature.name, text))
            continue
        sides = ((signature.inputs, found.inputs), (signature.outputs, found.outputs))
        keys = [(sorted(spec.key for spec in own), sorted(tensor.key for tensor in there)) for own, there in sides]
        if all(own == there for own, there in keys):
            kept.append(signature)
        else:
            ours, theirs = [f"{', '.join(keys[0][side])} -> {', '.join(keys[1][side])}" for side in (0, 1)]
            text = f"{ours} in the model, {theirs} in the version"
            problems.append(Problem("other-keys", signature.name, text))
    return tuple(kept), problems
