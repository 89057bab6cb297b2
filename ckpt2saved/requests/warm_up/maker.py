"""Choose the warm-up requests of a version; by default only requests that also work with --enable_batching."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Collection, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from ckpt2saved.checkpoint.contents import Checkpoint
from ckpt2saved.errors import UsageError, WarmupError
from ckpt2saved.errors.problem import Note
from ckpt2saved.requests.batching import inputs_without_batch, outputs_without_batch
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.splitting import batch_of
from ckpt2saved.requests.warm_up.arrays import requests_of_file
from ckpt2saved.requests.warm_up.coverage import has_rows_of_its_own, runs_beam_search, state_behind
from ckpt2saved.requests.warm_up.file import requests_by_signature, warm_up_request
from ckpt2saved.requests.warm_up.marks import markable_input, marked
from ckpt2saved.requests.warm_up.pictures import requests_of_pictures
from ckpt2saved.requests.warm_up.signatures import (
    request_of_copy,
    with_marked_outputs,
    with_total,
    with_total_of_copy,
)
from ckpt2saved.requests.warm_up.source import WarmUpSource, too_many
from ckpt2saved.requests.warm_up.variations import varied_inputs
from ckpt2saved.saved_model.judgement import MOST_RECORDS
from ckpt2saved.saved_model.writing import ServingGraph
from ckpt2saved.signature.model import ParityCase
from ckpt2saved.signature.tensors import WARMUP, Signature
from ckpt2saved.sources.binding import BoundGraph

_UNWRITABLE = ("bfloat16",)  # numpy has no such dtype
_LARGEST_BATCH = 32  # default of serving-config --max-batch-size

# The forms of a warm-up request for a signature, in the order in which they are tried: all outputs; all outputs, with
# a mark in the inputs for which they can be split; some outputs; an added signature with one number for each line; an
# added signature with inputs of its own, which works for any graph. Only the first two prepare a server for clients.
_WHOLE, _MARKED, _PART, _TOTAL, _COPY = range(5)
_OF_ALL = (_WHOLE, _MARKED)


@dataclass(frozen=True)
class _Record:
    """The form of the warm-up requests for one signature."""

    signature: str
    form: int
    outputs: Tuple[str, ...] = ()  # for _PART
    name: str = ""  # of the added signature, for _TOTAL and _COPY
    mark: str = ""  # key of the input with the mark, for _MARKED

    @property
    def asked(self) -> str:
        """The signature that the request names."""
        return self.name or self.signature


@dataclass(frozen=True)
class WarmUp:
    """The requests for the warm-up file of a version, and notes about them."""

    requests: Tuple[Request, ...] = ()
    absence: str = "none, as requested"  # text if there are no requests
    notes: Tuple[Note, ...] = ()
    records: Tuple[_Record, ...] = ()  # forms of the requests that must work with --enable_batching

    @property
    def counts(self) -> Dict[str, int]:
        """Signature -> number of requests."""
        return requests_by_signature(self.requests)

    @property
    def filters(self) -> Dict[str, List[str]]:
        """Signature -> requested outputs, for signatures of which only some outputs are requested."""
        return {record.signature: list(record.outputs) for record in self.records if record.form == _PART}

    @property
    def to_split(self) -> Tuple[str, ...]:
        """Signatures whose requests must be tested for batching."""
        return tuple(record.asked for record in self.records if record.form != _COPY)


class WarmUpMaker:
    """Makes the warm-up requests that `source` describes, or other ones if these do not work with batching."""

    def __init__(
        self, source: WarmUpSource, network: BoundGraph, cases: Sequence[ParityCase], checkpoint: Checkpoint
    ) -> None:
        self._source = source
        self._network = network
        self._cases = cases
        self._checkpoint = checkpoint
        self._forms: Dict[str, int] = {}  # signature -> first form to try
        self._seen: Dict[str, Set[str]] = {}  # signature -> outputs whose first dimension was not the batch size
        self._last: Optional[WarmUp] = None
        self._searchless: Optional[ServingGraph] = None

    def avoid_searches(self, searchless: ServingGraph) -> None:
        """Avoid requests that run TensorFlow's beam search op, unless the user asked for warm-up requests.

        `searchless` is the served graph with other decoders.
        """
        self._searchless = None if self._source.asked else searchless
        self._last = None

    def make(self) -> WarmUp:
        """Make the requests; raises WarmupError with all problems, UsageError for too many requests."""
        self._last = self._make()
        return self._last

    def _make(self) -> WarmUp:
        model, names = self._network.model, self._source.signatures
        if names:
            signatures = [s for s in model.signatures if s.name in names]
            unwritable = [s.name for s in signatures if _is_unwritable(s)]
            if unwritable:
                raise WarmupError(f"requests for {', '.join(unwritable)}: no bfloat16 can be written")
            return self._made(signatures, ())
        records = self._records()
        if not records:
            return WarmUp(absence="none: no request for this graph works with --enable_batching")
        return self._made([s for s in model.signatures if _has(records, s.name)], records)

    def make_again(self, seen: Mapping[str, Collection[str]]) -> WarmUp:
        """Make the requests again; `seen` are outputs whose first dimension was not the batch size."""
        if self._last and all(set(keys) <= self._seen.get(name, set()) for name, keys in seen.items()):
            return self._last
        for name, keys in seen.items():
            self._seen.setdefault(name, set()).update(keys)
        return self.make()

    def make_without(self, refused: Mapping[str, Collection[str]]) -> WarmUp:
        """Make requests of another form for the signatures in `refused`, whose outputs cannot be split."""
        for record in self._records():
            if record.asked in refused:
                self._seen.setdefault(record.signature, set()).update(refused[record.asked])
                self._forms[record.signature] = record.form + 1
        return self.make()

    def extended(self, serving: ServingGraph, warmup: WarmUp) -> ServingGraph:
        """`serving` with the added signatures that the requests in `warmup` use."""
        for record in warmup.records:
            if record.form == _MARKED:
                serving = with_marked_outputs(serving, record.signature, record.mark)
            elif record.form == _TOTAL:
                serving = with_total(serving, record.signature, record.name, self._searchless)
            elif record.form == _COPY:
                inputs = self._inputs(record.signature)
                serving = with_total_of_copy(serving, record.signature, record.name, inputs, self._searchless)
        return serving

    def _records(self) -> List[_Record]:
        """A record for all outputs of a signature where that can be, and more until every variable is covered."""
        signatures, taken = self._network.model.signatures, set(self._network.serving.signatures)
        forms = {s.name: self._form(s) for s in signatures}
        found = [self._record_of_all(s.name, forms[s.name]) for s in signatures if forms[s.name] in _OF_ALL]
        covered: Set[str] = set()
        for record in found:
            covered |= self._behind(record.signature, ())
        for signature in signatures:
            missing = self._behind(signature.name, ()) - covered
            if forms[signature.name] in _OF_ALL or (found and not missing):
                continue
            covered |= missing
            outputs = self._splittable(signature.name) if forms[signature.name] == _PART else ()
            if outputs and missing <= self._behind(signature.name, outputs):
                found.append(_Record(signature.name, _PART, outputs))
            else:
                name = _free_name(taken | {record.name for record in found})
                found.append(_Record(signature.name, max(forms[signature.name], _TOTAL), name=name))
        return [record for record in found if record.form <= _COPY]

    def _record_of_all(self, name: str, form: int) -> _Record:
        mark = markable_input(self._saved(name)) if form == _MARKED else None
        return _Record(name, form, mark=mark or "")

    def _form(self, signature: Signature) -> int:
        """The first form to try, from what is known of the signature and of earlier runs."""
        saved = self._saved(signature.name)
        is_avoided = self._is_avoided(signature.name)
        if inputs_without_batch(saved) or _is_unwritable(signature) or batch_of(self._inputs(signature.name)) is None:
            form = _COPY
        else:
            broken = outputs_without_batch(saved, self._seen.get(signature.name, ()))
            form = _MARKED if broken or is_avoided else _WHOLE
        form = max(form, self._forms.get(signature.name, _WHOLE))
        return _PART if form == _MARKED and (is_avoided or not markable_input(saved)) else form

    def _splittable(self, name: str) -> Tuple[str, ...]:
        """Keys of the outputs that batching can split, as far as is known."""
        graph_def, signature = self._network.serving.graph_def, self._network.serving.signatures[name]
        broken = outputs_without_batch(self._saved(name), self._seen.get(name, ()))
        return tuple(
            spec.key
            for spec in signature.outputs
            if spec.key not in broken
            and not has_rows_of_its_own(graph_def, spec.tensor)
            and not self._is_avoided(name, spec.key)
        )

    def _is_avoided(self, name: str, *outputs: str) -> bool:
        """Whether these outputs of a signature (default: all) run a beam search that must be avoided."""
        return self._searchless is not None and runs_beam_search(
            self._network.serving.graph_def, self._tensors(name, outputs)
        )

    def _behind(self, name: str, outputs: Collection[str]) -> Set[str]:
        return set(state_behind(self._network.serving.graph_def, self._tensors(name, outputs)))

    def _tensors(self, name: str, outputs: Collection[str]) -> List[str]:
        """Tensor names of these outputs of a signature; of all if `outputs` is empty."""
        specs = self._network.serving.signatures[name].outputs
        return [spec.tensor for spec in specs if not outputs or spec.key in outputs]

    def _inputs(self, name: str) -> Mapping[str, np.ndarray]:
        signature = next(s for s in self._network.model.signatures if s.name == name)
        return varied_inputs(self._network.model, self._cases, signature, 0)

    def _inputs_like(self, signature: Signature, made: Sequence[Request]) -> Mapping[str, np.ndarray]:
        """The inputs of the first request for a signature with the same inputs, which may be the user's own."""
        alike = {s.name for s in self._network.model.signatures if s.inputs == signature.inputs}
        return next((r.inputs for r in made if r.signature in alike), None) or self._inputs(signature.name)

    def _saved(self, name: str) -> Signature:
        return self._network.serving.signatures[name]

    def _made(self, signatures: Sequence[Signature], records: Sequence[_Record]) -> WarmUp:
        """Requests for each signature in the form of its record; without a record as a client would send them."""
        forms = {record.signature: record for record in records}
        usual = [s for s in signatures if s.name not in forms or forms[s.name].form != _COPY]
        whole = [s for s in usual if s.name not in forms or forms[s.name].form == _WHOLE] or usual
        made = self._requests(whole) if whole else []
        made += [warm_up_request(s.name, self._inputs_like(s, made)) for s in usual if s not in whole]
        requests = [_as_recorded(request, forms.get(request.signature)) for request in made]
        requests += [warm_up_request(r.name, request_of_copy()) for r in records if r.form == _COPY]
        _check_count(len(requests))
        return WarmUp(tuple(requests), notes=self._notes(requests, records, usual), records=tuple(records))

    def _requests(self, signatures: Sequence[Signature]) -> List[Request]:
        source, network = self._source, self._network
        if source.arrays is not None:
            return requests_of_file(source.arrays, signatures)
        if source.pictures:
            return requests_of_pictures(source.pictures, network, self._cases[0], signatures, self._checkpoint)
        _check_count(source.count * len(signatures))
        return [
            warm_up_request(signature.name, varied_inputs(network.model, self._cases, signature, number))
            for signature in signatures
            for number in range(source.count)
        ]

    def _notes(
        self, requests: Sequence[Request], records: Sequence[_Record], usual: Sequence[Signature]
    ) -> Tuple[Note, ...]:
        notes = [
            Note(
                "no-batching",
                name,
                "with its warm-up requests, a server with --enable_batching never loads the version",
            )
            for name in self._source.signatures
            if self._form_as_asked(name) != _WHOLE
        ]
        for record in records:
            if record.name:
                text = _ADDED_TEXTS[record.form].format(signature=record.signature)
                notes.append(Note("warmup-signature", f"signature {record.name}", text))
            if self._is_avoided(record.signature):
                found = "no warm-up request runs TensorFlow's beam search, which would delay the loading of the version"
                notes.append(Note("slow-warmup", record.signature, found, "--warmup 1 writes a request that runs it"))
        if records and not usual and (self._source.arrays or self._source.pictures):
            found = "these requests do not work with --enable_batching and are not written"
            notes.append(
                Note("unwritten-warmup", "--warmup", found, "--warmup-signature NAME writes them nevertheless")
            )
        largest = max(_batch(request) for request in requests)
        if largest > _LARGEST_BATCH:
            found = (
                f"one has {largest} lines, and a server with --enable_batching loads the version only if its"
                f" max_batch_size is {largest} or more"
            )
            notes.append(Note("batch-limit", "warm-up requests", found))
        return tuple(notes)

    def _form_as_asked(self, name: str) -> int:
        saved = self._saved(name)
        broken = inputs_without_batch(saved) or outputs_without_batch(saved, self._seen.get(name, ()))
        return _PART if broken else _WHOLE


_ADDED_TEXTS = {
    _TOTAL: "for warm-up requests only; it returns one number for each line, which depends on all outputs of"
    " {signature} and can be split by a server with --enable_batching",
    _COPY: "for warm-up requests only; it runs a copy of the graph of {signature}, because the inputs of {signature} do"
    " not work with --enable_batching",
}


def _is_unwritable(signature: Signature) -> bool:
    return any(spec.dtype in _UNWRITABLE for spec in signature.inputs)


def _has(records: Sequence[_Record], name: str) -> bool:
    return any(record.signature == name for record in records)


def _as_recorded(request: Request, record: Optional[_Record]) -> Request:
    if record is None or record.form == _WHOLE:
        return request
    if record.form == _MARKED:
        return replace(request, inputs=marked(request.inputs, record.mark))
    return replace(request, signature=record.asked, outputs=record.outputs or None)


def _free_name(taken: Collection[str]) -> str:
    name, number = WARMUP, 1
    while name in taken:
        number += 1
        name = f"{WARMUP}_{number}"
    return name


def _check_count(count: int) -> None:
    if count > MOST_RECORDS:
        raise UsageError(too_many(count).text)


def _batch(request: Request) -> int:
    return max((value.shape[0] for value in request.inputs.values() if value.ndim), default=0)
