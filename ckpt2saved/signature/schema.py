"""The format of signature files: allowed keys and values."""

from __future__ import annotations

import difflib
import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import yaml

from ckpt2saved.errors.problem import Note
from ckpt2saved.signature.model import FUNCTION, META, Decode, ExampleInput, ParityCase, Scalar, ServedModel, Surgery
from ckpt2saved.signature.option_values import MissingOption
from ckpt2saved.signature.renaming import check_rule
from ckpt2saved.signature.steps_reader import StepsReader
from ckpt2saved.signature.tensors import (
    DEFAULT_SIGNATURE,
    DTYPES,
    LARGEST_SIZE,
    Dimension,
    Signature,
    TensorSpec,
    checked_tensor_name,
)
from ckpt2saved.signature.yaml_nodes import found_text, unknown_name

FORMAT = 1
_SURGERY = ("set", "map", "keep_training_ops", "allow_labels", "weights", "decode")  # what is done to a graph

RESERVED = "__saved_model_"  # of the signatures that say how to initialise a SavedModel


class SchemaReader(StepsReader):
    """Converts the nodes of a signature file into a ServedModel."""

    def model(self, root: yaml.Node) -> Optional[ServedModel]:
        parts = self.mapping(root, "", required=("format", "signatures"), optional=("graph", "options", "parity"))
        if "format" in parts:
            self.format(parts["format"], "1, the only format that this version of ckpt2saved reads,")
        builder, options, surgery = self.graph(parts["graph"]) if "graph" in parts else (META, {}, Surgery())
        declared = self.options(parts["options"]) if "options" in parts else {}
        self.defaults = {**options, **declared}
        count = len(self.problems)
        signatures = self.signatures(parts["signatures"]) if "signatures" in parts else ()
        sound = "signatures" in parts and len(self.problems) == count
        if sound:
            self.check_same_inputs(parts["signatures"], signatures)
        parity = self.parity(parts["parity"], signatures, sound and not self.notes) if "parity" in parts else ()
        if self.problems:
            return None
        return ServedModel(
            self.source.stem,
            self.source,
            signatures,
            builder=builder,
            options=options,
            parity=parity,
            surgery=surgery,
            step_options={name: value for name, value in self.used.items() if name in declared},
            declared=tuple(declared),
            notes=tuple(self.notes),
        )

    def options(self, node: yaml.Node) -> Dict[str, Optional[Scalar]]:
        """Read the options of steps: name -> default, null where there is none."""
        return {
            name: None if item.tag.endswith(":null") else self.scalar(item, "options." + name)
            for name, item in self.mapping(node, "options").items()
        }

    def format(self, node: yaml.Node, expected: str) -> None:
        if self.scalar(node, "format", expected, (int,)) not in (None, FORMAT):
            self.problem("wrong-value", node, "format", f"{expected} is expected; found {found_text(node)}")

    def graph(self, node: yaml.Node) -> Tuple[str, Dict[str, Scalar], Surgery]:
        parts = self.mapping(node, "graph", optional=("builder", "options") + _SURGERY)
        builder = self.text(parts["builder"], "graph.builder") if "builder" in parts else META
        if ":" in builder and not FUNCTION.match(builder):
            expected = "meta, a built-in network, or package.module:function is expected; found "
            self.problem("wrong-value", parts["builder"], "graph.builder", expected + found_text(parts["builder"]))
        options = self.mapping(parts["options"], "graph.options") if "options" in parts else {}
        if "set" in parts and builder != META:
            self.problem("inapplicable-key", parts["set"], "graph.set", f"only a graph with 'builder: {META}' takes it")
        if "allow_labels" in parts and builder != META:
            problem = f"only a graph with 'builder: {META}' takes it"
            self.problem("inapplicable-key", parts["allow_labels"], "graph.allow_labels", problem)
        if "keep_training_ops" in parts and builder != META and ":" not in builder:
            self.problem(
                "inapplicable-key",
                parts["keep_training_ops"],
                "graph.keep_training_ops",
                "a built-in network has no training ops",
            )
        if options and builder == META:
            self.problem(
                "inapplicable-key",
                parts["options"],
                "graph.options",
                "a graph that is read from a file takes no options",
            )
        scalars = {name: self.scalar(value, "graph.options." + name) for name, value in options.items()}
        return builder, scalars, self.surgery(parts)

    def surgery(self, parts: Mapping[str, yaml.Node]) -> Surgery:
        found: Dict[str, Any] = {}
        if "set" in parts:
            pinned = self.mapping(parts["set"], "graph.set")
            found["pinned"] = {name: self.scalar(value, "graph.set." + name) for name, value in pinned.items()}
        if "map" in parts:
            renames = self.mapping(parts["map"], "graph.map").items()
            found["renames"] = tuple(self.rename(pattern, node) for pattern, node in renames)
        for name in ("keep_training_ops", "allow_labels"):
            if name in parts:
                found[name] = self.scalar(parts[name], "graph." + name, "true or false", (bool,))
        if "weights" in parts:
            found["weights"] = self.text(parts["weights"], "graph.weights")
            if found["weights"] not in ("raw", "ema"):
                text = "raw or ema is expected; found " + found["weights"]
                self.problem("wrong-value", parts["weights"], "graph.weights", text)
        if "decode" in parts:
            found["decode"] = self.decode(parts["decode"])
        return Surgery(**found)

    def rename(self, pattern: str, node: yaml.Node) -> Tuple[str, str]:
        # An empty replacement deletes the match.
        is_empty = isinstance(node, yaml.ScalarNode) and node.style is not None and not node.value
        replacement = "" if is_empty else self.text(node, "graph.map")
        try:
            check_rule(pattern, replacement)
        except ValueError as error:
            self.problem("wrong-value", node, "graph.map", str(error))
        return pattern, replacement

    def decode(self, node: yaml.Node) -> Decode:
        where = "graph.decode"
        kinds = {"beam_width": int, "top_paths": int, "merge_repeated": bool}
        parts = self.mapping(node, where, required=("logits",), optional=tuple(kinds) + ("sequence_length",))
        found: Dict[str, Any] = {
            key: self.text(parts[key], where + "." + key) for key in ("logits", "sequence_length") if key in parts
        }
        for key, name in found.items():
            self.check_tensor_name(name, parts[key], f"{where}.{key}")
        for key, kind in kinds.items():
            if key in parts:
                expected = "true or false" if kind is bool else "a number from 1 on"
                found[key] = self.scalar(parts[key], f"{where}.{key}", expected, (kind,))
                if kind is int and found[key] is not None and found[key] < 1:
                    self.problem("wrong-value", parts[key], f"{where}.{key}", expected + " is expected")
        return Decode(**found) if "logits" in found else Decode("")

    def signatures(self, node: yaml.Node) -> Tuple[Signature, ...]:
        nodes = self.mapping(node, "signatures")
        if isinstance(node, yaml.MappingNode) and DEFAULT_SIGNATURE not in nodes:
            near = difflib.get_close_matches(DEFAULT_SIGNATURE, nodes, n=1)
            found = "serving_default is missing, the signature of requests that name none"
            self.problem("missing-key", node, "signatures", found, f"rename {near[0]!r} if it is meant" if near else "")
        signatures: List[Signature] = []
        for name, value in nodes.items():
            try:
                signatures.append(self.signature(name, value))
            except MissingOption as error:
                if name == DEFAULT_SIGNATURE:
                    found = f"it needs the option {error}, which has no value"
                    self.problem("missing-option", value, "signatures." + name, found, f"pass --option {error}=VALUE")
                    continue
                text = f"left out: it needs --option {error}=VALUE"
                self.notes.append(Note("signature-left-out", name, text))
        return tuple(signatures)

    def check_same_inputs(self, node: yaml.Node, signatures: Sequence[Signature]) -> None:
        """Check that inputs with one key are equal in all signatures, since they are made once for all."""
        first: Dict[str, Tuple[str, TensorSpec]] = {}
        for signature in signatures:
            for spec in signature.inputs:
                name, other = first.setdefault(spec.key, (signature.name, spec))
                if (spec.dtype, spec.shape) != (other.dtype, other.shape):
                    self.problem(
                        "conflicting-inputs",
                        node,
                        f"signatures.{signature.name}.inputs.{spec.key}",
                        f"it has another dtype or shape in signature {name}",
                        "give one of the two another key, and name its tensor with 'tensor: …'",
                    )

    def signature(self, name: str, node: yaml.Node) -> Signature:
        where = "signatures." + name
        if name.startswith(RESERVED):
            self.problem("wrong-value", node, where, f"names that begin with {RESERVED} are TensorFlow's own")
        optional = ("preprocess", "feed", "postprocess", "each_line")
        parts = self.mapping(node, where, required=("inputs", "outputs"), optional=optional)
        sides: Dict[str, Tuple[TensorSpec, ...]] = {}
        for side in ("inputs", "outputs"):
            specs = self.mapping(parts[side], f"{where}.{side}") if side in parts else {}
            if side in parts and isinstance(parts[side], yaml.MappingNode) and not parts[side].value:
                self.problem("missing-key", parts[side], f"{where}.{side}", "at least one is needed")
            sides[side] = tuple(self.tensor(key, spec, f"{where}.{side}.{key}") for key, spec in specs.items())
        count = len(self.problems)
        steps = self.steps(parts, where)
        has_all_steps = len(self.problems) == count
        if steps is not None:
            self.check_names(node, where, steps, [spec.key for spec in sides["inputs"]])
        signature = Signature(name, sides["inputs"], sides["outputs"], steps=steps)
        self.check_pictures(node, where, signature)
        if has_all_steps:  # otherwise outputs of the missing ones would be taken for tensors of the network
            self.check_pages(node, where, signature)
        return signature

    def tensor(self, key: str, node: yaml.Node, where: str) -> TensorSpec:
        parts = self.mapping(node, where, required=("dtype", "shape"), optional=("tensor",))
        dtype = self.text(parts["dtype"], where + ".dtype") if "dtype" in parts else ""
        if dtype and dtype not in DTYPES:
            self.problem("wrong-value", parts["dtype"], where + ".dtype", *unknown_name("dtype", dtype, DTYPES))
        tensor = self.text(parts["tensor"], where + ".tensor") if "tensor" in parts else key
        self.check_tensor_name(tensor, parts.get("tensor", node), where + ".tensor" if "tensor" in parts else where)
        return TensorSpec(key, tensor, dtype, self.shape(parts["shape"], where + ".shape") if "shape" in parts else ())

    def check_tensor_name(self, name: str, node: yaml.Node, where: str) -> None:
        if not name:  # reported already
            return
        try:
            checked_tensor_name(name)
        except ValueError as error:
            self.problem("wrong-value", node, where, str(error))

    def shape(self, node: yaml.Node, where: str) -> Tuple[Dimension, ...]:
        if not isinstance(node, yaml.SequenceNode):
            found = "a list is expected, as in [batch, 32, width, 3]; [] for a single value"
            self.problem("wrong-type", node, where, found)
            return ()
        sizes = []
        for position, item in enumerate(node.value):
            place = f"{where}[{position}]"
            expected = "a size, or a name for one that varies,"
            size = self.scalar(item, place, expected)
            if _is_size(size) or (size and isinstance(size, str)):
                sizes.append(size)
            elif size is not None:
                self.problem("wrong-value", item, place, f"{expected} is expected; found {found_text(item)}")
        return tuple(sizes)

    def parity(self, node: yaml.Node, signatures: Sequence[Signature], sound: bool) -> Tuple[ParityCase, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.problem("wrong-type", node, "parity", "a list of cases is expected, each with dims and inputs")
            return ()
        return tuple(
            self.parity_case(item, f"parity[{position}]", signatures, sound) for position, item in enumerate(node.value)
        )

    def parity_case(self, node: yaml.Node, where: str, signatures: Sequence[Signature], sound: bool) -> ParityCase:
        parts = self.mapping(node, where, required=("inputs",), optional=("dims",))
        dims = {}
        for name, value in self.mapping(parts["dims"], where + ".dims").items() if "dims" in parts else ():
            place = f"{where}.dims.{name}"
            dims[name] = self.scalar(value, place, "a size")
            if dims[name] is not None and not _is_size(dims[name]):
                self.problem("wrong-value", value, place, f"a size is expected; found {found_text(value)}")
        inputs = {}
        nodes = self.mapping(parts["inputs"], where + ".inputs") if "inputs" in parts else {}
        for key, value in nodes.items():
            inputs[key] = self.example(value, f"{where}.inputs.{key}")
        if all(isinstance(part, yaml.MappingNode) for part in [node] + list(parts.values())) and "inputs" in parts:
            self.check_case(node, where, ParityCase(dims, inputs), signatures, sound)
        return ParityCase(dims, inputs)

    def check_case(
        self, node: yaml.Node, where: str, case: ParityCase, signatures: Sequence[Signature], sound: bool
    ) -> None:
        """Check that a case gives every input of every signature, and a size for each open dimension.

        Surplus keys are reported only if all signatures are `sound`.
        """
        specs = {spec.key: spec for signature in signatures for spec in signature.inputs}
        names = {size for spec in specs.values() for size in spec.dimensions if isinstance(size, str)}
        for key in sorted(set(case.inputs) - set(specs)) if sound else ():
            self.problem(
                "unknown-key", node, where + ".inputs", *unknown_name("input of any signature", key, list(specs))
            )
        pictures = {spec.key for signature in signatures for spec in signature.pictures}
        for key in sorted(set(specs) - set(case.inputs) - pictures):
            self.problem("missing-key", node, where + ".inputs", f"{key} is missing")
        for name in sorted(names - set(case.dims)):
            self.problem("missing-key", node, where + ".dims", f"{name} is missing")
        for name in sorted(set(case.dims) - names) if sound else ():
            self.problem(
                "unknown-key", node, where + ".dims", *unknown_name("dimension of any input", name, sorted(names))
            )
        for key, spec in specs.items():
            if spec.dtype == "string" and key in case.inputs and case.inputs[key].uniform is not None:
                place = f"{where}.inputs.{key}"
                found = "a string can't be a random number; values: […] is expected"
                self.problem("wrong-value", node, place, found)

    def example(self, node: yaml.Node, where: str) -> ExampleInput:
        parts = self.mapping(node, where, optional=("uniform", "values"))
        if isinstance(node, yaml.MappingNode) and len(parts) != 1:
            self.problem("missing-key", node, where, "either uniform: [low, high] or values: […] is expected")
        elif "values" in parts:
            return ExampleInput(None, self.values(parts["values"], where + ".values"))
        elif "uniform" in parts:
            return ExampleInput(self.limits(parts["uniform"], where + ".uniform"), None)
        return ExampleInput(None, None)

    def values(self, node: yaml.Node, where: str) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return self.scalar(node, where, types=(str, int, float, bool, bytes))
        return [self.values(item, f"{where}[{position}]") for position, item in enumerate(node.value)]

    def limits(self, node: yaml.Node, where: str) -> Optional[Tuple[float, float]]:
        if not isinstance(node, yaml.SequenceNode) or len(node.value) != 2:
            self.problem(
                "wrong-type", node, where, f"two numbers are expected, as in [0, 255]; found {found_text(node)}"
            )
            return None
        limits = []
        for position, item in enumerate(node.value):
            place, expected = f"{where}[{position}]", "a number, as in 100000 or 1.0e+5,"
            limits.append(self.scalar(item, place, expected, (int, float)))
        if None in limits:
            return None
        try:
            low, high = float(limits[0]), float(limits[1])
        except OverflowError:
            low = high = math.nan
        if low < high and math.isfinite(high - low):
            return low, high
        self.problem("wrong-value", node, where, "a smaller and a larger number are expected, as in [0, 255]")
        return None


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_SIZE
