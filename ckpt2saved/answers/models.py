"""Models that answer requests: the files of a version, or a model on a running server."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ContextManager, Dict, Iterator, Optional, Union

from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.client_asker import ClientAsker
from ckpt2saved.client.address import ModelAddress, parse_model_place
from ckpt2saved.client.model_client import RETRIES, TIMEOUT_SECONDS, Client
from ckpt2saved.console.say import Say
from ckpt2saved.errors import StrayOptions, UsageError
from ckpt2saved.files.reading import PathLike
from ckpt2saved.graph.devices import gpus
from ckpt2saved.requests.gathering import served_signatures
from ckpt2saved.saved_model.reading import SavedModelFile
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.versions import find_complete_version


@dataclass(frozen=True)
class PlaceOptions:
    """The options of a place: the first ones are about a model on a server, `gpu` about the files of a version."""

    model_name: Optional[str] = None  # None: as in the address
    timeout: float = TIMEOUT_SECONDS  # of each request, retries included
    retries: int = RETRIES
    gpu: bool = False  # compute on the GPUs of this machine


def model_at(place: Union[PathLike, ModelAddress], options: PlaceOptions, say: Say) -> Model:
    """The model at a place, whose signatures are read: a version, a base directory, or the address of a model.

    Raises UsageError, VersionError, ServingError, and the errors of a Client.
    """
    try:
        found = parse_model_place(place) if isinstance(place, str) else place
        if isinstance(found, ModelAddress):
            if options.gpu:
                raise StrayOptions(["gpu"], "the files of a version: a server has its own devices")
            client = Client(found, options.model_name or "", timeout=options.timeout, retries=options.retries)
            return ServedModel(client)
    except ValueError as error:
        raise UsageError(str(error)) from error
    of_servers = [one for one in fields(options) if one.name != "gpu"]
    stray = [one.name for one in of_servers if getattr(options, one.name) != one.default]
    if stray:
        raise StrayOptions(stray[:1], "the address of a server")
    return FileModel(find_complete_version(found, say), gpu=options.gpu)


class Model(ABC):
    """A model whose signatures are known before it is opened; `name` is used in messages."""

    name: str
    signatures: Dict[str, Signature]  # those that can be run, without those that only warm a server up

    @abstractmethod
    def opened(self, signature: Signature) -> ContextManager[Asker]:
        """Open the model for requests to one of its signatures."""


class FileModel(Model):
    """The files of a version, run with TensorFlow, which is imported when the model is opened.

    Its Asker raises NotServable if the files do not load or a run fails, InvalidRequest if the graph refuses a request;
    `opened` raises TensorFlowError if there is no TensorFlow, or for `gpu` no GPU.
    """

    def __init__(self, directory: Path, *, gpu: bool = False) -> None:
        """Read the signatures; raises ServingError if that fails."""
        self.name = str(directory)
        self.signatures = _for_requests(served_signatures(SavedModelFile(directory)))
        self._directory = directory
        self._gpu = gpu

    @contextlib.contextmanager
    def opened(self, signature: Signature) -> Iterator[Asker]:
        with contextlib.ExitStack() as stack:
            with gpus(self._gpu):
                asker = stack.enter_context(self._loaded(signature))
            yield asker

    def _loaded(self, signature: Signature) -> ContextManager[Asker]:
        if self._gpu:
            from ckpt2saved.graph.tf1 import check_gpus

            check_gpus()
        if signature.has_strings:  # for which FileAsker would load the files twice
            from ckpt2saved.answers.new_process import loaded_in_new_process

            return loaded_in_new_process(self._directory)
        from ckpt2saved.answers.file_asker import open_files

        return open_files(self._directory, {signature.name: signature})


class ServedModel(Model):
    """A model on a server; its Asker raises the errors of Client.predict."""

    def __init__(self, client: Client) -> None:
        """Read the signatures; raises the errors of Client.signatures."""
        self.name = str(client.address)
        self.signatures = _for_requests(client.signatures())
        self._client = client

    @contextlib.contextmanager
    def opened(self, signature: Signature) -> Iterator[Asker]:
        yield ClientAsker(self._client)


def _for_requests(signatures: Dict[str, Signature]) -> Dict[str, Signature]:
    return {name: one for name, one in signatures.items() if not one.is_for_warmup}
