"""Loops and conditions of TensorFlow 1 graphs: which tensors are inside, which enter and which leave."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.graph.ops import ENTERS, EXITS, IDENTITIES, ITERATIONS, MERGES, SIZES, SWITCHES, is_outside
from ckpt2saved.graph.traversal import in_order, reversed_edges, walk

Branch = Tuple[Ref, int]  # a predicate, and the side on which it is true (1) or false (0)

# Ops that read a TensorArray that leaves a loop, and ops that fill one that enters it.
_READS = ("TensorArrayGatherV3", "TensorArrayReadV3", "TensorArrayConcatV3")
_WRITES = ("TensorArrayScatterV3", "TensorArrayWriteV3", "TensorArraySplitV3")
_MOST = 3  # tensors that a message suggests


class ControlFlow:
    """In which loops and on which branches the tensors of a graph have their values.

    `nodes` have a `name`, an `op`, `inputs`, `controls`, and the `frame` that an Enter leads into.
    """

    def __init__(self, nodes: Iterable[Any]) -> None:
        self._nodes: Dict[str, Any] = {node.name: node for node in nodes}
        self._loops: Dict[str, Tuple[str, ...]] = {}
        self._branches: Dict[str, FrozenSet[Branch]] = {}
        self._followers: Optional[Dict[str, List[str]]] = None
        if any(node.op in ENTERS + SWITCHES for node in self._nodes.values()):
            self._walk()

    def loops(self, node: str) -> Tuple[str, ...]:
        """The loops that the outputs of a node are in, from the outermost; () outside of all."""
        return self._loops.get(node, ())

    @property
    def in_loops(self) -> Mapping[str, Tuple[str, ...]]:
        """The loops of each node whose outputs are in one."""
        return self._loops

    def branches(self, ref: Ref) -> FrozenSet[Branch]:
        """The branches of conditions on which a tensor has a value; elsewhere it has none."""
        found = self._branches.get(ref[0], frozenset())
        step = self._nodes.get(ref[0])
        if step is not None and step.op in SWITCHES and not self._is_of_loop(step):
            return found | {(self._root(step.inputs[1]), ref[1])}
        return found

    def output_problem(self, ref: Ref) -> str:
        """Why a tensor cannot be fetched, and which to use instead; "" where it can be."""
        return self._problem(ref, "fetched", "use an output of the loop", self._leaving)

    def input_problem(self, ref: Ref) -> str:
        """Why a tensor cannot be fed, and which to use instead; "" where it can be."""
        return self._problem(ref, "fed", "use an input of the loop", self._names_entering)

    def _problem(self, ref: Ref, what: str, advice: str, found: Any) -> str:
        loops = self.loops(ref[0])
        if not loops:
            return ""
        others = found(ref)
        return "it is inside the while loop {!r}, where nothing can be {}{}".format(
            loops[0], what, "; {}: {}".format(advice, " or ".join(others)) if others else ""
        )

    def _walk(self) -> None:
        """Visit each node after its sources; the NextIteration of a Merge does not count."""
        first = {name: self._first(node) for name, node in self._nodes.items()}
        sources = {name: [ref[0] for ref in refs] + self._nodes[name].controls for name, refs in first.items()}
        marked: Set[str] = set()  # the nodes in loops or on branches, and switches
        for name in in_order(sources):
            node = self._nodes[name]
            if node.op in ENTERS or not marked.isdisjoint(sources[name]):
                self._visit(node, first[name])
                if name in self._loops or name in self._branches:
                    marked.add(name)
            if node.op in SWITCHES:
                marked.add(name)

    def _first(self, node: Any) -> Sequence[Ref]:
        """The tensors that a node takes in the first iteration of a loop."""
        if node.op not in MERGES:
            return node.inputs  # type: ignore[no-any-return]
        return [ref for ref in node.inputs if ref[0] not in self._nodes or self._op(ref) not in ITERATIONS]

    def _visit(self, node: Any, first: Sequence[Ref]) -> None:
        loops = max((self.loops(name) for name in [r[0] for r in first] + node.controls), key=len, default=())
        if node.op in ENTERS:
            loops += (node.frame,)
        elif node.op in EXITS:
            loops = loops[:-1]
        if loops:
            self._loops[node.name] = loops
        of_inputs = [self.branches(ref) for ref in first]
        if node.op in MERGES and of_inputs:  # it has a value on either side
            of_inputs = [frozenset.intersection(*of_inputs)]
        branches = frozenset().union(*of_inputs, *(self.branches((name, -1)) for name in node.controls))
        if branches:
            self._branches[node.name] = branches

    def _op(self, ref: Ref) -> str:
        return self._nodes[ref[0]].op  # type: ignore[no-any-return]

    def _is_of_loop(self, switch: Any) -> bool:
        root = self._root(switch.inputs[1])
        return root[0] in self._nodes and self._op(root) == "LoopCond"

    def _root(self, ref: Ref) -> Ref:
        for _ in range(20):
            step = self._nodes.get(ref[0])
            if step is None or step.op not in ENTERS + IDENTITIES or not step.inputs:
                break
            ref = step.inputs[0]
        return ref

    def _leaving(self, ref: Ref) -> List[str]:
        """The nearest tensors outside of all loops that depend on a tensor inside, and the Exits that they read."""
        takers = self._takers()
        found: List[str] = []

        def following(name: str) -> List[str]:
            return [] if self._leaves(name) else takers.get(name, [])

        for name in walk([ref[0]], following):
            if self._leaves(name) and name != ref[0]:
                reads = [taker for taker in takers.get(name, ()) if self._nodes[taker].op in _READS]
                found += [f"{taker}:0 (it reads {name}:0)" for taker in reads] or [full_name((name, 0))]
                if len(found) >= _MOST:
                    break
        return found[:_MOST]

    def _leaves(self, name: str) -> bool:
        return self._nodes[name].op in EXITS and not self.loops(name)

    def _takers(self) -> Dict[str, List[str]]:
        if self._followers is None:
            self._followers = reversed_edges({name: [r[0] for r in n.inputs] for name, n in self._nodes.items()})
        return self._followers

    def _names_entering(self, ref: Ref) -> List[str]:
        return [full_name(other) for other in self.entering(ref)]

    def entering(self, ref: Ref) -> List[Ref]:
        """The nearest tensors outside of all loops that a tensor inside depends on, without constants."""
        found: List[Ref] = []
        for name in walk([ref[0]], self._sources_in_loops):
            for source in self._nodes[name].inputs if name in self._nodes else ():
                if self.loops(source[0]):
                    continue
                writer = self._nodes.get(source[0])
                if writer is not None and writer.op in _WRITES:
                    source = writer.inputs[2 if writer.op != "TensorArraySplitV3" else 1]
                if source not in found and source[0] in self._nodes and self._is_data(source):
                    found.append(source)
            if len(found) >= _MOST:
                break
        return found[:_MOST]

    def _sources_in_loops(self, name: str) -> List[str]:
        return [one for one, _ in self._nodes[name].inputs if self.loops(one)] if name in self._nodes else []

    def _is_data(self, ref: Ref) -> bool:
        """Whether it comes from a placeholder or a pipeline, not from constants, variables and sizes alone."""

        def following(name: str) -> List[str]:
            node = self._nodes.get(name)
            return [] if node is None or node.op in SIZES else [source for source, _ in node.inputs]

        nodes = (self._nodes[name] for name in walk([ref[0]], following) if name in self._nodes)
        return any(not node.inputs and is_outside(node.op) for node in nodes)
