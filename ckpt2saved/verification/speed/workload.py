"""The requests of a load: given pictures or arrays, recorded ones, or made-up ones with a distribution of widths."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.errors import UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.pictures import picture_size
from ckpt2saved.files.reading import PathLike, read_file
from ckpt2saved.requests.files import ARRAYS, ONE_ARRAY, GivenFile, each_file, read_given
from ckpt2saved.requests.pictures import picture_input, request_of_pictures
from ckpt2saved.requests.request import MADE_UP, Inputs, Request
from ckpt2saved.requests.splitting import batch_of, with_lines
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.verification.speed.drawn_lines import as_png, line_of_strokes
from ckpt2saved.verification.speed.made_up_arrays import HEIGHT, ArrayMaker, image_input
from ckpt2saved.verification.speed.target import Target
from ckpt2saved.verification.speed.widths import Widths

PICTURES = 64  # that are made up
_LEAST_REQUESTS = 16  # different ones
_MOST_REQUESTS = 1024
_MOST_BYTES = 64 << 20  # of the pictures of all requests of one batch size
_MOST_FILE_BYTES = 256 << 20
_DEFAULT_WIDTHS = Widths((40, 400), is_range=True)
_DEFAULT_WIDTH = Widths((256,))  # of arrays, of which a request has one width


@dataclass(frozen=True)
class Given:
    """What the requests are made of; without files they are recorded or made up."""

    files: Tuple[PathLike, ...] = ()
    widths: Optional[Widths] = None
    height: int = HEIGHT


class Workload(ABC):
    """The requests to a target, for each batch size; `widths` are those of the pictures, "" if unknown."""

    widths: str

    @abstractmethod
    def requests(self, batch: int) -> List[Request]:
        """Different requests of `batch` items, to be sent in turns."""


class PictureWorkload(Workload):
    """Requests with the bytes of pictures."""

    def __init__(self, signature: Signature, key: str, contents: Sequence[bytes]) -> None:
        self.widths = _range_text([size[0] for size in map(picture_size, contents) if size])
        self._signature = signature.name
        self._key = key
        self._contents = contents

    def requests(self, batch: int) -> List[Request]:
        """As many requests as hold each picture once, within limits."""
        mean = sum(map(len, self._contents)) / len(self._contents)
        most = max(1, min(_MOST_REQUESTS, int(_MOST_BYTES / max(mean * batch, 1))))
        count = min(max(-(-len(self._contents) // batch), _LEAST_REQUESTS), most)
        made = []
        for number in range(count):
            chosen = [self._contents[(number * batch + row) % len(self._contents)] for row in range(batch)]
            made.append(request_of_pictures(self._signature, self._key, [MADE_UP], chosen))
        return made


class ArrayWorkload(Workload):
    """Requests with arrays, whose rows are repeated to the size of the batch."""

    def __init__(self, signature: Signature, inputs: Sequence[Inputs], widths: str = "") -> None:
        self.widths = widths
        self._signature = signature
        self._inputs = inputs

    def requests(self, batch: int) -> List[Request]:
        """One request for each of the given inputs."""
        return [
            Request(
                MADE_UP,
                self._signature.name,
                inputs if batch_of(inputs) is None else with_lines(inputs, batch),
                is_of_known_size=True,
            )
            for inputs in self._inputs
        ]


def workload_for(target: Target, given: Given, compared: Sequence[Target] = ()) -> Workload:
    """The requests to a target; raises UsageError for files that it does not take, or if none can be made up.

    For inputs other than pictures these are the warm-up requests of a version: of the first target in `compared` that
    has some, so that all get the same.
    """
    signature = target.signature
    random = np.random.RandomState(0)
    picture, image = picture_input(signature), image_input(signature)
    maker = ArrayMaker(target, given.height)
    if given.files:
        files = _read(given.files, signature, takes_pictures=image is not None)
        arrays = [file.inputs for file in files if file.inputs is not None]
        if arrays:
            return ArrayWorkload(signature, arrays)
        contents = [file.picture or b"" for file in files]
        if picture is not None:
            return PictureWorkload(signature, picture.key, contents)
        sizes = [size for size in map(picture_size, contents) if size]
        assert image is not None
        widths = [max(round(width * maker.height(image) / max(height, 1)), 1) for width, height in sizes]
        return ArrayWorkload(signature, maker.of_widths(image, widths[:PICTURES]), _range_text(widths[:PICTURES]))
    if picture is not None:
        drawn = (given.widths or _DEFAULT_WIDTHS).drawn(PICTURES, random)
        made = [as_png(line_of_strokes(width, given.height, random)) for width in drawn]
        return PictureWorkload(signature, picture.key, made)
    if image is not None:
        drawn = (given.widths or _DEFAULT_WIDTH).drawn(_LEAST_REQUESTS, random)
        return ArrayWorkload(signature, maker.of_widths(image, drawn), _range_text(drawn))
    if given.widths is not None:
        raise UsageError(
            f"--widths: signature {signature.name} of {target.name} has no input for pictures: expected bytes of"
            " pictures, strings [batch] under a name that ends in _bytes, or pixels [batch, height, width, channels]"
        )
    recorded = next(filter(None, (one.recorded() for one in compared or [target])), ())
    inputs = [request.inputs for request in recorded if request.signature == signature.name]
    return ArrayWorkload(signature, inputs or [maker.inputs({})])


def _read(paths: Sequence[PathLike], signature: Signature, takes_pictures: bool) -> List[GivenFile]:
    """The files, of one kind; raises UsageError. With `takes_pictures`, pictures are read for their widths."""
    files = [_file(path, signature, takes_pictures) for path in each_file(paths)]
    problems = [file.problem for file in files if file.problem is not None]
    if problems:
        raise UsageError("--requests: these files can't be sent", problems)
    kinds = {file.inputs is None for file in files}
    if len(kinds) > 1:
        raise UsageError("--requests: pictures and arrays; expected files of one kind")
    return files


def _file(path: str, signature: Signature, takes_pictures: bool) -> GivenFile:
    if not takes_pictures or path.lower().endswith((ONE_ARRAY, ARRAYS)):
        return read_given(path, signature)
    try:
        content = read_file(path, _MOST_FILE_BYTES)
    except OSError as error:
        return GivenFile(path, problem=Problem("unreadable-file", path, error.strerror or str(error)))
    if picture_size(content) is None:
        return GivenFile(path, problem=Problem("not-a-picture", path, "no PNG, JPEG, GIF or BMP picture"))
    return GivenFile(path, picture=content)


def _range_text(widths: Sequence[int]) -> str:
    """The smallest and the largest width, as in 40-400."""
    if not widths:
        return ""
    least, most = min(widths), max(widths)
    return str(least) if least == most else f"{least}-{most}"
