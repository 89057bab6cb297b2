"""Run requests on the files of a version, each one twice, and collect outputs and problems."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.answers.comparison import compare, nan_problems
from ckpt2saved.answers.file_asker import FileAsker, open_files
from ckpt2saved.answers.server_requests import ServerRequests, requests_without_answers
from ckpt2saved.errors import InvalidRequest, NotServable, ServingError
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.requests.batching import has_open_batch, keys_without_batch
from ckpt2saved.requests.gathering import gather_requests, served_signatures
from ckpt2saved.requests.made_up_by_graph import make_by_graph
from ckpt2saved.requests.request import Answers, Request, not_run
from ckpt2saved.requests.splitting import batch_of, outputs_seen_unsplit, unsplit_outputs, with_another_line, with_lines
from ckpt2saved.saved_model.reading import GRAPH_FILE, TEXT_GRAPH_FILE, SavedModelFile
from ckpt2saved.saved_model.state_changes import changing_signatures, why_different

_TEXT_UNASKED = Note(
    "not-run",
    TEXT_GRAPH_FILE,
    f"loaded, but no signature was run: signatures are read only from a {GRAPH_FILE}",
    "write the SavedModel in its binary form (as_text=False, the default)",
)
_FEWER_LINES = (2, 1)  # batch sizes to try if the graph refuses the batch of a made-up request


@dataclass(frozen=True)
class FileAnswers:
    """The requests that were run, their outputs, and the reasons why others were not run."""

    requests: Tuple[Request, ...]
    answers: Tuple[Answers, ...]
    loader: str
    unasked: Tuple[Note, ...]  # one for each signature that refuses its made-up request
    problems: Tuple[Problem, ...]
    notes: Tuple[Note, ...] = ()
    without_batch: Mapping[str, FrozenSet[str]] = field(default_factory=dict)  # outputs that cannot be split
    # Index of a request whose outputs have the batch size as first dimension only by chance -> a request with one more
    # line, whose outputs cannot be split, and these outputs.
    with_longer: Mapping[int, Tuple[Request, Answers]] = field(default_factory=dict)


def run_on_files(directory: Path, requests: Sequence[Request], *, vary: bool = True) -> FileAnswers:
    """Load the SavedModel and run every request twice; raises NotServable if it cannot be loaded.

    With `vary`, a request may be run once more with another batch size, to find outputs that batching cannot split.
    """
    with open_files(directory) as files:
        asking = _Asking(files, directory, vary)
        for request in requests:
            asking.put(request)
        return asking.found(files.loader)


class _Asking:
    """Runs requests on the files; collects outputs and problems."""

    def __init__(self, files: FileAsker, directory: Path, vary: bool) -> None:
        self._files = files
        self._vary = vary
        saved_model = SavedModelFile(directory)
        self._signatures = served_signatures(saved_model)
        self._changes = _changes(saved_model)
        self._asked: List[Request] = []
        self._first: List[Answers] = []
        self._second: List[Answers] = []
        self._longer: Dict[int, Tuple[Request, Answers]] = {}  # by index in _asked
        self._unasked: List[Note] = []
        self._problems: List[Problem] = []

    def put(self, request: Request) -> None:
        try:
            request, (first, second) = self._answers(request)
        except NotServable as error:
            if request.is_made_up and isinstance(error, InvalidRequest):
                reason = f"it refuses a made-up request: {error}"
                self._unasked.append(not_run(request.signature, reason))
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
        """The request and its outputs; a made-up request is retried with fewer lines if the graph refuses it."""
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
        """Whether the batch size can be changed; False for strings and for signatures that change state."""
        signature = self._signatures.get(request.signature)
        if signature is None or signature.name in self._files.with_strings or signature.name in self._changes:
            return False
        return batch_of(request.inputs) is not None and has_open_batch(signature)

    def _is_to_vary(self, request: Request, answers: Answers) -> bool:
        """Whether to run the request with one more line: if made up, or if its outputs fit the batch by chance."""
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
            Note(
                "state-change",
                name,
                f"answers may differ from request to request: {why_different(self._changes, name)}",
            )
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
        """One problem for each output that differs in the second run; signatures that change state are skipped."""
        lasting = [n for n, request in enumerate(self._asked) if request.signature not in self._changes]
        differing = compare(
            [self._asked[n] for n in lasting], [self._first[n] for n in lasting], [self._second[n] for n in lasting]
        ).problems
        return [problem.with_suffix(" between two answers to one request (random ops?)") for problem in differing]


def _changes(saved_model: SavedModelFile) -> Mapping[str, str]:
    try:
        return changing_signatures(saved_model)
    except ServingError:  # loading the SavedModel reports this error with more detail
        return {}


def prepare_requests(directory: Path, *, inputs: Optional[Path] = None, known: Sequence[Request] = ()) -> FileAnswers:
    """Find requests for every signature and run them on the files of a version.

    A version with a saved_model.pbtxt is loaded, but no signature is run; raises ServingError if `inputs` is given.
    """
    if inputs is None and not (directory / GRAPH_FILE).is_file() and (directory / TEXT_GRAPH_FILE).is_file():
        with open_files(directory, {}) as files:
            return FileAnswers(requests=(), answers=(), loader=files.loader, unasked=(_TEXT_UNASKED,), problems=())
    try:
        gathered = gather_requests(directory, make_by_graph, inputs=inputs, known=known)
    except NotServable:
        run_on_files(directory, ())  # raises NotServable with the message of the loader of TF Serving
        raise
    answered = run_on_files(directory, gathered.requests)
    return replace(answered, unasked=gathered.unasked + answered.unasked)


def requests_with_answers(directory: Path, *, known: Sequence[Request] = ()) -> ServerRequests:
    """The requests to send to a server that serves these files, and the expected outputs."""
    try:
        answered = prepare_requests(directory, known=known)
    except NotServable as error:  # the TensorFlow of the server may be able to load them
        return requests_without_answers(directory, f"they do not load here: {error}")
    return as_server_requests(answered)


def as_server_requests(answered: FileAnswers) -> ServerRequests:
    """The requests to send to a server, and the outputs of the files as expected outputs.

    A request with a longer variant in `with_longer` is replaced by it, as it would pass by chance on a server that
    batches.
    """
    pairs = list(zip(answered.requests, answered.answers))
    for number, pair in answered.with_longer.items():
        pairs[number] = pair
    return ServerRequests(
        tuple(request for request, _ in pairs),
        tuple(answers for _, answers in pairs),
        answered.unasked,
        answered.problems,
        without_batch=answered.without_batch,
    )
