"""The signatures are found however ckpt2saved got where it is, and TensorFlow is never brought along."""

from __future__ import annotations

import email
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import ckpt2saved

ROOT = Path(__file__).resolve().parent.parent
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # of apache.org/licenses/LICENSE-2.0.txt
FIND = (
    "import ckpt2saved, ckpt2saved.signature.file as s, ckpt2saved.graph.op_table as t; t.read_table();"
    "import ckpt2saved.graph.kernel_table as k; k.read_kernels();"
    "print(ckpt2saved.__file__); print(s.builtin_models())"
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of what a release is made of, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("ckpt2saved", "docs", "signatures"):
        shutil.copytree(str(ROOT / name), str(copy / name), ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE", "MANIFEST.in"):
        shutil.copy(str(ROOT / name), str(copy / name))
    return copy


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, sources):
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", str(sources), "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder))
    (built,) = folder.glob("*.whl")
    return built


def pip(python, *arguments):
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"] + list(arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def found(python, directory, path=""):
    """Where a Python finds the package, and which models it has, when it stands in `directory`."""
    environment = dict(os.environ, PYTHONPATH=str(path))
    done = subprocess.run(
        [str(python), "-c", FIND], cwd=str(directory), env=environment, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 0
    place, models = done.stdout.splitlines()
    return Path(place), models


def test_from_a_checkout(tmp_path):
    """With the checkout on the path, standing anywhere."""
    place, models = found(sys.executable, tmp_path, path=ROOT)
    assert place == ROOT / "ckpt2saved" / "__init__.py"
    assert models == "['crnn', 'ctpn', 'ocr']"


def test_from_a_wheel(tmp_path, wheel):
    """Installed, with no checkout near: the signatures lie inside the package."""
    pip(sys.executable, "install", str(wheel), "--no-deps", "--target", str(tmp_path / "site"))
    place, models = found(sys.executable, tmp_path, path=tmp_path / "site")
    assert place == tmp_path / "site" / "ckpt2saved" / "__init__.py"
    assert models == "['crnn', 'ctpn', 'ocr']"
    assert (tmp_path / "site" / "ckpt2saved" / "signatures" / "crnn.yaml").is_file()


def test_from_an_editable_install(tmp_path, sources):
    """pip install -e: the package is the checkout's, the signatures beside it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    # The new environment borrows this one's packages: pip, setuptools to build with, and the dependencies.
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"])
    pip(python, "install", "--editable", str(sources), "--no-deps", "--no-build-isolation")
    place, models = found(python, tmp_path)
    assert place == sources / "ckpt2saved" / "__init__.py"
    assert models == "['crnn', 'ctpn', 'ocr']"


def test_the_license_goes_along(wheel, sources, tmp_path):
    """Its text and the notice in the wheel and in the source distribution, its name in the metadata."""
    texts = {name: (ROOT / name).read_bytes() for name in ("LICENSE", "NOTICE")}
    assert hashlib.sha256(texts["LICENSE"]).hexdigest() == APACHE_2
    with zipfile.ZipFile(str(wheel)) as archive:
        for text_name, text in texts.items():
            (name,) = [name for name in archive.namelist() if ".dist-info/" in name and name.endswith(text_name)]
            assert archive.read(name) == text
        metadata = archive.read([name for name in archive.namelist() if name.endswith("METADATA")][0]).decode()
    assert re.search("(?m)^License(-Expression)?: Apache-2.0$", metadata)
    copy = tmp_path / "sources"  # building leaves its files in it
    shutil.copytree(str(sources), str(copy))
    command = [sys.executable, "-W", "ignore", "setup.py", "--quiet", "sdist", "--dist-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=str(copy), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(str(built)) as archive:
        for name, text in texts.items():
            assert archive.extractfile(f"ckpt2saved-{ckpt2saved.__version__}/{name}").read() == text


def test_the_metadata(wheel):
    """The version is the package's, the newest one of the changelog; the readme is the description."""
    with zipfile.ZipFile(str(wheel)) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Name"] == "ckpt2saved" and metadata["Version"] == ckpt2saved.__version__
    assert metadata["Requires-Python"] == ">=3.7" and metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload(decode=True).decode() == (ROOT / "README.md").read_text(encoding="utf-8")
    released = re.findall(
        r"(?m)^## \[(\d\S*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    )
    assert released[0] == ckpt2saved.__version__
    for minor in range(7, 14):
        assert f"Programming Language :: Python :: 3.{minor}" in metadata.get_all("Classifier")


def test_older_tools_ask_setup_py():
    """For the version."""
    command = [sys.executable, "setup.py", "--version"]
    done = subprocess.run(command, cwd=str(ROOT), stdout=subprocess.PIPE, text=True)
    assert done.stdout.splitlines()[-1] == ckpt2saved.__version__


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    """Every module and data file of the checkout, no tests and no examples."""
    with zipfile.ZipFile(str(wheel)) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = [archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA")][0]
    modules = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "ckpt2saved").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    signatures = {"ckpt2saved/" + str(path.relative_to(ROOT)) for path in (ROOT / "signatures").glob("*.yaml")}
    assert {
        "ckpt2saved/graph/ops.json.gz",
        "ckpt2saved/graph/kernels.json.gz",
        "ckpt2saved/py.typed",
        "ckpt2saved/cli/schemas/signature.schema.json",
    } <= modules
    assert names == modules | signatures | {"ckpt2saved/docs/troubleshooting.md"}
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert required and not any("tensorflow" in line for line in required)
