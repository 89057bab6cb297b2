"""Values of the options of steps in signature files, where `$NAME` stands for an option's value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import yaml

from ckpt2saved.errors import UsageError
from ckpt2saved.errors.problem import Note
from ckpt2saved.signature.model import Scalar
from ckpt2saved.signature.yaml_nodes import NodeReader, unknown_name


class MissingOption(Exception):
    """A step needs an option that has no value."""


class OptionReader(NodeReader):
    """Reads values; those of `--option` replace the defaults of the file."""

    def __init__(self, source: Path, given: Mapping[str, Scalar]) -> None:
        super().__init__()
        self.source = source
        self.given = given  # with --option
        self.defaults: Dict[str, Optional[Scalar]] = {}  # of the options that the file declares
        self.used: Dict[str, Scalar] = {}  # options of steps, with their values
        self.notes: List[Note] = []

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

    def share(self, node: yaml.Node, where: str) -> float:
        value = self.number(node, where)
        if not 0 <= value <= 1:
            self.problem("wrong-value", node, where, f"a number from 0 to 1 is expected; found {value:g}")
        return value

    def overlap(self, node: yaml.Node, where: str) -> float:
        value = self.share(node, where)
        if value == 0:
            self.problem("wrong-value", node, where, "a number above 0 is expected, of which 1 keeps all; found 0")
        return value

    def numbers(self, node: yaml.Node, where: str) -> Tuple[float, ...]:
        if not isinstance(node, yaml.SequenceNode):
            return (self.number(node, where),)
        return tuple(self.number(item, f"{where}[{position}]") for position, item in enumerate(node.value))

    def heights(self, node: yaml.Node, where: str) -> Tuple[int, ...]:
        """Return numbers from 1 on: a list, or the text of --option with commas between them."""
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.count(item, f"{where}[{position}]") for position, item in enumerate(node.value))
        parts = str(self.value(node, where, (int, str))).split(",")
        if all(re.match(r"\s*[1-9]\d{0,5}\s*$", part) for part in parts):
            return tuple(map(int, parts))
        self.problem("wrong-value", node, where, f"heights as in 11,16,23 are expected; found {','.join(parts)}")
        return ()

    def word(self, node: yaml.Node, where: str, known: Sequence[Any]) -> Any:
        value = self.value(node, where)
        if value is not None and (type(value), value) not in [(type(one), one) for one in known]:
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
