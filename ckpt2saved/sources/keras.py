"""A Keras model file (.keras, .h5) as a graph source, and Keras weights files for the model that a function returns."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Optional, Tuple

from ckpt2saved.checkpoint.files import CheckpointFiles, find_checkpoint
from ckpt2saved.errors import CheckpointError, SignatureError, TensorFlowError, UsageError
from ckpt2saved.files.kinds import is_keras_file
from ckpt2saved.signature.model import Scalar, ServedModel, Surgery
from ckpt2saved.sources.source import GraphSource

if TYPE_CHECKING:
    from ckpt2saved.checkpoint.contents import Checkpoint
    from ckpt2saved.sources.function import FunctionSource
    from ckpt2saved.sources.loaded import LoadedGraph

_WEIGHTS = ".weights.h5"  # the suffix of a Keras file without a model


@dataclass(frozen=True)
class KerasSource(GraphSource):
    """A Keras model file; its variables are written to a temporary checkpoint and stay variables."""

    path: Path

    holds_weights = True
    noun = "Keras file"
    name = "keras"

    @classmethod
    def of(cls, text: str, options: Mapping[str, Scalar], python_path: Tuple[Path, ...]) -> Optional[GraphSource]:
        if not is_keras_file(Path(text)):
            return None
        if text.endswith(_WEIGHTS):
            raise CheckpointError(
                f"--graph {text}: this is a file of weights, without a model: pass it as --checkpoint, with --graph"
                " MODULE:FUNCTION, a function that returns the Keras model"
            )
        return cls(Path(text))

    def check_changes(self, changes: Surgery) -> None:
        super().check_changes(changes)
        if changes.renames:
            raise UsageError("--map: the variables of a Keras model are found by object, not by name")

    def find_checkpoint(self, path: Optional[Path]) -> CheckpointFiles:
        if path is not None:
            raise UsageError(f"--checkpoint: {self.path} is a Keras model with its weights; omit it")
        return keras_files(self.path)

    def format_of(self, files: CheckpointFiles) -> str:
        return "Keras"

    @contextlib.contextmanager
    def open(self, files: CheckpointFiles, model: ServedModel) -> Iterator[Checkpoint]:
        from ckpt2saved.graph.tf1 import tf

        def read() -> Any:
            try:
                return tf.compat.v2.keras.models.load_model(str(self.path), compile=False)
            except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise CheckpointError(
                    f"{self.path}: Keras can't load this model: {error}\npass a function that builds it (--graph"
                    " MODULE:FUNCTION) and the file of its weights (--checkpoint FILE.weights.h5)"
                ) from error

        with _opened(files, read, model) as checkpoint:
            yield checkpoint

    def load(self, checkpoint: Checkpoint, model: ServedModel) -> LoadedGraph:
        return load_keras(checkpoint, model, self.name)


def keras_files(path: Path) -> CheckpointFiles:
    """A Keras file, in place of a checkpoint."""
    return CheckpointFiles(path, (path,), None)


@contextlib.contextmanager
def open_keras_weights(source: FunctionSource, files: CheckpointFiles, model: ServedModel) -> Iterator[Checkpoint]:
    """Open a Keras weights file for the model that a function returns."""
    import h5py

    shapes = {}
    if h5py.is_hdf5(str(files.prefix)):
        with h5py.File(str(files.prefix), "r") as file:
            file.visititems(lambda name, item: shapes.update({name: item.shape} if hasattr(item, "shape") else {}))
    with source.imported() as function:

        def read() -> Any:
            made = function(shapes, dict(source.options))
            if not hasattr(made, "load_weights"):
                raise SignatureError(
                    f"{files.prefix}: this is a Keras file: the function returned {type(made).__name__}, expected a"
                    " Keras model"
                )
            return made

        with _opened(files, read, model, weights=files.prefix) as checkpoint:
            yield checkpoint


@contextlib.contextmanager
def _opened(
    files: CheckpointFiles, read: Callable[[], Any], model: ServedModel, weights: Optional[Path] = None
) -> Iterator[Checkpoint]:
    """A temporary checkpoint with the variables of the Keras model from `read`, with the values of `weights`."""
    from ckpt2saved.checkpoint.contents import open_checkpoint
    from ckpt2saved.graph.tf1 import tf, undisturbed
    from ckpt2saved.sources.objects import TracedCheckpoint, trace

    if not tf.executing_eagerly():
        raise TensorFlowError(f"{files.prefix}: a Keras file needs TensorFlow 2")
    with undisturbed():
        made = read()
        traced = trace(made, model)  # also builds a model whose shapes depend on its inputs
        if weights is not None:
            try:
                made.load_weights(str(weights))
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise CheckpointError(f"{weights}: Keras can't load these weights into the model: {error}") from error
    variables = {}
    for variable in made.variables:
        held = getattr(variable, "value", variable)  # Keras 3 wraps a tf.Variable
        held = variable if callable(held) else held
        path = getattr(variable, "path", None) or variable.name.partition(":")[0]
        name, number = path, 1
        while name in variables:
            number += 1
            name = f"{path}_{number}"
        variables[name] = held
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as folder:
        prefix = Path(folder) / files.name
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(variables),
            shape_and_slices=[""] * len(variables),
            tensors=[variable.read_value() for variable in variables.values()],
        )
        written = open_checkpoint(find_checkpoint(prefix))
        handles = {id(variable.handle): name for name, variable in variables.items()}
        yield TracedCheckpoint(written.files, written.shapes, written.dtypes, None, traced=traced, handles=handles)


def load_keras(checkpoint: Checkpoint, model: ServedModel, name: str) -> LoadedGraph:
    """The graph of the model that was traced when the checkpoint was opened."""
    from ckpt2saved.sources.objects import TracedCheckpoint, load_traced

    assert isinstance(checkpoint, TracedCheckpoint)
    named = {handle: (key, key) for handle, key in checkpoint.handles.items()}
    return load_traced(checkpoint.traced, named, checkpoint, model, name)
