"""A check that protobuf can parse the complete saved_model.pb, without TensorFlow."""

from __future__ import annotations

from typing import Any, BinaryIO, Dict, List, Set, Tuple

from ckpt2saved.files.protobuf.wire import Malformed, Part, fields, of_file, varint

DEEPEST = 100  # messages inside of each other that protobuf reads

_PIECE = 1 << 16  # bytes of a message that is checked in memory
_SMALL = 256  # bytes of an attribute that is looked up among those that were checked before
_MOST_KNOWN = 100000

_STRING = "string"
_PACKED = "packed"  # numbers of variable length

# The messages of TensorFlow's saved_model.proto and of what it includes: number of a field -> its type. Fields that are
# numbers or bytes, and messages that no graph is loaded from, are left out.
_MESSAGES: Dict[str, Dict[int, str]] = {
    "SavedModel": {2: "MetaGraphDef"},
    "MetaGraphDef": {
        1: "MetaInfoDef",
        2: "GraphDef",
        3: "SaverDef",
        4: "map CollectionDef",
        5: "map SignatureDef",
        6: "AssetFileDef",
        7: "SavedObjectGraph",
    },
    "MetaInfoDef": {1: _STRING, 2: "OpList", 4: _STRING, 5: _STRING, 6: _STRING},
    "OpList": {1: "OpDef"},
    "OpDef": {
        1: _STRING,
        2: "ArgDef",
        3: "ArgDef",
        4: "AttrDef",
        5: _STRING,
        6: _STRING,
        8: "OpDeprecation",
        20: _STRING,
    },
    "OpDeprecation": {2: _STRING},
    "ArgDef": {1: _STRING, 2: _STRING, 4: _STRING, 5: _STRING, 6: _STRING},
    "AttrDef": {1: _STRING, 2: _STRING, 3: "AttrValue", 4: _STRING, 7: "AttrValue"},
    "AttrValue": {1: "ListValue", 7: "TensorShape", 8: "Tensor", 9: _STRING, 10: "NameAttrList"},
    "ListValue": {3: _PACKED, 5: _PACKED, 6: _PACKED, 7: "TensorShape", 8: "Tensor", 9: "NameAttrList"},
    "NameAttrList": {1: _STRING, 2: "map AttrValue"},
    "TensorShape": {2: "Dim"},
    "Dim": {2: _STRING},
    "Tensor": {2: "TensorShape", 7: _PACKED, 10: _PACKED, 11: _PACKED, 13: _PACKED, 16: _PACKED, 17: _PACKED},
    "GraphDef": {1: "NodeDef", 2: "FunctionDefLibrary", 4: "Empty"},
    "NodeDef": {1: _STRING, 2: _STRING, 3: _STRING, 4: _STRING, 5: "map AttrValue", 6: "Empty"},
    "FunctionDefLibrary": {1: "FunctionDef", 2: "GradientDef"},
    "GradientDef": {1: _STRING, 2: _STRING},
    "FunctionDef": {1: "OpDef", 3: "NodeDef", 4: "map string", 5: "map AttrValue", 6: "map string", 7: "ArgumentEntry"},
    "ArgumentEntry": {2: "ArgumentAttributes"},
    "ArgumentAttributes": {1: "map AttrValue"},
    "SaverDef": {1: _STRING, 2: _STRING, 3: _STRING},
    "CollectionDef": {1: "NodeList", 2: "Empty", 3: "Empty", 4: "Empty", 5: "AnyList"},
    "NodeList": {1: _STRING},
    "AnyList": {1: "Any"},
    "Any": {1: _STRING},
    "SignatureDef": {1: "map TensorInfo", 2: "map TensorInfo", 3: _STRING},
    "TensorInfo": {1: _STRING, 3: "TensorShape", 4: "CooSparse"},
    "CooSparse": {1: _STRING, 2: _STRING, 3: _STRING},
    "AssetFileDef": {1: "TensorInfo", 2: _STRING},
    "SavedObjectGraph": {1: "SavedObject", 2: "map SavedConcreteFunction"},
    "SavedObject": {
        1: "ObjectReference",
        3: "SlotVariable",
        4: "SavedUserObject",
        6: "SavedFunction",
        7: "SavedVariable",
        8: "SavedBareConcreteFunction",
        9: "NodeList",
        10: "NodeList",
        11: "map Empty",
        12: "GradientDef",
        13: _STRING,
        14: "Any",
        15: "ObjectReference",
        16: _STRING,
    },
    "ObjectReference": {2: _STRING},
    "SlotVariable": {2: _STRING},
    "SavedUserObject": {1: _STRING, 2: "Empty", 3: _STRING},
    "SavedFunction": {1: _STRING, 2: "FunctionSpec"},
    "SavedVariable": {2: "TensorShape", 6: _STRING, 7: _STRING, 8: "SavedVariable"},
    "SavedBareConcreteFunction": {1: _STRING, 2: _STRING, 4: "FunctionSpec"},
    "SavedConcreteFunction": {2: _PACKED, 3: "StructuredValue", 4: "StructuredValue"},
    "FunctionSpec": {1: "StructuredValue", 5: "StructuredValue"},
    "StructuredValue": {
        1: "Empty",
        13: _STRING,
        31: "TensorShape",
        33: "TensorSpec",
        34: "TypeSpec",
        35: "TensorSpec",
        51: "StructuredList",
        52: "StructuredList",
        53: "StructuredDict",
        54: "NamedTuple",
        55: "Tensor",
        56: "Tensor",
    },
    "TensorSpec": {1: _STRING, 2: "TensorShape"},
    "TypeSpec": {2: "StructuredValue", 3: _STRING},
    "StructuredList": {1: "StructuredValue"},
    "StructuredDict": {1: "map StructuredValue"},
    "NamedTuple": {1: _STRING, 2: "Pair"},
    "Pair": {1: _STRING, 2: "StructuredValue"},
    "Empty": {},
}


def _linked() -> Dict[str, Dict[int, Any]]:
    """Replace message names by the messages; a map is a message of key and value."""
    found: Dict[str, Dict[int, Any]] = {name: {} for name in _MESSAGES}
    for name, message in _MESSAGES.items():
        for number, kind in message.items():
            value = kind[len("map ") :] if kind.startswith("map ") else kind
            linked: Any = _STRING if value == _STRING else _PACKED if value == _PACKED else found[value]
            found[name][number] = {1: _STRING, 2: linked} if kind.startswith("map ") else linked
    return found


_SAVED_MODEL = _linked()["SavedModel"]


def check_structure(file: BinaryIO, size: int) -> None:
    """Raise Malformed unless the whole file parses and every string is UTF-8."""
    known: Set[Tuple[int, bytes]] = set()
    left: List[Tuple[Any, Part, int]] = [(_SAVED_MODEL, of_file(file, size), 0)]
    while left:
        message, part, depth = left.pop()
        if depth > DEEPEST:
            raise Malformed(f"messages more than {DEEPEST} deep inside of each other")
        if part.size <= _PIECE:
            _check(part.content(), message, depth, known)
            continue
        for number, value in fields(part):
            kind = message.get(number)
            if kind is None:
                continue
            if kind is _STRING:
                _check_text(value.content())
            elif kind is _PACKED:
                _check_packed(Part(value.source, value.end - 1, value.end).content())
            elif value.size > _PIECE:
                left.append((kind, value, depth + 1))
            else:
                _check(value.content(), kind, depth + 1, known)


def _check(data: bytes, message: Any, depth: int, known: Set[Tuple[int, bytes]]) -> None:
    left = [(message, 0, len(data), depth)]
    while left:
        message, at, end, depth = left.pop()
        if end - at <= _SMALL:
            # Most attributes and shapes of a graph are the same as others.
            key = (id(message), data[at:end])
            if key in known:
                continue
            if len(known) < _MOST_KNOWN:
                known.add(key)
        if depth > DEEPEST:
            raise Malformed(f"messages more than {DEEPEST} deep inside of each other")
        while at < end:
            tag, at = varint(data, at)
            wire_type = tag & 7
            if wire_type == 2:
                length, at = varint(data, at)
                after = at + length
                if after > end:
                    raise Malformed
                kind = message.get(tag >> 3)
                if kind is _STRING:
                    _check_text(data[at:after])
                elif kind is _PACKED:
                    _check_packed(data[max(at, after - 1) : after])
                elif kind is not None:
                    left.append((kind, at, after, depth + 1))
                at = after
            elif wire_type == 0:
                _, at = varint(data, at)
            elif wire_type in {5, 1}:
                at += 4 if wire_type == 5 else 8
            else:
                raise Malformed
            if tag >> 3 == 0:
                raise Malformed
        if at > end:
            raise Malformed


def _check_packed(last: bytes) -> None:
    """Raise Malformed unless packed data ends with the last byte of a varint."""
    if last and last[0] >= 0x80:
        raise Malformed


def _check_text(data: bytes) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed from None
