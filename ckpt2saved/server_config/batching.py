"""Whether a model's answers survive TF Serving's batching, which cuts them apart by their first dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.errors import NotServable
from ckpt2saved.saved_model.signatures import SavedSignature, SavedTensor, is_for_warmup, read_signatures
from ckpt2saved.server_config.models import Model
from ckpt2saved.versions import recorded_without_batch

DEFAULT_SIGNATURE = "serving_default"

_MEET = 'requests of different sizes that come into one batch all fail ("from different tasks have different shapes")'
_CHOOSE = (
    "requests may differ in the size of {}, and " + _MEET + ", those of other clients included; add --equal-shapes if "
    "clients bring all requests to one size, or --pad-inputs to have TF Serving fill them up, after which answers may "
    "depend on the other requests in the batch"
)
_EQUAL = "clients have to bring {} to one size: " + _MEET + ", those of other clients included"
_PADDED = (
    "TF Serving fills {} up to the largest in the batch with the tensor's first element, and the graph is not told, so "
    "that answers may depend on the other requests in the batch; with the crnn, ids stayed right, and score was off by "
    "more than 0.001 in 35 of 600 words, by 0.29 at most"
)


@dataclass(frozen=True)
class Batching:
    """How a server puts requests together."""

    max_batch_size: int = 32
    timeout_micros: int = 5000
    pad_inputs: bool = False
    equal_shapes: bool = False  # clients promise that all requests have one shape but for the batch
    threads: Optional[int] = None  # None: as many as the machine has cores


def check_batching(models: Sequence[Model], asked: Sequence[str], batching: Batching) -> Tuple[str, ...]:
    """Refuse models that batching breaks; what to know about the others, a line each.

    Clients ask for serving_default, or of a model that has them for the signatures in `asked`.
    """
    problems: List[str] = []
    remarks: List[str] = [_limit(batching)]
    seen = set()
    for model in models:
        for version in model.loaded:
            signatures = read_signatures(version.path)
            unsplit = recorded_without_batch(version.path)
            seen.update(signatures)
            names = [name for name in asked if name in signatures] or [DEFAULT_SIGNATURE]
            for name in names:
                where = f"{version.path}, signature {name}"
                if name not in signatures:
                    problems.append(f"{where}: there is none; expected one of {_list(signatures)}")
                    continue
                reasons = batching_problems(signatures[name], unsplit.get(name, ()))
                if reasons:
                    problems.append(f"{where}: {'; '.join(reasons)}; {_way_out(signatures, unsplit)}")
                    continue
                varying, unknown = _varying(signatures[name]), _of_unknown_rank(signatures[name])
                if varying and not (batching.pad_inputs or batching.equal_shapes):
                    problems.append(f"{where}: {_CHOOSE.format(', '.join(varying))}")
                elif varying or unknown:
                    text = _PADDED if batching.pad_inputs else _EQUAL
                    keys = ", ".join(varying + unknown)
                    remarks.append(f"{model.name}, signature {name}: {text.format(keys)}")
    problems += [f"--batched-signature: no model has a signature {name}" for name in asked if name not in seen]
    if problems:
        raise NotServable(
            "batching would make requests fail: TF Serving joins requests along their first dimension and cuts the "
            "answers apart along theirs, so both must be the batch, and requests in one batch must be equal in all "
            "other dimensions; nothing was written",
            problems,
        )
    return tuple(dict.fromkeys(remarks))


def batching_problems(signature: SavedSignature, seen: Collection[str] = ()) -> Tuple[str, ...]:
    """Why requests for the signature fail on a server that batches; () if they don't.

    `seen` are the outputs that answered with another first dimension than the batch when the version was exported.
    """
    problems = []
    for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        sparse = _sparse_values(tensors)
        for tensor in tensors:
            problem = _problem(tensor)
            if kind == "output" and not problem and tensor.key in tuple(seen) + sparse:
                problem = "answers with another number of rows than the batch has"
            if problem:
                problems.append(f"{kind} {_described(tensor)} {problem}")
    return tuple(problems)


def keys_without_batch(signature: SavedSignature, seen: Collection[str] = ()) -> Tuple[str, ...]:
    """The inputs and outputs whose first dimension can't be the batch, or was `seen` to be another, by their keys."""
    return inputs_without_batch(signature) + outputs_without_batch(signature, seen)


def inputs_without_batch(signature: SavedSignature) -> Tuple[str, ...]:
    """The inputs whose first dimension can't be the batch, by their keys."""
    return tuple(tensor.key for tensor in signature.inputs if _problem(tensor))


def outputs_without_batch(signature: SavedSignature, seen: Collection[str] = ()) -> Tuple[str, ...]:
    """The outputs whose first dimension can't be the batch, or was `seen` to be another, by their keys."""
    sparse = _sparse_values(signature.outputs)
    return tuple(
        tensor.key for tensor in signature.outputs if _problem(tensor) or tensor.key in seen or tensor.key in sparse
    )


def _sparse_values(tensors: Sequence[SavedTensor]) -> Tuple[str, ...]:
    """The values of a SparseTensor in three parts: as many as its indices have rows, which is not the batch."""
    sizes = {tensor.key: tensor.shape for tensor in tensors}
    return tuple(
        key
        for tensor in tensors
        if tensor.is_int64 and tensor.shape == (-1, 2) and tensor.key.endswith("indices")
        for key in [tensor.key[: -len("indices")] + "values"]
        if sizes.get(key) == (-1,)
    )


def without_batch_text(keys: Sequence[str]) -> str:
    """What such a signature is not for; empty where there are no such `keys`."""
    return f"not for a server with --enable_batching: {', '.join(keys)}" if keys else ""


def _problem(tensor: SavedTensor) -> Optional[str]:
    if not tensor.name:
        return "is a SparseTensor bound whole, which TF Serving can't fetch"
    if tensor.shape is None:
        return None  # unknown until it runs
    if not tensor.shape:
        return "has no dimension at all"
    if tensor.shape[0] != -1:
        return f"is {tensor.shape[0]} long whatever the batch"
    # Of a SparseTensor in three parts only output_shape gives itself away by its size.
    if tensor.is_int64 and tensor.shape == (-1, 2) and tensor.key.endswith("indices"):
        return "has a row for each value of a SparseTensor, not for each item of the batch"
    return None


def _way_out(signatures: Dict[str, SavedSignature], unsplit: Mapping[str, Collection[str]]) -> str:
    surviving = [
        name
        for name in sorted(signatures)
        if not batching_problems(signatures[name], unsplit.get(name, ())) and not is_for_warmup(signatures[name])
    ]
    if surviving:
        name = "dense" if "dense" in surviving else surviving[0]
        choice = ", and --equal-shapes or --pad-inputs" if _varying(signatures[name]) else ""
        return f"signature {name} survives: have the clients ask for it, and pass --batched-signature {name}{choice}"
    return "export a signature with dense outputs [batch, …], as dense of the built-in crnn; or do without --batching"


def _limit(batching: Batching) -> str:
    size = batching.max_batch_size
    return (
        f'a request of more than {size} items (max_batch_size) fails with INVALID_ARGUMENT, as in "Task size {size + 1}'
        f' is larger than maximum input batch size {size}"; clients have to split it, or --max-batch-size has to be'
        " larger"
    )


def _varying(signature: SavedSignature) -> List[str]:
    """The inputs of which two requests may differ in more than the batch."""
    return [_described(tensor) for tensor in signature.inputs if tensor.shape and -1 in tensor.shape[1:]]


def _of_unknown_rank(signature: SavedSignature) -> List[str]:
    return [_described(tensor) for tensor in signature.inputs if tensor.shape is None]


def _described(tensor: SavedTensor) -> str:
    if tensor.shape is None:
        return f"{tensor.key} (of unknown rank)"
    return f"{tensor.key} [{', '.join(('?' if size == -1 else str(size) for size in tensor.shape))}]"


def _list(names: Dict[str, SavedSignature]) -> str:
    return ", ".join(sorted(names)) or "none"
