"""TensorFlow's graph API, the same on 1.14 and on today's 2.x; the only module that imports tensorflow."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

from ckpt2saved.errors import TensorFlowError
from ckpt2saved.graph.devices import uses_gpus
from ckpt2saved.graph.ops import IMPLEMENTS

if "tensorflow" not in sys.modules:  # otherwise the variables were read already, and are another program's
    # Read once, when the shared library is loaded: hides the start-up chatter, keeps errors.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # On processors that it likes, TensorFlow 2.9 and newer compute in oneDNN: with sums in another order, with a line
    # on stderr that no log level hides, and with convolutions that abort the process on an input of the wrong rank.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np

try:
    with warnings.catch_warnings():
        # TF 1.x spells numpy dtypes in a way that every later numpy warns about, forty lines of it.
        warnings.simplefilter("ignore")
        import tensorflow.compat.v1 as tf
        from tensorflow.core.framework.op_def_pb2 import OpList
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
        from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
        from tensorflow.python.framework import kernels, op_def_registry
        from tensorflow.python.framework.function import Defun
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
    "Defun",
    "SavedModel",
    "TrackableObjectGraph",
    "check_gpus",
    "children_of",
    "contrib_directory",
    "count_gpus",
    "fingerprint_of",
    "has_cpu_kernel",
    "inlined",
    "load_library",
    "op_def",
    "open_session",
    "same_random_numbers",
    "session_config",
    "tf",
    "undisturbed",
    "uses_onednn",
    "v1_control_flow",
]


@contextlib.contextmanager
def v1_control_flow() -> Iterator[None]:
    """Loops and conditions made inside are Enter/Exit/Switch/Merge nodes, which a 1.x server runs too.

    TensorFlow has only a process-wide switch for this (it decides about TensorArrays as well), so it is put back when
    the last thread leaves. A thread that builds another graph meanwhile gets v1 control flow too.
    """
    _v1_switch.enter()
    try:
        yield
    finally:
        _v1_switch.leave()


class _V1Switch:
    """The process-wide switch, off while any thread is inside of v1_control_flow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._was_on = False

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                # 1.14 has neither the question nor the switch in this namespace: there it is always v1.
                self._was_on = hasattr(tf, "control_flow_v2_enabled") and tf.control_flow_v2_enabled()
                if self._was_on:
                    tf.disable_control_flow_v2()

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._was_on:
                tf.enable_control_flow_v2()


_v1_switch = _V1Switch()


def session_config() -> tf.ConfigProto:
    """The configuration of a session, without GPUs unless the call may use them.

    It takes memory of a GPU as it needs it: by default the first process takes nearly all, and others of the same call
    find none.
    """
    if uses_gpus():
        return tf.ConfigProto(gpu_options=tf.GPUOptions(allow_growth=True))
    return tf.ConfigProto(device_count={"GPU": 0})


def count_gpus() -> int:
    """Return the number of GPUs that TensorFlow finds; no memory of a GPU is taken for it."""
    return len(tf.config.experimental.list_physical_devices("GPU"))


def check_gpus() -> None:
    """Raise TensorFlowError if TensorFlow finds no GPU."""
    if not count_gpus():
        raise TensorFlowError(
            f"--gpu: TensorFlow {tf.version.VERSION} finds no GPU; expected one that nvidia-smi lists, and a "
            "TensorFlow for GPUs with the CUDA libraries of its release, as pip install 'ckpt2saved[gpu]' installs"
        )


def open_session(graph: Optional[tf.Graph] = None, config: Optional[tf.ConfigProto] = None) -> tf.Session:
    """A session of `graph`, or of the default graph, on the devices of session_config."""
    return tf.Session(graph=graph, config=session_config() if config is None else config)


@contextlib.contextmanager
def same_random_numbers() -> Iterator[None]:
    """Context after which the random states of Python, NumPy and TensorFlow's eager mode are those before.

    The initial values of variables take numbers from them, and so do some modules when they are imported.
    """
    from tensorflow.python.eager import context

    of_python, of_numpy = random.getstate(), np.random.get_state()
    # It makes the seeds of eager ops, once tf.random.set_seed was called. Ops with the same seed share their state, so
    # that those made inside need other ones.
    eager = context.context()
    of_tensorflow = getattr(eager, "_rng", None)
    try:
        if of_tensorflow is not None:
            eager._rng = random.Random()
        yield
    finally:
        if of_tensorflow is not None:
            eager._rng = of_tensorflow
        random.setstate(of_python)
        np.random.set_state(of_numpy)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Context for code that makes variables in eager mode: on the CPU, and with same_random_numbers."""
    on_gpus = uses_gpus() or not tf.config.experimental.list_logical_devices("GPU")
    with same_random_numbers(), contextlib.nullcontext() if on_gpus else tf.device("/CPU:0"):
        yield


def uses_onednn() -> Optional[bool]:
    """Whether this process computes in oneDNN; None where this TensorFlow does not say so."""
    try:
        from tensorflow.python.util import _pywrap_util_port

        return bool(_pywrap_util_port.IsMklEnabled())
    except (ImportError, AttributeError):  # TensorFlow 1.x, and the first ones of 2
        from tensorflow.python import pywrap_tensorflow

        known = getattr(pywrap_tensorflow, "IsMklEnabled", None)
        return None if known is None else bool(known())


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
        raise TensorFlowError(f"{path}: this library of TensorFlow can't be loaded: {error}") from error


def fingerprint_of(directory: Path) -> Optional[Any]:
    """The FingerprintDef of a SavedModel's files; None where this TensorFlow reads none (before 2.12).

    The hash of a file that TensorFlow can't read is 0.
    """
    try:
        from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef
        from tensorflow.python.saved_model.fingerprinting import read_fingerprint  # noqa: F401
        from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting
    except ImportError:
        return None
    try:
        try:
            made = fingerprinting.CreateFingerprintDef(str(directory))
        except TypeError:  # TensorFlow 2.12 takes the content of saved_model.pb too
            content = (directory / tf.saved_model.SAVED_MODEL_FILENAME_PB).read_bytes()
            made = fingerprinting.CreateFingerprintDef(content, str(directory))
    except fingerprinting.FingerprintException:
        return FingerprintDef()
    return FingerprintDef.FromString(made)


def has_cpu_kernel(name: str) -> bool:
    """Whether this TensorFlow can run an op that it registers without a GPU."""
    return any(
        kernel.device_type in ("CPU", "DEFAULT") for kernel in kernels.get_registered_kernels_for_op(name).kernel
    )


def inlined(concrete: Any) -> Any:
    """A concrete function's GraphDef with the functions that it calls laid into it, and its loops and conditions v1.

    What it captures are placeholders, as in `concrete.graph`, whose names of inputs and outputs are kept. It is what
    TensorFlow does itself before it turns variables into constants.
    """
    from tensorflow.core.protobuf.config_pb2 import ConfigProto
    from tensorflow.python.grappler import tf_optimizer

    graph_def = concrete.graph.as_graph_def()
    for function in graph_def.library.function:
        for one in [function] + list(function.node_def):
            _let_inline(one.attr)
    for node in graph_def.node:
        _let_inline(node.attr)
    meta_graph = tf.train.export_meta_graph(graph_def=graph_def, graph=concrete.graph)
    for name in ("variables", "model_variables", "trainable_variables", "local_variables"):
        meta_graph.collection_def.pop(name, None)
    ends = [tensor.name for tensor in concrete.inputs + concrete.outputs]
    meta_graph.collection_def["train_op"].node_list.value.extend(ends)  # the optimizer keeps what is named here
    config = ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1
    config.graph_options.rewrite_options.optimizers.append("function")
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def _let_inline(attributes: Any) -> None:
    """Take away what keeps a function from being inlined: a second one for GPUs, as Keras has of its LSTM; XLA."""
    for name in (IMPLEMENTS, "_XlaMustCompile", "_noinline"):
        attributes.pop(name, None)


def children_of(trackable: Any) -> Dict[str, Any]:
    """The objects that tf.train.Checkpoint saves with one, by the names that it has for them."""
    view = getattr(tf.compat.v2.train, "TrackableView", None)
    if view is not None:
        return dict(view.children(trackable))
    trackable._maybe_initialize_trackable()
    if hasattr(trackable, "_trackable_children"):
        return dict(trackable._trackable_children())
    return {dependency.name: dependency.ref for dependency in trackable._checkpoint_dependencies}
