"""Choose the rewrites of the written graph by the answers to the parity requests, before a file is written."""

from __future__ import annotations

from typing import Sequence, Tuple

from ckpt2saved.answers.checkpoint_asker import CheckpointAsker
from ckpt2saved.answers.comparison import compare
from ckpt2saved.answers.expected import expected_answers
from ckpt2saved.answers.grafting import graft
from ckpt2saved.answers.proof import Proof
from ckpt2saved.console.say import Say, begin
from ckpt2saved.errors import NotServable, SignatureError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.exporting.plan import ExportPlan
from ckpt2saved.requests.parity import parity_requests
from ckpt2saved.rewrites.for_serving import ServingRewritten, for_serving, rewrite_serving
from ckpt2saved.signature.model import ParityCase
from ckpt2saved.sources.binding import BoundGraph


def rewritten_as_planned(plan: ExportPlan, network: BoundGraph) -> ServingRewritten:
    """The graph of `network` with the CTC decoder and the other rewrites that the plan asks for."""
    decoder, for_gpu = plan.graph.ctc_decoder or "fast", network.serving.is_for_gpu
    return rewrite_serving(network.serving, network.weights, for_serving(decoder, fold=plan.fold, for_gpu=for_gpu))


class Chooser:
    """Tries rewritten graphs in the session of the original graph, with the same variables."""

    def __init__(
        self, plan: ExportPlan, network: BoundGraph, asker: CheckpointAsker, cases: Sequence[ParityCase], say: Say
    ) -> None:
        """`asker` runs the original graph."""
        self._plan = plan
        self._network = network
        self._asker = asker
        self._asked = parity_requests(network.model, cases)
        self._say = say

    def choose(self, rewritten: ServingRewritten) -> Tuple[ServingRewritten, Proof]:
        """The graph to write, and the requests and expected outputs that its files are compared with.

        It is the first that answers as the checkpoint of: `rewritten`, the same with the checkpoint's values, with
        recurrent layers as they were, the original graph. A CTC decoder that the plan asks for stays. `say` reports
        what was dropped and why. Raises the errors of `expected_answers`, and NotServable if a rewritten graph cannot
        run a request.
        """
        proof = self._proof(rewritten)
        while rewritten.stores_values or rewritten.has_changed_layers or self._may_be_stock(rewritten):
            problems = self._differences(rewritten, proof)
            if not problems:
                break
            kind = self._plan.graph.ctc_decoder or "fast"
            recurrent = rewritten.stores_values and rewritten.has_changed_layers
            if rewritten.folded:
                self._say("folded", "no batch norm: with folding, some answers differ by more than rounding")
            elif rewritten.computed_once:
                found = "with values that are computed at export, some answers differ by more than rounding"
                self._say("computed", f"for each request: {found}")
            elif rewritten.has_changed_layers:
                found = "computed in another order, some answers differ by more than rounding"
                self._say("recurrent", f"layers stay as they are: {found}")
            else:
                # docs/ctc-decoder.md: the fast decoder may choose otherwise among texts that float32 can't tell apart.
                self._say("decoder", "stock: fast decodes some of the compared lines differently")
                kind = "stock"
            for problem in problems:
                self._say("differs", problem.text)
            network = self._network
            rewrites = for_serving(kind, fold=False, recurrent=recurrent, for_gpu=network.serving.is_for_gpu)
            rewritten = rewrite_serving(network.serving, network.weights, rewrites)
            if proof.searched and not rewritten.replaced:
                proof = self._proof(rewritten)  # within the limits of the op
        return rewritten, proof

    def _may_be_stock(self, rewritten: ServingRewritten) -> bool:
        return bool(rewritten.replaced) and self._plan.graph.ctc_decoder is None

    def _proof(self, rewritten: ServingRewritten) -> Proof:
        begin(self._say, f"running the {self._plan.graph.source.noun}")
        limits = self._plan.checks.search_limits
        limits = limits if rewritten.replaced else limits.for_stock()
        is_greedy = self._plan.graph.ctc_decoder == "greedy"
        return expected_answers(self._asker, self._network, self._asked, limits, self._say, is_greedy=is_greedy)

    def _differences(self, rewritten: ServingRewritten, proof: Proof) -> Tuple[Problem, ...]:
        """The outputs in which a rewritten graph differs from the expected ones."""
        begin(self._say, "trying the rewritten graph")
        other = self._asker.rewritten(graft(self._asker.graph, self._network.serving, rewritten))
        try:
            found = other.answers(proof.asked)
        except SignatureError as error:
            raise NotServable(str(error)) from error
        return compare(proof.asked, proof.expected, found).problems
