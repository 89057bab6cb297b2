"""Signature files: found by a built-in model's name or by path, and parsed."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import stat
from pathlib import Path
from typing import List, Mapping

from ckpt2saved.errors import SignatureError, UsageError
from ckpt2saved.files.kinds import EMPTY, JSON, kind_of
from ckpt2saved.signature.model import Scalar, ServedModel
from ckpt2saved.signature.schema import SchemaReader
from ckpt2saved.signature.yaml_nodes import MOST_PROBLEMS, NotYaml, TooManyProblems, check_aliases, compose

_HERE = Path(__file__).resolve().parent.parent
# In a wheel the folder lies inside the package; in a checkout and an editable install beside it.
_FOLDERS = (_HERE / "signatures", _HERE.parent / "signatures")
_MOST_BYTES = 16 << 20  # of a file; a thousand lines say most of what can be said, images for parity are larger


def signature_folder() -> Path:
    """Return the folder with the built-in signature files."""
    for folder in _FOLDERS:
        if folder.is_dir():
            return folder
    raise SignatureError(
        "the signatures of the built-in models are not installed: there is neither {} nor {}; "
        "install ckpt2saved again, or pass --model the path of a signature file".format(*_FOLDERS)
    )


def builtin_models() -> List[str]:
    """Return the names that `--model` accepts besides paths."""
    return sorted(file.stem for file in signature_folder().glob("*.yaml"))


def load_model(model: str, options: Mapping[str, Scalar] = {}) -> ServedModel:
    """Load the signature file of a built-in model (crnn, ctpn, ocr), or at a path ending in .yaml or .yml.

    `options` are values for the options that the file declares; others are ignored.
    """
    path = Path(model) if model.endswith((".yaml", ".yml")) else _builtin_path(model)
    _refuse_other_kinds(path)
    try:
        text = _content(path).decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        near = difflib.get_close_matches(path.stem, builtin_models(), n=1)
        hint = f"; did you mean the built-in model {near[0]}?" if near else ""
        raise UsageError(f"--model: there is no signature file {model}{hint}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SignatureError(
            f"{path}:{line}: this is not UTF-8 text (byte 0x{error.object[error.start]:02x}); a signature file is YAML"
            " in UTF-8"
        ) from error
    except OSError as error:
        raise SignatureError(f"{path}: can't be read: {error.strerror}") from error
    return parse_model(text, path, options)


def _content(path: Path) -> bytes:
    """Return the file's content, if it is a regular file and not too large."""
    if stat.S_ISDIR(path.stat().st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(path.stat().st_mode):
        raise SignatureError(f"{path}: this is a device or a pipe; expected a signature file")
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise SignatureError(f"{path}: more than {_MOST_BYTES >> 20} MB; expected a smaller file")
    return content


def _refuse_other_kinds(path: Path) -> None:
    """Raise SignatureError with a remedy if the file is a model, graph or checkpoint."""
    kind = kind_of(path)
    if kind and kind.what not in (EMPTY, JSON):
        raise SignatureError(f"--model {path}: {kind.instead_of('a signature file')}")


def _builtin_path(model: str) -> Path:
    names = builtin_models()
    if model in names:
        return signature_folder() / (model + ".yaml")
    _refuse_other_kinds(Path(model))
    near = difflib.get_close_matches(model, names, n=1)
    raise UsageError(
        f"--model: there is no built-in model {model!r}{(f', did you mean {near[0]}?' if near else '')}; there are"
        f" {', '.join(names)}, or pass the path of a signature file ending in .yaml"
    )


def parse_model(text: str, source: Path, options: Mapping[str, Scalar] = {}) -> ServedModel:
    """Parse a signature file; raises SignatureError with every mistake and its line."""
    try:
        root, refused = compose(text)
    except NotYaml as error:
        raise SignatureError(f"{source}{error.line}: this can't be read as YAML: {error}") from error.__cause__
    if root is None:
        raise SignatureError(f"{source}: the file is empty; the built-in ones lie in {signature_folder()}")
    try:
        check_aliases(root)
    except ValueError as error:
        raise SignatureError(f"{source}: {error}") from None
    reader = SchemaReader(source, options)
    model = None
    with contextlib.suppress(TooManyProblems):
        model = None if refused else reader.model(root)
    if model is None:
        problems = refused or reader.problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        more = ", of which these are the first" if len(problems) >= MOST_PROBLEMS else ""
        raise SignatureError(f"{source}: {count}{more}", problems[:MOST_PROBLEMS])
    return model
