"""Inlining of TensorFlow 2 function calls (If, Case, While, PartitionedCall): a function's nodes replace the call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref, node_name
from ckpt2saved.graph.ops import ASSIGNMENTS, CALLS, CASES, CONDITIONALS, ENTERS, FUNCTIONAL, LOOPS
from ckpt2saved.graph.tf1 import op_def, tf
from ckpt2saved.graph.traversal import last, walk

_LARGEST = 300000  # nodes; inlining stops there, and random ops in the functions that are left are refused


def inline_functions(graph: Graph, outputs: Sequence[Ref], inputs: Set[Ref]) -> List[str]:
    """Replace each call by the nodes of its functions; conditions and loops become Switch, Merge and Enter nodes.

    The node of a call stays, under its name, as the identity of its outputs. Ops of training inside functions are then
    found as in a graph of TensorFlow 1, and a predicate can be followed through calls. Returns the names of the calls.
    """
    if not has_calls(graph):
        return []
    inliner = _Inliner(graph)
    reached = graph.between(outputs, inputs)
    starts = [name for name in graph.nodes if name in reached or inliner.assigns(graph[name])]
    for _ in walk(starts, inliner.inline):
        if len(graph.nodes) >= _LARGEST:
            break
    graph.redirect(inliner.results)
    return inliner.inlined


def has_calls(graph: Graph) -> bool:
    """Whether a graph may have calls to inline; the functions of input pipelines are not inlined."""
    functions = graph.functions
    return bool(functions) and any(n.op in FUNCTIONAL or n.op in functions for n in graph.nodes.values())


class _Inliner:
    """Copies function bodies into a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.functions = graph.functions
        self.inlined: List[str] = []
        self.results: Dict[Ref, Ref] = {}  # output of a call -> the tensor of its body
        self.inside: Set[str] = set()  # the nodes that are inside of a loop or a branch

    def assigns(self, node: Node) -> bool:
        """Whether a call changes variables, as the update of a moving average does."""
        return any(
            inner.op in ASSIGNMENTS for name in self.graph.called(node) for inner in self.functions[name].node_def
        )

    def inline(self, name: str) -> List[str]:
        """Inline the functions of a node; returns the new nodes, none where it is not a call."""
        before = len(self.graph.nodes)
        if not self.is_inlined(self.graph[name]):
            return []
        self.inlined.append(name)
        return list(self.graph.nodes)[before:]

    def is_inlined(self, node: Node) -> bool:
        """Whether a node was a call that could be inlined."""
        if node.op in CONDITIONALS and self.known(node, "then_branch", "else_branch"):
            if node.attr["Tcond"].type != tf.bool.as_datatype_enum:
                return False
            outputs = self.conditional(node)
        elif node.op in CASES and all(f.name in self.functions for f in node.attr["branches"].list.func):
            outputs = self.case(node)
        elif node.op in LOOPS and self.known(node, "cond", "body"):
            outputs = self.loop(node)
        elif node.op in CALLS and self.known(node, "f"):
            outputs = self.call(node, node.attr["f"].func.name)
        elif node.op in self.functions and op_def(node.op) is None:
            outputs = self.call(node, node.op)
        else:
            return False
        self.become_identity(node, outputs)
        return True

    def known(self, node: Node, *keys: str) -> bool:
        return all(node.attr[key].func.name in self.functions for key in keys)

    def become_identity(self, node: Node, outputs: Sequence[Tuple[Ref, int]]) -> None:
        node.op = "IdentityN" if outputs else "NoOp"
        for key in list(node.attr):
            del node.attr[key]
        node.inputs = [ref for ref, _ in outputs]
        if outputs:
            node.attr["T"].list.type.extend(dtype for _, dtype in outputs)
        for index, (ref, _) in enumerate(outputs):
            self.results[(node.name, index)] = ref

    def call(self, node: Node, function: str) -> List[Tuple[Ref, int]]:
        pivot, controls = None, list(node.controls)
        if node.name in self.inside and node.inputs:
            # The constants of the function must be in the loop or branch that the call is in.
            dtype = self.argument_types(function)[0]
            pivot = self.graph.add(node.name + "/runs", "Identity", [node.inputs[0]], T=dtype).name
            controls.append(pivot)
        body = self.copy(function, node.name, node.inputs, controls, pivot)
        node.controls = body.effects
        return body.outputs

    def conditional(self, node: Node) -> List[Tuple[Ref, int]]:
        name, graph = node.name, self.graph
        predicate, inputs = node.inputs[0], node.inputs[1:]
        boolean = tf.bool.as_datatype_enum
        pivot = graph.add(name + "/pivot", "Switch", [predicate, predicate], node.controls, T=boolean)
        dtypes = self.argument_types(node.attr["then_branch"].func.name)
        switches = [
            graph.add(f"{name}/switch", "Switch", [source, predicate], node.controls, T=dtype)
            for source, dtype in zip(inputs, dtypes)
        ]
        branches = []
        for side, key in ((0, "else_branch"), (1, "then_branch")):
            alive = graph.add(f"{name}/{key}", "Identity", [(pivot.name, side)], T=boolean)
            arguments = [(switch.name, side) for switch in switches]
            branches.append(
                self.copy(node.attr[key].func.name, f"{name}/{key}", arguments, [alive.name], pivot=alive.name)
            )
        outputs = []
        for (otherwise, dtype), (then, _) in zip(branches[0].outputs, branches[1].outputs):
            outputs.append((self.merged(name + "/merge", [otherwise, then], dtype), dtype))
        effects = []
        for side, branch in enumerate(branches):
            if branch.effects:  # merged: what waits for the call runs whichever branch is taken
                done = graph.add(f"{name}/done", "Identity", [(branch.pivot, 0)], branch.effects, T=boolean)
                other = branches[1 - side].pivot
                effects.append(self.merged(f"{name}/done", [(done.name, 0), (other, 0)], boolean)[0])
        node.controls = effects
        return outputs

    def case(self, node: Node) -> List[Tuple[Ref, int]]:
        """One of several branches, chosen by a number; the last for every number that has no branch."""
        name, graph = node.name, self.graph
        index, inputs, boolean = node.inputs[0], node.inputs[1:], tf.bool.as_datatype_enum
        functions = [function.name for function in node.attr["branches"].list.func]
        if len(functions) == 1:
            node.inputs = inputs
            return self.call(node, functions[0])
        predicates = [self.equals(name, index, number) for number in range(len(functions) - 1)]
        others = predicates[0]
        for predicate in predicates[1:]:
            others = graph.add(name + "/any", "LogicalOr", [(others.name, 0), (predicate.name, 0)])
        predicates.append(graph.add(name + "/none", "LogicalNot", [(others.name, 0)]))
        bodies, dtypes = [], self.argument_types(functions[0])
        for function, predicate in zip(functions, predicates):
            chosen = (predicate.name, 0)
            pivot = graph.add(name + "/pivot", "Switch", [chosen, chosen], node.controls, T=boolean)
            alive = graph.add(name + "/alive", "Identity", [(pivot.name, 1)], T=boolean)
            switches = [
                graph.add(name + "/switch", "Switch", [source, chosen], node.controls, T=dtype)
                for source, dtype in zip(inputs, dtypes)
            ]
            arguments = [(switch.name, 1) for switch in switches]
            bodies.append(self.copy(function, name + "/branch", arguments, [alive.name], alive.name))
        outputs = []
        for position, (_, dtype) in enumerate(bodies[0].outputs):
            outputs.append((self.merged(name + "/merge", [body.outputs[position][0] for body in bodies], dtype), dtype))
        node.controls = []
        if any(body.effects for body in bodies):
            done = [graph.add(name + "/done", "Identity", [(b.pivot, 0)], b.effects, T=boolean) for b in bodies]
            node.controls = [self.merged(name + "/done", [(end.name, 0) for end in done], boolean)[0]]
        return outputs

    def equals(self, name: str, index: Ref, number: int) -> Node:
        """A node that computes whether an int32 is `number`."""
        dtype = tf.int32.as_datatype_enum
        constant = self.graph.add(name + "/number", "Const", (), [index[0]])
        constant.become_constant(number, dtype)
        return self.graph.add(name + "/equal", "Equal", [index, (constant.name, 0)], T=dtype)

    def merged(self, name: str, sources: Sequence[Ref], dtype: int) -> Ref:
        """The Merge of tensors on several branches, of which one has a value."""
        merge = self.graph.add(name, "Merge", sources, T=dtype)
        merge.attr["N"].i = len(sources)
        return merge.name, 0

    def loop(self, node: Node) -> List[Tuple[Ref, int]]:
        name, graph = node.name, self.graph
        dtypes = self.argument_types(node.attr["body"].func.name)
        changing = [not same for same in self.handed_through(node.attr["body"].func.name)]
        if not any(changing):
            changing = [True] * len(changing)
        enters = [self.enter(node, source, dtype, not c) for source, dtype, c in zip(node.inputs, dtypes, changing)]
        merges: Dict[int, Node] = {}
        for position, enter in enumerate(enters):
            if changing[position]:
                # The second input, the value of the next iteration, is made below.
                sources = [(enter.name, 0), (enter.name, 0)]
                merges[position] = graph.add(name + "/merge", "Merge", sources, T=dtypes[position])
                merges[position].attr["N"].i = 2
        first = merges[min(merges)]
        arguments = [(merges[p].name if p in merges else enter.name, 0) for p, enter in enumerate(enters)]
        condition = self.copy(node.attr["cond"].func.name, name + "/cond", arguments, [first.name], first.name)
        go_on = graph.add(name + "/go_on", "LoopCond", [condition.outputs[0][0]])
        switches = {
            position: graph.add(name + "/switch", "Switch", [(merge.name, 0), (go_on.name, 0)], T=dtypes[position])
            for position, merge in merges.items()
        }
        alive = graph.add(name + "/body", "Identity", [(switches[min(merges)].name, 1)], T=dtypes[min(merges)])
        arguments = [
            (switches[position].name, 1)
            if position in switches
            # A loop constant has a value after the last iteration too, when nothing else runs.
            else (graph.add(name + "/same", "Identity", [(enter.name, 0)], [alive.name], T=dtypes[position]).name, 0)
            for position, enter in enumerate(enters)
        ]
        body = self.copy(node.attr["body"].func.name, name + "/body", arguments, [alive.name], alive.name)
        outputs = []
        for position, (result, dtype) in enumerate(body.outputs):
            if position not in merges:
                outputs.append((node.inputs[position], dtype))
                continue
            following = graph.add(name + "/next", "NextIteration", [result], body.effects, T=dtype)
            merges[position].inputs[1] = (following.name, 0)
            done = graph.add(name + "/exit", "Exit", [(switches[position].name, 0)], T=dtype)
            outputs.append(((done.name, 0), dtype))
        node.controls = []
        return outputs

    def enter(self, node: Node, source: Ref, dtype: int, constant: bool) -> Node:
        enter = self.graph.add(node.name + "/enter", "Enter", [source], node.controls, T=dtype)
        enter.attr["frame_name"].s = tf.compat.as_bytes(node.name)
        enter.attr["parallel_iterations"].i = node.attr["parallel_iterations"].i or 10
        enter.attr["is_constant"].b = constant
        return enter

    def handed_through(self, function: str) -> List[bool]:
        """For each argument of a loop's body, whether the next iteration gets it unchanged."""
        definition = self.functions[function]
        nodes = {node.name: node for node in definition.node_def}

        def identity(source: str) -> List[str]:
            node = nodes.get(node_name(source))
            return [node.input[0]] if node is not None and node.op == "Identity" else []

        same = []
        for argument, result in zip(definition.signature.input_arg, definition.signature.output_arg):
            source = definition.ret[result.name]
            same.append(last(source, identity) == argument.name)
        return same

    def argument_types(self, function: str) -> List[int]:
        return [argument.type for argument in self.functions[function].signature.input_arg]

    def copy(
        self,
        function: str,
        scope: str,
        arguments: Sequence[Ref],
        controls: Sequence[str],
        pivot: Optional[str] = None,
    ) -> _Body:
        """Copy the nodes of a function into a scope of their own; nodes without inputs wait for `controls`."""
        definition = self.functions[function]
        signature = definition.signature
        sources = {argument.name: ref for argument, ref in zip(signature.input_arg, arguments)}
        scope = self.graph.free_name(scope + "/" + _as_node_name(function))
        names = {node.name: f"{scope}/{node.name}" for node in definition.node_def}
        nodes = {node.name: node for node in definition.node_def}

        def found(name: str) -> Ref:
            if name in sources:
                return sources[name]
            node, _, rest = name.partition(":")
            if not rest:
                return names[node], 0
            output, _, index = rest.partition(":")
            return names[node], self.first_output(nodes[node], output) + int(index or 0)

        for node in definition.node_def:
            inputs = [found(name) for name in node.input if not name.startswith("^")]
            waits = [names[name[1:]] for name in node.input if name.startswith("^") and name[1:] in names]
            waits += list(controls) if not inputs else []
            copy = self.graph.adopt(_moved(node, scope), inputs, waits)
            if pivot is not None:
                self.inside.add(copy.name)
        outputs = []
        for argument in signature.output_arg:
            ref = found(definition.ret[argument.name])
            if pivot is not None and ref in sources.values():
                # The argument itself: a node of the branch, so that it is dead with the branch.
                ref = (self.graph.add(scope + "/result", "Identity", [ref], T=argument.type).name, 0)
            outputs.append((ref, argument.type))
        effects = [names[node] for node in sorted(set(definition.control_ret.values())) if node in names]
        return _Body(outputs, effects, pivot or "")

    def first_output(self, node: Any, output: str) -> int:
        """The index of the first output of a node that belongs to its output argument `output`."""
        definition = op_def(node.op)
        if definition is None and node.op in self.functions:
            definition = self.functions[node.op].signature
        if definition is None:
            return 0
        position = 0
        for argument in definition.output_arg:
            if argument.name == output:
                return position
            if argument.number_attr:
                position += node.attr[argument.number_attr].i
            elif argument.type_list_attr:
                position += len(node.attr[argument.type_list_attr].list.type)
            else:
                position += 1
        return 0


@dataclass(frozen=True)
class _Body:
    """A copied function: its results with their types, the nodes that must run, and the node that runs with it."""

    outputs: List[Tuple[Ref, int]]
    effects: List[str]
    pivot: str


def _as_node_name(function: str) -> str:
    """A function's name without characters that node names can't have, as in `__forward_<lambda>_12`."""
    return re.sub(r"[^0-9A-Za-z_.-]", "_", function)


def _moved(definition: Any, scope: str) -> Any:
    """A copy of a node of a function for a scope of the graph; a loop there is another one than in the next scope."""
    copy = tf.NodeDef()
    copy.CopyFrom(definition)
    copy.name = f"{scope}/{definition.name}"
    copy.device = ""
    copy.attr.pop("_class", None)  # colocation, by the names inside of the function
    if copy.op in ENTERS:
        copy.attr["frame_name"].s = tf.compat.as_bytes(scope + "/") + definition.attr["frame_name"].s
    return copy
