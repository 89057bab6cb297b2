"""The TensorFlow that this Python would import, and problems with it, found without importing it."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from packaging.requirements import Requirement

from ckpt2saved.compatibility.cuda import CudaVersions, cuda_versions_of
from ckpt2saved.compatibility.installed import Package, Packages, find_packages
from ckpt2saved.compatibility.requirements import is_met, minor, parse_requirement, release
from ckpt2saved.errors.problem import Problem

# Packages whose files are a directory named tensorflow. On Windows and for some processors `tensorflow` itself is empty
# and requires another one of them, which is no conflict.
_FLAVOURS = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-gpu",
    "tensorflow-intel",
    "tensorflow-macos",
    "tensorflow-cpu-aws",
    "tensorflow-aarch64",
    "tensorflow-rocm",
    "tensorflow-directml",
    "intel-tensorflow",
    "intel-tensorflow-avx512",
    "tf-nightly",
    "tf-nightly-cpu",
    "tf-nightly-gpu",
)
_FILE = "tensorflow/__init__.py"
_BUILD_INFO = ("tensorflow/python/platform/build_info.py", "tensorflow_core/python/platform/build_info.py")

_CLIENTS = ("tensorflow-serving-api", "tensorflow-serving-api-gpu")
# TensorFlow 2.20 runs on Python 3.9; of tensorflow-serving-api 2.19 is the last that does (both by Requires-Python).
_LAST_CLIENT = {(3, 9): "2.19"}

# In addition to a release's own requirements, since older releases set no upper bounds: messages generated for
# protobuf 3 are refused by 4 and later ("Descriptors cannot be created directly"); modules built for NumPy 1 don't run
# under 2. TensorFlow's setup.py has the bounds from 2.12 and from 2.18 on.
_BOUNDS = (((2, 12), Requirement("protobuf<4")), ((2, 18), Requirement("numpy<2")))
_NEEDED = ("numpy", "protobuf")


@dataclass(frozen=True)
class TensorFlow:
    """An installed TensorFlow."""

    flavour: str  # the package's name
    version: str
    directory: Path
    cuda_versions: Optional[
        CudaVersions
    ]  # the CUDA and cuDNN that it was built with; None: it computes on the CPU alone

    @property
    def minor(self) -> str:
        """Return 2.21 for 2.21.0."""
        return minor(self.version)

    @property
    def client_minor(self) -> str:
        """Return the matching release of tensorflow-serving-api, or the last one for this Python."""
        last = _LAST_CLIENT.get(sys.version_info[:2], "")
        return last if last and release(self.minor) > release(last) else self.minor

    def goes_with(self, client: Package) -> bool:
        """Return whether a tensorflow-serving-api matches this TensorFlow."""
        return minor(client.version) == self.client_minor


@dataclass(frozen=True)
class Environment:
    """This Python and the installed packages that matter to TensorFlow."""

    python: str
    executable: str
    tensorflows: Tuple[TensorFlow, ...]  # that which is imported first; more than one is a problem
    client: Optional[Package]  # tensorflow-serving-api
    has_grpc: bool
    problems: Tuple[Problem, ...]

    @property
    def tensorflow(self) -> Optional[TensorFlow]:
        """Return the TensorFlow that Python would import."""
        return self.tensorflows[0] if self.tensorflows else None


def examine_environment(directories: Optional[Sequence[str]] = None) -> Environment:
    """Return the environment found in the directories of sys.path, or in the given ones."""
    names = (*_FLAVOURS, *_CLIENTS, *_NEEDED, "grpcio")
    packages = find_packages(names, sys.path if directories is None else directories)
    installed = [one for name in _FLAVOURS for one in packages.get(name, ()) if one.provides(_FILE)]
    installed.sort(key=lambda package: package.position)
    tensorflows = tuple(
        TensorFlow(package.name, package.version, package.directory, _cuda_versions(package)) for package in installed
    )
    clients = [one for name in _CLIENTS for one in packages.get(name, ())]
    client = clients[0] if clients else None
    problems = _problems_of_flavours(tensorflows)
    if installed:
        problems += _problems_of_requirements(installed[0], packages)
        problems += _problems_of_client(tensorflows[0], client)
    return Environment(
        python="{}.{}.{}".format(*sys.version_info),
        executable=sys.executable,
        tensorflows=tensorflows,
        client=client,
        has_grpc="grpcio" in packages,
        problems=tuple(problems),
    )


def client_command(tensorflow: Optional[TensorFlow]) -> str:
    """Return the command that installs the gRPC client packages without changing TensorFlow.

    tensorflow-serving-api requires the package tensorflow: pip would install it over tensorflow-cpu, tensorflow-gpu or
    another release.
    """
    version = f"=={tensorflow.client_minor}.*" if tensorflow else ""
    return f'pip install --no-deps "tensorflow-serving-api{version}" grpcio'


def _cuda_versions(package: Package) -> Optional[CudaVersions]:
    """Return the CUDA libraries of a build by its own build info; by its package name without one."""
    for name in _BUILD_INFO:
        try:
            text = (package.directory / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if re.search(r"is_cuda_build'?\s*[,=:]\s*True", text):
            return _built_with(text) or cuda_versions_of(package.version)
        return None
    is_for_gpus = package.name.endswith("-gpu") or (
        package.name in ("tensorflow", "tf-nightly") and release(package.version) >= (2, 1) and sys.platform == "linux"
    )
    return cuda_versions_of(package.version) if is_for_gpus else None


def _built_with(text: str) -> Optional[CudaVersions]:
    cuda = re.search(r"cuda_version(?:_number)?'?\s*[,=:]\s*'([0-9.]+)'", text)
    cudnn = re.search(r"cudnn_version(?:_number)?'?\s*[,=:]\s*'([0-9.]+)'", text)
    return CudaVersions(cuda.group(1), cudnn.group(1)) if cuda and cudnn else None


def _problems_of_flavours(tensorflows: Sequence[TensorFlow]) -> List[Problem]:
    places: Dict[Path, List[TensorFlow]] = {}
    for one in tensorflows:
        places.setdefault(one.directory, []).append(one)
    problems = []
    for directory, together in places.items():
        if len(together) > 1:
            names = " and ".join(f"{one.flavour} {one.version}" for one in together)
            text = f"{names} are installed over each other in {directory}: the imported package is a mixture"
            remedy = f"pip uninstall {' '.join(one.flavour for one in together)}, then install one of them again"
            problems.append(Problem("mixed-tensorflows", "", text, remedy))
    if len(places) > 1:
        names = ", ".join(f"{one.flavour} {one.version} in {one.directory}" for one in tensorflows)
        text = f"the first hides the others: {names}"
        problems.append(Problem("several-tensorflows", "", text, "uninstall all but one"))
    return problems


def _problems_of_requirements(package: Package, packages: Packages) -> List[Problem]:
    parsed = [parse_requirement(text) for text in package.requirements()]
    required = [one for one in parsed if one and one.name in _NEEDED]
    required += [bound for before, bound in _BOUNDS if release(package.version) < before]
    problems: Dict[str, Problem] = {}
    for requirement in required:
        found = packages.get(requirement.name)
        if not found:
            text = f"{package.name} {package.version} does not start without {requirement.name}"
            problems[requirement.name] = Problem("missing-package", "", text, f"pip install {_quoted(requirement)}")
        elif not is_met(requirement, found[0].version):
            text = (
                f"{package.name} {package.version} is incompatible with {requirement.name} {found[0].version}; it"
                f" requires {requirement.specifier}"
            )
            problems[requirement.name] = Problem("other-package", "", text, f"pip install {_quoted(requirement)}")
    return list(problems.values())


def _problems_of_client(tensorflow: TensorFlow, client: Optional[Package]) -> List[Problem]:
    if client is None or tensorflow.goes_with(client):
        return []
    text = (
        f"{client.name} {client.version} is for another release than {tensorflow.flavour}"
        f" {tensorflow.version}, and its messages may be incompatible"
    )
    return [Problem("other-client", "", text, client_command(tensorflow))]


def _quoted(requirement: Requirement) -> str:
    return f'"{requirement.name}{requirement.specifier}"'
