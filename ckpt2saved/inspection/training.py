"""What in a graph is made for training and changes its answers: switches, dropout, batch norm on the batch's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Collection, List, Mapping, Optional, Sequence, Tuple, Union

from ckpt2saved.errors import NotServable
from ckpt2saved.graph.graph import Node
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.graph.ops import CASES, CONDITIONALS, SWITCHES, is_random, is_training
from ckpt2saved.graph.traversal import within
from ckpt2saved.inspection.training_graph import TrainingGraph
from ckpt2saved.rewrites.to_inference import Steering, find_steering
from ckpt2saved.tf1 import tf

_OFF = re.compile(r"(?i).*(test|infer|eval|predict|valid)")
_KEEP = re.compile(r"(?i).*keep|.*(?<![a-z])(retain|kp)(?![a-z])")
_DROP = re.compile(r"(?i).*(drop|rate|prob)")
_STATISTICS_STEPS = 8
_GONE = "only the dropout that export bypasses asks for it"


@dataclass(frozen=True)
class Switch:
    """A placeholder or variable that says how to run, not on what."""

    name: str  # of the node
    dtype: str
    value: Union[bool, int, float, str, None]  # for inference, as the graph's structure says; None where it does not
    guess: Union[bool, float, None]  # what its name suggests, where the user has to choose
    default: Optional[str]  # of a placeholder_with_default, as far as it is a constant
    reason: str

    @property
    def is_open(self) -> bool:
        """Whether only the user can say what it is in inference."""
        return self.value is None and self.reason != _GONE


@dataclass(frozen=True)
class TrainingOps:
    """The nodes on the way to the outputs that answer in another way than inference would."""

    dropout: Tuple[str, ...]  # the scopes, or the nodes that draw the random numbers
    batch_norm: Tuple[str, ...]  # the nodes or scopes that take mean and variance from the batch
    switched: Tuple[str, ...]  # of both, those on one branch of a tf.cond


def steer(
    training: TrainingGraph,
    outputs: Sequence[Ref],
    inputs: Sequence[Ref],
    variables: Mapping[str, Sequence[int]],
) -> Steering:
    """What `export` will make of the switches, and what it will refuse; `variables` are the checkpoint's."""
    try:
        ends = sorted(map(full_name, set(outputs) - set(inputs))), sorted(map(full_name, set(inputs)))
        return find_steering(training.graph.forward_def, *ends, variables, training.comparisons)
    except NotServable as error:
        return Steering({}, dict.fromkeys(training.switches_makers, str(error)), (), ())


def find_switches(
    training: TrainingGraph, steering: Steering, reached: Collection[str], inputs: Sequence[Ref]
) -> List[Switch]:
    """The switches among the nodes `reached`: what `export` will make of them, or why the user has to choose.

    What they are called is looked at only where nothing else tells, and then it is no more than a suggestion.
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
            reason="its other values lead to what only a training does",
        )
    if node.name not in steering.undecided:
        return Switch(name=node.name, dtype=dtype, value=None, guess=None, default=default, reason=_GONE)
    guess = None if node.name in steering.misnamed else _guess(training, node)
    return Switch(
        name=node.name, dtype=dtype, value=None, guess=guess, default=default, reason=steering.undecided[node.name]
    )


def _guess(training: TrainingGraph, node: Node) -> Union[bool, float, None]:
    """The value that its name suggests, or where a number meets random ones."""
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
    """Dropout and batch norm in training mode among the nodes `reached`, by their structure, not their names."""
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
    """The NodeDefs of the functions that a node runs."""
    functions = training.graph.functions
    return [inner for name in training.graph.called(node) for inner in functions[name].node_def] if functions else []


def _on_a_branch(training: TrainingGraph, name: str) -> bool:
    """Whether a tf.cond decides if the node runs: one of its nearest inputs comes through a Switch."""
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
    """Whether this is 1 / deviation of values of the graph themselves, with the batch among what is averaged over."""
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
