"""KServe's InferenceServices of models in an object store, which KServe copies into a pod when the pod starts."""

from __future__ import annotations

import re
from typing import Any, Dict, List

from ckpt2saved.errors import ServingError, UsageError
from ckpt2saved.server_config.kubernetes import resources
from ckpt2saved.server_config.models import Model
from ckpt2saved.server_config.server import Server
from ckpt2saved.server_config.yaml_text import yaml_text
from ckpt2saved.versions.object_stores.url import scheme_of

FILE = "kserve.yaml"
REASON = (
    "KServe copies all versions below the URL when a pod starts, and the server loads the newest one: new versions need"
    " new pods (kubectl rollout restart), and prune keeps the copy small"
)

_SCHEMES = ("gs", "s3")  # that KServe copies, of those that ckpt2saved knows
_RUNTIME = "kserve-tensorflow-serving"  # of KServe itself; its server reads /mnt/models, into which KServe copies


def inference_services(server: Server) -> str:
    """Return an InferenceService for each model; raises UsageError for what KServe's server can't be told."""
    if server.settings.batching is not None:
        raise UsageError("--batching: not with --for kserve, whose server gets flags, and no file of parameters")
    if any(model.policy.count > 1 for model in server.models):
        raise UsageError("--versions: not with --for kserve, whose server loads the newest version of a model")
    return yaml_text([_inference_service(server, model) for model in server.models])


def _inference_service(server: Server, model: Model) -> Dict[str, Any]:
    if not re.match(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z", model.name):
        raise ServingError(
            f"{model.name}: not a name of an InferenceService, which is also that of the model for clients; expected"
            f" lower-case letters, digits and '-': name the model with --from NAME={model.url}"
        )
    url = model.place
    if scheme_of(url) not in _SCHEMES:
        raise UsageError(f"--for kserve: {url} can't be copied by KServe; expected a URL of {' or '.join(_SCHEMES)}")
    predictor: Dict[str, Any] = {
        "modelFormat": {"name": "tensorflow"},
        "runtime": _RUNTIME,
        "runtimeVersion": server.tag.rpartition(":")[2],  # the tag of the image
        # With the slash, as otherwise what begins with the same letters (crnn2/) is copied too.
        "storageUri": f"{url}/",
        "args": _flags(server),
    }
    if server.environment:
        predictor["env"] = [{"name": name, "value": value} for name, value in server.environment.items()]
    found = resources(server)
    if found:
        predictor["resources"] = found
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": model.name, "labels": {"app.kubernetes.io/part-of": server.name}},
        "spec": {"predictor": {"model": predictor}},
    }


def _flags(server: Server) -> List[str]:
    """Return the flags of a server without configuration files."""
    return [flag for flag in server.flags("") if "_file" not in flag.partition("=")[0]]
