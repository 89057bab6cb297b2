"""The meta graph of a saved_model.pb that TF Serving loads: signatures, assets, nodes and functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO, Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

from ckpt2saved.protobuf.wire import Malformed, Span, each, fields, in_memory, mapped, text

# Fields of the messages SavedModel, MetaGraphDef, MetaInfoDef, SaverDef, CollectionDef and its NodeList, SignatureDef,
# TensorInfo, AssetFileDef, GraphDef, FunctionDefLibrary, FunctionDef, OpDef and its ArgDef, and NodeDef.
_META_GRAPH = 2
_META_INFO, _GRAPH, _SAVER, _COLLECTION, _SIGNATURE, _ASSET = 1, 2, 3, 4, 5, 6
_TAG = 4
_FILE_NAME_TENSOR, _RESTORE_OP = 1, 3
_NODE_LIST, _LISTED = 1, 1
_ANY_LIST, _ANY, _ANY_VALUE = 5, 1, 2
_INPUT, _OUTPUT, _METHOD = 1, 2, 3
_TENSOR_NAME, _SPARSE, _COMPOSITE = 1, 4, 5
_ASSET_TENSOR, _ASSET_NAME = 1, 2
_NODE, _LIBRARY = 1, 2
_FUNCTION = 1
_FUNCTION_SIGNATURE, _FUNCTION_NODE = 1, 3
_OP_NAME, _OP_ARGUMENT = 1, 2
_ARGUMENT_NAME = 1
_NODE_NAME, _NODE_OP, _NODE_INPUT, _NODE_ATTR = 1, 2, 3, 5
# Of AttrValue, its ListValue, and NameAttrList.
_LIST, _FUNC, _LISTED_FUNC = 1, 10, 9
_FUNC_NAME = 1

SERVED = frozenset(["serve"])  # TF Serving takes the meta graph with this tag and no other
_ASSETS = "saved_model_assets"  # the collection in which TensorFlow 1.x names the assets

MOST_META_GRAPHS = 1000
MOST_NODES = 2000000
_LONGEST_CALL = 1 << 14  # bytes of an attribute that names functions; constants are longer


class Node(NamedTuple):
    """A node of the graph or of a function; its attributes are read when they are asked for."""

    name: str
    op: str
    inputs: Tuple[str, ...]
    file: BinaryIO
    span: Span

    def attribute(self, name: str) -> Optional[Span]:
        """Where in `file` the AttrValue of that name is."""
        return dict(mapped(self.file, self.span, _NODE_ATTR)).get(name)


@dataclass(frozen=True)
class Function:
    """A function of the graph's library."""

    arguments: Tuple[str, ...]
    nodes: Mapping[str, Node]


@dataclass(frozen=True)
class BoundTensor:
    """An input or output of a signature: a tensor by its name, or a SparseTensor, which has none."""

    key: str
    tensor: str
    is_sparse: bool


@dataclass(frozen=True)
class BoundSignature:
    """What a signature binds, and TF Serving's name of what is asked."""

    method: str
    inputs: Tuple[BoundTensor, ...]
    outputs: Tuple[BoundTensor, ...]


@dataclass
class MetaGraph:
    """The parts of a meta graph that loading it and answering from it depend on."""

    nodes: Dict[str, Node] = field(default_factory=dict)
    functions: Dict[str, Function] = field(default_factory=dict)
    signatures: Dict[str, BoundSignature] = field(default_factory=dict)
    assets: List[Tuple[str, str]] = field(default_factory=list)  # name of the tensor, name of the file
    collections: Dict[str, Tuple[str, ...]] = field(default_factory=dict)  # of node names
    restore_op: str = ""  # "" without variables
    file_name_tensor: str = ""
    duplicates: Set[str] = field(default_factory=set)  # names that several nodes have


@dataclass(frozen=True)
class Tagged:
    """The meta graphs of a file: the tags of each, and where the one is that TF Serving takes."""

    tags: Tuple[Tuple[str, ...], ...]
    served: Optional[Span]


def find_served(file: BinaryIO, size: int) -> Tagged:
    """Which meta graph of a SavedModel TF Serving takes: the first with the tag serve and no other."""
    tags: List[Tuple[str, ...]] = []
    served: Optional[Span] = None
    for meta_graph in each(file, (0, size), _META_GRAPH):
        infos = each(file, meta_graph, _META_INFO)
        tags.append(tuple(text(file, tag) for info in infos for tag in each(file, info, _TAG)))
        if served is None and set(tags[-1]) == SERVED:
            served = meta_graph
        if len(tags) > MOST_META_GRAPHS:
            raise Malformed(f"more than {MOST_META_GRAPHS} meta graphs")
    return Tagged(tuple(tags), served)


def read_meta_graph(file: BinaryIO, span: Span) -> MetaGraph:
    """The parts of the meta graph that lies in the span; raises Malformed."""
    found = MetaGraph()
    for number, at in fields(file, *span):
        if number == _GRAPH:
            _read_graph(file, at, found)
        elif number == _SAVER:
            found.file_name_tensor = _last_text(file, at, _FILE_NAME_TENSOR)
            found.restore_op = _last_text(file, at, _RESTORE_OP)
        elif number == _ASSET:
            found.assets.append(_asset(file, at))
    for name, at in mapped(file, span, _COLLECTION):
        lists = list(each(file, at, _NODE_LIST))
        found.collections[name] = tuple(text(file, one) for listed in lists for one in each(file, listed, _LISTED))
        if name == _ASSETS and not found.assets:
            values = [any_ for listed in each(file, at, _ANY_LIST) for any_ in each(file, listed, _ANY)]
            found.assets = [_asset(file, value) for any_ in values for value in each(file, any_, _ANY_VALUE)]
    for name, at in mapped(file, span, _SIGNATURE):
        sides = (tuple(_tensor(file, key, one) for key, one in mapped(file, at, side)) for side in (_INPUT, _OUTPUT))
        found.signatures[name] = BoundSignature(_last_text(file, at, _METHOD), *sides)
    return found


def _read_graph(file: BinaryIO, span: Span, found: MetaGraph) -> None:
    for number, at in fields(file, *span):
        if number == _NODE:
            node = _node(file, at)
            if node.name in found.nodes:
                found.duplicates.add(node.name)
            found.nodes[node.name] = node
        elif number == _LIBRARY:
            for function in each(file, at, _FUNCTION):
                found.functions.update([_function(file, function)])
        if len(found.nodes) > MOST_NODES:
            raise Malformed(f"more than {MOST_NODES} nodes")


def _function(file: BinaryIO, span: Span) -> Tuple[str, Function]:
    name = ""
    arguments: List[str] = []
    nodes: Dict[str, Node] = {}
    for number, at in fields(file, *span):
        if number == _FUNCTION_SIGNATURE:
            for part, where in fields(file, *at):
                if part == _OP_NAME:
                    name = text(file, where)
                elif part == _OP_ARGUMENT:
                    arguments.append(_last_text(file, where, _ARGUMENT_NAME))
        elif number == _FUNCTION_NODE:
            node = _node(file, at)
            nodes[node.name] = node
    return name, Function(tuple(arguments), nodes)


def _node(file: BinaryIO, span: Span) -> Node:
    file, span = in_memory(file, span)
    name = ""
    op = ""
    inputs: List[str] = []
    for number, at in fields(file, *span):
        if number == _NODE_INPUT:
            inputs.append(text(file, at))
        elif number == _NODE_NAME:
            name = text(file, at)
        elif number == _NODE_OP:
            op = text(file, at)
    return Node(name, op, tuple(inputs), file, span)


def _asset(file: BinaryIO, span: Span) -> Tuple[str, str]:
    tensors = [_last_text(file, info, _TENSOR_NAME) for info in each(file, span, _ASSET_TENSOR)]
    return "".join(tensors[-1:]), _last_text(file, span, _ASSET_NAME)


def _tensor(file: BinaryIO, key: str, span: Span) -> BoundTensor:
    name, is_sparse = "", False
    for number, at in fields(file, *span):
        if number == _TENSOR_NAME:
            name = text(file, at)
        elif number in (_SPARSE, _COMPOSITE):
            is_sparse = True
    return BoundTensor(key, name, is_sparse)


def _last_text(file: BinaryIO, span: Span, number: int) -> str:
    found = ""
    for at in each(file, span, number):
        found = text(file, at)
    return found


def every_node(meta_graph: MetaGraph) -> Iterator[Tuple[str, Node]]:
    """The nodes of the graph and those of the functions that it calls, each with its name for a message."""
    found: Set[str] = set()
    left: List[Tuple[str, List[Node]]] = [("", list(meta_graph.nodes.values()))]
    while left:
        prefix, nodes = left.pop()
        for node in nodes:
            yield prefix + node.name, node
            for name in called(node, meta_graph):
                if name not in found:
                    found.add(name)
                    left.append((name + "/", list(meta_graph.functions[name].nodes.values())))


def called(node: Node, meta_graph: MetaGraph) -> List[str]:
    """The functions that a node calls: those in its attributes, in their order, and the one that is its op."""
    names = [node.op] if node.op in meta_graph.functions else []
    if not meta_graph.functions:
        return names
    for _, value in mapped(node.file, node.span, _NODE_ATTR):
        if value[1] - value[0] > _LONGEST_CALL:
            continue  # a constant
        functions = list(each(node.file, value, _FUNC))
        functions += [at for listed in each(node.file, value, _LIST) for at in each(node.file, listed, _LISTED_FUNC)]
        names += [_last_text(node.file, one, _FUNC_NAME) for one in functions]
    return [name for name in names if name in meta_graph.functions]
