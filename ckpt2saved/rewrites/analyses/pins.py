"""The values that the user gives to switches with `--set`, checked against the graph."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph import Graph, may_be_scalar
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import PLACEHOLDERS, VARIABLES
from ckpt2saved.graph.tf1 import tf


@dataclass(frozen=True)
class Pins:
    """The values that the user gives to switches."""

    values: Mapping[str, Any]  # by node
    problems: Tuple[Problem, ...]  # one for each value that can't be set


def find_pins(graph: Graph, pinned_by_user: Mapping[str, Any], inputs: Set[Ref]) -> Pins:
    """The user's values by node, each as a value of the node's type."""
    pins: Dict[str, Any] = {}
    problems: List[Problem] = []

    def refuse(key: str, found: str, remedy: str = "") -> None:
        problems.append(Problem("value-not-set", f"--set {key}", found, remedy))

    for key, value in pinned_by_user.items():
        name = key.partition(":")[0]
        if name not in graph:
            refuse(key, f"the graph has no node {name!r}", _similar(graph, name))
            continue
        node = graph[name]
        if node.op not in PLACEHOLDERS + VARIABLES + ("Const",) or not may_be_scalar(node):
            refuse(key, f"{name} is a {node.op}", "expected a placeholder or a variable that holds a single value")
        elif (name, 0) in inputs:
            refuse(key, f"{name} is also an input", "feed it or set it, not both")
        else:
            dtype = tf.as_dtype(node.attr["dtype"].type)
            typed = _typed(value, dtype)
            if typed is None:
                refuse(key, f"{value!r} is not a {dtype.base_dtype.name}")
            else:
                pins[name] = typed
    return Pins(pins, tuple(problems))


def _typed(value: Any, dtype: Any) -> Optional[Any]:
    if dtype.base_dtype == tf.bool:
        return bool(value) if isinstance(value, bool) or value in (0, 1) else None
    if dtype.base_dtype == tf.string:
        return tf.compat.as_bytes(value) if isinstance(value, (str, bytes)) else None
    if isinstance(value, (str, bytes)):
        return None
    return int(value) if dtype.is_integer and int(value) == value else float(value) if dtype.is_floating else None


def _similar(graph: Graph, name: str) -> str:
    alike = [other for other, node in graph.nodes.items() if node.op in PLACEHOLDERS and name.lower() in other.lower()]
    switches = [other for other, node in graph.nodes.items() if node.op in PLACEHOLDERS and may_be_scalar(node)]
    alike = alike or difflib.get_close_matches(name, switches, n=3)
    return f"did you mean {' or '.join(alike[:3])}?" if alike else ""
