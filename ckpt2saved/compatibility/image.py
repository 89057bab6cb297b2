"""TF Serving's images: tags, and features of each release.

Source of the features: tensorflow_serving/model_servers/main.cc of the release's tag in github.com/tensorflow/serving.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Optional, Tuple

from ckpt2saved.errors import UsageError
from ckpt2saved.errors.values import check_values
from ckpt2saved.graph.kernel_table import Device

REPOSITORY = "tensorflow/serving"
DEFAULT = "2.19"

# The last patch release of each minor one.
_RELEASES = (
    "1.14.0 1.15.0 2.0.0 2.1.4 2.2.3 2.3.4 2.4.4 2.5.4 2.6.5 2.7.4 2.8.4 2.9.3 2.10.1 2.11.1 2.12.2 2.13.1 2.14.1 "
    "2.15.1 2.16.1 2.17.1 2.18.1 2.19.1 2.20.0"
).split()
_VERSION = re.compile(r"([0-9]+)\.([0-9]+)(?:\.([0-9]+))?\Z")


@dataclass(frozen=True)
class Image:
    """A release of TF Serving; `latest` is not one, since it changes."""

    version: str

    def tag(self, gpu: bool) -> str:
        """Return the image's name with its tag."""
        return f"{REPOSITORY}:{self.version}{'-gpu' if gpu else ''}"

    @property
    def minor(self) -> str:
        """Return 2.19 for 2.19.1; the minor release determines the ops."""
        return "{}.{}".format(*self._release)

    @property
    def rereads_configuration(self) -> bool:
        """Return whether a server can poll models.config for changes."""
        return self._release >= (1, 15)

    @property
    def accepts_first_labels(self) -> bool:
        """Return whether a server starts with labels on versions that are not loaded yet."""
        return self._release >= (2, 2)

    @property
    def loads_in_threads(self) -> bool:
        """Return whether a server has --num_load_threads, so that a failing load does not block others."""
        return self._release >= (2, 5)

    @property
    def has_onednn(self) -> bool:
        """Return whether TensorFlow's stock builds for x86 read TF_ENABLE_ONEDNN_OPTS (release notes of 2.5)."""
        return self._release >= (2, 5)

    @property
    def has_onednn_on(self) -> bool:
        """Return whether oneDNN is on unless TF_ENABLE_ONEDNN_OPTS is 0 (release notes of TensorFlow 2.9)."""
        return self._release >= (2, 9)

    @property
    def has_batching_per_model(self) -> bool:
        """Return whether a server has --enable_per_model_batching_parameters (commit 94f2d694, first in 2.11.0)."""
        return self._release >= (2, 11)

    @property
    def has_mixed_precision(self) -> bool:
        """Return whether a server has --mixed_precision (commit 970c6307, first in 2.15.0-rc0)."""
        return self._release >= (2, 15)

    @property
    def has_health_service(self) -> bool:
        """Return whether a server has --enable_grpc_healthcheck_service (commit a9a8e7bf, first in 2.15.1)."""
        return self._release >= (2, 15, 1)

    @property
    def _release(self) -> Tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))


def known_images() -> Tuple[Image, ...]:
    """Return the last patch release of each minor release, oldest first."""
    return tuple(Image(release) for release in _RELEASES)


def find_image(serving: str, option: str = "--serving") -> Image:
    """Return the image for `serving`: 2.19, meaning its last patch release, or 2.19.0."""
    known = {release.rpartition(".")[0]: release for release in _RELEASES}
    match = _VERSION.match(serving)
    minor = "{}.{}".format(*match.groups()) if match else ""
    if match is None or minor not in known:
        raise UsageError(
            f"{option}: {serving!r} is no release of TF Serving that is known here; expected one of {', '.join(known)}"
            f" (its last patch release), or all three numbers, as in {_RELEASES[-2]}"
        )
    return Image(known[minor] if match.group(3) is None else serving)


class ServerKind(NamedTuple):
    """A release of TF Serving on a device."""

    image: Image
    device: Device


def find_server_kind(serving: str, for_device: Optional[str] = None, option: str = "--serving") -> ServerKind:
    """Return the image for 2.19 or 2.19-gpu, and its device; by default the one for which the image is built."""
    release, gpu, rest = serving.partition("-gpu")
    return ServerKind(find_image(serving if rest else release, option), find_device(for_device, gpu=bool(gpu)))


def find_device(for_device: Optional[str], gpu: bool = False) -> Device:
    """Return the device of --for-device; by default the CPU, or a GPU for an image that is built for it."""
    if for_device is None:
        return Device.GPU if gpu else Device.CPU
    check_values(for_device=for_device)
    return Device(for_device)
