"""A function of the user as a graph source: `package.module:function`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import sysconfig
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Iterator, Mapping, Optional, Sequence, Tuple

from ckpt2saved.checkpoint.files import CheckpointFiles
from ckpt2saved.errors import SignatureError, UsageError
from ckpt2saved.files.kinds import is_keras_file
from ckpt2saved.signature.model import FUNCTION, Scalar, ServedModel
from ckpt2saved.sources.keras import keras_files, load_keras, open_keras_weights
from ckpt2saved.sources.source import GraphSource

if TYPE_CHECKING:
    from ckpt2saved.checkpoint.contents import Checkpoint
    from ckpt2saved.sources.loaded import LoadedGraph


@dataclass(frozen=True)
class FunctionSource(GraphSource):
    """A function that builds the network in the default graph, or returns a model object."""

    function: str  # package.module:function
    options: Mapping[str, Scalar] = field(default_factory=dict)
    python_path: Tuple[Path, ...] = ()  # directories to search first for the module

    @classmethod
    def of(cls, text: str, options: Mapping[str, Scalar], python_path: Tuple[Path, ...]) -> Optional[GraphSource]:
        return cls(text, options, python_path) if ":" in text else None

    @property
    def name(self) -> str:
        return self.function

    def imported(self) -> ContextManager[Callable[..., Any]]:
        """The function, inside the context."""
        return users_function(self.function, self.python_path)

    def find_checkpoint(self, path: Optional[Path]) -> CheckpointFiles:
        if path is not None and is_keras_file(path):
            return keras_files(path)
        return super().find_checkpoint(path)

    def format_of(self, files: CheckpointFiles) -> str:
        return "Keras" if is_keras_file(files.prefix) else super().format_of(files)

    @contextlib.contextmanager
    def open(self, files: CheckpointFiles, model: ServedModel) -> Iterator[Checkpoint]:
        is_keras = is_keras_file(files.prefix)
        with open_keras_weights(self, files, model) if is_keras else super().open(files, model) as checkpoint:
            yield checkpoint

    def load(self, checkpoint: Checkpoint, model: ServedModel) -> LoadedGraph:
        from ckpt2saved.graph.tf1 import tf, v1_control_flow
        from ckpt2saved.sources.loaded import as_users_inference, loaded_from_builder
        from ckpt2saved.sources.objects import TracedCheckpoint, load_object

        if checkpoint.is_object_based:
            return load_object(self, checkpoint, model)
        if isinstance(checkpoint, TracedCheckpoint):
            return load_keras(checkpoint, model, self.name)
        graph = tf.Graph()
        with graph.as_default(), self.imported() as function, v1_control_flow():
            tensors = _checked_tensors(self.function, function(dict(checkpoint.variables()), dict(self.options)))
        loaded = loaded_from_builder(model, graph, tensors)
        return as_users_inference(loaded, self.name, checkpoint.variables())


@contextlib.contextmanager
def users_function(
    builder: str, python_path: Sequence[Path]
) -> Iterator[Callable[[Mapping[str, Any], Mapping[str, Any]], Any]]:
    """Yield the function `package.module:function`, with its directories on sys.path inside the context.

    The module is searched in `python_path`, then in sys.path, then in the working directory. Its own imports search
    the standard library first, so that no file beside it replaces a standard module that TensorFlow or this package
    imports. Raises UsageError if there is no such function; exceptions of the user's module pass through.
    """
    if not FUNCTION.match(builder):
        raise UsageError(f"--graph {builder!a}: expected package.module:function, as in my_project.serving:build")
    for folder in python_path:
        if not folder.is_dir():
            raise UsageError(f"--python-path {folder}: there is no such directory")
    module_name, _, function_name = builder.partition(":")
    paths = list(sys.path)
    folders = [str(folder.resolve()) for folder in python_path]
    try:
        yield _function(builder, _module(builder, module_name, folders), function_name)
    finally:
        sys.path[:] = paths


def _module(builder: str, name: str, folders: Sequence[str]) -> Any:
    place = _behind_the_standard_library()
    sys.path[place:place] = folders
    importlib.invalidate_caches()
    top = name.partition(".")[0]
    if top not in sys.modules:
        found = PathFinder.find_spec(top, folders)
        if found is None and PathFinder.find_spec(top) is None:
            sys.path.insert(place, os.getcwd())
        elif found is not None and found.origin is not None:  # also if the standard library has a module of this name
            _execute(found)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise  # a module that the user's module imports is missing
        raise UsageError(
            f"--graph {builder}: Python finds no module {error.name!r}; say where it is with --python-path DIRECTORY"
        ) from None


def _execute(spec: ModuleSpec) -> None:
    module = sys.modules[spec.name] = module_from_spec(spec)
    assert spec.loader is not None, "a module that was found in a folder"
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise


def _behind_the_standard_library() -> int:
    """The index in sys.path after the standard library and before installed packages."""
    standard = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    standard |= {os.path.join(folder, "lib-dynload") for folder in standard}
    return 1 + max((i for i, path in enumerate(sys.path) if os.path.realpath(path) in standard), default=-1)


def _function(builder: str, module: Any, name: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Any]:
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        where = getattr(module, "__file__", None) or module.__name__
        raise UsageError(f"--graph {builder}: {where} has no function {name!r}")
    function: Callable[[Mapping[str, Any], Mapping[str, Any]], Any] = found
    return function


def _checked_tensors(builder: str, tensors: Any) -> Mapping[str, Any]:
    """The return value of the user's function; raises SignatureError if it is no mapping of names to tensors."""
    if not isinstance(tensors, Mapping) or not all(isinstance(name, str) for name in tensors):
        raise SignatureError(
            f"{builder}: it returned {type(tensors).__name__}; expected a dict of names to tensors, as in {{'image':"
            " image}"
        )
    return tensors
