"""Compare the outputs of SavedModel files with those of the original graph with its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, FrozenSet, Mapping, Sequence, Tuple

from ckpt2saved.answers.comparison import Comparison, compare
from ckpt2saved.answers.file_asker import FileAsker, open_files
from ckpt2saved.answers.lines import compare_lines
from ckpt2saved.errors import NotServable, ParityError
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.requests.splitting import outputs_seen_unsplit, unsplit_outputs, with_another_line
from ckpt2saved.saved_model.reading import SavedModelFile
from ckpt2saved.saved_model.state_changes import changing_signatures, why_different

# Signature -> outputs of its warm-up requests that cannot be split; empty if a request with one more line fails.
Refused = Mapping[str, FrozenSet[str]]


@dataclass(frozen=True)
class Report:
    """The result of the parity check of SavedModel files."""

    answers: int
    comparison: Comparison
    loader: str
    without_batch: Mapping[str, FrozenSet[str]]  # signature -> outputs whose first dimension is not the batch
    refused: Refused  # warm-up requests that a server with --enable_batching would fail
    lines: Comparison = Comparison()  # of lines in a batch with the same lines alone


@dataclass(frozen=True)
class AlsoAnswered:
    """Requests that must succeed on the files; their outputs are not compared."""

    requests: Tuple[Request, ...] = ()
    warm_up: Tuple[Request, ...] = ()  # as read from the warm-up file of the version
    # Signatures whose warm-up requests must have outputs that a server with --enable_batching can split.
    split: Tuple[str, ...] = ()
    lines: Tuple[Request, ...] = ()  # made up, of lines that should get the same answers alone


def compare_files(
    directory: Path, asked: Sequence[Request], expected: Sequence[Answers], also: AlsoAnswered = AlsoAnswered()
) -> Report:
    """Load the SavedModel in `directory`, run every request twice, and compare the outputs with `expected`.

    The requests in `also` run in the same session; for the signatures in `also.split` also with one more line, and each
    line of `also.lines` alone.

    Raises ParityError with every output that differs, NotServable if the files cannot be loaded or a run fails.
    """
    with open_files(directory) as files:
        first = [_answer(files, request) for request in asked]
        second = [_answer(files, request) for request in asked]
        refused = _refused(also, files)
        lines = _compared_lines(also, files)
        loader = files.loader
    comparison = compare(asked, expected, first)
    if comparison.problems:
        raise ParityError(
            "the staged files answer differently from the original graph; nothing is published", comparison.problems
        )
    again = compare(asked, first, second).problems
    if again:
        changes = changing_signatures(SavedModelFile(directory))
        reasons = dict.fromkeys(why_different(changes, request.signature) for request in asked)
        raise ParityError(
            f"the staged files answer the same request differently each time ({'; '.join(reasons)}); nothing is"
            " published",
            again,
        )
    return Report(
        answers=2 * len(asked),
        comparison=comparison,
        loader=loader,
        without_batch=outputs_seen_unsplit(asked, expected),
        refused=refused,
        lines=lines,
    )


def answer_all(directory: Path, also: AlsoAnswered) -> Refused:
    """Load the SavedModel in `directory` and run these requests without comparing outputs.

    Raises NotServable if the files cannot be loaded or a run fails.
    """
    with open_files(directory) as files:
        return _refused(also, files)


def _answer(files: FileAsker, request: Request) -> Answers:
    try:
        return files.answer(request)
    except NotServable as error:
        raise NotServable(f"{request.where}: {error}") from error


def _compared_lines(also: AlsoAnswered, files: FileAsker) -> Comparison:
    """Each line alone and in its batch; nothing where the graph refuses the requests, which are made up."""
    try:
        return compare_lines(files, also.lines)
    except NotServable:
        return Comparison()


def _refused(also: AlsoAnswered, files: FileAsker) -> Refused:
    """Run the requests; returns those that a server with --enable_batching would fail."""
    for request in also.requests:
        _answer(files, request)
    refused: Dict[str, FrozenSet[str]] = {}
    longer = set()
    for request in also.warm_up:
        try:
            answers = _answer(files, request)
        except NotServable as error:
            text = f"{error}; with this request (--warmup) in it a server would not load the version"
            raise NotServable(text) from error
        if request.signature not in also.split:
            continue
        keys = unsplit_outputs(request.inputs, answers)
        if request.signature not in longer and not keys:
            longer.add(request.signature)
            more = replace(request, inputs=with_another_line(request.inputs))
            try:
                keys = unsplit_outputs(more.inputs, files.answer(more))
            except NotServable:
                refused.setdefault(request.signature, frozenset())
        if keys:
            refused[request.signature] = refused.get(request.signature, frozenset()) | keys
    return refused
