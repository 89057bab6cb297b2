"""Training switches, found by the branches that only training runs, and the values that avoid these branches."""

from __future__ import annotations

import re
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Sequence, Set

from ckpt2saved.graph.folding import Folding
from ckpt2saved.graph.graph import Graph, Node, may_be_scalar
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import MERGES, PASSING, PLACEHOLDERS, SELECTS, SWITCHES, VARIABLES
from ckpt2saved.graph.probe import ELEMENTWISE
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import nearest

_COMPARISONS = ("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual")
_FURTHEST = 200  # nodes between a switch and the branches that it selects
# A name may contradict the structure, and the switch is then left undecided; a name never decides.
_TRAINING_NAME = re.compile(
    r"(^|[/_.])(is_?|in_?|for_?)?(train(ing)?|learning)([_.]?(phase|mode|flag|time))?([_:]\d+)?$|phase_train", re.I
)
_INFERENCE_NAME = re.compile(
    r"(^|[/_.])(is_?|in_?|for_?)?(test(ing)?|infer(ence)?|eval(uation)?|valid(ation)?|predict(ion)?|serving|deterministic)"
    r"([_.]?(phase|mode|flag|time))?([_:]\d+)?$",
    re.I,
)


class Switches:
    """Finds the value in inference of each switch, as far as the structure decides it."""

    def __init__(
        self, graph: Graph, outputs: Sequence[Ref], inputs: Set[Ref], marks: FrozenSet[str], noise: Set[str]
    ) -> None:
        """`marks` are the nodes that only a training has, `noise` those that depend on random numbers."""
        self.graph = graph
        self.outputs = outputs
        self.inputs = inputs
        self.marks = marks
        self.noise = noise
        self.decided: Dict[str, Any] = {}  # node -> its value in inference
        self.reasons: Dict[str, str] = {}  # switch -> why it is not decided
        self.misnamed: Set[str] = set()  # those whose names contradict their branches

    def decide_all(self, pins: Mapping[str, Any], within: Set[str]) -> None:
        """Set `decided` to `pins`, and to a value for each other switch among `within` that the structure decides."""
        decided = self.decided = dict(pins)
        while True:
            folding = Folding(self.graph, within, decided, self.noise)
            reached = folding.between(self.outputs, self.inputs)
            for name in self.graph.nodes:
                if name in reached and name not in decided and self.may_be(name, reached):
                    value = self.decide(name, decided, reached, folding)
                    if value is not None:
                        decided[name] = value
                        break
            else:
                return

    def may_be(self, name: str, reached: Set[str]) -> bool:
        """Whether a node could be a switch: a bool, or a scalar that selects between branches."""
        node = self.graph[name]
        if (name, 0) in self.inputs or node.op not in PLACEHOLDERS + VARIABLES or not may_be_scalar(node):
            return False
        if is_truth(node):
            return True
        return node.op in PLACEHOLDERS and bool(self.decided_by(name, reached))

    def decided_by(self, name: str, reached: Set[str]) -> List[str]:
        """The comparisons and casts through which a value selects branches; [] where it selects none."""
        found, decides = [], False

        def following(source: str) -> Iterator[str]:
            nonlocal decides
            for node in self.graph.consumers(source):
                if node.name not in reached:
                    continue
                if node.op in SWITCHES and node.inputs[1][0] == source:
                    decides = True
                elif node.op in SELECTS and node.inputs[0][0] == source:
                    decides = True
                elif node.op in ELEMENTWISE or node.op in PASSING + MERGES + ("Cast",):
                    yield node.name

        for node in map(self.graph.__getitem__, nearest([name], following, _FURTHEST)):
            is_cast = node.op == "Cast" and node.attr["DstT"].type == tf.bool.as_datatype_enum
            if node.op in _COMPARISONS or is_cast:
                found.append(node.name)
        return found if decides else []

    def values(self, name: str, reached: Set[str], folding: Folding) -> List[Any]:
        """The values of a switch that can lead to different branches."""
        node = self.graph[name]
        if is_truth(node):
            return [False, True]
        values: Set[Any] = set()
        whole = tf.as_dtype(node.attr["dtype"].type).is_integer
        for comparison in self.decided_by(name, reached):
            if self.graph[comparison].op == "Cast":
                values.update((0, 1))
            for ref in self.graph[comparison].inputs:
                constant = folding.value(ref)
                if isinstance(constant, bytes):
                    values.update((constant, b"another"))
                elif constant is not None:
                    steps = (-1, 0, 1) if whole else (-0.5, 0.0, 0.5)
                    values.update(type(steps[0])(constant + step) for step in steps)
        return sorted(values)[:16]

    def decide(self, name: str, decided: Mapping[str, Any], reached: Set[str], folding: Folding) -> Any:
        """The value of a switch in inference, or None and a reason."""
        marks, ways, trials = {}, {}, {}
        for value in self.values(name, reached, folding):
            trials[value] = Folding(self.graph, reached, dict(decided, **{name: value}), self.noise)
            ways[value] = trials[value].between(self.outputs, self.inputs)
            marks[value] = self.marks & ways[value]
        fewest = min(marks.values(), key=len, default=frozenset())
        if all(found == fewest for found in marks.values()):
            self.reasons[name] = "nothing in the graph shows its value in inference"
            return None
        for value, found in marks.items():
            if not fewest <= found:
                other = next(v for v in marks if marks[v] == fewest)
                self.reasons[name] = (
                    f"{shown(value)} has {_first(found - fewest)} in its branches and {shown(other)} has"
                    f" {_first(fewest - found)}"
                )
                return None
        best = [value for value in marks if marks[value] == fewest]
        if any(ways[value] != ways[best[0]] for value in best):
            self.reasons[name] = (
                f"{' and '.join(shown(value) for value in best)} all avoid the ops of training, and lead to"
                " different answers"
            )
            return None
        if not is_truth(self.graph[name]) and name in trials[best[0]].between(self.outputs, self.inputs, True):
            # Any number would do for the comparisons; for arithmetic it would not.
            self.reasons[name] = "answers are computed from it, besides the conditions that it decides"
            return None
        return best[0] if self.is_believed(name, best[0]) else None

    def is_believed(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            return True
        against = (_TRAINING_NAME if value else _INFERENCE_NAME).search(name)
        if not against:
            return True
        self.misnamed.add(name)
        self.reasons[name] = (
            f"its name says that {shown(value)} is training, and its branches say that {shown(not value)} is"
        )
        return False


def is_truth(node: Node) -> bool:
    """Whether a node holds true or false."""
    return bool(node.attr["dtype"].type == tf.bool.as_datatype_enum)


def choices(name: str, node: Node) -> str:
    """The options with which a user decides a switch."""
    if is_truth(node):
        return f"--set {name}=False or --set {name}=True"
    return f"--set {name}=VALUE"


def shown(value: Any) -> str:
    """A switch's value as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _first(names: FrozenSet[str]) -> str:
    if not names:
        return "none"
    first = min(names)
    return f"{first} and {len(names) - 1} more" if len(names) > 1 else first
