"""Complete graph options with the provenance that is recorded in a version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

from ckpt2saved.errors import UsageError
from ckpt2saved.signature.file import builtin_models
from ckpt2saved.signature.model import Scalar
from ckpt2saved.sources.graph_plan import GraphOptions
from ckpt2saved.versions import read_provenance


def with_recorded(options: GraphOptions, version_dir: Path) -> GraphOptions:
    """The options completed with the provenance of the version; raises UsageError if no graph is known then."""
    provenance = read_provenance(version_dir) or {}
    if not options.names_a_model:
        name, recorded = _recorded_model(version_dir, provenance)
        recorded = {**recorded, **_recorded_steps(version_dir, provenance)}
        options = replace(options, model=name, options=dict(recorded, **options.options))
    if options.weights == "auto" and provenance.get("weights") in ("raw", "ema"):
        options = replace(options, weights=provenance["weights"])
    if options.ctc_decoder is None and provenance.get("ctc_decoder") == "greedy":
        options = replace(options, ctc_decoder="greedy")
    return options


def _recorded_steps(version_dir: Path, provenance: Mapping[str, Any]) -> Mapping[str, Scalar]:
    """The options of the steps of signatures; files are those in the version."""
    steps = provenance.get("steps")
    if not isinstance(steps, dict):
        return {}
    assets = version_dir / "assets"
    files = {name: str(assets / Path(file).name) for name, file in _texts(steps.get("files")).items()}
    return {**_scalars(steps.get("options")), **files}


def _scalars(recorded: Any) -> Dict[str, Scalar]:
    """The recorded values of options, without those that no option has, as in a damaged record."""
    values = recorded if isinstance(recorded, dict) else {}
    return {name: value for name, value in values.items() if isinstance(value, (str, int, float, bool))}


def _texts(recorded: Any) -> Dict[str, str]:
    return {name: value for name, value in _scalars(recorded).items() if isinstance(value, str)}


def _recorded_model(version_dir: Path, provenance: Mapping[str, Any]) -> Tuple[str, Mapping[str, Scalar]]:
    """Name and options of the recorded built-in model; other sources are not recorded completely."""
    graph = provenance.get("graph")
    if not isinstance(graph, dict):
        graph = {}
    name, builder = provenance.get("model"), graph.get("builder")
    if name == builder and name in builtin_models():
        return name, _scalars(graph.get("options"))
    origin = f"it was exported from {builder or 'elsewhere'}" if provenance else "ckpt2saved did not export it"
    raise UsageError(
        f"{version_dir}: {origin}, and a version records all options for the comparison with a checkpoint only for a"
        " built-in model; pass the options that it was exported with: --model NAME|FILE.yaml, or --graph with --input"
        " and --output, and --option, --set, --map, --decode where they were used"
    )
