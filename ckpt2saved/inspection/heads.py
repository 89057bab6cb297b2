"""Find the outputs at the end of a network, the likeliest first, and their kind: classes, probabilities, boxes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Dict, List, Optional, Sequence, Set, Tuple

from ckpt2saved.graph.graph import Node, Tensor
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import CTC_DECODERS, OF_SIZES
from ckpt2saved.graph.traversal import walk
from ckpt2saved.inspection.forcing import find_encoders, is_piece, leads_on
from ckpt2saved.inspection.outputs import Output, output_of
from ckpt2saved.inspection.parts import PARTS, data_of
from ckpt2saved.inspection.probabilities import PROBABILITIES, before_clipping
from ckpt2saved.inspection.training_graph import TrainingGraph
from ckpt2saved.inspection.views import VIEWS, also_as, first_input, key_of, representative, root_of, views_of

_WITH_BY_PRODUCTS = re.compile(r"(Exit|(Stateless)?While|FusedBatchNorm\w*|BlockLSTM\w*|LSTMBlockCell|CudnnRNN\w*)\Z")
# Ops that a loss applies to parts of a tensor before it compares them with labels, such as the area of a box.
_ARITHMETIC = tuple(
    "Add AddV2 Sub Mul RealDiv Pow Square SquaredDifference Abs Neg Exp Log Log1p Relu Minimum Maximum Select SelectV2 "
    "Greater GreaterEqual Less LessEqual ZerosLike OnesLike".split()
)
_CROSS_ENTROPY = re.compile(r"\w*(CrossEntropy|Softmax)\w*\Z")
_OF_PROBABILITIES = re.compile(r"\w*(Sigmoid|Softplus|Log)\w*\Z")
_BOXES = re.compile(r"(?i).*(bbox|box|delta|geo|loc|regress|offset|coord)")


def find_heads(training: TrainingGraph, known: Sequence[Ref] = ()) -> List[Output]:
    """Tensors that are computed from the data, without labels, and that no weights follow.

    `known` are outputs that were already found, such as those of decoders; they and their views are left out.
    """
    known_roots = {root_of(training, ref) for ref in known} | set(known)
    computed = training.computed()
    roots: Dict[Ref, None] = {}
    whole: Set[Ref] = set()
    for name in training.pure:
        for output in training.outputs(training.graph[name]):
            if not training.is_in_loop(output.ref) and _is_end(training, output):
                root = root_of(training, output.ref)
                taken_apart = _taken_apart(training, root)
                if taken_apart and taken_apart[0] in computed:
                    whole.add(taken_apart)
                    roots[taken_apart] = None
                else:
                    roots[_before_loss(training, root)] = None
    order = {name: number for number, name in enumerate(training.graph.nodes)}
    heads: List[Output] = []
    for root in sorted(roots, key=lambda ref: order[ref[0]]):
        if root[0] not in training.pure & computed or root in training.followed:
            continue
        tensor = representative(training, root)
        if (
            _is_by_product(training, root)
            or root in known_roots
            or tensor.rank == 0
            or tensor.dtype in ("resource", "variant", "bool")
        ):
            continue
        kind, reason = _kind(training, root, tensor, root in whole)
        heads.append(output_of(training, key_of(tensor.ref, kind), tensor.ref, kind, reason))
    return _of_most_weights(training, _with_boxes(training, heads)) or find_encoders(training)


def _is_end(training: TrainingGraph, tensor: Tensor) -> bool:
    """Whether nothing is computed from a tensor, or only together with labels or by Python functions."""
    maker = training.graph.maker(tensor.ref)
    if tensor.is_scalar or maker.op in ("Switch", "NextIteration", "Enter") or not _is_value(training, maker):
        return False
    takers = _takers(training, tensor)
    ends = [taker for taker in takers if taker.name in training.tainted or taker in training.blocked]
    if ends:
        return not is_piece(training, tensor.ref, ends) and not leads_on(training, ends)
    left = [taker for output in training.outputs(maker) for taker in _takers(training, output)]
    # A tensor that is only reduced to scalars is part of a loss.
    return not any(not output.is_scalar for taker in left for output in training.outputs(taker))


def _before_loss(training: TrainingGraph, root: Ref) -> Ref:
    """The probabilities whose logarithm the loss takes, if `root` is made from them; otherwise `root`."""
    if training.graph.maker(root).op == "Log":
        return before_clipping(training, training.graph.maker(root).inputs[0])
    behind = training.graph.upstream([root])
    found = [
        (name, 0)
        for name in behind & training.pure
        if training.graph[name].op in PROBABILITIES
        and not training.is_in_loop((name, 0))
        and (name, 0) not in training.followed
    ]
    if len(found) != 1 or training.graph.maker(root).op in ("ArgMax", "ArgMin"):
        return root
    # Probabilities that are concatenated with other outputs are only a part of them.
    return found[0] if behind & training.weighted == training.graph.upstream(found) & training.weighted else root


def _taken_apart(training: TrainingGraph, root: Ref) -> Optional[Ref]:
    """The one tensor of which `root` uses only parts, such as the geometry of a box; None if there is none."""
    graph = training.graph
    found: Set[Ref] = set()
    is_of_parts = True

    def following(ref: Ref) -> List[Ref]:
        nonlocal is_of_parts
        node = graph.maker(ref)
        if node.name not in training.pure:
            return []
        if node.op in PARTS:
            found.add(root_of(training, data_of(node)))
        elif node.op in VIEWS + PROBABILITIES:
            return node.inputs[:1]
        elif node.op in _ARITHMETIC:
            return node.inputs
        else:
            is_of_parts = False
        return []

    if any(not is_of_parts for _ in walk([root], following)) or not is_of_parts or len(found) != 1:
        return None
    whole = found.pop()
    return None if graph.maker(whole).op in PROBABILITIES or whole in training.followed else whole


def _is_by_product(training: TrainingGraph, root: Ref) -> bool:
    """Whether only other outputs of the node are used, as for batch norm statistics or the last RNN state."""
    graph = training.graph
    maker = graph.maker(root)
    if not _WITH_BY_PRODUCTS.match(maker.op):
        return False
    siblings = training.exits[maker.name.rpartition("/")[0]] if maker.op == "Exit" else [maker]
    is_used = False

    def following(ref: Ref) -> List[Ref]:
        nonlocal is_used
        takers = [taker for taker in graph.users(ref) if taker.name in training.pure]
        is_used = is_used or any(taker.op not in VIEWS for taker in takers)
        return [output.ref for taker in takers for output in training.outputs(taker)]

    beside = [output.ref for node in siblings for output in training.outputs(node) if output.ref != root]
    return any(is_used for _ in walk(beside, following)) or is_used


def _takers(training: TrainingGraph, tensor: Tensor) -> List[Node]:
    return [t for t in training.graph.users(tensor.ref) if training.computes(t) and t.op not in OF_SIZES]


def _is_value(training: TrainingGraph, maker: Node) -> bool:
    """Whether a node is computed for its value, not for an assignment or an assertion."""
    takers = training.graph.consumers(maker.name)
    return not any(taker.op.startswith(("Assign", "Scatter", "Assert")) for taker in takers)


def _kind(training: TrainingGraph, root: Ref, tensor: Tensor, taken_apart: bool) -> Tuple[str, str]:
    maker = training.graph.maker(root)
    behind = [training.graph[name] for name in training.graph.upstream([root])]
    behind_decoder = any(node.op in CTC_DECODERS or training.decoded_lengths(node) for node in behind)
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
    takers = [taker for view in views_of(training, root) for taker in training.graph.users(view)]
    followers = [t.op for t in takers] + [o.op for t in takers for o in training.graph.consumers(t.name)]
    scores = "scores", "class scores before the softmax; no weights follow"
    if tensor.is_float and any(_CROSS_ENTROPY.match(op) for op in followers):
        return scores
    if taken_apart:
        return "boxes", "split by the loss, as the geometry of boxes is; no weights follow"
    if _BOXES.match(tensor.name):
        return "boxes", "box deltas, by the name; no weights follow"
    if tensor.is_float and any(_OF_PROBABILITIES.match(op) for op in followers):
        return scores
    return "values", f"end of the network ({maker.op})"


def _with_boxes(training: TrainingGraph, heads: Sequence[Output]) -> List[Output]:
    """The outputs, with kind boxes for floats that are compared with labels and share weights with class scores."""
    classes = [head for head in heads if head.kind in ("scores", "probabilities")]
    found: List[Output] = []
    for head in heads:
        beside = [other for other in classes if _branches_off(training, head.ref, other.ref)]
        if head.kind == "values" and head.dtype.startswith("float") and beside and _is_learned(training, head.ref):
            channels = [_channels(training, one.ref) for one in (head, beside[0])]
            sizes = "{} channels beside {}".format(*channels) if None not in channels else "branching off beside them"
            reason = f"box deltas: {sizes} of {beside[0].key}, compared with labels; no weights follow"
            head = replace(head, key=key_of(head.ref, "boxes"), kind="boxes", reason=reason)
        found.append(replace(head, reason=head.reason + also_as(training, head.ref)))
    return found


def _branches_off(training: TrainingGraph, ref: Ref, other: Ref) -> bool:
    """Whether two outputs share weights and each also has weights of its own."""
    first, second = [training.graph.upstream([one]) & training.weighted for one in (ref, other)]
    return bool(first & second and first - second and second - first)


def _is_learned(training: TrainingGraph, ref: Ref) -> bool:
    """Whether labels, or a Python function, are combined with the tensor at most three nodes later."""
    refs = views_of(training, root_of(training, ref))
    for _ in range(3):
        takers = [taker for one in refs for taker in training.graph.users(one) if training.computes(taker)]
        if any(taker.name in training.tainted or taker in training.blocked for taker in takers):
            return True
        refs = training.graph.outputs_of(taker.name for taker in takers if taker.op in VIEWS + _ARITHMETIC)
    return False


def _channels(training: TrainingGraph, ref: Ref) -> Optional[int]:
    """The number of channels of the tensor that this is a view of; None if unknown."""
    root = first_input(training, ref, VIEWS + PROBABILITIES)
    shapes = [training.graph.tensor(view).shape for view in views_of(training, root)]
    sizes = [shape[-1] for shape in shapes if shape and shape[-1]]
    return max(sizes, default=None)


def _of_most_weights(training: TrainingGraph, heads: Sequence[Output]) -> List[Output]:
    """The outputs that depend on more than half as many weights as the one with the most; not, say, an image summary.

    Outputs of unknown kind that depend on fewer weights than another, such as a layer's last state, come last.
    """
    weights = {head.tensor: training.weights_of([head.ref]) for head in heads}
    most = max(map(len, weights.values())) if weights else 0
    likely = [head for head in heads if len(weights[head.tensor]) * 2 > most]
    partly = {
        head.tensor
        for head in likely
        if head.kind == "values" and any(weights[head.tensor] < weights[other.tensor] for other in likely)
    }
    return sorted(likely, key=lambda head: head.tensor in partly)
