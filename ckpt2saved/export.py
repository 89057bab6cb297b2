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
from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from ckpt2saved import __version__
from ckpt2saved.checkpoint import Checkpoint, open_checkpoint
from ckpt2saved.checkpoint_files import CheckpointFiles
from ckpt2saved.compatibility.demands import read_demands
from ckpt2saved.compatibility.fit import check_fit
from ckpt2saved.decoders import BEAM_SEARCH, Rewritten, graft, replace_decoders
from ckpt2saved.disagreement import count_disagreements
from ckpt2saved.errors import NotServable, ParityError, SignatureError
from ckpt2saved.lengths import with_lengths
from ckpt2saved.lint import check_servable
from ckpt2saved.parity import Refused, Report, answer_all, compare_files, reference_answers
from ckpt2saved.plan import Plan
from ckpt2saved.preparation import Network, prepare_network
from ckpt2saved.programs import find_program
from ckpt2saved.questions import Answers, Question, questions
from ckpt2saved.reading import check_unserved
from ckpt2saved.savedmodel import ServingGraph, write_graph, write_saved_model
from ckpt2saved.servability import batching_notes, check_content, keys_by_signature
from ckpt2saved.serving.splitting import outputs_seen_unsplit
from ckpt2saved.serving.warmup_file import WARMUP_FILE
from ckpt2saved.tf1 import tf
from ckpt2saved.versions import Stage, staged, write_provenance
from ckpt2saved.warmup.making import Warmup, WarmupMaker
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
    say("checkpoint", _described(checkpoint))
    network = prepare_network(plan, checkpoint)
    for note in check_unserved(checkpoint, network.weights):
        say("note", note)
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
    network, maker, warmup = _with_requests(plan, checkpoint, network)
    with _stage(plan) as stage:
        writer = _Writer(plan, checkpoint, network, maker, warmup, say)
        try:
            written = writer.write(stage.path, rewritten)
        except ParityError as error:
            if not rewritten.replaced or plan.ctc_decoder is not None:
                raise
            # docs/ctc-decoder.md: the fast decoder may choose otherwise among texts that float32 can't tell apart.
            say("decoder", "stock after all: fast reads some of the lines to compare on differently")
            for problem in error.problems:
                say("differs", problem)
            _empty(stage.path)
            rewritten = with_decoder("stock", network.serving)
            written = writer.write(stage.path, rewritten)
        report, asked, warmup = written.report, written.asked, written.warmup
        size = _size(stage.path)
        say("written", "{} of the checkpoint's {}".format(_megabytes(size), _megabytes(checkpoint.files.size)))
        seen = _union(report.without_batch if report else {}, written.refused)
        _lint(stage.path, seen, say)
        for remark in warmup.remarks:
            say("note", remark)
        if plan.for_serving:
            check_fit(read_demands(stage.path), plan.for_serving)
            say("fits", "TF Serving {} has all of its ops and attributes".format(plan.for_serving.version))
        provenance = _provenance(plan, checkpoint, network, rewritten, report, warmup, size)
        provenance["without_batch"] = keys_by_signature(stage.path, seen)
        write_provenance(stage.path, provenance)
        return Exported(stage.publish(), plan.dry_run, provenance, asked)


def _union(one: Refused, other: Refused) -> Dict[str, FrozenSet[str]]:
    return {name: one.get(name, frozenset()) | other.get(name, frozenset()) for name in sorted(set(one) | set(other))}


def _lint(stage: Path, seen: Mapping[str, Collection[str]], say: Say) -> None:
    """What the staged files as a whole show, beyond what was refused before they were written."""
    findings = check_content(stage)
    for note in findings.notes + batching_notes(stage, seen):
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


def _with_requests(
    plan: Plan, checkpoint: Checkpoint, network: Network
) -> Tuple[Network, Optional[WarmupMaker], Warmup]:
    """The network with the requests to compare on, and those to warm a server up with, as far as they are wanted."""
    if not plan.parity and plan.warmup is None:
        return network, None, Warmup()
    fill = functools.partial(network.fill, checkpoint)
    try:
        model = with_lengths(network.model, network.graph, network.serving.signature_defs, fill)
        network = replace(network, model=model)
        if plan.warmup is None:
            return network, None, Warmup()
        maker = WarmupMaker(plan.warmup, network, fill)
        return network, maker, maker.make()
    except SignatureError as error:
        if plan.parity or plan.warmup.asked:
            raise
        return network, None, Warmup(absence="none: {}".format(error))


@dataclass(frozen=True)
class _Written:
    """What came of writing the files and asking them."""

    report: Optional[Report]  # None where nothing was compared
    asked: Tuple[Question, ...]
    warmup: Warmup  # as it stands in the files
    refused: Refused  # of the warm-up requests that were tried: outputs that can't be split


class _Writer:
    """Writes the SavedModel, with requests to warm a server up, and reads the files back."""

    def __init__(
        self,
        plan: Plan,
        checkpoint: Checkpoint,
        network: Network,
        maker: Optional[WarmupMaker],
        warmup: Warmup,
        say: Say,
    ) -> None:
        self._plan = plan
        self._checkpoint = checkpoint
        self._network = network
        self._maker = maker
        self._warmup = warmup
        self._say = say

    def write(self, stage: Path, rewritten: Rewritten) -> _Written:
        """Write into `stage`, then read the files back and compare, unless that is not wanted."""
        report, asked, warmup = None, (), self._warmup  # type: Optional[Report], Sequence[Question], Warmup
        if self._plan.parity:
            asked, expected = checkpoint_answers(self._plan, self._checkpoint, self._network, rewritten, self._say)
            if self._maker:
                warmup = self._maker.make_again(outputs_seen_unsplit(asked, expected))
        serving = self._maker.extended(rewritten.serving, warmup) if self._maker else rewritten.serving
        write_saved_model(stage, serving, self._checkpoint, self._network.weights)
        requests = self._staged(stage, warmup)
        if self._plan.parity:
            report = compare_files(stage, asked, expected, requests, warmup.to_split)
            refused = report.refused
            text = "{} answers as the checkpoint's, largest difference {:.2g}; read by {}"
            self._say("parity", text.format(report.questions, report.max_abs, report.loader))
        else:
            self._say("parity", "not checked, as asked")
            refused = answer_all(stage, requests, warmup.to_split) if requests else {}
        warmup, refused = self._without_refused(stage, rewritten, warmup, refused)
        self._say("warm-up", _warmup_text(warmup))
        return _Written(report, tuple(asked), warmup, refused)

    def _without_refused(
        self, stage: Path, rewritten: Rewritten, warmup: Warmup, refused: Refused
    ) -> Tuple[Warmup, Refused]:
        """Put other requests in the place of those that a server with --enable_batching would not answer."""
        found = refused
        while refused and self._maker:
            warmup = self._maker.make_without(refused)
            write_graph(stage, self._maker.extended(rewritten.serving, warmup))
            with contextlib.suppress(FileNotFoundError):
                (stage / WARMUP_FILE).unlink()
            requests = self._staged(stage, warmup)
            refused = answer_all(stage, requests, warmup.to_split) if requests else {}
            found = _union(found, refused)
        return warmup, found

    def _staged(self, stage: Path, warmup: Warmup) -> Sequence[Question]:
        """Write the requests beside the SavedModel, and what the file says that they are."""
        if not warmup.requests:
            return ()
        write_warmup(stage, warmup.requests, self._network.model.name)
        return staged_requests(stage)


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


def _warmup_text(warmup: Warmup) -> str:
    filters = warmup.filters
    counts = [
        "{} of {}{}".format(count, name, " ({})".format(", ".join(filters[name])) if name in filters else "")
        for name, count in warmup.counts.items()
    ]
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
        "warmup_outputs": warmup.filters,
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
    git = find_program("git")
    if git is None:
        return None
    # A repository of somebody else's may name a program to run for this.
    command = [git, "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("ascii", "replace").strip() or None if done.returncode == 0 else None


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
