"""TensorFlow's graph API, the same on 1.14 and on today's 2.x; the only module that imports tensorflow."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ckpt2saved.errors import TensorFlowError

# Read once, when the shared library is loaded: hides the start-up chatter, keeps errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# On processors that it likes, TensorFlow 2.9 and newer compute in oneDNN: with sums in another order, with a line on
# stderr that no log level hides, and with convolutions that abort the process on an input of the wrong rank.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

try:
    with warnings.catch_warnings():
        # TF 1.x spells numpy dtypes in a way that every later numpy warns about, forty lines of it.
        warnings.simplefilter("ignore")
        import tensorflow.compat.v1 as tf
        from tensorflow.core.framework.op_def_pb2 import OpList
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
        from tensorflow.python.framework import kernels, op_def_registry
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] != "tensorflow":
        raise  # TensorFlow is there; something that it needs is not
    raise TensorFlowError(
        "this command needs TensorFlow, and there is none in this Python: "
        "pip install 'ckpt2saved[cpu]' installs one that fits (or install the TensorFlow of your training)"
    ) from None
except TypeError as error:
    if "Descriptors cannot" not in str(error):
        raise
    raise TensorFlowError(
        "this TensorFlow was generated for an older protobuf than the one installed: pip install 'protobuf<3.21'"
    ) from error

__all__ = [
    "SavedModel",
    "TrackableObjectGraph",
    "contrib_directory",
    "frozen",
    "has_cpu_kernel",
    "load_library",
    "op_def",
    "tf",
    "v1_control_flow",
]


@contextlib.contextmanager
def v1_control_flow() -> Iterator[None]:
    """Loops and conditions made inside are Enter/Exit/Switch/Merge nodes, which a 1.x server runs too.

    TensorFlow has only a process-wide switch for this (it decides about TensorArrays as well), so it is put back.
    """
    # 1.14 has neither the question nor the switch in this namespace: there it is always v1.
    enabled = hasattr(tf, "control_flow_v2_enabled") and tf.control_flow_v2_enabled()
    if enabled:
        tf.disable_control_flow_v2()
    try:
        yield
    finally:
        if enabled:
            tf.enable_control_flow_v2()


def op_def(name: str) -> Any:
    """The OpDef that this TensorFlow registers under a name; None where it has no such op."""
    if not hasattr(op_def_registry, "get_registered_ops"):
        return op_def_registry.get(name)
    # TensorFlow 1.x: Python's own registry has the libraries' ops as far as Python modules with them were imported.
    known = op_def_registry.get_registered_ops()
    # Ops without a kernel are left out: the libraries have some for TensorFlow's own tests.
    if name not in known and has_cpu_kernel(name) and name in _library_ops():
        op_def_registry.register_op_list(OpList(op=[_library_ops()[name]]))
    return known.get(name)


@functools.lru_cache(maxsize=1)
def _library_ops() -> Dict[str, Any]:
    """The ops of TensorFlow 1.x's libraries, without those of the libraries that are loaded later."""
    from tensorflow.python import pywrap_tensorflow

    ops = OpList.FromString(pywrap_tensorflow.TF_GetBuffer(pywrap_tensorflow.TF_GetAllOpList())).op
    for op in ops:  # as Python's modules have them, which TensorFlow compares where one is imported later
        op.ClearField("summary")
        op.ClearField("description")
        for part in [*op.input_arg, *op.output_arg, *op.attr]:
            part.ClearField("description")
    return {op.name: op for op in ops}


def contrib_directory() -> Optional[Path]:
    """Where this TensorFlow has the libraries of tf.contrib; None where it has no tf.contrib."""
    directory = Path(tf.sysconfig.get_lib()) / "contrib"
    return directory if directory.is_dir() else None


def load_library(path: Path) -> None:
    """Register the ops and kernels of a library; raises TensorFlowError where it can't be loaded."""
    try:
        tf.load_op_library(str(path))
    except (tf.errors.OpError, RuntimeError) as error:
        raise TensorFlowError("{}: this library of TensorFlow can't be loaded: {}".format(path, error)) from error


def has_cpu_kernel(name: str) -> bool:
    """Whether this TensorFlow can run an op that it registers without a GPU."""
    return any(
        kernel.device_type in ("CPU", "DEFAULT") for kernel in kernels.get_registered_kernels_for_op(name).kernel
    )


def frozen(concrete: Any) -> Tuple[Any, List[str], List[str]]:
    """A concrete function's GraphDef, its variables constants and its loops v1; the names of its inputs and outputs."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = convert_variables_to_constants_v2(concrete, lower_control_flow=True)
    names = [[tensor.name for tensor in tensors] for tensors in (function.inputs, function.outputs)]
    return function.graph.as_graph_def(), names[0], names[1]
