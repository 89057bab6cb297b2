"""The groups of nodes by which the time of a run is told: convolutions, recurrent layers, decoder, pictures, ..."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Mapping, Set

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.graph_def import functions_of
from ckpt2saved.graph.groups import CONVOLUTIONS, DECODER, DENSE, OTHER, PICTURES, RECURRENT, TRANSFERS
from ckpt2saved.graph.ops import (
    CTC_DECODERS,
    LOOPS,
    PLACEHOLDERS,
    VARIABLES,
    decodes_picture,
    is_activation,
    is_convolution,
    is_product,
    is_recurrent,
    is_transfer,
)
from ckpt2saved.graph.tf1 import tf

# Between the name of a function and the rest of the name of its copy for one call, as TensorFlow's optimizer makes it:
# function_optimizer.cc in tensorflow/core/grappler/optimizers.
_SPECIALIZED = "_specialized_for_"


def joined(partitions: Iterable[Any], functions: Iterable[Any] = ()) -> Graph:
    """One graph of those that a session runs on its devices; a node that receives a tensor takes it from its sender.

    The partitions have no library: `functions` are the FunctionDefs of the graph before TensorFlow's optimizer.
    """
    definition = tf.GraphDef()
    for partition in partitions:
        definition.node.extend(partition.node)
    known = {function.signature.name: function for function in functions}
    for name in sorted({name for node in definition.node for name in functions_of(node)}):
        if name.split(_SPECIALIZED)[0] in known:
            function = definition.library.function.add()
            function.CopyFrom(known[name.split(_SPECIALIZED)[0]])
            function.signature.name = name
    called = {function.signature.name for function in definition.library.function}
    definition.library.function.extend(function for name, function in known.items() if name not in called)
    graph = Graph(definition, is_copied=False)
    senders = {_tensor_name(node): node.name for node in graph.nodes.values() if node.op.endswith("Send")}
    for node in graph.nodes.values():
        if node.op.endswith("Recv") and _tensor_name(node) in senders:
            node.inputs = [(senders[_tensor_name(node)], 0)]
    graph.changed()
    return graph


def _tensor_name(node: Node) -> bytes:
    return bytes(node.attr["tensor_name"].s)


def node_groups(graph: Graph) -> Mapping[str, str]:
    """The group of each node.

    - Recurrent layers: loops with a product of matrices in them, the product before them (which is that for all
      steps), and what leads from the layer before to the loop, and from the loop to the layer after it.
    - Convolutions and dense layers: convolutions, and other products of matrices, with the biases, batch norms,
      activations and pooling behind them.
    - Decoder: all that comes after the last of these layers.
    - Pictures: all that decodes and resizes pictures before the first layer.
    """
    return _Grouping(graph).groups


class _Grouping:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        ops = {name: self._ops(node) for name, node in graph.nodes.items()}
        in_loops = graph.control.in_loops
        with_products = {
            loop
            for name, loops in in_loops.items()
            for loop in loops
            if any(is_product(op) or is_convolution(op) or is_recurrent(op) for op in ops[name])
        }
        self._loops = {name for name, loops in in_loops.items() if not with_products.isdisjoint(loops)}
        self._loops |= {
            name
            for name, node in graph.nodes.items()
            if any(map(is_recurrent, ops[name]))
            or (not ops[name].isdisjoint((*LOOPS, "LoopCond")) and any(map(is_product, ops[name])))
        }
        of_loops = self._loops
        convolutions = {name for name, known in ops.items() if any(map(is_convolution, known))} - of_loops
        products = {name for name, known in ops.items() if any(map(is_product, known))} - of_loops - convolutions
        self._layers = of_loops | convolutions | products
        self._above = graph.upstream([(name, 0) for name in self._layers]) - self._layers  # lead to a layer
        self._below = graph.behind(self._layers) - self._layers  # come after a layer
        self.groups: Dict[str, str] = dict.fromkeys(graph.nodes, OTHER)
        of_steps = self._leading_to_loops(lambda node: node.name not in self._layers) & products
        decodes = {name for name, known in ops.items() if any(map(decodes_picture, known))}
        decoders = {name for name, known in ops.items() if not known.isdisjoint(CTC_DECODERS)}
        # The first group that has a node takes it.
        for group, names in (
            (TRANSFERS, {name for name, node in graph.nodes.items() if is_transfer(node.op)}),
            (DECODER, decoders),
            (PICTURES, self._around(self._with_loops(decodes)) - self._layers - self._below),
            (CONVOLUTIONS, self._with_activations(convolutions)),
            (DENSE, self._with_activations(products - of_steps)),
        ):
            self._take(group, names)
        self._take(RECURRENT, of_loops | of_steps)
        self._take(RECURRENT, self._leading_to_loops(lambda node: True) | self._following_loops())
        if self._layers:
            self._take(DECODER, self.groups.keys() - self._above - self._layers)

    def _take(self, group: str, names: Set[str]) -> None:
        for name in names:
            if self.groups[name] == OTHER:
                self.groups[name] = group

    def _ops(self, node: Node) -> Set[str]:
        """The op of a node, and those of the functions that it calls."""
        functions = self._graph.functions
        called = self._graph.called(node) if functions else ()
        return {node.op, *(inner.op for name in called for inner in functions[name].node_def)}

    def _with_loops(self, names: Set[str]) -> Set[str]:
        """Nodes, and all that is in the loops that they are in."""
        in_loops = self._graph.control.in_loops
        loops = {loop for name in names for loop in in_loops.get(name, ())}
        return names | {name for name, known in in_loops.items() if not loops.isdisjoint(known)}

    def _around(self, names: Set[str]) -> Set[str]:
        """Nodes, those that they depend on, and those that depend on them."""
        return names | self._graph.upstream([(name, 0) for name in names]) | self._graph.behind(names)

    def _with_activations(self, layers: Set[str]) -> Set[str]:
        """Layers, and the activations that follow them directly."""
        return layers | self._graph.behind(layers, lambda node: is_activation(node.op) and node.name not in self._loops)

    def _leading_to_loops(self, goes_on: Callable[[Node], bool]) -> Set[str]:
        """The nodes that lead to a loop, up to those of a group, and not beyond those where it does not go on."""
        found: Set[str] = set()
        waiting = [source for name in self._loops for source in self._graph[name].sources]
        while waiting:
            name = waiting.pop()
            node = self._graph[name]
            if node.op in VARIABLES + PLACEHOLDERS or self.groups[name] not in (OTHER, RECURRENT):
                continue
            if name in found or name in self._loops:
                continue
            found.add(name)
            waiting += node.sources if goes_on(node) else []
        return found

    def _following_loops(self) -> Set[str]:
        """The nodes from a loop to the layer after it."""

        def enter(node: Node) -> bool:
            return node.name in self._above and self.groups[node.name] == OTHER

        return self._graph.behind(self._loops, enter)
