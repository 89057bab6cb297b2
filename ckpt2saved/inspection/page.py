"""Print an inspection for people: inputs, outputs and the export command, then problems, then variables."""

from __future__ import annotations

from typing import Any, Iterable, Optional, Sequence, Tuple, Union

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ckpt2saved.checkpoint import roles
from ckpt2saved.console.sizes import size_text
from ckpt2saved.console.tables import print_labelled, stdout
from ckpt2saved.errors.problem import listed, texts
from ckpt2saved.files.reading import printable
from ckpt2saved.files.shell_words import for_shell
from ckpt2saved.inspection.graph_report import GraphReport
from ckpt2saved.inspection.proposal import value_text
from ckpt2saved.inspection.report import Inspection
from ckpt2saved.inspection.saved import SavedModelReport
from ckpt2saved.inspection.variables import VariableReport
from ckpt2saved.versions import parse_version

_MOST = 6  # the most lines of one kind; --json has all


def print_inspection(inspection: Inspection) -> None:
    """Print an inspection to stdout."""
    console = stdout()
    _print_head(console, inspection)
    if inspection.saved_model:
        _print_saved_model(console, inspection.saved_model)
    if inspection.graph:
        _print_graph(console, inspection, inspection.graph)
    if inspection.checkpoint:
        _print_variables(console, inspection.checkpoint, inspection.graph)


def _print_head(console: Console, inspection: Inspection) -> None:
    held, graph, files = inspection.checkpoint, inspection.graph, inspection.subject.checkpoint
    if held and files:
        kind = "object-based (TensorFlow 2), " if held.is_object_based else "V1, " if files.is_v1 else ""
        step = "" if held.step is None else f", step {held.step}"
        text = f"{files.prefix} ({kind}{len(held.variables)} tensors, {size_text(files.size)}{step})"
        print_labelled(console, "checkpoint", text)
    if graph:
        by = f", written by TensorFlow {graph.tensorflow}" if graph.tensorflow else ""
        print_labelled(console, "graph", f"{inspection.subject.meta} ({graph.nodes} nodes{by})")
    for remark in inspection.remarks:
        print_labelled(console, "note", remark.text, "yellow")


def _print_graph(console: Console, inspection: Inspection, graph: GraphReport) -> None:
    _print_rows(
        console,
        ("input", "tensor", "dtype and shape", "why"),
        [(one.key, one.tensor, one.dtype + " " + _shape(one.shape), one.reason) for one in graph.inputs],
    )
    keys = {spec.tensor: spec.key for spec in graph.proposal.outputs} if graph.proposal else {}
    shown = [output for output in graph.outputs if output.tensor in keys]
    rest = [output for output in graph.outputs if output.tensor not in keys]
    rows = [(keys[o.tensor], o.tensor, o.dtype + " " + _shape(o.shape), o.reason) for o in shown]
    rows += [("", o.tensor, o.dtype + " " + _shape(o.shape), o.reason) for o in rest[:_MOST]]
    _print_rows(console, ("output", "tensor", "dtype and shape", "why"), rows, dim_from=len(shown))
    if len(rest) > _MOST:
        print_labelled(console, "", f"and {len(rest) - _MOST} more, in --json")
    if not graph.outputs:
        print_labelled(
            console, "outputs", "none found: no tensor is computed from data and weights without labels", "yellow"
        )
    _print_command(console, inspection)
    _print_findings(console, graph)


def _print_command(console: Console, inspection: Inspection) -> None:
    lines = [" ".join(line) for line in inspection.command]
    if inspection.refusal:
        console.print()
        print_labelled(console, "export", inspection.refusal, "yellow" if lines else "red")
    if not lines:
        return
    console.print()
    console.print(Text("export it with", style="bold"))
    console.print(Text("  " + " \\\n      ".join(lines)), soft_wrap=True)
    console.print()


def _print_findings(console: Console, graph: GraphReport) -> None:
    proposal = graph.proposal
    for choice in proposal.choices if proposal else ():
        print_labelled(console, "choose", choice.text, "yellow")
    for one in graph.inputs:
        if one.instead:
            print_labelled(console, "or cut at", f"{', '.join(one.instead)} instead of {one.tensor}")
    for switch in graph.switches:
        default = f", by default {switch.default}" if switch.default else ""
        value = "" if switch.value is None else f"{value_text(switch.value)} in inference: "
        text = f"{switch.name} ({switch.dtype}{default}): {value}{switch.reason}"
        print_labelled(console, "switch", text, "yellow" if switch.is_open else "")
    _print_training_ops(console, graph)
    if proposal and proposal.fixed:
        text = f"the batch is {proposal.batch} and can't be another: {listed(proposal.fixed, 3)}"
        print_labelled(console, "fixed", text, "yellow")
    for number, tower in enumerate(graph.towers):
        text = f"{tower.ends[0]}: {len(tower.variables)} variables, {len(graph.shared)} of them shared"
        if tower.untrained:
            text += f"; no optimizer trains {listed(tower.untrained, 2)}"
        if tower.missing:
            text += f"; the checkpoint lacks {listed(tower.missing, 2)}"
        print_labelled(
            console, "tower", text + (" (proposed)" if number == 0 else ""), "yellow" if tower.untrained else ""
        )
    for note in graph.notes:
        print_labelled(console, "note", note.text)
    for problem in graph.problems[:_MOST]:
        print_labelled(console, "problem", problem.text, "red")
    if len(graph.problems) > _MOST:
        print_labelled(console, "", f"and {len(graph.problems) - _MOST} more problems, in --json", "red")
    if graph.left_out:
        print_labelled(console, "cut off", f"{listed(graph.left_out, 3)}: after the outputs, not served")
    if graph.labels:
        print_labelled(
            console,
            "not inputs",
            f"{listed(graph.labels, 4)}: used only in training, or labels that the loss compares answers with",
        )
    if graph.tables:
        print_labelled(console, "tables", f"{listed(graph.tables, 3)}: lookup tables; their content is exported")


def _print_training_ops(console: Console, graph: GraphReport) -> None:
    found = graph.training_ops
    for names, what, instead in (
        (found.dropout, "dropout or other random numbers", "removed"),
        (found.batch_norm, "batch norm with batch statistics", "replaced by moving statistics"),
    ):
        if names:
            steered = sum(name in found.switched for name in names)
            how = f"{steered} on a branch of a switch" if steered else f"{instead} by export"
            print_labelled(console, "training", f"{len(names)} x {what} ({how}): {listed(names, 2)}", "yellow")


def _print_variables(console: Console, held: VariableReport, graph: Optional[GraphReport]) -> None:
    for style, names, text in (
        ("red", held.missing_needed, "needed by the outputs, not in the checkpoint: {}"),
        ("red", texts(held.misshapen), "of another shape: {}"),
        ("", () if held.missing_needed else held.missing, "not in the checkpoint, not needed by the outputs: {}"),
        ("", held.unused if graph else (), "in the checkpoint, not in the graph: {}"),
    ):
        if names:
            print_labelled(console, "variables", f"{len(names)} {text.format(listed(names, 3))}", style)
    if held.averaged and not (graph and graph.proposal):  # a proposal has a choice for it
        print_labelled(
            console,
            "averages",
            f"{held.averaged} of {held.averageable} weights have a moving average: --weights ema serves those,"
            " --weights raw the others",
            "yellow",
        )
    _print_roles(console, held.variables)
    console.print()
    table = _table(("scope of weights and statistics", "count", "size"), right=(1, 2))
    groups = roles.by_scope(held.variables)
    for group in groups[: 2 * _MOST]:
        table.add_row(Text(group.name), str(group.count), size_text(group.size))
    if len(groups) > 2 * _MOST:
        others = groups[2 * _MOST :]
        count, size = sum(g.count for g in others), sum(g.size for g in others)
        table.add_row(f"{len(others)} more", str(count), size_text(size))
    console.print(table)


def _print_saved_model(console: Console, found: SavedModelReport) -> None:
    by = f", written by TensorFlow {found.tensorflow}" if found.tensorflow else ""
    print_labelled(console, "SavedModel", f"{found.directory} ({found.nodes} nodes{by})")
    if found.provenance:
        print_labelled(console, "origin", "ckpt2saved" + _origin(found.provenance.get("checkpoint")))
    for signature in found.signatures:
        rows = [("in  " + s.key, s.tensor or "none", s.dtype + " " + _shape(s.shape)) for s in signature.inputs]
        rows += [("out " + s.key, s.tensor or "none", s.dtype + " " + _shape(s.shape)) for s in signature.outputs]
        _print_rows(console, (signature.name, "tensor", "dtype and shape"), rows)
    for decoder in found.decoders:
        print_labelled(console, "decoder", decoder)
    if found.tables:
        print_labelled(console, "tables", listed(found.tables, 3))
    for problem in found.problems:
        print_labelled(console, "problem", problem.text, "red")
    for note in found.notes:
        print_labelled(console, "note", note.text)
    if found.variables:
        _print_roles(console, found.variables)
    base = found.directory.parent if parse_version(found.directory.name) is not None else "BASE"
    console.print()
    console.print(Text("publish it again with", style="bold"))
    console.print(
        Text(f"  ckpt2saved bump-version {for_shell(base)} --from {for_shell(found.directory)}"),
        soft_wrap=True,
    )


def _origin(checkpoint: Any) -> str:
    """The name and step of the checkpoint in a version's provenance."""
    if not isinstance(checkpoint, dict) or "name" not in checkpoint:
        return ""
    step = checkpoint.get("step")
    return printable(f", from {checkpoint['name']}{('' if step is None else f', step {step}')}")


def _print_roles(console: Console, variables: Sequence[roles.Variable]) -> None:
    console.print()
    table = _table(("variables", "count", "size"), right=(1, 2))
    for group in roles.by_role(variables):
        table.add_row(Text(group.name), str(group.count), size_text(group.size))
    console.print(table)


def _print_rows(
    console: Console, headings: Sequence[str], rows: Iterable[Tuple[str, ...]], dim_from: Optional[int] = None
) -> None:
    table = _table(headings)
    for number, row in enumerate(rows):
        style = "dim" if dim_from is not None and number >= dim_from else ""
        table.add_row(*[Text(cell, style=style) for cell in row])
    if table.row_count:
        console.print()
        console.print(table)


def _table(headings: Sequence[str], right: Sequence[int] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, heading in enumerate(headings):
        narrow = heading in ("dtype and shape", "count", "size", "input", "output")
        table.add_column(heading, justify="right" if number in right else "left", overflow="fold", no_wrap=narrow)
    return table


def _shape(shape: Optional[Sequence[Union[int, str, None]]]) -> str:
    if shape is None:
        return "unknown"
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
