"""What in a graph is made for training and changes its answers: switches, dropout, batch norm on the batch's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Collection, List, Optional, Tuple, Union

from ckpt2saved.inspection.dataflow import Node
from ckpt2saved.inspection.network import RANDOM, Network
from ckpt2saved.tf1 import tf

_OFF = re.compile(r"(?i).*(test|infer|eval|predict|valid)")
_KEEP = re.compile(r"(?i).*keep|.*(?<![a-z])(retain|kp)(?![a-z])")
_DROP = re.compile(r"(?i).*(drop|rate|prob)")
_STATISTICS_STEPS = 8


@dataclass(frozen=True)
class Switch:
    """A placeholder that says how to run, not on what."""

    name: str  # of the node
    dtype: str
    value: Union[bool, float, None]  # for inference; None where the name does not tell
    default: Optional[str]  # of a placeholder_with_default, as far as it is a constant
    reason: str


@dataclass(frozen=True)
class TrainingOps:
    """The nodes on the way to the outputs that answer in another way than inference would."""

    dropout: Tuple[str, ...]  # the scopes, or the nodes that draw the random numbers
    batch_norm: Tuple[str, ...]  # the nodes or scopes that take mean and variance from the batch
    switched: Tuple[str, ...]  # of both, those on one branch of a tf.cond


def find_switches(network: Network, reached: Collection[str]) -> List[Switch]:
    """The switches among the nodes `reached`, with the value that inference would give them."""
    return [
        _switch(network, network.flow.maker(tensor.name))
        for tensor in network.switches
        if network.flow.maker(tensor.name).name in reached
    ]


def _switch(network: Network, node: Node) -> Switch:
    default = _default(network, node)
    name = node.name.rpartition("/")[2]
    if node.outputs[0].dtype == "bool":
        value = bool(_OFF.match(name)) and not re.match(r"(?i).*train", name)
        return Switch(node.name, "bool", value, default, "it steers the graph between training and inference")
    reason = "the probability of a dropout"
    value = _probability(network, node, name)
    if value is None:
        reason += "; 1 if it is to keep, 0 if it is to drop"
    return Switch(node.name, node.outputs[0].dtype, value, default, reason)


def _probability(network: Network, node: Node, name: str) -> Optional[float]:
    if _KEEP.match(name):
        return 1.0
    # keep_prob is added to the random numbers, a rate is compared with them, and subtracted from 1 it is the other.
    flipped, tensor = False, node.outputs[0].name
    for _ in range(6):
        takers = [t for t in network.flow.consumers(tensor) if network.computes(t)]
        if any(taker.op in ("GreaterEqual", "Greater", "Less", "LessEqual") for taker in takers):
            return 1.0 if flipped else 0.0
        if any(taker.op in ("Add", "AddV2") for taker in takers):
            return 0.0 if flipped else 1.0
        subtractions = [taker for taker in takers if taker.op == "Sub"]
        steps = subtractions or [taker for taker in takers if taker.op in ("Identity", "Cast", "Switch", "Enter")]
        if not steps:
            break
        flipped ^= bool(subtractions)
        tensor = steps[0].outputs[-1 if steps[0].op == "Switch" else 0].name
    return 0.0 if _DROP.match(name) and "keep" not in name.lower() and "rate" in name.lower() else None


def _default(network: Network, node: Node) -> Optional[str]:
    if node.op != "PlaceholderWithDefault":
        return None
    maker = network.flow.maker(node.inputs[0])
    if maker.op != "Const":
        return "computed by " + maker.name
    return str(tf.make_ndarray(maker.attr["value"].tensor))


def find_training_ops(network: Network, reached: Collection[str]) -> TrainingOps:
    """Dropout and batch norm in training mode among the nodes `reached`, by their structure, not their names."""
    nodes = [network.flow.nodes[name] for name in sorted(reached)]
    random = {node.name: _scope_of_dropout(node.name) for node in nodes if RANDOM.match(node.op)}
    norms = {node.name: node.name for node in nodes if node.op.startswith("FusedBatchNorm") and _is_training(node)}
    norms.update(
        {n.name: n.name.rpartition("/")[0] or n.name for n in nodes if n.op == "Rsqrt" and _of_batch(network, n)}
    )
    switched = [shown for name, shown in list(random.items()) + list(norms.items()) if _on_a_branch(network, name)]
    for node in nodes:  # what a functional tf.cond or loop of TensorFlow 2 does in its functions
        for inner in network.flow.called(node.attr):
            name = "{} in {}".format(inner.name, node.name)
            if RANDOM.match(inner.op):
                random[name] = name
            elif inner.op.startswith("FusedBatchNorm") and _is_training(inner):
                norms[name] = name
            switched += [name] if node.op in ("If", "StatelessIf", "Case", "StatelessCase") else []
    found = (random.values(), norms.values(), switched)
    return TrainingOps(*(tuple(dict.fromkeys(names)) for names in found))


def _on_a_branch(network: Network, name: str) -> bool:
    """Whether a tf.cond decides if the node runs: one of its nearest inputs comes through a Switch."""
    names = [name]
    for _ in range(4):
        nodes = [network.flow.nodes[one] for one in names]
        if any(node.op in ("Switch", "RefSwitch") for node in nodes):
            return True
        names = [network.flow.maker(t).name for n in nodes for t in n.inputs] + [c for n in nodes for c in n.controls]
        names = [one for one in dict.fromkeys(names) if network.flow.nodes[one].op not in ("Merge", "LoopCond")]
    return False


def _scope_of_dropout(name: str) -> str:
    match = re.match(r"(.*?dropout[^/]*)/", name, re.IGNORECASE)
    return match.group(1) if match else name


def _is_training(node: Any) -> bool:
    """Of an absent attribute the default counts, which is training."""
    return node.attr["is_training"].b if "is_training" in node.attr else True


def _of_batch(network: Network, rsqrt: Node) -> bool:
    """Whether this is 1 / deviation of values of the graph themselves, with the batch among what is averaged over."""
    ahead, seen = [(rsqrt.inputs[0], 0)], set()  # type: List[Tuple[str, int]], Set[str]
    while ahead:
        tensor, steps = ahead.pop()
        node = network.flow.maker(tensor)
        if node.op == "Mean" and node.name in network.pure and _averages_batch(network, node):
            return True
        if node.name not in seen and steps < _STATISTICS_STEPS and node.op not in ("Switch", "Conv2D", "MatMul"):
            seen.add(node.name)
            ahead += [(name, steps + 1) for name in node.inputs]
    return False


def _averages_batch(network: Network, mean: Node) -> bool:
    axes = network.flow.maker(mean.inputs[1])
    if axes.op != "Const":
        return False
    values = tf.make_ndarray(axes.attr["value"].tensor).reshape(-1).tolist()  # type: Sequence[int]
    return 0 in values
