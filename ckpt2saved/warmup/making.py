"""Which requests a server answers while it loads a version, by default one of every signature that can be batched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Tuple

from ckpt2saved.errors import UsageError, WarmupError
from ckpt2saved.preparation import Network
from ckpt2saved.serving.batching import keys_without_batch
from ckpt2saved.serving.saved_signatures import SavedSignature, SavedTensor
from ckpt2saved.serving.warmup_file import MOST_RECORDS, WarmupRequest, requests_by_signature
from ckpt2saved.warmup.arrays import requests_of_file
from ckpt2saved.warmup.pictures import Fill, requests_of_pictures
from ckpt2saved.warmup.source import WarmupSource, too_many
from ckpt2saved.warmup.varied import varied_inputs

_UNWRITABLE = ("bfloat16",)  # numpy does not know it
_LARGEST_BATCH = 32  # what a server puts together unless told otherwise by serving-config


@dataclass(frozen=True)
class Warmup:
    """Requests for a version's warm-up file, and what there is to say about them."""

    requests: Tuple[WarmupRequest, ...] = ()
    absence: str = "none, as asked"  # why there are no requests, where there are none
    remarks: Tuple[str, ...] = ()

    @property
    def counts(self) -> Dict[str, int]:
        """How many requests there are of each signature."""
        return requests_by_signature(self.requests)


def make_warmup(source: WarmupSource, network: Network, fill: Fill) -> Warmup:
    """The requests that `source` stands for, put to the signatures that it names or that batching doesn't break.

    Raises WarmupError with everything that does not fit, UsageError for too many.
    """
    defs = network.serving.signature_defs
    broken = {name: keys_without_batch(_saved_signature(name, defs[name])) for name in defs}
    names = source.signatures or [s.name for s in network.model.signatures if not broken[s.name]]
    signatures = [s for s in network.model.signatures if s.name in names]
    unwritable = [s for s in signatures if any(spec.dtype in _UNWRITABLE for spec in s.inputs)]
    if unwritable and source.asked:
        raise WarmupError("requests for {}: no bfloat16 can be written".format(", ".join(s.name for s in unwritable)))
    signatures = [s for s in signatures if s not in unwritable]
    if not signatures:
        absence = "none: {}; --warmup-signature NAME writes some all the same".format(
            "bfloat16 inputs can't be written" if unwritable else "batching would break every signature"
        )
        return Warmup(absence=absence)
    if source.arrays is not None:
        requests = requests_of_file(source.arrays, signatures)
    elif source.pictures:
        requests = requests_of_pictures(source.pictures, network, signatures, fill)
    else:
        _check_count(source.count * len(signatures))
        requests = [
            WarmupRequest(signature.name, varied_inputs(network.model, signature, number))
            for signature in signatures
            for number in range(source.count)
        ]
    _check_count(len(requests))
    remarks = [
        "{}: with its warm-up requests in the version, a server with --enable_batching never loads it".format(name)
        for name in source.signatures
        if broken[name]
    ]
    largest = max(_batch(request) for request in requests)
    if largest > _LARGEST_BATCH:
        remarks.append(
            "warm-up requests of {0}: a server with --enable_batching loads the version only if its max_batch_size "
            "is {0} or more".format(largest)
        )
    return Warmup(tuple(requests), remarks=tuple(remarks))


def _check_count(count: int) -> None:
    if count > MOST_RECORDS:
        raise UsageError(too_many(count))


def _batch(request: WarmupRequest) -> int:
    return max((value.shape[0] for value in request.inputs.values() if value.ndim), default=0)


def _saved_signature(name: str, signature_def: Any) -> SavedSignature:
    """The signature as it will stand in saved_model.pb."""
    return SavedSignature(
        name,
        *(
            tuple(
                SavedTensor(
                    key,
                    info.name,
                    info.dtype,
                    None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim),
                )
                for key, info in sorted(side.items())
            )
            for side in (signature_def.inputs, signature_def.outputs)
        ),
    )
