"""Version labels that a running server would reject, and the two steps to introduce them."""

from __future__ import annotations

import shlex
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from ckpt2saved.errors.problem import Problem
from ckpt2saved.server_config.models import Model
from ckpt2saved.server_config.policy import SPECIFIC, Policy
from ckpt2saved.server_config.server import Server
from ckpt2saved.versions import numbered_children


class LabelChange(NamedTuple):
    """A label of a new configuration, and the version it has at present."""

    model: str
    label: str
    was: Any  # its present version; None for a new label
    number: Any
    is_known: bool  # whether the present configuration has the model
    policy: Optional[Policy]  # by which the server selects the model's versions now; None if unknown

    def __str__(self) -> str:
        if self.was in (None, self.number):
            return f"label {self.label} names {self.number}"
        return f"label {self.label} moves from {self.was} to {self.number}"


def refused_labels(changes: Sequence[LabelChange], server: Server, takes_unloaded: bool) -> List[LabelChange]:
    """Return the labels for which a running server rejects the whole configuration.

    A server accepts a label on an AVAILABLE version. If started with the flag for that (`takes_unloaded`), it also
    accepts a new label on an unloaded version, but never moves a label to one (UpdateModelVersionLabelMap in
    tensorflow_serving/model_servers/server_core.cc). A rejected configuration loads nothing, so a version that the
    present configuration does not load never becomes AVAILABLE.
    """
    models = {model.name: model for model in server.models}
    return [
        one
        for one in changes
        if not (one.was in (None, one.number) and takes_unloaded) and not _may_be_loaded(one, models[one.model])
    ]


def two_steps(refused: Sequence[LabelChange], server: Server) -> List[Problem]:
    """Return a problem for each rejected label, with the command that loads its version first."""
    problems = []
    for model in server.models:
        mine = [one for one in refused if one.model == model.name]
        for one in mine:
            found = f"{one}, and {one.number} is not loaded by the present configuration"
            remedy = (
                f"first run this command with {_first_step(model, mine)} instead of its options for {model.name}; once"
                f" {one.number} is AVAILABLE, run it as it is"
            )
            problems.append(Problem("rejected-label", model.name, found, remedy))
    return problems


def _first_step(model: Model, refused: Sequence[LabelChange]) -> str:
    """Return the options of a configuration that loads the versions and keeps the present labels."""
    loaded = {version.number for version in model.loaded}
    published = {child.number for child in numbered_children(model.directory)}
    labels: Dict[str, Any] = {label.name: label.number for label in model.labels}
    labels.update((one.label, one.was) for one in refused)
    kept = {label: number for label, number in labels.items() if number in published}
    needed = loaded | set(kept.values())
    policy = model.policy if needed <= loaded else Policy(SPECIFIC, numbers=tuple(sorted(needed)))
    options = ["--versions", f"{model.name}={policy}"]
    for label in sorted(kept):
        options += ["--label", f"{model.name}:{label}={kept[label]}"]
    return " ".join(shlex.quote(word) for word in options)


def _may_be_loaded(change: LabelChange, model: Model) -> bool:
    """Return whether the server loads the version with its present configuration; True if unknown."""
    if not change.is_known:
        return False
    published = [child.number for child in numbered_children(model.directory)]
    return change.policy is None or change.number in change.policy.selects(published)
