"""TensorFlow's protobuf messages: the fields that are read or written, named as in its .proto files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Tuple

from ckpt2saved.files.protobuf.messages import (
    blobs,
    decode,
    each_nested,
    each_unread,
    integer,
    integers,
    itself,
    mapped,
    nested,
    text,
    texts,
    unread,
)
from ckpt2saved.files.protobuf.wire import Part, each, entries

MOST_META_GRAPHS = 1000
MOST_NODES = 2000000

# tensorflow/core/framework


@dataclass
class Dim:
    """TensorShapeProto.Dim."""

    size: int = integer(1)


@dataclass
class TensorShape:
    """TensorShapeProto."""

    dim: List[Dim] = each_nested(2, Dim)
    unknown_rank: int = integer(3)

    @property
    def sizes(self) -> Optional[Tuple[int, ...]]:
        """Return the dimensions, -1 if unknown; None for unknown rank."""
        return None if self.unknown_rank else tuple(dim.size for dim in self.dim)


@dataclass
class Tensor:
    """TensorProto; a message uses one of the value fields."""

    dtype: int = integer(1)
    shape: Optional[TensorShape] = nested(2, TensorShape)
    content: Optional[Part] = unread(4)
    float_val: List[Part] = each_unread(5)
    double_val: List[Part] = each_unread(6)
    int_val: List[Part] = each_unread(7)
    string_val: List[bytes] = blobs(8)
    scomplex_val: List[Part] = each_unread(9)
    int64_val: List[Part] = each_unread(10)
    bool_val: List[Part] = each_unread(11)
    dcomplex_val: List[Part] = each_unread(12)
    half_val: List[Part] = each_unread(13)
    uint32_val: List[Part] = each_unread(16)
    uint64_val: List[Part] = each_unread(17)


@dataclass
class Strings:
    """TensorProto with only its strings."""

    string_val: List[bytes] = blobs(8)


@dataclass
class NameAttrList:
    """A function as attribute value."""

    name: str = text(1)


@dataclass
class ListValue:
    """AttrValue.ListValue."""

    s: List[bytes] = blobs(2)
    type: List[int] = integers(6)
    func: List[NameAttrList] = each_nested(9, NameAttrList)


@dataclass
class AttrValue:
    """The value of an attribute; one field is set."""

    list: Optional[ListValue] = nested(1, ListValue)
    s: Optional[Part] = unread(2)
    b: Optional[int] = integer(5, None)
    type: Optional[int] = integer(6, None)
    shape: Optional[TensorShape] = nested(7, TensorShape)
    tensor: Optional[Part] = unread(8)
    func: Optional[NameAttrList] = nested(10, NameAttrList)

    @property
    def functions(self) -> Tuple[str, ...]:
        """Return the names of the functions in the value."""
        functions = [] if self.func is None else [self.func]
        return tuple(one.name for one in functions + ([] if self.list is None else self.list.func))


_ATTR = 5


@dataclass
class NodeDef:
    """A node; attributes, which may be large constants, are read lazily."""

    name: str = text(1)
    op: str = text(2)
    inputs: List[str] = texts(3)
    part: Part = itself()

    def attribute_entries(self) -> Iterator[Part]:
        """Return the unparsed entries (name and value) of the attribute map."""
        return each(self.part, _ATTR)

    def attributes(self) -> Iterator[Tuple[str, Part]]:
        """Return each attribute's name and unread AttrValue."""
        return entries(self.part, _ATTR)

    def attribute(self, name: str) -> Optional[AttrValue]:
        """Return the attribute's value; None if missing."""
        found = dict(self.attributes()).get(name)
        return None if found is None else decode(AttrValue, found)


@dataclass
class ArgDef:
    """OpDef.ArgDef."""

    name: str = text(1)


@dataclass
class AttrDef:
    """OpDef.AttrDef."""

    name: str = text(1)
    default_value: Optional[Part] = unread(3)
    allowed_values: Optional[AttrValue] = nested(7, AttrValue)


@dataclass
class OpDef:
    """The definition of an op."""

    name: str = text(1)
    attr: List[AttrDef] = each_nested(4, AttrDef)


@dataclass
class OpList:
    """The result of TF_GetAllOpList."""

    op: List[OpDef] = each_nested(1, OpDef)


@dataclass
class AttrConstraint:
    """KernelDef.AttrConstraint: the values of an attribute that a kernel computes."""

    name: str = text(1)
    allowed_values: Optional[AttrValue] = nested(2, AttrValue)


@dataclass
class KernelDef:
    """A kernel of an op for a device."""

    op: str = text(1)
    device_type: str = text(2)
    constraint: List[AttrConstraint] = each_nested(3, AttrConstraint)
    label: str = text(5)


@dataclass
class KernelList:
    """The result of TF_GetAllRegisteredKernels."""

    kernel: List[KernelDef] = each_nested(1, KernelDef)


@dataclass
class FunctionSignature:
    """The OpDef of a function."""

    name: str = text(1)
    input_arg: List[ArgDef] = each_nested(2, ArgDef)


@dataclass
class FunctionDef:
    """A function of a graph's library."""

    signature: Optional[FunctionSignature] = nested(1, FunctionSignature)
    nodes: List[NodeDef] = each_nested(3, NodeDef)
    part: Part = itself()

    def text_of(self, attribute: str) -> str:
        """Return the text that an attribute has; "" if it is missing, or has another type of value."""
        found = dict(entries(self.part, _ATTR)).get(attribute)
        value = None if found is None else decode(AttrValue, found).s
        return "" if value is None else value.text()


@dataclass
class FunctionDefLibrary:
    """The functions of a graph."""

    function: List[FunctionDef] = each_nested(1, FunctionDef)


@dataclass
class GraphDef:
    """A graph."""

    nodes: List[NodeDef] = each_nested(1, NodeDef, most=MOST_NODES)
    library: Optional[FunctionDefLibrary] = nested(2, FunctionDefLibrary)


# tensorflow/core/protobuf


@dataclass
class MetaInfoDef:
    """MetaGraphDef.MetaInfoDef."""

    tags: List[str] = texts(4)
    tensorflow_version: str = text(5)


@dataclass
class SaverDef:
    """How variables are restored."""

    filename_tensor_name: str = text(1)
    restore_op_name: str = text(3)


@dataclass
class NodeList:
    """CollectionDef.NodeList."""

    value: List[str] = texts(1)


@dataclass
class AnyMessage:
    """google.protobuf.Any."""

    value: Optional[Part] = unread(2)


@dataclass
class AnyList:
    """CollectionDef.AnyList."""

    value: List[AnyMessage] = each_nested(1, AnyMessage)


@dataclass
class CollectionDef:
    """A collection of a graph."""

    node_list: Optional[NodeList] = nested(1, NodeList)
    any_list: Optional[AnyList] = nested(5, AnyList)


@dataclass
class TensorInfo:
    """An input or output of a signature; a SparseTensor bound as one tensor has no name."""

    name: str = text(1)
    dtype: int = integer(2)
    tensor_shape: Optional[TensorShape] = nested(3, TensorShape)


@dataclass
class SignatureDef:
    """A signature."""

    inputs: Dict[str, TensorInfo] = mapped(1, TensorInfo)
    outputs: Dict[str, TensorInfo] = mapped(2, TensorInfo)
    method_name: str = text(3)


@dataclass
class AssetFileDef:
    """A file in assets/, and the tensor that holds its path."""

    tensor_info: Optional[TensorInfo] = nested(1, TensorInfo)
    filename: str = text(2)


@dataclass
class MetaGraphDef:
    """A meta graph without its GraphDef."""

    meta_info_def: Optional[MetaInfoDef] = nested(1, MetaInfoDef)
    graph_def: List[Part] = each_unread(2)
    saver_def: Optional[SaverDef] = nested(3, SaverDef)
    collection_def: Dict[str, CollectionDef] = mapped(4, CollectionDef)
    signature_def: Dict[str, SignatureDef] = mapped(5, SignatureDef)
    asset_file_def: List[AssetFileDef] = each_nested(6, AssetFileDef)


@dataclass
class TaggedMetaGraph:
    """A meta graph with only its tags."""

    meta_info_def: Optional[MetaInfoDef] = nested(1, MetaInfoDef)
    part: Part = itself()


@dataclass
class SavedModel:
    """The message in saved_model.pb."""

    meta_graphs: List[TaggedMetaGraph] = each_nested(2, TaggedMetaGraph, most=MOST_META_GRAPHS)


# tensorflow/core/protobuf/tensor_bundle.proto


@dataclass
class BundleHeader:
    """BundleHeaderProto, the header of a checkpoint index."""

    num_shards: int = integer(1)
    endianness: int = integer(2)


@dataclass
class Extent:
    """TensorSliceProto.Extent; an extent over a complete axis has no length."""

    start: int = integer(1)
    length: Optional[int] = integer(2, None)


@dataclass
class TensorSlice:
    """TensorSliceProto."""

    extent: List[Extent] = each_nested(1, Extent)
