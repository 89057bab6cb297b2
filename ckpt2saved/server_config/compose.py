"""A `docker compose` file for the server."""

from __future__ import annotations

from typing import Any, Dict

from ckpt2saved.server_config.models import MODELS_IN_SERVER
from ckpt2saved.server_config.mounts import Mount
from ckpt2saved.server_config.pulling import SYNC_PORT, VOLUME, Pulling
from ckpt2saved.server_config.server import GRPC_PORT, REST_PORT, Server
from ckpt2saved.server_config.yaml_text import yaml_text

FILE = "compose.yaml"
CREDENTIALS = "store.env"  # beside the compose file; of the object store, as AWS_ACCESS_KEY_ID=...


def compose_file(server: Server, nvidia_runtime: bool) -> str:
    """Return a compose file with one service of the server's name."""
    service: Dict[str, Any] = {
        "image": server.tag,
        "container_name": server.name,
        "restart": "unless-stopped",
        "command": list(server.flags(server.config_dir)),
        "ports": [f"{server.port}:{GRPC_PORT}", f"{server.rest_port}:{REST_PORT}"],
        "volumes": [_volume(mount) for mount in server.mounts],
        # The ports open once every model's first version is loaded or has failed. The image has bash, and no curl.
        "healthcheck": {
            "test": ["CMD", "bash", "-c", f"exec 3<>/dev/tcp/localhost/{REST_PORT}"],
            "interval": "10s",
            "start_period": "360s",
        },
    }
    content: Dict[str, Any] = {"name": server.name, "services": {server.name: service}}
    if server.pulling:
        side_car = f"{server.name}-sync"
        service["depends_on"] = {side_car: {"condition": "service_healthy"}}
        content["services"][side_car] = _sync_service(side_car, server.pulling)
        content["volumes"] = {VOLUME: {}}
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
    return yaml_text([content])


def _sync_service(name: str, pulling: Pulling) -> Dict[str, Any]:
    """Return the service that pulls versions; it is healthy once a server has a version of each model."""
    asks = f"import urllib.request; urllib.request.urlopen('http://localhost:{SYNC_PORT}/readyz', timeout=5)"
    return {
        "image": _literal(pulling.image),
        "container_name": name,
        "restart": "unless-stopped",
        "command": [_literal(word) for word in pulling.arguments("--listen", f":{SYNC_PORT}")],
        "ports": [f"{SYNC_PORT}:{SYNC_PORT}"],
        "env_file": [{"path": CREDENTIALS, "required": False}],
        "volumes": [{"type": "volume", "source": VOLUME, "target": MODELS_IN_SERVER}],
        "healthcheck": {"test": ["CMD", "python", "-c", asks], "interval": "10s", "start_period": "360s"},
    }


def _volume(mount: Mount) -> Dict[str, Any]:
    where = {"type": "volume", "source": mount.volume} if mount.volume else _bind(mount)
    return {**where, "target": mount.server, "read_only": True}


def _bind(mount: Mount) -> Dict[str, Any]:
    return {"type": "bind", "source": _literal(str(mount.host))}


def _literal(text: str) -> str:
    """Return the text with dollar signs doubled, so that compose substitutes no variables."""
    return text.replace("$", "$$")
