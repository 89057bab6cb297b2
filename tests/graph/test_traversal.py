"""Searches of graphs."""

from __future__ import annotations

from ckpt2saved.graph.traversal import (
    behind,
    chain,
    in_order,
    nearest,
    paths,
    reach,
    reversed_edges,
    settle,
    walk,
    within,
)

#     a -> b -> d -> e
#     a -> c -> d    e -> b, and f alone
EDGES = {"a": "bc", "b": "d", "c": "d", "d": "e", "e": "b", "f": ""}


def following(node):
    return EDGES[node]


def test_what_is_reached():
    assert reach("a", following) == set("abcde")
    assert reach("df", following) == set("debf")
    assert reach("", following) == set()


def test_a_start_is_behind_itself_only_in_a_loop():
    assert behind("a", following) == set("bcde")
    assert behind("b", following) == set("bde")


def test_a_walk_visits_the_nearest_first_and_each_node_once():
    assert list(walk("aa", following)) == list("abcde")
    assert list(nearest("a", following, 3)) == list("abc")


def test_a_walk_asks_late():
    asked = []

    def ask(node):
        asked.append(node)
        return EDGES[node]

    found = walk("a", ask)
    assert [next(found), next(found)] == ["a", "b"] and asked == ["a"]


def test_a_search_within_so_many_steps():
    assert list(within("a", following, 0)) == ["a"]
    assert list(within("a", following, 2)) == list("abcd")
    assert list(within("ae", following, 1)) == list("aebc")


def test_a_chain_follows_the_first_and_ends_where_it_began():
    assert list(chain("a", following)) == list("abde")
    assert list(chain("f", following)) == ["f"]


def test_paths_are_the_shortest():
    children = {0: {"left": 1, "right": 2}, 1: {"next": 2}, 2: {"back": 0, "own": 3}, 3: {}, 4: {}}
    assert paths(0, children.__getitem__) == {0: (), 1: ("left",), 2: ("right",), 3: ("right", "own")}


def test_reversed_edges_are_in_order_and_once():
    assert reversed_edges({"x": "aab", "y": "ba"}) == {"a": ["x", "y"], "b": ["x", "y"]}


def test_an_order_in_which_sources_come_first():
    sources = {"sum": ["left", "right", "outside"], "left": ["image"], "right": ["image"], "image": []}
    found = list(in_order(sources))
    assert sorted(found) == sorted(sources) and found[0] == "image" and found[-1] == "sum"
    assert list(in_order({"x": ["y"], "y": ["x"], "z": []})) == ["z"]


def test_values_are_spread_until_nothing_changes():
    """The largest number on the way to a node, around a loop too."""
    values = {"a": 3, "b": 0, "c": 9, "d": 0, "e": 1, "f": 0}

    def update(node):
        changed = [other for other in EDGES[node] if values[other] < values[node]]
        for other in changed:
            values[other] = values[node]
        return changed

    settle("abcdef", update)
    assert values == {"a": 3, "b": 9, "c": 9, "d": 9, "e": 9, "f": 0}
