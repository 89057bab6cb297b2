"""Loops and conditions of TensorFlow 1 graphs: which tensors are inside of one, what enters and what leaves it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Sequence, Set, Tuple

from ckpt2saved.graph.names import Ref, full_name, parsed
from ckpt2saved.graph.ops import ENTERS, EXITS, IDENTITIES, ITERATIONS, MERGES, SIZES, SWITCHES, is_outside

Branch = Tuple[Ref, int]  # a predicate, and the side on which it is true (1) or false (0)

# What is read from a TensorArray that leaves a loop, and what is written into one that enters it.
_READS = ("TensorArrayGatherV3", "TensorArrayReadV3", "TensorArrayConcatV3")
_WRITES = ("TensorArrayScatterV3", "TensorArrayWriteV3", "TensorArraySplitV3")
_MOST = 3  # tensors that are named as the way out


@dataclass(frozen=True)
class Step:
    """A node, as far as control flow is concerned."""

    name: str
    op: str
    inputs: Sequence[Ref]
    controls: Sequence[str]
    frame: str = ""  # of an Enter: the loop that it leads into


def steps_of(graph_def: Any) -> List[Step]:
    """The nodes of a GraphDef."""
    return [
        Step(
            name=node.name,
            op=node.op,
            inputs=[parsed(name) for name in node.input if not name.startswith("^")],
            controls=[name[1:] for name in node.input if name.startswith("^")],
            frame=frame_of(node),
        )
        for node in graph_def.node
    ]


def frame_of(node: Any) -> str:
    """The loop that an Enter leads into; "" of any other node."""
    return node.attr["frame_name"].s.decode("utf-8", "replace") if node.op in ENTERS else ""


class ControlFlow:
    """In which loops and on which branches the tensors of a graph have their values."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = {step.name: step for step in steps}
        self._loops: Dict[str, Tuple[str, ...]] = {}
        self._branches: Dict[str, FrozenSet[Branch]] = {}
        self._followers: Any = None
        if any(step.op in ENTERS + SWITCHES for step in self._steps.values()):
            self._walk()

    def loops(self, node: str) -> Tuple[str, ...]:
        """The loops that the outputs of a node are in, from the outermost; () outside of all."""
        return self._loops.get(node, ())

    @property
    def in_loops(self) -> Mapping[str, Tuple[str, ...]]:
        """The loops of each node whose outputs are in one."""
        return self._loops

    def branches(self, ref: Ref) -> FrozenSet[Branch]:
        """The branches of conditions on which a tensor has a value, and elsewhere none."""
        found = self._branches.get(ref[0], frozenset())
        step = self._steps.get(ref[0])
        if step is not None and step.op in SWITCHES and not self._is_of_loop(step):
            return found | {(self._root(step.inputs[1]), ref[1])}
        return found

    def output_problem(self, ref: Ref) -> str:
        """Why a tensor cannot be fetched, and which to take; "" where it can be."""
        return self._problem(ref, "fetched", "take what leaves the loop", self._leaving)

    def input_problem(self, ref: Ref) -> str:
        """Why a tensor cannot be fed, and which to take; "" where it can be."""
        return self._problem(ref, "fed", "take what enters the loop", self._names_entering)

    def _problem(self, ref: Ref, what: str, advice: str, found: Any) -> str:
        loops = self.loops(ref[0])
        if not loops:
            return ""
        others = found(ref)
        return "it is inside the while loop {!r}, where nothing can be {}{}".format(
            loops[0], what, "; {}: {}".format(advice, " or ".join(others)) if others else ""
        )

    def _walk(self) -> None:
        """Visit each node after all that it takes, but for what an earlier iteration left."""
        waiting: Dict[str, int] = {}
        followers: Dict[str, List[str]] = {}
        for name, step in self._steps.items():
            sources = self._sources(step)
            waiting[name] = len(sources)
            for source in sources:
                followers.setdefault(source, []).append(name)
        ahead = deque(name for name, count in waiting.items() if not count)
        while ahead:
            name = ahead.popleft()
            self._visit(self._steps[name])
            for follower in followers.get(name, ()):
                waiting[follower] -= 1
                if not waiting[follower]:
                    ahead.append(follower)

    def _sources(self, step: Step) -> Set[str]:
        names = {name for name, _ in self._first(step)} | set(step.controls)
        return {name for name in names if name in self._steps}

    def _first(self, step: Step) -> List[Ref]:
        """The tensors that a node takes in the first round of a loop."""
        if step.op not in MERGES:
            return list(step.inputs)
        return [ref for ref in step.inputs if ref[0] not in self._steps or self._op(ref) not in ITERATIONS]

    def _visit(self, step: Step) -> None:
        first = self._first(step)
        loops = max((self.loops(name) for name in [r[0] for r in first] + list(step.controls)), key=len, default=())
        if step.op in ENTERS:
            loops += (step.frame,)
        elif step.op in EXITS:
            loops = loops[:-1]
        if loops:
            self._loops[step.name] = loops
        of_inputs = [self.branches(ref) for ref in first]
        if step.op in MERGES and of_inputs:  # it has a value on either side
            of_inputs = [frozenset.intersection(*of_inputs)]
        branches = frozenset().union(*(of_inputs + [self.branches((name, -1)) for name in step.controls]))
        if branches:
            self._branches[step.name] = branches

    def _op(self, ref: Ref) -> str:
        return self._steps[ref[0]].op

    def _is_of_loop(self, switch: Step) -> bool:
        root = self._root(switch.inputs[1])
        return root[0] in self._steps and self._op(root) == "LoopCond"

    def _root(self, ref: Ref) -> Ref:
        for _ in range(20):
            step = self._steps.get(ref[0])
            if step is None or step.op not in ENTERS + IDENTITIES or not step.inputs:
                break
            ref = step.inputs[0]
        return ref

    def _leaving(self, ref: Ref) -> List[str]:
        """The nearest tensors outside of all loops that depend on a tensor inside, and the Exits that they read."""
        if self._followers is None:
            self._followers = {}
            for step in self._steps.values():
                for source, _ in step.inputs:
                    self._followers.setdefault(source, []).append(step)
        found: List[str] = []
        ahead, seen = deque([ref[0]]), {ref[0]}
        while ahead and len(found) < _MOST:
            for step in self._followers.get(ahead.popleft(), ()):
                if step.name in seen:
                    continue
                seen.add(step.name)
                if step.op not in EXITS or self.loops(step.name):
                    ahead.append(step.name)
                    continue
                reads = [taker for taker in self._followers.get(step.name, ()) if taker.op in _READS]
                found += [f"{taker.name}:0 (it reads {step.name}:0)" for taker in reads]
                found += [] if reads else [full_name((step.name, 0))]
        return found[:_MOST]

    def _names_entering(self, ref: Ref) -> List[str]:
        return [full_name(other) for other in self.entering(ref)]

    def entering(self, ref: Ref) -> List[Ref]:
        """The nearest tensors outside of all loops that a tensor inside depends on, without constants."""
        found: List[Ref] = []
        ahead, seen = deque([ref[0]]), {ref[0]}
        while ahead and len(found) < _MOST:
            step = self._steps.get(ahead.popleft())
            for source in step.inputs if step is not None else ():
                if self.loops(source[0]):
                    if source[0] not in seen:
                        seen.add(source[0])
                        ahead.append(source[0])
                    continue
                writer = self._steps.get(source[0])
                if writer is not None and writer.op in _WRITES:
                    source = writer.inputs[2 if writer.op != "TensorArraySplitV3" else 1]
                if source not in found and source[0] in self._steps and self._is_data(source):
                    found.append(source)
        return found[:_MOST]

    def _is_data(self, ref: Ref) -> bool:
        """Whether it comes from a placeholder or a pipeline, not from constants, variables and sizes alone."""
        ahead: List[str] = [ref[0]]
        seen: Set[str] = set()
        while ahead:
            step = self._steps.get(ahead.pop())
            if step is None or step.name in seen or step.op in SIZES:
                continue
            seen.add(step.name)
            if not step.inputs and is_outside(step.op):
                return True
            ahead += [name for name, _ in step.inputs]
        return False
