"""What a running server is asked, in which order, and what is left out, so that no client's request fails for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.requests import Request
from ckpt2saved.serving.batching import keys_without_batch
from ckpt2saved.serving.saved_signatures import SavedSignature

Sizes = Dict[str, Tuple[int, ...]]  # of inputs, beside the batch


@dataclass(frozen=True)
class Probing:
    """What the command line says about the requests for a running server."""

    signatures: Tuple[str, ...] = ()  # asked whatever comes of it, and no others; (): those that can't harm clients
    batches: Optional[bool] = None  # whether the server runs with --enable_batching; None: not known

    @property
    def is_said(self) -> bool:
        """Whether the command line says anything."""
        return bool(self.signatures) or self.batches is not None


@dataclass(frozen=True)
class Manner:
    """What a request for a signature may do to the server, and to clients' requests in the same batch."""

    broken: Tuple[str, ...]  # inputs and outputs without the batch: where the server batches, every request fails
    has_open_sizes: bool  # beside the batch: in one batch all requests must have the same
    change: str  # how what the server keeps is changed, or is another than in the files; "": not at all


def manners(
    signatures: Mapping[str, SavedSignature], seen: Mapping[str, Collection[str]], changes: Mapping[str, str]
) -> Dict[str, Manner]:
    """By signature; `seen` are outputs that were not split, `changes` what a signature changes."""
    return {
        name: Manner(
            keys_without_batch(signature, seen.get(name, ())),
            any(tensor.shape is None or -1 in tensor.shape[1:] for tensor in signature.inputs),
            changes.get(name, ""),
        )
        for name, signature in signatures.items()
    }


def in_order(requests: Sequence[Request], manner: Mapping[str, Manner]) -> List[int]:
    """The numbers of the requests as they are best asked, one signature after the other.

    First come those that show by their answer whether the server batches, and of a signature the sizes that its clients
    are known to send, the smallest first.
    """
    names = list(dict.fromkeys(request.signature for request in requests))

    def place(number: int) -> Tuple[bool, int, bool, int]:
        request = requests[number]
        size = sum(value.nbytes for value in request.inputs.values())
        return (
            not manner[request.signature].broken,
            names.index(request.signature),
            not request.is_of_known_size,
            size,
        )

    return sorted(range(len(requests)), key=place)


class Choice:
    """Decides what is asked, by what is known of the server so far."""

    def __init__(self, probing: Probing, manner: Mapping[str, Manner]) -> None:
        self._probing = probing
        self._manner = manner
        self._asked = {}  # type: Dict[str, Sizes]
        self.batches = probing.batches

    def reason_against(self, request: Request, is_answered_by_files: bool) -> Optional[str]:
        """Why this is not asked; "" where the answer to another request told enough; None: it is to be asked."""
        name, manner = request.signature, self._manner[request.signature]
        insists = name in self._probing.signatures
        if self._probing.signatures and not insists:
            return "it is not among those of --probe-signature"
        if manner.change and not insists:
            return "the graph keeps state, and {}".format(manner.change)
        if self.batches is not False and name in self._asked:
            if manner.broken or self._asked[name] == _sizes(request):
                return "" if manner.broken else None
            text = "requests of other sizes than the first, as they fail those of clients {}"
            return text.format(self._where())
        if self.batches and manner.broken and not insists:
            return (
                "the server runs with --enable_batching, where every request for it fails, which may fail those of "
                "clients too: {} can't be split".format(", ".join(manner.broken))
            )
        if self.batches is not False and not manner.broken and not insists:
            risk = self._risk(request, manner, is_answered_by_files)
            if risk:
                return risk
        self._asked[name] = _sizes(request)
        return None

    def _risk(self, request: Request, manner: Manner, is_answered_by_files: bool) -> str:
        if manner.has_open_sizes and not request.is_of_known_size:
            text = (
                "{}, a request of another size than clients send fails theirs, and no warm-up request has their size{}"
            )
            return text.format(self._where(), _INSIST)
        if request.is_made_up and not is_answered_by_files:
            text = (
                "{}, a request that the graph refuses fails those of clients, and nothing says that it takes this one{}"
            )
            return text.format(self._where(), _INSIST)
        return ""

    def _where(self) -> str:
        return "on a server with --enable_batching" + ("" if self.batches else ", as this one may be")


_INSIST = " (--unbatched: the server does not batch; --probe-signature NAME: ask all the same)"


def _sizes(request: Request) -> Sizes:
    return {key: value.shape[1:] for key, value in request.inputs.items()}
