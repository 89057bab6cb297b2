"""Kubernetes manifests of the server: ConfigMap, Deployment with probes and volumes, Service."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ckpt2saved.errors import UsageError
from ckpt2saved.server_config.config_files import METRICS_PATH, MODELS
from ckpt2saved.server_config.models import MODELS_IN_SERVER
from ckpt2saved.server_config.mounts import Mount
from ckpt2saved.server_config.pulling import SYNC_PORT, VOLUME
from ckpt2saved.server_config.server import GRPC_PORT, REST_PORT, Server, trimmed
from ckpt2saved.server_config.yaml_text import yaml_text

FILE = "kubernetes.yaml"
CONFIG_DIR = "/config"

_SYNC = "sync"

# A first load is tried six times, a minute apart, before the server gives up by itself.
_PROBE_SECONDS = 10
_PROBES_TO_START = 60


def parse_claim(text: str) -> str:
    """Parse the name of a PersistentVolumeClaim."""
    if not re.match(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z", text):
        raise ValueError(f"{text!r} is not the name of a claim; expected lower-case letters, digits, '-' and '.'")
    return text


def manifests(server: Server, config_files: Mapping[str, str], volume_claim: Optional[str]) -> str:
    """Return a ConfigMap with the configuration files, a Deployment and a Service."""
    labels = {"app.kubernetes.io/name": server.name}
    config_map = _object("v1", "ConfigMap", server.name, labels, data=dict(config_files))
    service: Dict[str, Any] = {
        "selector": labels,
        "ports": [
            {"name": "grpc", "port": server.port, "targetPort": "grpc"},
            {"name": "rest", "port": server.rest_port, "targetPort": "rest"},
        ],
    }
    if server.pulling:
        service["ports"] += [{"name": "sync-metrics", "port": SYNC_PORT, "targetPort": _SYNC}]
    deployment = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels, "annotations": _annotations(server, config_files)},
            "spec": _pod(server, volume_claim),
        },
    }
    return yaml_text(
        [
            config_map,
            _object("apps/v1", "Deployment", server.name, labels, spec=deployment),
            _object("v1", "Service", server.name, labels, spec=service),
        ]
    )


def _object(version: str, kind: str, name: str, labels: Dict[str, str], **content: Any) -> Dict[str, Any]:
    return dict(apiVersion=version, kind=kind, metadata={"name": name, "labels": labels}, **content)


def _annotations(server: Server, config_files: Mapping[str, str]) -> Dict[str, str]:
    # What a running server does not read again is part of the pod's template, so that a change of it starts new pods.
    read_once = {
        name: text for name, text in config_files.items() if name != MODELS or not server.image.rereads_configuration
    }
    text = "".join(f"{name}\n{read_once[name]}" for name in sorted(read_once))
    return {
        "ckpt2saved/configuration": hashlib.sha256(text.encode("utf-8")).hexdigest()[:16],
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(REST_PORT),
        "prometheus.io/path": METRICS_PATH,
    }


def _pod(server: Server, volume_claim: Optional[str]) -> Dict[str, Any]:
    volumes, mounts = _model_volumes(server, volume_claim)
    listening = {"tcpSocket": {"port": "rest"}}  # opens once every model's first version is loaded or has failed
    container = {
        "name": "serving",
        "image": server.tag,
        "args": list(server.flags(CONFIG_DIR)),
        "ports": [{"name": "grpc", "containerPort": GRPC_PORT}, {"name": "rest", "containerPort": REST_PORT}],
        "startupProbe": dict(listening, periodSeconds=_PROBE_SECONDS, failureThreshold=_PROBES_TO_START),
        "readinessProbe": dict(_answering(server), periodSeconds=_PROBE_SECONDS),
        "livenessProbe": dict(listening, periodSeconds=_PROBE_SECONDS, failureThreshold=6),
    }
    if server.environment:
        container["env"] = [{"name": name, "value": value} for name, value in server.environment.items()]
    limits = resources(server)
    if limits:
        container["resources"] = limits
    config = {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True}
    container["volumeMounts"] = mounts + [config]
    volumes.append({"name": "config", "configMap": {"name": server.name}})
    if not server.pulling:
        return {"containers": [container], "volumes": volumes}
    first = _sync_container(f"{_SYNC}-first", server, "--until-ready")
    side_car = dict(
        _sync_container(_SYNC, server, "--listen", f":{SYNC_PORT}"),
        ports=[{"name": _SYNC, "containerPort": SYNC_PORT}],
        readinessProbe={"httpGet": {"path": "/readyz", "port": _SYNC}, "periodSeconds": _PROBE_SECONDS},
        livenessProbe={"httpGet": {"path": "/healthz", "port": _SYNC}, "periodSeconds": _PROBE_SECONDS},
    )
    return {"initContainers": [first], "containers": [container, side_car], "volumes": volumes}


def _sync_container(name: str, server: Server, *options: str) -> Dict[str, Any]:
    assert server.pulling is not None
    return {
        "name": name,
        "image": server.pulling.image,
        # Kubernetes replaces $(NAME) by a variable of the container, such as the key of the store, and $$ by $.
        "args": [word.replace("$", "$$") for word in server.pulling.arguments(*options)],
        # Not there where the pods have an identity that the store knows.
        "envFrom": [{"secretRef": {"name": f"{server.name}-store", "optional": True}}],
        "volumeMounts": [{"name": VOLUME, "mountPath": MODELS_IN_SERVER}],
    }


def _answering(server: Server) -> Dict[str, Any]:
    """Return the probe: for one model its metadata, which answers only while a version is loaded.

    For several models only the open port is probed, so that a failing model does not stop traffic to the others.
    """
    if len(server.models) > 1:
        return {"tcpSocket": {"port": "rest"}}
    return {"httpGet": {"path": f"/v1/models/{server.models[0].name}/metadata", "port": "rest"}}


def resources(server: Server) -> Dict[str, Any]:
    """Return the CPUs and GPUs of the server's container."""
    requests: Dict[str, Any] = {}
    limits: Dict[str, Any] = {}
    if server.cpus:
        requests["cpu"] = limits["cpu"] = trimmed(server.cpus)
    if server.gpus:
        limits["nvidia.com/gpu"] = server.gpus.kubernetes
    return {name: part for name, part in (("requests", requests), ("limits", limits)) if part}


def _model_volumes(server: Server, volume_claim: Optional[str]) -> Tuple[List[Any], List[Any]]:
    mounts = server.model_mounts
    if volume_claim is not None and len(mounts) > 1:
        raise UsageError(
            f"--volume-claim: the models lie in {len(mounts)} directories, and a claim is one; expected a --mount"
            f" HOST=SERVER that holds them all, HOST being what {volume_claim} has at its top"
        )
    volumes, volume_mounts = [], []
    for number, mount in enumerate(mounts, start=1):
        name = "models" if len(mounts) == 1 else f"models-{number}"
        volumes.append(dict(name=name, **_volume(mount, volume_claim)))
        volume_mounts.append({"name": name, "mountPath": mount.server, "readOnly": True})
    return volumes, volume_mounts


def _volume(mount: Mount, volume_claim: Optional[str]) -> Dict[str, Any]:
    if mount.volume:
        return {"emptyDir": {}}
    if volume_claim is not None:
        return {"persistentVolumeClaim": {"claimName": volume_claim, "readOnly": True}}
    return {"hostPath": {"path": str(mount.host), "type": "Directory"}}
