"""One request to a model: signature, inputs and requested outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Mapping, Optional, Tuple

import numpy as np

from ckpt2saved.errors.problem import Note
from ckpt2saved.signature.tensors import Signature

Inputs = Mapping[str, np.ndarray]  # by input key; strings are object arrays of bytes
Answers = Mapping[str, np.ndarray]  # by output key
MADE_UP = "a made-up request"  # name in messages


@dataclass(frozen=True)
class Request:
    """The inputs for one run of a signature; `name` is used in messages."""

    name: str
    signature: str
    inputs: Inputs
    is_made_up: bool = False  # the graph may refuse these values
    is_of_known_size: bool = False  # clients send requests of this size: read from a file or a warm-up file
    outputs: Optional[Tuple[str, ...]] = None  # keys of the requested outputs; None: all
    # To run a part of the graph: names of inner tensors to fetch and to feed.
    inner_fetches: Tuple[str, ...] = ()
    inner_feeds: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Name and signature, for messages."""
        return f"{self.name}: signature {self.signature}"

    def feeds_and_fetches(self, signatures: Mapping[str, Signature]) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
        """The values to feed by tensor name, and the tensor names to fetch by output key (inner tensors: by name)."""
        signature = signatures[self.signature]
        feeds = {signature.input(key).tensor: value for key, value in self.inputs.items()}
        keys = sorted(spec.key for spec in signature.outputs) if self.outputs is None else self.outputs
        fetches = {key: signature.output(key).tensor for key in keys}
        fetches.update({tensor: tensor for tensor in self.inner_fetches})
        return {**feeds, **self.inner_feeds}, fetches


@dataclass(frozen=True)
class Requests:
    """Requests, and a note on each signature without one."""

    requests: Tuple[Request, ...]
    unasked: Tuple[Note, ...] = ()


def not_run(signature: str, reason: str) -> Note:
    """The note on a signature that is not run; the remedy is a request of the user."""
    return Note("not-run", signature, f"not run: {reason}", "pass a valid request with --inputs FILE.npz")


def with_bytes(value: np.ndarray) -> np.ndarray:
    """The array as requests hold it: strings as an object array of bytes, numbers unchanged."""
    if value.dtype.kind not in "OSU":
        return value
    items = [item.encode("utf-8") if isinstance(item, str) else bytes(item) for item in value.ravel().tolist()]
    found = np.empty(len(items), object)
    found[:] = items
    return found.reshape(value.shape)
