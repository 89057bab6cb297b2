"""Facts about a GraphDef that is not edited: the part that nodes depend on, called functions, devices, variables."""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Set

from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import IDENTITIES, IMPLEMENTS, READS_VARIABLE, VARIABLES, is_update
from ckpt2saved.graph.tf1 import op_def, tf
from ckpt2saved.graph.traversal import reach, walk


def devices_of(graph_def: Any) -> Dict[str, str]:
    """Node -> device of the nodes that are pinned to an accelerator or another machine, in functions too."""
    own = re.compile(r"/?(job:localhost|replica:0|task:0|device:cpu:[0*]|cpu:0|/)*\Z", re.IGNORECASE)
    devices = [(node.name, node.device) for node in nodes_of(graph_def)]
    strange = {device for device in {device for _, device in devices} if not own.match(device)}
    return {name: device for name, device in devices if device in strange}


def pinned_text(devices: Mapping[str, str], names: Iterable[str]) -> str:
    """How many of the nodes called `names` are pinned to which device; empty for none."""
    counts = Counter(devices[name] for name in set(names) if name in devices)
    return ", ".join(
        f"{count} {'node' if count == 1 else 'nodes'} pinned to {device}" for device, count in sorted(counts.items())
    )


def clear_devices(graph_def: Any) -> None:
    """Clear the device of each node, in functions too."""
    for node in nodes_of(graph_def):
        node.device = ""


def nodes_of(graph_def: Any) -> Iterator[Any]:
    """Every NodeDef of a graph, those inside its functions too."""
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def pruned(graph_def: Any, names: Iterable[str]) -> Any:
    """A copy with only the nodes that those named `names` depend on, without devices and colocation."""
    nodes = {node.name: node for node in graph_def.node}
    reached = reach(names, lambda name: map(node_name, nodes[name].input))
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
    """Copy into `graph_def` the functions of `library` that its nodes call, directly or through other functions.

    Also those that TensorFlow may call in their place, as they implement the same on another device.
    """
    functions = {function.signature.name: function for function in library.function}
    gradients = {gradient.function_name: gradient for gradient in library.gradient}
    if not functions:
        return
    implementing: Dict[bytes, List[str]] = {}
    for name, definition in functions.items():
        if _implemented(definition):
            implementing.setdefault(_implemented(definition), []).append(name)

    def following(name: str) -> Iterator[str]:
        for node in functions[name].node_def:
            yield from (one for one in functions_of(node) if one in functions)
        yield from implementing.get(_implemented(functions[name]), ())
        if name in gradients:
            yield gradients[name].gradient_func

    called = reach({one for node in graph_def.node for one in functions_of(node) if one in functions}, following)
    for name, definition in functions.items():
        if name in called:
            function = graph_def.library.function.add()
            function.CopyFrom(definition)
            for node in function.node_def:
                node.device = ""
            if name in gradients:
                graph_def.library.gradient.add().CopyFrom(gradients[name])


def _implemented(function: Any) -> bytes:
    """What a FunctionDef implements, as others do for other devices; b"" where it stands alone."""
    return bytes(function.attr[IMPLEMENTS].s) if IMPLEMENTS in function.attr else b""


def functions_of(node: Any) -> Set[str]:
    """The names in a NodeDef that may be names of functions: those in its attributes, and its op."""
    names = {node.op}
    for value in node.attr.values() if _names_functions(node.op) else ():
        kind = value.WhichOneof("value")
        if kind == "func":
            names.add(value.func.name)
        elif kind == "list":
            names.update(function.name for function in value.list.func)
    return names


@functools.lru_cache(maxsize=4096)
def _names_functions(op: str) -> bool:
    """Whether an op has attributes that are functions; an op that this TensorFlow lacks may have some."""
    definition = op_def(op)
    return definition is None or any("func" in attribute.type for attribute in definition.attr)


def called_functions(nodes: Iterable[Any], functions: Mapping[str, Any]) -> List[str]:
    """The `functions` (name -> FunctionDef) that NodeDefs call, and those that these call, the nearest first."""

    def following(name: str) -> Iterator[str]:
        for node in functions[name].node_def:
            yield from (one for one in sorted(functions_of(node)) if one in functions)

    starts = (name for node in nodes for name in sorted(functions_of(node)) if name in functions)
    return list(walk(starts, following)) if functions else []


def constant_texts(nodes: Mapping[str, Any], name: str) -> List[str]:
    """The strings of a constant; none where a tensor is not a constant."""
    node = nodes.get(node_name(name))
    if node is None or node.op != "Const":
        return []
    values = tf.make_ndarray(node.attr["value"].tensor).reshape(-1).tolist()
    return [value.decode("utf-8", "replace") for value in values if isinstance(value, bytes)]


def variable_of(nodes: Mapping[str, Any], name: str) -> str:
    """The variable that a tensor is or is read from; "" where there is none."""
    for _ in range(10):
        node = nodes.get(node_name(name))
        if node is None:
            return ""
        if node.op in VARIABLES:
            return str(node.name)
        if node.op not in IDENTITIES + (READS_VARIABLE,):
            return ""
        name = node.input[0]
    return ""


def trained_variables(graph_def: Any) -> FrozenSet[str]:
    """The nodes of the variables that an optimizer updates; none where no optimizer is found."""
    nodes = {node.name: node for node in graph_def.node}
    updated = [node.input[0] for node in graph_def.node if is_update(node.op) and node.input]
    return frozenset(variable_of(nodes, name) for name in updated) - {""}
