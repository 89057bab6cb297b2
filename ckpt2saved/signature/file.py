"""A signature file: where the graph comes from, which tensors go in and out, under which names; parsed once."""

from __future__ import annotations

import difflib
import errno
import math
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import yaml

from ckpt2saved.console.foreign_text import is_plain
from ckpt2saved.errors import SignatureError, UsageError
from ckpt2saved.signature.renaming import check_rule

_HERE = Path(__file__).resolve().parent.parent
# In a wheel the folder lies inside the package; in a checkout and an editable install beside it.
_FOLDERS = (_HERE / "signatures", _HERE.parent / "signatures")

FORMAT = 1
META = "meta"  # the builder that stands for the training's graph beside the checkpoint
FULL = "full"  # every step of the logits counts
DTYPES = (
    "bfloat16 bool complex64 complex128 float16 float32 float64 "
    "int8 int16 int32 int64 string uint8 uint16 uint32 uint64"
).split()

# A function as a graph's builder, package.module:function.
FUNCTION = re.compile(r"[^\W0-9]\w*(\.[^\W0-9]\w*)*:[^\W0-9]\w*(\.[^\W0-9]\w*)*\Z")

_SURGERY = ("set", "map", "keep_training_ops", "allow_labels", "weights", "decode")  # what is done to a graph

_RESERVED = "__saved_model_"  # of the signatures that say how to initialise a SavedModel

# What a file may have. A thousand lines say most of what can be said; the images of a parity part are larger.
_MOST_BYTES = 16 << 20
_MOST_NODES = 100000
_MOST_WITH_ALIASES = 1000000  # values, when each alias stands for all of what it names
_MOST_PROBLEMS = 100
_LONGEST_NAME = 1000
_LONGEST_NUMBER = 1000  # characters; Python takes the square of their number in time to read one
_DEEPEST = 50  # mappings and lists inside one another; far below what the YAML reader's recursion can take
LARGEST_SIZE = 2**63 - 1
# Tags that may be written out; !!binary for an image's bytes among the parity inputs. The rest are refused unread.
_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:binary")
_NO_NAMES = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:binary")

Dimension = Union[int, str]  # a size, or the name of one that a request may choose
Scalar = Union[str, int, float, bool]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as clients see it, `key`, and as the graph calls it, `tensor`."""

    key: str
    tensor: str
    dtype: str  # "": as in the graph, which a command line need not say
    shape: Optional[Tuple[Dimension, ...]]  # None: as in the graph


@dataclass(frozen=True)
class Signature:
    """One of the questions that a served model answers."""

    name: str
    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[TensorSpec, ...]


@dataclass(frozen=True)
class ExampleInput:
    """How to make an input: random numbers of a range, [low, high), or these `values`."""

    uniform: Optional[Tuple[float, float]]
    values: Optional[Any]


@dataclass(frozen=True)
class ParityCase:
    """Inputs for which a staged version must answer as its checkpoint does."""

    dims: Mapping[str, int]
    inputs: Mapping[str, ExampleInput]


@dataclass(frozen=True)
class Decode:
    """A CTC beam search to append to a graph."""

    logits: str  # [time, batch, classes] or [batch, time, classes], the blank last
    beam_width: int = 10
    top_paths: int = 1
    merge_repeated: bool = False
    sequence_length: str = FULL  # or an int32 tensor [batch]


@dataclass(frozen=True)
class Surgery:
    """What is done to a graph beside cutting it down to the signatures; `pinned` and so on to a training's alone."""

    pinned: Mapping[str, Scalar] = field(default_factory=dict)  # switch -> the value that it has from now on
    renames: Tuple[Tuple[str, str], ...] = ()  # regular expression -> replacement: variables to the checkpoint's names
    keep_training_ops: bool = False
    weights: Optional[str] = None  # raw or ema, where the graph does not say it
    decode: Optional[Decode] = None
    allow_labels: bool = False  # whether requests may bring what a loss compares answers with


@dataclass(frozen=True)
class ServedModel:
    """A signature file: the graph's builder with its options, the signatures, and the inputs to compare on."""

    name: str
    source: Path
    builder: str  # a built-in network, META, or a function as package.module:function
    options: Mapping[str, Scalar]
    signatures: Tuple[Signature, ...]
    parity: Tuple[ParityCase, ...]
    surgery: Surgery = Surgery()

    @property
    def is_builtin(self) -> bool:
        """Whether the graph is one of the built-in networks, which are made for inference."""
        return self.builder != META and not self.is_function

    @property
    def is_function(self) -> bool:
        """Whether the graph is what a function of the user's builds."""
        return ":" in self.builder


def signature_folder() -> Path:
    """Where the signature files of the built-in models are."""
    for folder in _FOLDERS:
        if folder.is_dir():
            return folder
    raise SignatureError(
        "the signatures of the built-in models are not installed: there is neither {} nor {}; "
        "install ckpt2saved again, or pass --model the path of a signature file".format(*_FOLDERS)
    )


def builtin_models() -> List[str]:
    """The names that `--model` takes beside a file's path."""
    return sorted(file.stem for file in signature_folder().glob("*.yaml"))


def load_model(model: str) -> ServedModel:
    """The signature file called `model` (crnn, ctpn), or at the path `model` (anything ending in .yaml or .yml)."""
    path = Path(model) if model.endswith((".yaml", ".yml")) else _builtin_path(model)
    try:
        text = _content(path).decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        near = difflib.get_close_matches(path.stem, builtin_models(), n=1)
        hint = f"; did you mean the built-in model {near[0]}?" if near else ""
        raise UsageError(f"--model: there is no signature file {model}{hint}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SignatureError(
            f"{path}:{line}: this is not UTF-8 text (byte 0x{error.object[error.start]:02x}); a signature file is YAML"
            " in UTF-8"
        ) from error
    except OSError as error:
        raise SignatureError(f"{path}: can't be read: {error.strerror}") from error
    return parse_model(text, path)


def _content(path: Path) -> bytes:
    """All of a file, if it is one and not too large."""
    if stat.S_ISDIR(path.stat().st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(path.stat().st_mode):
        raise SignatureError(f"{path}: this is no file but a device or a pipe; expected a signature file")
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise SignatureError(f"{path}: more than {_MOST_BYTES >> 20} MB; a signature file has less")
    return content


def _builtin_path(model: str) -> Path:
    names = builtin_models()
    if model in names:
        return signature_folder() / (model + ".yaml")
    near = difflib.get_close_matches(model, names, n=1)
    raise UsageError(
        f"--model: there is no built-in model {model!r}{(f', did you mean {near[0]}?' if near else '')}; there are"
        f" {', '.join(names)}, or pass the path of a signature file ending in .yaml"
    )


def parse_model(text: str, source: Path) -> ServedModel:
    """The content of a signature file; raises SignatureError with every mistake in it, and where."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: an escape that is no character
        line, problem = _not_yaml(error, text)
        raise SignatureError(f"{source}{line}: this can't be read as YAML: {problem}") from error
    if root is None:
        raise SignatureError(f"{source}: the file is empty; the built-in ones lie in {signature_folder()}")
    reader = _Reader()
    size = _size_with_aliases(root, {})
    if size > _MOST_WITH_ALIASES:
        text = "{}: with what its aliases stand for it has {} values; at most {} are read"
        raise SignatureError(text.format(source, size, _MOST_WITH_ALIASES))
    try:
        model = None if loader.refused else reader.model(root, source)
    except _TooManyProblems:
        model = None
    if model is None:
        problems = loader.refused or reader.problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        more = ", of which these are the first" if len(problems) >= _MOST_PROBLEMS else ""
        raise SignatureError(f"{source}: {count}{more}", problems[:_MOST_PROBLEMS])
    return model


def parse_scalar(text: str) -> Scalar:
    """A value as it stands in a signature file; anything that is no number or truth value is the text itself.

    Raises ValueError for what YAML reads as another number than people do.
    """
    node = yaml.ScalarNode(yaml.resolver.Resolver().resolve(yaml.ScalarNode, text.strip(), (True, False)), text.strip())
    kind = node.tag.rpartition(":")[2]
    if kind not in ("int", "float", "bool"):
        quoted = re.match(r"(['\"])(.*)\1\Z", node.value, re.DOTALL)
        return quoted.group(2) if quoted else text
    try:
        return _constructed(node)
    except ValueError as error:
        raise ValueError(f"{text.strip()[:40]} is {error}") from None


def _constructed(node: yaml.ScalarNode) -> Any:
    """What safe_load makes of a scalar; raises ValueError for what is another number to YAML than it looks like."""
    kind, value = node.tag.rpartition(":")[2], node.value
    if kind in ("int", "float"):
        if len(value) > _LONGEST_NUMBER and not re.match(r"[-+]?0[bx]", value):
            raise ValueError(f"a number of {len(value)} characters; at most {_LONGEST_NUMBER} are read")
        if ":" in value:
            raise ValueError("a number of base 60 to YAML; put it in quotes, or write the number out")
        if kind == "int" and re.match(r"[-+]?0[0-7_]*[1-7]", value):
            raise ValueError("a number of base 8 to YAML; put it in quotes, or write it without the 0 in front")
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _size_with_aliases(node: yaml.Node, known: Dict[int, int]) -> int:
    """How many nodes there are, an alias counted as all of what it names; nodes are no deeper than _DEEPEST."""
    if id(node) not in known:
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_size_with_aliases(part, known) for part in parts)
    return known[id(node)]


class _TooManyProblems(Exception):
    """Nobody reads that many."""


class _Loader(yaml.SafeLoader):
    """Makes nodes of YAML; collects the tags, merge keys and loops, which are refused, and stops at deep nesting."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.refused: List[str] = []
        self.open: List[Optional[str]] = []  # anchors of the mappings and lists around
        self.nodes = 0

    def compose_node(self, parent: Optional[yaml.Node], index: Any) -> yaml.Node:
        event = self.peek_event()
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            problem = f"more than {_MOST_NODES} values; a signature file has less"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        if event.anchor in self.open and isinstance(event, yaml.AliasEvent):
            self.refuse(event, f"the alias *{event.anchor} stands inside of what it names")
            event = self.get_event()
            return yaml.ScalarNode("tag:yaml.org,2002:null", "", event.start_mark, event.end_mark)
        if getattr(event, "tag", None) and event.tag not in _TAGS:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.refuse(event, f"the tag {tag} is not allowed; write the value alone")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            self.refuse(event, "merge keys (<<) are not read; write the lines out, or alias the whole value")
        if not isinstance(event, yaml.CollectionStartEvent):
            return super().compose_node(parent, index)
        if len(self.open) == _DEEPEST:
            problem = f"it is nested more than {_DEEPEST} deep"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.open.append(event.anchor)
        node = super().compose_node(parent, index)
        self.open.pop()
        return node

    def refuse(self, event: yaml.Event, text: str) -> None:
        self.refused.append(f"line {event.start_mark.line + 1}: {text}")


def _not_yaml(error: Exception, text: str) -> Tuple[str, str]:
    """The line as far as it is known, and what is wrong there, without the YAML reader's excerpt."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f":{line}", f"unacceptable character U+{error.character:04X}"
    if isinstance(error, yaml.MarkedYAMLError):
        problem = f"{error.context}, {error.problem}" if error.problem.startswith("but ") else error.problem
        return f":{error.problem_mark.line + 1}", problem
    return "", str(error)


class _Reader:
    """Reads the YAML nodes, which know their lines, and collects what is wrong with them."""

    def __init__(self) -> None:
        self.problems: List[str] = []

    def problem(self, node: yaml.Node, where: str, text: str) -> None:
        place = f"line {node.start_mark.line + 1}"
        where = where if len(where) <= _LONGEST_NAME else where[:_LONGEST_NAME] + "…"
        self.problems.append(f"{place}: {where}: {text}" if where else f"{place}: {text}")
        if len(self.problems) >= _MOST_PROBLEMS:
            raise _TooManyProblems

    # The file's parts, top-down.

    def model(self, root: yaml.Node, source: Path) -> Optional[ServedModel]:
        parts = self.mapping(root, "", required=("format", "signatures"), optional=("graph", "parity"))
        if "format" in parts:
            self.format(parts["format"], "1, the only format that this version of ckpt2saved reads,")
        builder, options, surgery = self.graph(parts["graph"]) if "graph" in parts else (META, {}, Surgery())
        count = len(self.problems)
        signatures = self.signatures(parts["signatures"]) if "signatures" in parts else ()
        sound = "signatures" in parts and len(self.problems) == count
        if sound:
            self.check_same_inputs(parts["signatures"], signatures)
        parity = self.parity(parts["parity"], signatures, sound) if "parity" in parts else ()
        if self.problems:
            return None
        return ServedModel(source.stem, source, builder, options, signatures, parity, surgery)

    def format(self, node: yaml.Node, expected: str) -> None:
        if self.scalar(node, "format", expected, (int,)) not in (None, FORMAT):
            self.problem(node, "format", f"{expected} is expected; found {_found(node)}")

    def graph(self, node: yaml.Node) -> Tuple[str, Dict[str, Scalar], Surgery]:
        parts = self.mapping(node, "graph", optional=("builder", "options") + _SURGERY)
        builder = self.text(parts["builder"], "graph.builder") if "builder" in parts else META
        if ":" in builder and not FUNCTION.match(builder):
            expected = "meta, a built-in network, or package.module:function is expected; found "
            self.problem(parts["builder"], "graph.builder", expected + _found(parts["builder"]))
        options = self.mapping(parts["options"], "graph.options") if "options" in parts else {}
        if "set" in parts and builder != META:
            self.problem(parts["set"], "graph.set", f"only a graph with 'builder: {META}' takes it")
        if "allow_labels" in parts and builder != META:
            problem = f"only a graph with 'builder: {META}' takes it"
            self.problem(parts["allow_labels"], "graph.allow_labels", problem)
        if "keep_training_ops" in parts and builder != META and ":" not in builder:
            self.problem(parts["keep_training_ops"], "graph.keep_training_ops", "a built-in network has none")
        if options and builder == META:
            self.problem(parts["options"], "graph.options", "a graph that is read from a file takes none")
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
                self.problem(parts["weights"], "graph.weights", "raw or ema is expected; found " + found["weights"])
        if "decode" in parts:
            found["decode"] = self.decode(parts["decode"])
        return Surgery(**found)

    def rename(self, pattern: str, node: yaml.Node) -> Tuple[str, str]:
        # An empty replacement takes away what is matched.
        is_empty = isinstance(node, yaml.ScalarNode) and node.style is not None and not node.value
        replacement = "" if is_empty else self.text(node, "graph.map")
        try:
            check_rule(pattern, replacement)
        except ValueError as error:
            self.problem(node, "graph.map", str(error))
        return pattern, replacement

    def decode(self, node: yaml.Node) -> Decode:
        where = "graph.decode"
        kinds = {"beam_width": int, "top_paths": int, "merge_repeated": bool}
        parts = self.mapping(node, where, required=("logits",), optional=tuple(kinds) + ("sequence_length",))
        found = {key: self.text(parts[key], where + "." + key) for key in ("logits", "sequence_length") if key in parts}
        for key, kind in kinds.items():
            if key in parts:
                expected = "true or false" if kind is bool else "a number from 1 on"
                found[key] = self.scalar(parts[key], f"{where}.{key}", expected, (kind,))
                if kind is int and found[key] is not None and found[key] < 1:
                    self.problem(parts[key], f"{where}.{key}", expected + " is expected")
        return Decode(**found) if "logits" in found else Decode("")

    def signatures(self, node: yaml.Node) -> Tuple[Signature, ...]:
        nodes = self.mapping(node, "signatures")
        if isinstance(node, yaml.MappingNode) and "serving_default" not in nodes:
            near = difflib.get_close_matches("serving_default", nodes, n=1)
            self.problem(
                node,
                "signatures",
                "serving_default is missing: what TF Serving answers when a request names"
                f" none{(f'; is {near[0]!r} meant to be it?' if near else '')}",
            )
        return tuple(self.signature(name, value) for name, value in nodes.items())

    def check_same_inputs(self, node: yaml.Node, signatures: Sequence[Signature]) -> None:
        """Inputs of one key are made once for all the signatures that take them."""
        first: Dict[str, Tuple[str, TensorSpec]] = {}
        for signature in signatures:
            for spec in signature.inputs:
                name, other = first.setdefault(spec.key, (signature.name, spec))
                if (spec.dtype, spec.shape) != (other.dtype, other.shape):
                    self.problem(
                        node,
                        f"signatures.{signature.name}.inputs.{spec.key}",
                        f"it has another dtype or shape in signature {name}; give one of the two another key, and name "
                        "its tensor with 'tensor: …'",
                    )

    def signature(self, name: str, node: yaml.Node) -> Signature:
        where = "signatures." + name
        if name.startswith(_RESERVED):
            self.problem(node, where, f"names that begin with {_RESERVED} are TensorFlow's own")
        parts = self.mapping(node, where, required=("inputs", "outputs"))
        sides = []
        for side in ("inputs", "outputs"):
            specs = self.mapping(parts[side], f"{where}.{side}") if side in parts else {}
            if side in parts and isinstance(parts[side], yaml.MappingNode) and not parts[side].value:
                self.problem(parts[side], f"{where}.{side}", "at least one is needed")
            sides.append(tuple(self.tensor(key, spec, f"{where}.{side}.{key}") for key, spec in specs.items()))
        return Signature(name, *sides)

    def tensor(self, key: str, node: yaml.Node, where: str) -> TensorSpec:
        parts = self.mapping(node, where, required=("dtype", "shape"), optional=("tensor",))
        dtype = self.text(parts["dtype"], where + ".dtype") if "dtype" in parts else ""
        if dtype and dtype not in DTYPES:
            self.problem(parts["dtype"], where + ".dtype", _unknown("dtype", dtype, DTYPES))
        tensor = self.text(parts["tensor"], where + ".tensor") if "tensor" in parts else key
        if not re.match(r"([^:^]+(:[0-9]+)?)?\Z", tensor):
            text = f"{tensor!r} is not a tensor's name, as in logits or logits:0"
            self.problem(parts.get("tensor", node), where + ".tensor" if "tensor" in parts else where, text)
        return TensorSpec(key, tensor, dtype, self.shape(parts["shape"], where + ".shape") if "shape" in parts else ())

    def shape(self, node: yaml.Node, where: str) -> Tuple[Dimension, ...]:
        if not isinstance(node, yaml.SequenceNode):
            self.problem(node, where, "a list is expected, as in [batch, 32, width, 3]; [] for a single value")
            return ()
        sizes = []
        for position, item in enumerate(node.value):
            place = f"{where}[{position}]"
            expected = "a size, or a name for one that varies,"
            size = self.scalar(item, place, expected)
            if _is_size(size) or (size and isinstance(size, str)):
                sizes.append(size)
            elif size is not None:
                self.problem(item, place, f"{expected} is expected; found {_found(item)}")
        return tuple(sizes)

    def parity(self, node: yaml.Node, signatures: Sequence[Signature], sound: bool) -> Tuple[ParityCase, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self.problem(node, "parity", "a list of cases is expected, each with dims and inputs")
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
                self.problem(value, place, f"a size is expected; found {_found(value)}")
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
        """A case must say how to make every input of every signature, and how long each varying dimension is.

        What it says beyond that is a mistake, but which one can't be told of signatures that are not `sound`.
        """
        specs = {spec.key: spec for signature in signatures for spec in signature.inputs}
        names = {size for spec in specs.values() for size in spec.shape if isinstance(size, str)}
        for key in sorted(set(case.inputs) - set(specs)) if sound else ():
            self.problem(node, where + ".inputs", _unknown("input of any signature", key, list(specs)))
        for key in sorted(set(specs) - set(case.inputs)):
            self.problem(node, where + ".inputs", f"{key} is missing")
        for name in sorted(names - set(case.dims)):
            self.problem(node, where + ".dims", f"{name} is missing")
        for name in sorted(set(case.dims) - names) if sound else ():
            self.problem(node, where + ".dims", _unknown("dimension of any input", name, sorted(names)))
        for key, spec in specs.items():
            if spec.dtype == "string" and key in case.inputs and case.inputs[key].uniform is not None:
                place = f"{where}.inputs.{key}"
                self.problem(node, place, "a string can't be a random number; values: […] is expected")

    def example(self, node: yaml.Node, where: str) -> ExampleInput:
        parts = self.mapping(node, where, optional=("uniform", "values"))
        if isinstance(node, yaml.MappingNode) and len(parts) != 1:
            self.problem(node, where, "either uniform: [low, high] or values: […] is expected")
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
            self.problem(node, where, f"two numbers are expected, as in [0, 255]; found {_found(node)}")
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
        self.problem(node, where, "a smaller and a larger number are expected, as in [0, 255]")
        return None

    # Nodes.

    def mapping(
        self,
        node: yaml.Node,
        where: str,
        required: Sequence[str] = (),
        optional: Sequence[str] = (),
    ) -> Dict[str, yaml.Node]:
        """The entries of a mapping; any keys are welcome where none is required or optional."""
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, where, f"a mapping (lines of 'name: …') is expected; found {_found(node)}")
            return {}
        known = tuple(required) + tuple(optional)
        entries: Dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = self.text(key_node, where)
            if not key:
                continue
            if key in entries:
                self.problem(key_node, where, f"{key} stands here twice")
            elif known and key not in known:
                self.problem(key_node, where, _unknown("key", key, known))
            entries[key] = value
        for key in required:
            if key not in entries:
                self.problem(node, where, f"{key} is missing")
        return entries

    def text(self, node: yaml.Node, where: str) -> str:
        if isinstance(node, yaml.ScalarNode) and node.value and node.tag not in _NO_NAMES:
            if len(node.value) <= _LONGEST_NAME and is_plain(node.value):
                return str(node.value)
            self.problem(
                node,
                where,
                f"a name of at most {_LONGEST_NAME} characters, none of them a control character, is expected; found"
                f" {node.value[:40]!a}",
            )
            return ""
        self.problem(node, where, f"a name is expected; found {_found(node)}")
        return ""

    def scalar(
        self,
        node: yaml.Node,
        where: str,
        expected: str = "a number, a word, true or false",
        types: Tuple[type, ...] = (str, int, float, bool),
    ) -> Any:
        """What safe_load makes of a scalar; None, with the problem noted, if that is none of `types`."""
        if not isinstance(node, yaml.ScalarNode):
            self.problem(node, where, f"{expected} is expected; found {_found(node)}")
            return None
        try:
            value = _constructed(node)
        except (yaml.YAMLError, ValueError) as error:  # 2024-02-30, bad base64, base 60
            reason = getattr(error, "problem", None) or error
            self.problem(node, where, f"{expected} is expected; found {_found(node)} ({reason})")
            return None
        if type(value) in types:
            return value
        self.problem(node, where, f"{expected} is expected; found {_found(node)}")
        return None


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_SIZE


def _found(node: yaml.Node) -> str:
    """A node in a message: what stands there, and what YAML takes it for where that is a surprise."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return f"a list of {len(node.value)}"
    if not node.value and not node.style:
        return "nothing"
    text = node.value if len(node.value) <= 40 else node.value[:40] + "…"
    kind = node.tag.rpartition(":")[2]
    if kind in ("timestamp", "value"):
        return f"{text}, to YAML a {kind}; put it in quotes"
    return repr(text) if node.style else text


def _unknown(kind: str, found: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(found, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; expected {', '.join(known) or 'none'}"
    return f"{found!r} is no known {kind}{hint}"
