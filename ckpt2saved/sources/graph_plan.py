"""Which graph is served, with which checkpoint: decided, and refused, without TensorFlow."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Mapping, Optional, Tuple

from ckpt2saved.checkpoint.files import CheckpointFiles, checkpoints_at, find_checkpoint
from ckpt2saved.errors import CheckpointError, SignatureError, UsageError
from ckpt2saved.files.kinds import is_meta_graph, kind_of
from ckpt2saved.signature.arguments import model_of_arguments, with_surgery
from ckpt2saved.signature.file import builtin_models, load_model
from ckpt2saved.signature.model import META, Decode, Scalar, ServedModel
from ckpt2saved.signature.tensors import TensorSpec


@dataclass(frozen=True)
class GraphOptions:
    """What a command line says about a graph; what it leaves out is in the signature file, or the default."""

    checkpoint: Path  # anything that find_checkpoint takes
    model: Optional[str] = None  # a built-in model's name or a signature file's path
    graph: Optional[str] = None  # "meta", a .meta file, a built-in network, or package.module:function
    options: Mapping[str, Scalar] = field(default_factory=dict)
    inputs: Tuple[TensorSpec, ...] = ()  # with `outputs` and `decode`: the signature, where there is no `model`
    outputs: Tuple[TensorSpec, ...] = ()
    decode: Optional[Decode] = None
    pinned: Mapping[str, Scalar] = field(default_factory=dict)
    renames: Tuple[Tuple[str, str], ...] = ()
    keep_training_ops: bool = False
    allow_labels: bool = False
    python_path: Tuple[Path, ...] = ()
    allow_code: bool = False  # run the function that only the signature file names
    weights: str = "auto"
    ctc_decoder: Optional[str] = None

    @property
    def names_a_model(self) -> bool:
        """Whether anything says what is served."""
        return bool(self.model or self.graph or self.inputs or self.outputs or self.decode)


@dataclass(frozen=True)
class GraphPlan:
    """A graph, a checkpoint and what of them is served, against which nothing speaks yet."""

    model: ServedModel
    meta: Optional[Path]  # the training's graph, where that is what is served
    checkpoint: CheckpointFiles
    python_path: Tuple[Path, ...]  # where the user's own builder is looked for first
    weights: str
    ctc_decoder: Optional[str]  # None: fast, and stock where that answers differently


def plan_graph(options: GraphOptions) -> GraphPlan:
    """Find the files that `options` name; raises UsageError, SignatureError or CheckpointError."""
    return with_checkpoint(plan_model(options), options)


def plan_model(options: GraphOptions) -> ServedModel:
    """What is served; a function that only a signature file names is refused unless that is allowed."""
    model = _served_model(options)
    if options.graph is None and not options.allow_code:
        _refuse_code(model)
    return model


def with_checkpoint(model: ServedModel, options: GraphOptions) -> GraphPlan:
    """The plan for a model, with the files of the checkpoint."""
    files = find_checkpoint(options.checkpoint)
    return GraphPlan(
        model=model,
        meta=_meta(options.graph, files) if model.builder == META else None,
        checkpoint=files,
        python_path=options.python_path,
        weights=options.weights,
        ctc_decoder=options.ctc_decoder,
    )


def _served_model(options: GraphOptions) -> ServedModel:
    graph = options.graph
    if graph is not None:
        _refuse_other_graphs(graph)
    builder = META if graph is not None and _is_file_of_graph(graph) else graph
    if options.model is None:
        served = model_of_arguments(builder or META, options.inputs, options.outputs, options.decode)
    elif options.inputs or options.outputs:
        raise UsageError("--input and --output stand for a signature file: pass them, or --model, not both")
    else:
        _refuse_checkpoint_as_model(options.model)
        served = load_model(options.model)
    served = with_surgery(
        served,
        builder=builder,
        pinned=options.pinned,
        renames=options.renames,
        keep_training_ops=options.keep_training_ops,
        allow_labels=options.allow_labels,
        decode=options.decode,
    )
    return replace(served, options=dict(served.options, **options.options))


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


def _refuse_other_graphs(graph: str) -> None:
    """Say what --graph names where that is no meta graph, before the rest of the command line is looked at."""
    if graph in (META, *builtin_models()):
        return
    path = Path(graph)
    kind = kind_of(path)
    if kind and not is_meta_graph(path):
        raise CheckpointError("--graph {}: {}".format(graph, kind.instead_of("a training's graph")))
    if kind or path.suffix == ".meta":
        return
    for prefix in checkpoints_at(path):
        meta = Path(str(prefix) + ".meta")
        way = f"pass {meta}" if meta.is_file() else "pass its .meta file, or a function (MODULE:FUNCTION)"
        raise CheckpointError(f"--graph {graph}: this is a checkpoint, not a training's graph: {way}")


def _refuse_checkpoint_as_model(model: str) -> None:
    if not model.endswith((".yaml", ".yml")) and model not in builtin_models() and checkpoints_at(Path(model)):
        raise SignatureError(f"--model {model}: this is a checkpoint, not a signature file: pass it as --checkpoint")


def _meta(graph: Optional[str], files: CheckpointFiles) -> Path:
    if graph is not None and graph != META:
        return Path(graph)
    if files.meta is None:
        raise CheckpointError(
            f"{files.prefix}: there is no {files.name}.meta, the training's graph, beside this checkpoint: pass its"
            " path (--graph FILE.meta), or a signature file whose graph has a builder (--model)"
        )
    return files.meta
