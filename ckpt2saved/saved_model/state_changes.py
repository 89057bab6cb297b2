"""Signatures of a SavedModel that change state between requests, found without TensorFlow."""

from __future__ import annotations

from typing import Dict, FrozenSet, List, Mapping, Set, Tuple

from ckpt2saved.files.protobuf.tensorflow_messages import NodeDef
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import changes_state
from ckpt2saved.saved_model.reading import MetaGraph, SavedModelFile, nodes_behind


def changing_signatures(saved_model: SavedModelFile) -> Dict[str, str]:
    """Return signature -> how its answers depend on state that requests change.

    The state is a variable, a table or a queue. Raises ServingError if the graph can't be read.
    """
    with saved_model.reading("graph") as graph:
        if graph is None:
            return {}
        behind = {
            name: list(nodes_behind(graph.nodes, [spec.tensor for spec in s.outputs]).values())
            for name, s in graph.signatures.items()
        }
        # Attributes of long nodes are read from the file.
        changes = {name: [one for node in nodes for one in _changes(graph, node)] for name, nodes in behind.items()}
    found = {name: f"each request changes it: {min(made)[0]}" for name, made in changes.items() if made}
    for name, nodes in behind.items():
        read = {node.name for node in nodes}
        others = {other: min(state & read) for other, made in changes.items() for _, state in made if state & read}
        if name not in found and others:
            found[name] = f"requests for {', '.join(sorted(others))} change it: {min(others.values())}"
    return found


def why_different(changes: Mapping[str, str], signature: str) -> str:
    """Return why two answers to one request differ."""
    return f"the graph keeps state; {changes[signature]}" if signature in changes else "random ops?"


def _changes(graph: MetaGraph, node: NodeDef) -> List[Tuple[str, FrozenSet[str]]]:
    """Return the op by which a node changes state, and the nodes that may hold the state."""
    inputs = [node_name(tensor) for tensor in node.inputs]
    if changes_state(node.op):
        return [(f"{node.name} ({node.op})", frozenset(inputs[:1]))]
    return [(text, frozenset(inputs)) for text in _changes_inside(graph, node, set())]


def _changes_inside(graph: MetaGraph, node: NodeDef, seen: Set[str]) -> List[str]:
    found: List[str] = []
    for name in graph.called(node):
        if name not in seen:
            seen.add(name)
            for inner in graph.functions[name].nodes.values():
                if changes_state(inner.op):
                    found.append(f"{name}/{inner.name} ({inner.op})")
                found += _changes_inside(graph, inner, seen)
    return found
