"""Replace the resource variables of a function's graph by reference variables, which servers of TensorFlow 1.x run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Set, Tuple

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import walk

# Ops that pass a variable on without reading it, in loops and conditions.
_HANDING_ON = ("Identity", "Enter", "Exit", "Switch", "_SwitchN", "Merge", "NextIteration")
_MARKS = ("DisableCopyOnRead",)  # hints about a resource variable that compute nothing


@dataclass(frozen=True)
class Reference:
    """A reference variable that replaces a resource variable."""

    name: str  # of the node
    shape: Tuple[int, ...]
    dtype: tf.DType


def with_references(graph_def: Any, references: Mapping[str, Reference]) -> Any:
    """A copy of a graph with reference variables in place of the placeholders for resource variables.

    `references` has the variables by the names of the placeholders. Raises NotServable with every node that does more
    than read a variable.
    """
    result = tf.GraphDef()
    result.CopyFrom(graph_def)
    nodes = {node.name: node for node in result.node}
    readers: Dict[str, List[Tuple[Any, int]]] = {}
    for node in result.node:
        for number, name in enumerate(node.input):
            if not name.startswith("^"):
                readers.setdefault(name if ":" in name else name + ":0", []).append((node, number))
    gone: Set[str] = set()
    problems: List[Problem] = []
    for placeholder, reference in references.items():
        _declare(result, nodes[placeholder], reference)
        # Walk before editing: nodes edited below may become ops of _HANDING_ON.
        for tensor in list(walk([placeholder + ":0"], lambda one: _handed_on(readers.get(one, ())))):
            for node, number in readers.get(tensor, ()):
                if node.op in _MARKS:
                    gone.add(node.name)
                elif node.op in _HANDING_ON:
                    node.attr["T"].type = reference.dtype.as_datatype_enum
                elif number > 0 or not _read(result, node, reference):
                    found = f"it does more to {reference.name} than read it"
                    problems.append(Problem("state-change", node.name, found, op=node.op))
    if problems:
        raise NotServable(
            "the model changes its variables in inference, or passes them to an op that needs resource variables; "
            "build it for inference (training=False, no state between requests)",
            sorted(set(problems), key=str),
        )
    return _without(result, gone)


def _handed_on(readers: Sequence[Tuple[Any, int]]) -> Iterator[str]:
    """The outputs of the readers that pass a variable on."""
    for node, _ in readers:
        if node.op in _HANDING_ON:
            count = node.attr["num_outs"].i if node.op == "_SwitchN" else 2 if node.op == "Switch" else 1
            yield from (f"{node.name}:{output}" for output in range(count))


def _declare(graph_def: Any, placeholder: Any, reference: Reference) -> None:
    variable = graph_def.node.add(name=reference.name, op="VariableV2")
    variable.attr["dtype"].type = reference.dtype.as_datatype_enum
    variable.attr["shape"].shape.CopyFrom(tf.TensorShape(reference.shape).as_proto())
    _become(placeholder, "Identity", {"T": reference.dtype})
    placeholder.input.insert(0, reference.name)


def _read(graph_def: Any, node: Any, reference: Reference) -> bool:
    """Replace an op that reads a resource by one that reads a tensor; False for other ops."""
    if node.op == "ReadVariableOp":
        _become(node, "Identity", {"T": reference.dtype})
    elif node.op == "VariableShape":
        _become(node, "Shape", {"T": reference.dtype, "out_type": node.attr["out_type"].type or tf.int32})
    elif node.op == "ResourceGatherNd":
        _become(node, "GatherNd", {"Tparams": reference.dtype, "Tindices": node.attr["Tindices"].type})
    elif node.op == "ResourceGather":
        dims = node.attr["batch_dims"].i
        axis = graph_def.node.add(name=node.name + "/axis", op="Const")
        axis.attr["dtype"].type = tf.int32.as_datatype_enum
        axis.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(dims, tf.int32))
        types = {"Tparams": reference.dtype, "Tindices": node.attr["Tindices"].type, "Taxis": tf.int32}
        _become(node, "GatherV2", types)
        if dims:
            node.attr["batch_dims"].i = dims
        node.input.insert(2, axis.name)
    else:
        return False
    return True


def _become(node: Any, op: str, types: Mapping[str, Any]) -> None:
    node.op = op
    node.attr.clear()
    for name, dtype in types.items():
        node.attr[name].type = tf.as_dtype(dtype).as_datatype_enum


def _without(graph_def: Any, gone: Set[str]) -> Any:
    if not gone:
        return graph_def
    result = tf.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.name not in gone:
            copy = result.node.add()
            copy.CopyFrom(node)
            del copy.input[:]
            copy.input.extend(name for name in node.input if name.lstrip("^") not in gone)
    return result
