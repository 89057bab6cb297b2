"""YAML output with keys in the given order, and block style for multi-line strings."""

from __future__ import annotations

from typing import Any, Sequence

import yaml


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that writes no anchors and aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _block_for_lines(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block_for_lines)


def yaml_text(documents: Sequence[Any]) -> str:
    """Return the documents as one YAML text."""
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=10000
    )
