"""Files that are sent to a signature: pictures, and arrays in .npy and .npz files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, Optional

from ckpt2saved.errors import UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.npz import NoArrays, read_array, read_arrays
from ckpt2saved.files.reading import PathLike, printable, read_file
from ckpt2saved.requests.given import fitted
from ckpt2saved.requests.pictures import STATUS, TEXT, picture_input
from ckpt2saved.requests.request import Inputs
from ckpt2saved.signature.tensors import DEFAULT_SIGNATURE, Signature

STDIN = "-"  # stands for paths that are read from stdin
ONE_ARRAY, ARRAYS = ".npy", ".npz"
_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")  # that are sent of a directory
_MOST_BYTES = 256 << 20  # of a picture
_LONGEST_PATH = 1 << 16  # bytes of a line of paths


@dataclass(frozen=True)
class GivenFile:
    """What a file holds: a picture, or arrays by input key, or the problem why it is not sent."""

    name: str  # as given, printable
    picture: Optional[bytes] = None
    inputs: Optional[Inputs] = None
    problem: Optional[Problem] = None


def given_paths(arguments: Iterable[str], listed: Iterable[bytes]) -> Iterator[str]:
    """The paths in order: `-` stands for the lines in `listed`, a directory for the pictures in it, sorted by name."""
    for argument in arguments:
        yield from each_file(_lines(listed) if argument == STDIN else (argument,))


def each_file(paths: Iterable[PathLike]) -> Iterator[str]:
    """The paths in order; a directory stands for the pictures in it, sorted by name."""
    for given in paths:
        path = os.fspath(given)
        yield from _pictures_in(path) if os.path.isdir(path) else (path,)


def _lines(listed: Iterable[bytes]) -> Iterator[str]:
    for line in listed:
        path = line[:_LONGEST_PATH].rstrip(b"\r\n")
        if path:
            yield os.fsdecode(path)


def _pictures_in(directory: str) -> List[str]:
    """The pictures in a directory; the directory itself if there is none, or if it can't be read."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.lower().endswith(_PICTURES))
    except OSError:
        names = []
    return [os.path.join(directory, name) for name in names] or [directory]


def read_given(path: str, signature: Signature) -> GivenFile:
    """Read a file for a signature; a file that can't be sent has a problem instead of a content."""
    name, ending = printable(path), _ending(path)
    try:
        if ending not in (ONE_ARRAY, ARRAYS):
            return _picture(path, name, signature)
        return GivenFile(name, inputs=_arrays(Path(path), name, ending, signature))
    except OSError as error:
        return GivenFile(name, problem=Problem("unreadable-file", name, _reason(path, error)))
    except (NoArrays, ValueError) as error:  # ValueError: a path with a zero byte
        return GivenFile(name, problem=Problem("unreadable-file", name, str(error)))
    except UsageError as error:
        found = "; ".join(problem.text for problem in error.problems) or str(error)
        return GivenFile(name, problem=Problem("other-inputs", name, found, takes_text(signature)))


def _reason(path: str, error: OSError) -> str:
    if os.path.isdir(path):
        return f"a directory without pictures ({', '.join(_PICTURES)})"
    return error.strerror or str(error)


def _picture(path: str, name: str, signature: Signature) -> GivenFile:
    if picture_input(signature) is None:
        return GivenFile(name, problem=Problem("other-inputs", name, "not an array", takes_text(signature)))
    content = read_file(path, _MOST_BYTES)
    if not content and not any(spec.key == STATUS for spec in signature.outputs):
        # Without a status the graph would fail the request, and with it the other pictures in it.
        return GivenFile(name, problem=Problem("empty-file", name, "an empty file"))
    return GivenFile(name, picture=content)


def _arrays(path: Path, name: str, ending: str, signature: Signature) -> Inputs:
    """The inputs in a .npz file, without other arrays; the one input of the signature in a .npy file."""
    if ending == ARRAYS:
        arrays = read_arrays(path)
        return fitted(signature, {spec.key: arrays[spec.key] for spec in signature.inputs if spec.key in arrays}, name)
    if len(signature.inputs) != 1:
        several = Problem("missing-input", "", f"one array, for {len(signature.inputs)} inputs")
        raise UsageError(f"{name}: {several.found}", [several])
    return fitted(signature, {signature.inputs[0].key: read_array(path)}, name)


def _ending(path: str) -> str:
    return Path(path).suffix.lower()


def takes_text(signature: Signature) -> str:
    """What a signature takes, and in which files."""
    inputs = ", ".join(f"{spec.key} {spec.dtype} {spec.shape_text}" for spec in signature.inputs)
    kinds = "pictures or a .npy file" if picture_input(signature) is not None else "a .npy file"
    files = kinds if len(signature.inputs) == 1 else "a .npz file with an array for each input"
    return f"{signature.name} takes {inputs or 'no input'}: expected {files}"


def choose_signature(
    signatures: Mapping[str, Signature], requested: Optional[str], path: Optional[str], where: str
) -> Signature:
    """The requested signature, or the one that takes the file `path`, the first of those that are sent.

    If several take it: serving_default, or `text` for a picture. Raises UsageError; `where` names the model.
    """
    if requested is not None and requested not in signatures:
        raise UsageError(
            f"--signature {requested}: {where} has no such signature; expected one of {', '.join(signatures) or 'none'}"
        )
    asked = dict(signatures) if requested is None else {requested: signatures[requested]}
    fitting = asked if path is None else _taking(path, asked)
    if not fitting:
        others = ", ".join(sorted(set(_taking(str(path), signatures)) - set(asked)))
        problems = [Problem("other-inputs", "", takes_text(one)) for one in asked.values()]
        raise UsageError(
            f"{printable(str(path))}: {_kind(str(path))} can't be sent to"
            f" {f'the signature {requested}' if requested else 'a signature'} of {where}"
            + (f"; --signature {others} takes it" if others else ""),
            problems,
        )
    for name in (DEFAULT_SIGNATURE, TEXT):
        if name in fitting:
            return fitting[name]
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    raise UsageError(f"{where}: choose one of several signatures: --signature {' or '.join(fitting)}")


def _kind(path: str) -> str:
    kinds = {ONE_ARRAY: "this array", ARRAYS: "these arrays"}
    return kinds.get(_ending(path), "a picture")


def _taking(path: str, signatures: Mapping[str, Signature]) -> Dict[str, Signature]:
    """The signatures that take the file, as far as its name, and of a .npz file its arrays, say."""
    ending = _ending(path)
    if ending == ONE_ARRAY:
        return {name: one for name, one in signatures.items() if len(one.inputs) == 1}
    if ending != ARRAYS:
        return {name: one for name, one in signatures.items() if picture_input(one) is not None}
    try:
        keys = set(read_arrays(Path(path)))
    except (NoArrays, ValueError):
        return dict(signatures)  # the file is read again, and its problem reported then
    return {name: one for name, one in signatures.items() if all(spec.key in keys for spec in one.inputs)}
