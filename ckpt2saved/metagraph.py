"""The graph that a training wrote beside its checkpoint, made readable for the TensorFlow at hand."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from ckpt2saved.errors import CheckpointError
from ckpt2saved.file_kinds import is_meta_graph, kind_of
from ckpt2saved.tf1 import op_def, tf

# What a graph says about where and with what it ran; it ties nodes to devices and to nodes that may be cut away.
_TIES = ("_class", "_output_shapes")


@dataclass(frozen=True)
class MetaGraph:
    """A training's graph without devices, colocations and whatever else this TensorFlow could not import."""

    path: Path
    graph_def: Any  # GraphDef
    collections: Mapping[str, Any]  # name -> CollectionDef
    tensorflow: str  # the version that wrote it
    unknown: Mapping[str, str]  # node -> what it says that this TensorFlow does not know; such a node can't be served
    shapes: Mapping[str, Any]  # node -> TensorShapeProtos of its outputs, as the training knew them
    devices: Mapping[str, str]  # node -> the accelerator or other machine that it was pinned to


def read_meta_graph(path: Path) -> MetaGraph:
    """Read a `.meta` file, binary or as `as_text=True` writes it; raises CheckpointError where that can't be done.

    `_output_shapes` is taken away because TensorFlow 2 refuses that of an older FusedBatchNormGrad, and attributes
    that this TensorFlow does not have because it would refuse the graph for any one node, wanted or not.
    """
    meta_graph = _parsed(path)
    produced = {op.name: op for op in meta_graph.meta_info_def.stripped_op_list.op}
    unknown, shapes = {}, {}  # type: Dict[str, str], Dict[str, Any]
    devices = devices_of(meta_graph.graph_def)
    for node in meta_graph.graph_def.node:
        if "_output_shapes" in node.attr:  # it knows what comes out of a queue, which no shape function does
            shapes[node.name] = list(node.attr["_output_shapes"].list.shape)
    for node in nodes_of(meta_graph.graph_def):
        node.device = ""
        for name in _TIES:
            node.attr.pop(name, None)
        for name in _take_unknown(node, produced):
            unknown[node.name] = "this TensorFlow's {} has no attribute {!r}".format(node.op, name)
    written_by = meta_graph.meta_info_def.tensorflow_version
    collections = dict(meta_graph.collection_def)
    return MetaGraph(path, meta_graph.graph_def, collections, written_by, unknown, shapes, devices)


def devices_of(graph_def: Any) -> Dict[str, str]:
    """Node -> device of the nodes that only an accelerator, or another machine, may run; in functions too."""
    own = re.compile(r"/?(job:localhost|replica:0|task:0|device:cpu:[0*]|cpu:0|/)*\Z", re.IGNORECASE)
    return {node.name: node.device for node in nodes_of(graph_def) if not own.match(node.device)}


def pinned_text(devices: Mapping[str, str], names: Iterable[str]) -> str:
    """How many of the nodes called `names` are pinned to which device; empty for none."""
    counts = Counter(devices[name] for name in set(names) if name in devices)
    return ", ".join(
        "{} {} pinned to {}".format(count, "node" if count == 1 else "nodes", device)
        for device, count in sorted(counts.items())
    )


def nodes_of(graph_def: Any) -> Iterator[Any]:
    """Every NodeDef of a graph, those inside its functions too."""
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _parsed(path: Path) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError("{}: the graph can't be read: {}".format(path, error.strerror)) from error
    meta_graph = tf.MetaGraphDef()
    try:
        meta_graph.ParseFromString(content)
    except DecodeError as error:
        try:
            text_format.Merge(content.decode("utf-8"), meta_graph)
        except (UnicodeDecodeError, text_format.ParseError):
            kind = kind_of(path)
            if kind and not is_meta_graph(path):
                raise CheckpointError("{}: {}".format(path, kind.instead_of("a training's graph"))) from error
            raise CheckpointError(
                "{}: this is no meta graph, or it is damaged ({}); expected the file that tf.train.Saver writes beside "
                "a checkpoint".format(path, error)
            ) from error
    if not meta_graph.graph_def.node:
        kind = kind_of(path)
        if kind and not is_meta_graph(path):
            raise CheckpointError("{}: {}".format(path, kind.instead_of("a training's graph")))
        raise CheckpointError("{}: the meta graph in it has no nodes".format(path))
    return meta_graph


def _take_unknown(node: Any, produced: Mapping[str, Any]) -> List[str]:
    """Take away the attributes that this TensorFlow's op does not have; returns those whose absence changes it."""
    known = op_def(node.op)
    if known is None:  # a function's name, or an op that is refused where it is on the way to an output
        return []
    names = {attribute.name for attribute in known.attr}
    defaults = {a.name: a.default_value for a in produced[node.op].attr} if node.op in produced else {}
    strange = [name for name in node.attr if name not in names and not name.startswith("_")]
    telling = [name for name in strange if node.attr[name] != defaults.get(name)]
    for name in strange:
        del node.attr[name]
    return telling
