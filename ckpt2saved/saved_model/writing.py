"""Writing of a SavedModel: signatures bound to a graph, the pruned graph, variables and assets."""

from __future__ import annotations

import contextlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.checkpoint.contents import Checkpoint, Weights, served_as
from ckpt2saved.checkpoint.derived import Derived
from ckpt2saved.checkpoint.reading import unreadable
from ckpt2saved.checkpoint.variables import add_restore
from ckpt2saved.errors import NotServable, SignatureError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.write_errors import FULL, writing
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.placement import place_decoder_on_cpu
from ckpt2saved.graph.tf1 import SavedModel, open_session, tf
from ckpt2saved.saved_model.fingerprint import write_fingerprint
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.tensors import Signature, TensorSpec

_AT_ONCE = 1 << 28  # bytes of variables that are copied together
_THREADS = 2  # copy at the same time: one reads while the other writes
_CHECKED = (tf.float16, tf.bfloat16, tf.float32, tf.float64)  # may be NaN; for others there is no kernel that tells


@dataclass(frozen=True)
class Asset:
    """A file that a graph reads: the constant with its path, its location, and its name in `assets`."""

    tensor: str
    file: Path
    name: str


@dataclass(frozen=True)
class ServingGraph:
    """The content of saved_model.pb: nodes, restore ops and signatures."""

    graph_def: Any  # GraphDef
    saver_def: Any  # SaverDef
    signatures: Mapping[str, Signature]
    init_op: str = ""  # fills the lookup tables, where there are some
    assets: Tuple[Asset, ...] = ()
    is_for_gpu: bool = False  # what GPUs are slow at is placed on the CPU

    def kept_nodes(self) -> List[str]:
        """Return the nodes that serving needs besides those of signatures: restore, table and asset nodes."""
        saver = self.saver_def
        names = [saver.filename_tensor_name, saver.save_tensor_name, saver.restore_op_name, self.init_op]
        return [node_name(name) for name in names + [asset.tensor for asset in self.assets] if name]


def bind_signatures(model: ServedModel, tensors: Mapping[str, Any], graph: tf.Graph) -> Dict[str, Signature]:
    """Return the signatures of `model` by name, bound to the builder's tensors or any `node:0` of `graph`.

    Inputs and outputs are by key, with the names, dtypes and shapes of saved_model.pb. Raises SignatureError with every
    mismatch, and NotServable if an output has no tensor name.
    """
    binder = _Binder(tensors, graph)
    bound: Dict[str, Signature] = {}
    for signature in model.signatures:
        where = f"signatures.{signature.name}"
        inputs = binder.bind(signature.inputs, where + ".inputs")
        outputs = binder.bind(signature.outputs, where + ".outputs")
        bound[signature.name] = Signature(signature.name, inputs, outputs)
        binder.problems += _clashes(bound[signature.name])
    binder.problems += _other_shapes(model)
    if binder.nameless:
        raise NotServable(f"{model.source}: it serves tensors that have no name", binder.nameless)
    if binder.problems:
        raise SignatureError(f"{model.source}: it does not fit the graph", binder.problems)
    return bound


def _clashes(signature: Signature) -> List[Problem]:
    """Return problems for keys bound to one tensor where requests would fail."""
    problems: List[Problem] = []
    fed: Dict[str, str] = {}
    for spec in signature.inputs:
        if fed.setdefault(spec.tensor, spec.key) != spec.key:
            found = (
                f"{fed[spec.tensor]} and {spec.key} are both {spec.tensor}, and TF Serving would answer every request"
                ' with "fed more than once"'
            )
            where = f"signatures.{signature.name}.inputs"
            problems.append(Problem("fed-twice", where, found, "remove one of them"))
    for spec in signature.outputs:
        if spec.tensor in fed:
            found = (
                f"{spec.tensor} is the input {fed[spec.tensor]} itself, and TF Serving would answer every request with"
                ' "is both fed and fetched"'
            )
            where = f"signatures.{signature.name}.outputs.{spec.key}"
            problems.append(Problem("fed-and-fetched", where, found, "remove it, or use a later tensor"))
    return problems


def _other_shapes(model: ServedModel) -> List[Problem]:
    """Return problems for inputs of several signatures that are one tensor but differ in shape."""
    problems: List[Problem] = []
    first: Dict[str, Tuple[str, Any]] = {}
    for signature in model.signatures:
        for spec in signature.inputs:
            where = f"signatures.{signature.name}.inputs.{spec.key}"
            sizes = _sizes(spec)
            other, found = first.setdefault(spec.tensor, (where, sizes))
            if found != sizes:
                problems.append(Problem("other-shape", where, f"{spec.tensor} has another shape than {other}"))
    return problems


def _sizes(spec: TensorSpec) -> Optional[Tuple[Optional[int], ...]]:
    """Return a shape for TensorFlow, with None for unknown dimensions."""
    return None if spec.shape is None else tuple(size if isinstance(size, int) else None for size in spec.shape)


class _Binder:
    """Looks up tensors and collects mismatches."""

    def __init__(self, tensors: Mapping[str, Any], graph: tf.Graph) -> None:
        self.tensors = tensors
        self.graph = graph
        self.problems: List[Problem] = []
        self.nameless: List[Problem] = []

    def bind(self, specs: Sequence[TensorSpec], where: str) -> Tuple[TensorSpec, ...]:
        """Return the inputs or outputs of a signature by key, without mismatches."""
        bound = [self.bound(spec, f"{where}.{spec.key}") for spec in specs]
        return tuple(sorted((spec for spec in bound if spec is not None), key=lambda spec: spec.key))

    def bound(self, spec: TensorSpec, where: str) -> Optional[TensorSpec]:
        """Return the graph's tensor for a spec; None if it does not match."""
        tensor = self.tensor(spec, where)
        if tensor is None:
            return None
        if isinstance(tensor, tf.SparseTensor):
            found = (
                f"{spec.tensor!r} is a SparseTensor; TF Serving would load it and fail every request with"
                ' "Tensor :0 … was not found in the Graph"'
            )
            self.nameless.append(Problem("unnamed-tensor", where, found, "serve its indices, values and dense_shape"))
            return None
        if tensor.dtype.base_dtype.name != spec.dtype:
            found = f"{tensor.dtype.base_dtype.name} in the graph, {spec.dtype} in the file"
            self.problems.append(Problem("other-dtype", f"{where}.dtype", found))
        if not tensor.shape.is_compatible_with(_sizes(spec)):
            expected = ", ".join(map(str, spec.dimensions))
            found = f"{spec_of(spec.key, tensor).shape_text} in the graph, [{expected}] in the file"
            self.problems.append(Problem("other-shape", f"{where}.shape", found))
            return None
        # Client code reads the shapes off the signature: the file's sizes add to what the graph knows.
        return spec_of(spec.key, tensor, tensor.shape.merge_with(_sizes(spec)))

    def tensor(self, spec: TensorSpec, where: str) -> Any:
        if spec.tensor in self.tensors:
            return self.tensors[spec.tensor]
        if ":" in spec.tensor:
            try:
                return self.graph.get_tensor_by_name(spec.tensor)
            except (KeyError, ValueError):
                pass
        found = f"the graph has no tensor {spec.tensor!r}"
        remedy = f"the builder names {', '.join(sorted(self.tensors))}"
        self.problems.append(Problem("unknown-tensor", where, found, remedy))
        return None


def spec_of(key: str, tensor: tf.Tensor, shape: Optional[tf.TensorShape] = None) -> TensorSpec:
    """Return the TensorSpec of a graph's tensor; `shape` refines its static shape."""
    shape = tensor.shape if shape is None else shape
    sizes = None if shape.ndims is None else tuple(shape.as_list())
    return TensorSpec(key, tensor.name, tensor.dtype.base_dtype.name, sizes)


def cut_down(serving: ServingGraph) -> ServingGraph:
    """Return the graph with only the nodes that signatures and restoring need."""
    names = serving.kept_nodes()
    for signature in serving.signatures.values():
        names += [spec.tensor for spec in signature.inputs + signature.outputs]
    graph_def = pruned(serving.graph_def, {node_name(name) for name in names})
    return replace(serving, graph_def=graph_def)


def with_values(serving: ServingGraph, weights: Weights, values: Mapping[str, Derived]) -> Tuple[ServingGraph, Weights]:
    """Store other values for some variables, and none for variables that are no longer read.

    `values` are by the names under which they are stored. The result has restore ops for what is stored now.
    """
    bare = cut_down(replace(serving, saver_def=tf.train.SaverDef()))
    have = {node.name for node in bare.graph_def.node}
    sources = {name for value in values.values() for name in value.variables.values()}
    weights = replace(weights, derived=values, unstored=frozenset(sources - have))
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(bare.graph_def, name="")
        own_names = {name: name for name in [*weights.keys, *weights.added] if name not in weights.unstored}
        saver_def = add_restore(graph, own_names, tables={name: served_as(name) for name in weights.tables})
    return cut_down(replace(bare, graph_def=graph.as_graph_def(), saver_def=saver_def)), weights


def write_saved_model(directory: Path, serving: ServingGraph, checkpoint: Checkpoint, weights: Weights) -> None:
    """Write a SavedModel into the empty `directory`; the same input gives the same bytes with the same TensorFlow."""
    if weights.stored or weights.added:
        _write_variables(directory / "variables", checkpoint, weights)
    if serving.assets:
        _copy_assets(directory / tf.saved_model.ASSETS_DIRECTORY, serving.assets)
    write_graph(directory, serving)


def write_graph(directory: Path, serving: ServingGraph) -> None:
    """Write only saved_model.pb and its fingerprint; may replace those of a graph with the same variables."""
    meta_graph = tf.train.export_meta_graph(
        graph_def=serving.graph_def,
        graph=tf.Graph(),
        saver_def=serving.saver_def if serving.saver_def.restore_op_name else None,
        collection_list=[],
        clear_devices=True,
        strip_default_attrs=True,
    )
    if serving.is_for_gpu:
        place_decoder_on_cpu(meta_graph.graph_def)
    meta_graph.meta_info_def.tags.append(tf.saved_model.SERVING)
    for name, signature in serving.signatures.items():
        _define(signature, meta_graph.signature_def[name])
    if serving.init_op:
        meta_graph.collection_def[tf.saved_model.MAIN_OP_KEY].node_list.value.append(serving.init_op)
    for asset in serving.assets:
        meta_graph.asset_file_def.add(filename=asset.name).tensor_info.name = asset.tensor
    saved_model = SavedModel()
    saved_model.saved_model_schema_version = tf.saved_model.SAVED_MODEL_SCHEMA_VERSION
    saved_model.meta_graphs.add().CopyFrom(meta_graph)
    path = directory / tf.saved_model.SAVED_MODEL_FILENAME_PB
    with writing(path):
        path.write_bytes(saved_model.SerializeToString(deterministic=True))
    write_fingerprint(directory)


def _define(signature: Signature, definition: Any) -> None:
    """Fill a SignatureDef."""
    definition.method_name = signature.method
    for side, specs in ((definition.inputs, signature.inputs), (definition.outputs, signature.outputs)):
        for spec in specs:
            side[spec.key].name = spec.tensor
            side[spec.key].dtype = tf.as_dtype(spec.dtype).as_datatype_enum
            side[spec.key].tensor_shape.CopyFrom(tf.TensorShape(_sizes(spec)).as_proto())


def _copy_assets(directory: Path, assets: Iterable[Asset]) -> None:
    directory.mkdir()
    for asset in assets:
        try:
            with writing(directory / asset.name):
                shutil.copyfile(str(asset.file), str(directory / asset.name))
        except OSError as error:
            if error.errno in FULL:
                raise
            raise NotServable(
                f"{asset.file}: the graph reads this file, and it can't be copied into the SavedModel: {error.strerror}"
            ) from error


def _write_variables(directory: Path, checkpoint: Checkpoint, weights: Weights) -> None:
    """Copy the tensors of variables and tables from the checkpoint, under their own names.

    Each thread has at most _AT_ONCE bytes, or one tensor, in memory; larger models get several data files.
    """
    directory.mkdir()
    groups = _groups(checkpoint, weights)
    target = str(directory / "variables")
    prefixes = [target] if len(groups) == 1 else [f"{target}-{n:05d}" for n in range(len(groups))]
    problems: List[Problem] = []
    try:
        with ThreadPoolExecutor(_THREADS) as threads:
            copied = [threads.submit(_copy, names, at, checkpoint, weights) for names, at in zip(groups, prefixes)]
            try:
                for done in copied:
                    problems += done.result()
            finally:
                for waiting in copied:
                    waiting.cancel()
        if len(groups) > 1:
            with tf.Graph().as_default(), open_session() as session:
                session.run(tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=prefixes, destination_prefix=target))
    except tf.errors.OpError as error:
        raise unreadable(checkpoint, weights, error) from error
    if problems:
        raise NotServable(
            f"{checkpoint.files.prefix}: weights are NaN (a training that diverged?); take an earlier checkpoint",
            problems,
        )


def _groups(checkpoint: Checkpoint, weights: Weights) -> List[List[str]]:
    """Split the stored names, in order, into groups of at most _AT_ONCE bytes, or one name."""
    groups: List[List[str]] = []
    room = 0
    sizes = {name: weights.derived[name].size for name in weights.added}
    for name, key in weights.stored.items():
        sizes[name] = _count(checkpoint.shapes[key], weights.slices.get(name, "")) * (checkpoint.dtypes[key].size or 1)
    for name, size in sorted(sizes.items()):
        if not groups or size > max(room, 0):
            groups.append([])
            room = _AT_ONCE
        groups[-1].append(name)
        room -= size
    return groups


def _count(shape: Sequence[int], part: str) -> int:
    """Return the number of elements of a tensor or slice, given start,size for each axis or - for all of it."""
    sizes = list(shape)
    for axis, extent in enumerate(part.rsplit(maxsplit=1)[-1].split(":") if part else ()):
        if extent != "-":
            sizes[axis] = int(extent.partition(",")[2])
    count = 1
    for size in sizes:
        count *= size
    return count


def _sources(weights: Weights, name: str) -> Sequence[str]:
    """Return the variables whose checkpoint values are needed for a stored name."""
    return tuple(weights.derived[name].variables.values()) if name in weights.derived else (name,)


def _restored(names: Sequence[str], checkpoint: Checkpoint, weights: Weights) -> Sequence[Any]:
    """Return the tensors that the checkpoint holds for variables and tables."""
    keys = [{**weights.keys, **weights.stored}[name] for name in names]
    tensors: Sequence[Any] = tf.raw_ops.RestoreV2(
        prefix=checkpoint.files.for_tensorflow,
        tensor_names=keys,
        shape_and_slices=[weights.slices.get(name, "") for name in names],
        dtypes=[checkpoint.dtypes[key] for key in keys],
    )
    return tensors


def _copy(names: Sequence[str], prefix: str, checkpoint: Checkpoint, weights: Weights) -> List[Problem]:
    """Copy variables as _copy_variables does, and wait until they are on the disk, while others are copied."""
    problems = _copy_variables(names, prefix, checkpoint, weights)
    for file in Path(prefix).parent.glob(Path(prefix).name + ".data-*"):
        with contextlib.suppress(OSError):  # publishing does it again, and tells
            descriptor = os.open(str(file), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    return problems


def _copy_variables(names: Sequence[str], prefix: str, checkpoint: Checkpoint, weights: Weights) -> List[Problem]:
    """Copy variables into the checkpoint `prefix`; return a problem for each with NaN values."""
    stored = weights.stored
    keys = [stored.get(name, name) for name in names]
    with tf.Graph().as_default(), open_session() as session:
        sources = sorted({source for name in names for source in _sources(weights, name)})
        restored = dict(zip(sources, _restored(sources, checkpoint, weights)))
        tensors = [
            weights.derived[name].computed(restored) if name in weights.derived else restored[name] for name in names
        ]
        # The answers need not show a NaN: a ReLU turns it into 0. This op looks at the values and makes no copy.
        checked = [tf.check_numerics(t, "") if t.dtype in _CHECKED else t for t in tensors]
        save, save_unchecked = [
            tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)
            for values in (checked, tensors)
        ]
        try:
            session.run(save)
            return []
        except tf.errors.InvalidArgumentError as error:
            if error.op is None or error.op.type != "CheckNumerics":
                raise
        session.run(save_unchecked)  # with infinite values, which a mask may have
        problems = []
        for key, tensor in zip(keys, tensors):
            count = int(session.run(tf.count_nonzero(tf.is_nan(tensor)))) if tensor.dtype in _CHECKED else 0
            problems += [Problem("nan-weights", key, f"{count} values are NaN")] if count else []
        return problems
