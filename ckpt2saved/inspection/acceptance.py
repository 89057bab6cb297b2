"""Try a proposal as `export` would: a fixed batch size, and the problems that export would report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence, Tuple

from ckpt2saved.errors import NotServable, SignatureError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.inspection.proposal import Proposal
from ckpt2saved.rewrites.to_signatures import cut
from ckpt2saved.signature.arguments import ARGUMENTS
from ckpt2saved.signature.model import META, ServedModel
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.sources.fitting import FixedBatch, check_shapes


@dataclass(frozen=True)
class Acceptance:
    """The result of cutting the graph as `export` does and inferring its shapes with TensorFlow."""

    batch: Optional[int] = None  # the only batch size that the graph accepts; None: none is known to fail
    node: str = ""  # the node that accepts no other batch size
    problems: Tuple[Problem, ...] = ()


def find_acceptance(proposal: Proposal, graph_def: Any, variables: Mapping[str, Sequence[int]] = {}) -> Acceptance:
    """Try a proposal on the inference graph; training switches without a value become inputs.

    `variables` are the checkpoint's (name -> shape).
    """
    if graph_def is None or any(spec.sizes is None for spec in proposal.inputs):
        return Acceptance()
    model = _model(proposal)
    try:
        part = cut(graph_def, model, variables=variables)
        check_shapes(part, model)
    except FixedBatch as error:
        return Acceptance(error.batch, error.node)
    except (NotServable, SignatureError) as error:
        return Acceptance(problems=error.problems or (Problem("input-shape", "", str(error)),))
    return Acceptance()


def _model(proposal: Proposal) -> ServedModel:
    inputs = [TensorSpec(spec.key, spec.tensor, spec.dtype, spec.sizes) for spec in proposal.inputs]
    inputs += [TensorSpec(one.name, one.name + ":0", one.dtype, ()) for one in proposal.switches if one.is_open]
    outputs = [TensorSpec(spec.key, spec.tensor, spec.dtype, ()) for spec in proposal.outputs]
    signature = Signature("serving_default", tuple(inputs), tuple(outputs))
    return ServedModel(META, ARGUMENTS, (signature,))
