"""Find the inputs of a graph: the tensors to feed so that its outputs depend on nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, List, Optional, Sequence, Set, Tuple

from ckpt2saved.graph.graph import Node, Shape, Tensor
from ckpt2saved.graph.names import Ref, full_name, parsed
from ckpt2saved.graph.ops import PLACEHOLDERS, SIZES, is_pipeline, is_random
from ckpt2saved.graph.traversal import chain, nearest
from ckpt2saved.inspection.parts import cut_axes, is_part
from ckpt2saved.inspection.training_graph import TrainingGraph
from ckpt2saved.inspection.views import key_of

_NEAREST = 200  # the most tensors to search for one that all data passes through


@dataclass(frozen=True)
class Input:
    """A tensor that requests feed, and its proposed key."""

    key: str
    tensor: str
    dtype: str
    shape: Shape
    kind: str  # image, lengths, other
    reason: str
    instead: Tuple[str, ...] = ()  # other tensors that could be fed instead

    @property
    def ref(self) -> Ref:
        """The tensor as the graph knows it."""
        return parsed(self.tensor)


def find_inputs(training: TrainingGraph, outputs: Sequence[Ref]) -> List[Input]:
    """The inputs that the outputs need: placeholders, or tensors behind an input pipeline."""
    found = _images(training, outputs)
    found += _lengths(training, outputs, [one.ref for one in found])
    found += _others(training, outputs, [one.ref for one in found])
    return _named_apart(found)


def _images(training: TrainingGraph, outputs: Sequence[Ref]) -> List[Input]:
    """The data that the first weights read, or the float image nearest to the source that leads there."""
    chains: Dict[Ref, List[List[Ref]]] = {}
    for entry in _entries(training, outputs):
        chain = _outside_of_loops(training, _chain(training, entry))
        chains.setdefault(chain[-1], []).append(chain)
    found: List[Input] = []
    for several in chains.values():
        common = [ref for ref in several[0] if all(ref in chain for chain in several)]
        inputs = [_image(training, common)] if common else [_image(training, chain) for chain in several]
        found += [one for one in inputs if one.tensor not in [other.tensor for other in found]]
    return found


def _entries(training: TrainingGraph, outputs: Sequence[Ref]) -> List[Ref]:
    """The tensors with data that the first nodes with weights read."""
    graph = training.graph
    sources = _refs(training.primary)
    data = training.reach(sources)
    reached = graph.upstream(outputs)
    found: List[Ref] = []
    for name in graph.nodes:
        if name not in training.weighted or name not in reached:
            continue
        for ref in graph[name].inputs:
            if (ref[0] in data or ref in sources) and ref[0] not in training.behind_weights:
                if ref not in found and graph.tensor(ref).dtype not in ("resource", "bool"):
                    found.append(ref)
    # A functional loop takes its data as a tensor list, and scalars such as its number of iterations.
    of_data = [ref for ref in found if _is_data(graph.tensor(ref))]
    return of_data or found


def _is_data(tensor: Tensor) -> bool:
    return tensor.rank in (None, 2, 3, 4, 5) or tensor.dtype == "variant"


def _chain(training: TrainingGraph, entry: Ref) -> List[Ref]:
    """The tensors from `entry` back to its source, each of which alone determines the one before.

    The chain ends at random numbers and at training switches (possible augmentation), unless a placeholder lies behind
    a switch: then the switch will be pinned.
    """
    chain: List[Ref] = [entry]
    barrier: Optional[int] = None
    sources = _refs(training.sources)
    while chain[-1] not in sources and not _is_share(training, training.graph.maker(chain[-1])):
        before, between = _before(training, chain[-1])
        if before is None or before in chain:
            break
        steered = bool(between & training.switches_makers)
        random = any(is_random(training.graph[name].op) for name in between)
        if barrier is None and (steered or random):
            barrier = len(chain)
        if random and not steered:
            return chain[:barrier]
        chain.append(before)
    return chain if training.graph.maker(chain[-1]).op in PLACEHOLDERS else chain[:barrier]


def _outside_of_loops(training: TrainingGraph, chain: List[Ref]) -> List[Ref]:
    """The tensors of a chain that can be fed; if all are inside a loop, the tensor that enters it."""
    outside = [ref for ref in chain if not training.is_in_loop(ref)]
    return outside or training.control.entering(chain[-1])[:1] or chain


def _before(training: TrainingGraph, ref: Ref) -> Tuple[Optional[Ref], Set[str]]:
    """The nearest tensor that all data of `ref` passes through, and the nodes between the two."""
    sources, switches = set(_refs(training.sources)), _refs(training.switches)
    inputs = training.graph.maker(ref).inputs

    def data(one: Ref) -> List[Ref]:
        refs = training.graph.maker(one).inputs
        return [source for source in refs if source in sources or source[0] in training.data]

    steps = [source for source in data(ref) if source not in switches]
    for one in nearest(steps, lambda one: [] if one in sources else data(one), _NEAREST):
        between = training.graph.upstream(inputs, [one])
        if not any(_is_taken(training, source, between, inputs) for source in training.primary + training.lengths):
            return one, between
    return None, set()


def _is_share(training: TrainingGraph, node: Node) -> bool:
    """Whether a batch is split here for several towers, so that one tower reads only a part of it.

    Parts along another dimension are views of one picture: its halves, or its channels.
    """
    return is_part(training, node) and 0 in cut_axes(training, node)


def _image(training: TrainingGraph, chain: Sequence[Ref]) -> Input:
    """The input for one tensor of `chain`, which leads from the weights back to the source."""
    graph = training.graph
    source = graph.tensor(chain[-1])
    maker = graph.maker(source.ref)
    pixels = [ref for ref in chain if _is_image(graph.tensor(ref))]
    # Control inputs may still run the pipeline, as the checks of a padding queue do.
    free = [ref for ref in pixels if not _runs_pipeline(training, chain[0], ref)]
    pixels = free or pixels
    if maker.op in PLACEHOLDERS:
        reason = "placeholder" if source.dtype != "string" else "placeholder; the graph decodes it"
        return _input(training, source, "image", reason + _and_the_network_follows(chain), pixels[-1:])
    tensor = graph.tensor(pixels[-1]) if pixels else graph.tensor(chain[0])
    if is_pipeline(graph.maker(tensor.ref).op):
        reason = f"{maker.op}: the end of the input pipeline"
    elif tensor == source:
        reason = "input of the first weights"
    else:
        reason = f"behind {maker.name} ({maker.op})"
        reason += ": the first float image" if pixels else ": input of the first weights"
    others = [ref for ref in chain if ref != tensor.ref and graph.tensor(ref).rank in (None, 3, 4)]
    return _input(training, tensor, "image", reason, others[-3:])


def _runs_pipeline(training: TrainingGraph, entry: Ref, cut: Ref) -> bool:
    """Whether computing `entry` from the tensor `cut` still runs an input pipeline."""
    reached = training.graph.upstream([entry], [cut], controls=True)
    return any(is_pipeline(training.graph[name].op) for name in reached)


def _and_the_network_follows(chain: Sequence[Ref]) -> str:
    return "" if len(chain) == 1 else f"; {full_name(chain[0])} is the input of the first weights"


def _is_image(tensor: Tensor) -> bool:
    return tensor.is_float and tensor.rank in (None, 3, 4)


def _lengths(training: TrainingGraph, outputs: Sequence[Ref], cut: Sequence[Ref]) -> List[Input]:
    """The sequence lengths of decoders that are fed, not computed from the size of the image."""
    found: List[Input] = []
    reached = training.graph.upstream(outputs, cut)
    for name in sorted(reached):
        decoder = training.graph[name]
        for lengths in training.decoded_lengths(decoder):
            chain = [ref for ref in _length_chain(training, lengths, cut) if not training.is_in_loop(ref)]
            if chain and chain[-1] not in [one.ref for one in found]:
                reason = f"sequence lengths of {decoder.name}"
                found.append(_input(training, training.graph.tensor(chain[-1]), "lengths", reason, chain[:-1][-2:]))
    return found


def _length_chain(training: TrainingGraph, lengths: Ref, cut: Sequence[Ref]) -> List[Ref]:
    """The tensors of sequence lengths, from the decoder back to the source; empty if they depend on no source."""
    graph = training.graph
    sources = set(_refs(training.sources)) - set(_refs(training.switches))
    before = graph.upstream([lengths], cut)
    makers = {ref[0] for ref in sources if ref[0] in before}
    if not makers:
        return []
    from_outside = {ref[0] for ref in sources}
    from_outside |= graph.behind(from_outside)

    def parent(ref: Ref) -> List[Ref]:
        if ref in sources:
            return []
        parents = {one for one in graph.maker(ref).inputs if one in sources or one[0] in from_outside}
        tensors = [graph.tensor(one) for one in parents]
        is_chain = len(parents) == 1 and tensors[0].dtype in ("int32", "int64") and tensors[0].rank in (None, 1)
        return list(parents) if is_chain else []

    found = list(chain(lengths, parent))
    if found[-1] not in sources and all(graph[name].op in PLACEHOLDERS for name in makers):
        return []  # computed from placeholders, which become inputs themselves
    return found


def _others(training: TrainingGraph, outputs: Sequence[Ref], cut: Sequence[Ref]) -> List[Input]:
    """The inputs other than images and lengths."""
    reached = training.graph.upstream(outputs, cut)
    by_value = training.graph.upstream(outputs, cut, enter=lambda node: node.op not in SIZES)
    found: List[Input] = []
    for tensor in training.sources:
        if tensor in training.switches + training.compared or tensor.ref in cut:
            continue
        if not _is_taken(training, tensor, reached):
            continue
        maker = training.graph.maker(tensor.ref)
        reason = "placeholder" if maker.op in PLACEHOLDERS else f"{maker.name} ({maker.op})"
        if not _is_taken(training, tensor, by_value):
            reason += "; only its shape is used"
        found.append(_input(training, tensor, "other", reason))
    return found


def _is_taken(training: TrainingGraph, tensor: Tensor, reached: Set[str], outputs: Sequence[Ref] = ()) -> bool:
    """Whether one of the nodes `reached` consumes the tensor, or it is an output."""
    takers = training.graph.users(tensor.ref)
    return tensor.ref[0] in reached and (
        tensor.ref in outputs or not takers or any(taker.name in reached for taker in takers)
    )


def _input(training: TrainingGraph, tensor: Tensor, kind: str, reason: str, instead: Sequence[Ref] = ()) -> Input:
    fallback = {"image": "image", "lengths": "sequence_length"}.get(kind, "input")
    maker = training.graph.maker(tensor.ref)
    # The outputs of a pipeline share one name, which may be that of a tower.
    named = maker.op in PLACEHOLDERS or (kind == "other" and not is_pipeline(maker.op))
    return Input(
        key=key_of(tensor.ref, fallback) if named else fallback,
        tensor=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        kind=kind,
        reason=reason,
        instead=tuple(full_name(ref) for ref in instead if ref != tensor.ref),
    )


def _named_apart(inputs: Sequence[Input]) -> List[Input]:
    """The inputs with unique keys."""
    taken: Set[str] = set()
    result: List[Input] = []
    for one in inputs:
        key, number = one.key, 1
        while key in taken:
            number += 1
            key = f"{one.key}_{number}"
        taken.add(key)
        result.append(replace(one, key=key))
    return result


def _refs(tensors: Sequence[Tensor]) -> List[Ref]:
    return [tensor.ref for tensor in tensors]


def batch_of(inputs: Sequence[Input]) -> Optional[int]:
    """The batch size that the shape of the first image fixes; None if it is open."""
    shapes = [one.shape for one in inputs if one.kind == "image" and one.shape]
    if not shapes or (len(shapes[0]) == 3 and shapes[0][2] in (1, 3, 4)):  # one picture, no batch
        return None
    return shapes[0][0]
