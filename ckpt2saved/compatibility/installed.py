"""Installed Python packages, found in the directories of sys.path without importing them."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

if sys.version_info >= (3, 8):
    from importlib import metadata  # novermin
else:
    import importlib_metadata as metadata

Packages = Dict[str, Tuple["Package", ...]]


@dataclass(frozen=True)
class Package:
    """An installed package, by its metadata."""

    name: str  # as it was asked for: tensorflow-cpu
    version: str
    directory: Path  # that it is installed into
    position: int  # of the directory among those that Python looks in: the lowest is imported
    distribution: metadata.Distribution

    def requirements(self) -> Tuple[str, ...]:
        """Return the declared requirements as written: "numpy (<2.0.0,>=1.23.5)"."""
        return tuple(self.distribution.requires or ())

    def provides(self, path: str) -> bool:
        """Return whether a file belongs to the package; also true if there is no list of files."""
        # Not `distribution.files`: that looks for each of TensorFlow's 15,000 files on the disk.
        record = self.distribution.read_text("RECORD")
        return record is None or re.search('(^|\n)"?' + re.escape(path) + '"?,', record) is not None


def find_packages(names: Sequence[str], directories: Sequence[str]) -> Packages:
    """Return name -> installations in directories like sys.path; Python imports the first.

    Packages with missing or damaged metadata are left out.
    """
    real = dict.fromkeys(os.path.realpath(directory or os.curdir) for directory in directories)
    found: Dict[str, List[Package]] = {}
    for position, directory in enumerate(real):
        for name in names:
            for distribution in metadata.distributions(name=name, path=[directory]):
                version = _version(distribution)
                if version:
                    package = Package(
                        name=name,
                        version=version,
                        directory=Path(directory),
                        position=position,
                        distribution=distribution,
                    )
                    found.setdefault(name, []).append(package)
    return {name: tuple(packages) for name, packages in found.items()}


def _version(distribution: metadata.Distribution) -> str:
    """Return the version in the metadata, or "" if it has none or cannot be read; the error depends on the Python."""
    try:
        fields = distribution.metadata
        if "Version" in fields:  # to index a missing field warns on Python 3.7
            return fields["Version"]
    except (KeyError, TypeError, ValueError):
        pass
    return ""
