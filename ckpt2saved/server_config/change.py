"""Effects of new configuration files on a running server that uses the existing files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from ckpt2saved.errors import ServingError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.protobuf import text_format
from ckpt2saved.files.replacing import read_if_there
from ckpt2saved.server_config import kubernetes
from ckpt2saved.server_config.config_files import MODELS
from ckpt2saved.server_config.labels import LabelChange, refused_labels, two_steps
from ckpt2saved.server_config.policy import SPECIFIC, Policy, read_policy
from ckpt2saved.server_config.server import LABELS_FLAG, REREADING_SECONDS, Server

_TAKES_EFFECT = {
    kubernetes.FILE: f"kubectl apply hands {MODELS} on to the pods, and starts new ones for the rest",
}


@dataclass(frozen=True)
class _Entry:
    """A model in a models.config."""

    base_path: str
    policy: Optional[Policy]  # None if it can't be parsed
    labels: Dict[str, Any]


Existing = Mapping[str, Optional[str]]  # file name -> present content; None if the file does not exist


def existing_files(names: Iterable[str], server: Server) -> Existing:
    """Read the files that new ones will replace."""
    return {name: read_if_there(server.directory / name) for name in names}


def what_changes(before: Existing, files: Mapping[str, str], server: Server) -> Tuple[str, ...]:
    """Return a sentence for each effect of the new files on a server that was started with the existing ones."""
    if before[MODELS] is None:
        return _first(server)
    sentences: List[str] = []
    try:
        sentences += _models(_entries(before[MODELS] or ""), _entries(files[MODELS]), server)
    except text_format.NotTextProto as error:
        sentences.append(f"the {MODELS} that was there can't be read ({error}), so nothing is known of it")
    if sentences:
        sentences.insert(0, _when(server))
    sentences += _unseen(before, server)
    for name in sorted(files):
        if name != MODELS and before[name] != files[name]:
            state = "is new" if before[name] is None else "differs"
            sentences.append(f"{name} {state}: {_TAKES_EFFECT.get(name, 'the server must be restarted')}")
    return tuple(sentences) or ("nothing: the files are unchanged",)


def check_labels(before: Existing, files: Mapping[str, str], server: Server) -> None:
    """Raise ServingError if a running server would reject the whole new configuration because of a label.

    The existing files are then kept, since they describe the running server.
    """
    try:
        present, new = _entries(before[MODELS] or ""), _entries(files[MODELS])
    except text_format.NotTextProto:
        return  # what_changes() says so
    if before[MODELS] is None or not server.image.rereads_configuration:
        return  # no server was started with these files
    refused = refused_labels(_label_changes(present, new), server, _takes_unloaded_labels(before))
    if refused:
        others = [
            Problem("rejected-change", name, "would not be loaded either") for name in sorted(set(new) - set(present))
        ]
        others += [
            Problem("rejected-change", name, "would not be unloaded either") for name in sorted(set(present) - set(new))
        ]
        raise ServingError(
            f"a running server would refuse all of the change, each time that it reads {MODELS}, as it moves no label"
            ' to a version that is not loaded ("Request to assign label to version … which is not currently available'
            ' for inference"); nothing was written. Make the change in two steps, or add --restart if you start the'
            " server anew with these files",
            two_steps(refused, server) + others,
        )


def _unseen(before: Existing, server: Server) -> List[str]:
    """Return a message for each new model whose directory is not mounted in the running server.

    Such a model keeps the server from loading new versions of any model.
    """
    starters = _starters(before)
    return [
        f"{model.name}: {model.mount.server} is not in a server that was started before; it would wait for it"
        " forever, and load no new version of any model; restart it now"
        for model in server.models
        if starters and not any(re.search(re.escape(model.mount.server) + r"(?![\w./-])", text) for text in starters)
    ]


def _first(server: Server) -> Tuple[str, ...]:
    loads = ", ".join(
        f"{model.name} {'+'.join(str(version.number) for version in model.loaded)}" for model in server.models
    )
    if any(model.policy.kind == SPECIFIC for model in server.models):
        return (f"once started the server loads {loads}",)
    return (f"once started the server loads {loads}, and from then on every new version within seconds",)


def _when(server: Server) -> str:
    if server.image.rereads_configuration:
        return f"it reads {MODELS} again within {REREADING_SECONDS} s, and then:"
    return f"a server before 1.15 reads {MODELS} only at startup; restart it, and then:"


def _starters(before: Existing) -> List[str]:
    """Return the existing files that start the server."""
    return [text for name, text in before.items() if text is not None and not name.endswith(".config")]


def _takes_unloaded_labels(before: Existing) -> bool:
    """Return whether the server was started with the flag that allows labels on unloaded versions; True if unknown."""
    starters = _starters(before)
    return not starters or any(LABELS_FLAG in text for text in starters)


def _label_changes(before: Dict[str, _Entry], after: Dict[str, _Entry]) -> List[LabelChange]:
    """Return every label of the new configuration with its present version."""
    changes = []
    for name in sorted(after):
        old = before.get(name)
        for label in sorted(after[name].labels):
            was, number = old.labels.get(label) if old else None, after[name].labels[label]
            policy = old.policy if old and old.base_path == after[name].base_path else None
            changes.append(LabelChange(name, label, was, number, old is not None, policy))
    return changes


def _models(before: Dict[str, _Entry], after: Dict[str, _Entry], server: Server) -> List[str]:
    sentences = []
    for name in sorted(set(after) - set(before)):
        numbers = "+".join(str(one.number) for model in server.models if model.name == name for one in model.loaded)
        sentences.append(f"{name}: loads version {numbers}")
    for name in sorted(set(before) - set(after)):
        sentences.append(f"{name}: is unloaded; requests for it fail with NOT_FOUND from then on")
    for name in sorted(set(before) & set(after)):
        sentences += _differences(name, before[name], after[name])
    return sentences


def _differences(name: str, before: _Entry, after: _Entry) -> List[str]:
    sentences = []
    if before.base_path != after.base_path:
        sentences.append(
            f"{name}: looks for its versions in {after.base_path} instead of {before.base_path}; a number that is"
            " loaded already is not loaded again from there, so restart the server unless both are the same"
            " directory"
        )
    if before.policy != after.policy:
        sentences.append(f"{name}: loads and unloads versions until the new policy holds")
    for label in sorted(set(before.labels) | set(after.labels)):
        old, new = before.labels.get(label), after.labels.get(label)
        if old is not None and new is not None and old != new:
            sentences.append(
                f"{name}: moves label {label} from {old} to {new} if {new} is AVAILABLE by then; until it is, the"
                f" server refuses all of {MODELS} each time that it reads it"
            )
        elif old != new:
            sentences.append(f"{name}: {_new_label(label, new)}")
    return sentences


def _new_label(label: str, number: Any) -> str:
    if number is None:
        return f"label {label} is removed, and requests for it fail"
    return f"label {label} names {number} as soon as it is loaded"


def _entries(text: str) -> Dict[str, _Entry]:
    entries = {}
    for models in text_format.values(text_format.read(text), "model_config_list"):
        for config in text_format.values(models, "config"):
            labels = text_format.values(config, "version_labels")
            entries[str(_only(config, "name"))] = _Entry(
                base_path=str(_only(config, "base_path")),
                policy=read_policy(_only(config, "model_version_policy")),
                labels={str(_only(label, "key")): _number(_only(label, "value")) for label in labels},
            )
    return entries


def _number(value: Any) -> Any:
    """Return a version's number, None without one; whatever else stands there as text."""
    return value if value is None or isinstance(value, int) else str(value)


def _only(message: Any, name: str) -> Optional[Any]:
    found = text_format.values(message, name)
    return found[-1] if found else None
