"""TensorFlow's Python loader of a SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import NotServable
from ckpt2saved.files.plain_paths import as_plain_directory
from ckpt2saved.graph.contrib import register_ops_of
from ckpt2saved.graph.tf1 import tf


def load_into(session: tf.Session, directory: Path) -> Any:
    """Load the SavedModel into the session and its graph; returns the MetaGraphDef.

    Raises NotServable with the reason if it does not load.
    """
    register_ops_of(directory)
    try:
        return tf.saved_model.loader.load(session, [tf.saved_model.SERVING], as_plain_directory(directory))
    except (tf.errors.OpError, RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        raise NotServable(reason_of(error)) from error
