"""The user's own function as a graph's builder: `package.module:function`, under their code and their TensorFlow."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from ckpt2saved.errors import SignatureError, UsageError


def load_function(builder: str, python_path: Sequence[Path]) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Any]:
    """The function that `package.module:function` means, looked for in `python_path` first, then where Python looks.

    Raises UsageError where there is none. What the user's module raises while it is imported passes through: it is
    theirs to see.
    """
    module_name, _, function_name = builder.partition(":")
    for folder in reversed(python_path):
        if not folder.is_dir():
            raise UsageError("--python-path {}: there is no such directory".format(folder))
        sys.path.insert(0, str(folder.resolve()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise  # the module is there; something that it needs is not
        raise UsageError(
            "--graph {}: Python finds no module {!r}; say where it is with --python-path DIRECTORY".format(
                builder, error.name
            )
        ) from None
    found = module
    for part in function_name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise UsageError("--graph {}: {} has no function {!r}".format(builder, module.__file__, function_name))
    return found


def checked_tensors(builder: str, tensors: Any) -> Mapping[str, Any]:
    """What a user's function returned, if that is a mapping of names to tensors; raises SignatureError."""
    if not isinstance(tensors, Mapping) or not all(isinstance(name, str) for name in tensors):
        raise SignatureError(
            "{}: it returned {}; expected a dict of names to tensors, as in {{'image': image}}".format(
                builder, type(tensors).__name__
            )
        )
    return tensors
