"""The kinds of graph sources, and the choice of one for --graph."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Optional, Tuple, Type

from ckpt2saved.errors import SignatureError
from ckpt2saved.signature.file import builtin_models
from ckpt2saved.signature.model import Scalar
from ckpt2saved.sources.builtin import BuiltinSource
from ckpt2saved.sources.frozen import FrozenSource
from ckpt2saved.sources.function import FunctionSource
from ckpt2saved.sources.joined import JoinedSource
from ckpt2saved.sources.keras import KerasSource
from ckpt2saved.sources.meta import MetaSource
from ckpt2saved.sources.source import GraphSource

SOURCES: Tuple[Type[GraphSource], ...] = (
    JoinedSource,
    BuiltinSource,
    FrozenSource,
    KerasSource,
    MetaSource,
    FunctionSource,
)


def find_source(text: str, options: Mapping[str, Scalar], python_path: Tuple[Path, ...]) -> GraphSource:
    """The source that `text` names; raises SignatureError if it names none."""
    for kind in SOURCES:
        source = kind.of(text, options, python_path)
        if source is not None:
            return source
    raise SignatureError(
        f"graph.builder: {text!r} is not built in; there are {', '.join(builtin_models())}; a function of your own is"
        " package.module:function, the training's graph is meta"
    )


def holds_weights(text: Optional[str]) -> bool:
    """Whether --graph names a file that also contains the weights."""
    return text is not None and any(kind.holds_weights and kind.of(text, {}, ()) for kind in SOURCES)
