"""What a version's own files answer, through the loader that TF Serving uses, and whether it is the same each time."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved import cc_loader
from ckpt2saved.differences import Answers, find_differences
from ckpt2saved.errors import InvalidRequest, NotServable
from ckpt2saved.fresh_process import fresh_rounds
from ckpt2saved.made_requests import make_requests
from ckpt2saved.parity import TOLERANCE
from ckpt2saved.requests import Request, cant_be_asked, gather_requests
from ckpt2saved.running.live import Wanted, prepare_without_tensorflow
from ckpt2saved.savedmodel import read_signature_defs

Ask = Callable[[Request], List[Answers]]  # the answers of two rounds


@dataclass(frozen=True)
class FileAnswers:
    """The requests that were answered, with the answers, and what came of the others."""

    requests: Tuple[Request, ...]
    answers: Tuple[Answers, ...]
    loader: str
    unasked: Tuple[str, ...]  # a line for each signature that refuses the request that was made up for it
    problems: Tuple[str, ...]


def ask_files(directory: Path, requests: Sequence[Request]) -> FileAnswers:
    """Load the SavedModel afresh and put every request to it twice; raises NotServable where it can't be loaded."""
    signature_defs = read_signature_defs(directory)
    asked, first, second = [], [], []  # type: List[Request], List[Answers], List[Answers]
    unasked, problems = [], []  # type: List[str], List[str]
    with _loaded(directory, signature_defs) as (ask, loader):
        for request in requests:
            try:
                one, other = ask(request)
            except InvalidRequest as error:
                if request.is_made_up:
                    unasked.append(cant_be_asked(request.signature, "it refuses a made-up request: {}".format(error)))
                else:
                    problems.append("{}: {}: {}".format(request.name, request.signature, error))
            except NotServable as error:
                problems.append("{}: {}: {}".format(request.name, request.signature, error))
            else:
                asked.append(request)
                first.append(one)
                second.append(other)
    problems += _not_numbers(asked, first)
    if not problems:
        differing = find_differences(asked, first, second, TOLERANCE)[1]
        problems += ["{} between two answers to one request (random ops?)".format(line) for line in differing]
    return FileAnswers(tuple(asked), tuple(first), loader, tuple(unasked), tuple(problems))


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
    return Wanted(answered.requests, answered.answers, answered.unasked, answered.problems)


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
