"""YAML output with keys in the given order, and block style for multi-line strings."""

from __future__ import annotations

import re
from typing import Any, Sequence

import yaml

# Line breaks of YAML 1.1: only double quotes keep them as they are.
_OTHER_BREAKS = re.compile("[\r\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that writes no anchors and aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _block_for_lines(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '"' if _OTHER_BREAKS.search(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block_for_lines)
# Texts that readers of YAML 1.2 take for numbers (1e3, 0o17), and those in Go, as kubectl, for truth values (y, N).
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9._]*([eE][-+]?[0-9_]*)?\Z|[-+]?0[oO][0-7_]*\Z"),
    list("-+.0123456789"),
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[yYnN]\Z"), list("yYnN"))


def yaml_text(documents: Sequence[Any]) -> str:
    """Return the documents as one YAML text."""
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=10000
    )
