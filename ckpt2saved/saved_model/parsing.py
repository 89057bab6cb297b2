"""A SavedModel as TensorFlow's message, of which reading.py reads parts without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from ckpt2saved.errors import CheckpointError
from ckpt2saved.files.reading import read_file
from ckpt2saved.graph.tf1 import SavedModel
from ckpt2saved.saved_model.reading import LARGEST_PROTOBUF


def parse_saved_model(directory: Path) -> Any:
    """Parse the SavedModel message of a directory; raises CheckpointError if it is missing or damaged."""
    saved_model = SavedModel()
    binary = directory / "saved_model.pb"
    path = binary if binary.is_file() else directory / "saved_model.pbtxt"
    try:
        if path == binary:
            saved_model.ParseFromString(read_file(path, LARGEST_PROTOBUF))
        else:
            text_format.Merge(read_file(path, LARGEST_PROTOBUF).decode("utf-8"), saved_model)
    except (DecodeError, UnicodeDecodeError, text_format.ParseError) as error:
        raise CheckpointError(f"{path}: this is no SavedModel, or it is damaged ({error})") from error
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from error
    if not saved_model.meta_graphs:
        raise CheckpointError(f"{path}: there is no meta graph in it")
    return saved_model
