"""The steps of `export`, in order: from a checkpoint to a published version."""

from __future__ import annotations

import contextlib
import datetime
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Collection, Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved import __version__
from ckpt2saved.answers.checkpoint_asker import open_checkpoint_asker
from ckpt2saved.answers.lines import notes_on_lines
from ckpt2saved.answers.onednn import WithOnednn, compare_with_onednn
from ckpt2saved.answers.parity import AlsoAnswered, Refused, Report, answer_all, compare_files
from ckpt2saved.answers.proof import Proof
from ckpt2saved.answers.worker import kept_processes
from ckpt2saved.checkpoint.contents import Checkpoint
from ckpt2saved.checkpoint.files import CheckpointFiles
from ckpt2saved.checkpoint.joined import JoinedCheckpoint
from ckpt2saved.checkpoint.reading import check_unserved
from ckpt2saved.compatibility.demands import read_demands
from ckpt2saved.compatibility.fit import check_fit
from ckpt2saved.console.say import Say, begin, progress_of, silent
from ckpt2saved.console.sizes import size_text
from ckpt2saved.errors import CheckpointError, NotServable, SignatureError, VersionError
from ckpt2saved.errors.problem import Note, Problem, texts
from ckpt2saved.exporting.accuracy import Measured
from ckpt2saved.exporting.batching import write_batching
from ckpt2saved.exporting.choice import Chooser, rewritten_as_planned
from ckpt2saved.exporting.exported import Exported
from ckpt2saved.exporting.plan import ExportPlan
from ckpt2saved.exporting.warm_up import read_staged_requests, write_warm_up
from ckpt2saved.files.plain_paths import is_pattern
from ckpt2saved.files.programs import find_program
from ckpt2saved.graph.ops import BEAM_SEARCH
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.parity import parity_cases
from ckpt2saved.requests.request import Request, with_bytes
from ckpt2saved.requests.splitting import outputs_seen_unsplit
from ckpt2saved.requests.warm_up.maker import WarmUp, WarmUpMaker
from ckpt2saved.rewrites.for_serving import (
    ServingRewritten,
    without_searches,
)
from ckpt2saved.rewrites.lint import check_servable
from ckpt2saved.saved_model.judgement import WARMUP_FILE
from ckpt2saved.saved_model.writing import write_graph, write_saved_model
from ckpt2saved.signature.arguments import ARGUMENTS
from ckpt2saved.signature.model import ParityCase
from ckpt2saved.sources.binding import BoundGraph, bind
from ckpt2saved.sources.example_pictures import example_pictures
from ckpt2saved.sources.training_graph import UNUSED
from ckpt2saved.verification.servability import batching_notes, check_content, keys_by_signature
from ckpt2saved.versions import write_provenance
from ckpt2saved.versions.bases import LocalBase
from ckpt2saved.versions.content import Unchanged, content_sha256
from ckpt2saved.versions.health import content_problems
from ckpt2saved.versions.object_stores.url import VersionPlace
from ckpt2saved.versions.provenance import content_of
from ckpt2saved.versions.stage import AnyStage

_PICTURES = 5  # of four widths, and one that cannot be read
_WEIGHTS = {"ema": "moving averages"}  # for people
_PATTERN_NOTE = (
    "TF Serving finds no variables under a path with [ ] * ? or a backslash in it: have the server see this directory "
    "under another path, as a mount of a container does"
)


class _Narrated:
    """The progress of an export, which also collects its notes."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.progress = progress_of(say)
        self.notes: List[Note] = []

    def __call__(self, step: str, text: str) -> None:
        self._say(step, text)

    def begin(self, text: str) -> None:
        """Report the step that begins."""
        begin(self._say, text)

    def note(self, *notes: Note) -> None:
        """Collect and say the notes."""
        for note in notes:
            self.notes.append(note)
            self._say("note", note.text)


def export_checkpoint(plan: ExportPlan, say: Say = silent) -> Exported:
    """Publish a checkpoint as a version whose outputs match those of the checkpoint.

    `say` receives the name and the result of each step. Raises CheckpointError, SignatureError, UsageError,
    NotServable, ParityError, NotCompatible, NotAccurate or VersionError; after an error nothing is published and no
    files remain.
    """
    begin(say, f"opening the {plan.graph.source.noun}")
    with kept_processes(), plan.graph.open() as checkpoint:
        return _export(plan, checkpoint, _Narrated(say))


def _export(plan: ExportPlan, checkpoint: Checkpoint, say: _Narrated) -> Exported:
    say(plan.graph.source.noun, _described(plan.graph.checkpoint, checkpoint))
    origin, checkpoint_size = _origin(plan, checkpoint), plan.graph.checkpoint.size
    _refuse_published(plan, origin, dry_run=True)  # and again under the lock of the base, after work of minutes
    begin(say, "reading the graph")
    network = bind(plan.graph, checkpoint)
    _refuse_unused(plan, network.unused)
    say.note(*check_unserved(checkpoint, network.weights))
    for edit in network.edits:
        say("edited", edit.text)
    say.note(*network.notes)
    say(
        "weights",
        f"{_WEIGHTS.get(network.weights.kind, network.weights.kind)} ({network.weights.reason})",
    )
    if network.devices:
        say("devices", f"{network.devices}; cleared")
    say("graph", f"{len(network.serving.graph_def.node)} nodes, {len(network.weights.keys)} variables")
    begin(say, "rewriting the graph for TF Serving")
    check_servable(network.serving.graph_def, plan.device)
    rewritten = rewritten_as_planned(plan, network)
    say("decoder", _decoder_text(plan.graph.ctc_decoder or "fast", rewritten))
    if rewritten.folded:
        say("folded", f"{len(rewritten.folded)} of its batch norms, into the convolutions before them")
    if rewritten.computed_once:
        count = sum(len(edit.values) for edit in rewritten.computed_once)
        tensors = f"{count} tensors" if count > 1 else "1 tensor"
        say("computed", f"{tensors}, from variables alone: once, and not for each request")
    if rewritten.hoisted:
        say("recurrent", f"{_recurrent_text(rewritten)}: products with the inputs are computed before the steps")
    if rewritten.in_cudnn:
        count = len(rewritten.in_cudnn)
        say("recurrent", f"{count} {'loops' if count > 1 else 'loop'}: GPUs compute the LSTM in cuDNN, CPUs the loop")
    say.note(*rewritten.loop_notes)
    begin(say, "making requests")
    cases, maker, warmup = _requests(plan, checkpoint, network)
    with _stage(plan, say) as stage:
        proof = None
        if plan.checks.parity:
            begin(say, f"loading the {plan.graph.source.noun}")
            with open_checkpoint_asker(network, checkpoint) as asker:
                chooser = Chooser(plan, network, asker, cases, say)
                rewritten, proof = chooser.choose(rewritten)
        written = _Writer(plan, checkpoint, network, maker, say).write(stage.path, rewritten, proof, warmup)
        report, warmup = written.report, written.warmup
        seen = _union(report.without_batch if report else {}, written.refused)
        if plan.batching is not None:
            write_batching(stage.path, plan.batching, warmup.requests, keys_by_signature(stage.path, seen))
        size = _size(stage.path)
        noun = plan.graph.source.noun
        has = "have" if noun.endswith("s") else "has"  # several networks have several checkpoints
        say("written", f"{size_text(size)}; the {noun} {has} {size_text(checkpoint_size)}")
        begin(say, "checking the files")
        _lint(plan, stage.path, seen, say)
        say.note(*warmup.notes)
        if isinstance(plan.publication.base, LocalBase) and is_pattern(plan.publication.base.path):
            say("note", _PATTERN_NOTE)
        if plan.checks.clients is not None:
            plan.checks.clients.check(stage.path, plan.graph.checkpoint.name, say)
        if plan.checks.for_serving:
            check_fit(read_demands(stage.path), plan.checks.for_serving)
            release, device = plan.checks.for_serving
            say("fits", f"TF Serving {release.version} has all of its ops and attributes, and kernels for the {device}")
        measured = _accuracy(plan, checkpoint, stage.path, say)
        provenance = _provenance(plan, origin, network, rewritten)
        provenance["bytes"] = {"checkpoint": checkpoint_size, "version": size}
        provenance["accuracy"] = measured.as_record() if measured else None
        provenance["parity"] = _parity(report, proof) if report and proof else None
        provenance["onednn"] = written.onednn.as_content() if written.onednn else None
        provenance["lines"] = _lines(report, network)
        provenance["warmup"] = warmup.counts
        provenance["warmup_outputs"] = warmup.filters
        provenance["without_batch"] = keys_by_signature(stage.path, seen)
        begin(say, "publishing")
        provenance["content_sha256"] = content = content_sha256(stage.path)
        write_provenance(stage.path, provenance)

        def check() -> None:
            _check_origin(plan, checkpoint, origin)
            if plan.publication.skip_unchanged:
                plan.publication.base.refuse_unchanged(content)

        exported = Exported(
            path=Path(),
            dry_run=plan.publication.dry_run,
            provenance=provenance,
            notes=tuple(say.notes),
            asked=proof.requests if proof else (),
            measured=measured,
        )
        try:
            return replace(exported, path=stage.publish(check))
        except Unchanged as error:
            say("unchanged", str(error))
            return replace(exported, path=error.version, provenance=error.provenance, is_unchanged=True)


def _accuracy(plan: ExportPlan, checkpoint: Checkpoint, stage: Path, say: Say) -> Optional[Measured]:
    """Measure the staged files, and compare with the limits, if asked for; raises NotAccurate."""
    gate = plan.checks.accuracy
    if gate is None:
        return None
    name = plan.graph.checkpoint.name if checkpoint.step is None else f"step {checkpoint.step}"
    return gate.check(gate.measure(stage, say), name, say)


def _refuse_unused(plan: ExportPlan, unused: Sequence[str]) -> None:
    """Raise NotServable for inputs of the command line that no output depends on.

    A signature file may have such inputs, for clients that send them.
    """
    keys = {spec.tensor: spec.key for signature in plan.graph.model.signatures for spec in signature.inputs}
    if unused and plan.graph.model.source == ARGUMENTS:
        raise NotServable(
            f"{ARGUMENTS}: inputs that no output depends on: leave them out; a signature file (--model) can keep"
            " one for clients that send it",
            [Problem("unused-input", f"--input {keys[tensor]}={tensor}", UNUSED) for tensor in unused],
        )


def _union(one: Refused, other: Refused) -> Dict[str, FrozenSet[str]]:
    return {name: one.get(name, frozenset()) | other.get(name, frozenset()) for name in sorted(set(one) | set(other))}


def _lint(plan: ExportPlan, stage: Path, seen: Mapping[str, Collection[str]], say: _Narrated) -> None:
    """Check the staged files for problems that show only in files."""
    problems = content_problems(stage)
    unread = [problem for problem in problems if problem.code == "unreadable-file"]
    if unread:  # a fault of the disk, as this process has just written them; it says nothing of the graph
        raise VersionError(f"{plan.publication.base}: the staged files can't be read; nothing is published", unread)
    findings = check_content(stage, problems, plan.device)
    say.note(*findings.notes, *batching_notes(stage, seen))
    if findings.problems:
        raise NotServable("the staged files cannot be served; nothing is published", findings.problems)


def _decoder_text(kind: str, rewritten: ServingRewritten) -> str:
    replaced = [f"{decoder.node} (beam_width {decoder.beam_width})" for decoder in rewritten.replaced]
    parts = []
    if replaced:
        parts.append(f"{kind} in place of {', '.join(replaced)}")
    elif any(node.op == BEAM_SEARCH for node in rewritten.serving.graph_def.node):
        parts.append("stock, as requested")
    parts += texts(rewritten.decoder_notes)
    return "; ".join(parts) or "the graph has no CTC beam search"


def _recurrent_text(rewritten: ServingRewritten) -> str:
    kernels = sum(edit.is_unrolled for edit in rewritten.hoisted)
    loops = len(rewritten.hoisted) - kernels
    parts = [f"{loops} loops" if loops > 1 else "1 loop"] if loops else []
    if kernels:
        parts.append(f"{kernels} kernels of unrolled layers" if kernels > 1 else "1 kernel of an unrolled layer")
    return ", ".join(parts)


def _requests(
    plan: ExportPlan, checkpoint: Checkpoint, network: BoundGraph
) -> Tuple[Tuple[ParityCase, ...], Optional[WarmUpMaker], WarmUp]:
    """The parity cases and the warm-up requests, as far as the plan needs them."""
    if not plan.checks.parity and plan.checks.warmup is None:
        return (), None, WarmUp()
    try:
        cases = parity_cases(network, checkpoint)
        if plan.checks.warmup is None:
            return cases, None, WarmUp()
        maker = WarmUpMaker(plan.checks.warmup, network, cases, checkpoint)
        return cases, maker, maker.make()
    except SignatureError as error:
        if plan.checks.parity or (plan.checks.warmup and plan.checks.warmup.asked):
            raise
        return (), None, WarmUp(absence=f"none: {error}")


@dataclass(frozen=True)
class _Written:
    """The results of writing and running the files."""

    report: Optional[Report]  # None without parity check
    onednn: Optional[WithOnednn]  # None without --with-onednn
    warmup: WarmUp  # as written into the version
    refused: Refused  # outputs of tried warm-up requests that batching cannot split


class _Writer:
    """Writes the SavedModel with its warm-up requests, and checks the written files."""

    def __init__(
        self,
        plan: ExportPlan,
        checkpoint: Checkpoint,
        network: BoundGraph,
        maker: Optional[WarmUpMaker],
        say: _Narrated,
    ) -> None:
        self._plan = plan
        self._checkpoint = checkpoint
        self._network = network
        self._maker = maker
        self._say = say

    def write(self, stage: Path, rewritten: ServingRewritten, proof: Optional[Proof], warmup: WarmUp) -> _Written:
        """Write into `stage`, run the files, and compare with `proof`, which is None without parity check."""
        begin(self._say, "writing the SavedModel")
        report: Optional[Report] = None
        onednn: Optional[WithOnednn] = None
        is_stock = not rewritten.replaced
        if self._maker:
            if is_stock and (proof is None or proof.is_partial):  # the beam search is slow, or its speed is not known
                self._maker.avoid_searches(without_searches(rewritten))
            warmup = self._maker.make_again(outputs_seen_unsplit(proof.asked, proof.expected) if proof else {})
        serving = self._maker.extended(rewritten.serving, warmup) if self._maker else rewritten.serving
        write_saved_model(stage, serving, self._checkpoint, rewritten.weights)
        also = AlsoAnswered(warm_up=self._staged(stage, warmup), split=warmup.to_split)
        if proof:
            # In the files, the stock op would be just as slow for complete requests.
            also = also if is_stock else replace(also, requests=proof.only_answered)
            if not any(node.op == BEAM_SEARCH for node in rewritten.serving.graph_def.node):  # else it would be slow
                also = replace(also, lines=self._of_pictures())
            begin(self._say, f"comparing with the {self._plan.graph.source.noun}")
            report = compare_files(stage, proof.asked, proof.expected, also)
            refused = report.refused
            self._say(
                "parity",
                f"{report.answers} answers match the {self._plan.graph.source.noun}, largest difference"
                f" {report.comparison.max_abs:.2g}; loaded by {report.loader}",
            )
            if report.lines.differences:
                self._say(
                    "lines",
                    f"each alone and in a batch of several widths: largest difference {report.lines.max_abs:.2g}",
                )
            self._say.note(*notes_on_lines(report.lines))
            if self._plan.checks.with_onednn:
                begin(self._say, "running the requests with oneDNN on")
                onednn = compare_with_onednn(stage, proof.asked, proof.expected)
                self._say("oneDNN", onednn.text)
                self._say.note(*onednn.notes)
        else:
            self._say("parity", "not checked, as requested")
            begin(self._say, "running the warm-up requests")
            refused = answer_all(stage, also) if also.warm_up else {}
        warmup, refused = self._without_refused(stage, rewritten, warmup, refused)
        self._say("warm-up", _warmup_text(warmup))
        return _Written(report, onednn, warmup, refused)

    def _of_pictures(self) -> Tuple[Request, ...]:
        """A request of pictures of several widths for each signature that takes nothing else, and pads them."""
        pictures = with_bytes(np.array(example_pictures(_PICTURES), object))
        return tuple(
            Request("pictures", signature.name, {spec.key: pictures for spec in signature.pictures}, is_made_up=True)
            for signature in self._network.model.signatures
            if signature.pictures and signature.pictures == signature.inputs and not signature.takes_pages
        )

    def _without_refused(
        self, stage: Path, rewritten: ServingRewritten, warmup: WarmUp, refused: Refused
    ) -> Tuple[WarmUp, Refused]:
        """Replace warm-up requests that a server with --enable_batching would fail."""
        found = refused
        while refused and self._maker:
            begin(self._say, "trying other warm-up requests")
            warmup = self._maker.make_without(refused)
            write_graph(stage, self._maker.extended(rewritten.serving, warmup))
            with contextlib.suppress(FileNotFoundError):
                (stage / WARMUP_FILE).unlink()
            also = AlsoAnswered(warm_up=self._staged(stage, warmup), split=warmup.to_split)
            refused = answer_all(stage, also) if also.warm_up else {}
            found = _union(found, refused)
        return warmup, found

    def _staged(self, stage: Path, warmup: WarmUp) -> Tuple[Request, ...]:
        """Write the warm-up file; returns the requests read back from it."""
        if not warmup.requests:
            return ()
        write_warm_up(stage, warmup.requests, self._network.model.name)
        return tuple(read_staged_requests(stage))


def _warmup_text(warmup: WarmUp) -> str:
    """A text with the number of warm-up requests, their signatures, and their outputs if not all."""
    if not warmup.counts:
        return warmup.absence
    parts = {name: f"signature {name}" for name in warmup.counts}
    for name, outputs in warmup.filters.items():
        parts[name] += f", outputs {', '.join(outputs)}"
    total = sum(warmup.counts.values())
    listed = "; ".join(parts.values())
    if len(parts) > 1:
        listed = "; ".join(f"{warmup.counts[name]} of {part}" for name, part in parts.items())
    return f"{total} request{'s' if total > 1 else ''} written ({listed})"


class _Rehearsal(AnyStage):
    """Replaces a Stage in a dry run."""

    def __init__(self, path: Path, target: VersionPlace) -> None:
        self.path = path
        self._target = target

    def publish(self, check: Callable[[], None] = lambda: None) -> VersionPlace:
        check()
        return self._target


@contextlib.contextmanager
def _stage(plan: ExportPlan, say: Say) -> Iterator[AnyStage]:
    if not plan.publication.dry_run:
        with plan.publication.base.staged(plan.publication.requested, say) as stage:
            yield stage
        return
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as folder:
        yield _Rehearsal(Path(folder), plan.publication.base.at(plan.publication.number))


def _provenance(
    plan: ExportPlan,
    origin: Mapping[str, Any],
    network: BoundGraph,
    rewritten: ServingRewritten,
) -> Dict[str, Any]:
    return {
        "format": 1,
        "checkpoint": origin,
        "weights": network.weights.kind,
        "model": network.model.name,
        "graph": {"builder": plan.graph.source.name, "options": dict(plan.graph.source.options)},
        "steps": _step_options(network),
        "edits": [{"node": edit.node, "kind": edit.kind, "text": edit.text} for edit in network.edits],
        "signatures": [signature.name for signature in network.model.signatures],
        "ctc_decoder": plan.graph.ctc_decoder or "fast" if rewritten.replaced else "stock",
        "replaced_nodes": [decoder.node for decoder in rewritten.replaced],
        "folded_nodes": [edit.node for edit in rewritten.folded],
        "computed_once": sorted(name for edit in rewritten.computed_once for name in edit.values),
        "hoisted_loops": [edit.node for edit in rewritten.hoisted],
        "trimmed_loops": [edit.node for edit in rewritten.trimmed],
        "cudnn_loops": [edit.node for edit in rewritten.in_cudnn],
        "bytes": {},  # filled in later
        "parity": None,
        "onednn": None,
        "lines": None,
        "warmup": {},
        "warmup_outputs": {},
        "for_serving": plan.checks.for_serving and plan.checks.for_serving.image.version,
        "for_device": plan.device.value,
        "ckpt2saved": __version__,
        "tensorflow": tf.version.VERSION,
        "git_commit": _git_commit(),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _origin(plan: ExportPlan, checkpoint: Checkpoint) -> Dict[str, Any]:
    """The checkpoint of the version; `networks` are those of several networks."""
    source, files = plan.graph.source, plan.graph.checkpoint
    found: Dict[str, Any] = {
        "name": files.name,
        "step": checkpoint.step,
        "format": source.format_of(files),
        "sha256": files.sha256(),
    }
    if isinstance(checkpoint, JoinedCheckpoint):
        found["networks"] = {
            name: {"name": part.files.name, "step": part.step, "sha256": part.files.sha256()}
            for name, part in checkpoint.parts.items()
        }
    return found


def _check_origin(plan: ExportPlan, checkpoint: Checkpoint, origin: Mapping[str, Any]) -> None:
    """Raise CheckpointError if a training has replaced the files of the checkpoint since the export began.

    A checkpoint that was deleted meanwhile has been read, and its answers compared. Raises AlreadyPublished if a
    version has the checkpoint, and the plan is for new ones only.
    """
    with contextlib.suppress(OSError):
        if _origin(plan, checkpoint) != origin:
            raise CheckpointError(
                f"{plan.graph.checkpoint.prefix}: its files were replaced while they were exported; nothing is"
                " published; run again"
            )
    _refuse_published(plan, origin, dry_run=plan.publication.dry_run)


def _refuse_published(plan: ExportPlan, origin: Mapping[str, Any], *, dry_run: bool) -> None:
    """Raise AlreadyPublished if a version has the checkpoint, and the plan is for new ones only."""
    if plan.publication.unless_published:
        plan.publication.base.refuse_published(content_of({"checkpoint": origin}), dry_run=dry_run)


def _step_options(network: BoundGraph) -> Dict[str, Any]:
    """The options of steps: their values, and of files the names in `assets`."""
    names = {str(asset.file): asset.name for asset in network.serving.assets}
    options = {name: str(value) for name, value in network.model.step_options.items()}
    return {
        "options": {name: network.model.step_options[name] for name, text in options.items() if text not in names},
        "files": {name: names[text] for name, text in options.items() if text in names},
    }


def _parity(report: Report, proof: Proof) -> Dict[str, Any]:
    return {
        "answers": report.answers,
        "loader": report.loader,
        "max_abs_difference": report.comparison.by_signature(),
        "beam_search": [searched.describe() for searched in proof.searched],  # empty: everything was compared
    }


def _lines(report: Optional[Report], network: BoundGraph) -> Dict[str, Any]:
    """What is known of how the answer for a picture depends on the others of its batch."""
    return {
        "max_abs_difference": report.lines.by_signature() if report else None,
        "not_proven": [note.text for note in network.notes if note.code == "depends-on-batch"],
    }


def _git_commit() -> Optional[str]:
    """The git commit of the working directory, or None; in CI this identifies the training code."""
    git = find_program("git")
    if git is None:
        return None
    # The configuration of an untrusted repository can name programs that git runs.
    command = [git, "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("ascii", "replace").strip() or None if done.returncode == 0 else None


def _described(files: CheckpointFiles, checkpoint: Checkpoint) -> str:
    kind = "V1 " if files.is_v1 else ""
    parts = [f"{kind}{len(checkpoint.shapes)} tensors"] if checkpoint.shapes else []  # a frozen graph has none
    parts += [] if checkpoint.step is None else [f"step {checkpoint.step}"]
    return f"{files.prefix} ({', '.join([*parts, size_text(files.size)])})"


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
