"""Find what behaves differently in training: training switches, dropout, batch norm with batch statistics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Collection, List, Mapping, Optional, Sequence, Tuple, Union

from ckpt2saved.errors import NotServable
from ckpt2saved.graph.graph import Node
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.graph.ops import CASES, CONDITIONALS, SWITCHES, is_random, is_training
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import within
from ckpt2saved.inspection.training_graph import TrainingGraph
from ckpt2saved.rewrites.to_inference import Steering, find_steering

_OFF = re.compile(r"(?i).*(test|infer|eval|predict|valid)")
_KEEP = re.compile(r"(?i).*keep|.*(?<![a-z])(retain|kp)(?![a-z])")
_DROP = re.compile(r"(?i).*(drop|rate|prob)")
_STATISTICS_STEPS = 8
_GONE = "used only by dropout, which export bypasses"


@dataclass(frozen=True)
class Switch:
    """A training switch: a placeholder or variable that selects how the graph runs."""

    name: str  # of the node
    dtype: str
    value: Union[bool, int, float, str, None]  # for inference, from the structure of the graph; None if unknown
    guess: Union[bool, float, None]  # suggested by its name, if the user has to choose
    default: Optional[str]  # of a placeholder_with_default
    reason: str

    @property
    def is_open(self) -> bool:
        """Whether only the user can choose its value for inference."""
        return self.value is None and self.reason != _GONE


@dataclass(frozen=True)
class TrainingOps:
    """The nodes before the outputs that behave differently in training."""

    dropout: Tuple[str, ...]  # the scopes, or the nodes that draw the random numbers
    batch_norm: Tuple[str, ...]  # the nodes or scopes that take mean and variance from the batch
    switched: Tuple[str, ...]  # of both, those on one branch of a tf.cond


def steer(
    training: TrainingGraph,
    outputs: Sequence[Ref],
    inputs: Sequence[Ref],
    variables: Mapping[str, Sequence[int]],
) -> Steering:
    """The values that `export` gives to training switches; `variables` are the shapes in the checkpoint."""
    try:
        ends = sorted(map(full_name, set(outputs) - set(inputs))), sorted(map(full_name, set(inputs)))
        return find_steering(training.graph.forward_def, *ends, variables, training.whole)
    except NotServable as error:
        return Steering({}, dict.fromkeys(training.switches_makers, str(error)), (), ())


def find_switches(
    training: TrainingGraph, steering: Steering, reached: Collection[str], inputs: Sequence[Ref]
) -> List[Switch]:
    """The training switches among the nodes `reached`, with the value that `export` gives them, if it does.

    The name of a switch is used only for a suggestion, if the structure of the graph does not decide the value.
    """
    names = [name for name in training.graph.nodes if name in training.switches_makers and name in reached]
    names += [name for name in list(steering.decided) + list(steering.undecided) if name not in names]
    given = {name for name, _ in inputs}
    return [
        _switch(training, training.graph[name], steering)
        for name in names
        if name not in given and name in training.graph.nodes
    ]


def _switch(training: TrainingGraph, node: Node, steering: Steering) -> Switch:
    default = _default(training, node)
    dtype = training.outputs(node)[0].dtype
    if node.name in steering.decided:
        value = steering.decided[node.name]
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return Switch(
            name=node.name,
            dtype=dtype,
            value=value,
            guess=None,
            default=default,
            reason="other values run ops that only training needs",
        )
    if node.name not in steering.undecided:
        return Switch(name=node.name, dtype=dtype, value=None, guess=None, default=default, reason=_GONE)
    guess = None if node.name in steering.misnamed else _guess(training, node)
    return Switch(
        name=node.name, dtype=dtype, value=None, guess=guess, default=default, reason=steering.undecided[node.name]
    )


def _guess(training: TrainingGraph, node: Node) -> Union[bool, float, None]:
    """The value suggested by the name, or for a dropout probability by how it is combined with random numbers."""
    name, dtype = node.name.rpartition("/")[2], training.outputs(node)[0].dtype
    if dtype == "bool":
        if re.match(r"(?i).*train", name):
            return False
        return True if _OFF.match(name) else None
    return _probability(training, node, name) if dtype.startswith("float") else None


def _probability(training: TrainingGraph, node: Node, name: str) -> Optional[float]:
    if _KEEP.match(name):
        return 1.0
    # keep_prob is added to the random numbers, a rate is compared with them, and subtracted from 1 it is the other.
    flipped, ref = False, (node.name, 0)
    for _ in range(6):
        takers = [t for t in training.graph.users(ref) if training.computes(t)]
        if any(taker.op in ("GreaterEqual", "Greater", "Less", "LessEqual") for taker in takers):
            return 1.0 if flipped else 0.0
        if any(taker.op in ("Add", "AddV2") for taker in takers):
            return 0.0 if flipped else 1.0
        subtractions = [taker for taker in takers if taker.op == "Sub"]
        steps = subtractions or [taker for taker in takers if taker.op in ("Identity", "Cast", "Switch", "Enter")]
        if not steps:
            break
        flipped ^= bool(subtractions)
        ref = (steps[0].name, 1 if steps[0].op == "Switch" else 0)
    return 0.0 if _DROP.match(name) and "keep" not in name.lower() and "rate" in name.lower() else None


def _default(training: TrainingGraph, node: Node) -> Optional[str]:
    if node.op != "PlaceholderWithDefault":
        return None
    maker = training.graph.maker(node.inputs[0])
    if maker.op != "Const":
        return "computed by " + maker.name
    return str(tf.make_ndarray(maker.attr["value"].tensor))


def find_training_ops(training: TrainingGraph, reached: Collection[str]) -> TrainingOps:
    """Find dropout and batch norm in training mode among the nodes `reached`, by structure, not by name."""
    nodes = [training.graph[name] for name in sorted(reached)]
    random = {node.name: _scope_of_dropout(node.name) for node in nodes if is_random(node.op)}
    norms = {node.name: node.name for node in nodes if is_training(node)}
    norms.update(
        {n.name: n.name.rpartition("/")[0] or n.name for n in nodes if n.op == "Rsqrt" and _of_batch(training, n)}
    )
    switched = [shown for name, shown in list(random.items()) + list(norms.items()) if _on_a_branch(training, name)]
    for node in nodes:  # what a functional tf.cond or loop of TensorFlow 2 does in its functions
        for inner in called_nodes(training, node):
            name = f"{inner.name} in {node.name}"
            if is_random(inner.op):
                random[name] = name
            elif is_training(inner):
                norms[name] = name
            switched += [name] if node.op in CONDITIONALS + CASES else []
    found = (random.values(), norms.values(), switched)
    return TrainingOps(*(tuple(dict.fromkeys(names)) for names in found))


def called_nodes(training: TrainingGraph, node: Node) -> List[Any]:
    """The NodeDefs in the functions that a node calls."""
    functions = training.graph.functions
    return [inner for name in training.graph.called(node) for inner in functions[name].node_def] if functions else []


def _on_a_branch(training: TrainingGraph, name: str) -> bool:
    """Whether the node is on a branch of a tf.cond: one of its nearest inputs comes from a Switch."""
    names = [name]
    for _ in range(4):
        nodes = [training.graph[one] for one in names]
        if any(node.op in SWITCHES for node in nodes):
            return True
        names = [source for node in nodes for source in node.sources + node.controls]
        names = [one for one in dict.fromkeys(names) if training.graph[one].op not in ("Merge", "LoopCond")]
    return False


def _scope_of_dropout(name: str) -> str:
    match = re.match(r"(.*?dropout[^/]*)/", name, re.IGNORECASE)
    return match.group(1) if match else name


def _of_batch(training: TrainingGraph, rsqrt: Node) -> bool:
    """Whether this Rsqrt normalises by statistics of the data, averaged over the batch dimension."""
    graph = training.graph

    def following(name: str) -> List[str]:
        return graph[name].sources if graph[name].op not in ("Switch", "Conv2D", "MatMul") else []

    means = (graph[name] for name in within([rsqrt.inputs[0][0]], following, _STATISTICS_STEPS))
    return any(node.op == "Mean" and node.name in training.pure and _averages_batch(training, node) for node in means)


def _averages_batch(training: TrainingGraph, mean: Node) -> bool:
    axes = training.graph.maker(mean.inputs[1])
    if axes.op != "Const":
        return False
    values: Sequence[int] = tf.make_ndarray(axes.attr["value"].tensor).reshape(-1).tolist()
    return 0 in values
