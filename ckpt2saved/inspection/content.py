"""The JSON content of an inspection."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Dict

from ckpt2saved.checkpoint import roles
from ckpt2saved.errors.problem import Choice, Message, choice_details, details, texts
from ckpt2saved.inspection.report import Inspection


def as_content(inspection: Inspection) -> Dict[str, Any]:
    """The content of --json; all values are JSON types."""
    subject, graph, held = inspection.subject, inspection.graph, inspection.checkpoint
    content: Dict[str, Any] = {
        "path": str(subject.path),
        "kind": subject.kind,
        "checkpoint": str(subject.checkpoint.prefix) if subject.checkpoint else None,
        "meta": str(subject.meta) if subject.meta else None,
        "saved_model": str(subject.saved_model) if subject.saved_model else None,
        "remarks": texts(inspection.remarks),
        "remark_details": details(inspection.remarks),
    }
    if graph:
        content["graph"] = _plain(graph)
        chosen = [spec.tensor for spec in graph.proposal.outputs] if graph.proposal else []
        content["graph"]["problem_details"] = details(graph.problems)
        content["graph"]["note_details"] = details(graph.notes)
        content["graph"]["choice_details"] = choice_details(graph.proposal.choices if graph.proposal else ())
        for output in content["graph"]["outputs"]:
            output["proposed"] = output["tensor"] in chosen
        content["command"] = " ".join(word for line in inspection.command for word in line) or None
    if held:
        content["step"] = held.step
        content["object_based"] = held.is_object_based
        content["roles"] = [_plain(group) for group in roles.by_role(held.variables)]
        content["scopes"] = [_plain(group) for group in roles.by_scope(held.variables)]
        content["averages"] = {"of": held.averaged, "weights": held.averageable}
        content["misshapen_details"] = details(held.misshapen)
        for name in ("missing", "missing_needed", "misshapen", "unused", "variables"):
            content[name] = _plain(getattr(held, name))
    if inspection.saved_model:
        content["served"] = _plain(inspection.saved_model)
        content["served"]["problem_details"] = details(inspection.saved_model.problems)
        content["served"]["note_details"] = details(inspection.saved_model.notes)
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, (Message, Choice)):
        return value.text
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value
