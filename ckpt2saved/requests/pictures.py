"""Signatures that take the bytes of pictures, and requests of several pictures."""

from __future__ import annotations

from typing import Callable, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from ckpt2saved.errors import UsageError
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.signature.steps import COUNT
from ckpt2saved.signature.tensors import Signature, TensorSpec

PICTURES_OF_A_REQUEST = 32  # a server with batching in its defaults of serving-config refuses more items
PAGES_OF_A_REQUEST = 8  # which are computed one after the other
TEXT, STATUS, SCORE = "text", "status", "score"  # outputs
QUADS, TEXT_SCORES = "quads", "text_scores"  # outputs for pages
# What `status` means in words; of signatures that decode pictures by steps.
STATUS_TEXTS = (
    "read",
    "no bytes",
    "no known picture format",
    "more pixels than the limit",
    "damaged",
    "too small, or not readable for another reason",
)
BYTES_OF_A_REQUEST = 16 << 20  # a REST request holds a third more, as base64
_SUFFIX = "_bytes"  # TF Serving's REST API sends and takes such strings as base64


def picture_input(signature: Signature) -> Optional[TensorSpec]:
    """The input for pictures: the only one, string [batch], with a key that ends in `_bytes`; None without one."""
    if len(signature.inputs) != 1:
        return None
    (spec,) = signature.inputs
    is_list = spec.has_open_batch and len(spec.shape or ()) == 1
    return spec if spec.dtype == "string" and is_list and spec.key.endswith(_SUFFIX) else None


def status_text(status: int) -> str:
    """What a status means, in words."""
    return STATUS_TEXTS[status] if 0 <= status < len(STATUS_TEXTS) else f"status {status}"


def as_text(content: object) -> str:
    """A string of an answer; bytes that are not UTF-8 become U+FFFD."""
    return content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)


def reads_text(signature: Signature) -> bool:
    """Whether the signature takes pictures of lines and answers an output `text` of strings."""
    return _answers_text(signature) and not reads_pages(signature)


def reads_pages(signature: Signature) -> bool:
    """Whether the signature takes pictures of pages and answers `text`, `quads` and `count` of their lines."""
    ranks = {spec.key: None if spec.shape is None else len(spec.shape) for spec in signature.outputs}
    fits = all(key in ranks and ranks[key] in (rank, None) for key, rank in ((TEXT, 2), (QUADS, 3), (COUNT, 1)))
    return fits and _answers_text(signature)


def _answers_text(signature: Signature) -> bool:
    texts = [spec for spec in signature.outputs if spec.key == TEXT and spec.dtype == "string"]
    return picture_input(signature) is not None and bool(texts)


def count_of_lines(answers: Answers) -> Optional[int]:
    """How many lines the answers for one page have; None if they are not text [lines], quads [lines, 8] and count."""
    text, quads, count = answers[TEXT], answers[QUADS], answers[COUNT]
    scores = answers.get(TEXT_SCORES, text)
    fits = text.ndim == 1 and quads.shape == (len(text), 8) and scores.shape == text.shape and count.ndim == 0
    return int(count) if fits and 0 <= count <= len(text) else None


class Reader(NamedTuple):
    """A kind of signatures that read text."""

    default: str  # the signature that is chosen of several
    fits: Callable[[Signature], bool]
    doing: str  # what they read, for messages
    outputs: str

    @property
    def expected(self) -> str:
        """What makes a signature one of them."""
        return f"a signature with one input of strings [batch] whose name ends in _bytes, and {self.outputs}"

    def choose(self, signatures: Mapping[str, Signature], requested: Optional[str], where: str) -> Signature:
        """The requested signature, or the default, or the only one of the kind; raises UsageError.

        `where` names the model in the message.
        """
        fitting = [name for name in sorted(signatures) if self.fits(signatures[name])]
        if requested is not None:
            if requested in fitting:
                return signatures[requested]
            has = f"the signature {requested} does not read {self.doing}"
            if requested not in signatures:
                has = f"there is no signature {requested}"
            remedy = f"expected one that reads {self.doing}: {', '.join(fitting)}" if fitting else ""
            raise UsageError(f"{where}: {has}; {remedy or f'expected {self.expected}'}")
        if self.default in fitting:
            return signatures[self.default]
        if len(fitting) == 1:
            return signatures[fitting[0]]
        if fitting:
            options = " or ".join(fitting)
            raise UsageError(f"{where}: several signatures read {self.doing}; choose one: --signature {options}")
        found = ", ".join(sorted(signatures)) or "none"
        raise UsageError(f"{where}: no signature reads {self.doing}; expected {self.expected}; it has {found}")


_PAGE_OUTPUTS = f"outputs {TEXT} of strings [batch, lines], {QUADS} [batch, lines, 8] and {COUNT} [batch]"
LINE_READER = Reader("text", reads_text, "text from pictures of lines", "an output text of strings")
PAGE_READER = Reader("page", reads_pages, "text from pictures of pages", _PAGE_OUTPUTS)


def request_of_pictures(signature: str, key: str, names: Sequence[str], contents: Sequence[bytes]) -> Request:
    """One request for the pictures, as the input `key` of the signature."""
    value = np.empty(len(contents), object)
    value[:] = contents
    name = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    return Request(name, signature, {key: value}, is_of_known_size=True)
