"""The format of preprocess, feed and postprocess in signature files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import yaml

from ckpt2saved.errors import UsageError
from ckpt2saved.errors.problem import Note
from ckpt2saved.signature.characters import NoCharacters, read_characters
from ckpt2saved.signature.model import Scalar
from ckpt2saved.signature.steps import (
    BLANKS,
    METHODS,
    ORDERS,
    STEPS,
    WIDTHS,
    Bigrams,
    Characters,
    DecodeCtc,
    DecodePictures,
    Failed,
    Feed,
    Normalise,
    Pad,
    Resize,
    Step,
    Steps,
)
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.signature.yaml_nodes import NodeReader, found_text, unknown_name


class MissingOption(Exception):
    """A step needs an option that has no value."""


class _Value(NamedTuple):
    """How an option of a step is read."""

    read: Callable[[StepsReader, yaml.Node, str], Any]
    is_required: bool = False


class StepsReader(NodeReader):
    """Reads the steps of signatures; `$NAME` stands for an option's value."""

    def __init__(self, source: Path, given: Mapping[str, Scalar]) -> None:
        super().__init__()
        self.source = source
        self.given = given  # with --option
        self.defaults: Dict[str, Optional[Scalar]] = {}  # of the options that the file declares
        self.used: Dict[str, Scalar] = {}  # options of steps, with their values
        self.notes: List[Note] = []

    def steps(self, parts: Mapping[str, yaml.Node], where: str) -> Optional[Steps]:
        """Return the steps of a signature; raises MissingOption."""
        if not {"preprocess", "feed", "postprocess"} & set(parts):
            return None
        before = self.step_list(parts["preprocess"], where + ".preprocess", _BEFORE) if "preprocess" in parts else ()
        after = self.step_list(parts["postprocess"], where + ".postprocess", _AFTER) if "postprocess" in parts else ()
        if "feed" not in parts:
            node = next(iter(parts.values()))
            self.problem("missing-key", node, where, "feed is missing: what each input of the network gets")
            return Steps(before, {}, after)
        return Steps(before, self.feed(parts["feed"], where + ".feed"), after)

    def step_list(self, node: yaml.Node, where: str, known: Mapping[str, _Kind]) -> Tuple[Step, ...]:
        if not isinstance(node, yaml.SequenceNode):
            self.problem("wrong-type", node, where, f"a list of steps is expected; found {found_text(node)}")
            return ()
        found: List[Step] = []
        for position, item in enumerate(node.value):
            step = self.step(item, f"{where}[{position}]", known)
            found += [] if step is None else [step]
        return tuple(found)

    def step(self, node: yaml.Node, where: str, known: Mapping[str, _Kind]) -> Optional[Step]:
        if isinstance(node, yaml.ScalarNode):
            name, options = self.text(node, where), None
        else:
            entries = self.mapping(node, where)
            if len(entries) != 1:
                if isinstance(node, yaml.MappingNode):
                    expected = "one step is expected, as in - resize: {height: 32}"
                    self.problem("wrong-type", node, where, f"{expected}; found {', '.join(entries) or 'none'}")
                return None
            ((name, options),) = entries.items()
        if name not in known:
            self.problem("unknown-key", node, where, *unknown_name("step", name, list(known)))
            return None
        return self.made(known[name], options, node, f"{where}.{name}")

    def made(self, kind: _Kind, options: Optional[yaml.Node], node: yaml.Node, where: str) -> Optional[Step]:
        if kind.make is Failed:
            return self.failed(options or node, where)
        required = [name for name, value in kind.values.items() if value.is_required]
        optional = [name for name in kind.values if name not in required]
        count = len(self.problems)
        if options is not None:
            entries = self.mapping(options, where, required, optional)
        else:
            entries = {}
            for name in required:
                self.problem("missing-key", node, where, f"{name} is missing")
        values: Dict[str, Any] = {}
        for name, value in kind.values.items():
            if name not in entries or (entries[name].tag.endswith(":null") and not value.is_required):
                continue
            try:
                values[name] = value.read(self, entries[name], f"{where}.{name}")
            except MissingOption:
                if value.is_required:
                    raise
        if len(self.problems) > count:
            return None
        try:
            return kind.make(**values)
        except NoCharacters as error:
            self.problem("character-file", node, where, f"{values['file']}: {error}")
            return None

    def failed(self, node: yaml.Node, where: str) -> Failed:
        entries = self.mapping(node, where)
        return Failed({name: self.value(item, f"{where}.{name}") for name, item in entries.items()})

    def feed(self, node: yaml.Node, where: str) -> Dict[str, Feed]:
        found = {}
        for tensor, item in self.mapping(node, where).items():
            place = f"{where}.{tensor}"
            if isinstance(item, yaml.ScalarNode):
                found[tensor] = Feed(self.text(item, place))
                continue
            parts = self.mapping(item, place, required=("from",), optional=("divide_by",))
            source = self.text(parts["from"], place + ".from") if "from" in parts else ""
            divisor = self.count(parts["divide_by"], place + ".divide_by") if "divide_by" in parts else 1
            found[tensor] = Feed(source, divisor)
        if not found and isinstance(node, yaml.MappingNode):
            self.problem("missing-key", node, where, "at least one input of the network is expected")
        return found

    def check_names(self, node: yaml.Node, where: str, steps: Steps, inputs: Sequence[str]) -> None:
        """Check that feeds and steps before the network read what is there."""
        self.check_order(node, where, steps)
        known: Set[str] = set(inputs)
        for position, step in enumerate(steps.preprocess):
            for name in step.takes:
                if name not in known:
                    found = f"it works on {name}, which no step before it makes"
                    remedy = "put the step decode before it"
                    self.problem("wrong-value", node, f"{where}.preprocess[{position}]", found, remedy)
            known.update(step.makes)
        known.update({STEPS} if WIDTHS in known else ())
        for tensor, feed in steps.feed.items():
            if feed.source not in known:
                found, remedy = unknown_name("result of a step, or input", feed.source, sorted(known))
                self.problem("wrong-value", node, f"{where}.feed.{tensor}", found, remedy)

    def check_order(self, node: yaml.Node, where: str, steps: Steps) -> None:
        """Check the places of decode and resize, and that values for channels are as many as there are channels."""
        decode = steps.preprocess[0] if steps.preprocess else None
        channels = decode.channels if isinstance(decode, DecodePictures) else None
        for position, step in enumerate(steps.preprocess):
            place = f"{where}.preprocess[{position}]"
            if isinstance(step, DecodePictures) and position:
                self.problem("wrong-value", node, place, "decode is not the first step", "put it first")
            if isinstance(step, Resize) and (position != 1 or channels is None):
                self.problem(
                    "wrong-value", node, place, "resize does not follow decode", "put it directly after decode"
                )
            for name in ("mean", "scale") if isinstance(step, Normalise) else ():
                values = getattr(step, name)
                if channels is not None and len(values) not in (0, 1, channels):
                    found = f"{len(values)} numbers; one, or one for each of the {channels} channels, is expected"
                    self.problem("wrong-value", node, f"{place}.normalise.{name}", found)

    def check_pictures(self, node: yaml.Node, where: str, signature: Signature) -> None:
        """Check that a signature that decodes pictures has one input for them."""
        strings = [spec for spec in signature.inputs if spec.dtype == "string" and len(spec.shape or ()) == 1]
        if signature.steps is not None and signature.steps.takes_pictures and len(strings) != 1:
            found = f"one string input of shape [batch] is expected, for the pictures; found {len(strings)}"
            self.problem("picture-input", node, where + ".inputs", found)

    def value(self, node: yaml.Node, where: str, types: Tuple[type, ...] = (str, int, float, bool)) -> Any:
        """Return a scalar, or the value of the option that it names; raises MissingOption."""
        name = self.option_name(node)
        if name is None:
            return self.scalar(node, where, types=types)
        value = self.option(node, where, name)
        if type(value) in types:
            return value
        names = " or ".join(kind.__name__ for kind in types)
        found = f"--option {name}={value}: a value of type {names} is expected"
        if name in self.given:  # the command line is wrong, not the file
            raise UsageError(f"{found} for {where}")
        self.problem("wrong-type", node, where, found)
        return None

    def option_name(self, node: yaml.Node) -> Optional[str]:
        is_text = isinstance(node, yaml.ScalarNode) and not node.style
        return str(node.value)[1:] if is_text and str(node.value).startswith("$") else None

    def option(self, node: yaml.Node, where: str, name: str) -> Scalar:
        if name not in self.defaults:
            self.problem("unknown-key", node, where, *unknown_name("option of this file", name, list(self.defaults)))
            raise MissingOption(name)
        value = self.given.get(name, self.defaults[name])
        if value is None:
            raise MissingOption(name)
        self.used[name] = value
        return value

    def count(self, node: yaml.Node, where: str) -> int:
        value = self.value(node, where, (int,))
        if value is not None and value < 1:
            self.problem("wrong-value", node, where, f"a number from 1 on is expected; found {value}")
        return 1 if value is None else int(value)

    def number(self, node: yaml.Node, where: str) -> float:
        value = self.value(node, where, (int, float))
        return 0.0 if value is None else float(value)

    def weight(self, node: yaml.Node, where: str) -> float:
        value = self.number(node, where)
        if value < 0:
            self.problem("wrong-value", node, where, f"a number from 0 on is expected; found {value:g}")
        return value

    def numbers(self, node: yaml.Node, where: str) -> Tuple[float, ...]:
        if not isinstance(node, yaml.SequenceNode):
            return (self.number(node, where),)
        return tuple(self.number(item, f"{where}[{position}]") for position, item in enumerate(node.value))

    def word(self, node: yaml.Node, where: str, known: Sequence[Any]) -> Any:
        value = self.value(node, where)
        if value is not None and value not in known:
            self.problem("wrong-value", node, where, *unknown_name("value", str(value), [str(one) for one in known]))
        return value

    def truth(self, node: yaml.Node, where: str) -> bool:
        return bool(self.value(node, where, (bool,)))

    def name_of_tensor(self, node: yaml.Node, where: str) -> str:
        return self.text(node, where)

    def file(self, node: yaml.Node, where: str) -> Path:
        """Return a path; one in the file is relative to the file, one of --option to the working directory."""
        name = self.option_name(node)
        value = self.value(node, where, (str,))
        path = Path(value or "").expanduser()
        return path if name is not None and name in self.given else self.source.parent / path


class _Kind(NamedTuple):
    """A step: its class, and how its options are read."""

    make: Callable[..., Step]
    values: Mapping[str, _Value] = {}


def _word(known: Sequence[Any]) -> _Value:
    return _Value(lambda reader, node, where: reader.word(node, where, known))


_COUNT, _NUMBERS = _Value(StepsReader.count), _Value(StepsReader.numbers)
_NAME = _Value(StepsReader.name_of_tensor)


def _characters(file: Path, **names: str) -> Characters:
    return Characters(file, read_characters(file), **names)


def _decode_ctc(
    bigrams: Optional[Path] = None, bigram_weight: float = 0.4, bigram_bonus: float = 0.0, **values: Any
) -> DecodeCtc:
    found = None if bigrams is None else Bigrams(bigrams, bigram_weight, bigram_bonus)
    return DecodeCtc(bigrams=found, **values)


_BEFORE: Dict[str, _Kind] = {
    "decode": _Kind(DecodePictures, {"channels": _word((1, 3)), "max_pixels": _COUNT}),
    "resize": _Kind(
        Resize,
        {
            "height": _Value(StepsReader.count, is_required=True),
            "width": _COUNT,
            "method": _word(METHODS),
            "max_width": _COUNT,
        },
    ),
    "normalise": _Kind(Normalise, {"order": _word(ORDERS), "mean": _NUMBERS, "scale": _NUMBERS}),
    "pad": _Kind(Pad, {"multiple": _COUNT, "min_width": _COUNT, "value": _Value(StepsReader.number)}),
}
_AFTER: Dict[str, _Kind] = {
    "ctc_decode": _Kind(
        _decode_ctc,
        {
            "logits": _Value(StepsReader.name_of_tensor, is_required=True),
            "sequence_length": _Value(StepsReader.name_of_tensor, is_required=True),
            "beam_width": _COUNT,
            "merge_repeated": _Value(StepsReader.truth),
            "batch_first": _Value(StepsReader.truth),
            "blank": _word(BLANKS),
            "bigrams": _Value(StepsReader.file),
            "bigram_weight": _Value(StepsReader.weight),
            "bigram_bonus": _Value(StepsReader.number),
        },
    ),
    "characters": _Kind(
        _characters, {"file": _Value(StepsReader.file, is_required=True), "ids": _NAME, "logits": _NAME}
    ),
    "failed": _Kind(Failed),
}
