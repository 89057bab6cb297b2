"""The options --warmup, --warmup-signature and --no-warmup, checked without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence, Tuple, Union

from ckpt2saved.errors import UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.saved_model.judgement import MOST_RECORDS
from ckpt2saved.signature.model import ServedModel

_CONFLICT = "conflicting-options"
_PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class WarmUpSource:
    """The source of warm-up requests: `count` made-up ones for each signature, a .npz file, or images."""

    count: int = 1
    arrays: Optional[Path] = None
    pictures: Tuple[Path, ...] = ()
    signatures: Tuple[str, ...] = ()  # write the requests as clients send them; (): requests that every server can run
    asked: bool = False  # by the user; if False, it is no error if no requests can be made


def warm_up_source(
    model: ServedModel, values: Sequence[Union[int, Path]] = (), signatures: Sequence[str] = (), none: bool = False
) -> Optional[WarmUpSource]:
    """Check the values of `--warmup`, `--warmup-signature` and `--no-warmup`; None: no requests.

    `values` is one number, one file of arrays, or pictures.

    Raises UsageError with all problems.
    """
    problems = []
    if none and (values or signatures):
        problems.append(Problem(_CONFLICT, "--no-warmup", "not with --warmup or --warmup-signature"))
    names = [signature.name for signature in model.signatures]
    problems += [
        Problem(
            "unknown-signature",
            f"--warmup-signature {name}",
            "there is no such signature",
            f"expected one of {', '.join(names)}",
        )
        for name in signatures
        if name not in names
    ]
    numbers = [value for value in values if isinstance(value, int)]
    paths = [value for value in values if not isinstance(value, int)]
    arrays = [path for path in paths if path.suffix == ".npz"]
    pictures = [path for path in paths if path.suffix.lower() in _PICTURES]
    for path in paths:
        if path not in arrays + pictures:
            expected = "a number of requests, an .npz file or pictures (.png, .jpg) are expected"
            problems.append(Problem("wrong-value", f"--warmup {path}", expected))
        elif not path.is_file():
            problems.append(Problem("missing-file", "--warmup", f"there is no file {path}"))
    if len(numbers) + len(arrays) + bool(pictures) > 1:
        problems.append(Problem(_CONFLICT, "--warmup", "one number, one .npz file, or pictures are expected"))
    count = numbers[0] if numbers else 1
    if count < 0:
        problems.append(Problem("wrong-value", f"--warmup {count}", "a number from 0 on is expected"))
    most = max(count, len(pictures))
    if most > MOST_RECORDS:
        problems.append(too_many(most))
    if count == 0 and signatures:
        problems.append(Problem(_CONFLICT, "--warmup-signature", "not with --warmup 0"))
    if problems:
        raise UsageError("no warm-up requests can be made with these options", problems)
    if none or count == 0:
        return None
    asked = bool(values or signatures)
    return WarmUpSource(
        count=count,
        arrays=arrays[0] if arrays else None,
        pictures=tuple(pictures),
        signatures=tuple(dict.fromkeys(signatures)),
        asked=asked,
    )


def too_many(count: int) -> Problem:
    """The problem of too many requests."""
    found = f"{count} records, and TF Serving loads no version with more than {MOST_RECORDS}"
    return Problem("too-many-warmup-requests", "--warmup", found)
