"""Protobuf messages as dataclasses whose fields declare number and type, with one decoder and one encoder.

A field's default is its declaration, as in `name: str = text(1)` or `inputs: List[str] = texts(3)`. Undeclared fields
are skipped. Fields of an `unread` type stay in the file until they are used. As in protobuf, the last value of a
singular field counts, and singular messages are merged.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Type, TypeVar

from ckpt2saved.files.protobuf.wire import KEY, VALUE, Malformed, Part, entry_of, fields, written

Message = TypeVar("Message")

_MOST_BYTES = 1 << 30
_MOST_FIELDS = 1 << 20


class Budget:
    """Limits on decoding one message: 60 bytes can declare an array of 32 GiB."""

    def __init__(self, most_bytes: int = _MOST_BYTES, most_fields: int = _MOST_FIELDS) -> None:
        self.most_bytes, self.most_fields = most_bytes, most_fields
        self._bytes, self._fields = 0, 0

    def fields(self, message: Part) -> Iterator[Tuple[int, Part]]:
        """Return the message's fields; raises ValueError above the limit."""
        for field in fields(message):
            self._fields += 1
            if self._fields > self.most_fields:
                raise ValueError(f"its tensors have more than {self.most_fields} separate fields")
            yield field

    def take(self, count: int) -> None:
        """Count `count` bytes of an array; raises ValueError above the limit."""
        self._bytes += count
        if self._bytes > self.most_bytes:
            raise ValueError(
                f"its tensors take {self._bytes >> 20} MB or more, and at most {self.most_bytes >> 20} MB are read"
            )


class _Type(NamedTuple):
    """Decoder and encoder of a field type."""

    read: Callable[[Part, Optional[Budget]], Any]
    write: Callable[[int, Any], bytes]


class _Field(NamedTuple):
    """A declared field of a message class."""

    name: str
    number: int
    kind: str  # last, merged, each, packed, or map
    type: _Type
    of: Any  # the class of a message; None for other types
    most: int  # values that are read; 0: any number
    is_optional: bool  # whether a value that is there differs from the default


def text(number: int) -> Any:
    """Declare a string; "" if missing."""
    return _declared(number, "last", _TEXT, default="")


def texts(number: int) -> Any:
    """Declare a repeated string."""
    return _declared(number, "each", _TEXT)


def blobs(number: int) -> Any:
    """Declare repeated bytes."""
    return _declared(number, "each", _BLOB)


def integer(number: int, default: Optional[int] = 0) -> Any:
    """Declare an integer, enum or bool; if missing, `default`."""
    return _declared(number, "last", _INTEGER, default=default)


def integers(number: int) -> Any:
    """Declare a repeated integer, packed or not."""
    return _declared(number, "packed", _INTEGERS)


def unread(number: int) -> Any:
    """Declare a value of any type that is read lazily as a Part; None if missing."""
    return _declared(number, "last", _UNREAD, default=None)


def each_unread(number: int) -> Any:
    """Declare a repeated value of any type that is read lazily, as a list of Parts."""
    return _declared(number, "each", _UNREAD)


def nested(number: int, message: Type[Any]) -> Any:
    """Declare a message; None if missing."""
    return _declared(number, "merged", _message(message), default=None, of=message)


def each_nested(number: int, message: Type[Any], most: int = 0) -> Any:
    """Declare a repeated message; more than `most` are malformed."""
    return _declared(number, "each", _message(message), of=message, most=most)


def mapped(number: int, message: Type[Any]) -> Any:
    """Declare a map from strings to messages."""
    return _declared(number, "map", _message(message), of=message)


def mapped_unread(number: int) -> Any:
    """Declare a map from strings to values that are read lazily as Parts."""
    return _declared(number, "map", _UNREAD)


def itself() -> Any:
    """Declare an attribute for the message's own Part, for reading undeclared fields later."""
    return dataclasses.field(default=Part(b"", 0, 0), metadata={"itself": True})


def decode(message: Type[Message], part: Part, budget: Optional[Budget] = None) -> Message:
    """Decode a message of the class; raises Malformed, and ValueError if the `budget` is exceeded."""
    found = message()
    _merge(found, part, budget)
    return found


def encode(message: Any) -> bytes:
    """Encode a message deterministically: fields by number, map entries by key."""
    pieces = []
    for field in sorted(_table(message.__class__).fields.values(), key=lambda field: field.number):
        value = getattr(message, field.name)
        if field.kind == "map":
            for key in sorted(value):
                entry = written(KEY, key.encode("utf-8")) + field.type.write(VALUE, value[key])
                pieces.append(written(field.number, entry))
        elif field.kind in ("each", "packed"):
            pieces += [field.type.write(field.number, one) for one in value]
        elif value is not None and (value or field.is_optional):
            pieces.append(field.type.write(field.number, value))
    return b"".join(pieces)


class _Table(NamedTuple):
    fields: Dict[int, _Field]
    itself: str  # the attribute for the message's own Part; ""


_tables: Dict[Type[Any], _Table] = {}


def _table(message: Type[Any]) -> _Table:
    """Return the declared fields of a class."""
    if message not in _tables:
        _tables[message] = _declarations(message)
    return _tables[message]


def _declarations(message: Type[Any]) -> _Table:
    own = ""
    found: Dict[int, _Field] = {}
    for declared in dataclasses.fields(message):
        if "itself" in declared.metadata:
            own = declared.name
        else:
            found[declared.metadata["number"]] = _Field(name=declared.name, **declared.metadata)
    return _Table(found, own)


def _declared(number: int, kind: str, type_: _Type, *, default: Any = "", of: Any = None, most: int = 0) -> Any:
    is_optional = kind not in ("each", "packed", "map") and default is None
    metadata = {"number": number, "kind": kind, "type": type_, "of": of, "most": most, "is_optional": is_optional}
    if kind == "map":
        return dataclasses.field(default_factory=dict, metadata=metadata)
    if kind in ("each", "packed"):
        return dataclasses.field(default_factory=list, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _merge(found: Any, part: Part, budget: Optional[Budget]) -> None:
    """Decode `part` into a message that may have values already."""
    table, itself = _table(found.__class__)
    if itself:
        part = part.kept()
        setattr(found, itself, part)
    else:
        part = part.in_memory()
    for number, value in (fields if budget is None else budget.fields)(part):
        field = table.get(number)
        if field is None:
            continue
        if field.kind == "last":
            setattr(found, field.name, field.type.read(value, budget))
        elif field.kind == "each":
            values: List[Any] = getattr(found, field.name)
            values.append(field.type.read(value, budget))
            if field.most and len(values) > field.most:
                raise Malformed(f"more than {field.most} {field.name.replace('_', ' ')}")
        elif field.kind == "packed":
            getattr(found, field.name).extend(field.type.read(value, budget))
        elif field.kind == "map":
            key, inner = entry_of(value, fields if budget is None else budget.fields)
            getattr(found, field.name)[key] = field.type.read(inner, budget)
        elif getattr(found, field.name) is None:
            setattr(found, field.name, field.type.read(value, budget))
        else:
            _merge(getattr(found, field.name), value, budget)


_TEXT = _Type(
    lambda part, budget: part.text(),
    lambda number, value: written(number, value.encode("utf-8", "surrogateescape")),
)
_BLOB = _Type(lambda part, budget: part.content(), written)
_INTEGER = _Type(lambda part, budget: part.integer(), written)
_INTEGERS = _Type(lambda part, budget: part.integers(), written)
_UNREAD = _Type(lambda part, budget: part, lambda number, value: written(number, value.content()))


def _message(message: Type[Any]) -> _Type:
    return _Type(
        lambda part, budget: decode(message, part, budget), lambda number, value: written(number, encode(value))
    )
