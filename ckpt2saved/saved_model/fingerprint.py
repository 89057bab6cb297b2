"""The file fingerprint.pb of a SavedModel, by which TensorFlow 2.12 and newer tell SavedModels apart."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

from ckpt2saved.files.write_errors import writing
from ckpt2saved.graph.tf1 import fingerprint_of
from ckpt2saved.saved_model.reading import FINGERPRINT_FILE, GRAPH_FILE


def write_fingerprint(directory: Path) -> None:
    """Write fingerprint.pb for the saved_model.pb and variables of a directory; nothing where TensorFlow reads none.

    The fields are those that `tf.saved_model.save` writes. The UUID, which TensorFlow draws at random, is made of the
    other fields, so that the same files get the same fingerprint.
    https://www.tensorflow.org/api_docs/python/tf/saved_model/experimental/Fingerprint

    Raises OSError where a file can't be read or written.
    """
    path = directory / FINGERPRINT_FILE
    fingerprint = fingerprint_of(directory)
    if fingerprint is None:
        return
    index = directory / "variables" / "variables.index"
    hashes = [(directory / GRAPH_FILE, fingerprint.saved_model_checksum)]
    hashes += [(index, fingerprint.checkpoint_hash)] if index.exists() else []
    for file, value in hashes:
        if not value:
            raise OSError(errno.EIO, "TensorFlow could not read it for the fingerprint", str(file))
    if hasattr(fingerprint, "uuid"):  # since TensorFlow 2.15
        fingerprint.uuid = ""
        digest = hashlib.sha256(fingerprint.SerializeToString(deterministic=True)).digest()
        fingerprint.uuid = str(int.from_bytes(digest[:16], "big"))
    with writing(path):
        path.write_bytes(fingerprint.SerializeToString(deterministic=True))
