"""The user's own function as a graph source: `package.module:function`, under their code and their TensorFlow."""

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
    """A function that builds the network in the default graph, or returns a model object for an object checkpoint."""

    function: str  # package.module:function
    options: Mapping[str, Scalar] = field(default_factory=dict)
    python_path: Tuple[Path, ...] = ()  # where the module is looked for first

    @classmethod
    def of(cls, text: str, options: Mapping[str, Scalar], python_path: Tuple[Path, ...]) -> Optional[GraphSource]:
        return cls(text, options, python_path) if ":" in text else None

    @property
    def name(self) -> str:
        return self.function

    def imported(self) -> ContextManager[Callable[..., Any]]:
        """The function, for as long as the context lasts."""
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
        from ckpt2saved.sources.loaded import as_users_inference, loaded_from_builder
        from ckpt2saved.sources.objects import TracedCheckpoint, load_object
        from ckpt2saved.tf1 import tf, v1_control_flow

        if checkpoint.is_object_based:
            return load_object(self, checkpoint, model)
        if isinstance(checkpoint, TracedCheckpoint):
            return load_keras(checkpoint, model, self.name)
        graph = tf.Graph()
        with graph.as_default(), self.imported() as function, v1_control_flow():
            tensors = _checked_tensors(self.function, function(dict(checkpoint.variables()), dict(self.options)))
        return as_users_inference(loaded_from_builder(model, graph, tensors), self.name)


@contextlib.contextmanager
def users_function(
    builder: str, python_path: Sequence[Path]
) -> Iterator[Callable[[Mapping[str, Any], Mapping[str, Any]], Any]]:
    """Yield the function that `package.module:function` means, with its directories on sys.path for as long.

    The module is looked for in `python_path`, then where Python looks, then in the working directory. What it imports
    is looked for there as well, but in the standard library first: no file beside it stands in for a module of that,
    which TensorFlow and this package import too. Raises UsageError where there is no such function. What the user's
    module raises while it is imported passes through: it is theirs to see.
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
        elif found is not None and found.origin is not None:  # of its own name, even one of the standard library's
            _execute(found)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise  # the module is there; something that it needs is not
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
    """The index in sys.path behind the last directory of the standard library, before what is installed."""
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
    """What a user's function returned, if that is a mapping of names to tensors; raises SignatureError."""
    if not isinstance(tensors, Mapping) or not all(isinstance(name, str) for name in tensors):
        raise SignatureError(
            f"{builder}: it returned {type(tensors).__name__}; expected a dict of names to tensors, as in {{'image':"
            " image}"
        )
    return tensors
