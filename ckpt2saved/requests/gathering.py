"""Find requests for each signature of a SavedModel: from a file, from its warm-up file, or made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.errors import ServingError
from ckpt2saved.requests.batching import fixed_sizes, has_open_batch
from ckpt2saved.requests.given import read_inputs
from ckpt2saved.requests.request import MADE_UP, Inputs, Request, Requests
from ckpt2saved.requests.splitting import batch_apart, batch_of, with_lines
from ckpt2saved.requests.warm_up.file import read_warm_up_requests
from ckpt2saved.requests.warm_up.marks import is_marked, without_mark
from ckpt2saved.saved_model.reading import SavedModelFile
from ckpt2saved.signature.tensors import Signature

_MOST_RECORDED = 10  # of each signature; a warm-up file may hold a thousand


Make = Callable[[Path, Mapping[str, Signature]], Requests]


def served_signatures(saved_model: SavedModelFile) -> Dict[str, Signature]:
    """The signatures that can be run, by name; skips the internal ones of TensorFlow 2, which start with `__`."""
    return that_can_be_run(saved_model.signatures)


def that_can_be_run(found: Mapping[str, Signature]) -> Dict[str, Signature]:
    """As served_signatures, of all signatures of a model."""
    return {name: found[name] for name in sorted(found) if not name.startswith("__") and _can_be_asked(found[name])}


def _can_be_asked(signature: Signature) -> bool:
    """Whether the signature has outputs, and all its tensors have names."""
    return bool(signature.outputs) and all(tensor.tensor for tensor in signature.inputs + signature.outputs)


def gather_requests(
    version_dir: Path, make: Make, *, inputs: Optional[Path] = None, known: Sequence[Request] = ()
) -> Requests:
    """Requests for each signature, from the file `inputs`, else the warm-up file, else `known`, else `make`."""
    signatures = served_signatures(SavedModelFile(version_dir))
    chosen = list(read_inputs(inputs, signatures)) if inputs else []
    recorded = recorded_requests(version_dir)
    unmarked = [request for request in recorded if not is_marked(request.inputs)]
    for source in (unmarked, known):
        unasked = _without(signatures, chosen)
        chosen += [request for request in source if request.signature in unasked]
    chosen += _borrowed(signatures, chosen)
    # The answer to a mark is not what clients get.
    unasked = _without(signatures, chosen)
    chosen += [_unmarked(unasked[r.signature], r) for r in recorded if r.signature in unasked]
    made = make(version_dir, _without(signatures, chosen))
    return Requests(tuple(chosen) + made.requests, made.unasked)


def _borrowed(signatures: Mapping[str, Signature], chosen: Sequence[Request]) -> List[Request]:
    """For each signature without a request, the inputs of a request for a signature with the same inputs."""
    made = []
    for name, signature in _without(signatures, chosen).items():
        for request in chosen:
            if signatures[request.signature].inputs == signature.inputs:
                inputs = _with_batch_apart(signature, request.inputs)
                known = request.is_of_known_size
                made.append(Request(MADE_UP, name, inputs, is_made_up=True, is_of_known_size=known))
                break
    return made


def _unmarked(signature: Signature, request: Request) -> Request:
    """The warm-up request as a client may send it."""
    return replace(request, inputs=_with_batch_apart(signature, without_mark(request.inputs)))


def _with_batch_apart(signature: Signature, inputs: Inputs) -> Inputs:
    """The inputs with a batch size that no other dimension of the signature has, if the batch size is not fixed."""
    if batch_of(inputs) is None or not has_open_batch(signature):
        return inputs
    sizes = {size for value in inputs.values() for size in value.shape[1:]}
    return with_lines(inputs, batch_apart(sizes | fixed_sizes(signature)))


def recorded_requests(version_dir: Path) -> Tuple[Request, ...]:
    """The first requests of each signature in the warm-up file of the version; () if the file cannot be read.

    An unreadable warm-up file is reported elsewhere.
    """
    try:
        recorded = read_warm_up_requests(version_dir)
    except ServingError:
        return ()
    chosen: List[Request] = []
    counts: Dict[str, int] = {}
    for request in recorded:
        counts[request.signature] = counts.get(request.signature, 0) + 1
        if counts[request.signature] <= _MOST_RECORDED:
            chosen.append(replace(request, outputs=None))
    return tuple(chosen)


def _without(signatures: Mapping[str, Signature], requests: Sequence[Request]) -> Dict[str, Signature]:
    asked = {request.signature for request in requests}
    return {name: signature for name, signature in signatures.items() if name not in asked}
