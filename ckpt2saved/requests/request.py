"""One request to a model: a signature, its inputs, and the outputs that are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Mapping, Optional, Tuple

import numpy as np

from ckpt2saved.signature.tensors import Signature

Inputs = Mapping[str, np.ndarray]  # by the key of a signature's input; strings are objects that hold bytes
Answers = Mapping[str, np.ndarray]  # by the key of a signature's output
MADE_UP = "a made-up request"  # what one is called in messages


@dataclass(frozen=True)
class Request:
    """A signature, its inputs, and what the request is called in messages."""

    name: str
    signature: str
    inputs: Inputs
    is_made_up: bool = False  # nobody says that the graph takes such values
    is_of_known_size: bool = False  # as clients send it: of a file, or recorded to warm a server up
    outputs: Optional[Tuple[str, ...]] = None  # keys of the outputs that are asked for; None: all
    # Where a part of the graph is asked: tensors by their own names, which are fetched, and which are fed.
    inner_fetches: Tuple[str, ...] = ()
    inner_feeds: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The name and the signature, for messages."""
        return f"{self.name}: signature {self.signature}"

    def feeds_and_fetches(self, signatures: Mapping[str, Signature]) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
        """The feeds by tensor name; and by output key, or of inner tensors by name, the tensors to fetch."""
        signature = signatures[self.signature]
        feeds = {signature.input(key).tensor: value for key, value in self.inputs.items()}
        keys = sorted(spec.key for spec in signature.outputs) if self.outputs is None else self.outputs
        fetches = {key: signature.output(key).tensor for key in keys}
        fetches.update({tensor: tensor for tensor in self.inner_fetches})
        return {**feeds, **self.inner_feeds}, fetches


@dataclass(frozen=True)
class Requests:
    """What to ask, and a line for each signature that can't be asked."""

    requests: Tuple[Request, ...]
    unasked: Tuple[str, ...] = ()


def cant_be_asked(signature: str, reason: str) -> str:
    """The line about a signature for which there is no request."""
    return f"{signature}: not asked: {reason}; pass requests that it answers with --inputs FILE.npz"
