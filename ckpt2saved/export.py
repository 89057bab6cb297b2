"""From a checkpoint to a published version: the steps of `export`, in order."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from ckpt2saved import __version__
from ckpt2saved.arguments import ARGUMENTS
from ckpt2saved.checkpoint import Checkpoint, check_whole, open_checkpoint
from ckpt2saved.checkpoint_files import CheckpointFiles
from ckpt2saved.compatibility.demands import read_demands
from ckpt2saved.compatibility.fit import check_fit
from ckpt2saved.decoders import BEAM_SEARCH, Rewritten, graft, replace_decoders
from ckpt2saved.disagreement import count_disagreements
from ckpt2saved.errors import NotServable, ParityError, SignatureError
from ckpt2saved.lengths import with_lengths
from ckpt2saved.lint import check_servable
from ckpt2saved.parity import Report, answer_all, compare_files, reference_answers
from ckpt2saved.plan import Plan
from ckpt2saved.preparation import Network, prepare_network, unused_text
from ckpt2saved.questions import Answers, Question, questions
from ckpt2saved.savedmodel import ServingGraph, write_saved_model
from ckpt2saved.servability import check_content
from ckpt2saved.tf1 import tf
from ckpt2saved.versions import Stage, staged, write_provenance
from ckpt2saved.warmup.making import Warmup, make_warmup
from ckpt2saved.warmup.staged import staged_requests, write_warmup

Say = Callable[[str, str], None]


@dataclass(frozen=True)
class Exported:
    """A version that was published, or in a dry run would have been."""

    path: Path
    dry_run: bool
    provenance: Mapping[str, Any]  # what assets.extra/ckpt2saved.json says
    asked: Tuple[Question, ...] = ()  # the requests on which it was compared


def export_checkpoint(plan: Plan, say: Say = lambda step, text: None) -> Exported:
    """Publish a checkpoint as a version that answers as the checkpoint does, whole or not at all.

    `say` is called with the name of each step and what came of it. Raises CheckpointError, SignatureError, UsageError,
    NotServable, ParityError, NotCompatible or VersionError, and then leaves nothing behind.
    """
    checkpoint = open_checkpoint(plan.checkpoint)
    check_whole(checkpoint)
    say("checkpoint", _described(checkpoint))
    network = prepare_network(plan, checkpoint)
    _refuse_unused(plan, network.unused)
    for edit in network.edits:
        say("edited", edit.text)
    for remark in network.remarks:
        say("note", remark)
    say(
        "weights",
        "{} ({})".format({"ema": "moving averages", "raw": "raw"}[network.weights.kind], network.weights.remark),
    )
    if network.devices:
        say("devices", "{}; cleared".format(network.devices))
    say("graph", "{} nodes, {} variables".format(len(network.serving.graph_def.node), len(network.weights.keys)))
    check_servable(network.serving.graph_def)
    kind = plan.ctc_decoder or "fast"
    rewritten = with_decoder(kind, network.serving)
    say("decoder", _decoder_text(kind, rewritten))
    network, warmup = _with_requests(plan, checkpoint, network)
    with _stage(plan) as stage:
        try:
            report, asked = _write(stage.path, plan, checkpoint, network, rewritten, warmup, say)
        except ParityError as error:
            if not rewritten.replaced or plan.ctc_decoder is not None:
                raise
            # docs/ctc-decoder.md: the fast decoder may choose otherwise among texts that float32 can't tell apart.
            say("decoder", "stock after all: fast reads some of the lines to compare on differently")
            for problem in error.problems:
                say("differs", problem)
            _empty(stage.path)
            rewritten = with_decoder("stock", network.serving)
            report, asked = _write(stage.path, plan, checkpoint, network, rewritten, warmup, say)
        size = _size(stage.path)
        say("written", "{} of the checkpoint's {}".format(_megabytes(size), _megabytes(checkpoint.files.size)))
        _lint(stage.path, report, say)
        for remark in warmup.remarks:
            say("note", remark)
        if plan.for_serving:
            check_fit(read_demands(stage.path), plan.for_serving)
            say("fits", "TF Serving {} has all of its ops and attributes".format(plan.for_serving.version))
        provenance = _provenance(plan, checkpoint, network, rewritten, report, warmup, size)
        write_provenance(stage.path, provenance)
        return Exported(stage.publish(), plan.dry_run, provenance, asked)


def _refuse_unused(plan: Plan, unused: Sequence[str]) -> None:
    """Raise NotServable for inputs of the command line that nothing uses.

    Who means it, for clients that send them all the same, can write a signature file.
    """
    keys = {spec.tensor: spec.key for signature in plan.model.signatures for spec in signature.inputs}
    if unused and plan.model.source == ARGUMENTS:
        raise NotServable(
            "{}: inputs that nothing uses: leave them away; a signature file (--model) can keep one for clients that "
            "send it".format(ARGUMENTS),
            ["--input {}={}".format(keys[tensor], unused_text(tensor)) for tensor in unused],
        )


def _lint(stage: Path, report: Optional[Report], say: Say) -> None:
    """What the staged files as a whole show, beyond what was refused before they were written."""
    findings = check_content(stage, report.without_batch if report else {})
    for note in findings.notes:
        say("note", note)
    if findings.problems:
        raise NotServable("the staged files are nothing to serve; nothing is published", findings.problems)


def with_decoder(kind: str, serving: ServingGraph) -> Rewritten:
    """The graph with its CTC beam searches replaced, where `kind` is not stock."""
    return Rewritten(serving, (), 0) if kind == "stock" else replace_decoders(serving, kind)


def _decoder_text(kind: str, rewritten: Rewritten) -> str:
    replaced = ["{} (beam_width {})".format(decoder.name, decoder.beam_width) for decoder in rewritten.replaced]
    parts = []
    if replaced:
        parts.append("{} in place of {}".format(kind, ", ".join(replaced)))
    elif any(node.op == BEAM_SEARCH for node in rewritten.serving.graph_def.node):
        parts.append("stock, as asked")
    if rewritten.in_functions:
        parts.append("{} inside functions stay as they are".format(rewritten.in_functions))
    return "; ".join(parts) or "the graph has no CTC beam search"


def _with_requests(plan: Plan, checkpoint: Checkpoint, network: Network) -> Tuple[Network, Warmup]:
    """The network with the requests to compare on, and those to warm a server up with, as far as they are wanted."""
    if not plan.parity and plan.warmup is None:
        return network, Warmup()
    fill = functools.partial(network.fill, checkpoint)
    try:
        model = with_lengths(network.model, network.graph, network.serving.signature_defs, fill)
        network = replace(network, model=model)
        return network, Warmup() if plan.warmup is None else make_warmup(plan.warmup, network, fill)
    except SignatureError as error:
        if plan.parity or plan.warmup.asked:
            raise
        return network, Warmup(absence="none: {}".format(error))


def _write(
    stage: Path,
    plan: Plan,
    checkpoint: Checkpoint,
    network: Network,
    rewritten: Rewritten,
    warmup: Warmup,
    say: Say,
) -> Tuple[Optional[Report], Tuple[Question, ...]]:
    """Write the SavedModel into `stage`, then read the files back and compare, unless that is not wanted."""
    if not plan.parity:
        write_saved_model(stage, rewritten.serving, checkpoint, network.weights)
        say("parity", "not checked, as asked")
        requests = _staged_warmup(stage, network, warmup)
        if requests:
            answer_all(stage, requests)
        say("warm-up", _warmup_text(warmup))
        return None, ()
    asked, expected = checkpoint_answers(plan, checkpoint, network, rewritten, say)
    write_saved_model(stage, rewritten.serving, checkpoint, network.weights)
    report = compare_files(stage, asked, expected, _staged_warmup(stage, network, warmup))
    say(
        "parity",
        "{} answers as the checkpoint's, largest difference {:.2g}; read by {}".format(
            report.questions, report.max_abs, report.loader
        ),
    )
    say("warm-up", _warmup_text(warmup))
    return report, tuple(asked)


def checkpoint_answers(
    plan: Plan, checkpoint: Checkpoint, network: Network, rewritten: Rewritten, say: Say
) -> Tuple[List[Question], List[Answers]]:
    """The requests to compare on, and what the untouched graph with the checkpoint answers."""
    fill = functools.partial(network.fill, checkpoint)
    asked = questions(with_lengths(network.model, network.graph, network.serving.signature_defs, fill))
    ask = functools.partial(reference_answers, network.graph, fill, str(checkpoint.files.prefix))
    if plan.ctc_decoder != "greedy" or not rewritten.replaced:
        return asked, ask(network.serving.signature_defs, asked)
    # It answers differently from the checkpoint's own decoder: the files are held to what it answers there.
    expected = ask(graft(network.graph, rewritten), asked)
    lines, differing = count_disagreements(ask, network.serving, rewritten, asked)
    say("greedy", "reads {} of {} lines differently from the beam search".format(differing, lines))
    return asked, expected


def _staged_warmup(stage: Path, network: Network, warmup: Warmup) -> Sequence[Question]:
    """Write the requests beside the SavedModel, and what the file says that they are."""
    if not warmup.requests:
        return ()
    write_warmup(stage, warmup.requests, network.model.name)
    return staged_requests(stage)


def _warmup_text(warmup: Warmup) -> str:
    counts = ["{} of {}".format(count, name) for name, count in warmup.counts.items()]
    if not counts:
        return warmup.absence
    return "requests that a server answers before it takes the version: {}".format(", ".join(counts))


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        shutil.rmtree(str(path)) if path.is_dir() else path.unlink()


class _Rehearsal:
    """Stands in for a Stage where nothing is to be published."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target

    def publish(self) -> Path:
        return self._target


@contextlib.contextmanager
def _stage(plan: Plan) -> Iterator[Union[Stage, _Rehearsal]]:
    if not plan.dry_run:
        with staged(plan.base, plan.requested) as stage:
            yield stage
        return
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as folder:
        yield _Rehearsal(Path(folder), plan.base / str(plan.number))


def _provenance(
    plan: Plan,
    checkpoint: Checkpoint,
    network: Network,
    rewritten: Rewritten,
    report: Optional[Report],
    warmup: Warmup,
    size: int,
) -> Dict[str, Any]:
    files = checkpoint.files
    return {
        "format": 1,
        "checkpoint": {
            "name": files.name,
            "step": checkpoint.step,
            "format": "V1" if files.is_v1 else "V2",
            "sha256": digest(files),
        },
        "weights": network.weights.kind,
        "model": network.model.name,
        "graph": {"builder": network.model.builder, "options": dict(network.model.options)},
        "edits": [{"node": edit.node, "kind": edit.kind, "text": edit.text} for edit in network.edits],
        "signatures": [signature.name for signature in network.model.signatures],
        "ctc_decoder": plan.ctc_decoder or "fast" if rewritten.replaced else "stock",
        "replaced_nodes": [decoder.name for decoder in rewritten.replaced],
        "bytes": {"checkpoint": files.size, "version": size},
        "parity": None if report is None else _parity(report),
        "warmup": warmup.counts,
        "for_serving": plan.for_serving and plan.for_serving.version,
        "ckpt2saved": __version__,
        "tensorflow": tf.version.VERSION,
        "git_commit": _git_commit(),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _parity(report: Report) -> Dict[str, Any]:
    differences = {}  # type: Dict[str, Dict[str, float]]
    for difference in report.differences:
        differences.setdefault(difference.signature, {})[difference.output] = difference.max_abs
    return {"answers": report.questions, "loader": report.loader, "max_abs_difference": differences}


def digest(files: CheckpointFiles) -> Dict[str, str]:
    """The SHA-256 of the file that tells one checkpoint from another: a V2 index holds a checksum of every tensor."""
    digest = hashlib.sha256()
    with open(str(files.files[0]), "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return {files.files[0].name: digest.hexdigest()}


def _git_commit() -> Optional[str]:
    """The commit of the working directory: what the training code was, where the export is a step of its CI."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode().strip() or None if done.returncode == 0 else None


def _described(checkpoint: Checkpoint) -> str:
    step = "" if checkpoint.step is None else ", step {}".format(checkpoint.step)
    kind = "V1 " if checkpoint.files.is_v1 else ""
    return "{} ({}{} tensors{}, {})".format(
        checkpoint.files.prefix, kind, len(checkpoint.shapes), step, _megabytes(checkpoint.files.size)
    )


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def _megabytes(size: int) -> str:
    return "{:.1f} MB".format(size / 1e6)
