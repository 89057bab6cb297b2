"""Lazy reading of a saved_model.pb, without TensorFlow: the meta graph that TF Serving loads."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ContextManager, Dict, Iterable, Iterator, List, Mapping, Optional, Set, Tuple

from ckpt2saved.errors import ServingError
from ckpt2saved.files.protobuf.data_types import name_of
from ckpt2saved.files.protobuf.messages import decode
from ckpt2saved.files.protobuf.tensorflow_messages import (
    AssetFileDef,
    AttrValue,
    FunctionDef,
    GraphDef,
    MetaGraphDef,
    NodeDef,
    SavedModel,
    SaverDef,
)
from ckpt2saved.files.protobuf.wire import Malformed, Part
from ckpt2saved.files.reading import PathLike, open_file, size_of
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import IMPLEMENTS, PREFERS
from ckpt2saved.graph.traversal import walk
from ckpt2saved.signature.tensors import Signature, TensorSpec

SAVED_MODEL_FILES = GRAPH_FILE, TEXT_GRAPH_FILE = "saved_model.pb", "saved_model.pbtxt"
SAVED_MODEL_NAMES = frozenset((*SAVED_MODEL_FILES, "variables", "assets", "assets.extra"))  # in its directory
FINGERPRINT_FILE = "fingerprint.pb"  # written by TensorFlow 2.11 and newer
LARGEST_PROTOBUF = (1 << 31) - 1  # bytes; protobuf reads no longer message
SERVED = frozenset(["serve"])  # TF Serving takes the meta graph with this tag and no other

_ASSETS = "saved_model_assets"  # the collection in which TensorFlow 1.x names the assets
_LONGEST_CALL = 1 << 14  # bytes of an attribute that names functions; constants are longer


class _File:
    """A file that is open only during reads; raises OSError above the size limit of protobuf messages."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._opened: Optional[BinaryIO] = None
        self._identity: Tuple[int, ...] = ()  # of the file that was read first

    def __call__(self, start: int, end: int) -> bytes:
        with self.opened() as file:
            file.seek(start)
            return file.read(end - start)

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Keep the file open in the block; raises OSError if it was replaced meanwhile."""
        if self._opened is not None:
            yield self._opened
            return
        with open_file(self.path, LARGEST_PROTOBUF) as file:
            status = os.fstat(file.fileno())
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if self._identity not in ((), identity):
                raise OSError(errno.ESTALE, "replaced while it was read", self.path)
            self._identity, self._opened = identity, file
            try:
                yield file
            finally:
                self._opened = None


class SavedModelFile:
    """The saved_model.pb of a directory; its parts are read on first use and cached.

    Pass one instance around when several parts are needed. `tags` and `served` raise Malformed, or OSError for an
    unreadable file.
    """

    def __init__(self, directory: PathLike) -> None:
        self.path = os.path.join(os.fspath(directory), GRAPH_FILE)
        self._file = _File(self.path)
        self._tagged: Optional[SavedModel] = None
        self._served: Optional[MetaGraph] = None

    def opened(self) -> ContextManager[BinaryIO]:
        """Keep the file open in the block; raises OSError if it was replaced meanwhile."""
        return self._file.opened()

    @property
    def tags(self) -> Tuple[Tuple[str, ...], ...]:
        """Return the tags of each meta graph."""
        if self._tagged is None:
            with self.opened() as file:
                self._tagged = decode(SavedModel, Part(self._file, 0, size_of(file)))
        graphs = self._tagged.meta_graphs
        return tuple(tuple(one.meta_info_def.tags if one.meta_info_def is not None else ()) for one in graphs)

    @property
    def served(self) -> Optional[MetaGraph]:
        """Return the meta graph that TF Serving loads, the first with exactly the tag serve; None if none."""
        found = [index for index, tags in enumerate(self.tags) if set(tags) == SERVED]
        if self._served is None and self._tagged is not None and found:
            with self.opened():
                self._served = MetaGraph(self._tagged.meta_graphs[found[0]].part)
        return self._served

    @property
    def signatures(self) -> Dict[str, Signature]:
        """Return name -> signature of the meta graph that TF Serving loads; {} if none. Raises ServingError."""
        with self.reading("signatures") as meta_graph:
            return {} if meta_graph is None else meta_graph.signatures

    @contextlib.contextmanager
    def reading(self, what: str) -> Iterator[Optional[MetaGraph]]:
        """Yield the meta graph that TF Serving loads, to read `what`; errors become ServingError."""
        try:
            with self.opened():
                yield self.served
        except FileNotFoundError:
            verb = "are" if what.endswith("s") else "is"
            raise ServingError(
                f"{self.path}: missing, and the {what} of a saved_model.pbtxt {verb} not read here; write the"
                " SavedModel in its binary form for that (as_text=False, the default)"
            ) from None
        except (Malformed, OSError) as error:
            reason = getattr(error, "strerror", None) or "cut off, or no SavedModel"
            raise ServingError(f"{self.path}: its {what} can't be read: {reason}; export it again") from error


@dataclass(frozen=True)
class Function:
    """A function of the graph's library."""

    arguments: Tuple[str, ...]
    nodes: Mapping[str, NodeDef]
    definition: FunctionDef

    # tensorflow/core/grappler/optimizers/implementation_selector.h: a session calls, of the functions that implement
    # the same, the one that prefers its device.

    @property
    def implements(self) -> str:
        """Return what it implements, as others do for other devices; "" where it stands alone."""
        return self.definition.text_of(IMPLEMENTS)

    @property
    def prefers_gpu(self) -> bool:
        """Return whether sessions with a GPU call it in place of others that implement the same."""
        return self.definition.text_of(PREFERS) == "GPU"


@dataclass(frozen=True)
class Asset:
    """A file in assets/, and the tensor that holds its path."""

    tensor: str
    name: str


@dataclass
class _Graph:
    nodes: Dict[str, NodeDef] = field(default_factory=dict)
    functions: Dict[str, Function] = field(default_factory=dict)
    duplicates: Set[str] = field(default_factory=set)


class MetaGraph:
    """The parts of a meta graph that loading and answering depend on."""

    def __init__(self, part: Part) -> None:
        self._content = decode(MetaGraphDef, part)
        self._graph: Optional[_Graph] = None

    @property
    def tensorflow(self) -> str:
        """Return the TensorFlow version that wrote the meta graph; "" if not recorded."""
        return self._content.meta_info_def.tensorflow_version if self._content.meta_info_def is not None else ""

    @property
    def signatures(self) -> Dict[str, Signature]:
        """Return the signatures by name, with inputs and outputs by key."""
        return {name: signature_of(name, one) for name, one in self._content.signature_def.items()}

    @property
    def collections(self) -> Dict[str, Tuple[str, ...]]:
        """Return the node names of each collection."""
        collections = self._content.collection_def
        return {name: tuple(one.node_list.value) if one.node_list else () for name, one in collections.items()}

    @property
    def assets(self) -> List[Asset]:
        """Return the files in assets/ that the graph reads."""
        found = list(self._content.asset_file_def)
        collection = self._content.collection_def.get(_ASSETS)
        if not found and collection is not None and collection.any_list is not None:
            values = [one.value for one in collection.any_list.value if one.value is not None]
            found = [decode(AssetFileDef, value) for value in values]
        return [Asset(one.tensor_info.name if one.tensor_info is not None else "", one.filename) for one in found]

    @property
    def restore_op(self) -> str:
        """Return the node that restores the variables; "" without variables."""
        return (self._content.saver_def or SaverDef()).restore_op_name

    @property
    def file_name_tensor(self) -> str:
        """Return the tensor with the checkpoint path for the restore op."""
        return (self._content.saver_def or SaverDef()).filename_tensor_name

    @property
    def nodes(self) -> Mapping[str, NodeDef]:
        """Return the nodes of the graph by name."""
        return self._read_graph().nodes

    @property
    def functions(self) -> Mapping[str, Function]:
        """Return the functions of the graph by name."""
        return self._read_graph().functions

    @property
    def duplicates(self) -> Set[str]:
        """Return the names that several nodes have."""
        return self._read_graph().duplicates

    def answering_nodes(self) -> Iterator[Tuple[str, NodeDef]]:
        """Return the nodes that run in a request, those of called functions included; see every_node()."""
        outputs = [spec.tensor for one in self.signatures.values() for spec in one.outputs]
        return self.every_node(nodes_behind(self.nodes, outputs))

    def every_node(self, nodes: Optional[Mapping[str, NodeDef]] = None) -> Iterator[Tuple[str, NodeDef]]:
        """Return the nodes of the graph, or only `nodes`, and of functions that they call, with names for messages."""

        def called_by(nodes: Iterable[NodeDef]) -> Iterator[str]:
            return (name for node in nodes for name in self.called(node))

        some = self.nodes if nodes is None else nodes
        yield from some.items()
        for name in walk(called_by(some.values()), lambda name: called_by(self.functions[name].nodes.values())):
            for node in self.functions[name].nodes.values():
                yield f"{name}/{node.name}", node

    def called(self, node: NodeDef) -> List[str]:
        """Return the functions that a node calls: those in its attributes in order, and its op."""
        names = [node.op] if node.op in self.functions else []
        if not self.functions:
            return names
        for _, value in node.attributes():
            if value.size <= _LONGEST_CALL:
                names += decode(AttrValue, value).functions
        return [name for name in names if name in self.functions]

    def _read_graph(self) -> _Graph:
        if self._graph is None:
            found = _Graph()
            for part in self._content.graph_def:
                _add(decode(GraphDef, part), found)
            self._graph = found
        return self._graph


def nodes_behind(nodes: Mapping[str, NodeDef], tensors: Iterable[str]) -> Dict[str, NodeDef]:
    """Return the nodes that run when these tensors or nodes are requested, by name; includes control inputs."""

    def sources(name: str) -> Iterable[str]:
        return map(node_name, nodes[name].inputs) if name in nodes else ()

    return {name: nodes[name] for name in walk(map(node_name, tensors), sources) if name in nodes}


def _add(graph: GraphDef, found: _Graph) -> None:
    for node in graph.nodes:
        if node.name in found.nodes:
            found.duplicates.add(node.name)
        found.nodes[node.name] = node
    for function in graph.library.function if graph.library is not None else ():
        nodes = {node.name: node for node in function.nodes}
        signature = function.signature
        name = "" if signature is None else signature.name
        arguments = () if signature is None else tuple(argument.name for argument in signature.input_arg)
        found.functions[name] = Function(arguments, nodes, function)


def read_signatures(version_dir: PathLike) -> Dict[str, Signature]:
    """Return name -> signature of the meta graph that TF Serving loads; {} if none. Raises ServingError."""
    return SavedModelFile(version_dir).signatures


def signature_of(name: str, definition: Any) -> Signature:
    """Convert a SignatureDef, of this package or of TensorFlow, to a Signature."""
    return Signature(name, _specs(definition.inputs), _specs(definition.outputs), method=definition.method_name)


def _specs(side: Mapping[str, Any]) -> Tuple[TensorSpec, ...]:
    return tuple(_spec(key, side[key]) for key in sorted(side))


def _spec(key: str, info: Any) -> TensorSpec:
    shape: Optional[Tuple[Optional[int], ...]] = ()
    if info.tensor_shape is not None:
        sizes = tuple(None if dim.size == -1 else dim.size for dim in info.tensor_shape.dim)
        shape = None if info.tensor_shape.unknown_rank else sizes
    return TensorSpec(key, info.name, name_of(info.dtype), shape)
