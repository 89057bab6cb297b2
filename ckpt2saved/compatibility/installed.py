"""Which Python packages are installed, read from the directories that Python looks in, without importing any."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

_DIST_INFO = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)\.dist-info\Z")
_EGG_INFO = re.compile(r"(?P<name>[^-]+)(-(?P<version>[^-]+))?(-py[0-9.]+)?\.egg-info\Z")


@dataclass(frozen=True)
class Package:
    """An installed package, by what the installer wrote down of it."""

    name: str  # normalized: tensorflow-cpu
    version: str
    record: Path  # its dist-info or egg-info
    position: int  # of its directory among those that Python looks in: what comes first is imported

    @property
    def directory(self) -> Path:
        """What it is installed into."""
        return self.record.parent

    def requirements(self) -> Tuple[str, ...]:
        """What it asks for, one requirement each, as its authors put it: "numpy (<2.0.0,>=1.23.5)"."""
        return tuple(value for key, value in _headers(self.record) if key == "requires-dist")

    def provides(self, path: str) -> bool:
        """Whether a file came with it; also true where the installer kept no list."""
        try:
            content = (self.record / "RECORD").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return True
        return re.search('(^|\n)"?' + re.escape(path) + '"?,', content) is not None


def find_packages(directories: Sequence[str]) -> Dict[str, Tuple[Package, ...]]:
    """Name -> its installations in directories as sys.path has them; the first is the one that Python imports."""
    found: Dict[str, List[Package]] = {}
    seen = set()
    for position, directory in enumerate(directories):
        real = os.path.realpath(directory or os.curdir)
        if real in seen:
            continue
        seen.add(real)
        try:
            names = sorted(os.listdir(real))
        except OSError:
            continue  # absent, a zip file, or not for this user
        for name in names:
            match = _DIST_INFO.match(name) or _EGG_INFO.match(name)
            if match:
                record = Path(real) / name
                version = match.group("version") or dict(_headers(record)).get("version", "")
                package = Package(normalized(match.group("name")), version, record, position)
                found.setdefault(package.name, []).append(package)
    return {name: tuple(packages) for name, packages in found.items()}


def normalized(name: str) -> str:
    """The name by which packages are compared: tensorflow_cpu is tensorflow-cpu."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _headers(record: Path) -> List[Tuple[str, str]]:
    """The fields of METADATA or PKG-INFO, up to the empty line before the description."""
    for path in (record / "METADATA", record / "PKG-INFO", record):
        try:
            content = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        head = re.split(r"\r?\n\r?\n", content, maxsplit=1)[0]
        pairs = (line.partition(":") for line in head.splitlines() if not line[:1].isspace())
        return [(key.strip().lower(), value.strip()) for key, colon, value in pairs if colon]
    return []
