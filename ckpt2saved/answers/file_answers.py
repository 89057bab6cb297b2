"""What a version's own files answer, and whether they answer the same request alike each time."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.answers.comparison import compare, nan_problems
from ckpt2saved.answers.file_asker import FileAsker, open_files
from ckpt2saved.answers.wanted import Wanted, wanted_without_answers
from ckpt2saved.errors import InvalidRequest, NotServable, ServingError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.requests.batching import has_open_batch, keys_without_batch
from ckpt2saved.requests.gathering import gather_requests, served_signatures
from ckpt2saved.requests.made_up_by_graph import make_by_graph
from ckpt2saved.requests.request import Answers, Request, cant_be_asked
from ckpt2saved.requests.splitting import batch_of, outputs_seen_unsplit, unsplit_outputs, with_another_line, with_lines
from ckpt2saved.saved_model.judgement import TEXT_GRAPH_FILE
from ckpt2saved.saved_model.reading import GRAPH_FILE, SavedModelFile
from ckpt2saved.saved_model.state_changes import changing_signatures, why_different

_TEXT_UNASKED = (
    f"{TEXT_GRAPH_FILE}: loaded, but no signature was asked: signatures are read from a {GRAPH_FILE} alone; write the"
    " SavedModel in its binary form for that (as_text=False, the default)"
)
_FEWER_LINES = (2, 1)  # of a request whose batch the graph refuses


@dataclass(frozen=True)
class FileAnswers:
    """The requests that were answered, the answers, and why others were not."""

    requests: Tuple[Request, ...]
    answers: Tuple[Answers, ...]
    loader: str
    unasked: Tuple[str, ...]  # a line for each signature that refuses the request that was made up for it
    problems: Tuple[Problem, ...]
    notes: Tuple[str, ...] = ()
    without_batch: Mapping[str, FrozenSet[str]] = field(default_factory=dict)  # outputs of another first dimension
    # Position of a request whose answers are all as long as the batch by chance -> one more line, which shows that they
    # can't be split, and its answers.
    with_longer: Mapping[int, Tuple[Request, Answers]] = field(default_factory=dict)


def ask_files(directory: Path, requests: Sequence[Request], *, vary: bool = True) -> FileAnswers:
    """Load the SavedModel afresh and put every request to it twice; raises NotServable where it can't be loaded.

    With `vary` a request may be asked once more with another batch, and be replaced by that one in what is returned,
    where only so it shows which outputs batching can't split.
    """
    with open_files(directory) as files:
        asking = _Asking(files, directory, vary)
        for request in requests:
            asking.put(request)
        return asking.found(files.loader)


class _Asking:
    """Puts requests to the files; holds the answers and problems so far."""

    def __init__(self, files: FileAsker, directory: Path, vary: bool) -> None:
        self._files = files
        self._vary = vary
        saved_model = SavedModelFile(directory)
        self._signatures = served_signatures(saved_model)
        self._changes = _changes(saved_model)
        self._asked: List[Request] = []
        self._first: List[Answers] = []
        self._second: List[Answers] = []
        self._longer: Dict[int, Tuple[Request, Answers]] = {}  # by the number of what was asked
        self._unasked: List[str] = []
        self._problems: List[Problem] = []

    def put(self, request: Request) -> None:
        try:
            request, (first, second) = self._answers(request)
        except NotServable as error:
            if request.is_made_up and isinstance(error, InvalidRequest):
                reason = f"it refuses a made-up request: {error}"
                self._unasked.append(cant_be_asked(request.signature, reason))
            else:
                self._problems.append(Problem("refused-request", f"{request.name}: {request.signature}", str(error)))
            return
        if self._is_to_vary(request, first):
            more = replace(request, inputs=with_another_line(request.inputs))
            with contextlib.suppress(NotServable):
                self._longer[len(self._asked)] = more, self._files.answer(more)
        self._asked.append(request)
        self._first.append(first)
        self._second.append(second)

    def _ask(self, request: Request) -> List[Answers]:
        return [self._files.answer(request) for _ in range(2)]

    def _answers(self, request: Request) -> Tuple[Request, List[Answers]]:
        """The request and its answers; of a made-up request with fewer lines where the graph refuses more."""
        try:
            return request, self._ask(request)
        except InvalidRequest:
            if not request.is_made_up or not self._has_open_batch(request):
                raise
            for count in _FEWER_LINES:
                fewer = replace(request, inputs=with_lines(request.inputs, count))
                with contextlib.suppress(NotServable):
                    return fewer, self._ask(fewer)
            raise

    def _has_open_batch(self, request: Request) -> bool:
        """Whether more or fewer lines can be asked for; not of strings, nor where requests change state."""
        signature = self._signatures.get(request.signature)
        if signature is None or signature.name in self._files.with_strings or signature.name in self._changes:
            return False
        return batch_of(request.inputs) is not None and has_open_batch(signature)

    def _is_to_vary(self, request: Request, answers: Answers) -> bool:
        """Whether one line more tells more: of made-up requests, and where all is as long as the batch by chance."""
        if not self._vary or not self._has_open_batch(request):
            return False
        broken = keys_without_batch(self._signatures[request.signature])
        return request.is_made_up or bool(broken and not unsplit_outputs(request.inputs, answers))

    def found(self, loader: str) -> FileAnswers:
        longer = list(self._longer.values())
        without_batch = outputs_seen_unsplit(
            self._asked + [request for request, _ in longer], self._first + [answers for _, answers in longer]
        )
        problems = [*self._problems, *nan_problems(self._asked, self._first)]
        problems += [] if problems else self._differing()
        by_chance = [
            number
            for number, request in enumerate(self._asked)
            if without_batch.get(request.signature) and not unsplit_outputs(request.inputs, self._first[number])
        ]
        names = dict.fromkeys(request.signature for request in self._asked)
        notes = [
            f"{name}: answers may differ from request to request: {why_different(self._changes, name)}"
            for name in names
            if name in self._changes
        ]
        return FileAnswers(
            requests=tuple(self._asked),
            answers=tuple(self._first),
            loader=loader,
            unasked=tuple(self._unasked),
            problems=tuple(problems),
            notes=tuple(notes),
            without_batch=without_batch,
            with_longer={number: self._longer[number] for number in by_chance if number in self._longer},
        )

    def _differing(self) -> List[Problem]:
        """A problem for each answer that differs the second time, but for state that requests change."""
        lasting = [n for n, request in enumerate(self._asked) if request.signature not in self._changes]
        differing = compare(
            [self._asked[n] for n in lasting], [self._first[n] for n in lasting], [self._second[n] for n in lasting]
        ).problems
        return [problem.saying(" between two answers to one request (random ops?)") for problem in differing]


def _changes(saved_model: SavedModelFile) -> Mapping[str, str]:
    try:
        return changing_signatures(saved_model)
    except ServingError:  # the loader says it in its own words
        return {}


def prepare_requests(directory: Path, *, inputs: Optional[Path] = None, known: Sequence[Request] = ()) -> FileAnswers:
    """Find a request for every signature that can be asked, and ask the files.

    A version whose graph is a saved_model.pbtxt is loaded, but not asked; raises ServingError if there are `inputs`.
    """
    if inputs is None and not (directory / GRAPH_FILE).is_file() and (directory / TEXT_GRAPH_FILE).is_file():
        with open_files(directory, {}) as files:
            return FileAnswers(requests=(), answers=(), loader=files.loader, unasked=(_TEXT_UNASKED,), problems=())
    try:
        gathered = gather_requests(directory, make_by_graph, inputs=inputs, known=known)
    except NotServable:
        ask_files(directory, ())  # which says it in the words of TF Serving's own loader
        raise
    answered = ask_files(directory, gathered.requests)
    return replace(answered, unasked=gathered.unasked + answered.unasked)


def wanted_answers(directory: Path, *, known: Sequence[Request] = ()) -> Wanted:
    """The requests for a server that serves these files, and what it should answer."""
    try:
        answered = prepare_requests(directory, known=known)
    except NotServable as error:  # by this TensorFlow: of another one the server may have loaded them
        return wanted_without_answers(directory, f"they do not load here: {error}")
    return as_wanted(answered)


def as_wanted(answered: FileAnswers) -> Wanted:
    """The requests for a server, and the files' answers; none that passes by chance on a server that batches."""
    pairs = list(zip(answered.requests, answered.answers))
    for number, pair in answered.with_longer.items():
        pairs[number] = pair
    return Wanted(
        tuple(request for request, _ in pairs),
        tuple(answers for _, answers in pairs),
        answered.unasked,
        answered.problems,
        without_batch=answered.without_batch,
    )
