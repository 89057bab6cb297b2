"""Decide which requests may be sent to a running server, so that no request of a client fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, Dict, List, Optional, Sequence, Tuple

from ckpt2saved.requests.batching import inputs_without_batch, outputs_without_batch
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.requests.splitting import batch_of, unsplit_outputs
from ckpt2saved.signature.tensors import Signature

Sizes = Dict[str, Tuple[int, ...]]  # input key -> shape without the batch dimension


@dataclass(frozen=True)
class Probing:
    """The options for requests to a running server."""

    # --probe-signature: send requests for these only, at any risk; (): for all for which they are safe.
    signatures: Tuple[str, ...] = ()
    batches: Optional[bool] = None  # whether the server runs with --enable_batching; None: unknown


@dataclass(frozen=True)
class Risks:
    """The possible effects of a request on the server, and on client requests in the same batch."""

    # Inputs and outputs that cannot be batched: on a server that batches, this request and those of clients fail.
    broken: Tuple[str, ...]
    has_fixed_batch: bool  # two requests in one batch fail, a single one does not
    # Some dimension besides that of the batch is of unknown size: all requests in one batch must agree in its size.
    has_open_sizes: bool
    # How the request changes the state of the server, or how the state differs from the files; "": not at all.
    change: str


def risks_of(
    request: Request, signature: Signature, seen: Collection[str], change: str, answers: Optional[Answers]
) -> Risks:
    """The risks of a request for a signature.

    `seen` are outputs that could not be split, `change` describes a change of state, `answers` are the outputs of the
    files if known.
    """
    batch = batch_of(request.inputs)
    fixed = {tensor.key for tensor in signature.outputs if tensor.shape and tensor.shape[0] == batch}
    broken = set(outputs_without_batch(signature, seen)) - fixed
    broken |= unsplit_outputs(request.inputs, answers) if answers else set()
    if batch is None:
        broken |= set(inputs_without_batch(signature)) or set(request.inputs)
    return Risks(
        broken=tuple(sorted(broken)),
        has_fixed_batch=bool(inputs_without_batch(signature)),
        has_open_sizes=any(tensor.shape is None or tensor.has_open_sizes for tensor in signature.inputs),
        change=change,
    )


def in_order(requests: Sequence[Request], risks: Sequence[Risks]) -> List[int]:
    """The order in which requests are sent, as indices; requests for one signature stay together.

    Requests that show whether the server batches come first. Within a signature, sizes that clients are known to send
    come first, then the smallest.
    """
    names = list(dict.fromkeys(request.signature for request in requests))
    telling = {request.signature for request, one in zip(requests, risks) if one.broken}

    def place(number: int) -> Tuple[bool, int, bool, int]:
        request = requests[number]
        size = sum(value.nbytes for value in request.inputs.values())
        name = request.signature
        return name not in telling, names.index(name), not request.is_of_known_size, size

    return sorted(range(len(requests)), key=place)


class ProbingRules:
    """Decides whether a request is sent, from what is known about the server so far."""

    def __init__(self, probing: Probing) -> None:
        self._probing = probing
        self._asked: Dict[str, Sizes] = {}
        self.batches = probing.batches

    def reason_against(self, request: Request, risks: Risks, is_answered_by_files: bool) -> Optional[str]:
        """None: send the request. Otherwise the reason not to; "" if another request has shown enough."""
        name = request.signature
        insists = name in self._probing.signatures
        if self._probing.signatures and not insists:
            return "--probe-signature does not name it"
        if risks.change and not insists:
            return f"the graph keeps state, and {risks.change}"
        if self.batches is not False and name in self._asked:
            if risks.broken or self._asked[name] == _sizes(request):
                return "" if risks.broken else None
            return f"requests of other sizes than the first: {self._where()}, they make requests of clients fail"
        if self.batches is not False and not insists:
            risk = self._risk(request, risks, is_answered_by_files)
            if risk:
                return risk
        self._asked[name] = _sizes(request)
        return None

    def _risk(self, request: Request, risks: Risks, is_answered_by_files: bool) -> str:
        """What the request could break on a server that batches or may batch; "" if nothing."""
        if risks.broken:  # client requests for it fail anyway, and the response shows whether the server batches
            return (
                f"the server runs with --enable_batching and can't split {', '.join(risks.broken)}: every request for"
                " this signature fails, and can make requests of clients fail"
                if self.batches
                else ""
            )
        if risks.has_fixed_batch:
            return (
                f"{self._where()}, two requests of a fixed batch size can't be in one batch: this one would make"
                f" requests of clients fail{_INSIST}"
            )
        if risks.has_open_sizes and not request.is_of_known_size:
            return (
                f"{self._where()}, a request of another size than those of clients makes theirs fail, and no warm-up"
                f" request shows their size{_INSIST}"
            )
        if request.is_made_up and not is_answered_by_files:
            return (
                f"{self._where()}, a request that the graph refuses makes requests of clients fail, and it is unknown"
                f" whether the graph accepts this one{_INSIST}"
            )
        return ""

    def _where(self) -> str:
        return "on a server with --enable_batching" + ("" if self.batches else " (unknown for this one)")


_INSIST = " (--unbatched: the server does not batch; --probe-signature NAME: send it nevertheless)"


def _sizes(request: Request) -> Sizes:
    return {key: value.shape[1:] for key, value in request.inputs.items()}
