"""The keywords of `ckpt2saved.export`, read into the options of an export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from ckpt2saved.answers.search_limits import SearchLimits
from ckpt2saved.client.connection import address_of
from ckpt2saved.errors.values import check_values
from ckpt2saved.exporting.accuracy import GateOptions, read_gate
from ckpt2saved.exporting.plan import ExportOptions
from ckpt2saved.files.reading import PathLike
from ckpt2saved.server_config.version_batching import read_parameters
from ckpt2saved.sources.graph_plan import Checkpoints, graph_options
from ckpt2saved.verification.known_clients import known_clients
from ckpt2saved.verification.waiting import LiveCheck, ServerOptions
from ckpt2saved.versions.bases import base_at

_OF_GATE = ("allow_empty", "nfc", "batch_size", "max_cer", "lines_signature", "tolerance")
_CHECKED = (
    *("weights", "ctc_decoder", "beam_width", "top_paths", "parity_seconds", "parity_lines", "timeout", "version"),
    *("batch_size", "max_cer", "tolerance", "for_device"),
)
_OF_EXPORT = (
    *("version", "dry_run", "parity", "with_onednn", "no_warmup", "for_serving", "for_device", "no_fold", "gpu"),
    *("unless_published", "skip_unchanged", "single_writer"),
)


def read_export(
    checkpoint: Checkpoints, export_dir: PathLike, **given: Any
) -> Tuple[ExportOptions, Optional[LiveCheck]]:
    """Return the options of an export, and the check of the server that it waits for.

    `given` has a value for each keyword about a graph, an export, labelled pictures and a server. Labels files and
    baselines are read, and no server is asked. Raises UsageError for a value that is malformed or has no effect
    (StrayOptions), LabelsError, VersionError, and ServerError if a package is missing.
    """
    check_values(**{name: given[name] for name in _CHECKED})
    wait_for, model_name = given.pop("wait_for"), given.pop("model_name")
    base = base_at(export_dir, single_writer=given["single_writer"])
    server = given.pop("server")
    gate_options = GateOptions(
        lines=_path(given.pop("lines")),
        not_worse_than=_place(given.pop("not_worse_than")),
        better_than=_place(given.pop("better_than")),
        compatible_with=_place(given.pop("compatible_with")),
        server=address_of(server, "--server"),
        **_taken(given, _OF_GATE),
    )
    server_options = ServerOptions(
        address=wait_for,
        timeout=given.pop("timeout"),
        model_name=model_name,
        probe_signatures=tuple(given.pop("probe_signatures")),
        batched=given.pop("batched"),
    )
    check = LiveCheck.of(server_options, "--wait-for", other=server is not None)
    gate = read_gate(gate_options, base, address_of(wait_for, "--wait-for"), model_name)
    clients = known_clients(
        gate_options.compatible_with, base, gate_options.server or address_of(wait_for, "--wait-for"), model_name
    )
    warmup = given.pop("warmup")
    requests = (warmup,) if isinstance(warmup, (int, str, os.PathLike)) else warmup
    limits = SearchLimits(given.pop("parity_seconds"), given.pop("parity_lines"))
    signatures = tuple(given.pop("warmup_signatures"))
    batching = given.pop("batching_params")
    of_export = _taken(given, _OF_EXPORT)
    options = ExportOptions(
        graph=graph_options(checkpoint, **given),
        base=export_dir,
        search_limits=limits,
        warmup=tuple(one if isinstance(one, int) else Path(one) for one in requests),
        warmup_signatures=signatures,
        batching=None if batching is None else read_parameters(batching),
        accuracy=gate,
        clients=clients,
        **of_export,
    )
    return options, check


def _taken(given: Dict[str, Any], names: Tuple[str, ...]) -> Dict[str, Any]:
    return {name: given.pop(name) for name in names}


def _path(value: Optional[PathLike]) -> Optional[Path]:
    return None if value is None else Path(value)


def _place(value: Any) -> Any:
    return Path(value) if isinstance(value, os.PathLike) else value
