"""The steps of Dockerfile, run as plain shell in a folder that stands for the image's root: no docker is needed.

The second stage installs TensorFlow: CKPT2SAVED_TEST_DOCKERFILE=1 runs it, and tools/release.py does so.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt2saved.server_config.pulling import SYNC_IMAGE

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("/source", "/wheels")  # of the image, which are folders of the test's


def instructions():
    """(instruction, text) with lines joined and comments left out."""
    text = re.sub(r"(?m)^ *#.*\n", "", (ROOT / "Dockerfile").read_text()).replace("\\\n", " ")
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line]


def in_context(path):
    """Whether .dockerignore lets docker see a path: the last pattern that it or a folder of it matches decides."""
    seen = True
    for pattern in (ROOT / ".dockerignore").read_text().splitlines():
        if pattern and not pattern.startswith("#"):
            plain = pattern.lstrip("!")
            names = path.split("/")
            prefixes = ["/".join(names[:count]) for count in range(1, len(names) + 1)]
            candidates = names if plain.startswith("**/") else prefixes
            if any(fnmatch.fnmatchcase(one, plain.replace("**/", "")) for one in candidates):
                seen = pattern.startswith("!")
    return seen


class Image:
    """The folder, a Python environment in it, and the variables of a stage."""

    def __init__(self, root):
        self.root, self.variables, self.folder = root, {}, root
        for name in (*PLACES, "/work", "/bin"):
            (root / name.strip("/")).mkdir(parents=True)

    def adapted(self, text):
        return re.sub(
            "|".join(rf"(?<![\w.]){place}\b" for place in PLACES), lambda found: f"{self.root}{found.group()}", text
        )

    def run(self, text, **more):
        path = os.pathsep.join([str(self.root / "bin"), str(self.root / "venv" / "bin"), os.environ["PATH"]])
        environment = dict(os.environ, PATH=path, **self.variables, **more)
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            ["sh", "-ec", self.adapted(text)],
            cwd=str(self.folder),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def image(tmp_path):
    return Image(tmp_path / "image")


def stages():
    found = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        elif found:
            found[-1].append(instruction)
    return found


def build_stage(image):
    """The first stage, with this Python and what it has to build with."""
    copied, folder, built = stages()[0]
    assert copied == ("COPY", ". /source") and folder == ("WORKDIR", "/source")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=str(ROOT), stdout=subprocess.PIPE)
    names = (
        listed.stdout.decode().split("\0")
        if listed.returncode == 0
        else [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
    )
    for name in filter(None, names):
        if in_context(name) and (ROOT / name).is_file():
            target = image.root / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(ROOT / name), str(target))
    (image.root / "bin" / "python").symlink_to(sys.executable)
    image.folder = image.root / "source"
    # pip takes "false" of a negated option for "do not isolate".
    environment = {"PIP_NO_BUILD_ISOLATION": "false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    program = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n'
    (image.root / "bin" / "python").unlink()
    (image.root / "bin" / "python").write_text(program)
    (image.root / "bin" / "python").chmod(0o755)
    image.run(built[1], **environment)
    (image.root / "bin" / "python").unlink()
    (wheel,) = (image.root / "wheels").iterdir()
    return wheel


def test_what_docker_sees():
    """What the wheel is built of, and no training, test or environment."""
    seen = ["ckpt2saved/cli/export.py", "ckpt2saved/graph/ops.json.gz", "signatures/crnn.yaml", "pyproject.toml"]
    unseen = ["examples/crnn/checkpoint/checkpoint", "tests/conftest.py", ".git/config", ".venv/bin/python", "build/x"]
    assert [path for path in seen + unseen if in_context(path)] == seen
    assert not in_context("ckpt2saved/cli/__pycache__/export.cpython-37.pyc")


def test_the_first_stage_builds_the_wheel(image):
    """From the files that docker sees alone."""
    assert build_stage(image).name.startswith("ckpt2saved-")
    assert not (image.root / "source" / "tests").exists()


def test_who_runs_and_what():
    """A user without rights; the command alone prints its help; versions are pinned."""
    last = dict(stages()[-1])
    assert last["USER"] not in ("0", "root") and last["ENTRYPOINT"] == '["ckpt2saved"]' and last["CMD"] == '["--help"]'
    given = dict(text.split("=") for name, text in instructions() if name == "ARG")
    assert re.fullmatch(r"3\.\d+", given["PYTHON"]) and re.fullmatch(r"2\.\d+\.\d+", given["TENSORFLOW"])
    text = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")
    for name, value in given.items():
        assert f"| `{name}` | {value} |" in text


def test_the_side_car_has_no_tensorflow():
    """It runs as a user without rights, who owns the directory of the models; its name is the default of serving-config."""
    side_car = stages()[1]
    text = " ".join(text for _, text in side_car)
    assert "tensorflow" not in text and "[s3,gcs,azure]" in text
    last = dict(side_car)
    assert last["USER"] == "1000" and "chown 1000 /models" in text and last["ENTRYPOINT"] == '["ckpt2saved"]'
    assert f"--target sync --tag {SYNC_IMAGE}" in (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")


def test_hadolint():
    if not (Path(sys.executable).parent / "hadolint").exists():
        pytest.skip("no hadolint in this environment; make lint has one")
    subprocess.run([str(Path(sys.executable).parent / "hadolint"), str(ROOT / "Dockerfile")], check=True)


@pytest.mark.skipif(
    "CKPT2SAVED_TEST_DOCKERFILE" not in os.environ, reason="installs TensorFlow: CKPT2SAVED_TEST_DOCKERFILE=1"
)
def test_the_image_exports_the_example(image):
    """Every step, in order, then the entry point with the arguments of docs/docker.md."""
    build_stage(image)
    subprocess.run([sys.executable, "-m", "venv", str(image.root / "venv")], check=True)
    (image.root / "bin" / "useradd").write_text('#!/bin/sh\necho useradd "$@"\n')
    (image.root / "bin" / "useradd").chmod(0o755)
    for name, text in stages()[-1]:
        if name == "ARG":
            variable, value = text.split("=")
            image.variables[variable] = value
        elif name == "COPY":
            assert text == "--from=build /wheels /wheels"
        elif name == "RUN":
            print(image.run(text))
        elif name == "WORKDIR":
            image.folder = image.root / text.strip("/")
        else:
            assert name in ("LABEL", "USER", "ENTRYPOINT", "CMD"), name
    example = ROOT / "examples" / "crnn"
    (image.folder / "runs").mkdir()
    (image.folder / "runs" / "crnn").symlink_to(example / "checkpoint")
    (image.folder / "charset.txt").symlink_to(example / "charset.txt")
    documented = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")
    arguments = re.search(r"ckpt2saved \\\n +(export .*)\n```", documented).group(1)
    assert "parity" in image.run(f"ckpt2saved {arguments}")
    assert (image.folder / "models" / "crnn" / "1" / "saved_model.pb").is_file()
    assert "export" in image.run("ckpt2saved --help")
