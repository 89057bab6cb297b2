"""Send pictures to a model in requests of several, and answer one row of each output for each picture."""

from __future__ import annotations

from typing import Callable, Iterable, Iterator, Tuple

from ckpt2saved.answers.asker import Asker
from ckpt2saved.errors import NotServable
from ckpt2saved.requests.pictures import PICTURES_OF_A_REQUEST, requests_of_pictures
from ckpt2saved.requests.request import Answers
from ckpt2saved.signature.tensors import Signature


def ask_pictures(
    asker: Asker,
    signature: Signature,
    pictures: Iterable[Tuple[str, bytes]],
    most: int = PICTURES_OF_A_REQUEST,
    progress: Callable[[int], None] = lambda count: None,
) -> Iterator[Answers]:
    """Yield the rows of the outputs of each picture (name and bytes), in order; raises the errors of the asker.

    `pictures` are read as they are sent; `progress` is called with the number of pictures that were answered. Raises
    NotServable if an output has not one row for each picture.
    """
    count = 0
    for request in requests_of_pictures(signature, pictures, most):
        (value,) = request.inputs.values()
        answers = asker.answer(request)
        for key, rows in answers.items():
            if rows.shape[:1] != value.shape[:1]:
                raise NotServable(
                    f"{request.where}: output {key} has the shape {list(rows.shape)} for {len(value)} pictures;"
                    " expected one row for each"
                )
        for row in range(len(value)):
            yield {key: rows[row] for key, rows in answers.items()}
        count += len(value)
        progress(count)
