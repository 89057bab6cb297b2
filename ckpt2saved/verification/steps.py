"""The steps of `verify`: check the files, run them, compare with checkpoint and server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from ckpt2saved.answers.file_answers import FileAnswers, as_server_requests, prepare_requests
from ckpt2saved.answers.onednn import WithOnednn, compare_with_onednn
from ckpt2saved.answers.server_answers import ServerReport
from ckpt2saved.answers.server_answers import as_content as server_content
from ckpt2saved.answers.server_asker import Target
from ckpt2saved.compatibility.fit import ops_for_its_gpu
from ckpt2saved.console.say import Say, begin, silent
from ckpt2saved.errors import NotServable, VerificationError, VersionError
from ckpt2saved.errors.problem import Note, Problem, Unread, details, listed, texts
from ckpt2saved.graph.kernel_table import Device
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.verification.comparison import Compared, compare_with, run_on_checkpoint
from ckpt2saved.verification.live import UNASKED_WARNING, check_live
from ckpt2saved.verification.plan import ComparisonPlan
from ckpt2saved.verification.servability import Findings, batching_notes, check_version
from ckpt2saved.versions.object_stores.url import VersionPlace


@dataclass(frozen=True)
class Verification:
    """The results of all steps; None for steps that did not run."""

    path: VersionPlace
    findings: Findings
    answered: Optional[FileAnswers]  # None if the files are incomplete
    compared: Optional[Compared] = None
    onednn: Optional[WithOnednn] = None
    server: Optional[ServerReport] = None
    load_problems: Tuple[Problem, ...] = ()
    batching: Tuple[Note, ...] = ()  # signatures that cannot be used with --enable_batching
    unloaded: Tuple[Note, ...] = ()  # why the files were not loaded on this machine, where a server can

    @property
    def notes(self) -> Tuple[Note, ...]:
        """All notes."""
        of_files = self.answered.unasked + self.answered.notes if self.answered else ()
        of_comparisons = (self.compared.notes if self.compared else ()) + (self.onednn.notes if self.onednn else ())
        return self.findings.notes + self.batching + self.unloaded + of_files + of_comparisons

    @property
    def warnings(self) -> Tuple[str, ...]:
        """Warnings about checks that could not run."""
        is_asked = self.answered is None or self.answered.answers
        if self.problems or (is_asked and not self.unloaded):
            return ()
        return (UNASKED_WARNING.format("the version answers requests"),)

    @property
    def problems(self) -> Tuple[Problem, ...]:
        """All problems, without duplicates."""
        found = self.findings.problems + self.load_problems
        for part in (self.answered, self.compared, self.server):
            found += part.problems if part else ()
        return tuple(dict.fromkeys(found))

    def raise_if_wrong(self) -> None:
        """Raise VerificationError with all problems, if there are any; VersionError if files could not be read."""
        if any(isinstance(problem, Unread) for problem in self.problems):
            raise VersionError(f"{self.path}: it could not be checked, as files of it can't be read", self.problems)
        if self.problems:
            raise VerificationError(f"{self.path}: {len(self.problems)} problem(s)", self.problems)


class Servers(NamedTuple):
    """The servers for which a version is verified."""

    device: Optional[Device] = None  # None: the one that the version records, or the CPU
    with_onednn: bool = False  # also with oneDNN on, as in images since 2.9


_ANY_SERVER = Servers()


def verify_version(
    directory: Path,
    *,
    plan: Optional[ComparisonPlan] = None,
    inputs: Optional[Path] = None,
    target: Optional[Target] = None,
    servers: Servers = _ANY_SERVER,
    say: Say = silent,
) -> Verification:
    """Check the files of a version, run them, and compare with the checkpoint of `plan` and the server of `target`.

    For `servers` with oneDNN the requests are also run with it on, in a process of its own. The files are run on the
    CPU; where that has no kernel for a version for GPUs, they are not run.

    Problems of the version are returned; raises UsageError, CheckpointError or ServerError if a check could not run.
    """
    begin(say, "checking the files")
    found = Verification(directory, check_version(directory, servers.device), None)
    _say_findings(say, found.findings)
    if not found.findings.is_complete:
        return found  # nothing can be loaded
    if plan:
        begin(say, f"running the {plan.graph.source.noun}")
    reference = run_on_checkpoint(plan, directory, say) if plan else None
    begin(say, "loading the files, and running every signature")
    try:
        answered = prepare_requests(directory, inputs=inputs, known=reference.requests if reference else ())
    except NotServable as error:
        for_gpu = ops_for_its_gpu(directory, tf.version.VERSION, servers.device)
        if for_gpu and not found.findings.problems:
            text = f"not run: the CPU, which verify uses, has no kernel for {listed(for_gpu)}; a server with a GPU has"
            found = replace(found, unloaded=(Note("not-run", "", text),), batching=batching_notes(directory))
            _say_all(say, ("note", texts(found.batching + found.unloaded)), ("warning", found.warnings))
            return found
        found = replace(
            found, load_problems=(Problem("not-loadable", "", str(error)),), batching=batching_notes(directory)
        )
        _say_all(say, ("note", texts(found.batching)), ("problem", texts(found.load_problems)))
        return found
    found = replace(found, answered=answered, batching=batching_notes(directory, answered.without_batch))
    _say_all(say, ("note", texts(found.batching)))
    _say_answers(say, answered)
    if reference:
        begin(say, f"comparing with the {reference.noun}")
        compared = compare_with(reference, directory)
        found = replace(found, compared=compared)
        _say_compared(say, compared)
    if servers.with_onednn and answered.answers:
        begin(say, "running every signature with oneDNN on")
        # Signatures that change state answer differently in any case.
        with_it = compare_with_onednn(directory, *_lasting(answered))
        found = replace(found, onednn=with_it)
        say_onednn(say, with_it)
    if target:
        # The notes and problems of the files were already printed.
        to_send = replace(as_server_requests(answered), unasked=(), problems=())
        found = replace(found, server=check_live(target, lambda: to_send, say=say))
    _say_all(say, ("warning", found.warnings))
    return found


def as_content(found: Verification) -> Dict[str, Any]:
    """The content of --json."""
    answered, compared = found.answered, found.compared
    return {
        "path": str(found.path),
        "problems": texts(found.problems),
        "problem_details": details(found.problems),
        "notes": texts(found.notes),
        "note_details": details(found.notes),
        "warnings": list(found.warnings),
        "answers": len(answered.answers) if answered else 0,
        "loader": answered.loader if answered else None,
        "checkpoint": {
            "path": str(compared.checkpoint),
            "answers": compared.answers,
            "max_abs_difference": compared.comparison.by_signature(),
            "beam_search": [searched.describe() for searched in compared.beam_search],
        }
        if compared
        else None,
        "onednn": found.onednn.as_content() if found.onednn else None,
        "server": server_content(found.server) if found.server else None,
    }


def _say_all(say: Say, *steps: Tuple[str, Sequence[str]]) -> None:
    for step, lines in steps:
        for line in lines:
            say(step, line)


def _say_findings(say: Say, findings: Findings) -> None:
    if not findings.problems:
        say("files", "complete, no problems found")
    _say_all(say, ("problem", texts(findings.problems)), ("note", texts(findings.notes)))


def _say_answers(say: Say, answered: FileAnswers) -> None:
    _say_all(say, ("note", texts(answered.unasked + answered.notes)), ("problem", texts(answered.problems)))
    if answered.answers and not answered.problems:
        count = len(answered.answers)
        text = "1 request, run twice" if count == 1 else f"{count} requests, each run twice"
        say("answers", f"{text}; loaded by {answered.loader}")
    elif not answered.answers:
        say("answers", f"none: no signature could be run; loaded by {answered.loader}")


def _lasting(answered: FileAnswers) -> Tuple[Tuple[Request, ...], Tuple[Answers, ...]]:
    """The requests whose answers are the same each time, and these answers."""
    changing = {note.where for note in answered.notes if note.code == "state-change"}
    pairs = [pair for pair in zip(answered.requests, answered.answers) if pair[0].signature not in changing]
    return tuple(request for request, _ in pairs), tuple(answers for _, answers in pairs)


def say_onednn(say: Say, found: WithOnednn) -> None:
    """Say how answers with oneDNN differ."""
    say("oneDNN", found.text)
    _say_all(say, ("note", texts(found.notes)))


def _say_compared(say: Say, compared: Compared) -> None:
    _say_all(say, ("note", texts(compared.notes)), ("problem", texts(compared.problems)))
    if not compared.problems:
        largest = compared.comparison.max_abs
        answers = "1 answer matches" if compared.answers == 1 else f"{compared.answers} answers match"
        say("parity", f"{answers} the {compared.noun}, largest difference {largest:.2g}")
