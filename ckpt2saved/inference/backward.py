"""The backward pass of a training's graph: gradients and updates of variables, and which nodes they are taken of."""

from __future__ import annotations

import re
from typing import Collection, Iterable, Set

from ckpt2saved.optimizers import is_update

_GRADIENTS = re.compile(r"(.*/)?(gradients(_[0-9]+)?|gradient_tape)/")
_GRADIENT_OP = re.compile(r"\w*(Grad|GradV[0-9]|Backprop\w*|BackpropV[0-9])\Z")


def is_backward(name: str, op: str) -> bool:
    """Whether a node computes a gradient or updates a variable with one."""
    return bool(_GRADIENTS.match(name) or _GRADIENT_OP.match(op) or is_update(op))


def differentiated(names: Iterable[str], nodes: Collection[str]) -> Set[str]:
    """Those of `nodes` whose gradients are among `names`.

    tf.gradients puts the gradients of NODE into the scope `gradients/NODE_grad/`.
    """
    found = set()  # type: Set[str]
    for name in names:
        parts = name.split("/")
        for start in (number for number, part in enumerate(parts) if part.startswith("gradients")):
            for end in range(start + 1, len(parts)):
                if parts[end].endswith("_grad"):
                    node = "/".join(parts[start + 1 : end] + [parts[end][: -len("_grad")]])
                    # Inside of a function that was inlined the node has the function's scope before its own.
                    found.update(one for one in (node, "/".join(parts[:start] + [node])) if one in nodes)
    return found
