"""serving-config --from: servers whose versions a side-car pulls from an object store, and KServe's."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from ckpt2saved.cli import main
from ckpt2saved.server_config.pulling import SYNC_IMAGE, NamedUrl, parse_source
from tests.support.object_stores import s3_server, upload_directory
from tests.support.published_models import publish, succeeded
from tests.support.schemas import against_schema

CRNN, CTPN = "s3://models/served/crnn", "s3://models/served/ctpn"


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory):
    """Two models in a store, the newest version of one of them broken."""
    folder = tmp_path_factory.mktemp("published")
    with s3_server() as endpoint:
        for url, numbers in ((CRNN, (1, 2)), (CTPN, (5,))):
            base = publish(folder / url[-4:], *numbers)
            for number in numbers:
                upload_directory(url, base / str(number), str(number))
        (folder / "broken").mkdir()
        (folder / "broken" / "saved_model.pb").write_bytes(b"x")
        upload_directory("s3://models/served/broken", folder / "broken", "1")
        yield endpoint


@pytest.fixture
def configure(run, tmp_path):
    def call(*arguments):
        return run("serving-config", "--output-dir", tmp_path / "out", *arguments)

    return call


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


def pulled_by(arguments):
    """What sync makes of these arguments of a container."""
    assert arguments[0] == "sync"
    return main.commands["sync"].make_context("sync", list(arguments[1:])).params


def test_kubernetes(configure, tmp_path):
    """An init container, and a side-car with probes, which write where the server reads."""
    done = succeeded(configure("--from", CRNN, "--from", CTPN, "--for", "kubernetes", "--quiet"))
    assert done.stdout == f"kubectl apply --filename {tmp_path / 'out' / 'kubernetes.yaml'}\n"
    config, deployment, service = documents(tmp_path / "out" / "kubernetes.yaml")
    assert re.findall('base_path: "(.*)"', config["data"]["models.config"]) == ["/models/crnn", "/models/ctpn"]
    pod = deployment["spec"]["template"]["spec"]
    (first,), (serving, side_car) = pod["initContainers"], pod["containers"]
    assert pod["volumes"][0] == {"name": "models", "emptyDir": {}}
    assert serving["volumeMounts"][0] == {"name": "models", "mountPath": "/models", "readOnly": True}
    for container in (first, side_car):
        assert container["image"] == SYNC_IMAGE
        assert container["volumeMounts"] == [{"name": "models", "mountPath": "/models"}]
        assert container["envFrom"] == [{"secretRef": {"name": "tensorflow-serving-store", "optional": True}}]
        found = pulled_by(container["args"])
        assert found["urls"] == (CRNN, CTPN) and str(found["local_base"]) == "/models"
        assert (found["versions"], found["keep"], found["once"]) == (1, 2, False)
    assert pulled_by(first["args"])["until_ready"] and not pulled_by(side_car["args"])["until_ready"]
    assert pulled_by(side_car["args"])["listen"] == ("", side_car["ports"][0]["containerPort"])
    assert side_car["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": side_car["ports"][0]["name"]}
    assert side_car["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": side_car["ports"][0]["name"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {"grpc", "rest", side_car["ports"][0]["name"]}


def test_one_model_has_the_base_directory_to_itself(configure, tmp_path):
    """With another name for clients, another image, and two versions."""
    options = ["--versions", "latest:2", "--sync-image", "registry/ckpt2saved:1", "--name", "ocr"]
    done = succeeded(configure("--from", f"lines={CRNN}", "--for", "kubernetes", *options))
    assert "lines: s3://models/served/crnn is /models/crnn in the server, which loads 2, 1" in done.output
    config, deployment, _ = documents(tmp_path / "out" / "kubernetes.yaml")
    assert 'name: "lines"' in config["data"]["models.config"]
    side_car = deployment["spec"]["template"]["spec"]["containers"][1]
    found = pulled_by(side_car["args"])
    assert str(found["local_base"]) == "/models/crnn" and (found["versions"], found["keep"]) == (2, 3)
    assert side_car["image"] == "registry/ckpt2saved:1"
    assert side_car["envFrom"][0]["secretRef"]["name"] == "ocr-store"


def test_compose(configure, tmp_path):
    """The server waits for the side-car, and both see one volume."""
    succeeded(configure("--from", CRNN, "--for", "compose"))
    (content,) = documents(tmp_path / "out" / "compose.yaml")
    server, side_car = content["services"]["tensorflow-serving"], content["services"]["tensorflow-serving-sync"]
    assert server["depends_on"] == {"tensorflow-serving-sync": {"condition": "service_healthy"}}
    assert "/readyz" in side_car["healthcheck"]["test"][-1] and content["volumes"] == {"models": {}}
    models = {"type": "volume", "source": "models", "target": "/models"}
    assert side_car["volumes"] == [models] and server["volumes"][0] == dict(models, read_only=True)
    assert server["volumes"][1]["source"] == str(tmp_path / "out")
    assert pulled_by(side_car["command"])["listen"] == ("", 9090)
    assert side_car["env_file"] == [{"path": "store.env", "required": False}]
    compile(side_car["healthcheck"]["test"][-1], "healthcheck", "exec")


def test_kserve(configure, tmp_path):
    """An InferenceService for each model, with the flags of the server that need no file."""
    done = succeeded(
        configure("--from", CRNN, "--from", f"pages={CTPN}", "--for", "kserve", "--gpus", "1", "--cpus", "4")
    )
    assert "KServe copies all versions below the URL when a pod starts" in done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["kserve.yaml"]
    first, second = documents(tmp_path / "out" / "kserve.yaml")
    assert first["apiVersion"] == "serving.kserve.io/v1beta1" and first["kind"] == "InferenceService"
    assert [one["metadata"]["name"] for one in (first, second)] == ["crnn", "pages"]
    model = first["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "tensorflow"} and model["runtime"] == "kserve-tensorflow-serving"
    assert model["storageUri"] == CRNN + "/"  # without the slash, KServe would copy crnn2 as well
    assert model["runtimeVersion"] == "2.19.1-gpu"
    assert model["resources"]["limits"] == {"cpu": "4", "nvidia.com/gpu": 1}
    assert {"--tensorflow_intra_op_parallelism=4", "--num_load_threads=2"} <= set(model["args"])
    assert not [flag for flag in model["args"] if "/" in flag or "_file" in flag]
    assert model["env"] == [{"name": "TF_ENABLE_ONEDNN_OPTS", "value": "0"}]


@pytest.mark.parametrize("options", [[], ["--gpus", "1", "--cpus", "2", "--versions", "latest:2", "--from", CTPN]])
def test_files_fit_the_schemas_of_those_who_read_them(configure, tmp_path, options):
    """The Compose specification, and Kubernetes' own schemas, of an old and of the newest release, strictly."""
    pytest.importorskip("check_jsonschema")
    kubernetes = pytest.importorskip("kubernetes_validate")
    succeeded(configure("--from", CRNN, "--for", "compose", "--for", "kubernetes", *options))
    assert against_schema("compose-spec", tmp_path / "out" / "compose.yaml") == ""
    for manifest in documents(tmp_path / "out" / "kubernetes.yaml"):
        for release in ("1.25", kubernetes.latest_version()):
            kubernetes.validate(manifest, release, strict=True)


def test_signatures_are_checked(configure, tmp_path):
    """As those of local versions: batching that would break answers is refused, and nothing is written."""
    result = configure("--from", CRNN, "--for", "kubernetes", "--batching")
    assert result.exit_code == 3 and "serving_default" in result.output, result.output
    assert not (tmp_path / "out").exists()
    succeeded(
        configure("--from", CRNN, "--for", "kubernetes", "--batching", "--batched-signature", "dense", "--equal-shapes")
    )
    assert (tmp_path / "out" / "batching.config").exists()


def test_json(configure):
    """The path of a model is its URL; no directory of this machine is mounted for it."""
    done = succeeded(configure("--from", CRNN, "--for", "compose", "--dry-run", "--json", "--quiet"))
    content = json.loads(done.stdout)
    assert content["models"][0]["path"] == CRNN and content["models"][0]["base_path"] == "/models/crnn"
    assert [mount["server"] for mount in content["mounts"]] == ["/config"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from", CRNN], 2, "--from: only with --for compose, --for kubernetes or --for kserve"),
        (["--from", "models/crnn", "--for", "compose"], 2, "is not the URL of an object store"),
        (["--from", CRNN, "--from", "s3://other/crnn", "--for", "compose"], 2, "have the same last name"),
        (["--from", "s3://models/served/a b", "--for", "compose"], 2, "expected letters, digits"),
        (["--from", CRNN, "models/crnn", "--for", "compose"], 2, "expected one; found both"),
        (["--for", "compose"], 2, "expected one; found neither"),
        (["--from", CRNN, "--for", "compose", "--label", "stable=1"], 2, "--label: not with --from"),
        (["--from", CRNN, "--for", "compose", "--versions", "all"], 2, "--versions: with --from only latest"),
        (["--from", CRNN, "--for", "kubernetes", "--volume-claim", "x"], 2, "--volume-claim: not with --from"),
        (["models", "--sync-image", "x"], 2, "--sync-image: only with --from"),
        (["models", "--for", "kserve"], 2, "--for kserve: only with --from"),
        (
            ["--from", "s3://models/served/none", "--for", "compose"],
            1,
            "s3://models/served/none: no version is published",
        ),
        (["--from", "s3://nobucket/x", "--for", "compose"], 1, "s3://nobucket/x: could not"),
        (["--from", "s3://models/served/broken", "--for", "compose"], 1, "saved_model.pb"),
        (["--from", f"My_Model={CRNN}", "--for", "kserve"], 1, "My_Model: not a name of an InferenceService"),
        (["--from", CRNN, "--for", "kserve", "--versions", "latest:2"], 2, "--versions: not with --for kserve"),
        (
            ["--from", CRNN, "--for", "kserve", "--batching", "--batched-signature", "dense", "--equal-shapes"],
            2,
            "--batching: not",
        ),
    ],
)
def test_bad_input(configure, tmp_path, arguments, code, said):
    """One message, and nothing is written."""
    result = configure(*arguments)
    assert result.exit_code == code and said in result.output and "Traceback" not in result.output, result.output
    assert not (tmp_path / "out").exists()


def test_sources():
    assert parse_source("a=s3://b/c=d") == NamedUrl("a", "s3://b/c=d")
    assert parse_source("s3://b/c=d") == NamedUrl("", "s3://b/c=d")
