"""The version directories of a served model: stage, publish, bump, list and prune."""

from ckpt2saved.versions.base import (
    LARGEST_VERSION,
    Numbered,
    check_base,
    next_version,
    numbered_children,
    parse_version,
)
from ckpt2saved.versions.bump import BumpOptions, Published, bump_version
from ckpt2saved.versions.copying import copy_version
from ckpt2saved.versions.deletion import prune_versions
from ckpt2saved.versions.found import find_complete_version, find_version
from ckpt2saved.versions.listing import (
    Ignored,
    Listing,
    LocalVersion,
    Origin,
    Version,
    ignored_names,
    list_base,
    list_versions,
)
from ckpt2saved.versions.provenance import PROVENANCE, read_provenance, recorded_without_batch, write_provenance
from ckpt2saved.versions.stage import Stage, staged

__all__ = [
    "LARGEST_VERSION",
    "PROVENANCE",
    "Ignored",
    "Listing",
    "LocalVersion",
    "Numbered",
    "Origin",
    "Published",
    "Stage",
    "Version",
    "BumpOptions",
    "bump_version",
    "check_base",
    "copy_version",
    "find_complete_version",
    "find_version",
    "ignored_names",
    "list_base",
    "list_versions",
    "next_version",
    "numbered_children",
    "parse_version",
    "prune_versions",
    "read_provenance",
    "recorded_without_batch",
    "staged",
    "write_provenance",
]
