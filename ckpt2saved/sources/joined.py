"""Built-in networks that are served together, each with a checkpoint of its own."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from ckpt2saved.checkpoint.files import CheckpointFiles, find_checkpoint
from ckpt2saved.checkpoint.joined_files import JoinedFiles, join_files
from ckpt2saved.errors import CheckpointError, UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.signature.model import Scalar, ServedModel
from ckpt2saved.sources.builtin import BuiltinSource
from ckpt2saved.sources.source import GraphSource

if TYPE_CHECKING:
    from ckpt2saved.checkpoint.contents import Checkpoint
    from ckpt2saved.sources.loaded import LoadedGraph

# The networks of a model, by the names that stand before their checkpoints, tensors and variables.
JOINED: Mapping[str, Mapping[str, str]] = {"ocr": {"detector": "ctpn", "recogniser": "crnn"}}


@dataclass(frozen=True)
class JoinedSource(BuiltinSource):
    """Networks of this package in one graph; the names of tensors and variables begin with NETWORK/."""

    noun = "checkpoints"

    @classmethod
    def of(cls, text: str, options: Mapping[str, Scalar], python_path: Tuple[Path, ...]) -> Optional[GraphSource]:
        return cls(text, options) if text in JOINED else None

    @property
    def networks(self) -> Mapping[str, str]:
        """Name -> built-in network."""
        return JOINED[self.network]

    def find_checkpoints(self, paths: Union[Sequence[Path], Mapping[str, Path]]) -> CheckpointFiles:
        given: Dict[str, List[str]] = {name: [] for name in self.networks}
        problems = []
        for name, place in _by_network(paths):
            if name in given:
                given[name].append(place)
            else:
                shown = f"{name}={place}" if name else place
                problems.append(Problem("wrong-value", f"--checkpoint {shown}", "it names no network", self._expected))
        for name, places in given.items():
            if len(places) > 1:
                found = f"given {len(places)} times: {', '.join(places)}"
                problems.append(Problem("duplicate-key", f"--checkpoint {name}=PATH", found, "pass one of them"))
            elif not places or not places[0]:
                remedy = f"pass the checkpoint of the {name}, a {self.networks[name]}"
                problems.append(Problem("missing-option", f"--checkpoint {name}=PATH", "missing", remedy))
        if problems:
            raise UsageError(f"--checkpoint: {self.network} takes one for each of its networks", problems)
        return join_files({name: find_checkpoint(Path(os.path.expanduser(place))) for name, (place,) in given.items()})

    @property
    def _expected(self) -> str:
        return "expected " + " and ".join(f"{name}=PATH" for name in self.networks)

    def format_of(self, files: CheckpointFiles) -> str:
        assert isinstance(files, JoinedFiles)
        return ", ".join(dict.fromkeys(super(JoinedSource, self).format_of(part) for part in files.parts.values()))

    @contextlib.contextmanager
    def open(self, files: CheckpointFiles, model: ServedModel) -> Iterator[Checkpoint]:
        from ckpt2saved.checkpoint.contents import AVERAGE, open_checkpoint
        from ckpt2saved.checkpoint.joined import joined
        from ckpt2saved.sources.loaded import refuse_objects
        from ckpt2saved.sources.networks import variables_of

        assert isinstance(files, JoinedFiles)
        parts = {name: open_checkpoint(part) for name, part in files.parts.items()}
        needed = {}
        _refuse_others(self.networks, parts)
        for name, part in parts.items():
            refuse_objects(part)
            try:
                names = variables_of(self.networks[name], part.variables(), self._options(name))
            except CheckpointError as error:
                raise CheckpointError(f"{name}={part.files.prefix}: {error.message}", error.problems) from error
            needed[name] = [key for each in names for key in (each, each + AVERAGE) if key in part.shapes]
        with joined(files, parts, needed) as checkpoint:
            yield checkpoint

    def _options(self, name: str) -> Dict[str, Scalar]:
        from ckpt2saved.sources.networks import options_of

        return options_of(self.networks, self.options)[name]

    def load(self, checkpoint: Checkpoint, model: ServedModel) -> LoadedGraph:
        from ckpt2saved.checkpoint.joined import JoinedCheckpoint
        from ckpt2saved.graph.tf1 import tf
        from ckpt2saved.sources.loaded import loaded_from_builder
        from ckpt2saved.sources.networks import build_network

        assert isinstance(checkpoint, JoinedCheckpoint)
        graph = tf.Graph()
        tensors = {}
        with graph.as_default():
            for name, network in self.networks.items():
                with tf.variable_scope(name):
                    made = build_network(network, checkpoint.parts[name].variables(), self._options(name))
                tensors.update({f"{name}/{key}": tensor for key, tensor in made.items()})
        loaded = loaded_from_builder(model, graph, tensors)
        return replace(loaded, networks=tuple(self.networks), notes=loaded.notes + checkpoint.notes)


def _by_network(paths: Union[Sequence[Path], Mapping[str, Path]]) -> List[Tuple[str, str]]:
    """Network and checkpoint of each value; on a command line it is NAME=PATH, and the network "" without a name."""
    if isinstance(paths, Mapping):
        return [(name, str(path)) for name, path in paths.items()]
    parts = [str(path).partition("=") for path in paths]
    return [(name, place) if equals else ("", name) for name, equals, place in parts]


def _refuse_others(networks: Mapping[str, str], parts: Mapping[str, Checkpoint]) -> None:
    """Raise CheckpointError for checkpoints of another of the networks than they are given for."""
    from ckpt2saved.sources.networks.layout import network_of

    found = {name: network_of(part.variables()) for name, part in parts.items()}
    others = {name: network for name, network in found.items() if network not in (None, networks[name])}
    if not others:
        return
    problems = [
        Problem(
            "other-network",
            f"{name}={parts[name].files.prefix}",
            f"this is a checkpoint of {network}; expected one of {networks[name]}",
        )
        for name, network in others.items()
    ]
    remedy = "pass the checkpoint of each network"
    if len(others) == len(parts) and sorted(map(str, found.values())) == sorted(networks.values()):
        paths = {network: parts[name].files.prefix for name, network in found.items()}
        places = [f"--checkpoint {name}={paths[network]}" for name, network in networks.items()]
        remedy = f"they are swapped: pass {' '.join(places)}"
    raise CheckpointError(f"--checkpoint: {remedy}", problems)
