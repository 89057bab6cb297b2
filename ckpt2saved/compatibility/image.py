"""The image of TF Serving to start: its tag, and what servers of that version understand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Tuple

from ckpt2saved.errors import UsageError

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
    """A release of TF Serving; `latest` is none, as it becomes another one overnight."""

    version: str

    def tag(self, gpu: bool) -> str:
        """The image's name with its tag."""
        return f"{REPOSITORY}:{self.version}{'-gpu' if gpu else ''}"

    @property
    def minor(self) -> str:
        """2.19 of 2.19.1: what decides which ops it has."""
        return "{}.{}".format(*self._release)

    @property
    def rereads_configuration(self) -> bool:
        """Whether a running server can be told to look at models.config again from time to time."""
        return self._release >= (1, 15)

    @property
    def accepts_first_labels(self) -> bool:
        """Whether a server starts on a configuration with labels, whose versions it has not loaded yet."""
        return self._release >= (2, 2)

    @property
    def loads_in_threads(self) -> bool:
        """Whether it has --num_load_threads, by which a load that fails need not hold up the others."""
        return self._release >= (2, 5)

    @property
    def _release(self) -> Tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))


def known_images() -> Tuple[Image, ...]:
    """The last patch release of each minor one, the oldest first."""
    return tuple(Image(release) for release in _RELEASES)


def find_image(serving: str, option: str = "--serving") -> Image:
    """The image of `serving`: 2.19, which stands for its last patch release, or 2.19.0."""
    known = {release.rpartition(".")[0]: release for release in _RELEASES}
    match = _VERSION.match(serving)
    minor = "{}.{}".format(*match.groups()) if match else ""
    if match is None or minor not in known:
        raise UsageError(
            f"{option}: {serving!r} is no release of TF Serving that is known here; expected one of {', '.join(known)}"
            f" (its last patch release), or all three numbers, as in {_RELEASES[-2]}"
        )
    return Image(known[minor] if match.group(3) is None else serving)
