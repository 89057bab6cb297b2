"""Run requests on the files of a SavedModel, through the loader that TF Serving uses."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator, Mapping, Optional

from ckpt2saved.answers import cc_loader
from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.new_process import NewProcess, loaded_in_new_process
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.signature.tensors import Signature

_CC_LOADER = "the C++ loader that TF Serving uses"
_NEW_PROCESS = "Python's loader in a new process"


class FileAsker(Asker):
    """A loaded SavedModel; raises NotServable if a run fails, InvalidRequest if the graph refuses the request.

    Signatures with strings run in a new process with the Python loader, where decoding a picture can end no export. All
    signatures do if this build of TensorFlow exports no C++ loader.
    """

    def __init__(
        self,
        directory: Path,
        signatures: Mapping[str, Signature],
        model: Optional[cc_loader.LoadedModel],
        stack: contextlib.ExitStack,
    ) -> None:
        self._directory = directory
        self._signatures = signatures
        self._model = model
        self._stack = stack
        self._process: Optional[NewProcess] = None
        self.with_strings = cc_loader.with_strings(signatures)
        if model is None:
            self._in_process()  # load now, so that errors show even without requests

    @property
    def loader(self) -> str:
        """Name of the loader that loaded the files."""
        if self._model is None:
            return f"{_NEW_PROCESS} (this TensorFlow does not export the C++ one)"
        return f"{_CC_LOADER}; signatures with strings by {_NEW_PROCESS}" if self._process else _CC_LOADER

    def answer(self, request: Request) -> Answers:
        if self._model is None or request.signature in self.with_strings:
            return self._in_process().answer(request)
        feeds, fetches = request.feeds_and_fetches(self._signatures)
        return dict(zip(fetches, self._model.run(list(fetches.values()), feeds)))

    def _in_process(self) -> NewProcess:
        if self._process is None or self._process.has_ended:
            self._process = self._stack.enter_context(loaded_in_new_process(self._directory))
        return self._process


@contextlib.contextmanager
def open_files(directory: Path, signatures: Optional[Mapping[str, Signature]] = None) -> Iterator[FileAsker]:
    """Load the SavedModel in `directory`; raises NotServable if that fails.

    `signatures` are the signatures that can be run; None: all in saved_model.pb.
    """
    if signatures is None:
        signatures = read_signatures(directory)
    library = cc_loader.find_library()
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(cc_loader.loaded(library, directory)) if library else None
        yield FileAsker(directory, signatures, model, stack)
