"""Package requirements and version numbers."""

from __future__ import annotations

import re
from typing import Optional, Tuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version


def parse_requirement(text: str) -> Optional[Requirement]:
    """Parse a requirement; None if malformed, or for an extra, another Python or another platform."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None
    applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    return requirement if applies else None


def is_met(requirement: Requirement, version: str) -> bool:
    """Return whether a version meets the requirement; versions that PEP 440 does not allow do."""
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True


def release(version: str) -> Tuple[int, ...]:
    """Return the numbers of a version, (2, 21, 0) for 2.21.0rc1; () if it does not start with one.

    Vendor builds of TensorFlow have versions that PEP 440 does not allow (1.15.0-dlenv_tfe), so packaging.Version is
    not used.
    """
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def minor(version: str) -> str:
    """Return 2.21 for 2.21.0."""
    return ".".join(str(part) for part in release(version)[:2])
