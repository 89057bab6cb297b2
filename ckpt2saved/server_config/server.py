"""The server's image, flags, ports, CPUs and directories, independent of how it is started."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional, Tuple

from ckpt2saved.compatibility.image import Image
from ckpt2saved.server_config.config_files import BATCHING, MODELS, MONITORING
from ckpt2saved.server_config.devices import Gpus
from ckpt2saved.server_config.models import Model
from ckpt2saved.server_config.mounts import Mount
from ckpt2saved.server_config.pulling import Pulling
from ckpt2saved.server_config.settings import ServerSettings

GRPC_PORT, REST_PORT = 8500, 8501  # the image's entry point opens them inside the container
REREADING_SECONDS = 60
LABELS_FLAG = "--allow_version_labels_for_unavailable_models"

# With none, a load that fails holds up every other load and unload for five minutes. With one, the retries of a broken
# version still hold up the healthy one that was published after it for most of a minute.
_FEWEST_LOAD_THREADS = 2


@dataclass(frozen=True)
class Server:
    """One server for all models."""

    name: str
    image: Image
    models: Tuple[Model, ...]
    directory: Path  # with the configuration files
    config_mount: Mount  # through which the server sees it
    settings: ServerSettings = ServerSettings()
    batches_per_model: bool = False  # with the parameters that each version has
    gpus: Optional[Gpus] = None
    cpus: Optional[float] = None
    port: int = GRPC_PORT
    rest_port: int = REST_PORT
    pulling: Optional[Pulling] = None  # of the versions, by a side-car

    @property
    def tag(self) -> str:
        """Return the image with its tag."""
        return self.image.tag(gpu=self.gpus is not None)

    @property
    def model_mounts(self) -> Tuple[Mount, ...]:
        """Return the mounts of the models' base directories without duplicates."""
        return tuple(dict.fromkeys(model.mount for model in self.models))

    @property
    def config_dir(self) -> str:
        """Return the directory of the configuration files as the server sees it."""
        return self.config_mount.seen(self.directory)

    @property
    def mounts(self) -> Tuple[Mount, ...]:
        """Return every mount of the server."""
        return tuple(dict.fromkeys(self.model_mounts + (self.config_mount,)))

    def flags(self, config_dir: str) -> Tuple[str, ...]:
        """Return the command-line flags of the server, with configuration files in `config_dir`."""
        flags = [f"--model_config_file={config_dir}/{MODELS}"]
        if self.image.rereads_configuration:
            flags.append(f"--model_config_file_poll_wait_seconds={REREADING_SECONDS}")
        flags.append(f"--monitoring_config_file={config_dir}/{MONITORING}")
        if self.settings.batching is not None:
            flags += ["--enable_batching", f"--batching_parameters_file={config_dir}/{BATCHING}"]
            if self.batches_per_model:
                flags.append("--enable_per_model_batching_parameters")
        flags += self.settings.flags(self.image)
        if self.image.loads_in_threads:
            flags.append(f"--num_load_threads={max(_FEWEST_LOAD_THREADS, len(self.models))}")
        if self.image.accepts_first_labels:
            # Labels are assigned before versions are loaded. Without this a server does not start with labels, and one
            # that was started without labels refuses the first one on a version that it is yet to load.
            flags.append(LABELS_FLAG)
        if self.image.has_health_service:
            flags.append("--enable_grpc_healthcheck_service")  # clients that balance their load ask for it
        return tuple(flags)

    @property
    def environment(self) -> Dict[str, str]:
        """Return the environment variables of the server."""
        return self.settings.environment(self.image)


def parse_name(text: str) -> str:
    """Parse a name that Docker, Compose and Kubernetes accept."""
    if not re.match(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z", text):
        raise ValueError(
            f"{text!r} is not a name that Docker and Kubernetes accept; expected lower-case letters, digits and '-'"
        )
    return text


def parse_cpus(text: str) -> float:
    """Parse a number of CPUs, which may be fractional."""
    if not re.match(r"[0-9]{1,4}(\.[0-9]{1,3})?\Z", text) or not float(text):
        raise ValueError(f"{text!r} is not a number of CPUs; expected one above 0, as in 4 or 1.5")
    return float(text)


def trimmed(number: float) -> str:
    """Return 4.0 as 4, and 1.5 as 1.5."""
    return f"{number:.8g}"
