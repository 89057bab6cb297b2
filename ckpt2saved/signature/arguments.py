"""Signatures given by --input and --output instead of a signature file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, List, Mapping, Optional, Sequence, Tuple, Union

from ckpt2saved.errors import StrayOptions, UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.signature.model import FULL, META, Decode, ServedModel, Surgery
from ckpt2saved.signature.renaming import check_rule
from ckpt2saved.signature.tensors import LARGEST_SIZE, Dimension, Signature, TensorSpec, checked_tensor_name

ARGUMENTS = Path("the command line")  # what is named as the source of a model that no file describes
_TENSOR = re.compile(
    r"(?:(?P<key>[^=:\[\]^]+)=)?(?P<node>[^=:\[\]^]+)(?::(?P<output>[0-9]{1,9}))?(?:\[(?P<shape>[^\]]*)\])?\Z"
)
_SPARSE = ("indices", "values", "shape")

Tensors = Union[Mapping[str, str], Sequence[TensorSpec]]  # key -> name in the graph, or more exactly
Renames = Union[Mapping[str, str], Sequence[Tuple[str, str]]]  # regular expression -> replacement, in order


def tensor_specs(given: Tensors) -> Tuple[TensorSpec, ...]:
    """Return the tensors of a signature; dtypes and shapes that are not given are the graph's."""
    if not isinstance(given, Mapping):
        return tuple(given)
    try:
        return tuple(TensorSpec(key, checked_tensor_name(tensor), "", None) for key, tensor in given.items())
    except ValueError as error:
        raise UsageError(str(error)) from error


def rename_rules(given: Renames) -> Tuple[Tuple[str, str], ...]:
    """Return the rules for names of variables; raises UsageError for one that is no regular expression."""
    rules = tuple(given.items()) if isinstance(given, Mapping) else tuple((one, other) for one, other in given)
    for pattern, replacement in rules:
        try:
            check_rule(pattern, replacement)
        except ValueError as error:
            raise UsageError(f"--map: {error}") from error
    return rules


def decode_of(logits: Optional[str], details: Mapping[str, Any]) -> Optional[Decode]:
    """Return the decoder to append to `logits`, with the `details` that are given; None without `logits`."""
    given = {key: value for key, value in details.items() if value}
    if logits is None:
        if given:
            raise StrayOptions([min(given)], "--decode LOGITS")
        return None
    try:
        checked_tensor_name(logits)
    except ValueError as error:
        raise UsageError(f"--decode: {error}") from error
    if given.get("top_paths", Decode.top_paths) > given.get("beam_width", Decode.beam_width):
        raise UsageError("--top-paths: more than --beam-width")
    return Decode(logits, **given)


def parse_tensor(text: str) -> TensorSpec:
    """Parse `NAME=TENSOR[shape]` into a TensorSpec with the key NAME; raises ValueError.

    The default NAME is the last part of the tensor's name; the default shape is the graph's. In a shape, such as
    `[batch,32,width,3]`, words and `?` are dimensions that requests may choose.
    """
    match = _TENSOR.match(text.strip())
    if not match:
        raise ValueError(
            f"{text!r} is not NAME=TENSOR or NAME=TENSOR[shape], as in image=Placeholder:0[batch,32,width,3]"
        )
    tensor = match.group("node") + (":" + match.group("output") if match.group("output") else "")
    key = match.group("key") or match.group("node").rpartition("/")[2]
    shape = match.group("shape")
    return TensorSpec(key, tensor, "", None if shape is None else _shape(key, shape))


def _shape(key: str, text: str) -> Tuple[Any, ...]:
    sizes = [size.strip() for size in text.split(",")] if text.strip() else []
    return tuple(_size(key, axis, size) for axis, size in enumerate(sizes))


def _size(key: str, axis: int, size: str) -> Any:
    if size in ("?", "-1", "None"):
        return "batch" if axis == 0 else f"{key}_{axis}"
    if re.match(r"[0-9]{1,19}\Z", size) and int(size) <= LARGEST_SIZE:
        return int(size)
    if re.match(r"[A-Za-z_]\w*\Z", size):
        return size
    raise ValueError(f"{size!r} in the shape of {key} is neither a size nor a name of a dimension")


def model_of_arguments(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], decode: Optional[Decode]
) -> ServedModel:
    """Return a model whose signature serving_default has these tensors, and the decoder's outputs with `decode`.

    Raises UsageError if they are not a signature.
    """
    problems = []
    if not inputs:
        remedy = "pass --input NAME=TENSOR for each tensor that a request feeds"
        problems.append(Problem("missing-option", "--input", "missing", remedy))
    if not outputs and decode is None:
        remedy = "pass --output NAME=TENSOR for each tensor that a response contains"
        problems.append(Problem("missing-option", "--output", "missing", remedy))
    for option, specs in (("--input", inputs), ("--output", outputs)):
        keys = [spec.key for spec in specs] + [spec.key for spec in _sparse(decode) if option == "--output"]
        problems += [
            Problem("duplicate-key", f"{option} {key}", "this name is given twice")
            for key in sorted({k for k in keys if keys.count(k) > 1})
        ]
    if problems:
        raise UsageError(
            "without --model, --input and --output must name what is served (ckpt2saved inspect shows the candidates)",
            problems,
        )
    signatures = [Signature("serving_default", tuple(inputs), tuple(outputs) + _sparse(decode))]
    if decode is not None:
        dense = [TensorSpec("ids", "ids", "int64", ("batch", "time"))]
        dense += [
            TensorSpec("lengths", "lengths", "int32", ("batch",)),
            TensorSpec("score", "score", "float32", ("batch",)),
        ]
        signatures.append(Signature("dense", tuple(inputs), tuple(dense)))
    return ServedModel(META, ARGUMENTS, tuple(signatures), surgery=Surgery(decode=decode))


def _sparse(decode: Optional[Decode]) -> Tuple[TensorSpec, ...]:
    specs: List[TensorSpec] = []
    for number in range(1, decode.top_paths + 1) if decode is not None else ():
        suffix = "" if number == 1 else f"_{number}"
        shapes: Sequence[Tuple[Dimension, ...]] = (("labels" + suffix, 2), ("labels" + suffix,), (2,))
        for part, shape in zip(_SPARSE, shapes):
            key = f"output_{part}{suffix}"
            specs.append(TensorSpec(key, key, "int64", shape))
    return tuple(specs)


def with_changes(model: ServedModel, changes: Surgery, has_nodes: bool) -> ServedModel:
    """Return `model` with the changes of the command line, which override those of its file.

    With `has_nodes`, tensors may be given by node name, which means the node's first output.
    """
    decode = changes.decode or model.surgery.decode
    if decode is not None:
        named = {spec.key: spec.tensor for signature in model.signatures for spec in signature.inputs}
        decode = replace(decode, sequence_length=named.get(decode.sequence_length, decode.sequence_length))
    if decode is not None and has_nodes:
        decode = replace(decode, logits=_first_output(decode.logits))
        if decode.sequence_length != FULL:
            decode = replace(decode, sequence_length=_first_output(decode.sequence_length))
    surgery = Surgery(
        pinned=dict(model.surgery.pinned, **changes.pinned),
        renames=changes.renames + model.surgery.renames,
        keep_training_ops=changes.keep_training_ops or model.surgery.keep_training_ops,
        weights=model.surgery.weights,
        decode=decode,
        allow_labels=changes.allow_labels or model.surgery.allow_labels,
        keeps_cudnn=changes.keeps_cudnn,
    )
    signatures = _with_outputs(model.signatures, decode) if has_nodes else model.signatures
    return replace(model, surgery=surgery, signatures=signatures)


def _first_output(tensor: str) -> str:
    return tensor if ":" in tensor else tensor + ":0"


def _with_outputs(signatures: Sequence[Signature], decode: Optional[Decode]) -> Tuple[Signature, ...]:
    """Replace node names by the node's first output."""
    own = {spec.key for spec in _sparse(decode)} | {"ids", "lengths", "score"} if decode else set()

    def full(specs: Sequence[TensorSpec]) -> Tuple[TensorSpec, ...]:
        bare = [":" not in spec.tensor and spec.tensor not in own for spec in specs]
        return tuple(replace(spec, tensor=_first_output(spec.tensor)) if b else spec for spec, b in zip(specs, bare))

    return tuple(
        _with_network_outputs(s) if s.steps else replace(s, inputs=full(s.inputs), outputs=full(s.outputs))
        for s in signatures
    )


def _with_network_outputs(signature: Signature) -> Signature:
    """Replace node names of the network by the node's first output in a signature with steps."""
    assert signature.steps is not None
    names = {name: _first_output(name) for name in (*signature.all_fetched, *signature.steps.all_feeds)}
    outputs = tuple(replace(spec, tensor=names.get(spec.tensor, spec.tensor)) for spec in signature.outputs)
    return replace(signature, outputs=outputs, steps=signature.steps.renamed(names))
