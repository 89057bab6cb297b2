"""Where a network ends, the likeliest end first, and what it looks like: classes, probabilities, boxes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Dict, List, Optional, Sequence, Set, Tuple

from ckpt2saved.graph.dataflow import SHAPE_OPS, Node, Tensor
from ckpt2saved.graph.ops import CTC_DECODERS
from ckpt2saved.inspection.forcing import find_encoders, is_piece, leads_on
from ckpt2saved.inspection.network import Network
from ckpt2saved.inspection.outputs import Output
from ckpt2saved.inspection.probabilities import PROBABILITIES, before_clipping
from ckpt2saved.inspection.views import VIEWS, also_as, key_of, representative, root_of, views_of

_WITH_BY_PRODUCTS = re.compile(r"(Exit|(Stateless)?While|FusedBatchNorm\w*|BlockLSTM\w*|LSTMBlockCell|CudnnRNN\w*)\Z")
# Each takes a part of a tensor: a loss treats the channels of one differently.
_PARTS = ("Split", "SplitV", "Unpack", "Slice", "StridedSlice")
# What a loss makes of such parts before it meets labels: the area of a box, for one.
_ARITHMETIC = tuple(
    "Add AddV2 Sub Mul RealDiv Pow Square SquaredDifference Abs Neg Exp Log Log1p Relu Minimum Maximum Select SelectV2 "
    "Greater GreaterEqual Less LessEqual ZerosLike OnesLike".split()
)
_CROSS_ENTROPY = re.compile(r"\w*(CrossEntropy|Softmax)\w*\Z")
_OF_PROBABILITIES = re.compile(r"\w*(Sigmoid|Softplus|Log)\w*\Z")
_BOXES = re.compile(r"(?i).*(bbox|box|delta|geo|loc|regress|offset|coord)")


def find_heads(network: Network, known: Sequence[str] = ()) -> List[Output]:
    """Where the network ends: what is computed from the data alone and no weight follows upon.

    `known` are tensors that are told of elsewhere, as those of decoders; views of them are left out.
    """
    told = {root_of(network, tensor) for tensor in known} | set(known)
    weighted = [output.name for name in network.weighted for output in network.flow.nodes[name].outputs]
    computed = network.reach(weighted) | network.weighted
    roots: Dict[str, None] = {}
    whole: Set[str] = set()
    for name in network.pure:
        for output in network.flow.nodes[name].outputs:
            if not network.flow.is_inside_loop(output.name) and _is_end(network, output):
                root = root_of(network, output.name)
                taken_apart = _taken_apart(network, root)
                if taken_apart and network.flow.maker(taken_apart).name in computed:
                    whole.add(taken_apart)
                    roots[taken_apart] = None
                else:
                    roots[_before_loss(network, root)] = None
    order = {name: number for number, name in enumerate(network.flow.nodes)}
    heads: List[Output] = []
    for root in sorted(roots, key=lambda name: order[network.flow.maker(name).name]):
        if network.flow.maker(root).name not in network.pure & computed or _leads_to_weights(network, root):
            continue
        tensor = representative(network, root)
        if (
            _is_by_product(network, root)
            or root in told
            or tensor.rank == 0
            or tensor.dtype in ("resource", "variant", "bool")
        ):
            continue
        kind, reason = _kind(network, root, tensor, root in whole)
        heads.append(
            Output(
                key=key_of(tensor.name, kind),
                tensor=tensor.name,
                dtype=tensor.dtype,
                shape=tensor.shape,
                kind=kind,
                reason=reason,
            )
        )
    return _of_most_weights(network, _with_boxes(network, heads)) or find_encoders(network)


def _is_end(network: Network, tensor: Tensor) -> bool:
    """Whether nothing computes on from it, or a label or a Python function meets it."""
    maker = network.flow.maker(tensor.name)
    if tensor.is_scalar or maker.op in ("Switch", "NextIteration", "Enter") or not _is_value(network, maker):
        return False
    takers = _takers(network, tensor)
    ends = [taker for taker in takers if taker.name in network.tainted or taker in network.blocked]
    if ends:
        return not is_piece(network, tensor.name, ends) and not leads_on(network, ends)
    left = [taker for output in maker.outputs for taker in _takers(network, output)]
    # A sum of everything is a loss, whatever it is a loss of.
    return not any(not output.is_scalar for taker in left for output in taker.outputs)


def _before_loss(network: Network, root: str) -> str:
    """The probabilities that a loss takes the logarithm of, where that is how `root` was made."""
    if network.flow.maker(root).op == "Log":
        return before_clipping(network, network.flow.maker(root).inputs[0])
    behind = network.flow.upstream([root])
    found = [
        node.outputs[0].name
        for node in (network.flow.nodes[name] for name in behind & network.pure)
        if node.op in PROBABILITIES
        and not network.flow.is_inside_loop(node.name + ":0")
        and not _leads_to_weights(network, node.outputs[0].name)
    ]
    if len(found) != 1 or network.flow.maker(root).op in ("ArgMax", "ArgMin"):
        return root
    # Probabilities that are joined with other heads are but a part of it.
    return found[0] if behind & network.weighted == network.flow.upstream(found) & network.weighted else root


def _taken_apart(network: Network, root: str) -> str:
    """The tensor of whose parts alone `root` is made, such as the geometry of a box, or ""."""
    ahead: List[str] = [root]
    seen: Set[str] = set()
    found: Set[str] = set()
    while ahead:
        tensor = ahead.pop()
        node = network.flow.maker(tensor)
        if tensor in seen or node.name not in network.pure:
            continue
        seen.add(tensor)
        if node.op in _PARTS:
            found.add(root_of(network, node.inputs[1 if node.op == "Split" else 0]))
        elif node.op in VIEWS + PROBABILITIES:
            ahead.append(node.inputs[0])
        elif node.op in _ARITHMETIC:
            ahead += node.inputs
        else:
            return ""  # made of more than of parts
    whole = found.pop() if len(found) == 1 else ""
    if not whole or network.flow.maker(whole).op in PROBABILITIES or _leads_to_weights(network, whole):
        return ""
    return whole


def _is_by_product(network: Network, root: str) -> bool:
    """Whether it is made beside what is used: a batch norm's statistics, the last state of a recurrent layer."""
    maker = network.flow.maker(root)
    if not _WITH_BY_PRODUCTS.match(maker.op):
        return False
    siblings = network.flow.exits[maker.name.rpartition("/")[0]] if maker.op == "Exit" else [maker]
    ahead = [output.name for node in siblings for output in node.outputs if output.name != root]
    seen: Set[str] = set()
    while ahead:
        for taker in network.flow.consumers(ahead.pop()):
            if taker.name in seen or taker.name not in network.pure:
                continue
            if taker.op not in VIEWS:
                return True
            seen.add(taker.name)
            ahead += [output.name for output in taker.outputs]
    return False


def _takers(network: Network, tensor: Tensor) -> List[Node]:
    return [t for t in network.flow.consumers(tensor.name) if network.computes(t) and t.op not in SHAPE_OPS]


def _is_value(network: Network, maker: Node) -> bool:
    """Whether it is there for its value, not to update a variable or to be checked."""
    takers = [taker for output in maker.outputs for taker in network.flow.consumers(output.name)]
    return not any(taker.op.startswith(("Assign", "Scatter", "Assert")) for taker in takers)


def _leads_to_weights(network: Network, tensor: str) -> bool:
    return tensor in network.followed


def _kind(network: Network, root: str, tensor: Tensor, taken_apart: bool) -> Tuple[str, str]:
    maker = network.flow.maker(root)
    behind = [network.flow.nodes[name] for name in network.flow.upstream([root])]
    behind_decoder = any(node.op in CTC_DECODERS or network.decoded_lengths(node) for node in behind)
    if tensor.dtype == "string":
        return "text", f"text that is computed from the input ({maker.op})"
    if behind_decoder:
        return "decoded", f"computed from a decoder's labels ({maker.op})"
    if maker.op in ("Softmax", "LogSoftmax"):
        return "probabilities", f"class probabilities ({maker.op})"
    if maker.op == "Sigmoid":
        return "probabilities", "probabilities (Sigmoid)"
    if maker.op in ("ArgMax", "ArgMin"):
        return "classes", f"the best class of each position ({maker.op})"
    followers = [t.op for view in views_of(network, root) for t in network.flow.consumers(view)]
    followers += [o.op for v in views_of(network, root) for t in network.flow.consumers(v) for o in _next(network, t)]
    scores = "scores", "class scores before the softmax; no weight follows"
    if tensor.is_float and any(_CROSS_ENTROPY.match(op) for op in followers):
        return scores
    if taken_apart:
        return "boxes", "what the loss takes apart, such as the geometry of boxes; no weight follows"
    if _BOXES.match(tensor.name):
        return "boxes", "box deltas, by the name; no weight follows"
    if tensor.is_float and any(_OF_PROBABILITIES.match(op) for op in followers):
        return scores
    return "values", f"nothing of the network follows ({maker.op})"


def _with_boxes(network: Network, heads: Sequence[Output]) -> List[Output]:
    """The same, with box deltas for what they are: beside the classes, and compared with labels, as numbers are."""
    classes = [head for head in heads if head.kind in ("scores", "probabilities")]
    found: List[Output] = []
    for head in heads:
        beside = [other for other in classes if _branches_off(network, head.tensor, other.tensor)]
        if head.kind == "values" and head.dtype.startswith("float") and beside and _is_learned(network, head.tensor):
            channels = [_channels(network, one.tensor) for one in (head, beside[0])]
            sizes = "{} channels beside {}".format(*channels) if None not in channels else "branching off beside them"
            reason = f"box deltas: {sizes} of {beside[0].key}, compared with labels; no weight follows"
            head = replace(head, key=key_of(head.tensor, "boxes"), kind="boxes", reason=reason)
        found.append(replace(head, reason=head.reason + also_as(network, head.tensor)))
    return found


def _branches_off(network: Network, tensor: str, other: str) -> bool:
    """Whether two heads have weights of their own behind weights that they share."""
    first, second = [network.flow.upstream([name]) & network.weighted for name in (tensor, other)]
    return bool(first & second and first - second and second - first)


def _is_learned(network: Network, tensor: str) -> bool:
    """Whether labels, or a Python function that makes boxes of it, meet the tensor a few nodes on."""
    ahead = views_of(network, root_of(network, tensor))
    for _ in range(3):
        takers = [taker for name in ahead for taker in network.flow.consumers(name) if network.computes(taker)]
        if any(taker.name in network.tainted or taker in network.blocked for taker in takers):
            return True
        ahead = [output.name for taker in takers if taker.op in VIEWS + _ARITHMETIC for output in taker.outputs]
    return False


def _channels(network: Network, tensor: str) -> Optional[int]:
    """How many numbers a position of the feature map has: of the first tensor of rank 4 that this is a view of."""
    name = root_of(network, tensor)
    while network.flow.maker(name).op in PROBABILITIES:
        name = root_of(network, network.flow.maker(name).inputs[0])
    shapes = [network.flow.tensor(view).shape for view in views_of(network, name)]
    sizes = [shape[-1] for shape in shapes if shape and shape[-1]]
    return max(sizes, default=None)


def _next(network: Network, node: Node) -> List[Node]:
    return [taker for output in node.outputs for taker in network.flow.consumers(output.name)]


def _of_most_weights(network: Network, heads: Sequence[Output]) -> List[Output]:
    """Without what hangs on a small part of the network, such as a picture for a summary.

    What depends on fewer weights than another, and does not say what it is, such as a layer's last state, comes last.
    """
    weights = {head.tensor: network.weights_of([head.tensor]) for head in heads}
    most = max(map(len, weights.values())) if weights else 0
    likely = [head for head in heads if len(weights[head.tensor]) * 2 > most]
    partly = {
        head.tensor
        for head in likely
        if head.kind == "values" and any(weights[head.tensor] < weights[other.tensor] for other in likely)
    }
    return sorted(likely, key=lambda head: head.tensor in partly)
