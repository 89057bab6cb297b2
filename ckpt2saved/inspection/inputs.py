"""Which tensors a request would have to bring, so that a graph can compute its outputs from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Set, Tuple

from ckpt2saved.graph.dataflow import Node, Shape, Tensor
from ckpt2saved.graph.names import full_name, parsed
from ckpt2saved.graph.ops import PLACEHOLDERS, is_pipeline, is_random
from ckpt2saved.inspection.network import Network
from ckpt2saved.inspection.parts import cut_axes, is_part
from ckpt2saved.inspection.views import key_of

_NEAREST = 200  # tensors to look at for one through which all data comes


@dataclass(frozen=True)
class Input:
    """A tensor that a request brings, and the name that clients could know it by."""

    key: str
    tensor: str
    dtype: str
    shape: Shape
    kind: str  # image, lengths, other
    reason: str
    instead: Tuple[str, ...] = ()  # other tensors at which the same data could come in


def find_inputs(network: Network, outputs: Sequence[str]) -> List[Input]:
    """What the outputs need from outside: placeholders, and where an input pipeline feeds them, where to cut in."""
    found = _images(network, outputs)
    found += _lengths(network, outputs, [one.tensor for one in found])
    found += _others(network, outputs, [one.tensor for one in found])
    return _named_apart(found)


def _images(network: Network, outputs: Sequence[str]) -> List[Input]:
    """The data that the first weights meet, as near to the source as a float tensor with pixels in it is."""
    chains: Dict[str, List[List[str]]] = {}
    for entry in _entries(network, outputs):
        chain = _outside_of_loops(network, _chain(network, entry))
        chains.setdefault(chain[-1], []).append(chain)
    found: List[Input] = []
    for several in chains.values():
        common = [name for name in several[0] if all(name in chain for chain in several)]
        inputs = [_image(network, common)] if common else [_image(network, chain) for chain in several]
        found += [one for one in inputs if one.tensor not in [other.tensor for other in found]]
    return found


def _entries(network: Network, outputs: Sequence[str]) -> List[str]:
    """The data that goes into a node with weights, and into none before it."""
    data = network.reach([tensor.name for tensor in network.primary])
    sources = set(_names(network.primary))
    reached = network.flow.upstream(outputs)
    found: List[str] = []
    for name in network.flow.nodes:
        if name not in network.weighted or name not in reached:
            continue
        node = network.flow.nodes[name]
        for tensor in node.inputs:
            maker = network.flow.maker(tensor)
            if (maker.name in data or tensor in sources) and maker.name not in network.behind_weights:
                if tensor not in found and network.flow.tensor(tensor).dtype not in ("resource", "bool"):
                    found.append(tensor)
    # A functional loop takes what it goes through as a list, beside numbers such as how often it runs.
    of_data = [t for t in found if network.flow.tensor(t).rank in (None, 2, 3, 4, 5) or _is_list(network, t)]
    return of_data or found


def _is_list(network: Network, tensor: str) -> bool:
    return network.flow.tensor(tensor).dtype == "variant"


def _chain(network: Network, entry: str) -> List[str]:
    """From a tensor back towards where it comes from, by tensors of which it is made alone.

    Where random numbers come in, or a switch (it could be an augmentation), it ends, unless a placeholder lies behind a
    switch: there the switch will be pinned.
    """
    chain: List[str] = [entry]
    barrier: Optional[int] = None
    sources = _names(network.sources)
    while chain[-1] not in sources and not _is_share(network, network.flow.maker(chain[-1])):
        before, between = _before(network, chain[-1])
        if before is None or before in chain:
            break
        steered = bool(between & network.switches_makers)
        random = any(is_random(network.flow.nodes[name].op) for name in between)
        if barrier is None and (steered or random):
            barrier = len(chain)
        if random and not steered:
            return chain[:barrier]
        chain.append(before)
    return chain if network.flow.maker(chain[-1]).op in PLACEHOLDERS else chain[:barrier]


def _outside_of_loops(network: Network, chain: List[str]) -> List[str]:
    """The tensors of a chain that can be fed; where all are inside of a loop, what enters it."""
    outside = [name for name in chain if not network.flow.is_inside_loop(name)]
    if outside:
        return outside
    return [full_name(ref) for ref in network.flow.control.entering(parsed(chain[-1]))][:1] or chain


def _before(network: Network, tensor: str) -> Tuple[Optional[str], Set[str]]:
    """The nearest tensor through which all the data of this one comes, and the nodes from there to here."""
    data = network.data
    sources = _names(network.sources)
    inputs = network.flow.maker(tensor).inputs
    steps = [t for t in dict.fromkeys(inputs) if t in sources or network.flow.maker(t).name in data]
    steps = [t for t in steps if t not in _names(network.switches)]
    candidates = list(steps)
    for one in candidates:
        if len(candidates) > _NEAREST:
            break
        between = network.flow.upstream(inputs, [one])
        if not any(_is_taken(network, source, between, inputs) for source in network.primary + network.lengths):
            return one, between
        if one not in sources:
            candidates += [
                t
                for t in network.flow.maker(one).inputs
                if t not in candidates and (t in sources or network.flow.maker(t).name in data)
            ]
    return None, set()


def _is_share(network: Network, node: Node) -> bool:
    """Whether a batch is dealt out here, to several towers: what goes in is more than one of them reads.

    Parts of another dimension are views of one picture: its halves, or its channels.
    """
    return is_part(network, node) and 0 in cut_axes(network, node)


def _image(network: Network, chain: Sequence[str]) -> Input:
    """The input at one of the tensors of `chain`, which leads from the weights to the source."""
    flow = network.flow
    source = flow.tensor(chain[-1])
    maker = flow.maker(source.name)
    pixels = [name for name in chain if _is_image(flow.tensor(name))]
    # A pipeline may hang on by control inputs: the checks of a padding queue.
    free = [name for name in pixels if not _runs_pipeline(network, chain[0], name)]
    pixels = free or pixels
    if maker.op in PLACEHOLDERS:
        reason = "placeholder" if source.dtype != "string" else "placeholder; the graph decodes what is in it"
        return _input(network, source, "image", reason + _and_the_network_follows(chain), tuple(pixels[-1:]))
    tensor = flow.tensor(pixels[-1]) if pixels else flow.tensor(chain[0])
    if is_pipeline(flow.maker(tensor.name).op):
        reason = f"{maker.op}: the input pipeline ends here"
    elif tensor.name == source.name:
        reason = "what the first weights read, cut in here"
    else:
        reason = f"behind {maker.name} ({maker.op})"
        reason += ": the first float image, cut in here" if pixels else ": what the first weights read, cut in here"
    others = [name for name in chain if name != tensor.name and flow.tensor(name).rank in (None, 3, 4)]
    return _input(network, tensor, "image", reason, tuple(others[-3:]))


def _runs_pipeline(network: Network, entry: str, cut: str) -> bool:
    """Whether what makes `entry` of the tensor `cut` still runs an input pipeline."""
    reached = network.flow.upstream([entry], [cut], controls=True)
    return any(is_pipeline(network.flow.nodes[name].op) for name in reached)


def _and_the_network_follows(chain: Sequence[str]) -> str:
    return "" if len(chain) == 1 else f"; {chain[0]} is what the first weights read"


def _is_image(tensor: Tensor) -> bool:
    return tensor.is_float and tensor.rank in (None, 3, 4)


def _lengths(network: Network, outputs: Sequence[str], cut: Sequence[str]) -> List[Input]:
    """How many steps of each line count, where that comes from outside and not from the image's own size."""
    found: List[Input] = []
    reached = network.flow.upstream(outputs, cut)
    for name in sorted(reached):
        decoder = network.flow.nodes[name]
        for lengths in network.decoded_lengths(decoder):
            chain = [t for t in _length_chain(network, lengths, cut) if not network.flow.is_inside_loop(t)]
            if chain and chain[-1] not in [one.tensor for one in found]:
                reason = f"sequence lengths of {decoder.name}"
                found.append(_input(network, network.flow.tensor(chain[-1]), "lengths", reason, tuple(chain[:-1][-2:])))
    return found


def _length_chain(network: Network, lengths: str, cut: Sequence[str]) -> List[str]:
    """The tensors of sequence lengths, from the decoder back to the source; none if nothing from outside is in them."""
    sources = set(_names(network.sources)) - set(_names(network.switches))
    before = network.flow.upstream([lengths], cut)
    behind = [name for name in sources if network.flow.maker(name).name in before]
    if not behind:
        return []
    chain = [lengths]
    while chain[-1] not in sources:
        node = network.flow.maker(chain[-1])
        parents = [
            t
            for t in node.inputs
            if t in sources or network.flow.upstream([t]) & {network.flow.maker(s).name for s in sources}
        ]
        if len(set(parents)) != 1 or network.flow.tensor(parents[0]).dtype not in ("int32", "int64"):
            break
        if network.flow.tensor(parents[0]).rank not in (None, 1):
            break
        chain.append(parents[0])
    if chain[-1] not in sources and all(network.flow.maker(name).op in PLACEHOLDERS for name in behind):
        return []  # made of placeholders, which are then inputs themselves
    return chain


def _others(network: Network, outputs: Sequence[str], cut: Sequence[str]) -> List[Input]:
    """What is needed beside images and lengths."""
    reached = network.flow.upstream(outputs, cut)
    by_value = network.flow.upstream(outputs, cut, lambda node: node.op not in ("Shape", "ShapeN", "Size", "Rank"))
    found: List[Input] = []
    for tensor in network.sources:
        if tensor in network.switches + network.compared or tensor.name in cut:
            continue
        if not _is_taken(network, tensor, reached):
            continue
        maker = network.flow.maker(tensor.name)
        reason = "placeholder" if maker.op in PLACEHOLDERS else f"{maker.name} ({maker.op})"
        if not _is_taken(network, tensor, by_value):
            reason += "; only its size counts"
        found.append(_input(network, tensor, "other", reason, ()))
    return found


def _is_taken(network: Network, tensor: Tensor, reached: Set[str], wanted: Sequence[str] = ()) -> bool:
    """Whether one of the nodes `reached` takes the tensor, or it is itself wanted."""
    takers = network.flow.consumers(tensor.name)
    return network.flow.maker(tensor.name).name in reached and (
        tensor.name in wanted or not takers or any(taker.name in reached for taker in takers)
    )


def _input(network: Network, tensor: Tensor, kind: str, reason: str, instead: Tuple[str, ...]) -> Input:
    fallback = {"image": "image", "lengths": "sequence_length"}.get(kind, "input")
    maker = network.flow.maker(tensor.name)
    # A pipeline's outputs have one name for all of them, and that of the tower they are for.
    named = maker.op in PLACEHOLDERS or (kind == "other" and not is_pipeline(maker.op))
    key = key_of(tensor.name, fallback) if named else fallback
    return Input(
        key=key,
        tensor=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        kind=kind,
        reason=reason,
        instead=tuple(t for t in instead if t != tensor.name),
    )


def _named_apart(inputs: Sequence[Input]) -> List[Input]:
    """The same with keys of which no two are alike."""
    taken: Set[str] = set()
    result: List[Input] = []
    for one in inputs:
        key, number = one.key, 1
        while key in taken:
            number += 1
            key = f"{one.key}_{number}"
        taken.add(key)
        result.append(
            Input(
                key=key,
                tensor=one.tensor,
                dtype=one.dtype,
                shape=one.shape,
                kind=one.kind,
                reason=one.reason,
                instead=one.instead,
            )
        )
    return result


def _names(tensors: Sequence[Tensor]) -> List[str]:
    return [tensor.name for tensor in tensors]


def batch_of(inputs: Sequence[Input]) -> Optional[int]:
    """The batch that the first image is fixed to, if it is."""
    shapes = [one.shape for one in inputs if one.kind == "image" and one.shape]
    if not shapes or (len(shapes[0]) == 3 and shapes[0][2] in (1, 3, 4)):  # one picture, no batch
        return None
    return shapes[0][0]
