"""What a SavedModel asks of a server: the ops and attributes of its graph and functions, read without TensorFlow."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, FrozenSet, Iterator, List, Mapping, NamedTuple, Tuple, Union

from ckpt2saved.compatibility.registry import list_items
from ckpt2saved.errors import NotServable, ServingError
from ckpt2saved.versions import numbered_children
from ckpt2saved.versions.base import SAVED_MODEL_FILES
from ckpt2saved.wire import Malformed, Span, each, fields, integer, text

# Fields of the messages SavedModel, MetaGraphDef, MetaInfoDef, GraphDef, FunctionDefLibrary, FunctionDef, OpDef,
# NodeDef and AttrValue.
_META_GRAPH = 2
_META_INFO, _GRAPH = 1, 2
_TAG, _TENSORFLOW = 4, 5
_NODE, _LIBRARY = 1, 2
_FUNCTION = 1
_SIGNATURE, _FUNCTION_NODE = 1, 3
_OP_NAME = 1
_NODE_NAME, _NODE_OP, _NODE_ATTR = 1, 2, 5
_LIST, _TEXT, _TYPE = 1, 2, 6

_SERVED = {"serve"}  # TF Serving takes the meta graph with this tag and no other
_SMALL = 1 << 16  # bytes of a node, or of an attribute, that are read at once: all but those with a constant in them
_LONGEST_CHOICE = 64  # bytes; texts that an op definition lists as allowed are words


class Use(NamedTuple):
    """An op with the attributes that a node gives it."""

    op: str
    attributes: FrozenSet[Tuple[str, Tuple[Union[int, str], ...]]]  # name, and the DataTypes or texts in its value


@dataclass(frozen=True)
class Demands:
    """All that a SavedModel's meta graph for serving asks for."""

    directory: Path
    tensorflow: str  # that wrote it, by its own account; "" if it does not say
    nodes: int  # in the graph and in its functions
    uses: Mapping[Use, Tuple[str, ...]]  # the nodes with this use; function/node for those in functions


def find_saved_model(path: Path) -> Path:
    """The directory of the SavedModel that is meant by it, its saved_model.pb or the base directory of its versions."""
    directory = path.parent if path.name in SAVED_MODEL_FILES else path
    if any(os.path.isfile(str(directory / name)) for name in SAVED_MODEL_FILES):
        return directory
    if not os.path.isdir(str(path)):
        raise ServingError(
            "{}: {}; expected a SavedModel, or a directory with versions of one".format(
                path, "not a directory" if os.path.lexists(str(path)) else "there is nothing"
            )
        )
    children = numbered_children(path)
    if not children:
        raise ServingError(
            "{}: no SavedModel (there is no saved_model.pb), nor a version of one; expected the directory that export "
            "printed, or the one above it".format(path)
        )
    return children[-1].path


def read_demands(version_dir: Path) -> Demands:
    """What the meta graph that TF Serving would load asks for; raises ServingError, or NotServable if there is none."""
    path = version_dir / "saved_model.pb"
    try:
        with path.open("rb") as file:
            meta_graphs = list(each(file, (0, path.stat().st_size), _META_GRAPH))
            tags = [_texts(file, meta_graph, _TAG) for meta_graph in meta_graphs]
            for meta_graph, found in zip(meta_graphs, tags):
                if set(found) == _SERVED:
                    return _demands(version_dir, file, meta_graph)
    except FileNotFoundError:
        raise ServingError(
            "{}: missing, and the graph of a saved_model.pbtxt is not read here; publish the SavedModel in its binary "
            "form".format(path)
        ) from None
    except (Malformed, OSError) as error:
        reason = getattr(error, "strerror", None) or "cut off, or no SavedModel"
        raise ServingError("{}: its graph can't be read: {}; export it again".format(path, reason)) from error
    if not meta_graphs:
        raise ServingError("{}: no graph is in it: empty, or no SavedModel; export it again".format(path))
    raise NotServable(
        "{}: no meta graph is tagged 'serve' and nothing else, so TF Serving loads none; the tags are: {}; export it "
        "with the tag serve".format(path, "; ".join(", ".join(sorted(found)) or "none" for found in tags))
    )


def _demands(version_dir: Path, file: BinaryIO, meta_graph: Span) -> Demands:
    uses = {}  # type: Dict[Use, List[str]]
    functions = set()  # type: Set[str]
    reader = _NodeReader()
    for graph in each(file, meta_graph, _GRAPH):
        for node in each(file, graph, _NODE):
            name, use = reader.read(file, node)
            uses.setdefault(use, []).append(name)
        for library in each(file, graph, _LIBRARY):
            for function in each(file, library, _FUNCTION):
                signature = list(each(file, function, _SIGNATURE))
                names = [text(file, at) for one in signature for at in each(file, one, _OP_NAME)]
                functions.update(names)
                for node in each(file, function, _FUNCTION_NODE):
                    name, use = reader.read(file, node)
                    uses.setdefault(use, []).append("{}/{}".format("".join(names), name))
    written_by = "".join(_texts(file, meta_graph, _TENSORFLOW))
    called = {use: tuple(names) for use, names in uses.items() if use.op not in functions}
    return Demands(version_dir, written_by, sum(len(names) for names in uses.values()), called)


def _texts(file: BinaryIO, meta_graph: Span, number: int) -> List[str]:
    return [text(file, at) for info in each(file, meta_graph, _META_INFO) for at in each(file, info, number)]


class _NodeReader:
    """Reads nodes, most of which share their attributes with many others."""

    def __init__(self) -> None:
        self._known = {}  # type: Dict[bytes, Tuple[str, Tuple[Union[int, str], ...]]]

    def read(self, file: BinaryIO, span: Span) -> Tuple[str, Use]:
        """A node's name and use."""
        file, span = _small(file, span)
        name, op, attributes = "", "", set()
        for number, at in fields(file, *span):
            if number == _NODE_NAME:
                name = text(file, at)
            elif number == _NODE_OP:
                op = text(file, at)
            elif number == _NODE_ATTR:
                attributes.add(self._attribute(file, at))
        # A server does not look at those with an underscore in front: they are for whoever put them there.
        return name, Use(op, frozenset(one for one in attributes if not one[0].startswith("_")))

    def _attribute(self, file: BinaryIO, span: Span) -> Tuple[str, Tuple[Union[int, str], ...]]:
        if span[1] - span[0] > _SMALL:
            return _parsed(file, span)
        file.seek(span[0])
        content = file.read(span[1] - span[0])
        if content not in self._known:
            self._known[content] = _parsed(io.BytesIO(content), (0, len(content)))
        return self._known[content]


def _small(file: BinaryIO, span: Span) -> Tuple[BinaryIO, Span]:
    size = span[1] - span[0]
    if size > _SMALL:
        return file, span
    file.seek(span[0])
    return io.BytesIO(file.read(size)), (0, size)


def _parsed(file: BinaryIO, entry: Span) -> Tuple[str, Tuple[Union[int, str], ...]]:
    """An entry of a node's map of attributes."""
    name, value = "", (entry[1], entry[1])
    for number, at in fields(file, *entry):
        if number == 1:
            name = text(file, at)
        elif number == 2:
            value = at
    return name, tuple(_choices(file, value))


def _choices(file: BinaryIO, value: Span) -> Iterator[Union[int, str]]:
    for number, at in fields(file, *value):
        if number == _TYPE:
            yield integer(file, at)
        elif number == _TEXT and at[1] - at[0] <= _LONGEST_CHOICE:
            file.seek(at[0])
            yield file.read(at[1] - at[0]).decode("utf-8", "replace")
        elif number == _LIST and at[1] - at[0] <= _SMALL:
            yield from list_items(file, value)
