"""What an export is going to do, as far as that can be known, and refused, without TensorFlow."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Tuple

from ckpt2saved.answers.search_limits import DEFAULT_LIMITS, SearchLimits
from ckpt2saved.checkpoint.files import CheckpointFiles, find_checkpoint
from ckpt2saved.compatibility.image import Image, find_image
from ckpt2saved.errors import CheckpointError, UsageError
from ckpt2saved.files.kinds import is_meta_graph, kind_of
from ckpt2saved.requests.warmup_source import WarmupSource, warmup_source
from ckpt2saved.signature.arguments import model_of_arguments, with_surgery
from ckpt2saved.signature.file import builtin_models, load_model
from ckpt2saved.signature.model import META, Decode, Scalar, ServedModel
from ckpt2saved.signature.tensors import TensorSpec
from ckpt2saved.versions import check_base, next_version, read_provenance


@dataclass(frozen=True)
class Plan:
    """An export that nothing speaks against yet."""

    model: ServedModel
    meta: Optional[Path]  # the training's graph, where that is what is served
    checkpoint: CheckpointFiles
    base: Path
    requested: Optional[int]  # the version asked for; None: the next one when it is published
    number: int  # the version that this is, if nobody else publishes meanwhile
    weights: str
    ctc_decoder: Optional[str]  # None: fast, and stock where that answers differently
    python_path: Tuple[Path, ...]  # where the user's own builder is looked for first
    parity: bool
    warmup: Optional[WarmupSource]  # None: no requests for the server to warm up with
    dry_run: bool
    for_serving: Optional[Image] = None  # the release of TF Serving that must have all its ops and attributes
    search_limits: SearchLimits = DEFAULT_LIMITS


def plan_export(
    *,
    model: Optional[str],
    checkpoint: Path,
    base: Path,
    version: Optional[int] = None,
    weights: str = "auto",
    ctc_decoder: Optional[str] = None,
    options: Mapping[str, Scalar] = {},
    graph: Optional[str] = None,
    inputs: Sequence[TensorSpec] = (),
    outputs: Sequence[TensorSpec] = (),
    pinned: Mapping[str, Scalar] = {},
    renames: Sequence[Tuple[str, str]] = (),
    keep_training_ops: bool = False,
    allow_labels: bool = False,
    decode: Optional[Decode] = None,
    python_path: Sequence[Path] = (),
    allow_code: bool = False,
    parity: bool = True,
    warmup: Sequence[str] = (),
    warmup_signatures: Sequence[str] = (),
    no_warmup: bool = False,
    dry_run: bool = False,
    for_serving: Optional[str] = None,
    search_limits: SearchLimits = DEFAULT_LIMITS,
) -> Plan:
    """Check everything about an export that takes milliseconds to check.

    `model` is a built-in model's name or a signature file's path; without it `inputs`, `outputs` and `decode` are the
    signature. `graph` goes before what the file says of it: a `.meta` file, `meta` for the one beside the checkpoint,
    or a built-in network. `checkpoint` is anything that find_checkpoint takes, `base` the directory of the model's
    versions, `warmup` what --warmup was given, `for_serving` a release of TF Serving; `options` go before those in the
    signature file. A function that only the file names is refused unless `allow_code`. Raises UsageError,
    SignatureError, CheckpointError or VersionError.
    """
    image = None if for_serving is None else find_image(for_serving, "--for-serving")
    served = _served_model(
        model, graph, options, inputs, outputs, pinned, renames, keep_training_ops, allow_labels, decode
    )
    if graph is None and not allow_code:
        _refuse_code(served)
    source = warmup_source(served, warmup, warmup_signatures, no_warmup)
    check_base(base)
    number = next_version(base, version)
    files = find_checkpoint(checkpoint)
    meta = _meta(graph, files) if served.builder == META else None
    return Plan(
        model=served,
        meta=meta,
        checkpoint=files,
        base=base,
        requested=version,
        number=number,
        weights=weights,
        ctc_decoder=ctc_decoder,
        python_path=tuple(python_path),
        parity=parity,
        warmup=source,
        dry_run=dry_run,
        for_serving=image,
        search_limits=search_limits,
    )


def plan_comparison(
    version_dir: Path,
    *,
    checkpoint: Path,
    model: Optional[str] = None,
    weights: str = "auto",
    ctc_decoder: Optional[str] = None,
    options: Mapping[str, Scalar] = {},
    graph: Optional[str] = None,
    inputs: Sequence[TensorSpec] = (),
    outputs: Sequence[TensorSpec] = (),
    pinned: Mapping[str, Scalar] = {},
    renames: Sequence[Tuple[str, str]] = (),
    keep_training_ops: bool = False,
    allow_labels: bool = False,
    decode: Optional[Decode] = None,
    python_path: Sequence[Path] = (),
    allow_code: bool = False,
    search_limits: SearchLimits = DEFAULT_LIMITS,
) -> Plan:
    """The export that a version was, as far as the comparison with a checkpoint needs it.

    What is not given is what the version's provenance says; raises UsageError where that does not suffice.
    """
    provenance = read_provenance(version_dir) or {}
    if model is None and graph is None and not inputs and not outputs and decode is None:
        model, recorded = _recorded_model(version_dir, provenance)
        options = dict(recorded, **options)
    served = _served_model(
        model, graph, options, inputs, outputs, pinned, renames, keep_training_ops, allow_labels, decode
    )
    if graph is None and not allow_code:
        _refuse_code(served)
    files = find_checkpoint(checkpoint)
    meta = _meta(graph, files) if served.builder == META else None
    if weights == "auto" and provenance.get("weights") in ("raw", "ema"):
        weights = provenance["weights"]
    kind = ctc_decoder or ("greedy" if provenance.get("ctc_decoder") == "greedy" else None)
    return Plan(
        model=served,
        meta=meta,
        checkpoint=files,
        base=version_dir.parent,
        requested=None,
        number=0,
        weights=weights,
        ctc_decoder=kind,
        python_path=tuple(python_path),
        parity=True,
        warmup=None,
        for_serving=None,
        dry_run=True,
        search_limits=search_limits,
    )


def _recorded_model(version_dir: Path, provenance: Mapping[str, Any]) -> Tuple[str, Mapping[str, Scalar]]:
    """A built-in model and its options; nothing else is recorded whole."""
    graph = provenance.get("graph")
    name, builder = provenance.get("model"), graph.get("builder") if isinstance(graph, dict) else None
    if name == builder and name in builtin_models():
        return name, graph.get("options") or {}
    origin = f"it was exported from {builder or 'elsewhere'}" if provenance else "ckpt2saved did not export it"
    raise UsageError(
        f"{version_dir}: {origin}, and only of a built-in model does a version say all that the comparison with a"
        " checkpoint takes; pass the options that it was exported with: --model NAME|FILE.yaml, or --graph with"
        " --input and --output, and --option, --set, --map, --decode where they were used"
    )


def _served_model(
    model: Optional[str],
    graph: Optional[str],
    options: Mapping[str, Scalar],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    pinned: Mapping[str, Scalar],
    renames: Sequence[Tuple[str, str]],
    keep_training_ops: bool,
    allow_labels: bool,
    decode: Optional[Decode],
) -> ServedModel:
    builder = META if graph is not None and _is_file_of_graph(graph) else graph
    if model is None:
        served = model_of_arguments(builder or META, inputs, outputs, decode)
    elif inputs or outputs:
        raise UsageError("--input and --output stand for a signature file: pass them, or --model, not both")
    else:
        served = load_model(model)
    served = with_surgery(
        served,
        builder=builder,
        pinned=pinned,
        renames=renames,
        keep_training_ops=keep_training_ops,
        allow_labels=allow_labels,
        decode=decode,
    )
    return replace(served, options=dict(served.options, **options))


def _refuse_code(model: ServedModel) -> None:
    """A signature file is data, and data of somebody else's may name any function that Python can import."""
    if model.is_function:
        raise UsageError(
            f"{model.source}: graph.builder: {model.builder} is code, which a signature file alone does not run; pass"
            f" --graph {model.builder}, or --allow-code if you trust the file"
        )


def _is_file_of_graph(graph: str) -> bool:
    """Whether --graph is a file's path, whatever is in it; a built-in network's name is no path."""
    return graph.endswith(".meta") or (graph not in (META, *builtin_models()) and os.path.isfile(graph))


def _meta(graph: Optional[str], files: CheckpointFiles) -> Path:
    if graph is not None and graph != META:
        kind = kind_of(Path(graph))
        if kind and not is_meta_graph(Path(graph)):
            raise CheckpointError("--graph {}: {}".format(graph, kind.instead_of("a training's graph")))
        return Path(graph)
    if files.meta is None:
        raise CheckpointError(
            f"{files.prefix}: there is no {files.name}.meta, the training's graph, beside this checkpoint: pass its"
            " path (--graph FILE.meta), or a signature file whose graph has a builder (--model)"
        )
    return files.meta
