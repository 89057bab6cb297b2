"""Batching of a server, and the models that cannot be used with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.requests.batching import batching_problems, described
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.server_config.models import Model
from ckpt2saved.signature.tensors import DEFAULT_SIGNATURE, Signature
from ckpt2saved.versions import recorded_without_batch

_MEET = 'requests of different sizes that come into one batch all fail ("from different tasks have different shapes")'
_DIFFER = "requests may differ in the size of {}, and " + _MEET + ", those of other clients included"
_CHOOSE = (
    "add --equal-shapes if clients bring all requests to one size, or --pad-inputs to have TF Serving fill them up,"
    " after which answers may depend on the other requests in the batch"
)
_EQUAL = "clients have to bring {} to one size: " + _MEET + ", those of other clients included"
_PADDED = (
    "TF Serving fills {} up to the largest in the batch with the tensor's first element, and the graph is not told, so "
    "that answers may depend on the other requests in the batch; with the crnn, ids stayed right, and score was off by "
    "more than 0.001 in 35 of 600 words, by 0.29 at most"
)


@dataclass(frozen=True)
class Batching:
    """Batching parameters of a server."""

    max_batch_size: int = 32
    timeout_micros: int = 5000
    pad_inputs: bool = False
    equal_shapes: bool = False  # all requests have equal shapes except for the batch dimension
    threads: Optional[int] = None  # None: as many as the machine has cores
    allowed_batch_sizes: Tuple[int, ...] = ()  # a batch is filled up to one of these sizes; the last is max_batch_size

    def as_content(self) -> Dict[str, Any]:
        """Return the JSON content, from which `from_content` makes the parameters again."""
        return dict(asdict(self), allowed_batch_sizes=list(self.allowed_batch_sizes))

    @classmethod
    def from_content(cls, content: Dict[str, Any]) -> Batching:
        """Return the parameters of a valid JSON content."""
        return cls(**dict(content, allowed_batch_sizes=tuple(content["allowed_batch_sizes"])))


def check_batching(models: Sequence[Model], asked: Sequence[str], batching: Batching) -> Tuple[Note, ...]:
    """Raise NotServable for models that cannot be used with batching; return notes on the others.

    Clients request serving_default, or the signatures in `asked` of a model that has them.
    """
    problems: List[Problem] = []
    notes: List[Note] = [_limit(batching)]
    seen: Set[str] = set()
    for model in models:
        for version in model.loaded:
            signatures = read_signatures(version.path)
            unsplit = recorded_without_batch(version.path)
            seen.update(signatures)
            names = [name for name in asked if name in signatures] or [DEFAULT_SIGNATURE]
            for name in names:
                where = f"{version.path}, signature {name}"
                if name not in signatures:
                    problems.append(
                        Problem("unknown-signature", where, "there is none", f"expected one of {_list(signatures)}")
                    )
                    continue
                reasons = batching_problems(signatures[name], unsplit.get(name, ()))
                if reasons:
                    problems.append(Problem("no-batching", where, "; ".join(reasons), _way_out(signatures, unsplit)))
                    continue
                varying, unknown = _varying(signatures[name]), _of_unknown_rank(signatures[name])
                if varying and not (batching.pad_inputs or batching.equal_shapes):
                    problems.append(Problem("varying-shape", where, _DIFFER.format(", ".join(varying)), _CHOOSE))
                elif varying or unknown:
                    text = _PADDED if batching.pad_inputs else _EQUAL
                    keys = ", ".join(varying + unknown)
                    notes.append(Note("varying-shape", f"{model.name}, signature {name}", text.format(keys)))
    problems += [
        Problem("unknown-signature", "--batched-signature", f"no model has a signature {name}")
        for name in asked
        if name not in seen
    ]
    if problems:
        raise NotServable(
            "batching would make requests fail: TF Serving joins requests along their first dimension and cuts the "
            "answers apart along theirs, so both must be the batch, and requests in one batch must be equal in all "
            "other dimensions; nothing was written",
            problems,
        )
    return tuple(dict.fromkeys(notes))


def _way_out(signatures: Dict[str, Signature], unsplit: Mapping[str, Collection[str]]) -> str:
    surviving = [
        name
        for name in sorted(signatures)
        if not batching_problems(signatures[name], unsplit.get(name, ())) and not signatures[name].is_for_warmup
    ]
    if surviving:
        name = "dense" if "dense" in surviving else surviving[0]
        choice = ", and --equal-shapes or --pad-inputs" if _varying(signatures[name]) else ""
        return f"signature {name} survives: have the clients ask for it, and pass --batched-signature {name}{choice}"
    return "export a signature with dense outputs [batch, …], as dense of the built-in crnn; or do without --batching"


def _limit(batching: Batching) -> Note:
    size = batching.max_batch_size
    found = (
        f'a request of more than {size} items (max_batch_size) fails with INVALID_ARGUMENT, as in "Task size {size + 1}'
        f' is larger than maximum input batch size {size}"'
    )
    return Note("batch-limit", "", found, "clients have to split it, or --max-batch-size has to be larger")


def _varying(signature: Signature) -> List[str]:
    """Return the inputs whose shapes may vary between requests beyond the batch dimension."""
    return [described(tensor) for tensor in signature.inputs if tensor.has_open_sizes]


def _of_unknown_rank(signature: Signature) -> List[str]:
    return [described(tensor) for tensor in signature.inputs if tensor.shape is None]


def _list(names: Dict[str, Signature]) -> str:
    return ", ".join(sorted(names)) or "none"
