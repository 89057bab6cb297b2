"""Untrusted YAML, composed into nodes within limits, and a reader that collects problems with their lines."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

import yaml

from ckpt2saved.console.foreign_text import is_plain, one_line
from ckpt2saved.errors.nearest import did_you_mean
from ckpt2saved.errors.problem import Problem
from ckpt2saved.signature.model import Scalar

# What a file may have. A thousand lines say most of what can be said; the images of a parity part are larger.
_MOST_NODES = 100000
_MOST_WITH_ALIASES = 1000000  # values, when each alias stands for all of what it names
MOST_PROBLEMS = 100
LONGEST_NAME = 1000
_LONGEST_NUMBER = 1000  # characters; Python takes the square of their number in time to read one
_LONGEST_FOUND = 200  # characters of what a message quotes: tags and anchors can be as long as the file
_DEEPEST = 50  # mappings and lists inside one another; far below what the YAML reader's recursion can take
# Tags that may be written out; !!binary for an image's bytes among the parity inputs. The rest are refused unread.
_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:binary")
_NO_NAMES = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:binary")


class NotYaml(Exception):
    """The text is not YAML within the limits; `line` is :N, or "" if unknown."""

    def __init__(self, line: str, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def compose(text: str) -> Tuple[Optional[yaml.Node], List[Problem]]:
    """Return the root node of a YAML document, None if empty, and a problem for each refused construct.

    Raises NotYaml for invalid YAML and for documents above the limits.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: an escape that is no character
        raise NotYaml(*_not_yaml(error, text)) from error
    return root, loader.refused


def check_aliases(root: yaml.Node) -> None:
    """Raise ValueError if the document is too large or too deep with all aliases expanded."""
    size, depth = _extent(root, {})
    if size > _MOST_WITH_ALIASES:
        raise ValueError(f"with what its aliases stand for it has {size} values; at most {_MOST_WITH_ALIASES} are read")
    if depth > _DEEPEST:
        raise ValueError(f"with what its aliases stand for it is nested {depth} deep; at most {_DEEPEST} are read")


def parse_scalar(text: str) -> Scalar:
    """Return a scalar's value as in a signature file: a number, a truth value or text.

    Raises ValueError if YAML would read another number than the text suggests.
    """
    resolver: Any = yaml.resolver.Resolver()  # without types in PyYAML's stubs, as are the parser's methods
    node = yaml.ScalarNode(resolver.resolve(yaml.ScalarNode, text.strip(), (True, False)), text.strip())
    kind = node.tag.rpartition(":")[2]
    if kind not in ("int", "float", "bool"):
        quoted = re.match(r"(['\"])(.*)\1\Z", node.value, re.DOTALL)
        return quoted.group(2) if quoted else text
    try:
        value: Scalar = _constructed(node)
    except ValueError as error:
        raise ValueError(f"{text.strip()[:40]} is {error}") from None
    return value


def _constructed(node: yaml.ScalarNode) -> Any:
    """Return safe_load's value of a scalar; raises ValueError if YAML would read an unexpected number."""
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


def _extent(node: yaml.Node, known: Dict[int, Tuple[int, int]]) -> Tuple[int, int]:
    """Return the number of nodes with aliases expanded, and how deep lists and mappings are inside of each other.

    What an alias stands for is written before it, and so known: the recursion is no deeper than the text.
    """
    if id(node) not in known:
        if isinstance(node, yaml.ScalarNode):
            return 1, 0
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        extents = [_extent(part, known) for part in parts]
        depth = 1 + max((depth for _, depth in extents), default=0)
        known[id(node)] = 1 + sum(size for size, _ in extents), depth
    return known[id(node)]


class _Loader(yaml.SafeLoader):
    """Composes YAML nodes; collects refused tags, merge keys and loops, and stops at deep nesting."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.refused: List[Problem] = []
        self.open: List[Optional[str]] = []  # anchors of the mappings and lists around
        self.nodes = 0

    def compose_node(self, parent: Optional[yaml.Node], index: Any) -> Optional[yaml.Node]:
        parser: Any = self
        event = parser.peek_event()
        mark = event.start_mark
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            problem = f"more than {_MOST_NODES} values; expected a smaller file"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        if event.anchor in self.open and isinstance(event, yaml.AliasEvent):
            self.refuse(event, f"the alias *{event.anchor} refers to a node that contains it", "write the value out")
            event = parser.get_event()
            return yaml.ScalarNode("tag:yaml.org,2002:null", "", event.start_mark, event.end_mark)
        if getattr(event, "tag", None) and event.tag not in _TAGS:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.refuse(event, f"the tag {tag} is not allowed", "write the value alone")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            self.refuse(event, "merge keys (<<) are not read", "write the lines out, or alias the whole value")
        if not isinstance(event, yaml.CollectionStartEvent):
            return super().compose_node(parent, index)
        if len(self.open) == _DEEPEST:
            problem = f"it is nested more than {_DEEPEST} deep"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        self.open.append(event.anchor)
        node = super().compose_node(parent, index)
        self.open.pop()
        return node

    def refuse(self, event: Any, found: str, remedy: str) -> None:
        place = f"line {event.start_mark.line + 1}"
        self.refused.append(Problem("yaml-construct", place, one_line(found, _LONGEST_FOUND), remedy))


def _not_yaml(error: Exception, text: str) -> Tuple[str, str]:
    """Return the line, if known, and the error, without the parser's excerpt."""
    line, problem = _line_and_problem(error, text)
    return line, one_line(problem, _LONGEST_FOUND)


def _line_and_problem(error: Exception, text: str) -> Tuple[str, str]:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f":{line}", f"unacceptable character U+{error.character:04X}"
    if isinstance(error, yaml.MarkedYAMLError):
        problem = error.problem or ""
        place = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        return place, f"{error.context}, {problem}" if problem.startswith("but ") else problem
    return "", str(error)


class TooManyProblems(Exception):
    """More problems than are reported."""


class NodeReader:
    """Reads YAML nodes and collects problems with their lines."""

    def __init__(self) -> None:
        self.problems: List[Problem] = []

    def problem(self, code: str, node: yaml.Node, where: str, found: str, remedy: str = "") -> None:
        """Add a problem of the value at `where`, such as `graph.options`; "" for the whole file."""
        place = f"line {node.start_mark.line + 1}"
        where = where if len(where) <= LONGEST_NAME else where[:LONGEST_NAME] + "…"
        self.problems.append(Problem(code, f"{place}: {where}" if where else place, found, remedy))
        if len(self.problems) >= MOST_PROBLEMS:
            raise TooManyProblems

    def mapping(
        self,
        node: yaml.Node,
        where: str,
        required: Sequence[str] = (),
        optional: Sequence[str] = (),
    ) -> Dict[str, yaml.Node]:
        """Return the entries of a mapping; any key is allowed if none is required or optional."""
        if not isinstance(node, yaml.MappingNode):
            self.problem(
                "wrong-type", node, where, f"a mapping (lines of 'name: …') is expected; found {found_text(node)}"
            )
            return {}
        known = tuple(required) + tuple(optional)
        entries: Dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = self.text(key_node, where)
            if not key:
                continue
            if key in entries:
                self.problem("duplicate-key", key_node, where, f"{key} is given twice")
            elif known and key not in known:
                self.problem("unknown-key", key_node, where, *unknown_name("key", key, known))
            entries[key] = value
        for key in required:
            if key not in entries:
                self.problem("missing-key", node, where, f"{key} is missing")
        return entries

    def text(self, node: yaml.Node, where: str) -> str:
        if isinstance(node, yaml.ScalarNode) and node.value and node.tag not in _NO_NAMES:
            if len(node.value) <= LONGEST_NAME and is_plain(node.value):
                return str(node.value)
            self.problem(
                "wrong-value",
                node,
                where,
                f"a name of at most {LONGEST_NAME} characters, none of them a control character, is expected; found"
                f" {node.value[:40]!a}",
            )
            return ""
        self.problem("wrong-type", node, where, f"a name is expected; found {found_text(node)}")
        return ""

    def scalar(
        self,
        node: yaml.Node,
        where: str,
        expected: str = "a number, a word, true or false",
        types: Tuple[type, ...] = (str, int, float, bool),
    ) -> Any:
        """Return safe_load's value of a scalar; None, with a problem, if it is not one of `types`."""
        if not isinstance(node, yaml.ScalarNode):
            self.problem("wrong-type", node, where, f"{expected} is expected; found {found_text(node)}")
            return None
        try:
            value = _constructed(node)
        except (yaml.YAMLError, ValueError) as error:  # 2024-02-30, bad base64, base 60
            reason = getattr(error, "problem", None) or error
            self.problem("wrong-value", node, where, f"{expected} is expected; found {found_text(node)} ({reason})")
            return None
        if type(value) in types:
            return value
        self.problem("wrong-type", node, where, f"{expected} is expected; found {found_text(node)}")
        return None


def found_text(node: yaml.Node) -> str:
    """Return a node's text for a message, with YAML's type if it is unexpected."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if not isinstance(node, yaml.ScalarNode):
        return f"a list of {len(node.value)}"
    if not node.value and not node.style:
        return "nothing"
    text = node.value if len(node.value) <= 40 else node.value[:40] + "…"
    kind = node.tag.rpartition(":")[2]
    if kind in ("timestamp", "value"):
        return f"{text}, which YAML reads as a {kind}; put it in quotes"
    return repr(text) if node.style else text


def unknown_name(kind: str, found: str, known: Sequence[str]) -> Tuple[str, str]:
    """Return what was found, an unknown name, and the closest known name or all of them as the remedy."""
    return f"{found!r} is not a known {kind}", did_you_mean(found, known)
