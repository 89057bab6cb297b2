"""Whether a SavedModel's files answer as the untouched graph with its checkpoint does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Sequence, Tuple

import numpy as np

from ckpt2saved import cc_loader
from ckpt2saved.differences import Difference, Tolerance, find_differences
from ckpt2saved.errors import NotServable, ParityError, SignatureError
from ckpt2saved.fresh_process import fresh_rounds
from ckpt2saved.questions import Answers, Question
from ckpt2saved.reasons import reason_of
from ckpt2saved.savedmodel import read_signature_defs
from ckpt2saved.tf1 import tf

# Two sessions of one TensorFlow differ by the order of their sums: about 1e-6 of a tensor's largest value.
TOLERANCE = Tolerance(1e-4, 1.0)


@dataclass(frozen=True)
class Report:
    """How the files answered: what differed by how much, and which loader read them."""

    questions: int
    differences: Tuple[Difference, ...]
    loader: str
    without_batch: Mapping[str, FrozenSet[str]]  # signature -> outputs that had another first dimension than the batch

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
    answers = []
    with tf.Session(graph=graph) as session:
        fill(session)
        for question in asked:
            feeds, fetches = question.wires(signature_defs)
            try:
                values = session.run(list(fetches.values()), feeds)
            except tf.errors.OpError as error:
                raise SignatureError(
                    "parity[{}]: the graph itself can't answer signature {} on these inputs: {}".format(
                        question.case, question.signature, reason_of(error)
                    )
                ) from error
            answers.append(dict(zip(fetches, map(np.asarray, values))))
    _refuse_nan(checkpoint, asked, answers)
    return answers


def _refuse_nan(checkpoint: str, asked: Sequence[Question], answers: Sequence[Answers]) -> None:
    problems = [
        "parity[{}]: {}.{}: {} of {} values are NaN".format(
            question.case, question.signature, key, int(np.isnan(value).sum()), value.size
        )
        for question, answer in zip(asked, answers)
        for key, value in answer.items()
        if np.issubdtype(value.dtype, np.floating) and np.isnan(value).any()
    ]
    if problems:
        raise NotServable(
            "{}: the checkpoint answers NaN (a training that diverged?); take an earlier one".format(checkpoint),
            problems,
        )


def compare_files(
    directory: Path, asked: Sequence[Question], expected: Sequence[Answers], warmup: Sequence[Question] = ()
) -> Report:
    """Load the SavedModel in `directory` afresh, ask every question twice, and compare with `expected`.

    The requests in `warmup` need to be answered only, in the same session.

    The loader is the one that TF Serving uses; where this build of TensorFlow does not export it, or a signature
    carries strings, it is Python's in a new process, and the report says so. Raises ParityError with every output
    that differs, NotServable where the files can't be loaded or can't answer.
    """
    first, second, loader = _two_rounds(directory, asked, warmup)
    differences, problems = find_differences(asked, expected, first, TOLERANCE)
    again = [] if problems else find_differences(asked, first, second, TOLERANCE)[1]
    if problems:
        raise ParityError("the staged files answer differently from the checkpoint; nothing is published", problems)
    if again:
        raise ParityError(
            "the staged files answer the same request differently each time (random ops left in the graph?); "
            "nothing is published",
            again,
        )
    return Report(2 * len(asked), tuple(differences), loader, _without_batch(asked, expected))


def _without_batch(asked: Sequence[Question], answers: Sequence[Answers]) -> Dict[str, FrozenSet[str]]:
    found = {}  # type: Dict[str, FrozenSet[str]]
    for question, answer in zip(asked, answers):
        batches = {value.shape[:1] for value in question.inputs.values() if value.shape}
        if len(batches) == 1:
            keys = frozenset(key for key, value in answer.items() if value.shape[:1] not in batches)
            found[question.signature] = found.get(question.signature, frozenset()) | keys
    return found


def answer_all(directory: Path, warmup: Sequence[Question]) -> None:
    """Load the SavedModel in `directory` afresh and put these requests to it, where nothing is to be compared.

    Raises NotServable where the files can't be loaded or can't answer.
    """
    _two_rounds(directory, (), warmup)


def _two_rounds(
    directory: Path, asked: Sequence[Question], warmup: Sequence[Question]
) -> Tuple[List[Answers], List[Answers], str]:
    """Both rounds of answers to what is `asked`, and what gave them."""
    signature_defs = read_signature_defs(directory)
    library = cc_loader.find_library()
    strings = cc_loader.has_strings(signature_defs)
    if library is None or strings:
        why = "signatures carry strings" if strings else "this TensorFlow does not export the C++ one"
        count = len(asked)
        first, second = fresh_rounds(directory, tuple(asked) + tuple(warmup), rounds=2)
        return first[:count], second[:count], "Python's loader in a new process ({})".format(why)
    with cc_loader.loaded(library, directory) as loaded:
        first, second = [[_ask(loaded, question, signature_defs) for question in asked] for _ in range(2)]
        for question in warmup:
            _ask(loaded, question, signature_defs)
    return first, second, "the C++ loader that TF Serving uses"


def _ask(loaded: cc_loader.LoadedModel, question: Question, signature_defs: Mapping[str, Any]) -> Answers:
    feeds, fetches = question.wires(signature_defs)
    try:
        return dict(zip(fetches, loaded.run(list(fetches.values()), feeds)))
    except NotServable as error:
        more = "; with this request (--warmup) in it a server would not load the version"
        raise NotServable(
            "{}: {}{}".format(question.where, error, more if question.part == "warm-up" else "")
        ) from error
