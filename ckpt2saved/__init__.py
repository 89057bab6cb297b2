"""A TensorFlow checkpoint of an OCR network, published as a SavedModel version that TF Serving hot-loads.

`export`, `bump_version`, `list_versions`, `diff`, `prune`, `sync`, `inspect`, `verify`, `evaluate` and `predict` do
what the commands of the same names do, and return data. `Client` asks a running TF Serving; the exceptions are in
`errors`. The options have the names and defaults of the command line; TensorFlow is imported by the calls that need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, Optional, Sequence, Tuple, Union

if TYPE_CHECKING:  # nothing is imported before it is needed
    import os

    from ckpt2saved import errors
    from ckpt2saved.answers.predictions import Predictions
    from ckpt2saved.client.address import ModelAddress
    from ckpt2saved.client.connection import ServerAddress
    from ckpt2saved.client.model_client import Client
    from ckpt2saved.client.pruning import Pruned
    from ckpt2saved.exporting.exported import Exported
    from ckpt2saved.inspection.report import Inspection
    from ckpt2saved.signature.arguments import Renames, Tensors
    from ckpt2saved.signature.model import Scalar
    from ckpt2saved.sources.graph_plan import Checkpoints
    from ckpt2saved.verification.accuracy.model_evaluation import ModelEvaluation
    from ckpt2saved.verification.differences import Differences
    from ckpt2saved.verification.republishing import Republished
    from ckpt2saved.verification.steps import Verification
    from ckpt2saved.versions import Listing
    from ckpt2saved.versions.syncing.loop import Synced

    PathLike = Union[str, os.PathLike[str]]
    Progress = Callable[[str, str], None]

__version__ = "1.0.0"
__all__ = [
    "Client",
    "bump_version",
    "diff",
    "errors",
    "evaluate",
    "export",
    "inspect",
    "list_versions",
    "predict",
    "prune",
    "sync",
    "verify",
]


def export(
    checkpoint: Checkpoints,
    export_dir: PathLike,
    *,
    version: Optional[int] = None,
    model: Optional[PathLike] = None,
    weights: str = "auto",
    ctc_decoder: Optional[str] = None,
    options: Mapping[str, Scalar] = {},  # never changed
    graph: Optional[PathLike] = None,
    python_path: Sequence[PathLike] = (),
    allow_code: bool = False,
    inputs: Tensors = (),
    outputs: Tensors = (),
    pinned: Mapping[str, Scalar] = {},  # never changed
    renames: Renames = (),
    keep_training_ops: bool = False,
    allow_labels: bool = False,
    decode: Optional[str] = None,
    beam_width: Optional[int] = None,
    top_paths: Optional[int] = None,
    merge_repeated: bool = False,
    sequence_length: Optional[str] = None,
    parity: bool = True,
    with_onednn: bool = False,
    parity_seconds: float = 60.0,
    parity_lines: Optional[int] = None,
    warmup: Union[int, PathLike, Sequence[Union[int, PathLike]]] = (),
    warmup_signatures: Sequence[str] = (),
    no_warmup: bool = False,
    for_serving: Optional[str] = None,
    for_device: Optional[str] = None,
    batching_params: Optional[PathLike] = None,
    no_fold: bool = False,
    gpu: bool = False,
    lines: Optional[PathLike] = None,
    allow_empty: bool = False,
    nfc: bool = True,
    batch_size: Optional[int] = None,
    max_cer: Optional[float] = None,
    lines_signature: Optional[str] = None,
    not_worse_than: Union[str, int, PathLike, None] = None,
    tolerance: Optional[float] = None,
    better_than: Union[str, int, PathLike, None] = None,
    server: Optional[ServerAddress] = None,
    compatible_with: Union[str, int, PathLike, None] = None,
    select: Optional[str] = None,
    unless_published: bool = False,
    skip_unchanged: bool = False,
    single_writer: bool = False,
    wait_for: Optional[ServerAddress] = None,
    timeout: float = 600,
    model_name: Optional[str] = None,
    probe_signatures: Sequence[str] = (),
    batched: Optional[bool] = None,
    dry_run: bool = False,
    progress: Optional[Progress] = None,
) -> Exported:
    """Publish a checkpoint as the next version of the model in `export_dir`, and return the version.

    `export_dir` may be the URL of an object store, as a string: s3://BUCKET/models/crnn.

    The options are those of the command `export`. `checkpoint` is a prefix, a file or a directory; a mapping from
    network to checkpoint for a model of several networks; None if `graph` holds the weights. `inputs` and `outputs` map
    the names for clients to names of tensors. `pinned` is `--set`, `renames` is `--map`: regular expression ->
    replacement. `warmup` is a number of requests, an .npz file or pictures. `progress` is called with the name and the
    result of each step. In a dry run nothing is published, and no server is waited for.

    Raises errors of `ckpt2saved.errors`. UsageError, SignatureError, CheckpointError, LabelsError, WarmupError,
    VersionError (with `unless_published` AlreadyPublished, for a checkpoint that a version has), WriteError,
    TensorFlowError, NotServable, NotCompatible, ParityError, NotAccurate and BreaksClients: nothing is published.
    NotLive (the server does not serve the version, or answers otherwise) and ServerError (no TF Serving responds) with
    `version` set: that version is published.
    """
    given = dict(locals())
    from ckpt2saved.console.say import silent
    from ckpt2saved.errors.values import check_values
    from ckpt2saved.exporting.keywords import read_export
    from ckpt2saved.exporting.publishing import publish_checkpoint

    check_values(select=select)
    for name in ("checkpoint", "export_dir", "select", "progress"):
        del given[name]
    of_export, check = read_export(checkpoint, export_dir, **given)
    return publish_checkpoint(of_export, check, select is not None, progress or silent)


def bump_version(
    base: PathLike,
    *,
    source: Union[int, PathLike, None] = None,
    version: Optional[int] = None,
    wait_for: Optional[ServerAddress] = None,
    timeout: float = 600,
    model_name: Optional[str] = None,
    probe_signatures: Sequence[str] = (),
    batched: Optional[bool] = None,
    deep: bool = False,
    compatible_with: Union[str, int, PathLike, None] = None,
    batching_params: Optional[PathLike] = None,
    single_writer: bool = False,
    dry_run: bool = False,
    progress: Optional[Progress] = None,
) -> Republished:
    """Publish an existing SavedModel as the next version of `base`, and return the version.

    The options are those of the command `bump-version`; `source` (--from) is a version number in `base` or the
    directory of a SavedModel, by default the newest version. TensorFlow is used only with `wait_for`, to compare
    answers, and only if it is installed.

    Raises UsageError, VersionError, WarmupError and BreaksClients: nothing is published. NotLive and ServerError with
    `version` set: that version is published.
    """
    import os
    from pathlib import Path

    from ckpt2saved.client.connection import address_of
    from ckpt2saved.console.say import silent
    from ckpt2saved.errors.values import check_values
    from ckpt2saved.server_config.version_batching import read_parameters
    from ckpt2saved.verification.known_clients import known_clients
    from ckpt2saved.verification.republishing import Checks, republish
    from ckpt2saved.verification.waiting import LiveCheck, ServerOptions
    from ckpt2saved.versions import BumpOptions
    from ckpt2saved.versions.bases import base_at

    check_values(version=version, timeout=timeout)
    server_options = ServerOptions(
        address=wait_for,
        timeout=timeout,
        model_name=model_name,
        probe_signatures=tuple(probe_signatures),
        batched=batched,
    )
    check = LiveCheck.of(server_options, "--wait-for")
    named = Path(compatible_with) if isinstance(compatible_with, os.PathLike) else compatible_with
    place = base_at(base, single_writer=single_writer)
    clients = known_clients(named, place, address_of(wait_for, "--wait-for"), model_name)
    batching = None if batching_params is None else read_parameters(batching_params)
    bump = BumpOptions(version, dry_run, deep, batching.text if batching else None)
    return republish(place, source, bump, Checks(check, clients, batching), progress or silent)


def list_versions(base: PathLike, *, deep: bool = False) -> Listing:
    """Return the versions of `base`, newest first, with origin, size and problems.

    With `deep`, checksums of all variables are compared. `ignored` of the result has the directories that TF Serving
    ignores because of their names. Raises VersionError if `base` is no base directory.
    """
    from ckpt2saved.versions.bases import base_at

    return base_at(base).listing(deep=deep)


def diff(old: PathLike, new: PathLike) -> Differences:
    """Compare two versions, or base directories (their newest version), and return how `new` differs from `old`.

    `problems` of the result is what breaks clients of `old`, `notes` are the other differences; `are_none` is true for
    the same content. TensorFlow is not used. Raises VersionError for a SavedModel that TF Serving could not load, and
    ServingError for signatures that can't be read.
    """
    from ckpt2saved.verification.differences import differences
    from ckpt2saved.versions import find_version

    return differences(find_version(old), find_version(new))


def prune(
    base: PathLike,
    keep: int = 5,
    *,
    server: Optional[ServerAddress] = None,
    model_name: Optional[str] = None,
    dry_run: bool = False,
    progress: Optional[Progress] = None,
) -> Pruned:
    """Delete the oldest versions of `base` but the `keep` newest complete ones, and return what was deleted.

    The options are those of the command `prune`. With `server`, nothing is deleted until it reports the newest version
    AVAILABLE, and no version that it holds is deleted. Raises UsageError, VersionError (NotDeleted, with the `deleted`
    directories, if some could not be), NotLive and ServerError.
    """
    from ckpt2saved.client import pruning
    from ckpt2saved.client.connection import server_at
    from ckpt2saved.console.say import silent
    from ckpt2saved.errors.values import check_values
    from ckpt2saved.versions.bases import base_at

    check_values(keep=keep)
    found = server_at(server, "--server")
    return pruning.prune(base_at(base), found, pruning.PruneOptions(keep, dry_run, model_name), progress or silent)


def sync(
    urls: Sequence[PathLike],
    local_base: PathLike,
    *,
    versions: int = 1,
    keep: int = 5,
    progress: Optional[Progress] = None,
) -> Tuple[Synced, ...]:
    """Pull the new versions of models at `urls` into base directories of this machine, once.

    The options are those of the command `sync`. What could not be pulled is told to `progress`; `is_current` of a
    result says whether the model has its newest version. Raises UsageError and VersionError.
    """
    from ckpt2saved.console.loops import Event, Stop
    from ckpt2saved.console.say import silent
    from ckpt2saved.errors.values import check_values
    from ckpt2saved.versions.syncing.loop import Syncer, synced_models
    from ckpt2saved.versions.syncing.model import Surroundings, SyncOptions

    check_values(versions=versions, keep=keep)
    say = progress or silent

    def emit(event: Event) -> None:
        say(event.kind, event.text)

    around = Surroundings(SyncOptions(versions=versions, keep=keep, once=True), emit, say, Stop())
    syncer = Syncer(synced_models(urls, local_base, around), around)
    syncer.run()
    return syncer.results()


def inspect(
    path: PathLike,
    *,
    write_signature: Optional[PathLike] = None,
    force: bool = False,
    for_device: Optional[str] = None,
    progress: Optional[Progress] = None,
) -> Inspection:
    """Return what a checkpoint, meta graph or SavedModel contains, and the command that exports it.

    With `write_signature` a signature file is written, with `force` also over an existing one. `for_device` is what the
    servers of a SavedModel compute on. Raises UsageError,
    CheckpointError, SignatureError, ServingError, TensorFlowError and WriteError.
    """
    from pathlib import Path

    from ckpt2saved.compatibility.image import find_device
    from ckpt2saved.console.say import begin, silent
    from ckpt2saved.inspection.signature_path import check_signature_path
    from ckpt2saved.inspection.subject import find_subject

    file = None if write_signature is None else Path(write_signature)
    if file is not None:
        check_signature_path(file, force)
    device = None if for_device is None else find_device(for_device)
    say = progress or silent
    subject = find_subject(Path(path))
    begin(say, "starting TensorFlow")
    from ckpt2saved.inspection.report import inspect_subject
    from ckpt2saved.inspection.signature_file import write_signature as write

    begin(say, f"reading {path}")
    inspection = inspect_subject(subject, device)
    if file is not None:
        write(inspection, file, force)
    return inspection


def verify(
    version_dir: PathLike,
    *,
    checkpoint: Checkpoints = (),
    server: Optional[ServerAddress] = None,
    model_name: Optional[str] = None,
    probe_signatures: Sequence[str] = (),
    batched: Optional[bool] = None,
    timeout: float = 600,
    request_file: Optional[PathLike] = None,
    with_onednn: bool = True,
    model: Optional[PathLike] = None,
    weights: str = "auto",
    ctc_decoder: Optional[str] = None,
    options: Mapping[str, Scalar] = {},  # never changed
    graph: Optional[PathLike] = None,
    python_path: Sequence[PathLike] = (),
    allow_code: bool = False,
    inputs: Tensors = (),
    outputs: Tensors = (),
    pinned: Mapping[str, Scalar] = {},  # never changed
    renames: Renames = (),
    keep_training_ops: bool = False,
    allow_labels: bool = False,
    decode: Optional[str] = None,
    beam_width: Optional[int] = None,
    top_paths: Optional[int] = None,
    merge_repeated: bool = False,
    sequence_length: Optional[str] = None,
    parity_seconds: float = 60.0,
    parity_lines: Optional[int] = None,
    for_device: Optional[str] = None,
    gpu: bool = False,
    progress: Optional[Progress] = None,
) -> Verification:
    """Check that a version can be served, that its answers are right, and that a server answers the same.

    The options are those of the command `verify`; `request_file` is `--inputs`, the others are as of `export`. What is
    wrong with the version is in `problems` of the result, which is empty if all checks passed.

    Raises errors of `ckpt2saved.errors` if a check could not run: UsageError, VersionError, CheckpointError,
    SignatureError, ServingError, ServerError and TensorFlowError.
    """
    from dataclasses import replace
    from pathlib import Path

    from ckpt2saved.answers.search_limits import SearchLimits
    from ckpt2saved.compatibility.image import find_device
    from ckpt2saved.console.say import begin, silent
    from ckpt2saved.errors.values import check_values
    from ckpt2saved.sources.graph_plan import graph_options
    from ckpt2saved.verification.plan import comparison_plan
    from ckpt2saved.verification.waiting import LiveCheck, ServerOptions
    from ckpt2saved.versions.bases import local_version
    from ckpt2saved.versions.object_stores.downloads import version_url
    from ckpt2saved.versions.object_stores.url import VersionUrl, is_store_url

    check_values(
        weights=weights,
        ctc_decoder=ctc_decoder,
        beam_width=beam_width,
        top_paths=top_paths,
        parity_seconds=parity_seconds,
        parity_lines=parity_lines,
        timeout=timeout,
        for_device=for_device,
    )
    device = None if for_device is None else find_device(for_device)
    say = progress or silent
    place = version_url(str(version_dir)) if is_store_url(version_dir) else version_dir
    with local_version(place, say) as directory:
        server_options = ServerOptions(
            address=server,
            timeout=timeout,
            model_name=model_name,
            probe_signatures=tuple(probe_signatures),
            batched=batched,
        )
        check = LiveCheck.of(server_options, "--server")
        if check is not None and probe_signatures:
            check.check_signatures_of(directory)
        target = None if check is None else check.target(directory)
        of_graph = graph_options(
            checkpoint,
            model=model,
            weights=weights,
            ctc_decoder=ctc_decoder,
            options=options,
            graph=graph,
            python_path=python_path,
            allow_code=allow_code,
            inputs=inputs,
            outputs=outputs,
            pinned=pinned,
            renames=renames,
            keep_training_ops=keep_training_ops,
            allow_labels=allow_labels,
            decode=decode,
            beam_width=beam_width,
            top_paths=top_paths,
            merge_repeated=merge_repeated,
            sequence_length=sequence_length,
        )
        plan = comparison_plan(of_graph, SearchLimits(parity_seconds, parity_lines), directory)
        begin(say, "starting TensorFlow")
        from ckpt2saved.graph.devices import gpus
        from ckpt2saved.graph.tf1 import check_gpus
        from ckpt2saved.verification.steps import Servers, verify_version

        if gpu:
            check_gpus()
        requests = None if request_file is None else Path(request_file)
        servers = Servers(device, with_onednn)
        with gpus(gpu):
            found = verify_version(directory, plan=plan, inputs=requests, target=target, servers=servers, say=say)
        return replace(found, path=place) if isinstance(place, VersionUrl) else found


def evaluate(
    place: Union[PathLike, ModelAddress],
    *,
    lines: Optional[PathLike] = None,
    pages: Optional[PathLike] = None,
    signature: Optional[str] = None,
    allow_empty: bool = False,
    nfc: bool = True,
    batch_size: Optional[int] = None,
    max_cer: Optional[float] = None,
    worst: Optional[PathLike] = None,
    worst_count: int = 20,
    font: Optional[PathLike] = None,
    model_name: Optional[str] = None,
    timeout: float = 60,
    retries: int = 3,
    gpu: bool = False,
    progress: Optional[Progress] = None,
) -> ModelEvaluation:
    """Measure how much of the text of labelled pictures a version, or a model on a server, reads.

    The options are those of the command `evaluate`: `lines` or `pages` is the labels file. The result has the
    character and word error rate (`cer`, `wer`) and all lines (`accuracy`); `problems` says why `max_cer` is not met.

    Raises UsageError, LabelsError, VersionError, ServingError, ServerError, NotServable, TensorFlowError, WriteError.
    """
    from pathlib import Path

    from ckpt2saved.answers.models import PlaceOptions, model_at
    from ckpt2saved.console.say import silent
    from ckpt2saved.errors import UsageError
    from ckpt2saved.errors.values import check_values
    from ckpt2saved.verification.accuracy.gate import Limits
    from ckpt2saved.verification.accuracy.labelled import LabelOptions
    from ckpt2saved.verification.accuracy.model_evaluation import Evaluation

    check_values(batch_size=batch_size, max_cer=max_cer, worst_count=worst_count, timeout=timeout, retries=retries)
    say = progress or silent
    drawing = None if worst is None else Path(worst)
    if drawing is not None:
        from ckpt2saved.console.drawing import check_picture_file

        if pages is not None:
            raise UsageError("--worst: it draws pictures of lines; only with --lines")
        check_picture_file(drawing, "--worst")
    evaluation = Evaluation(
        None if lines is None else Path(lines),
        None if pages is None else Path(pages),
        LabelOptions(signature, allow_empty, nfc, batch_size),
    )
    options = PlaceOptions(model_name=model_name, timeout=timeout, retries=retries, gpu=gpu)
    found = evaluation.of(model_at(place, options, say), Limits(max_cer), say)
    if drawing is not None:
        from ckpt2saved.verification.accuracy.worst_picture import draw_worst

        draw_worst(found.accuracy.worst[:worst_count], drawing, None if font is None else Path(font))
    return found


def predict(
    place: Union[PathLike, ModelAddress],
    files: Iterable[PathLike],
    *,
    signature: Optional[str] = None,
    batch_size: int = 32,
    model_name: Optional[str] = None,
    timeout: float = 60,
    retries: int = 3,
    gpu: bool = False,
    progress: Optional[Progress] = None,
) -> Predictions:
    """Send pictures, .npy and .npz files to a version, or to a model on a server; iterate the result for the answers.

    The options are those of the command `predict`; a directory stands for the pictures in it. Of each file there is a
    prediction with `name` and `answers`, by key of the output; or `problem`, why it was not answered; or `unread`, why
    the model could not read the picture.

    Raises UsageError, VersionError, ServingError, ServerError; while it is iterated NotAnswered (the first files are
    all refused), NotServable, TensorFlowError and the errors of a Client.
    """
    from ckpt2saved.answers.models import PlaceOptions, model_at
    from ckpt2saved.answers.predictions import Predictions
    from ckpt2saved.console.say import silent
    from ckpt2saved.errors.values import check_values

    check_values(batch_size=batch_size, timeout=timeout, retries=retries)
    options = PlaceOptions(model_name=model_name, timeout=timeout, retries=retries, gpu=gpu)
    model = model_at(place, options, progress or silent)
    return Predictions(model, signature, files, batch_size)


def __getattr__(name: str) -> Any:
    """Import the other public names on first use."""
    import importlib

    if name == "Client":
        return importlib.import_module("ckpt2saved.client.model_client").Client
    if name == "errors":
        return importlib.import_module("ckpt2saved.errors")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
