"""Choose CTC decoder and folding by the answers to the parity requests, before a file is written."""

from __future__ import annotations

from typing import Tuple

from ckpt2saved.answers.checkpoint_asker import CheckpointAsker, open_checkpoint_asker
from ckpt2saved.answers.comparison import compare
from ckpt2saved.answers.expected import expected_answers
from ckpt2saved.answers.grafting import graft
from ckpt2saved.answers.proof import Proof
from ckpt2saved.checkpoint.contents import Checkpoint
from ckpt2saved.console.narration import Say
from ckpt2saved.errors import NotServable, SignatureError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.export.plan import ExportPlan
from ckpt2saved.requests.parity import parity_requests
from ckpt2saved.rewrites.for_serving import ServingRewritten, for_serving, rewrite_serving
from ckpt2saved.sources.binding import BoundGraph


def rewritten_as_planned(plan: ExportPlan, network: BoundGraph) -> ServingRewritten:
    """The graph of `network` with the CTC decoder and the folding that the plan asks for."""
    return rewrite_serving(network.serving, network.weights, for_serving(plan.graph.ctc_decoder or "fast", plan.fold))


def choose(
    plan: ExportPlan, checkpoint: Checkpoint, network: BoundGraph, rewritten: ServingRewritten, say: Say
) -> Tuple[ServingRewritten, Proof]:
    """The graph to write, and the requests and expected outputs that its files are compared with.

    It is the first that answers as the checkpoint of: `rewritten`, the same without folding, and the original graph.
    Its CTC decoder stays if the plan asks for it. The original graph and `rewritten` run in one session, with the same
    variables; `say` reports what was dropped and why. Raises the errors of `expected_answers`, and NotServable if a
    rewritten graph cannot run a request.
    """
    with open_checkpoint_asker(network, checkpoint) as asker:
        proof = _proof(plan, network, rewritten, asker, say)
        while rewritten.folded or _may_be_stock(plan, rewritten):
            problems = _differences(asker, network, rewritten, proof)
            if not problems:
                break
            if rewritten.folded:
                say("folded", "no batch norm: with folding, some answers differ by more than rounding")
                kind = plan.graph.ctc_decoder or "fast"
            else:
                # docs/ctc-decoder.md: the fast decoder may choose otherwise among texts that float32 can't tell apart.
                say("decoder", "stock: fast decodes some of the compared lines differently")
                kind = "stock"
            for problem in problems:
                say("differs", problem.text)
            rewritten = rewrite_serving(network.serving, network.weights, for_serving(kind, fold=False))
            if proof.searched and not rewritten.replaced:
                proof = _proof(plan, network, rewritten, asker, say)  # within the limits of the op
    return rewritten, proof


def _may_be_stock(plan: ExportPlan, rewritten: ServingRewritten) -> bool:
    return bool(rewritten.replaced) and plan.graph.ctc_decoder is None


def _proof(
    plan: ExportPlan, network: BoundGraph, rewritten: ServingRewritten, asker: CheckpointAsker, say: Say
) -> Proof:
    limits = plan.checks.search_limits
    limits = limits if rewritten.replaced else limits.for_stock()
    is_greedy = plan.graph.ctc_decoder == "greedy"
    return expected_answers(asker, network, parity_requests(network.model), limits, say, is_greedy=is_greedy)


def _differences(
    asker: CheckpointAsker, network: BoundGraph, rewritten: ServingRewritten, proof: Proof
) -> Tuple[Problem, ...]:
    """The outputs in which a rewritten graph differs from the expected ones."""
    other = asker.rewritten(graft(asker.graph, network.serving, rewritten))
    try:
        found = other.answers(proof.asked)
    except SignatureError as error:
        raise NotServable(str(error)) from error
    return compare(proof.asked, proof.expected, found).problems
