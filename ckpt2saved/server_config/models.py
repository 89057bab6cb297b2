"""The models to be served: names, base directories, and the versions that a server would load."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from ckpt2saved.errors import ServingError, UsageError, VersionError
from ckpt2saved.errors.problem import Problem, texts
from ckpt2saved.files.shell_words import for_shell
from ckpt2saved.graph.kernel_table import Device
from ckpt2saved.saved_model.judgement import READ
from ckpt2saved.server_config.mounts import Mount, absolute, broken_link, find_mount
from ckpt2saved.server_config.policy import SPECIFIC, Label, Policy
from ckpt2saved.versions import LocalVersion, check_base, list_versions, numbered_children, read_provenance

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
MODELS_IN_SERVER = "/models"


@dataclass(frozen=True)
class Model:
    """A model in the server's configuration."""

    name: str
    directory: Path  # absolute, on this machine
    mount: Mount
    policy: Policy
    labels: Tuple[Label, ...]
    loaded: Tuple[LocalVersion, ...]  # versions that the policy selects, newest first
    url: Optional[str] = None  # from which the versions are pulled; `directory` is temporary then

    @property
    def place(self) -> str:
        """Return where the versions come from: the URL, or the directory."""
        return self.url or str(self.directory)

    @property
    def base_path(self) -> str:
        """Return the model's base directory as the server sees it."""
        return self.mount.seen(self.directory)


def not_for_gpus(models: Sequence[Model]) -> List[str]:
    """Return a sentence for each loaded version that was exported for CPUs; of others nothing is known."""
    return [
        f"{model.name} {version.number} was exported for CPUs: export --for-device gpu computes LSTMs in cuDNN, and a"
        " CTC decoder's loops on the server's CPU"
        for model in models
        for version in model.loaded
        if (read_provenance(version.path) or {}).get("for_device") == Device.CPU.value
    ]


def find_models(
    directories: Sequence[str],
    mounts: Sequence[Mount],
    policies: Sequence[Tuple[Optional[str], Policy]] = (),
    labels: Sequence[Tuple[Optional[str], Label]] = (),
) -> Tuple[Model, ...]:
    """Return the models of MODEL_DIR or NAME=MODEL_DIR, by name; raises UsageError or ServingError."""
    named = _named(directories)
    policy_of = {name: _of(name, policies, Policy()) for name in named}
    _check_names("--versions", [name for name, _ in policies], named)
    _check_names("--label", [name for name, _ in labels], named)
    models: List[Model] = []
    problems: List[Problem] = []
    for name, directory in sorted(named.items()):
        mount = find_mount(absolute(directory), mounts)
        mount = mount or Mount(absolute(directory), f"{MODELS_IN_SERVER}/{name}")
        own_labels = {label.name: label for owner, label in labels if owner in (None, name)}
        policy = policy_of[name]
        try:
            check_base(directory, reading=True)
            published = [child.number for child in numbered_children(directory)]
            found = list_versions(directory, READ, frozenset(policy.selects(published)))
        except VersionError as error:
            problems.append(Problem("unusable-base", "", str(error)))
            continue
        loaded = tuple(one for one in found if one.duplicate_of is None)
        model = Model(
            name=name,
            directory=absolute(directory),
            mount=mount,
            policy=policy,
            labels=tuple(own_labels[key] for key in sorted(own_labels)),
            loaded=loaded,
        )
        problems += _problems(model, directory, published)
        models.append(model)
    if problems:
        raise ServingError("not every model has a version that a server could load; nothing was written", problems)
    return tuple(models)


def _named(directories: Sequence[str]) -> Dict[str, Path]:
    named: Dict[str, Path] = {}
    problems: List[Problem] = []
    for given in directories:
        name, _, path = given.rpartition("=") if not os.path.isdir(given) else ("", "", given)
        directory = Path(os.path.expanduser(path))
        name = name or absolute(directory).name
        if not path:
            problems.append(Problem("model-name", repr(given), "an empty path"))
        elif not MODEL_NAME.match(name):
            found = f"{name!r} can't be a model's name, which is part of a URL"
            remedy = f"expected letters, digits, '_', '.' and '-'; name the model with NAME={path}"
            problems.append(Problem("model-name", given, found, remedy))
        elif name in named:
            found = f"{named[name]} and {directory} would both be named {name}, and names must be unique"
            problems.append(Problem("model-name", "", found, f"give one of them another name with NAME={path}"))
        else:
            named[name] = directory
    if problems:
        raise UsageError("MODEL_DIR:", problems)
    return named


def _of(name: str, policies: Sequence[Tuple[Optional[str], Policy]], default: Policy) -> Policy:
    """Return the last policy given for this model; else the last one given for all models."""
    matching = [policy for model, policy in policies if model == name]
    return (matching or [policy for model, policy in policies if model is None] or [default])[-1]


def _check_names(option: str, given: Sequence[Optional[str]], named: Dict[str, Path]) -> None:
    unknown = sorted({name for name in given if name is not None} - set(named))
    if unknown:
        raise UsageError(
            f"{option}: there is no model {', '.join(unknown)} among these; expected one of {', '.join(sorted(named))}"
        )


def _problems(model: Model, directory: Path, published: Sequence[int]) -> List[Problem]:
    if not published:
        found = "no version is published yet; a server would wait for one, and serve no other model meanwhile"
        return [Problem("no-version", str(directory), found, "run ckpt2saved export first")]
    problems: List[Problem] = []
    for version in model.loaded:
        if not version.is_complete:
            problems.append(
                Problem(
                    "broken-version",
                    str(version.path),
                    f"broken, and a server loads it: {'; '.join(texts(version.problems))}",
                    f"publish a complete version above it with ckpt2saved bump-version {for_shell(directory)} --from N",
                )
            )
        link = broken_link(absolute(version.path), model.mount)
        if link:
            names = f"{for_shell(directory)} --from {for_shell(version.path)}"
            problems.append(replace(link, remedy=f"take it in with ckpt2saved bump-version {names}"))
    loaded, numbers = {version.number for version in model.loaded}, set(published)
    for missing in sorted(set(model.policy.numbers) - numbers) if model.policy.kind == SPECIFIC else ():
        found = f"there is no version {missing}"
        problems.append(Problem("no-version", str(directory), found, f"expected some of {_list(numbers)}"))
    for label in model.labels:
        if label.number not in loaded:
            found = (
                f"label {label.name} is for version {label.number}, which a server would not load, and so refuse the"
                " whole file"
            )
            remedy = f"expected one of {_list(loaded)}, or have it loaded with --versions"
            problems.append(Problem("label-not-loaded", str(directory), found, remedy))
    return problems


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers)) or "none"
