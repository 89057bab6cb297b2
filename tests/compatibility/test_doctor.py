"""What doctor says of an environment, of the servers that go with it, and of a SavedModel; and export --for-serving."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.compatibility.cuda import Driver, cuda_versions_of, find_driver, in_image, oldest_driver
from ckpt2saved.compatibility.environment import client_command, examine_environment
from ckpt2saved.compatibility.image import known_images
from ckpt2saved.compatibility.installed import find_packages
from ckpt2saved.compatibility.requirements import is_met, parse_requirement
from ckpt2saved.errors.problem import texts
from ckpt2saved.graph.tf1 import tf
from tests.support.checkpoints import write_checkpoint
from tests.support.graph_defs import RUNNING, X, node, write
from tests.support.packages import install, with_needs

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(tf.__file__).resolve().parent
NEWER = "DisableCopyOnRead"  # since 2.10


def test_the_tensorflow_that_is_running():
    """As TensorFlow itself says, though it is not asked."""
    found = examine_environment()
    assert found.tensorflow.version == tf.__version__ and found.tensorflow.minor == RUNNING
    assert found.tensorflow.directory == SITE.parents[len(SITE.parts) - SITE.parts.index("site-packages") - 2]
    assert (found.tensorflow.cuda_versions is not None) == tf.test.is_built_with_cuda()
    assert found.python == "{}.{}.{}".format(*sys.version_info) and len(found.tensorflows) == 1


def test_two_flavours_in_one_directory(tmp_path):
    """Installed over each other: nobody can say whose files are imported."""
    install(with_needs(tmp_path), "tensorflow", "1.15.5")
    install(tmp_path, "tensorflow-gpu", "1.14.0")
    (problem,) = texts(examine_environment([str(tmp_path)]).problems)
    assert "tensorflow 1.15.5 and tensorflow-gpu 1.14.0 are installed over each other" in problem
    assert "pip uninstall tensorflow tensorflow-gpu, then install one of them again" in problem


def test_two_tensorflows_in_two_directories(tmp_path):
    """The first on sys.path is imported, and the other is what the user thinks of."""
    install(with_needs(tmp_path / "a"), "tensorflow", "1.15.5")
    install(tmp_path / "b", "tensorflow", "1.14.0")
    for first, second in ("ab", "ba"):
        found = examine_environment([str(tmp_path / first), str(tmp_path / "absent"), str(tmp_path / second)])
        assert found.tensorflow.directory == (tmp_path / first).resolve()
        assert "the first hides the others" in found.problems[0].text
    assert examine_environment([str(tmp_path / "a")] * 2).problems == ()


def test_a_package_without_files_is_no_flavour(tmp_path):
    """On Windows `tensorflow` is empty and requires tensorflow-intel, which is not two of them."""
    install(with_needs(tmp_path), "tensorflow", "2.10.1", requires=["tensorflow-intel (==2.10.1)"], files=("x.py",))
    install(tmp_path, "tensorflow-intel", "2.10.1")
    found = examine_environment([str(tmp_path)])
    assert found.tensorflow.flavour == "tensorflow-intel" and found.problems == ()


def test_no_tensorflow(tmp_path):
    """None is no problem for a machine that only serves."""
    found = examine_environment([str(tmp_path)])
    assert found.tensorflow is None and found.problems == ()
    assert client_command(None) == 'pip install --no-deps "tensorflow-serving-api" grpcio'


@pytest.mark.parametrize(
    "version, needs, problem",
    [
        ("1.15.5", {}, None),
        ("1.15.5", {"protobuf": "4.24.4"}, 'protobuf 4.24.4; it requires <4; pip install "protobuf<4"'),
        ("2.11.1", {"protobuf": "4.21.12"}, 'pip install "protobuf<4"'),
        ("2.12.1", {"protobuf": "4.25.0"}, None),
        ("2.17.1", {"numpy": "2.0.1"}, 'numpy 2.0.1; it requires <2; pip install "numpy<2"'),
        ("2.18.1", {"numpy": "2.0.1", "protobuf": "5.28.0"}, None),
    ],
)
def test_what_tensorflow_does_not_start_with(tmp_path, version, needs, problem):
    """Also where it was published before anybody knew."""
    install(with_needs(tmp_path, **needs), "tensorflow", version, requires=["protobuf>=3.6.1", "numpy (>=1.14.5)"])
    problems = texts(examine_environment([str(tmp_path)]).problems)
    assert len(problems) == (problem is not None)
    assert problem is None or problem in problems[0]


def test_what_tensorflow_asks_for_itself(tmp_path):
    """By its metadata: too old, too new, and not there."""
    wants = ["numpy (<2.2.0,>=1.26.0)", "protobuf!=4.21.0,<6.0.0dev,>=3.20.3", 'numpy>=9; python_version < "3"']
    install(tmp_path, "tensorflow-cpu", "2.19.1", requires=wants + ["numpy>=9 ; extra == 'and-cuda'"])
    install(tmp_path, "numpy", "1.24.0", files=())
    first, second = texts(examine_environment([str(tmp_path)]).problems)
    assert first.endswith('numpy 1.24.0; it requires <2.2.0,>=1.26.0; pip install "numpy<2.2.0,>=1.26.0"')
    assert second == (
        'tensorflow-cpu 2.19.1 does not start without protobuf; pip install "protobuf!=4.21.0,<6.0.0dev,>=3.20.3"'
    )


@pytest.mark.parametrize(
    "text, version, expected",
    [
        ("numpy (<2.0.0,>=1.23.5)", "1.26.4", True),
        ("numpy (<2.0.0,>=1.23.5)", "2.0.0", False),
        ("numpy<2.0", "2.0.0rc1", False),
        ("numpy<2.0", "1.99.0rc1", True),
        ("protobuf!=4.21.0,<5.0.0dev,>=3.20.3", "4.21.0", False),
        ("protobuf!=4.21.0,<5.0.0dev,>=3.20.3", "5.0.0", False),
        ("numpy~=1.19.2", "1.19.5", True),
        ("numpy~=1.19.2", "1.20.0", False),
        ("numpy==1.19.*", "1.19.5", True),
        ("numpy==1.19.*", "1.2.0", False),
        ("numpy", "0.1", True),
        ("numpy; (python_version > '3')", "0.1", True),
        ("numpy<2; (python_version > '3') or (sys_platform == 'plan9')", "2.0", False),
        ("numpy>=1.0", "of-a-vendor", True),
    ],
)
def test_requirements(text, version, expected):
    """As metadata has them, old and new."""
    assert is_met(parse_requirement(text), version) is expected


@pytest.mark.parametrize(
    "text",
    [
        "numpy; extra == 'gpu'",
        'numpy ; python_version < "3"',
        "numpy; sys_platform == 'plan9'",
        "numpy>=what",
        "???",
    ],
)
def test_requirements_of_others(text):
    """Of an extra, another Python, another platform; or not to be understood."""
    assert parse_requirement(text) is None


def test_a_client_for_another_tensorflow(tmp_path):
    """And the command that leaves TensorFlow alone."""
    install(with_needs(tmp_path), "tensorflow-cpu", "2.10.1")
    install(tmp_path, "tensorflow-serving-api", "2.19.1", files=())
    (problem,) = texts(examine_environment([str(tmp_path)]).problems)
    assert "tensorflow-serving-api 2.19.1 is for another release than tensorflow-cpu 2.10.1" in problem
    assert problem.endswith('pip install --no-deps "tensorflow-serving-api==2.10.*" grpcio')


@pytest.mark.parametrize(
    "python, version, client",
    [((3, 9), "2.20.0", "2.19"), ((3, 9), "2.19.3", "2.19"), ((3, 9), "2.9.1", "2.9"), ((3, 12), "2.20.0", "2.20")],
)
def test_the_client_of_a_tensorflow_on_a_python(tmp_path, monkeypatch, python, version, client):
    """Of tensorflow-serving-api 2.20 there is none for Python 3.9, for which there is a TensorFlow 2.20."""
    install(with_needs(tmp_path, protobuf="5.29.5", numpy="2.0.2"), "tensorflow", version)
    install(tmp_path, "tensorflow-serving-api", client + ".0", files=())
    monkeypatch.setattr(sys, "version_info", python + (18,))
    found = examine_environment([str(tmp_path)])
    assert f'"tensorflow-serving-api=={client}.*"' in client_command(found.tensorflow)
    assert not [problem for problem in found.problems if problem.code == "other-client"]


def test_packages_however_they_were_installed(tmp_path):
    """egg-info as a directory, as a file, and of a checkout; damaged metadata is passed over; the description's lines are no headers."""
    (tmp_path / "tensorflow_gpu-1.14.0-py3.7.egg-info").mkdir()
    (tmp_path / "tensorflow_gpu-1.14.0-py3.7.egg-info" / "PKG-INFO").write_text(
        "Name: tensorflow-gpu\nVersion: 1.14.0\n"
    )
    (tmp_path / "numpy-1.18.5.egg-info").write_text("Name: numpy\nVersion: 1.18.5\n")
    (tmp_path / "protobuf.egg-info").mkdir()
    (tmp_path / "protobuf.egg-info" / "PKG-INFO").write_text("Name: protobuf\nVersion: 3.20.3\n\nVersion: 9\n")
    (tmp_path / "grpcio.dist-info").write_bytes(b"\xff")
    (tmp_path / "tensorflow_serving_api-1.14.0.dist-info").mkdir()
    names = ("tensorflow", "tensorflow-gpu", "numpy", "protobuf", "grpcio", "tensorflow-serving-api")
    found = find_packages(names, [str(tmp_path), str(tmp_path / "absent"), __file__])
    versions = {name: packages[0].version for name, packages in found.items()}
    assert versions == {"tensorflow-gpu": "1.14.0", "numpy": "1.18.5", "protobuf": "3.20.3"}
    environment = examine_environment([str(tmp_path)])
    assert environment.tensorflow.version == "1.14.0" and environment.problems == ()


@pytest.mark.parametrize(
    "name, version, build_info, wanted",
    [
        ("tensorflow", "2.20.0", "build_info = OrderedDict([('is_cuda_build', False)])", None),
        (
            "tensorflow",
            "2.20.0",
            "build_info = OrderedDict([('cuda_version', '12.6.1'), ('cudnn_version', '9'), ('is_cuda_build', True)])",
            ("12.6.1", "9"),
        ),
        (
            "tensorflow-gpu",
            "1.14.0",
            "is_cuda_build = True\ncuda_version_number = '10.0'\ncudnn_version_number = '7'\n",
            ("10.0", "7"),
        ),
        ("tensorflow-gpu", "2.3.4", "is_cuda_build = True", ("10.1", "7.6")),
        ("tensorflow-gpu", "1.15.5", None, ("10.0", "7.4")),
        ("tensorflow-cpu", "2.19.0", None, None),
        ("tensorflow", "1.15.5", None, None),
    ],
)
def test_the_cuda_that_a_build_wants(tmp_path, name, version, build_info, wanted):
    """By its own account; without one by its name."""
    install(with_needs(tmp_path), name, version, build_info=build_info)
    assert examine_environment([str(tmp_path)]).tensorflow.cuda_versions == wanted


def test_tables_of_cuda():
    """Each release has the last row at or before it."""
    assert cuda_versions_of("1.14.0") == cuda_versions_of("2.0.4") == ("10.0", "7.4")
    assert cuda_versions_of("2.17.1") == ("12.3", "8.9") and cuda_versions_of("2.21.0") == ("12.5", "9.3")
    assert cuda_versions_of("1.4.0") is None
    assert in_image("2.1.4") == ("10.0", "7.4") and in_image("2.14.1") == ("11.8", "8.6")
    assert in_image("2.19.1") == ("12.2", "8.9") and in_image("2.20.0") == ("12.5", "9.3")
    assert {oldest_driver(cuda) for cuda in ("11.2", "11.8")} == {"450.80.02"}
    assert Driver("470.57.02", (), "").runs("11.8") and not Driver("470.57.02", (), "").runs("12.2")
    assert not Driver(None, (), "none").runs("9.0")


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A function that puts a program of that name in front of all others."""

    def put(script):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "nvidia-smi").write_text("#!/bin/sh\n" + script)
        (folder / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return put


def test_the_driver_and_the_gpus(tmp_path, nvidia_smi):
    """As nvidia-smi has them; and what it says instead where it can't, such as in a container without the libraries."""
    nvidia_smi("echo '535.129.03, NVIDIA H100 80GB HBM3, 81559 MiB'; echo '535.129.03, Tesla T4, 15360 MiB'")
    expected = ("NVIDIA H100 80GB HBM3 (81559 MiB)", "Tesla T4 (15360 MiB)")
    assert find_driver() == Driver("535.129.03", expected, "")
    nvidia_smi("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    found = find_driver(tmp_path / "absent")
    assert found == Driver(None, (), "nvidia-smi reports: Failed to initialize NVML: Driver/library version mismatch")
    version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 16:14:05 UTC 2021\nGCC version:\n"
    (tmp_path / "version").write_text(version)
    assert find_driver(tmp_path / "version").version == "470.57.02"
    opened = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build\n"
    (tmp_path / "version").write_text(opened)
    assert find_driver(tmp_path / "version").version == "550.54.15"


def test_no_driver(tmp_path, monkeypatch):
    """Said plainly."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_driver(tmp_path / "absent") == Driver(None, (), "there is no nvidia-smi")


def test_doctor_without_a_saved_model(run):
    """The page, and the same as JSON."""
    result = run("doctor", env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    parts = (
        "Python ",
        tf.__version__,
        "CUDA",
        "driver",
        "tensorflow/serving:",
        "NVIDIA driver",
        "tensorflow-serving-api",
    )
    for expected in parts:
        assert expected in result.output
    content = json.loads(run("doctor", "--json").output)
    assert content["format"] == 1 and content["tensorflow"]["version"] == tf.__version__
    matching = [image.version for image in known_images() if image.minor == RUNNING] or [known_images()[-1].version]
    assert content["images"][0]["version"] == matching[0]
    assert content["images"][-1]["tag"] == "tensorflow/serving:" + known_images()[-1].version
    assert (
        content["client"]["install"]
        == f'pip install --no-deps "tensorflow-serving-api=={"2.19" if sys.version_info < (3, 10) and RUNNING == "2.20" else RUNNING}.*" grpcio'
    )
    assert content["saved_model"] is None


def test_doctor_in_a_broken_environment(tmp_path):
    """Another process, with two flavours first on the path and a driver that is too old for either."""
    install(with_needs(tmp_path / "site", protobuf="4.24.4"), "tensorflow-gpu", "2.3.4")
    install(tmp_path / "site", "tensorflow", "2.3.4")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho '384.90, Tesla K80, 11441 MiB'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    code = "import sys; sys.modules['tensorflow'] = None; sys.path.insert(1, {!r}); from ckpt2saved.cli import main; main({!r})"
    command = [sys.executable, "-c", code.format(str(tmp_path / "site"), ["doctor"])]
    environment = dict(os.environ, PYTHONPATH=str(ROOT), COLUMNS="300", PATH=f"{tmp_path}:/bin:/usr/bin")
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert "installed over each other" in done.stdout and 'pip install "protobuf<4"' in done.stdout
    assert "450.80.02 or newer, not 384.90" in done.stdout
    assert "NVIDIA 384.90: Tesla K80 (11441 MiB); too old for CUDA 10.1, which runs on 418.39 or newer" in done.stdout


def test_doctor_with_a_saved_model(run, tmp_path):
    """A line for each stretch of releases, the newest version of a model's directory."""
    write(tmp_path / "m" / "1", [X])
    write(tmp_path / "m" / "2", [X, node(NEWER, "y", "x")], tensorflow="2.21.0")
    result = run("doctor", tmp_path / "m", env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    assert "m/2 (2 nodes, 2 ops, written by TensorFlow 2.21.0)" in " ".join(result.output.split())
    assert "fits       TF Serving 2.10 or newer" in result.output
    assert "1.14 to 2.9     no     DisableCopyOnRead (node y)" in result.output
    assert run("doctor", tmp_path / "m" / "1").exit_code == 0


def test_doctor_for_one_release(run, tmp_path):
    """Exit code 3, everything that is missing, and what to do; JSON says the same."""
    write(tmp_path / "1", [X, node(NEWER, "y", "x")] + [node("NoSuchOp", f"n{n}") for n in range(50)])
    result = run("doctor", tmp_path / "1", "--serving", "1.14", env={"COLUMNS": "160"})
    assert result.exit_code == 3
    assert "it does not fit TF Serving 1.14.0; it fits none" in result.output
    assert (
        "no op of 1.14; TensorFlow has it since 2.10" in result.output and "50 nodes: n0 and 49 more" in result.output
    )
    assert "no known release has everything" in result.output
    assert RUNNING == "1.14" or "TF Serving 1.14.0 is older than TensorFlow " + tf.__version__ in result.output
    result = run("doctor", tmp_path / "1", "--serving", "2.19.0", "--json")
    assert result.exit_code == 3
    content = json.loads(result.output[: result.output.rindex("}") + 1])["saved_model"]
    assert content["fits"] == [] and list(content["serving"]) == ["2.19"]
    (problem,) = content["serving"]["2.19"]["misfits"]
    assert problem["op"] == "NoSuchOp" and len(problem["nodes"]) == 50
    assert run("doctor", tmp_path / "1").exit_code == 3
    write(tmp_path / "2", [X])
    assert run("doctor", tmp_path / "2", "--serving", "1.14").exit_code == 0


def test_doctor_looks_for_kernels_on_the_device(run, tmp_path):
    """By default on the CPU; a release for GPUs is asked about with a GPU, unless --for-device says otherwise."""
    write(tmp_path / "1", [X, node("CudnnRNNV3", "rnn", T=tf.float32), node("StringJoin", "join", N=1)])

    def asked(*options):
        result = run("doctor", tmp_path, *options, "--json")
        content = json.loads(result.output[: result.output.rindex("}") + 1])["saved_model"]
        return result.exit_code, content

    for options, device in (
        (["--serving", "2.19"], "cpu"),
        (["--serving", "2.19.1-gpu"], "gpu"),
        (["--serving", "2.19-gpu", "--for-device", "cpu"], "cpu"),
        (["--serving", "1.14", "--for-device", "gpu"], "gpu"),
        (["--for-device", "gpu"], "gpu"),
        ([], "cpu"),
    ):
        exit_code, content = asked(*options)
        assert (exit_code, content["device"]) == (3 if device == "cpu" else 0, device), options
        assert content["fits_on"]["cpu"] == [] and content["fits_on"]["gpu"] == list(asked()[1]["serving"])
        assert content["fits"] == content["fits_on"][device]
    (misfit,) = asked("--serving", "2.19")[1]["serving"]["2.19"]["misfits"]
    assert (misfit["kind"], misfit["op"], misfit["nodes"]) == ("kernel", "CudnnRNNV3", ["rnn"])
    assert misfit["remedy"] == "serve it with tensorflow/serving:2.19.1-gpu on a GPU"
    words = " ".join(run("doctor", tmp_path, "--serving", "2.19").output.split())
    assert "fits none with a GPU TF Serving 1.14 or newer" in words
    assert "no release has everything for CPUs; on a GPU serve it with 1.14 or newer" in words
    assert run("doctor", tmp_path, "--serving", "2.19-gpus").exit_code == 2


def test_doctor_says_what_needs_a_gpu(run, tmp_path):
    """Ops are registered on every server; their kernels are not, and a CPU server fails to load the graph."""
    write(tmp_path / "gpu", [X, node("CudnnRNNV3", "rnn"), node("CudnnRNNParamsSize", "size")])
    for options in ([], ["--serving", "2.19"]):
        words = " ".join(run("doctor", tmp_path / "gpu", *options).output.split())
        assert "CudnnRNNParamsSize, CudnnRNNV3: TensorFlow has kernels of it for GPUs only" in words
        assert ("tensorflow/serving:2.19.1-gpu" in words) or not options
    write(tmp_path / "old", [X, node("CudnnRNNV2", "rnn", T=tf.float32)])
    words = " ".join(run("doctor", tmp_path / "old", "--serving", "2.20-gpu").output.split())
    assert "needs a GPU and the image tensorflow/serving:2.19.1-gpu" in words  # 2.20's has cuDNN 9
    content = json.loads(run("doctor", tmp_path / "gpu", "--json").output.rpartition("}")[0] + "}")
    assert content["saved_model"]["gpu_ops"] == ["CudnnRNNParamsSize", "CudnnRNNV3"]
    write(tmp_path / "cpu", [X])
    assert "for GPUs only" not in run("doctor", tmp_path / "cpu").output
    assert json.loads(run("doctor", tmp_path / "cpu", "--json").output)["saved_model"]["gpu_ops"] == []


def test_doctor_about_bad_input(run, tmp_path):
    """Never a traceback, and each its exit code."""
    write(tmp_path / "1", [X])
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "saved_model.pb").write_bytes((tmp_path / "1" / "saved_model.pb").read_bytes()[:-3])
    (tmp_path / "empty").mkdir()
    write(tmp_path / "training", [X], tags=("train",))
    for arguments, code, message in (
        ([tmp_path / "cut"], 1, "cut off, or no SavedModel"),
        ([tmp_path / "empty"], 1, "neither a version"),
        ([tmp_path / "absent"], 1, "there is no such directory"),
        ([tmp_path / "training"], 3, "no meta graph is tagged 'serve'"),
        ([tmp_path / "1", "--serving", "9.9"], 2, "--serving: '9.9' is no release of TF Serving that is known here"),
        (["--serving", "latest"], 2, "'latest' is no release"),
    ):
        result = run("doctor", *arguments)
        assert result.exit_code == code and message in result.output, result.output


def test_doctor_needs_no_tensorflow_and_no_time(tmp_path):
    """Not even for a SavedModel."""
    write(tmp_path / "1", [X])
    code = "import sys; sys.modules['tensorflow'] = None; from ckpt2saved.cli import main; main({!r})"
    command = [sys.executable, "-c", code.format(["doctor", str(tmp_path / "1"), "--serving", "1.14"])]
    done = subprocess.run(command, env=dict(os.environ, PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE)
    assert done.returncode == 0 and b"fits" in done.stdout


OPS = """
import tensorflow.compat.v1 as tf

def build(variables, options):
    x = tf.placeholder(tf.float32, [None, 8], name="x")
    w = tf.get_variable("w", variables["w"])
    if not hasattr(tf.raw_ops, "BesselI0"):  # since 2.3
        return {"x": x, "y": tf.raw_ops.CompareAndBitpack(input=x * w, threshold=0.5)}  # up to 2.5
    return {"x": x, "y": tf.raw_ops.BesselI0(x=x * w)}
"""


def test_export_for_a_server(run, tmp_path, monkeypatch):
    """Refused with the node before anything is published; or recorded, where it fits."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "graph_for_servers.py").write_text(OPS)
    prefix = write_checkpoint(tmp_path / "model", {"w": np.ones(8, "float32")})
    monkeypatch.setattr(sys, "path", list(sys.path))
    arguments = ["export", "--python-path", tmp_path / "code", "--graph", "graph_for_servers:build", "-c", prefix]
    arguments += ["--input", "x", "--output", "y", "-o", tmp_path / "base", "--for-serving"]
    refused, fitting, op = ("2.20", "1.15", "CompareAndBitpack") if RUNNING < "2" else ("1.14", "2.20", "BesselI0")
    result = run(*arguments, refused)
    assert result.exit_code == 3, result.output
    assert f"the SavedModel asks for what TF Serving {refused}" in result.output
    assert f"{op}: no op of {refused}; TensorFlow has it " in result.output
    assert not (tmp_path / "base").exists() or os.listdir(str(tmp_path / "base")) == []
    result = run(*arguments, fitting)
    assert result.exit_code == 0, result.output
    provenance = json.loads((tmp_path / "base" / "1" / "assets.extra" / "ckpt2saved.json").read_text())
    assert provenance["for_serving"].startswith(fitting)
    assert run(*arguments, "1.7").exit_code == 2
    sys.modules.pop("graph_for_servers", None)


def test_an_export_of_the_crnn_fits_every_server(run, tmp_path, crnn_checkpoint):
    """Whichever TensorFlow wrote it."""
    result = run("export", "-m", "crnn", "-c", crnn_checkpoint, "-o", tmp_path, "--no-parity", "--for-serving", "1.14")
    assert result.exit_code == 0, result.output
    assert "TF Serving 1.14.0 has all of its ops and attributes" in result.output
    content = json.loads(run("doctor", tmp_path, "--json").output)["saved_model"]
    assert content["fits"] == [image.minor for image in known_images()]
