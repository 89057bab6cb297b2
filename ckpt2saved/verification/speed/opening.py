"""Open what is measured, and choose the signature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Mapping, Optional, Sequence, Tuple, Union

from ckpt2saved.client.address import ModelAddress, parse_model_place
from ckpt2saved.client.model_client import TIMEOUT_SECONDS, Client
from ckpt2saved.console.say import Say, silent
from ckpt2saved.errors import StrayOptions, UsageError
from ckpt2saved.files.reading import PathLike
from ckpt2saved.requests.gathering import served_signatures
from ckpt2saved.requests.pictures import TEXT
from ckpt2saved.saved_model.reading import SavedModelFile
from ckpt2saved.server_config.settings import ServerSettings
from ckpt2saved.signature.tensors import DEFAULT_SIGNATURE, Signature
from ckpt2saved.verification.speed.loader_target import LoaderTarget
from ckpt2saved.verification.speed.server_target import ServerTarget
from ckpt2saved.verification.speed.target import Target
from ckpt2saved.versions import find_complete_version


@dataclass(frozen=True)
class Opening:
    """How the targets are opened."""

    signature: Optional[str] = None  # None: `text`, or serving_default, or the only one
    model_name: Optional[str] = None  # None: as in the address
    timeout: float = TIMEOUT_SECONDS  # of each request to a server
    settings: Tuple[ServerSettings, ...] = ()  # of processes with the files of a version; (): one without settings
    gpu: bool = False  # these processes may use GPUs


def settings_of(
    intra_op: Optional[Sequence[int]],
    inter_op: Optional[Sequence[int]],
    onednn: Optional[str],
    mixed_precision: Optional[str],
) -> Tuple[ServerSettings, ...]:
    """Each combination of these settings; `onednn` is on, off or both. () if nothing is given.

    Raises UsageError for mixed precision without oneDNN.
    """
    if mixed_precision is not None and onednn in ("off", "both"):
        raise UsageError(f"--mixed-precision {mixed_precision}: TensorFlow computes it in oneDNN; leave --onednn out")
    if (intra_op, inter_op, onednn, mixed_precision) == (None, None, None, None):
        return ()
    choices: Mapping[Optional[str], Tuple[Optional[bool], ...]] = {
        None: (None,),
        "on": (True,),
        "off": (False,),
        "both": (False, True),
    }
    return tuple(
        ServerSettings(intra_op=intra, inter_op=inter, onednn=is_on, mixed_precision=mixed_precision)
        for is_on in choices[onednn]
        for intra in intra_op or (None,)
        for inter in inter_op or (None,)
    )


def open_target(place: Union[PathLike, ModelAddress], options: Opening) -> Target:
    """The one target at a place, as `open_targets`."""
    (target,) = open_targets(place, options)
    return target


def open_targets(place: Union[PathLike, ModelAddress], options: Opening, say: Say = silent) -> List[Target]:
    """The targets at a place: the address of a model, or a version (or the newest below a base) with each setting.

    Raises UsageError, the errors of a Client, and VersionError, ServingError and NotServable of a version.
    """
    try:
        found = parse_model_place(place) if isinstance(place, str) else place
        if isinstance(found, ModelAddress):
            return [_served(found, options)]
    except ValueError as error:
        raise UsageError(str(error)) from error
    stray = [
        name
        for name, is_given in (
            ("model_name", options.model_name is not None),
            ("timeout", options.timeout != TIMEOUT_SECONDS),
        )
        if is_given
    ]
    if stray:
        raise StrayOptions(stray[:1], "the address of a server")
    directory = find_complete_version(Path(found), say)
    signature = chosen_signature(served_signatures(SavedModelFile(directory)), options.signature, str(directory))
    targets: List[Target] = []
    try:
        for settings in options.settings or (ServerSettings(),):
            targets.append(LoaderTarget(directory, signature, settings, gpu=options.gpu))
    except BaseException:
        for target in targets:
            target.close()
        raise
    return targets


def _served(address: ModelAddress, options: Opening) -> Target:
    """The target on a server."""
    given = ["gpu"] if options.gpu else []
    if options.settings:
        given += [name for name, value in options.settings[0].as_content().items() if value is not None]
    if given:
        raise StrayOptions(given, "the directory of a version: a server has its own settings")
    client = Client(address, options.model_name or "", timeout=options.timeout)
    version = client.version()
    signature = chosen_signature(client.signatures(), options.signature, str(client.address))
    try:
        return ServerTarget(client, signature, version, options.timeout)
    except ValueError as error:
        raise UsageError(f"{client.address}: the outputs of {signature.name} can't be read: {error}") from error


def chosen_signature(signatures: Mapping[str, Signature], requested: Optional[str], where: str) -> Signature:
    """The requested signature, or `text`, or serving_default, or the only one; raises UsageError."""
    names = [name for name in sorted(signatures) if not signatures[name].is_for_warmup]
    if requested is None:
        for name in (TEXT, DEFAULT_SIGNATURE, *(names if len(names) == 1 else ())):
            if name in names:
                return signatures[name]
        raise UsageError(f"{where}: choose a signature with --signature: {', '.join(names) or 'it has none'}")
    if requested not in names:
        raise UsageError(f"--signature {requested}: {where} has {', '.join(names) or 'no signature'}")
    return signatures[requested]
