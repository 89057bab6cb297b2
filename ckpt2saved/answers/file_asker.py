"""A version's own files, asked through the loader that TF Serving uses."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import FrozenSet, Iterator, Mapping, Optional

from ckpt2saved.answers import cc_loader
from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.new_process import NewProcess, loaded_in_new_process
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.signature.tensors import Signature

_CC_LOADER = "the C++ loader that TF Serving uses"
_NEW_PROCESS = "Python's loader in a new process"


class FileAsker(Asker):
    """A SavedModel that was loaded afresh; raises NotServable where it can't answer, InvalidRequest where it refuses.

    Signatures with strings, which TensorFlow's C API does not carry alike in all releases, are asked through Python's
    loader in a new process; and so are all where this build of TensorFlow does not export the C++ loader.
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
        self.with_strings: FrozenSet[str] = frozenset(cc_loader.has_strings(signatures))
        if model is None:
            self._in_process()  # loads it, whatever is asked later

    @property
    def loader(self) -> str:
        """Which loader has read the files."""
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
    """The SavedModel in `directory`, loaded afresh; raises NotServable where it can't be loaded.

    `signatures` are those that can be asked; None: all of its saved_model.pb.
    """
    if signatures is None:
        signatures = read_signatures(directory)
    library = cc_loader.find_library()
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(cc_loader.loaded(library, directory)) if library else None
        yield FileAsker(directory, signatures, model, stack)
