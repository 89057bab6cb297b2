"""Whether a SavedModel's files answer as the untouched graph with its checkpoint does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Collection, Dict, FrozenSet, List, Mapping, Sequence, Tuple

import numpy as np

from ckpt2saved.answers import cc_loader
from ckpt2saved.answers.fresh_process import fresh_rounds
from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import NotServable, ParityError, SignatureError
from ckpt2saved.requests.differences import Difference, Tolerance, find_differences
from ckpt2saved.requests.questions import WARMUP_PART, Answers, Question
from ckpt2saved.requests.splitting import outputs_seen_unsplit, unsplit_outputs, with_another_line
from ckpt2saved.saved_model.state_changes import changing_signatures, why_different
from ckpt2saved.saved_model.writing import read_signature_defs
from ckpt2saved.tf1 import tf

# Signature -> outputs of its warm-up requests that can't be split; none of them where a line more is not answered.
Refused = Mapping[str, FrozenSet[str]]

# Two sessions of one TensorFlow differ by the order of their sums: about 1e-6 of a tensor's largest value.
TOLERANCE = Tolerance(1e-4, 1.0)


@dataclass(frozen=True)
class Report:
    """How the files answered: what differed by how much, and which loader read them."""

    questions: int
    differences: Tuple[Difference, ...]
    loader: str
    without_batch: Mapping[str, FrozenSet[str]]  # signature -> outputs that had another first dimension than the batch
    refused: Refused  # the warm-up requests that a server with --enable_batching would not answer

    @property
    def max_abs(self) -> float:
        return max((difference.max_abs for difference in self.differences), default=0.0)


def reference_answers(
    graph: tf.Graph,
    fill: Callable[[tf.Session], None],
    checkpoint: str,
    signature_defs: Mapping[str, Any],
    asked: Sequence[Question],
) -> List[Answers]:
    """What the untouched graph answers when `fill` has restored it; raises NotServable where that is no number."""
    with tf.Session(graph=graph) as session:
        fill(session)
        answers = [graph_answers(session, question, signature_defs) for question in asked]
    refuse_nan(checkpoint, asked, answers)
    return answers


def graph_answers(
    session: tf.Session,
    question: Question,
    signature_defs: Mapping[str, Any],
    given: Mapping[str, np.ndarray] = {},
) -> Answers:
    """What the graph of a filled session answers; `given` are tensors that it need not compute."""
    feeds, fetches = question.wires(signature_defs)
    try:
        values = session.run(list(fetches.values()), {**feeds, **given})
    except tf.errors.OpError as error:
        raise SignatureError(
            f"parity[{question.case}]: the graph itself can't answer signature {question.signature} on these inputs:"
            f" {reason_of(error)}"
        ) from error
    return dict(zip(fetches, map(np.asarray, values)))


def refuse_nan(checkpoint: str, asked: Sequence[Question], answers: Sequence[Answers]) -> None:
    """Raise NotServable where an answer is no number."""
    problems = [
        f"parity[{question.case}]: {question.signature}.{key}: {int(np.isnan(value).sum())} of {value.size} values"
        " are NaN"
        for question, answer in zip(asked, answers)
        for key, value in answer.items()
        if np.issubdtype(value.dtype, np.floating) and np.isnan(value).any()
    ]
    if problems:
        raise NotServable(
            f"{checkpoint}: the checkpoint answers NaN (a training that diverged?); take an earlier one",
            problems,
        )


def compare_files(
    directory: Path,
    asked: Sequence[Question],
    expected: Sequence[Answers],
    warmup: Sequence[Question] = (),
    split: Collection[str] = (),
) -> Report:
    """Load the SavedModel in `directory` afresh, ask every question twice, and compare with `expected`.

    The requests in `warmup` need an answer, whatever it is, in the same session; warm-up requests of the signatures in
    `split` one that a server with --enable_batching can split, alone and with a line more.

    The loader is the one that TF Serving uses; where this build of TensorFlow does not export it, or a signature
    carries strings, it is Python's in a new process, and the report says so. Raises ParityError with every output
    that differs, NotServable where the files can't be loaded or can't answer.
    """
    first, second, loader, refused = _two_rounds(directory, asked, warmup, split)
    differences, problems = find_differences(asked, expected, first, TOLERANCE)
    again = [] if problems else find_differences(asked, first, second, TOLERANCE)[1]
    if problems:
        raise ParityError("the staged files answer differently from the checkpoint; nothing is published", problems)
    if again:
        changes = changing_signatures(directory)
        reasons = dict.fromkeys(why_different(changes, question.signature) for question in asked)
        raise ParityError(
            f"the staged files answer the same request differently each time ({'; '.join(reasons)}); nothing is"
            " published",
            again,
        )
    seen = outputs_seen_unsplit(asked, expected)
    return Report(2 * len(asked), tuple(differences), loader, seen, refused)


def answer_all(directory: Path, warmup: Sequence[Question], split: Collection[str] = ()) -> Refused:
    """Load the SavedModel in `directory` afresh and put these requests to it, where nothing is to be compared.

    Raises NotServable where the files can't be loaded or can't answer.
    """
    return _two_rounds(directory, (), warmup, split)[3]


def _two_rounds(
    directory: Path, asked: Sequence[Question], warmup: Sequence[Question], split: Collection[str]
) -> Tuple[List[Answers], List[Answers], str, Refused]:
    """Both rounds of answers to what is `asked`, what gave them, and which requests in `warmup` batching refuses."""
    signature_defs = read_signature_defs(directory)
    library = cc_loader.find_library()
    strings = cc_loader.has_strings(signature_defs)
    if library is None or strings:
        why = "signatures carry strings" if strings else "this TensorFlow does not export the C++ one"
        count = len(asked)
        first, second = fresh_rounds(directory, tuple(asked) + tuple(warmup), rounds=2)
        known = {id(question): answers for question, answers in zip(warmup, first[count:])}

        def answer(question: Question) -> Answers:
            return known.get(id(question)) or fresh_rounds(directory, [question], rounds=1)[0][0]

        refused = _refused(warmup, split, answer)
        return first[:count], second[:count], f"Python's loader in a new process ({why})", refused
    with cc_loader.loaded(library, directory) as loaded:
        first, second = [[_ask(loaded, question, signature_defs) for question in asked] for _ in range(2)]
        refused = _refused(warmup, split, lambda question: _ask(loaded, question, signature_defs))
    return first, second, "the C++ loader that TF Serving uses", refused


def _refused(warmup: Sequence[Question], split: Collection[str], answer: Callable[[Question], Answers]) -> Refused:
    """Put the requests to the files as a server does that batches, and as one that does not."""
    refused: Dict[str, FrozenSet[str]] = {}
    longer = set()
    for question in warmup:
        answers = answer(question)
        if question.part != WARMUP_PART or question.signature not in split:
            continue
        keys = unsplit_outputs(question.inputs, answers)
        if question.signature not in longer and not keys:
            longer.add(question.signature)
            more = replace(question, inputs=with_another_line(question.inputs))
            try:
                keys = unsplit_outputs(more.inputs, answer(more))
            except NotServable:
                refused.setdefault(question.signature, frozenset())
        if keys:
            refused[question.signature] = refused.get(question.signature, frozenset()) | keys
    return refused


def _ask(loaded: cc_loader.LoadedModel, question: Question, signature_defs: Mapping[str, Any]) -> Answers:
    feeds, fetches = question.wires(signature_defs)
    try:
        return dict(zip(fetches, loaded.run(list(fetches.values()), feeds)))
    except NotServable as error:
        more = "; with this request (--warmup) in it a server would not load the version"
        raise NotServable(f"{question.where}: {error}{more if question.part == WARMUP_PART else ''}") from error
