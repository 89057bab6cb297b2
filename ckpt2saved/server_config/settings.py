"""Settings of a server's process that decide its speed: threads, oneDNN, mixed precision, batching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from ckpt2saved.compatibility.image import Image
from ckpt2saved.server_config.batching import Batching

BFLOAT16 = "bfloat16"  # the one value of --mixed_precision that TF Serving knows
ONEDNN_VARIABLE = "TF_ENABLE_ONEDNN_OPTS"


@dataclass(frozen=True)
class ServerSettings:
    """Threads, oneDNN, mixed precision and batching of one server; None where the server decides."""

    intra_op: Optional[int] = None  # threads that compute one op
    inter_op: Optional[int] = None  # ops that run at the same time
    onednn: Optional[bool] = None
    batching: Optional[Batching] = None
    mixed_precision: Optional[str] = None

    def flags(self, image: Image) -> Tuple[str, ...]:
        """Return the flags that the release has, without those of batching, which name files.

        A server that gets one of the two flags of threads takes 0 (all CPUs) for the other one.
        """
        flags = [
            f"--tensorflow_{name}_parallelism={threads}"
            for name, threads in (("intra_op", self.intra_op), ("inter_op", self.inter_op))
            if threads is not None
        ]
        if self.mixed_precision is not None and image.has_mixed_precision:
            flags.append(f"--mixed_precision={self.mixed_precision}")
        return tuple(flags)

    def environment(self, image: Optional[Image] = None) -> Dict[str, str]:
        """Return the variables of the process; without an image, those of a process of any TensorFlow."""
        if self.onednn is None or not (image is None or image.has_onednn):
            return {}
        return {ONEDNN_VARIABLE: str(int(self.onednn))}

    @property
    def text(self) -> str:
        """The settings that are known, for tables and messages; "" without any."""
        texts = [
            f"{name} {value}"
            for name, value in (("intra-op", self.intra_op), ("inter-op", self.inter_op))
            if value is not None
        ]
        if self.onednn is not None:
            texts.append(f"oneDNN {'on' if self.onednn else 'off'}")
        if self.mixed_precision is not None:
            texts.append(self.mixed_precision)
        if self.batching is not None:
            texts.append(f"batching up to {self.batching.max_batch_size}")
        return ", ".join(texts)

    def as_content(self) -> Dict[str, Any]:
        """Return the JSON content, from which `from_content` makes the settings again."""
        return {
            "intra_op": self.intra_op,
            "inter_op": self.inter_op,
            "onednn": self.onednn,
            "batching": self.batching.as_content() if self.batching else None,
            "mixed_precision": self.mixed_precision,
        }

    @classmethod
    def from_content(cls, content: Dict[str, Any]) -> ServerSettings:
        """Return the settings of a valid JSON content, as of `bench served --json`."""
        batching = content["batching"]
        return cls(**dict(content, batching=Batching.from_content(batching) if batching else None))
