"""Searches of any graph, given a function that returns the nodes that follow a node; without TensorFlow.

They serve for TensorFlow graphs, for the functions that nodes call and for the objects of a checkpoint. Each search
visits a node once, and so takes linear time.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Callable, Dict, Hashable, Iterable, Iterator, List, Mapping, Optional, Set, Tuple, TypeVar

N = TypeVar("N", bound=Hashable)
Following = Callable[[N], Iterable[N]]


def reach(starts: Iterable[N], following: Following[N]) -> Set[N]:
    """The starts, and all nodes that can be reached from them."""
    reached = set(starts)
    ahead = list(reached)
    while ahead:
        for node in following(ahead.pop()):
            if node not in reached:
                reached.add(node)
                ahead.append(node)
    return reached


def behind(starts: Iterable[N], following: Following[N]) -> Set[N]:
    """The nodes that can be reached from the starts; a start only where it can be reached from one of them."""
    return reach((node for start in starts for node in following(start)), following)


def walk(starts: Iterable[N], following: Following[N]) -> Iterator[N]:
    """The nodes of `reach` in breadth-first order; `following` is called as late as possible."""
    seen: Set[N] = set()
    ahead = deque(node for node in starts if node not in seen and not seen.add(node))  # type: ignore[func-returns-value]
    while ahead:
        node = ahead.popleft()
        yield node
        for other in following(node):
            if other not in seen:
                seen.add(other)
                ahead.append(other)


def nearest(starts: Iterable[N], following: Following[N], most: int) -> Iterator[N]:
    """The first `most` nodes of a walk."""
    return islice(walk(starts, following), most)


def within(starts: Iterable[N], following: Following[N], steps: int) -> Iterator[N]:
    """The nodes of a walk that are at most `steps` steps away from a start."""
    distances: Dict[N, int] = dict.fromkeys(starts, 0)
    ahead = deque(distances)
    while ahead:
        node = ahead.popleft()
        yield node
        if distances[node] < steps:
            for other in following(node):
                if other not in distances:
                    distances[other] = distances[node] + 1
                    ahead.append(other)


def chain(start: N, following: Callable[[N], Iterable[N]]) -> Iterator[N]:
    """A start, the first node that follows it, the first that follows that one, and so on until a node repeats."""
    seen: Set[N] = set()
    ahead = [start]
    while ahead and ahead[0] not in seen:
        seen.add(ahead[0])
        yield ahead[0]
        ahead = list(islice(following(ahead[0]), 1))


def last(start: N, following: Callable[[N], Iterable[N]]) -> N:
    """The last node of a chain."""
    *_, found = chain(start, following)
    return found


def paths(start: N, children: Callable[[N], Mapping[str, N]], depth: Optional[int] = None) -> Dict[N, Tuple[str, ...]]:
    """The shortest path to each node that can be reached, as the names of the edges.

    No path has more than `depth` names.
    """
    found: Dict[N, Tuple[str, ...]] = {start: ()}
    ahead = deque([start])
    while ahead:
        node = ahead.popleft()
        if depth is None or len(found[node]) < depth:
            for name, child in children(node).items():
                if child not in found:
                    found[child] = (*found[node], name)
                    ahead.append(child)
    return found


def reversed_edges(sources: Mapping[N, Iterable[N]]) -> Dict[N, List[N]]:
    """Node -> the nodes of which it is a source, in their order and each once."""
    takers: Dict[N, List[N]] = {}
    for node, names in sources.items():
        for source in dict.fromkeys(names):
            takers.setdefault(source, []).append(node)
    return takers


def in_order(sources: Mapping[N, Iterable[N]]) -> Iterator[N]:
    """Each node after all of its sources, without nodes on cycles; sources that are not nodes are ignored."""
    takers: Dict[N, List[N]] = {}
    waiting: Dict[N, int] = {}
    for node, names in sources.items():
        known = {name for name in names if name in sources}
        waiting[node] = len(known)
        for source in known:
            takers.setdefault(source, []).append(node)
    ahead = deque(node for node, count in waiting.items() if not count)
    while ahead:
        node = ahead.popleft()
        yield node
        for taker in takers.get(node, ()):
            waiting[taker] -= 1
            if not waiting[taker]:
                ahead.append(taker)


def settle(starts: Iterable[N], update: Callable[[N], Iterable[N]]) -> None:
    """Call `update` for each node, and for the nodes that it returns, until it returns none.

    `update` returns the nodes that depend on a node whose value it has changed, and none where the value is the same.
    """
    ahead = deque(starts)
    while ahead:
        ahead.extend(update(ahead.popleft()))
