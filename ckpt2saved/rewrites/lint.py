"""What in a graph TF Serving could load, and then not answer from, or answer wrongly from."""

from __future__ import annotations

from typing import Any, List

from ckpt2saved.compatibility.fit import check_linked
from ckpt2saved.errors import NotServable
from ckpt2saved.graph.contrib import register_ops
from ckpt2saved.graph.op_table import shipped_table
from ckpt2saved.graph.ops import PYTHON, is_of_pipeline, is_random, is_training
from ckpt2saved.tf1 import contrib_directory, has_cpu_kernel, op_def

# Ops that are given the name of a file.
_FILES = ("ReadFile", "MatchingFiles", "WriteFile", "ImmutableConst", "LoadAndRemapMatrix")
_OF_PYTHON = "it calls Python, and the server has none: cut the graph before it"
_OF_PIPELINE = "it feeds from an input pipeline, which a server does not have: make this tensor the input"
_OF_FILES = "it takes the name of a file, and the server has none of your files: make the file's content the input"
_RANDOM = "it is random (dropout?): the same request would get another answer each time; build the graph for inference"


def check_servable(graph_def: Any) -> None:
    """Raise NotServable with every node that can't be served, in functions too, why, and what to do about it."""
    problems: List[str] = []
    nodes = [(node.name, node) for node in graph_def.node]
    for function in graph_def.library.function:
        nodes += [(f"{n.name} in the function {function.signature.name}", n) for n in function.node_def]
    register_ops(node.op for _, node in nodes)
    runs = {op: op_def(op) is None or has_cpu_kernel(op) for op in {node.op for _, node in nodes}}
    for name, node in nodes:
        reason = _reason(node.op)
        if reason:
            problems.append(f"{name} ({node.op}): {reason}")
        elif not runs[node.op]:
            problems.append(
                f"{name} ({node.op}): there is no kernel of it for the CPU, on which parity runs and many servers do"
            )
        if is_training(node):
            problems.append(
                f"{name} ({node.op}): batch norm in training mode, so that an answer depends on the rest of the batch: "
                "build the graph for inference"
            )
    if contrib_directory() is not None or not all(map(op_def, runs)):  # else there can be no op of tf.contrib
        problems += check_linked({name: node.op for name, node in nodes}, shipped_table())
    if problems:
        raise NotServable("the graph is not one to serve", problems)


def _reason(op: str) -> str:
    """Why no server can run, or should run, an op; "" where one can."""
    if op in PYTHON:
        return _OF_PYTHON
    if is_of_pipeline(op):
        return _OF_PIPELINE
    if op in _FILES:
        return _OF_FILES
    return _RANDOM if is_random(op) else ""
