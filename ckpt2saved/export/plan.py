"""What an export is going to do, as far as that can be known, and refused, without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

from ckpt2saved.answers.search_limits import DEFAULT_LIMITS, SearchLimits
from ckpt2saved.compatibility.image import Image, find_image
from ckpt2saved.requests.warm_up.source import WarmUpSource, warm_up_source
from ckpt2saved.sources.graph_plan import GraphOptions, GraphPlan, plan_graph
from ckpt2saved.versions import check_base, next_version


@dataclass(frozen=True)
class ExportOptions:
    """What a command line says about an export."""

    graph: GraphOptions
    base: Path  # the directory of the model's versions
    version: Optional[int] = None
    dry_run: bool = False
    parity: bool = True
    search_limits: SearchLimits = DEFAULT_LIMITS
    warmup: Tuple[str, ...] = ()  # as --warmup was given
    warmup_signatures: Tuple[str, ...] = ()
    no_warmup: bool = False
    for_serving: Optional[str] = None  # a release of TF Serving
    no_fold: bool = False


@dataclass(frozen=True)
class Publication:
    """Where a version goes."""

    base: Path
    requested: Optional[int]  # the version asked for; None: the next one when it is published
    number: int  # the version that this is, if nobody else publishes meanwhile
    dry_run: bool


@dataclass(frozen=True)
class Checks:
    """What a version must pass before it is published, and the requests that it has for the server to warm up with."""

    parity: bool
    search_limits: SearchLimits
    warmup: Optional[WarmUpSource]  # None: no requests for the server to warm up with
    for_serving: Optional[Image]  # the release of TF Serving that must have all its ops and attributes


@dataclass(frozen=True)
class ExportPlan:
    """An export that nothing speaks against yet."""

    graph: GraphPlan
    publication: Publication
    checks: Checks
    fold: bool  # batch norm into the convolution before it


def plan_export(options: ExportOptions) -> ExportPlan:
    """Check everything about an export that takes milliseconds to check.

    Raises UsageError, SignatureError, CheckpointError or VersionError.
    """
    image = None if options.for_serving is None else find_image(options.for_serving, "--for-serving")
    check_base(options.base)
    number = next_version(options.base, options.version)
    graph = plan_graph(options.graph)
    warmup = warm_up_source(graph.model, options.warmup, options.warmup_signatures, options.no_warmup)
    return ExportPlan(
        graph,
        Publication(options.base, options.version, number, options.dry_run),
        Checks(options.parity, options.search_limits, warmup, image),
        fold=not options.no_fold,
    )
