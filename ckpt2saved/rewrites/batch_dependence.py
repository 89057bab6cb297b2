"""Whether a graph that is said to be of inference takes statistics of the batch all the same."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List

from ckpt2saved.graph.edited_graph import Network, fed_by_data, may_be_scalar, noisy, parsed
from ckpt2saved.graph.folding import Folding
from ckpt2saved.rewrites.inline_functions import lay_out
from ckpt2saved.rewrites.statistics import find_statistics, unrecognised


def find_batch_dependence(graph_def: Any, outputs: Iterable[str], inputs: Iterable[str]) -> List[str]:
    """A line for each node by which values are normalised over the batch, on the way from `inputs` to `outputs`.

    Both are names of tensors; `graph_def` stays as it is. FusedBatchNorm says itself in which mode it is, and is not
    told of here.
    """
    network = Network(graph_def)
    ends = [parsed(name) for name in outputs]
    known = {parsed(name) for name in inputs}
    lay_out(network, ends, known)
    within = network.on_the_way(ends, known)
    Folding(network, within, _defaults(network, within, known), noisy(network)).apply(within)
    within = network.on_the_way(ends, known)
    data = fed_by_data(network, known)
    found: Dict[str, None] = {}
    for statistics in find_statistics(network, within, data):
        if not statistics.fused:
            found[statistics.name] = None
    found.update(dict.fromkeys(unrecognised(network, within, data)))
    return [
        f"{name} ({network[name].op}): a statistic of the batch that values are scaled or shifted back by"
        for name in network.nodes
        if name in found
    ]


def _defaults(network: Network, within: Iterable[str], inputs: Any) -> Dict[str, Any]:
    """The values of switches that no request feeds: Keras's learning phase is one."""
    values = {}
    for name in within:
        node = network[name]
        if node.op == "PlaceholderWithDefault" and (name, 0) not in inputs and may_be_scalar(node):
            value = network.constant(node.inputs[0])
            if value is not None and value.ndim == 0:  # its shape may be left open
                values[name] = value.item()
    return values
