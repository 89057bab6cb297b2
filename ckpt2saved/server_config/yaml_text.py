"""YAML as people write it: keys in their given order, texts of several lines as blocks."""

from __future__ import annotations

from typing import Any, Sequence

import yaml


class _Dumper(yaml.SafeDumper):
    """Repeats what occurs twice instead of naming it, which Kubernetes would read and people would not."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _block_for_lines(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block_for_lines)


def yaml_text(documents: Sequence[Any]) -> str:
    """The documents, one after the other."""
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=10000
    )
