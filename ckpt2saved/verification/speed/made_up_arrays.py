"""Made-up arrays of pictures of given widths, with the sizes and lengths that a model takes beside them."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

from ckpt2saved.errors import Ckpt2SavedError, UsageError
from ckpt2saved.files.protobuf.data_types import numpy_dtype
from ckpt2saved.requests.made_up_by_shape import made_up
from ckpt2saved.requests.request import MADE_UP, Inputs, Request
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.verification.speed.target import Target

HEIGHT = 32  # pixels of made-up lines, where the signature leaves it open
_HEIGHT_AXIS, _WIDTH_AXIS, _CHANNELS_AXIS = 1, 2, 3
_CHANNELS = 3
_STEP_WIDTHS = (1, 2, 4, 8, 16, 32)  # pixels of width for each step of a sequence
_MOST_LOST = 3  # steps that borders take of a sequence
_SIZE_VALUES = 3  # height, width and scale of a picture, as the CTPN takes them


def image_input(signature: Signature) -> Optional[TensorSpec]:
    """The input for pixels, [batch, height, width, channels]; None without one, or with several."""
    found = [
        spec
        for spec in signature.inputs
        if spec.dtype in ("float32", "float16", "float64", "uint8")
        and len(spec.shape or ()) == 4
        and (spec.shape or ())[_CHANNELS_AXIS] in (1, 3, 4, None)
    ]
    return found[0] if len(found) == 1 else None


class ArrayMaker:
    """Makes inputs of one item. Sequence lengths are the longest that the model answers, which requests find out."""

    def __init__(self, target: Target, height: int) -> None:
        self._target = target
        self._height = height
        self._steps: Dict[int, Optional[int]] = {}  # by width
        self._step_width: Optional[int] = None

    def height(self, image: TensorSpec) -> int:
        """The height of pictures."""
        fixed = (image.shape or ())[_HEIGHT_AXIS]
        return fixed if isinstance(fixed, int) else self._height

    def of_widths(self, image: TensorSpec, widths: Sequence[int]) -> List[Inputs]:
        """Inputs with a picture of each width; raises UsageError if others can't be made up."""
        fixed = (image.shape or ())[_WIDTH_AXIS]
        return [self._of_width(image, fixed if isinstance(fixed, int) else width) for width in widths]

    def inputs(self, known: Mapping[str, np.ndarray], sizes: Mapping[int, int] = {}) -> Dict[str, np.ndarray]:
        """The known inputs, and made-up ones for the others; raises UsageError if one can't be."""
        try:
            return {
                spec.key: known[spec.key] if spec.key in known else made_up(spec, 1, sizes)
                for spec in self._target.signature.inputs
            }
        except ValueError as error:
            where = f"{self._target.name}: signature {self._target.signature.name}"
            raise UsageError(f"{where}: {error}; pass requests with --requests FILE.npz") from error

    def _of_width(self, image: TensorSpec, width: int) -> Inputs:
        height = self.height(image)
        sizes = {_HEIGHT_AXIS: height, _WIDTH_AXIS: width, _CHANNELS_AXIS: _CHANNELS}
        known: Dict[str, np.ndarray] = {}
        lengths: List[TensorSpec] = []
        for spec in self._target.signature.inputs:
            if spec is image:
                known.update({spec.key: self._pixels(spec, sizes)})
            elif spec.dtype in ("int32", "int64") and len(spec.shape or ()) == 1 and spec.has_open_batch:
                lengths.append(spec)
            elif spec.dtype.startswith("float") and (spec.shape or ())[1:] == (_SIZE_VALUES,):
                known[spec.key] = np.array([[height, width, 1]], numpy_dtype(spec.dtype))
        if not lengths:
            return self.inputs(known)
        if width not in self._steps:
            self._steps[width] = self._longest(width, known, lengths)
        return self._with_lengths(known, lengths, self._steps[width] or 1)

    def _pixels(self, spec: TensorSpec, sizes: Mapping[int, int]) -> np.ndarray:
        try:
            return made_up(spec, 1, sizes)
        except ValueError as error:
            raise UsageError(f"{self._target.name}: {error}; expected smaller --widths") from error

    def _with_lengths(self, known: Inputs, lengths: Sequence[TensorSpec], steps: int) -> Inputs:
        more = {spec.key: np.full([1], steps, numpy_dtype(spec.dtype)) for spec in lengths}
        return self.inputs({**known, **more})

    def _longest(self, width: int, known: Inputs, lengths: Sequence[TensorSpec]) -> int:
        """The most steps that the model answers for a picture of this width; raises UsageError if it answers none."""
        step_widths = _STEP_WIDTHS if self._step_width is None else (self._step_width,)
        error: Optional[Ckpt2SavedError] = None
        for step_width in step_widths:
            for lost in range(_MOST_LOST + 1):
                steps = width // step_width - lost
                if steps < 1:
                    break
                name = self._target.signature.name
                try:
                    self._target.answers(Request(MADE_UP, name, self._with_lengths(known, lengths, steps)))
                except Ckpt2SavedError as caught:
                    error = caught
                else:
                    self._step_width = step_width
                    return steps
        keys = ", ".join(spec.key for spec in lengths)
        raise UsageError(
            f"{self._target.name}: no value for {keys} was answered for a picture of {width} pixels ({error}); pass"
            " requests with --requests FILE.npz"
        )
