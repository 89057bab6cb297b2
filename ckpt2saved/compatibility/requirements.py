"""Requirements on packages, and the numbers in a version."""

from __future__ import annotations

import re
from typing import Optional, Tuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version


def parse_requirement(text: str) -> Optional[Requirement]:
    """A requirement of package metadata; None for one of an extra, another Python or platform, or that is malformed."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None
    applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    return requirement if applies else None


def is_met(requirement: Requirement, version: str) -> bool:
    """Whether a version is among those required; one that PEP 440 does not know counts as met."""
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True


def release(version: str) -> Tuple[int, ...]:
    """The numbers of a version, (2, 21, 0) of 2.21.0rc1; () where it begins with none.

    Vendors' builds of TensorFlow have versions that PEP 440 does not know (1.15.0-dlenv_tfe), hence no Version here.
    """
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def minor(version: str) -> str:
    """2.21 of 2.21.0."""
    return ".".join(str(part) for part in release(version)[:2])
