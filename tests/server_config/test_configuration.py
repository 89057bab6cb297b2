"""serving-config: files that TF Serving, docker compose and Kubernetes read, and refusals before anything is written."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf import text_format as google_text_format

from ckpt2saved.compatibility.image import known_images
from ckpt2saved.files.protobuf import text_format
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.server_config.cpus import available_cpus
from ckpt2saved.server_config.devices import parse_gpus
from ckpt2saved.server_config.mounts import parse_mount
from ckpt2saved.server_config.policy import Policy, parse_label, parse_policy, read_policy
from ckpt2saved.versions.provenance import write_provenance
from tests.support.published_models import CRNN, DENSE, FIXED_LINES, LINES, publish, saved_model, succeeded
from tests.support.schemas import against_schema

# The messages of TF Serving's configuration files, as far as they are written here: name -> number, type, whether repeated.
MESSAGES = {
    "ModelServerConfig": {"model_config_list": (1, "ModelConfigList", False)},
    "ModelConfigList": {"config": (1, "ModelConfig", True)},
    "ModelConfig": {
        "name": (1, "string", False),
        "base_path": (2, "string", False),
        "model_platform": (4, "string", False),
        "model_version_policy": (7, "Policy", False),
        "version_labels": (8, "Label", True),
    },
    "Policy": {"latest": (100, "Latest", False), "all": (101, "All", False), "specific": (102, "Specific", False)},
    "Latest": {"num_versions": (1, "uint32", False)},
    "All": {},
    "Specific": {"versions": (1, "int64", True)},
    "Label": {"key": (1, "string", False), "value": (2, "int64", False)},
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value", False),
        "batch_timeout_micros": (2, "Int64Value", False),
        "max_enqueued_batches": (3, "Int64Value", False),
        "num_batch_threads": (4, "Int64Value", False),
        "allowed_batch_sizes": (6, "int64", True),
        "pad_variable_length_inputs": (7, "bool", False),
    },
    "Int64Value": {"value": (1, "int64", False)},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig", False)},
    "PrometheusConfig": {"enable": (1, "bool", False), "path": (2, "string", False)},
}


@pytest.fixture(scope="module")
def message_of():
    """A function from a message's name and a text to the message, or the error of protobuf's own parser."""
    file = descriptor_pb2.FileDescriptorProto(name="configs.proto", package="configs", syntax="proto3")
    scalars = {name: getattr(descriptor_pb2.FieldDescriptorProto, "TYPE_" + name.upper()) for name in SCALARS}
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            added = message.field.add(name=field, number=number, label=3 if repeated else 1)
            added.type = scalars.get(kind, descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE)
            if kind not in scalars:
                added.type_name = ".configs." + kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)

    def parse(name, text):
        descriptor = pool.FindMessageTypeByName("configs." + name)
        if hasattr(message_factory, "GetMessageClass"):
            return google_text_format.Parse(text, message_factory.GetMessageClass(descriptor)())
        return google_text_format.Parse(text, message_factory.MessageFactory(pool).GetPrototype(descriptor)())

    return parse


MISFIT = "model_config_list { config { version_labels: 3 } }"
SCALARS = ("string", "int64", "uint32", "bool")


@pytest.fixture
def crnn(tmp_path):
    """A model with two versions."""
    return publish(tmp_path / "models" / "crnn", 1, 2)


@pytest.fixture
def configure(run, tmp_path):
    """serving-config into tmp_path/out, and its result."""

    def call(*arguments, **keywords):
        return run("serving-config", "--output-dir", tmp_path / "out", *arguments, **keywords)

    return call


def refused(result, code, *messages):
    """Nothing is written, and all the messages are there."""
    assert result.exit_code == code, result.output
    for message in messages:
        assert message in result.output
    assert "Traceback" not in result.output


# models.config


def test_models_config_is_what_tf_serving_reads(configure, tmp_path, crnn, message_of):
    """By protobuf's parser, with the messages' fields spelt out here; models in the order of their names."""
    publish(tmp_path / "models" / "ctpn", 7)
    succeeded(configure(tmp_path / "models" / "ctpn", crnn))
    message = message_of("ModelServerConfig", (tmp_path / "out" / "models.config").read_text())
    configs = message.model_config_list.config
    assert [config.name for config in configs] == ["crnn", "ctpn"]
    assert [config.base_path for config in configs] == ["/models/crnn", "/models/ctpn"]
    assert {config.model_platform for config in configs} == {"tensorflow"}
    assert not any(config.HasField("model_version_policy") or config.version_labels for config in configs)
    monitoring = message_of("MonitoringConfig", (tmp_path / "out" / "monitoring.config").read_text())
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_models_config_parses_as_the_real_model_server_config(configure, tmp_path, crnn):
    """By the messages that come with TF Serving, where they are installed."""
    pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    options = ["--versions", "specific:1,2", "--label", "stable=1", "--label", "canary=2"]
    succeeded(configure(crnn, "b=" + str(crnn), "--versions", "b=latest:3", *options))
    message = google_text_format.Parse((tmp_path / "out" / "models.config").read_text(), pb2.ModelServerConfig())
    first, second = message.model_config_list.config
    assert (first.name, first.base_path, first.model_platform) == ("b", "/models/b", "tensorflow")
    assert first.model_version_policy.latest.num_versions == 3
    assert list(second.model_version_policy.specific.versions) == [1, 2]
    assert dict(second.version_labels) == {"stable": 1, "canary": 2}


@pytest.mark.parametrize(
    "policy, found",
    [
        ("latest:2", "latest { num_versions: 2 }"),
        ("all", "all { }"),
        ("specific:2,1", "specific { versions: 1 versions: 2 }"),
    ],
)
def test_version_policies(configure, tmp_path, crnn, message_of, policy, found):
    """As TF Serving spells them; plain latest is its default, and left out."""
    succeeded(configure(crnn, "--versions", policy))
    message = message_of("ModelServerConfig", (tmp_path / "out" / "models.config").read_text())
    assert message.model_config_list.config[0].model_version_policy == message_of("Policy", found)


def test_paths_are_those_of_the_server(configure, tmp_path, crnn):
    """--mount says how; quotes and other scripts in names survive."""
    odd = publish(tmp_path / "models" / 'a "b\\ü$x, y' / "crnn2", 1)
    done = succeeded(configure(crnn, odd, "--mount", f"{tmp_path / 'models'}=/srv/models", "--json", "--quiet"))
    assert [model["base_path"] for model in json.loads(done.stdout)["models"]] == [
        "/srv/models/crnn",
        '/srv/models/a "b\\ü$x, y/crnn2',
    ]
    text = (tmp_path / "out" / "models.config").read_text(encoding="utf-8")
    configs = text_format.values(text_format.read(text), "model_config_list")[0]
    assert dict(configs[1][1])["base_path"] == '/srv/models/a "b\\ü$x, y/crnn2'


def test_the_same_input_gives_the_same_bytes(configure, tmp_path, crnn):
    """Twice the same; the second time there is nothing for a server to do."""
    every = ["--for", "docker", "--for", "compose", "--for", "kubernetes"]
    succeeded(configure(crnn, *every))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(before) == {"compose.yaml", "docker-run.sh", "kubernetes.yaml", "models.config", "monitoring.config"}
    done = succeeded(configure(crnn, *every))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert "nothing: the files are unchanged" in done.output


# docker, compose, Kubernetes


def test_the_docker_command_is_one_line(configure, tmp_path, crnn):
    """Read-only directories, ports, a pinned tag; the same words in the file."""
    done = succeeded(configure(crnn, "--cpus", "1.5", "--port", "9000", "--quiet"))
    words = shlex.split(done.stdout)
    assert done.stdout.count("\n") == 1 and words[:2] == ["docker", "run"]
    assert words[words.index("--cpus") + 1] == "1.5"
    assert [words[at + 1] for at, word in enumerate(words) if word == "--publish"] == ["9000:8500", "8501:8501"]
    assert [words[at + 1] for at, word in enumerate(words) if word == "--mount"] == [
        f"type=bind,source={crnn},target=/models/crnn,readonly",
        f"type=bind,source={tmp_path / 'out'},target=/config,readonly",
    ]
    assert words[words.index("tensorflow/serving:2.19.1") + 1 :] == [
        "--model_config_file=/config/models.config",
        "--model_config_file_poll_wait_seconds=60",
        "--monitoring_config_file=/config/monitoring.config",
        "--tensorflow_intra_op_parallelism=2",
        "--tensorflow_inter_op_parallelism=2",
        "--num_load_threads=2",
        "--allow_version_labels_for_unavailable_models",
        "--enable_grpc_healthcheck_service",
    ]
    assert words[words.index("--env") + 1] == "TF_ENABLE_ONEDNN_OPTS=0"
    assert (tmp_path / "out" / "docker-run.sh").read_text() == "#!/bin/sh\nexec " + done.stdout


@pytest.mark.parametrize(
    "options, expected, image",
    [
        (["--gpus", "all"], ["--gpus", "all"], "tensorflow/serving:2.19.1-gpu"),
        (["--gpus", "device=0,2"], ["--gpus", '"device=0,2"'], "tensorflow/serving:2.19.1-gpu"),
        (
            ["--gpus", "2", "--nvidia-runtime", "--serving", "1.14"],
            ["--runtime=nvidia", "-e", "NVIDIA_VISIBLE_DEVICES=0,1"],
            "tensorflow/serving:1.14.0-gpu",
        ),
        (["--serving", "2.15.0"], ["--publish", "8500:8500"], "tensorflow/serving:2.15.0"),
    ],
)
def test_gpus_and_images(configure, crnn, options, expected, image):
    """By --gpus, or by the runtime of a Docker that does not know it."""
    words = shlex.split(succeeded(configure(crnn, "--quiet", *options)).stdout)
    at = words.index(expected[0])
    assert words[at : at + len(expected)] == expected
    assert image in words


def test_versions_for_cpus_on_a_server_with_a_gpu(configure, crnn):
    """What an export for GPUs would bring is said, of versions that record their device."""
    told = "crnn 2 was exported for CPUs: export --for-device gpu"
    assert told not in configure(crnn, "--gpus", "1").output
    for device in ("gpu", "cpu"):
        write_provenance(crnn / "2", {"for_device": device})
        assert (told in configure(crnn, "--gpus", "1").output) == (device == "cpu")
    assert told not in configure(crnn).output


@pytest.mark.parametrize("image", known_images(), ids=lambda image: image.minor)
@pytest.mark.parametrize("count", [1, 3])
def test_flags_are_those_that_the_release_knows(configure, tmp_path, crnn, image, count):
    """A server refuses to start with a flag that came later; from 2.5 on a broken version holds up no other load."""
    models = [publish(tmp_path / "models" / f"m{number}", 1) for number in range(1, count)]
    line = succeeded(configure(crnn, *models, "--serving", image.minor, "--quiet")).stdout
    release = tuple(int(part) for part in image.minor.split("."))
    assert ("--model_config_file_poll_wait_seconds=60" in line) is (release >= (1, 15))
    assert ("--allow_version_labels_for_unavailable_models" in line) is (release >= (2, 2))
    assert re.findall("--num_load_threads=([0-9]+)", line) == ([str(max(2, count))] if release >= (2, 5) else [])
    assert ("--enable_grpc_healthcheck_service" in line) is (release >= (2, 15))
    assert ("--env TF_ENABLE_ONEDNN_OPTS=0" in line) is (release >= (2, 5))


def test_one_mount_for_models_and_configuration(configure, tmp_path, crnn):
    """A directory that holds both is mounted once."""
    words = succeeded(configure(crnn, "--mount", f"{tmp_path}=/srv", "--quiet")).stdout
    assert words.count("--mount") == 1 and "--model_config_file=/srv/out/models.config" in words


def test_the_innermost_mount_counts(configure, tmp_path, crnn):
    """One of a model's own beside that of all."""
    publish(tmp_path / "models" / "ctpn", 1)
    mounts = ["--mount", f"{tmp_path / 'models'}=/all", "--mount", f"{crnn}=/one"]
    done = succeeded(configure(crnn, tmp_path / "models" / "ctpn", *(mounts + ["--json", "--quiet"])))
    assert [model["base_path"] for model in json.loads(done.stdout)["models"]] == ["/one", "/all/ctpn"]


def test_odd_names_in_the_docker_command(configure, tmp_path):
    """For a shell, and inside of it for docker, which reads a mount as comma-separated values."""
    odd = publish(tmp_path / "a 'b', \"c\" $d" / "crnn", 1)
    words = shlex.split(succeeded(configure(odd, "--quiet")).stdout)
    (fields,) = csv.reader([words[words.index("--mount") + 1]])
    assert fields == ["type=bind", f"source={odd}", "target=/models/crnn", "readonly"]


def test_the_compose_file(configure, tmp_path, crnn):
    """One service with what the docker command has."""
    done = succeeded(configure(crnn, "--for", "compose", "--gpus", "device=1", "--cpus", "2", "--quiet"))
    assert done.stdout == f"docker compose --file {tmp_path / 'out' / 'compose.yaml'} up --detach\n"
    content = yaml.safe_load((tmp_path / "out" / "compose.yaml").read_text())
    assert set(content) == {"name", "services"} and list(content["services"]) == ["tensorflow-serving"]
    service = content["services"]["tensorflow-serving"]
    assert service["image"] == "tensorflow/serving:2.19.1-gpu" and service["cpus"] == 2
    assert service["ports"] == ["8500:8500", "8501:8501"]
    assert service["command"][0] == "--model_config_file=/config/models.config"
    assert [volume["target"] for volume in service["volumes"]] == ["/models/crnn", "/config"]
    assert all(volume["type"] == "bind" and volume["read_only"] is True for volume in service["volumes"])
    devices = service["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "capabilities": ["gpu"], "device_ids": ["1"]}]
    assert not (tmp_path / "out" / "docker-run.sh").exists()


def test_compose_for_an_old_docker_and_odd_names(configure, tmp_path):
    """The nvidia runtime instead of device reservations; no variable where a path has a dollar."""
    odd = publish(tmp_path / "$HOME" / "crnn", 1)
    succeeded(configure(odd, "--for", "compose", "--gpus", "all", "--nvidia-runtime"))
    service = yaml.safe_load((tmp_path / "out" / "compose.yaml").read_text())["services"]["tensorflow-serving"]
    assert service["runtime"] == "nvidia"
    assert service["environment"] == {"TF_ENABLE_ONEDNN_OPTS": "0", "NVIDIA_VISIBLE_DEVICES": "all"}
    assert "deploy" not in service
    assert service["volumes"][0]["source"] == str(odd).replace("$", "$$")


def manifests(path):
    return {content["kind"]: content for content in yaml.safe_load_all(path.read_text())}


def test_the_kubernetes_manifests(configure, tmp_path, crnn):
    """ConfigMap, Deployment and Service belong together; ports, probes and volumes refer to what is there."""
    done = succeeded(configure(crnn, "--for", "kubernetes", "--gpus", "device=0,1", "--cpus", "2", "--quiet"))
    assert done.stdout == f"kubectl apply --filename {tmp_path / 'out' / 'kubernetes.yaml'}\n"
    found = manifests(tmp_path / "out" / "kubernetes.yaml")
    assert {kind: one["apiVersion"] for kind, one in found.items()} == {
        "ConfigMap": "v1",
        "Deployment": "apps/v1",
        "Service": "v1",
    }
    assert {one["metadata"]["name"] for one in found.values()} == {"tensorflow-serving"}
    data = found["ConfigMap"]["data"]
    assert data == {name: (tmp_path / "out" / name).read_text() for name in ("models.config", "monitoring.config")}
    template = found["Deployment"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["env"] == [{"name": "TF_ENABLE_ONEDNN_OPTS", "value": "0"}]
    assert "--tensorflow_intra_op_parallelism=2" in container["args"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == template["metadata"]["labels"]
    (container,) = template["spec"]["containers"]
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert named == {"grpc": 8500, "rest": 8501}
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} == set(named)
    assert container["readinessProbe"]["httpGet"] == {"path": "/v1/models/crnn/metadata", "port": "rest"}
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 360
    assert container["livenessProbe"]["tcpSocket"] == {"port": "rest"}
    assert container["resources"]["limits"] == {"cpu": "2", "nvidia.com/gpu": 2}
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    assert [mount["name"] for mount in container["volumeMounts"]] == list(volumes)
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    assert volumes["models"]["hostPath"] == {"path": str(crnn), "type": "Directory"}
    assert volumes["config"]["configMap"] == {"name": "tensorflow-serving"}


def test_kubernetes_starts_new_pods_for_what_is_read_once(configure, tmp_path, crnn):
    """models.config is read again by a server of today, batching.config by none."""
    fixed = publish(tmp_path / "models" / "fixed", 1, signatures={"serving_default": (FIXED_LINES, DENSE)})
    stamps = []
    for arguments in (
        [crnn],
        [crnn, fixed],
        [fixed, "--batching"],
        [crnn, "--serving", "1.14"],
        [fixed, "--serving", "1.14"],
    ):
        succeeded(configure("--for", "kubernetes", *arguments))
        template = manifests(tmp_path / "out" / "kubernetes.yaml")["Deployment"]["spec"]["template"]
        stamps.append(template["metadata"]["annotations"]["ckpt2saved/configuration"])
    assert stamps[0] == stamps[1] and len(set(stamps)) == 4
    done = succeeded(configure("--for", "kubernetes", crnn))
    assert "kubernetes.yaml differs: kubectl apply" in done.output and "it reads models.config again" in done.output


def test_a_volume_claim(configure, tmp_path, crnn):
    """One claim with every model, its top being HOST of the mount; several directories are refused."""
    other = publish(tmp_path / "models" / "ctpn", 1)
    claim = ["--for", "kubernetes", "--volume-claim", "models"]
    refused(configure(crnn, other, *claim), 2, "the models lie in 2 directories", "--mount HOST=SERVER")
    succeeded(configure(crnn, other, "--mount", f"{tmp_path / 'models'}=/models", *claim))
    spec = manifests(tmp_path / "out" / "kubernetes.yaml")["Deployment"]["spec"]["template"]["spec"]
    assert spec["volumes"][0] == {
        "name": "models",
        "persistentVolumeClaim": {"claimName": "models", "readOnly": True},
    }
    assert "tcpSocket" in spec["containers"][0]["readinessProbe"]  # one model must not take the other out of service


EVERY_STARTER = ["--for", "compose", "--for", "kubernetes"]
DENSE_BATCHING = ["--batching", "--batched-signature", "dense", "--equal-shapes"]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="plain"),
        pytest.param(["--gpus", "1", "--cpus", "1.5", "--serving", "1.14"], id="gpus"),
        pytest.param(["--gpus", "device=0,1", "--nvidia-runtime", "--versions", "latest:2"], id="old-docker"),
        pytest.param([*DENSE_BATCHING, "--volume-claim", "models"], id="batching"),
        pytest.param(["--gpus", "2", "--port", "9000", "--rest-port", "9001", "--label", "stable=2"], id="ports"),
    ],
)
def test_files_fit_the_schemas_of_those_who_read_them(configure, tmp_path, crnn, options):
    """The Compose specification, and Kubernetes' own schemas, of an old and of the newest release, strictly."""
    pytest.importorskip("check_jsonschema")
    kubernetes = pytest.importorskip("kubernetes_validate")
    succeeded(configure(crnn, *EVERY_STARTER, *options))
    path = tmp_path / "out" / "compose.yaml"
    assert against_schema("compose-spec", path) == ""
    found = manifests(tmp_path / "out" / "kubernetes.yaml")
    for manifest in found.values():
        for release in ("1.25", kubernetes.latest_version()):
            kubernetes.validate(manifest, release, strict=True)


def test_the_schemas_refuse_what_is_wrong(configure, tmp_path, crnn):
    """So that files which fit them say something."""
    pytest.importorskip("check_jsonschema")
    kubernetes = pytest.importorskip("kubernetes_validate")
    succeeded(configure(crnn, *EVERY_STARTER))
    path = tmp_path / "out" / "compose.yaml"
    path.write_text(path.read_text().replace("read_only", "readonly"))
    assert "Schema validation errors" in against_schema("compose-spec", path)
    deployment = manifests(tmp_path / "out" / "kubernetes.yaml")["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["periodSeconds"] = "10s"
    with pytest.raises(kubernetes.ValidationError, match="10s"):
        kubernetes.validate(deployment, "1.25", strict=True)


def test_a_release_may_be_given_where_it_belongs(configure, tmp_path, crnn):
    """--for 1.14 is --serving 1.14; two different ones are refused."""
    done = succeeded(configure(crnn, "--for", "1.14", "--for", "compose"))
    assert "docker compose" in done.output and "docker run" not in done.output
    assert "image: tensorflow/serving:1.14.0" in (tmp_path / "out" / "compose.yaml").read_text()
    assert "tensorflow/serving:2.20.0" in succeeded(configure(crnn, "--for", "2.20", "--serving", "2.20")).output
    refused(configure(crnn, "--for", "1.14", "--for", "2.20"), 2, "one release of TF Serving is expected")
    refused(
        configure(crnn, "--for", "podman"), 2, "'podman' is none of docker, compose, kubernetes, kserve, nor a release"
    )


# batching


def test_batching_that_breaks_every_request_is_refused(configure, tmp_path, crnn):
    """The sparse triple of serving_default; dense is named as the way out, and taken."""
    done = configure(crnn, "--batching")
    refused(done, 3, "output_shape [2] has the fixed first dimension 2", "output_indices [?, 2]")
    assert "--batched-signature dense" in done.output
    assert not (tmp_path / "out").exists()
    done = succeeded(configure(crnn, *DENSE_BATCHING))
    assert "--enable_batching --batching_parameters_file=/config/batching.config" in done.output


def test_batching_of_requests_that_may_differ_asks_for_a_choice(configure, tmp_path, crnn, message_of):
    """Requests of two widths in one batch fail for all clients, unless somebody sees to it; and padding has a price."""
    dense = ["--batching", "--batched-signature", "dense"]
    done = configure(crnn, *dense)
    refused(done, 3, "requests may differ in the size of input_data [?, 32, ?, 3]", "--equal-shapes", "--pad-inputs")
    assert "input_batch_size" not in done.output and not (tmp_path / "out").exists()
    done = succeeded(configure(crnn, *dense, "--equal-shapes"))
    assert "clients have to bring input_data [?, 32, ?, 3] to one size" in done.output
    path = tmp_path / "out" / "batching.config"
    assert not message_of("BatchingParameters", path.read_text()).pad_variable_length_inputs
    done = succeeded(configure(crnn, *dense, "--pad-inputs"))
    assert "score was off by more than 0.001 in 35 of 600 words" in done.output
    assert message_of("BatchingParameters", path.read_text()).pad_variable_length_inputs
    refused(configure(crnn, *dense, "--pad-inputs", "--equal-shapes"), 2, "--equal-shapes: not with --pad-inputs")


def test_all_that_batching_breaks_is_said_at_once(configure, tmp_path, crnn):
    """The sparse parts of one model, the open width of another."""
    wide = publish(tmp_path / "wide", 1, signatures={"serving_default": (LINES, DENSE)})
    refused(
        configure(crnn, wide, "--batching"),
        3,
        "output_shape [2] has the fixed first dimension 2",
        f"{wide}/1, signature",
    )


@pytest.mark.parametrize("options, size", [([], 32), (["--max-batch-size", "128"], 128)])
def test_the_limit_of_a_request_is_said(configure, tmp_path, options, size):
    """A single request of more items than a batch may have is refused by the server, in these words."""
    model = publish(tmp_path / "m", 1, signatures={"serving_default": (FIXED_LINES, DENSE)})
    done = succeeded(configure(model, "--batching", *options))
    words = f"Task size {size + 1} is larger than maximum input batch size {size}"
    assert f"a request of more than {size} items" in done.output and words in done.output


def test_batching_parameters(configure, tmp_path, message_of):
    """What is asked for, and no more threads than the container has processors."""
    model = publish(tmp_path / "m", 1, signatures={"serving_default": (FIXED_LINES, DENSE)})
    succeeded(configure(model, "--batching"))
    path = tmp_path / "out" / "batching.config"
    found = message_of("BatchingParameters", path.read_text())
    assert (found.max_batch_size.value, found.batch_timeout_micros.value) == (32, 5000)
    assert found.num_batch_threads.value == math.ceil(available_cpus()) and not found.pad_variable_length_inputs
    options = ["--max-batch-size", "8", "--batch-timeout-micros", "0", "--pad-inputs", "--cpus", "2.5"]
    succeeded(configure(model, "--batching", *options))
    found = message_of("BatchingParameters", path.read_text())
    assert (found.max_batch_size.value, found.batch_timeout_micros.value) == (8, 0)
    assert found.num_batch_threads.value == 3 and found.pad_variable_length_inputs


@pytest.mark.parametrize(
    "inputs, outputs, reason",
    [
        (FIXED_LINES, {"score": ("float32", [])}, "output score [] is a scalar"),
        (FIXED_LINES, {"all": ("float32", [0, 3])}, "output all [0, 3] has the fixed first dimension 0"),
        ({"keep_prob": ("float32", [])}, DENSE, "input keep_prob [] is a scalar"),
        ({"width": ("int32", [1])}, DENSE, "input width [1] has the fixed first dimension 1"),
    ],
)
def test_what_batching_breaks(configure, tmp_path, inputs, outputs, reason):
    """Every input and output needs the batch as its first dimension."""
    model = publish(tmp_path / "m", 1, signatures={"serving_default": (inputs, outputs)})
    refused(configure(model, "--batching"), 3, reason, "export a signature with dense outputs")


def test_a_sparse_tensor_bound_whole_is_refused_without_batching_too(configure, tmp_path):
    """Every request for it fails on every server."""
    model = publish(tmp_path / "m", 1, signatures={"serving_default": (FIXED_LINES, {"text": ("string", "sparse")})})
    reason = "signature serving_default: text: no tensor name (a SparseTensor bound whole?)"
    refused(configure(model), 1, reason)
    refused(configure(model, "--batching"), 1, reason)


def test_unknown_ranks_are_let_through(configure, tmp_path):
    """Nothing is known against them."""
    model = publish(tmp_path / "m", 1, signatures={"serving_default": (FIXED_LINES, {"any": ("float32", None)})})
    succeeded(configure(model, "--batching"))
    model = publish(tmp_path / "i", 1, signatures={"serving_default": ({"image": ("string", None)}, DENSE)})
    done = succeeded(configure(model, "--batching"))
    assert "clients have to bring image (of unknown rank) to one size" in done.output


def test_batching_needs_a_signature_to_judge(configure, tmp_path, crnn):
    """No serving_default, a name that no model has, no binary form."""
    other = publish(tmp_path / "other", 1, signatures={"dense": (LINES, DENSE)})
    refused(configure(other, "--batching"), 3, "signature serving_default: there is none; expected one of dense")
    done = configure(other, "--batching", "--batched-signature", "dense", "--batched-signature", "nope")
    refused(done, 3, "no model has a signature nope")
    text = tmp_path / "text" / "1"
    text.mkdir(parents=True)
    signature = 'signature_def { key: "serving_default" value { method_name: "tensorflow/serving/predict" } }'
    (text / "saved_model.pbtxt").write_text('meta_graphs { meta_info_def { tags: "serve" } ' + signature + " }")
    refused(configure(text.parent, "--batching"), 1, "saved_model.pbtxt are not read here")


# Signatures


def test_signatures_are_read_as_tensorflow_wrote_them(tmp_path):
    """Of the meta graph that is served, with the shapes of all kinds."""
    outputs = {"any": ("float32", None), "one": ("int64", []), "none": ("string", [0, -1]), "sp": ("int64", "sparse")}
    publish(tmp_path, 1, signatures={"serving_default": (LINES, outputs)})
    publish(tmp_path, 2, tags=("train",))
    found = read_signatures(tmp_path / "1")["serving_default"]
    assert [(tensor.key, tensor.shape) for tensor in found.inputs] == [
        ("input_batch_size", (None,)),
        ("input_data", (None, 32, None, 3)),
    ]
    assert {tensor.key: (tensor.tensor, tensor.dtype, tensor.shape) for tensor in found.outputs} == {
        "any": ("any:0", "float32", None),
        "one": ("one:0", "int64", ()),
        "none": ("none:0", "string", (0, None)),
        "sp": ("", "int64", ()),
    }
    assert read_signatures(tmp_path / "2") == {}


def test_damaged_signatures_are_no_traceback(configure, tmp_path):
    """Bytes inside of a field that are no UTF-8."""
    content = saved_model(CRNN)
    broken = content.replace(b"serving_default", b"serving_def\xff\xfflt")
    directory = publish(tmp_path / "m", 1) / "1"
    (directory / "saved_model.pb").write_bytes(broken)
    refused(configure(tmp_path / "m", "--batching"), 1, "saved_model.pb: truncated after", "or damaged")


# What a running server does


def test_what_a_running_server_does_with_the_change(configure, tmp_path, crnn):
    """Models that come and go, policies and labels; and when."""
    ctpn = publish(tmp_path / "models" / "ctpn", 5)
    mount = ["--mount", f"{tmp_path / 'models'}=/models"]
    done = succeeded(configure(crnn, "--versions", "all", "--label", "stable=2", *mount))
    assert "once started the server loads crnn 2+1, and from then on every new version" in done.output
    done = succeeded(configure(ctpn, crnn, "--versions", "crnn=latest:2", "--label", "crnn:stable=1", *mount))
    assert "it reads models.config again within 60 s" in done.output
    assert "ctpn: loads version 5" in done.output
    assert "crnn: loads and unloads versions until the new policy holds" in done.output
    assert "moves label stable from 2 to 1 if 1 is AVAILABLE by then; until it is, the server refuses" in done.output
    assert "is not in a server that was started before" not in done.output
    done = succeeded(configure(ctpn, *mount, "--serving", "1.14"))
    assert "a server before 1.15 reads models.config only at startup" in done.output
    assert "crnn: is unloaded; requests for it fail with NOT_FOUND" in done.output


@pytest.fixture
def change(configure, crnn, tmp_path):
    """A function that writes a configuration, or tries to: what the command says, and whether the files are new."""
    mount = ["--mount", f"{crnn.parent}=/models"]

    def call(*arguments, **keywords):
        config = tmp_path / "out" / "models.config"
        before = config.read_bytes() if config.exists() else None
        done = configure(*arguments, *mount, **keywords)
        is_new = config.exists() and config.read_bytes() != before
        assert done.exit_code == 0 or not is_new
        return done, is_new

    return call


def test_a_label_on_a_version_that_is_not_loaded_refuses_the_whole_change(change, crnn):
    """A running server takes nothing of the change, whatever else is in it; it takes the two steps that are said."""
    ctpn, other = publish(crnn.parent / "ctpn", 5), publish(crnn.parent / "other", 1)
    assert change(crnn, other, "--versions", "crnn=specific:1", "--label", "crnn:stable=1")[1]
    specific = [ctpn, crnn, "--versions", "crnn=specific:1,2"]
    done, is_written = change(*specific, "--label", "crnn:stable=2")
    refused(
        done,
        1,
        "would refuse all of the change",
        "crnn: label stable moves from 1 to 2, and 2 is not loaded by the present configuration",
        "with --versions crnn=specific:1,2 --label crnn:stable=1 instead of its options for crnn; once 2 is AVAILABLE",
        "ctpn: would not be loaded either",
        "other: would not be unloaded either",
        "--restart",
    )
    assert not is_written and "ctpn: loads version 5" not in done.output
    assert change(*specific, "--label", "crnn:stable=2", "--dry-run")[0].exit_code == 1
    done, is_written = change(*specific, "--label", "crnn:stable=1")
    assert is_written and "ctpn: loads version 5" in done.output and "refuse" not in done.output
    done, is_written = change(*specific, "--label", "crnn:stable=2")
    assert is_written and "moves label stable from 1 to 2 if 2 is AVAILABLE by then" in done.output


def test_a_server_that_is_started_anew_takes_any_label(change, crnn, tmp_path, monkeypatch):
    """Since 2.2: by --restart, and by --run, which starts it."""
    docker_that(tmp_path, monkeypatch, "echo 4f1c")
    for options in (["--restart"], ["--run"]):
        succeeded(change(crnn, "--versions", "specific:1", "--label", "stable=1", "--restart")[0])
        assert change(crnn, "--label", "stable=2")[0].exit_code == 1
        assert change(crnn, "--label", "stable=2", *options)[1]


@pytest.mark.parametrize(
    "present, wanted, step",
    [
        (["latest", "stable=2"], ["all", "stable=1"], "crnn=all --label crnn:stable=2"),
        (["specific:1", "stable=1"], ["latest", "stable=2"], "crnn=specific:1,2 --label crnn:stable=1"),
        (["specific:1", "stable=1"], ["all", "stable=2"], "crnn=all --label crnn:stable=1"),
        (["all", "stable=1"], ["latest", "stable=2"], None),
        (["latest:2", "stable=1"], ["specific:1,2", "stable=2"], None),
        (["latest", "stable=2"], ["all", "stable=2"], None),
    ],
)
def test_a_moved_label_and_the_policy_that_a_server_has(change, crnn, present, wanted, step):
    """What the present policy selects is loaded, or will be; anything else never is, as the new one is refused."""
    succeeded(change(crnn, "--versions", present[0], "--label", present[1])[0])
    done, is_written = change(crnn, "--versions", wanted[0], "--label", wanted[1])
    assert is_written is (step is None)
    assert step is None or f"with --versions {step} instead of" in done.output


def test_a_new_label_on_a_version_that_is_not_loaded(change, crnn, tmp_path):
    """A server that was started with the flag takes it; one of an older script does not, of a new model either."""
    ctpn = publish(crnn.parent / "ctpn", 5)
    both = [crnn, ctpn, "--versions", "crnn=all", "--label", "crnn:old=1", "--label", "ctpn:new=5"]
    succeeded(change(crnn)[0])
    done = succeeded(change(*both)[0])
    assert "crnn: label old names 1 as soon as it is loaded" in done.output
    succeeded(change(crnn)[0])
    script = tmp_path / "out" / "docker-run.sh"
    script.write_text(script.read_text().replace(" --allow_version_labels_for_unavailable_models", ""))
    refused(
        change(*both)[0],
        1,
        "crnn: label old names 1, and 1 is not loaded by the present configuration; first run this command with "
        "--versions crnn=all instead of",
        "ctpn: label new names 5, and 5 is not loaded",
    )
    done = succeeded(change(crnn, "--versions", "crnn=all", "--label", "crnn:new=2")[0])  # 2 is loaded
    assert "crnn: label new names 2" in done.output


@pytest.mark.parametrize(
    "text, policy",
    [
        ("latest { }", Policy()),
        ("latest { num_versions: 0 }", Policy()),
        ("latest { num_versions: 3 }", Policy(count=3)),
        ("all: {}", Policy("all")),
        ("specific { versions: [1, 2] }", Policy("specific", numbers=(1, 2))),
        ("", Policy()),
        ("specific { versions: x }", None),
        ("latest: 3", None),
    ],
)
def test_policies_are_read_as_a_server_reads_them(text, policy):
    """None for what is none."""
    assert read_policy(text_format.read(text)) == policy


def test_a_model_that_a_running_server_can_not_see(configure, tmp_path, crnn):
    """Its directory was not mounted, and a server that waits for it loads nothing new of any model."""
    succeeded(configure(crnn))
    publish(tmp_path / "models" / "crnn2", 1)
    done = succeeded(configure(crnn, tmp_path / "models" / "crnn2"))
    assert "crnn2: /models/crnn2 is not in a server that was started before" in done.output
    assert "crnn: /models/crnn is not" not in done.output


def test_dry_run_writes_nothing(configure, tmp_path, crnn):
    """It says what a server would do all the same."""
    succeeded(configure(crnn))
    before = (tmp_path / "out" / "models.config").read_bytes()
    done = succeeded(configure("other=" + str(crnn), "--dry-run"))
    assert "crnn: is unloaded" in done.output and "not written" in done.output
    assert (tmp_path / "out" / "models.config").read_bytes() == before
    refused(configure(crnn, "--dry-run", "--run"), 2, "--run: not with --dry-run")


def test_a_configuration_by_somebody_else_is_replaced_as_a_whole(configure, tmp_path, crnn):
    """Read where it can be; what replaces it is never half a file, and leaves nothing beside it."""
    out = tmp_path / "out"
    out.mkdir()
    handmade = "# ours\nmodel_config_list: { config: [ {name: 'old', base_path: \"/x#y\" 'z', }, {name: 'crnn'} ] }"
    (out / "models.config").write_text(handmade)
    done = succeeded(configure(crnn))
    assert "old: is unloaded" in done.output and "crnn: looks for its versions in /models/crnn" in done.output
    (out / "models.config").write_text("model_config_list {")
    assert "can't be read (it ends in the middle" in succeeded(configure(crnn)).output
    for nonsense in ("model_config_list: 3", "model_config_list { config: 'x' }", "a {" * 5000, MISFIT):
        (out / "models.config").write_text(nonsense)
        assert "that was there can't be read" in succeeded(configure(crnn)).output
    assert sorted(os.listdir(str(out))) == ["docker-run.sh", "models.config", "monitoring.config"]
    assert oct((out / "models.config").stat().st_mode & 0o777) == "0o644"


@pytest.mark.parametrize("text", ["{", "a: }", "a [", "a: [1,", "}", 'a: "x', "a: \x01", "a: [,]", ": 1"])
def test_what_is_no_text_proto(text):
    """An error with a reason, whatever stands there."""
    with pytest.raises(text_format.NotTextProto):
        text_format.read(text)


def test_text_protos_survive_being_written_and_read(message_of):
    """By our reader, and by protobuf's."""
    odd = 'a"b\\c\nd\x7fü\t'
    text = text_format.write([("config", [("name", odd), ("base_path", "")])])
    assert text_format.read(text) == [("config", [("name", odd), ("base_path", "")])]
    assert message_of("ModelConfigList", text).config[0].name == odd


# Bad input


def test_models_without_a_whole_version_are_refused_all_at_once(configure, tmp_path, crnn):
    """None yet, no directory, a file, a broken newest, a SavedModel itself, a link that leads out of the mount."""
    empty, file, broken = tmp_path / "empty", tmp_path / "file", publish(tmp_path / "broken", 1, 2)
    empty.mkdir()
    file.write_text("")
    (broken / "2" / "saved_model.pb").write_bytes(b"")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "1").symlink_to(crnn / "1")
    models = [crnn, empty, file, broken, "sm=" + str(crnn / "1"), tmp_path / "nowhere", linked]
    done = configure(*models)
    refused(
        done,
        1,
        f"{empty}: no version is published yet",
        f"{file}: not a directory",
        f"{broken / '2'}: broken, and a server loads it: saved_model.pb: empty",
        "this is a SavedModel",
        f"{tmp_path / 'nowhere'}: there is no such directory",
        f"{linked / '1'}: a symbolic link to",
    )
    assert not (tmp_path / "out").exists()


def test_an_older_broken_version_is_no_hindrance(configure, tmp_path, crnn):
    """A server does not look at it, unless its policy says so."""
    (crnn / "1" / "saved_model.pb").write_bytes(b"")
    succeeded(configure(crnn))
    refused(configure(crnn, "--versions", "latest:2"), 1, f"{crnn / '1'}: broken")
    succeeded(configure(crnn, "--versions", "specific:2"))


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--versions", "specific:2,9"], 1, "there is no version 9; expected some of 1, 2"),
        (["--label", "stable=1"], 1, "label stable is for version 1, which a server would not load"),
        (["--label", "stable=2", "--serving", "2.1"], 2, "does not start on a configuration with labels"),
        (["--label", "other:stable=2"], 2, "--label: there is no model other among these; expected one of crnn"),
        (["--versions", "other=all"], 2, "--versions: there is no model other"),
        (["--versions", "latest:0"], 2, "'latest:0' is not latest, latest:2"),
        (["--label", "stable"], 2, "'stable' is not LABEL=N"),
        (["--serving", "3.0"], 2, "'3.0' is no release of TF Serving that is known here"),
        (["--serving", "2.19.1-gpu"], 2, "is no release"),
        (["--serving", "1.13"], 2, "is no release"),
        (["--mount", "models=srv"], 2, "'srv' is no path that a server could have; expected an absolute one"),
        (["--mount", "models=/"], 2, "'/' is no path that a server could have"),
        (["--mount", "models=/a/../b"], 2, "'/a/../b' is no path"),
        (["--mount", "models=gs://bucket"], 2, "'gs://bucket' is no path"),
        (["--mount", "models"], 2, "'models' is not HOST=SERVER"),
        (["--mount", "nowhere=/srv"], 2, "/nowhere: contains none of them"),
        (["--mount", "models=/a", "--mount", "out=/a/b"], 2, "would both be at /a/b in the server"),
        (["--mount", "models=/config"], 2, "would both be at /config"),
        (["x=models/crnn", "x=models"], 2, "would both be named x"),
        (["models/crnn/"], 2, "would both be named crnn"),
        (["a b=models/crnn"], 2, "'a b' can't be a model's name"),
        (["--gpus", "0"], 2, "'0' is not all, a count from 1 on"),
        (["--gpus", "all", "--for", "kubernetes"], 2, "Kubernetes hands out GPUs by their number"),
        (["--nvidia-runtime"], 2, "--nvidia-runtime: only with --gpus"),
        (["--cpus", "0"], 2, "'0' is not a number of CPUs"),
        (["--cpus", "nan"], 2, "'nan' is not a number of CPUs"),
        (["--rest-port", "8500"], 2, "--rest-port: must differ from --port"),
        (["--port", "0"], 2, "0 is not in the range"),
        (["--name", "My Server"], 2, "'My Server' is not a name that Docker and Kubernetes accept"),
        (["--for", "nomad"], 2, "'nomad' is none of"),
        (["--for", "compose", "--run"], 2, "--run: starts docker; add --for docker"),
        (["--volume-claim", "x"], 2, "--volume-claim: only with --for kubernetes"),
        (["--for", "kubernetes", "--volume-claim", ""], 2, "'' is not the name of a claim"),
        (["--pad-inputs"], 2, "--pad-inputs: only with --batching"),
        (["--equal-shapes"], 2, "--equal-shapes: only with --batching"),
        (["--max-batch-size", "4"], 2, "--max-batch-size: only with --batching"),
        (["--batched-signature", "dense"], 2, "--batched-signature: only with --batching"),
    ],
)
def test_bad_input(configure, tmp_path, crnn, monkeypatch, arguments, code, message):
    """One message that says what was expected; nothing is written."""
    monkeypatch.chdir(tmp_path)
    refused(configure("models/crnn", *arguments), code, message)
    assert not (tmp_path / "out").exists()


def test_the_output_directory(run, tmp_path, crnn):
    """Not among versions, not a file, not where nobody may write."""
    refused(run("serving-config", crnn, "-o", crnn / "7"), 1, "lies in the directory of model crnn")
    refused(run("serving-config", crnn, "-o", crnn), 1, "lies in the directory of model crnn")
    (tmp_path / "file").write_text("")
    refused(run("serving-config", crnn, "-o", tmp_path / "file"), 1, "could not")
    refused(run("serving-config", crnn, "-o", tmp_path / "file" / "out"), 1, "could not")
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o555)
        refused(run("serving-config", crnn, "-o", tmp_path / "locked" / "out"), 1, "Permission denied")
    refused(run("serving-config", crnn), 2, "Missing option '--output-dir'")
    refused(run("serving-config", "-o", tmp_path / "out"), 2, "Missing argument")


def test_a_full_disk_leaves_the_files_as_they_were(configure, tmp_path, crnn, monkeypatch):
    """A server that reads at that moment sees the old file, whole; nothing lies beside it."""
    succeeded(configure(crnn))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(configure("other=" + str(crnn)), 1, "could not write the configuration: No space left", "free some space")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("parse", [parse_gpus, parse_label, parse_mount, parse_policy])
@pytest.mark.parametrize("text", ["", "=", ":", "=1", "a=", "ü" * 300, "a=b=c", "specific:", "\n"])
def test_what_options_do_not_take(parse, text):
    """A ValueError with a sentence, for every option that is parsed by us."""
    with pytest.raises(ValueError, match="is n"):
        parse(text)


# --run and --json


def docker_that(tmp_path, monkeypatch, script):
    """A `docker` that comes first on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text("#!/bin/sh\n" + script)
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_run_starts_the_command_that_is_printed(configure, tmp_path, crnn, monkeypatch):
    """With every word as it is, and with the container's id in the JSON."""
    docker_that(tmp_path, monkeypatch, f'printf "%s\\n" "$@" >{tmp_path}/words; echo 4f1c')
    done = succeeded(configure(crnn, "--gpus", "device=0,1", "--run", "--json", "--quiet"))
    content = json.loads(done.stdout)
    assert content["container"] == "4f1c"
    words = (tmp_path / "words").read_text().splitlines()
    assert ["docker"] + words == shlex.split(content["start"]["docker"])
    script = subprocess.run(["sh", str(tmp_path / "out" / "docker-run.sh")], stdout=subprocess.PIPE)
    assert script.stdout == b"4f1c\n" and (tmp_path / "words").read_text().splitlines() == words


def test_run_says_what_docker_said(configure, tmp_path, crnn, monkeypatch):
    """Its exit code and words, and what is there already."""
    docker_that(tmp_path, monkeypatch, "echo 'Conflict. The name is in use' >&2; exit 125")
    refused(configure(crnn, "--run"), 1, "exit code 125", "Conflict. The name is in use", "the files are written")


def test_run_without_docker_writes_nothing(configure, tmp_path, crnn, monkeypatch):
    """It is looked for first."""
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(configure(crnn, "--run"), 1, "there is no docker on the PATH")
    assert not (tmp_path / "out").exists()


def test_json(configure, tmp_path, crnn):
    """Everything that was decided."""
    done = succeeded(configure(crnn, "--for", "compose", "--versions", "latest:2", "--json", "--quiet"))
    content = json.loads(done.stdout)
    settings = content.pop("settings")
    assert (settings["intra_op"], settings["onednn"], settings["batching"]) == (
        math.ceil(available_cpus()),
        False,
        None,
    )
    assert len(content.pop("reasons")) == 2 and len(content.pop("clients")) == 3
    assert content.pop("start") == {"compose": f"docker compose --file {tmp_path / 'out' / 'compose.yaml'} up --detach"}
    assert content == {
        "models": [
            {
                "name": "crnn",
                "path": str(crnn),
                "base_path": "/models/crnn",
                "policy": "latest:2",
                "versions": [2, 1],
                "labels": {},
            }
        ],
        "mounts": [
            {"host": str(crnn), "server": "/models/crnn"},
            {"host": str(tmp_path / "out"), "server": "/config"},
        ],
        "image": "tensorflow/serving:2.19.1",
        "directory": str(tmp_path / "out"),
        "files": ["compose.yaml", "models.config", "monitoring.config"],
        "remarks": [],
        "remark_details": [],
        "changes": ["once started the server loads crnn 2+1, and from then on every new version within seconds"],
        "dry_run": False,
        "container": None,
        "format": 1,
    }


def test_it_needs_no_tensorflow(tmp_path, crnn):
    """Not for the batching check either, which reads signatures."""
    code = "import sys; sys.modules['tensorflow'] = None; from ckpt2saved.cli import main; main({!r}, 'ckpt2saved')"
    arguments = ["serving-config", str(crnn), "-o", str(tmp_path / "out"), *DENSE_BATCHING]
    done = subprocess.run(
        [sys.executable, "-c", code.format(arguments)],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(rb"docker run .*\n\Z", done.stdout)
