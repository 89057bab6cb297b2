"""The C++ SavedModel loader of TensorFlow, which TF Serving uses, called through the C API."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.answers import c_tensors
from ckpt2saved.console.reasons import reason_at_node
from ckpt2saved.errors import InvalidRequest, NotServable
from ckpt2saved.files.plain_paths import as_plain_directory
from ckpt2saved.graph.contrib import register_ops_of
from ckpt2saved.graph.tf1 import session_config, tf
from ckpt2saved.signature.tensors import Signature

# The library that exports the C API depends on the build: up to TensorFlow 2.9 the first one, later libtensorflow_cc.
_LIBRARIES = ("python/_pywrap_tensorflow_internal.so", "libtensorflow_cc*.so*", "libtensorflow_cc*.dylib")

_INVALID_ARGUMENT = 3  # of TF_Code

_TYPES = {
    "TF_NewStatus": (ctypes.c_void_p, []),
    "TF_DeleteStatus": (None, [ctypes.c_void_p]),
    "TF_GetCode": (ctypes.c_int, [ctypes.c_void_p]),
    "TF_Message": (ctypes.c_char_p, [ctypes.c_void_p]),
    "TF_NewGraph": (ctypes.c_void_p, []),
    "TF_DeleteGraph": (None, [ctypes.c_void_p]),
    "TF_NewSessionOptions": (ctypes.c_void_p, []),
    "TF_DeleteSessionOptions": (None, [ctypes.c_void_p]),
    "TF_SetConfig": (None, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]),
    "TF_CloseSession": (None, [ctypes.c_void_p, ctypes.c_void_p]),
    "TF_DeleteSession": (None, [ctypes.c_void_p, ctypes.c_void_p]),
    "TF_GraphOperationByName": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
    "TF_NewBuffer": (ctypes.c_void_p, []),
    "TF_NewBufferFromString": (ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_size_t]),
    "TF_DeleteBuffer": (None, [ctypes.c_void_p]),
    "TF_LoadSessionFromSavedModel": (
        ctypes.c_void_p,
        [
            ctypes.c_void_p,  # session options
            ctypes.c_void_p,  # run options
            ctypes.c_char_p,  # export directory
            ctypes.POINTER(ctypes.c_char_p),  # tags
            ctypes.c_int,
            ctypes.c_void_p,  # graph, filled
            ctypes.c_void_p,  # meta graph, filled; may be null
            ctypes.c_void_p,  # status
        ],
    ),
}


class _Output(ctypes.Structure):
    """TF_Output: one output of an operation."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class _Buffer(ctypes.Structure):
    """TF_Buffer: the bytes of a protobuf message."""

    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p)]


_TYPES["TF_SessionRun"] = (
    None,
    [
        ctypes.c_void_p,  # session
        ctypes.c_void_p,  # run options
        ctypes.POINTER(_Output),
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_int,
        ctypes.POINTER(_Output),
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_int,
        ctypes.c_void_p,  # target operations
        ctypes.c_int,
        ctypes.c_void_p,  # run metadata
        ctypes.c_void_p,  # status
    ],
)


def find_library() -> Optional[ctypes.CDLL]:
    """The library of the installed TensorFlow that exports the C++ loader; None if this build exports none."""
    for pattern in _LIBRARIES:
        for path in sorted(Path(tf.sysconfig.get_lib()).glob(pattern)):
            library = ctypes.CDLL(str(path))
            if all(hasattr(library, name) for name in [*_TYPES, *c_tensors.TYPES]):
                c_tensors.declare(library)
                for name, (result, arguments) in _TYPES.items():
                    function = getattr(library, name)
                    function.restype, function.argtypes = result, arguments
                return library
    return None


@contextlib.contextmanager
def loaded(library: ctypes.CDLL, directory: Path, config: Optional[tf.ConfigProto] = None) -> Iterator[LoadedModel]:
    """Load the SavedModel in `directory` as TF Serving does; raises NotServable with the loader's message.

    `config` is that of the session; None: session_config().
    """
    register_ops_of(directory)
    tag = (ctypes.c_char_p * 1)(tf.saved_model.SERVING.encode())
    path = os.fsencode(as_plain_directory(directory))
    with contextlib.ExitStack() as stack:
        status = stack.enter_context(_owned(library.TF_NewStatus(), library.TF_DeleteStatus))
        options = stack.enter_context(_owned(library.TF_NewSessionOptions(), library.TF_DeleteSessionOptions))
        content = (session_config() if config is None else config).SerializeToString()
        library.TF_SetConfig(options, content, len(content), status)
        _check(library, status, "TensorFlow refuses the configuration of a session")
        graph = stack.enter_context(_owned(library.TF_NewGraph(), library.TF_DeleteGraph))
        session = library.TF_LoadSessionFromSavedModel(options, None, path, tag, 1, graph, None, status)
        _check(library, status, f"TF Serving's loader refuses {directory}")
        stack.callback(library.TF_DeleteSession, session, status)
        stack.callback(library.TF_CloseSession, session, status)
        yield LoadedModel(library, session, graph)


@contextlib.contextmanager
def _owned(pointer: int, delete: Any) -> Iterator[ctypes.c_void_p]:
    try:
        yield ctypes.c_void_p(pointer)
    finally:
        delete(pointer)


def _check(library: ctypes.CDLL, status: ctypes.c_void_p, what: str, invalid: type = NotServable) -> None:
    """Raise NotServable if the status is not OK; `invalid` if it is INVALID_ARGUMENT."""
    code = library.TF_GetCode(status)
    if code != 0:
        kind = invalid if code == _INVALID_ARGUMENT else NotServable
        raise kind(f"{what}: {reason_at_node(library.TF_Message(status).decode('utf-8', 'replace'))}")


class LoadedModel:
    """A session of the C++ loader; valid inside the `loaded` context. Several threads may run it at a time."""

    def __init__(self, library: ctypes.CDLL, session: int, graph: ctypes.c_void_p) -> None:
        self._library = library
        self._session = session
        self._graph = graph

    def run(self, fetches: Sequence[str], feeds: Mapping[str, np.ndarray]) -> List[np.ndarray]:
        """Run the session; returns the values of `fetches` in order, strings as object arrays of bytes.

        Names are tensor names. Raises InvalidRequest or NotServable.
        """
        with self.prepared(fetches, feeds) as prepared, prepared.running() as done:
            done.check()
            return done.outputs.values

    @contextlib.contextmanager
    def prepared(self, fetches: Sequence[str], feeds: Mapping[str, np.ndarray]) -> Iterator[PreparedRun]:
        """A run whose inputs are copied into tensors, which may be done several times."""
        inputs = c_tensors.Inputs(self._library, feeds.values())
        try:
            ends = self._ends(list(feeds)), self._ends(fetches)
            yield PreparedRun(self._library, self._session, ends, inputs)
        finally:
            inputs.delete()

    def _ends(self, names: Sequence[str]) -> Any:
        """The TF_Output array for tensor names such as 'logits:0'."""
        outputs = (_Output * len(names))()
        for position, name in enumerate(names):
            operation, _, index = name.partition(":")
            pointer = self._library.TF_GraphOperationByName(self._graph, operation.encode())
            if not pointer:
                raise NotServable(f"Tensor {name}, specified in a signature, is not in the SavedModel's graph")
            outputs[position] = _Output(pointer, int(index or 0))
        return outputs


class PreparedRun:
    """A run of a session with its inputs; several threads may do it at a time."""

    def __init__(self, library: ctypes.CDLL, session: int, ends: Tuple[Any, Any], inputs: c_tensors.Inputs) -> None:
        self._library = library
        self._session = session
        self._feeds, self._fetches = ends
        self._inputs = inputs

    @property
    def bytes_in(self) -> int:
        """Bytes of the inputs."""
        return self._inputs.size

    @contextlib.contextmanager
    def running(self, options: Optional[tf.RunOptions] = None) -> Iterator[Run]:
        """Run the session, with step statistics as `options` say."""
        library = self._library
        with contextlib.ExitStack() as stack:
            status = stack.enter_context(_owned(library.TF_NewStatus(), library.TF_DeleteStatus))
            outputs = c_tensors.Outputs(library, len(self._fetches))
            stack.callback(outputs.delete)
            wanted, metadata = None, None
            if options is not None:
                content = options.SerializeToString()
                buffer = library.TF_NewBufferFromString(content, len(content))
                wanted = stack.enter_context(_owned(buffer, library.TF_DeleteBuffer))
                metadata = stack.enter_context(_owned(library.TF_NewBuffer(), library.TF_DeleteBuffer))
            inputs = self._inputs.array
            cpu, start = time.process_time(), time.perf_counter()
            library.TF_SessionRun(
                self._session,
                wanted,
                self._feeds,
                inputs,
                len(inputs),
                self._fetches,
                outputs.array,
                len(outputs),
                None,
                0,
                metadata,
                status,
            )
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
            done = Run(library, status, outputs, seconds=seconds, cpu_seconds=cpu_seconds, buffer=metadata)
            yield done


@dataclass(frozen=True)
class Run:
    """What a run returned; valid inside of the `running` context."""

    library: ctypes.CDLL
    status: ctypes.c_void_p
    outputs: c_tensors.Outputs
    seconds: float  # of the run, without copies of inputs and outputs
    cpu_seconds: float  # of this process meanwhile
    buffer: Optional[ctypes.c_void_p]

    @property
    def code(self) -> int:
        """The number of the status as tf.errors and gRPC have it; 0: OK."""
        return int(self.library.TF_GetCode(self.status))

    def check(self) -> None:
        """Raise InvalidRequest or NotServable if the run failed."""
        _check(self.library, self.status, "TF Serving would answer this request with an error", InvalidRequest)

    @property
    def metadata(self) -> tf.RunMetadata:
        """The step statistics and graphs that the options asked for."""
        buffer = ctypes.cast(self.buffer, ctypes.POINTER(_Buffer)).contents  # type: ignore[arg-type]
        return tf.RunMetadata.FromString(ctypes.string_at(buffer.data, buffer.length) if buffer.length else b"")


def with_strings(signatures: Mapping[str, Signature]) -> FrozenSet[str]:
    """Names of the signatures with string tensors."""
    return frozenset(name for name, signature in signatures.items() if signature.has_strings)
