"""Reading and writing of protobuf's text format, as in TF Serving's configuration files."""

from __future__ import annotations

import re
from typing import Any, Iterator, List, Match, Sequence, Tuple, Union

Message = Sequence[Tuple[str, Any]]  # fields in their order; a value that is a list is a message

_BETWEEN = re.compile(r"(?:\s+|#[^\n]*)*")
_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*') | (?P<word>[\w.+-]+) | (?P<mark>[{}<>:,;/\[\]])""", re.VERBOSE
)
_ESCAPE = re.compile(
    rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))|(.))", re.DOTALL
)
_LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_WHOLE = re.compile(r"(-?)(?:(0[xX][0-9a-fA-F]{1,16})|0([0-7]{0,22})|([1-9][0-9]{0,19}))\Z", re.ASCII)


class NotTextProto(ValueError):
    """The text is not in protobuf's text format."""


def write(message: Message, depth: int = 0) -> str:
    """Return the message as text, one line for each field."""
    indent = "  " * depth
    lines: List[str] = []
    for name, value in message:
        if isinstance(value, (list, tuple)):
            lines.append(f"{indent}{name} {{\n{write(value, depth + 1)}{indent}}}\n")
        else:
            lines.append(f"{indent}{name}: {_literal(value)}\n")
    return "".join(lines)


def read(text: str) -> Message:
    """Parse a message; whole numbers are integers, other words stay text, strings are unquoted."""
    tokens = list(_tokens(text))
    try:
        position, message = _message(tokens, 0, "")
    except RecursionError:
        raise NotTextProto("its messages are too deep inside one another") from None
    if position != len(tokens):
        raise NotTextProto(f"{tokens[position][1]!r} closes nothing")
    return message


def values(message: Message, name: str) -> List[Any]:
    """Return all values of the field; raises NotTextProto if `message` is a scalar."""
    if not isinstance(message, list):
        raise NotTextProto(f"{message!r} where a message is expected")
    return [value for field, value in message if field == name]


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    # Control characters by their octal codes; other scripts stay readable, in UTF-8.
    return '"{}"'.format(re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\{ord(match.group()):03o}", escaped))


def _tokens(text: str) -> Iterator[Tuple[str, str]]:
    position = _after_space(text, 0)
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotTextProto("line {}: {!r} is unexpected".format(text.count("\n", 0, position) + 1, text[position]))
        yield str(match.lastgroup), match.group()
        position = _after_space(text, match.end())


def _after_space(text: str, position: int) -> int:
    """Return the position after white space and comments."""
    match = _BETWEEN.match(text, position)
    return match.end() if match else position


def _message(tokens: List[Tuple[str, str]], position: int, closing: str) -> Tuple[int, Message]:
    found: List[Tuple[str, Any]] = []
    while position < len(tokens) and tokens[position][1] != closing:
        position, name = _name(tokens, position)
        position = _skip(tokens, position, ":")
        if _at(tokens, position) == ("mark", "["):
            position += 1
            while _at(tokens, position) != ("mark", "]"):
                position, value = _value(tokens, position)
                found.append((name, value))
                position = _skip(tokens, position, ",")
            position += 1
        else:
            position, value = _value(tokens, position)
            found.append((name, value))
        position = _skip(tokens, position, ",;")
    return position, found


def _name(tokens: List[Tuple[str, str]], position: int) -> Tuple[int, str]:
    """Return the name of a field; of an extension or an expanded Any it is in brackets: [type.googleapis.com/a.B]."""
    kind, name = tokens[position]
    if kind == "word":
        return position + 1, name
    if name != "[":
        raise NotTextProto(f"{name!r} where a field's name is expected")
    while _at(tokens, position)[1] != "]":
        position += 1
        if _at(tokens, position)[0] != "word" and tokens[position][1] not in "/]":
            raise NotTextProto(f"{tokens[position][1]!r} in the name of an extension")
        name += tokens[position][1]
    return position + 1, name


def _value(tokens: List[Tuple[str, str]], position: int) -> Tuple[int, Any]:
    kind, token = _at(tokens, position)
    if kind == "text":
        pieces = []
        while position < len(tokens) and tokens[position][0] == "text":  # adjacent strings are concatenated
            pieces.append(tokens[position][1][1:-1].encode("utf-8", "surrogatepass"))
            position += 1
        content = b"".join(_ESCAPE.sub(_unescaped, piece) for piece in pieces)
        return position, content.decode("utf-8", "backslashreplace")  # bytes of a tensor are no UTF-8
    if kind == "word":
        return position + 1, _number(token)
    if token in "{<":
        closing = "}" if token == "{" else ">"
        position, message = _message(tokens, position + 1, closing)
        _at(tokens, position)
        return position + 1, message
    raise NotTextProto(f"{token!r} where a value is expected")


def _at(tokens: List[Tuple[str, str]], position: int) -> Tuple[str, str]:
    if position >= len(tokens):
        raise NotTextProto("it ends in the middle of a field")
    return tokens[position]


def _skip(tokens: List[Tuple[str, str]], position: int, marks: str) -> int:
    return position + 1 if position < len(tokens) and tokens[position][1] in tuple(marks) else position


def _number(word: str) -> Union[int, str]:
    """Return a whole number of at most 64 bits as an integer, everything else as it is."""
    match = _WHOLE.match(word)
    if match is None:
        return word
    sign, hexadecimal, octal, decimal = match.groups()
    number = int(hexadecimal, 16) if hexadecimal else int(octal or "0", 8) if decimal is None else int(decimal)
    return -number if sign else number


def _unescaped(match: Match[bytes]) -> bytes:
    """Return the bytes of an escape; those of several make one character in UTF-8."""
    octal, hexadecimal, short, long, letter = match.groups()
    if letter is not None:
        return _LETTERS.get(letter, letter)
    if octal or hexadecimal:
        return bytes([(int(octal, 8) if octal else int(hexadecimal, 16)) & 0xFF])
    number = int(short or long, 16)
    if number > 0x10FFFF:
        raise NotTextProto(f"U+{number:X} is no character")
    return chr(number).encode("utf-8", "surrogatepass")
