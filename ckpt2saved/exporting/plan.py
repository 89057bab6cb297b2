"""The plan of an export, checked as far as possible without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, Tuple, Union

from ckpt2saved.answers.search_limits import DEFAULT_LIMITS, SearchLimits
from ckpt2saved.compatibility.image import ServerKind, find_device, find_server_kind
from ckpt2saved.exporting.accuracy import AccuracyGate
from ckpt2saved.files.reading import PathLike
from ckpt2saved.graph.kernel_table import Device
from ckpt2saved.requests.warm_up.source import WarmUpSource, warm_up_source
from ckpt2saved.server_config.version_batching import VersionBatching, check_release
from ckpt2saved.sources.graph_plan import GraphOptions, GraphPlan, plan_graph
from ckpt2saved.verification.known_clients import KnownClients
from ckpt2saved.versions.bases import Base, base_at


@dataclass(frozen=True)
class ExportOptions:
    """The options of `export`."""

    graph: GraphOptions
    base: PathLike  # base directory: a path, or the URL of an object store
    version: Optional[int] = None
    dry_run: bool = False
    parity: bool = True
    with_onednn: bool = False  # with parity: also with oneDNN on
    search_limits: SearchLimits = DEFAULT_LIMITS
    warmup: Tuple[Union[int, Path], ...] = ()  # as of warm_up_source
    warmup_signatures: Tuple[str, ...] = ()
    no_warmup: bool = False
    for_serving: Optional[str] = None  # a release of TF Serving
    for_device: Optional[str] = None  # what its servers compute on: cpu or gpu
    no_fold: bool = False
    batching: Optional[VersionBatching] = None  # of servers with parameters of each model
    gpu: bool = False  # use GPUs
    accuracy: Optional[AccuracyGate] = None
    clients: Optional[KnownClients] = None  # who must be able to use the version
    unless_published: bool = False  # refuse a checkpoint that a version of the base has
    skip_unchanged: bool = False  # publish nothing if the newest version has the same files
    single_writer: bool = False  # nothing else publishes into this object store


@dataclass(frozen=True)
class Publication:
    """Where a version is published."""

    base: Base
    requested: Optional[int]  # the value of --version; None: highest + 1 at the time of publishing
    number: int  # the expected version number; another exporter may take it first
    dry_run: bool
    unless_published: bool = False  # refuse a checkpoint that a version of the base has
    skip_unchanged: bool = False  # publish nothing if the newest version has the same files


@dataclass(frozen=True)
class Checks:
    """The checks before a version is published, and its warm-up requests."""

    parity: bool
    search_limits: SearchLimits
    warmup: Optional[WarmUpSource]  # None: no warm-up requests
    for_serving: Optional[ServerKind]  # TF Serving release that must have all ops, attributes and kernels
    accuracy: Optional[AccuracyGate] = None  # labelled pictures that the staged files read
    clients: Optional[KnownClients] = None  # who must be able to use the version
    with_onednn: bool = False  # whether the requests are also run with oneDNN on


@dataclass(frozen=True)
class ExportPlan:
    """An export that has passed all checks of `plan_export`."""

    graph: GraphPlan
    publication: Publication
    checks: Checks
    fold: bool  # fold batch norm into the preceding convolution
    device: Device  # what the servers compute on
    batching: Optional[VersionBatching] = None  # written into the version


def plan_export(options: ExportOptions) -> ExportPlan:
    """Run all checks of an export that take milliseconds; returns the plan.

    Raises UsageError, SignatureError, CheckpointError or VersionError.
    """
    device, server = find_device(options.for_device), None
    if options.for_serving is not None:
        server = find_server_kind(options.for_serving, options.for_device, "--for-serving")
        device = server.device
        if options.batching is not None:
            check_release(server.image, f"--batching-params {options.batching.path}")
    base = base_at(options.base, single_writer=options.single_writer)
    base.check()
    number = base.next_number(options.version)
    graph = plan_graph(replace(options.graph, keeps_cudnn=device is Device.GPU))
    if options.accuracy is not None:
        options.accuracy.check_signatures(graph.model)
    warmup = warm_up_source(graph.model, options.warmup, options.warmup_signatures, options.no_warmup)
    return ExportPlan(
        graph,
        Publication(
            base,
            options.version,
            number,
            dry_run=options.dry_run,
            unless_published=options.unless_published,
            skip_unchanged=options.skip_unchanged,
        ),
        Checks(
            options.parity,
            options.search_limits,
            warmup,
            server,
            accuracy=options.accuracy,
            clients=options.clients,
            with_onednn=options.parity and options.with_onednn,
        ),
        fold=not options.no_fold,
        device=device,
        batching=options.batching,
    )
