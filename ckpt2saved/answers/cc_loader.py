"""The C++ SavedModel loader of TensorFlow, which TF Serving uses, called through the C API."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Any, FrozenSet, Iterator, List, Mapping, Optional, Sequence

import numpy as np

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
    "TF_AllocateTensor": (
        ctypes.c_void_p,
        [ctypes.c_int, ctypes.POINTER(ctypes.c_int64), ctypes.c_int, ctypes.c_size_t],
    ),
    "TF_DeleteTensor": (None, [ctypes.c_void_p]),
    "TF_TensorData": (ctypes.c_void_p, [ctypes.c_void_p]),
    "TF_TensorByteSize": (ctypes.c_size_t, [ctypes.c_void_p]),
    "TF_TensorType": (ctypes.c_int, [ctypes.c_void_p]),
    "TF_NumDims": (ctypes.c_int, [ctypes.c_void_p]),
    "TF_Dim": (ctypes.c_int64, [ctypes.c_void_p, ctypes.c_int]),
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
            if all(hasattr(library, name) for name in _TYPES):
                for name, (result, arguments) in _TYPES.items():
                    function = getattr(library, name)
                    function.restype, function.argtypes = result, arguments
                return library
    return None


@contextlib.contextmanager
def loaded(library: ctypes.CDLL, directory: Path) -> Iterator[LoadedModel]:
    """Load the SavedModel in `directory` as TF Serving does; raises NotServable with the loader's message."""
    register_ops_of(directory)
    tag = (ctypes.c_char_p * 1)(tf.saved_model.SERVING.encode())
    path = os.fsencode(as_plain_directory(directory))
    with contextlib.ExitStack() as stack:
        status = stack.enter_context(_owned(library.TF_NewStatus(), library.TF_DeleteStatus))
        options = stack.enter_context(_owned(library.TF_NewSessionOptions(), library.TF_DeleteSessionOptions))
        config = session_config().SerializeToString()
        library.TF_SetConfig(options, config, len(config), status)
        _check(library, status, "TensorFlow refuses the configuration of a session")
        graph = stack.enter_context(_owned(library.TF_NewGraph(), library.TF_DeleteGraph))
        session = library.TF_LoadSessionFromSavedModel(options, None, path, tag, 1, graph, None, status)
        _check(library, status, f"TF Serving's loader refuses {directory}")
        stack.callback(library.TF_DeleteSession, session, status)
        stack.callback(library.TF_CloseSession, session, status)
        yield LoadedModel(library, session, graph, status)


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
    """A session of the C++ loader; valid inside the `loaded` context."""

    def __init__(self, library: ctypes.CDLL, session: int, graph: ctypes.c_void_p, status: ctypes.c_void_p) -> None:
        self._library = library
        self._session = session
        self._graph = graph
        self._status = status

    def run(self, fetches: Sequence[str], feeds: Mapping[str, np.ndarray]) -> List[np.ndarray]:
        """Run the session; returns the values of `fetches` in order. Names are tensor names; string tensors fail."""
        library = self._library
        inputs = [self._tensor_handle(value) for value in feeds.values()]
        results = (ctypes.c_void_p * len(fetches))()
        try:
            library.TF_SessionRun(
                self._session,
                None,
                self._outputs(list(feeds)),
                (ctypes.c_void_p * len(inputs))(*inputs),
                len(inputs),
                self._outputs(fetches),
                results,
                len(fetches),
                None,
                0,
                None,
                self._status,
            )
            _check(library, self._status, "TF Serving would answer this request with an error", InvalidRequest)
            return [self._array(pointer) for pointer in results if pointer]
        finally:
            for pointer in inputs + [pointer for pointer in results if pointer]:
                library.TF_DeleteTensor(pointer)

    def _outputs(self, names: Sequence[str]) -> Any:
        """The TF_Output array for tensor names such as 'logits:0'."""
        outputs = (_Output * len(names))()
        for position, name in enumerate(names):
            operation, _, index = name.partition(":")
            pointer = self._library.TF_GraphOperationByName(self._graph, operation.encode())
            if not pointer:
                raise NotServable(f"Tensor {name}, specified in a signature, is not in the SavedModel's graph")
            outputs[position] = _Output(pointer, int(index or 0))
        return outputs

    def _tensor_handle(self, value: np.ndarray) -> int:
        value = np.asarray(value, order="C")  # ascontiguousarray would make a vector of a scalar
        dims = (ctypes.c_int64 * value.ndim)(*value.shape)
        dtype = tf.as_dtype(value.dtype).as_datatype_enum
        pointer: int = self._library.TF_AllocateTensor(dtype, dims, value.ndim, value.nbytes)
        ctypes.memmove(self._library.TF_TensorData(pointer), value.ctypes.data, value.nbytes)
        return pointer

    def _array(self, pointer: int) -> np.ndarray:
        library = self._library
        shape = [library.TF_Dim(pointer, axis) for axis in range(library.TF_NumDims(pointer))]
        dtype = np.dtype(tf.as_dtype(library.TF_TensorType(pointer)).as_numpy_dtype)
        content = ctypes.string_at(library.TF_TensorData(pointer), library.TF_TensorByteSize(pointer))
        return np.frombuffer(content, dtype).reshape(shape)


def with_strings(signatures: Mapping[str, Signature]) -> FrozenSet[str]:
    """Names of the signatures with string tensors, which `LoadedModel.run` does not support."""
    return frozenset(name for name, signature in signatures.items() if signature.has_strings)
