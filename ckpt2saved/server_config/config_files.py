"""The configuration files of a server: models.config, batching.config, monitoring.config."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

from ckpt2saved.files.protobuf import text_format
from ckpt2saved.server_config.batching import Batching
from ckpt2saved.server_config.models import Model
from ckpt2saved.server_config.policy import ALL, LATEST, Policy

MODELS, BATCHING, MONITORING = "models.config", "batching.config", "monitoring.config"
METRICS_PATH = "/monitoring/prometheus/metrics"  # TF Serving's own default

_MAX_ENQUEUED_BATCHES = 100


def models_config(models: Sequence[Model]) -> str:
    """Return a tensorflow.serving.ModelServerConfig as text."""
    configs = [("config", _model(model)) for model in models]
    return text_format.write([("model_config_list", configs)])


def batching_config(batching: Batching) -> str:
    """Return a tensorflow.serving.BatchingParameters as text."""
    parameters = [
        ("max_batch_size", batching.max_batch_size),
        ("batch_timeout_micros", batching.timeout_micros),
        ("max_enqueued_batches", _MAX_ENQUEUED_BATCHES),
    ]
    message: List[Tuple[str, Any]] = [(name, [("value", value)]) for name, value in parameters]
    if batching.threads is not None:
        message.append(("num_batch_threads", [("value", batching.threads)]))
    message += [("allowed_batch_sizes", size) for size in batching.allowed_batch_sizes]
    if batching.pad_inputs:
        message.append(("pad_variable_length_inputs", True))
    return text_format.write(message)


def monitoring_config() -> str:
    """Return a tensorflow.serving.MonitoringConfig as text: Prometheus metrics on the REST port."""
    return text_format.write([("prometheus_config", [("enable", True), ("path", METRICS_PATH)])])


def _model(model: Model) -> List[Tuple[str, Any]]:
    message: List[Tuple[str, Any]] = [
        ("name", model.name),
        ("base_path", model.base_path),
        ("model_platform", "tensorflow"),
    ]
    if model.policy != Policy():
        message.append(("model_version_policy", [_policy(model.policy)]))
    for label in model.labels:
        message.append(("version_labels", [("key", label.name), ("value", label.number)]))
    return message


def _policy(policy: Policy) -> Tuple[str, Any]:
    if policy.kind == LATEST:
        return LATEST, [("num_versions", policy.count)]
    return policy.kind, [] if policy.kind == ALL else [("versions", number) for number in policy.numbers]
