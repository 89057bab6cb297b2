"""What a version's own files answer, through the loader that TF Serving uses, and whether it is the same each time."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved import cc_loader
from ckpt2saved.differences import Answers, find_differences
from ckpt2saved.errors import InvalidRequest, NotServable, ServingError
from ckpt2saved.fresh_process import fresh_rounds
from ckpt2saved.made_requests import make_requests
from ckpt2saved.parity import TOLERANCE
from ckpt2saved.requests import Request, cant_be_asked, gather_requests, has_open_batch, served_signatures
from ckpt2saved.running.asking import Wanted
from ckpt2saved.running.live import prepare_without_tensorflow
from ckpt2saved.savedmodel import read_signature_defs
from ckpt2saved.serving.batching import keys_without_batch
from ckpt2saved.serving.saved_signatures import SavedSignature
from ckpt2saved.serving.splitting import batch_of, outputs_seen_unsplit, unsplit_outputs, with_lines
from ckpt2saved.serving.state_changes import changing_signatures, why_different

Ask = Callable[[Request], List[Answers]]  # the answers of two rounds


@dataclass(frozen=True)
class FileAnswers:
    """The requests that were answered, with the answers, and what came of the others."""

    requests: Tuple[Request, ...]
    answers: Tuple[Answers, ...]
    loader: str
    unasked: Tuple[str, ...]  # a line for each signature that refuses the request that was made up for it
    problems: Tuple[str, ...]
    notes: Tuple[str, ...] = ()
    without_batch: Mapping[str, FrozenSet[str]] = field(default_factory=dict)  # outputs of another first dimension


def ask_files(directory: Path, requests: Sequence[Request]) -> FileAnswers:
    """Load the SavedModel afresh and put every request to it twice; raises NotServable where it can't be loaded."""
    signature_defs = read_signature_defs(directory)
    changes, strings = _changes(directory), cc_loader.has_strings(signature_defs)
    signatures = served_signatures(directory)
    asked, first, second = [], [], []  # type: List[Request], List[Answers], List[Answers]
    unasked, problems = [], []  # type: List[str], List[str]
    longer, longer_answers = [], []  # type: List[Request], List[Answers]
    with _loaded(directory, signature_defs) as (ask, loader):
        for request in requests:
            try:
                one, other = ask(request)
            except InvalidRequest as error:
                if request.is_made_up:
                    unasked.append(cant_be_asked(request.signature, "it refuses a made-up request: {}".format(error)))
                else:
                    problems.append("{}: {}: {}".format(request.name, request.signature, error))
                continue
            except NotServable as error:
                problems.append("{}: {}: {}".format(request.name, request.signature, error))
                continue
            asked.append(request)
            first.append(one)
            second.append(other)
            signature = signatures.get(request.signature)
            if (
                signature
                and not {signature.name} & (set(strings) | set(changes))
                and _is_to_vary(request, signature, one)
            ):
                with contextlib.suppress(NotServable):
                    more = _longer(request)
                    longer_answers.append(ask(more)[0])
                    longer.append(more)
    without_batch = outputs_seen_unsplit(asked + longer, first + longer_answers)
    problems += _not_numbers(asked, first)
    if not problems:
        same = [number for number, request in enumerate(asked) if request.signature not in changes]
        one, other = [first[number] for number in same], [second[number] for number in same]
        differing = find_differences([asked[number] for number in same], one, other, TOLERANCE)[1]
        problems += ["{} between two answers to one request (random ops?)".format(line) for line in differing]
    for number, request in enumerate(asked):
        asked[number], first[number] = _apart(request, first[number], longer, longer_answers, without_batch)
    return FileAnswers(
        tuple(asked), tuple(first), loader, tuple(unasked), tuple(problems), _state_notes(asked, changes), without_batch
    )


def _changes(directory: Path) -> Mapping[str, str]:
    try:
        return changing_signatures(directory)
    except ServingError:  # the loader says it in its own words
        return {}


def _is_to_vary(request: Request, signature: SavedSignature, answers: Answers) -> bool:
    """Whether an answer to another batch tells more: of what was made up, or where all is as long as the batch."""
    if batch_of(request.inputs) is None or not has_open_batch(signature):
        return False
    by_chance = keys_without_batch(signature) and not unsplit_outputs(request.inputs, answers)
    return request.is_made_up or bool(by_chance)


def _longer(request: Request) -> Request:
    """The same with a line more, which shows what follows the batch and what happens to be as long."""
    return replace(request, inputs=with_lines(request.inputs, (batch_of(request.inputs) or 0) + 1))


def _apart(
    request: Request,
    answers: Answers,
    longer: Sequence[Request],
    longer_answers: Sequence[Answers],
    without_batch: Mapping[str, FrozenSet[str]],
) -> Tuple[Request, Answers]:
    """The request, or the same with a line more where by chance every output has as many rows as this one has lines."""
    broken = without_batch.get(request.signature, frozenset())
    for more, its_answers in zip(longer, longer_answers):
        if more.signature == request.signature and broken and not unsplit_outputs(request.inputs, answers):
            return more, its_answers
    return request, answers


def _state_notes(asked: Sequence[Request], changes: Mapping[str, str]) -> Tuple[str, ...]:
    names = dict.fromkeys(request.signature for request in asked)
    return tuple(
        "{}: answers may differ from request to request: {}".format(name, why_different(changes, name))
        for name in names
        if name in changes
    )


def prepare_requests(directory: Path, *, inputs: Optional[Path] = None, known: Sequence[Request] = ()) -> FileAnswers:
    """Find a request for every signature that can be asked, and ask the files."""
    try:
        gathered = gather_requests(directory, make_requests, inputs=inputs, known=known)
    except NotServable:
        ask_files(directory, ())  # which says it in the words of TF Serving's own loader
        raise
    answered = ask_files(directory, gathered.requests)
    return replace(answered, unasked=gathered.unasked + answered.unasked)


def wanted_answers(directory: Path, *, known: Sequence[Request] = ()) -> Wanted:
    """What a server should answer if it serves these files."""
    try:
        answered = prepare_requests(directory, known=known)
    except NotServable as error:  # by this TensorFlow: of another one the server may have loaded them
        return prepare_without_tensorflow(directory, "they do not load here: {}".format(error))
    return as_wanted(answered)


def as_wanted(answered: FileAnswers) -> Wanted:
    """What a server is to be asked, and should answer as the files did."""
    return Wanted(
        answered.requests,
        answered.answers,
        answered.unasked,
        answered.problems,
        without_batch=answered.without_batch,
    )


@contextlib.contextmanager
def _loaded(directory: Path, signature_defs: Mapping[str, Any]) -> Iterator[Tuple[Ask, str]]:
    """How the files are asked, and which loader read them; signatures with strings are asked in a new process."""
    library = cc_loader.find_library()
    if library is None:
        fresh_rounds(directory, [], rounds=1)  # loads it, whatever is asked later
        yield lambda request: _in_new_process(directory, request), "Python's loader in a new process"
        return
    strings = cc_loader.has_strings(signature_defs)
    with cc_loader.loaded(library, directory) as loaded:

        def ask(request: Request) -> List[Answers]:
            if request.signature in strings:
                return _in_new_process(directory, request)
            feeds, fetches = request.wires(signature_defs)
            return [dict(zip(fetches, loaded.run(list(fetches.values()), feeds))) for _ in range(2)]

        yield ask, "the C++ loader that TF Serving uses"


def _in_new_process(directory: Path, request: Request) -> List[Answers]:
    return [answers for (answers,) in fresh_rounds(directory, [request], rounds=2)]


def _not_numbers(asked: Sequence[Request], answers: Sequence[Answers]) -> List[str]:
    return [
        "{}: {}.{}: {} of {} values are NaN".format(
            request.name, request.signature, key, int(np.isnan(value).sum()), value.size
        )
        for request, answer in zip(asked, answers)
        for key, value in answer.items()
        if np.issubdtype(value.dtype, np.floating) and np.isnan(value).any()
    ]
