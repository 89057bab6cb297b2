"""Plan which graph is served with which checkpoint, without TensorFlow."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, ContextManager, Mapping, Optional, Sequence, Tuple, Union

from ckpt2saved.checkpoint.files import CheckpointFiles, checkpoints_at
from ckpt2saved.errors import SignatureError, UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.reading import PathLike
from ckpt2saved.signature.arguments import decode_of, model_of_arguments, rename_rules, tensor_specs, with_changes
from ckpt2saved.signature.file import builtin_models, load_model
from ckpt2saved.signature.model import Decode, Scalar, ServedModel, Surgery
from ckpt2saved.signature.tensors import TensorSpec
from ckpt2saved.sources.function import FunctionSource
from ckpt2saved.sources.registry import find_source
from ckpt2saved.sources.source import GraphSource

if TYPE_CHECKING:
    from ckpt2saved.checkpoint.contents import Checkpoint


# One, one for each network by its name, or the values of --checkpoint.
Checkpoints = Union[PathLike, Mapping[str, PathLike], Sequence[PathLike], None]


@dataclass(frozen=True)
class GraphOptions:
    """The options about a graph; missing ones come from the signature file or are defaults."""

    # Anything that find_checkpoint takes: one, or one for each network by its name, also as NAME=PATH.
    checkpoints: Union[Tuple[Path, ...], Mapping[str, Path]] = ()
    model: Optional[str] = None  # a built-in model's name or a signature file's path
    graph: Optional[str] = None  # "meta", a .meta file, a built-in network, or package.module:function
    options: Mapping[str, Scalar] = field(default_factory=dict)
    inputs: Tuple[TensorSpec, ...] = ()  # with `outputs` and `decode`: the signature, if there is no `model`
    outputs: Tuple[TensorSpec, ...] = ()
    decode: Optional[Decode] = None
    pinned: Mapping[str, Scalar] = field(default_factory=dict)
    renames: Tuple[Tuple[str, str], ...] = ()
    keep_training_ops: bool = False
    allow_labels: bool = False
    keeps_cudnn: bool = False  # whether servers with a GPU run cuDNN's recurrent networks, and only others the loops
    python_path: Tuple[Path, ...] = ()
    allow_code: bool = False  # run the function that only the signature file names
    weights: str = "auto"
    ctc_decoder: Optional[str] = None

    @property
    def names_a_model(self) -> bool:
        """Whether an option tells what to serve."""
        return bool(self.model or self.graph or self.inputs or self.outputs or self.decode)


@dataclass(frozen=True)
class GraphPlan:
    """A graph source, a checkpoint and signatures that passed all checks of `plan_graph`."""

    source: GraphSource
    checkpoint: CheckpointFiles
    model: ServedModel
    weights: str
    ctc_decoder: Optional[str]  # None: fast, or stock if the fast decoder decodes differently

    def open(self) -> ContextManager[Checkpoint]:
        """The checkpoint, inside the context."""
        return self.source.open(self.checkpoint, self.model)


def _checkpoint_paths(
    given: Checkpoints,
) -> Union[Tuple[Path, ...], Mapping[str, Path]]:
    """Return the checkpoints of GraphOptions for a path, several, those of networks by their names, or None."""
    if isinstance(given, Mapping):
        return {name: Path(path) for name, path in given.items()}
    if given is None or isinstance(given, (str, os.PathLike)):
        return () if given is None else (Path(given),)
    return tuple(map(Path, given))


def graph_options(checkpoint: Checkpoints, **given: Any) -> GraphOptions:
    """Return the options of `export` and `verify` about a graph, in the forms that their keywords may have.

    Raises UsageError for a value that is malformed or has no effect.
    """
    details = {name: given.pop(name) for name in ("beam_width", "top_paths", "merge_repeated", "sequence_length")}
    return GraphOptions(
        checkpoints=_checkpoint_paths(checkpoint),
        model=_text(given.pop("model")),
        graph=_text(given.pop("graph")),
        options=dict(given.pop("options")),
        inputs=tensor_specs(given.pop("inputs")),
        outputs=tensor_specs(given.pop("outputs")),
        decode=decode_of(given.pop("decode"), details),
        pinned=dict(given.pop("pinned")),
        renames=rename_rules(given.pop("renames")),
        python_path=tuple(map(Path, given.pop("python_path"))),
        **given,
    )


def _text(value: Optional[PathLike]) -> Optional[str]:
    return None if value is None else os.fspath(value)


def plan_graph(options: GraphOptions) -> GraphPlan:
    """Find the files of `options`; raises UsageError, SignatureError or CheckpointError.

    UsageError also for a function that only the signature file names, without `allow_code`.
    """
    if options.graph is not None:  # report a wrong --graph before all other problems
        find_source(options.graph, options.options, options.python_path)
    if options.model is None:
        model = model_of_arguments(options.inputs, options.outputs, options.decode)
    elif options.inputs or options.outputs:
        raise UsageError("--input and --output stand for a signature file: pass them, or --model, not both")
    else:
        _refuse_checkpoint_as_model(options.model)
        model = load_model(options.model, options.options)
    given = {name: value for name, value in options.options.items() if name not in model.declared}
    _refuse_misspelt(given, model)
    source = find_source(options.graph or model.builder, dict(model.options, **given), options.python_path)
    if isinstance(source, FunctionSource) and options.graph is None and not options.allow_code:
        # A signature file is data, often from others, and can name any function that Python can import.
        raise UsageError(
            f"{model.source}: graph.builder: {model.builder} is code, which a signature file alone does not run; pass"
            f" --graph {model.builder}, or --allow-code if you trust the file"
        )
    changes = Surgery(
        pinned=options.pinned,
        renames=options.renames,
        keep_training_ops=options.keep_training_ops,
        decode=options.decode,
        allow_labels=options.allow_labels,
        keeps_cudnn=options.keeps_cudnn,
    )
    source.check_changes(changes)
    files = source.find_checkpoints(options.checkpoints)
    return GraphPlan(
        source=source.beside(files),
        checkpoint=files,
        model=with_changes(model, changes, has_nodes=source.has_nodes),
        weights=options.weights,
        ctc_decoder=options.ctc_decoder,
    )


def _refuse_misspelt(given: Mapping[str, Scalar], model: ServedModel) -> None:
    """Raise UsageError for options with names similar to those that the signature file declares for its steps."""
    near = {name: get_close_matches(name, model.declared, n=1) for name in given if name not in model.options}
    problems = [
        Problem("unknown-key", f"--option {name}", "there is no such option", f"did you mean {found[0]}?")
        for name, found in near.items()
        if found
    ]
    if problems:
        raise UsageError(f"{model.source}: it has other options", problems)


def _refuse_checkpoint_as_model(model: str) -> None:
    if not model.endswith((".yaml", ".yml")) and model not in builtin_models() and checkpoints_at(Path(model)):
        raise SignatureError(f"--model {model}: this is a checkpoint, not a signature file: pass it as --checkpoint")
