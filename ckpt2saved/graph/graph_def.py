"""A GraphDef as it is, which is not edited: the parts that some nodes need, the functions that are called, devices."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Set

from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import IDENTITIES, READS_VARIABLE, VARIABLES, is_update
from ckpt2saved.tf1 import tf


def devices_of(graph_def: Any) -> Dict[str, str]:
    """Node -> device of the nodes that only an accelerator, or another machine, may run; in functions too."""
    own = re.compile(r"/?(job:localhost|replica:0|task:0|device:cpu:[0*]|cpu:0|/)*\Z", re.IGNORECASE)
    return {node.name: node.device for node in nodes_of(graph_def) if not own.match(node.device)}


def pinned_text(devices: Mapping[str, str], names: Iterable[str]) -> str:
    """How many of the nodes called `names` are pinned to which device; empty for none."""
    counts = Counter(devices[name] for name in set(names) if name in devices)
    return ", ".join(
        f"{count} {'node' if count == 1 else 'nodes'} pinned to {device}" for device, count in sorted(counts.items())
    )


def nodes_of(graph_def: Any) -> Iterator[Any]:
    """Every NodeDef of a graph, those inside its functions too."""
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def pruned(graph_def: Any, wanted: Iterable[str]) -> Any:
    """A copy with only the nodes that those called `wanted` depend on, tied to no device and to no other node."""
    nodes = {node.name: node for node in graph_def.node}
    reached: Set[str] = set()
    ahead = list(wanted)
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead.extend(node_name(source) for source in nodes[name].input)
    result = tf.GraphDef(versions=graph_def.versions)
    for node in graph_def.node:
        if node.name in reached:
            copy = result.node.add()
            copy.CopyFrom(node)
            copy.device = ""
            copy.attr.pop("_class", None)  # colocation, with nodes that may be gone
            copy.attr.pop("debug_name", None)  # of resource variables; TensorFlow 1 refuses to load it
    take_functions(graph_def.library, result)
    return result


def take_functions(library: Any, graph_def: Any) -> None:
    """Put into `graph_def` those functions of `library` that its nodes call, however indirectly."""
    functions = {function.signature.name: function for function in library.function}
    gradients = {gradient.function_name: gradient for gradient in library.gradient}
    called: Set[str] = set()
    ahead = list(graph_def.node)
    while ahead:
        for name in sorted(_functions_of(ahead.pop()) & set(functions) - called):
            called.add(name)
            ahead.extend(functions[name].node_def)
            if name in gradients:
                called.add(gradients[name].gradient_func)
                ahead.extend(functions[gradients[name].gradient_func].node_def)
    for name, definition in functions.items():
        if name in called:
            function = graph_def.library.function.add()
            function.CopyFrom(definition)
            for node in function.node_def:
                node.device = ""
            if name in gradients:
                graph_def.library.gradient.add().CopyFrom(gradients[name])


def _functions_of(node: Any) -> Set[str]:
    named = {node.op}  # a function may be called as an op of its own name
    for value in node.attr.values():
        named |= {value.func.name} | {function.name for function in value.list.func}
    return named


def constant_texts(nodes: Mapping[str, Any], name: str) -> List[str]:
    """The texts of a constant; none where a tensor is no constant."""
    node = nodes.get(name.partition(":")[0])
    if node is None or node.op != "Const":
        return []
    values = tf.make_ndarray(node.attr["value"].tensor).reshape(-1).tolist()
    return [value.decode("utf-8", "replace") for value in values if isinstance(value, bytes)]


def variable_of(nodes: Mapping[str, Any], name: str) -> str:
    """The variable that a tensor is, or is read from, or ""."""
    for _ in range(10):
        node = nodes.get(name.partition(":")[0])
        if node is None:
            return ""
        if node.op in VARIABLES:
            return str(node.name)
        if node.op not in IDENTITIES + (READS_VARIABLE,):
            return ""
        name = node.input[0]
    return ""


def trained_variables(graph_def: Any) -> FrozenSet[str]:
    """The nodes of the variables that a step of training changes; none where no optimizer is known to be there."""
    nodes = {node.name: node for node in graph_def.node}
    updated = [node.input[0] for node in graph_def.node if is_update(node.op) and node.input]
    return frozenset(variable_of(nodes, name) for name in updated) - {""}
