"""A check for nodes that TF Serving loads, but can't run, or that make its answers wrong."""

from __future__ import annotations

from typing import Any, List, Optional

from ckpt2saved.compatibility.fit import check_linked
from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.contrib import register_ops
from ckpt2saved.graph.kernel_table import Device, shipped_kernels
from ckpt2saved.graph.op_table import shipped_table
from ckpt2saved.graph.ops import PYTHON, is_of_pipeline, is_random, is_training
from ckpt2saved.graph.tf1 import contrib_directory, has_cpu_kernel, op_def

# Ops that take the name of a file.
_FILES = ("ReadFile", "MatchingFiles", "WriteFile", "ImmutableConst", "LoadAndRemapMatrix")
_BUILD = "build the graph for inference"


def check_servable(graph_def: Any, device: Device = Device.CPU) -> None:
    """Raise NotServable with a problem for every node that can't be served, in functions too.

    For a GPU the CPU need not have kernels of what only GPUs compute.
    """
    problems: List[Problem] = []
    nodes = [(node.name, node) for node in graph_def.node]
    for function in graph_def.library.function:
        nodes += [(f"{n.name} in the function {function.signature.name}", n) for n in function.node_def]
    register_ops(node.op for _, node in nodes)
    runs = {
        op: op_def(op) is None or has_cpu_kernel(op) or (device is Device.GPU and shipped_kernels().is_for_gpu(op))
        for op in {node.op for _, node in nodes}
    }
    for name, node in nodes:
        unservable = _unservable(name, node.op)
        if unservable:
            problems.append(unservable)
        elif not runs[node.op]:
            found = "it has no CPU kernel; the comparison with the checkpoint and many servers use the CPU"
            problems.append(Problem("no-kernel", name, found, op=node.op))
        if is_training(node):
            found = "batch norm in training mode, so that an answer depends on the rest of the batch"
            problems.append(Problem("batch-statistics", name, found, _BUILD, op=node.op))
    if contrib_directory() is not None or not all(map(op_def, runs)):  # otherwise no op can be of tf.contrib
        problems += check_linked({name: node.op for name, node in nodes}, shipped_table())
    if problems:
        raise NotServable("the graph can't be served", problems)


def _unservable(name: str, op: str) -> Optional[Problem]:
    """The problem of an op that no server can or should run."""
    if op in PYTHON:
        found, remedy = "it calls Python, which a server does not have", "cut the graph before it"
        return Problem("py-func", name, found, remedy, op=op)
    if is_of_pipeline(op):
        found, remedy = "it reads from an input pipeline, which a server does not have", "make this tensor the input"
        return Problem("input-pipeline", name, found, remedy, op=op)
    if op in _FILES:
        found = "it opens a file by its name, and the server does not have your files"
        return Problem("reads-files", name, found, "make the file's content the input", op=op)
    if is_random(op):
        found = "it draws random numbers (dropout?), so that each answer to the same request differs"
        return Problem("random-op", name, found, _BUILD, op=op)
    return None
