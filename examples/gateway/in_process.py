"""A SavedModel that is run in this process, where there is no TF Serving."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

from ckpt2saved.errors import ServerError, UsageError
from ckpt2saved.versions import find_complete_version


class Files:
    """The files of a version, or of the newest in a base directory; threads share it, as they share a Client."""

    def __init__(self, path: str) -> None:
        self._version = find_complete_version(path)
        import tensorflow.compat.v1 as tf

        tf.logging.set_verbosity(tf.logging.ERROR)
        self._failure = tf.errors.OpError
        self._session = tf.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            self._signatures = tf.saved_model.loader.load(self._session, ["serve"], str(self._version)).signature_def

    def predict(self, signature: str, inputs: Dict[str, Any]) -> Dict[str, np.ndarray]:
        """As Client.predict; raises UsageError or ServerError."""
        if signature not in self._signatures:
            expected = ", ".join(sorted(self._signatures))
            raise UsageError(f"{self._version}: there is no signature {signature}; expected one of {expected}")
        found = self._signatures[signature]
        feeds = {found.inputs[key].name: value for key, value in inputs.items()}
        try:
            return self._session.run({key: info.name for key, info in found.outputs.items()}, feeds)
        except self._failure as error:
            raise ServerError(f"{self._version}: signature {signature}: {error.message}") from error
