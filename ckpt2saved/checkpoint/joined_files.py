"""The files of the checkpoints of several networks, without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Mapping, Optional

from ckpt2saved.checkpoint.files import CheckpointFiles


@dataclass(frozen=True)
class JoinedFiles(CheckpointFiles):
    """The files of all checkpoints; `prefix` is a text for messages."""

    parts: Mapping[str, CheckpointFiles] = field(default_factory=dict)  # by the names of the networks
    copy: Optional[Path] = None  # the prefix of a checkpoint with the tensors of all networks

    @property
    def name(self) -> str:
        return ", ".join(f"{network}={files.name}" for network, files in self.parts.items())

    @property
    def for_tensorflow(self) -> str:
        """Return the prefix of the copy."""
        return str(self.copy)

    def sha256(self) -> Dict[str, str]:
        """Return NETWORK/file name -> SHA-256 of the files that identify the checkpoints."""
        return {
            f"{network}/{name}": digest
            for network, files in self.parts.items()
            for name, digest in files.sha256().items()
        }


def join_files(parts: Mapping[str, CheckpointFiles]) -> JoinedFiles:
    """Return the files of all checkpoints, by the names of the networks."""
    prefix = Path(", ".join(f"{network}={files.prefix}" for network, files in parts.items()))
    everything = tuple(file for files in parts.values() for file in files.files)
    return JoinedFiles(prefix, everything, meta=None, parts=dict(parts))
