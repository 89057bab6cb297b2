"""A list of rewrites is applied to a copy, and each rewrite is held to what all promise."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites import to_inference
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.rewrite import Rewrite, RewriteError, apply, apply_all
from tests.support.networks import Built

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "development" / "rewrites.md"


def context(build=lambda x: tf.nn.relu(x + 1.0)):
    return Context.of(Built(build).graph_def, ["y:0"], ["x:0"])


def rewrite(change):
    """A rewrite that does as a function of the graph and the context says."""

    class Changed(Rewrite):
        name = "changed"

        def __call__(self, graph, context):
            return change(graph, context) or Found()

    return Changed()


def test_the_rewrite_of_the_documentation_works(monkeypatch):
    """The example as it stands there, added to the list as it says, with the test that it has there."""
    example, test = re.findall("```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    module = types.ModuleType("drop_nan_checks")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(example, "drop_nan_checks.py", "exec"), module.__dict__)
    space = {"tf": tf, "Built": Built}
    exec(compile(test, "test_drop_nan_checks.py", "exec"), space)
    (check,) = [value for name, value in space.items() if name.startswith("test_")]
    with pytest.raises(AssertionError):
        check()
    monkeypatch.setattr(to_inference, "TO_INFERENCE", (*to_inference.TO_INFERENCE, module.DropNanChecks()))
    check()


def test_the_original_stays_as_it_was():
    """Rewrites edit a copy."""
    given = context()
    before = given.original.graph_def(given.original.nodes)

    def change(graph, context):
        graph["Relu"].become("Identity", graph["Relu"].inputs, T=graph["Relu"].attr["T"].type)
        return Found((Edit("Relu", "relu", "Relu: bypassed"),))

    made = apply([rewrite(change)], given, "no")
    assert "Relu" not in {node.op for node in made.graph_def().node}
    assert given.original.graph_def(given.original.nodes) == before


def test_every_problem_of_every_rewrite_is_raised_at_once():
    """And inspect raises none of them; a rewrite knows those of the rewrites before it."""
    seen = []

    def first(graph, context):
        return Found(
            problems=(Problem("state-change", "Relu", "the first"), Problem("state-change", "add", "the second"))
        )

    def second(graph, context):
        seen.extend(problem.where for problem in context.problems)
        return Found(problems=(Problem("greedy-paths", "y", "the third"),))

    rewrites = [rewrite(first), rewrite(second)]
    found = apply_all(rewrites, context())
    assert [problem.code for problem in found.problems] == [
        "state-change",
        "state-change",
        "greedy-paths",
    ] and seen == ["Relu", "add"]
    with pytest.raises(NotServable) as error:
        apply(rewrites, context(), "it can't be")
    assert [word in str(error.value) for word in ("it can't be", "first", "second", "third")] == [True] * 4


def forgotten(graph, context):
    graph["Relu"].become("Identity", graph["Relu"].inputs, T=graph["Relu"].attr["T"].type)


def attribute(graph, context):
    graph["Relu"].attr["T"].type = tf.float64.as_datatype_enum


def dangling(graph, context):
    graph["Relu"].inputs = [("nowhere", 0)]
    return Found((Edit("Relu", "relu", ""),))


def control(graph, context):
    graph["Relu"].controls = ["nowhere"]
    return Found((Edit("Relu", "relu", ""),))


def lost(graph, context):
    del graph.nodes["y"]
    return Found((Edit("y", "output", ""),))


@pytest.mark.parametrize(
    "change, message",
    [
        (forgotten, "edited, and no edit was reported"),
        (attribute, "edited, and no edit was reported"),
        (dangling, "nodes take what the graph does not have: nowhere"),
        (control, "nodes take what the graph does not have: nowhere"),
        (lost, "the graph lost y"),
    ],
)
def test_a_rewrite_that_breaks_a_rule_is_found_out(change, message):
    """By the name of the rewrite; that is a bug of it, and no message for users."""
    with pytest.raises(RewriteError, match=f"changed: .*{message}"):
        apply_all([rewrite(change)], context())


def test_looking_at_an_attribute_is_no_edit():
    """Though protobuf puts an empty one there."""
    apply_all([rewrite(lambda graph, context: graph["Relu"].attr["absent"].i and None)], context())


def test_an_output_may_move():
    """Later rewrites see the tensor that stands for it, and the caller is told."""
    seen = []

    def move(graph, context):
        made = graph.add("other", "Identity", [("Relu", 0)], T=tf.float32.as_datatype_enum)
        return Found((Edit("y", "output", ""),), moved={("y", 0): (made.name, 0)})

    def again(graph, context):
        seen.extend(context.outputs)
        return Found((Edit("y", "output", ""),), moved={("other", 0): ("Relu", 0)})

    made = apply_all([rewrite(move), rewrite(again)], context())
    assert seen == [("other", 0)]
    assert made.moved == {"y:0": "Relu:0"} and made.context.outputs == (("Relu", 0),)
    assert "y" not in {node.name for node in made.graph_def().node}


def test_tensors_that_do_not_exist_are_named():
    """All of them, before anything is done."""
    with pytest.raises(NotServable, match="nothing") as error:
        apply_all([], Context.of(Built(lambda x: x).graph_def, ["nothing:0"], ["no_input:0"]))
    assert "no_input" in str(error.value)
