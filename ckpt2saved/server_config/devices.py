"""The GPUs of a server, as options of Docker, Compose and Kubernetes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from ckpt2saved.errors import UsageError

_GPUS = re.compile(r"(?:(all)|([1-9][0-9]?)|device=([0-9A-Za-z-]+(?:,[0-9A-Za-z-]+)*))\Z")


@dataclass(frozen=True)
class Gpus:
    """All GPUs of the machine, `count` of them, or those with these numbers or UUIDs."""

    count: Optional[int] = None
    ids: Tuple[str, ...] = ()

    @property
    def docker(self) -> str:
        """Return the value of `docker run --gpus`; it is parsed as CSV, hence the quotes."""
        return f'"device={",".join(self.ids)}"' if self.ids else str(self.count or "all")

    @property
    def visible_devices(self) -> str:
        """Return the value of NVIDIA_VISIBLE_DEVICES, which does not support counts."""
        return ",".join(self.ids or map(str, range(self.count or 0))) or "all"

    @property
    def compose(self) -> Dict[str, Any]:
        """Return an entry of `deploy.resources.reservations.devices`."""
        which: Dict[str, Any] = {"device_ids": list(self.ids)} if self.ids else {"count": self.count or "all"}
        return dict(driver="nvidia", capabilities=["gpu"], **which)

    @property
    def kubernetes(self) -> int:
        """Return the number of `nvidia.com/gpu`; Kubernetes chooses the devices."""
        if not self.ids and self.count is None:
            raise UsageError("--gpus: Kubernetes hands out GPUs by their number; expected one, as in --gpus 1")
        return len(self.ids) or int(self.count or 0)


def parse_gpus(text: str) -> Gpus:
    """Parse a value of `docker run --gpus`: all, 2, or device=0,1."""
    match = _GPUS.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not all, a count from 1 on, or device=0,1")
    _, count, ids = match.groups()
    return Gpus(int(count) if count else None, tuple(ids.split(",")) if ids else ())
