"""Check that a checkpoint has the variables that a built-in network needs."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Tuple

from ckpt2saved.checkpoint.contents import misfits
from ckpt2saved.errors import CheckpointError

Shape = Tuple[int, ...]
Layout = Dict[str, Tuple[Optional[int], ...]]  # None: any size

# For each model, a variable that only this model has.
_TELLTALES = {"crnn": "LSTMLayers/w", "ctpn": "bbox_pred/weights"}


def last(variables: Mapping[str, Shape], name: str, axis: int = -1) -> Optional[int]:
    """The size of a variable's last (or another) axis; None if the checkpoint has no such variable or axis."""
    shape = variables.get(name, ())
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def require(model: str, expected: Layout, variables: Mapping[str, Shape]) -> None:
    """Raise CheckpointError with every variable that is missing or has another shape than `expected`."""
    problems = misfits(expected, variables)
    if problems:
        raise CheckpointError(
            f"the checkpoint is not of the built-in {model} graph ({len(problems)} of its {len(expected)} variables do"
            f" not fit){_looks_like(model, expected, variables)}",
            problems,
        )


def network_of(variables: Mapping[str, Shape]) -> Optional[str]:
    """Return the built-in network that a checkpoint seems to be of; None if it looks like none, or several."""
    found = [network for network in _TELLTALES if _scopes(network, variables)]
    return found[0] if len(found) == 1 else None


def _scopes(network: str, variables: Mapping[str, Shape]) -> List[str]:
    """The scopes in which the checkpoint has the telltale variable of a network."""
    telltale = _TELLTALES[network]
    return [name[: -len(telltale)].rstrip("/") for name in variables if ("/" + name).endswith("/" + telltale)]


def _looks_like(model: str, expected: Layout, variables: Mapping[str, Shape]) -> str:
    """A hint at the model or the scope that the checkpoint seems to have."""
    if any(name in variables for name in expected):
        return ""
    for other in _TELLTALES:
        scopes = _scopes(other, variables)
        if scopes and other != model:
            return f"; it looks like one of {other}: --model {other}"
        if scopes:
            return "; its variables begin with {0!r}: --option scope={0}".format(scopes[0])
    return f"; it has {len(variables)} others, such as {min(variables)}" if variables else "; it has no variables"
