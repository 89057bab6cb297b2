"""Write a signature file for `export --model` from an inspection; open choices are comments in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import List, Mapping

from ckpt2saved.errors import Ckpt2SavedError, WriteError
from ckpt2saved.files.replacing import replace_file
from ckpt2saved.files.write_errors import advice
from ckpt2saved.inspection.graph_report import GraphReport
from ckpt2saved.inspection.picture_signature import OPTIONS, picture_signature
from ckpt2saved.inspection.proposal import Proposal, Spec, value_text
from ckpt2saved.inspection.report import Inspection
from ckpt2saved.inspection.signature_path import check_signature_path

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")  # YAML reads these as other types
_SIZES = {"batch": 2, "height": 64, "width": 96}


def write_signature(inspection: Inspection, path: Path, force: bool) -> None:
    """Write the file; raises Ckpt2SavedError if nothing can be served."""
    text = signature_text(inspection)
    check_signature_path(path, force)  # again: the file may have appeared since
    try:
        replace_file(path, text.encode("utf-8"))
    except OSError as error:
        raise WriteError(f"--write-signature: {path}: {error.strerror}; {advice(error)}") from error


def signature_text(inspection: Inspection) -> str:
    """The YAML text of the signature file."""
    graph = inspection.graph
    meta = inspection.subject.meta
    if graph is None or meta is None or graph.proposal is None:
        reason = (
            "the graph has no output that is computed from data and weights without labels"
            if graph
            else "there is no .meta here"
        )
        raise Ckpt2SavedError(f"{inspection.subject.path}: no signature can be written: {reason}")
    proposal = graph.proposal
    lines = [f"# Written by ckpt2saved inspect for {meta.name}, the graph of the training."]
    lines += [f"# problem (export refuses it): {problem.text}" for problem in graph.problems]
    lines += [f"# choose: {choice.text}" for choice in proposal.choices]
    lines += ["format: 1", "graph:", "  builder: meta"] + _switches(proposal) + _weights(proposal)
    pictures = picture_signature(graph, proposal)
    lines += OPTIONS if pictures else []
    lines += ["", "signatures:", "  serving_default:", "    inputs:"]
    for one in graph.inputs:
        lines += [f"      # or at {tensor}" for tensor in one.instead]
        lines += ["      " + _spec(spec) for spec in proposal.inputs if spec.tensor == one.tensor]
    lines.append("    outputs:")
    lines += ["      " + _spec(spec) for spec in proposal.outputs]
    proposed = [spec.tensor for spec in proposal.outputs]
    for output in graph.outputs:
        if output.tensor not in proposed:
            spec = f"{_name(output.key)}: {{tensor: {_quoted(output.tensor)}, dtype: {output.dtype}}}"
            lines.append(f"      # or: {spec}  # {output.reason}")
    lines += pictures
    lines += _parity(graph, proposal)
    return "\n".join(lines) + "\n"


def _switches(proposal: Proposal) -> List[str]:
    """Training switches without a value, as comments: export names those that are missing. Others need no line."""
    lines = []
    for switch in proposal.switches:
        if switch.is_open:
            value = "?" if switch.guess is None else value_text(switch.guess)
            lines.append(f"  # choose: set: {{{_name(switch.name)}: {value}}}  # {switch.reason}")
    return lines


def _weights(proposal: Proposal) -> List[str]:
    """Two comment lines, of which the user uncomments one, if the checkpoint has moving averages."""
    asked = any(choice.option == "--weights" for choice in proposal.choices)
    return ["  # choose: weights: raw", "  # choose: weights: ema"] if asked else []


def _spec(spec: Spec) -> str:
    sizes = () if spec.sizes is None else spec.sizes
    shape = f"[{', '.join(str(size) for size in sizes)}]"
    line = f"{_name(spec.key)}: {{tensor: {_quoted(spec.tensor)}, dtype: {spec.dtype}, shape: {shape}}}"
    return line + ("  # choose: its sizes, which the graph does not show" if spec.sizes is None else "")


def _parity(graph: GraphReport, proposal: Proposal) -> List[str]:
    """Parity inputs: two values for each size that varies, and values that networks of this kind accept."""
    lines = ["", "# Inputs for which the outputs of the staged files must match those of the checkpoint.", "parity:"]
    names = {size for spec in proposal.inputs for size in spec.sizes or () if isinstance(size, str)}
    for number in range(2 if names else 1):
        dims = {name: _SIZES.get(name, 4) + (1 if number and name == "batch" else 0) for name in sorted(names)}
        text = ", ".join(f"{_name(name)}: {size}" for name, size in dims.items())
        lines += [f"  - dims: {{{text}}}" if names else "  -", "    inputs:"]
        for spec in proposal.inputs:
            lines.append(f"      {_name(spec.key)}: {_example(graph, spec, proposal, dims)}")
    if not names:
        lines[-2 - len(proposal.inputs) :] = ["  - inputs:"] + lines[-len(proposal.inputs) :]
    return lines


def _example(graph: GraphReport, spec: Spec, proposal: Proposal, dims: Mapping[str, int]) -> str:
    kinds = {one.tensor: one.kind for one in graph.inputs}
    if spec.dtype == "string":
        return "{{values: {}}}  # choose: what the graph can decode".format(_filled(spec, dims, '""'))
    if spec.dtype == "bool":
        return f"{{values: {_filled(spec, dims, 'false')}}}"
    if spec.dtype.startswith(("float", "bfloat")) or spec.dtype == "uint8":
        return "{uniform: [0, 255]}"
    if spec.sizes == ():
        return f"{{values: {dims.get('batch', proposal.batch or 1)}}}"
    most = _steps(graph, proposal) if kinds.get(spec.tensor) == "lengths" or spec.dtype in ("int32", "int64") else 1
    return f"{{uniform: [1, {most + 1}]}}"


def _filled(spec: Spec, dims: Mapping[str, int], value: str) -> str:
    for size in reversed(spec.sizes or ()):
        value = f"[{', '.join([value] * (dims[size] if isinstance(size, str) else size))}]"
    return value


def _steps(graph: GraphReport, proposal: Proposal) -> int:
    """The number of time steps: that of the logits, or else a sixteenth of the longer image side, a safe minimum."""
    for output in graph.outputs:
        if output.kind == "logits" and output.shape and output.shape[0]:
            return output.shape[0]
    images = [spec for spec in proposal.inputs if len(spec.sizes or ()) >= 3]
    sizes = [
        _SIZES.get(size, size) if isinstance(size, str) else size for spec in images for size in (spec.sizes or ())[1:]
    ]
    numbers = [size for size in sizes if isinstance(size, int)]
    return max(1, max(numbers) // 16) if numbers else 1


def _name(text: str) -> str:
    return text if _PLAIN.match(text) and text.lower() not in _WORDS else json.dumps(text)


def _quoted(text: str) -> str:
    return json.dumps(text)
