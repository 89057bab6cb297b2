"""An export from its options to the answer of a server: selection, plan, pipeline, wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Tuple

from ckpt2saved.answers.worker import kept_processes
from ckpt2saved.console.say import Say, begin, on_published, table_of
from ckpt2saved.errors import NotAccurate
from ckpt2saved.exporting.exported import Exported
from ckpt2saved.exporting.plan import ExportOptions, plan_export
from ckpt2saved.exporting.selection import Candidate, best_of, candidate_table, try_all
from ckpt2saved.graph.devices import gpus
from ckpt2saved.verification.waiting import LiveCheck


def publish_checkpoint(options: ExportOptions, check: Optional[LiveCheck], select: bool, say: Say) -> Exported:
    """Export the checkpoint, or with `select` the best one of a directory, and wait for the server of `check`.

    Raises the errors of plan_export and export_checkpoint; after publishing NotLive or ServerError, whose `version` is
    the published one.
    """
    with gpus(options.gpu), kept_processes():
        candidates: Tuple[Candidate, ...] = ()
        if select:
            candidates = try_all(options, say)
            best = best_of(candidates)
            table_of(say)(*candidate_table(candidates))
            say("selected", str(best.prefix))
            options = replace(options, graph=replace(options.graph, checkpoints=(best.prefix,)))
        try:
            exported = _exported(options, check, say)
        except NotAccurate as error:
            error.candidates = candidates
            raise
    exported = replace(exported, candidates=candidates)
    on_published(say)(exported)
    return exported if check is None or options.dry_run else check.awaited(exported, say, exported.asked)


def _exported(options: ExportOptions, check: Optional[LiveCheck], say: Say) -> Exported:
    plan = plan_export(options)
    if check is not None:
        check.check_signatures([signature.name for signature in plan.graph.model.signatures])
    begin(say, "starting TensorFlow")
    from ckpt2saved.exporting.pipeline import export_checkpoint

    return export_checkpoint(plan, say)
