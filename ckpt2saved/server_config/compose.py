"""A `docker compose` file for the server."""

from __future__ import annotations

from typing import Any, Dict

from ckpt2saved.server_config.server import GRPC_PORT, REST_PORT, Server
from ckpt2saved.server_config.yaml_text import yaml_text

FILE = "compose.yaml"


def compose_file(server: Server, nvidia_runtime: bool) -> str:
    """Return a compose file with one service of the server's name."""
    service: Dict[str, Any] = {
        "image": server.tag,
        "container_name": server.name,
        "restart": "unless-stopped",
        "command": list(server.flags(server.config_dir)),
        "ports": [f"{server.port}:{GRPC_PORT}", f"{server.rest_port}:{REST_PORT}"],
        "volumes": [
            {"type": "bind", "source": _literal(str(mount.host)), "target": mount.server, "read_only": True}
            for mount in server.mounts
        ],
        # The ports open once every model's first version is loaded or has failed. The image has bash, and no curl.
        "healthcheck": {
            "test": ["CMD", "bash", "-c", f"exec 3<>/dev/tcp/localhost/{REST_PORT}"],
            "interval": "10s",
            "start_period": "360s",
        },
    }
    if server.cpus:
        service["cpus"] = server.cpus
    environment = server.environment
    if server.gpus and nvidia_runtime:
        service["runtime"] = "nvidia"
        environment["NVIDIA_VISIBLE_DEVICES"] = server.gpus.visible_devices
    elif server.gpus:
        service["deploy"] = {"resources": {"reservations": {"devices": [server.gpus.compose]}}}
    if environment:
        service["environment"] = environment
    return yaml_text([{"name": server.name, "services": {server.name: service}}])


def _literal(text: str) -> str:
    """Return the text with dollar signs doubled, so that compose substitutes no variables."""
    return text.replace("$", "$$")
