"""The steps of a signature behind the network, built in the default graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

from ckpt2saved.console.reasons import reason_of
from ckpt2saved.ctc.language_model import LanguageModel
from ckpt2saved.errors import SignatureError
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.detection import HEIGHTS, STRIDE, Anchors
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.steps import (
    SIZES,
    STATUS,
    Characters,
    DecodeCtc,
    DecodeCtpn,
    DecodeEast,
    Failed,
    JoinLines,
    ScaleBack,
    Steps,
)
from ckpt2saved.sources.steps.east import east_quads
from ckpt2saved.sources.steps.language_models import read_language_model
from ckpt2saved.sources.steps.pages import check_stride, scaled_back
from ckpt2saved.sources.steps.proposals import decoded_proposals
from ckpt2saved.sources.steps.text_lines import text_lines
from ckpt2saved.sources.steps.texts import check_classes, decoded_logits, joined_characters, replaced

# What detectors' maps were decoded to, by the step and the names of the tensors that it reads: signatures share it.
Decoded = Dict[Tuple[Any, ...], Mapping[str, tf.Tensor]]


class Postprocessing:
    """Adds to `results` what the steps make of it: tensors by the names that steps and outputs use."""

    def __init__(self, model: ServedModel, where: str, steps: Steps, results: Dict[str, tf.Tensor]) -> None:
        self._model = model
        self._where = where  # signatures.NAME or a part of it, in messages
        self._steps = steps
        self._results = results
        self._classes: Optional[int] = None  # of the logits that were decoded last
        self.files: List[Characters] = []
        self.notes: Tuple[Note, ...] = ()

    def run(self, decoded: Optional[Decoded] = None) -> None:
        """Build all steps, without those in `decoded`; raises SignatureError for tensors that a step can't take."""
        decoded = {} if decoded is None else decoded
        kinds: Mapping[Any, Callable[[Any, str], Mapping[str, tf.Tensor]]] = {
            DecodeCtc: self._decode_ctc,
            DecodeCtpn: self._decode_ctpn,
            DecodeEast: self._decode_east,
            JoinLines: self._join_lines,
            ScaleBack: self._scale_back,
            Characters: self._characters,
            Failed: self._failed,
        }
        for number, step in enumerate(self._steps.postprocess):
            key: Optional[Tuple[Any, ...]] = None
            if isinstance(step, (DecodeCtpn, DecodeEast)):
                key = (step, *[self._results[name].name for name in (*step.takes, *self._steps.feed)])
            if key is None or key not in decoded:
                made = kinds[type(step)](step, f"{self._where}.postprocess[{number}]")
                decoded.update({} if key is None else {key: made})
            self._results.update(made if key is None else decoded[key])

    def _decode_ctc(self, step: DecodeCtc, where: str) -> Mapping[str, tf.Tensor]:
        logits, lengths = self._results[step.logits], self._results[step.sequence_length]
        problems = []
        if logits.shape.ndims not in (None, 3) or not _is_float(logits):
            found = f"{_text(logits)}; logits are float32 of rank 3"
            problems.append(Problem("other-shape", f"{where}.ctc_decode.logits: {step.logits}", found))
        if lengths.shape.ndims not in (None, 1) or lengths.dtype.base_dtype != tf.int32:
            place = f"{where}.ctc_decode.sequence_length: {step.sequence_length}"
            problems.append(Problem("other-shape", place, f"{_text(lengths)}; lengths are int32 [batch]"))
        self._refuse(problems)
        self._classes = _last(logits)
        model = self._language_model(step, where)
        return decoded_logits(logits, lengths, step, model)

    def _language_model(self, step: DecodeCtc, where: str) -> Optional[LanguageModel]:
        if step.bigrams is None or not (step.bigrams.weight or step.bigrams.bonus):
            return None
        where = f"{self._model.source}: {where}"
        readers = [s for s in self._steps.postprocess if isinstance(s, Characters) and s.ids in step.makes]
        symbols = check_classes(readers[0], self._classes, where).symbols if readers else ()
        model, notes = read_language_model(step.bigrams, symbols, self._classes, where)
        self.notes += notes
        return model

    def _decode_ctpn(self, step: DecodeCtpn, where: str) -> Mapping[str, tf.Tensor]:
        where += ".ctpn_decode"
        expected = {
            "probabilities": "[batch, rows, columns * anchors, 2]",
            "deltas": "[batch, rows, columns, 4 * anchors]",
            "sizes": "[batch, 3]",
        }
        probabilities, deltas, sizes = self._maps(step, expected, where)
        deltas = self._with_stride(deltas, STRIDE)
        return decoded_proposals(probabilities, deltas, sizes, self._anchors(step.anchors, deltas, where), step.rules)

    def _decode_east(self, step: DecodeEast, where: str) -> Mapping[str, tf.Tensor]:
        where += ".east_decode"
        expected = {
            "score": "[batch, rows, columns, 1]",
            "geometry": "[batch, rows, columns, 5 or 8]",
            "sizes": "[batch, 3]",
        }
        score, geometry, sizes = self._maps(step, expected, where)
        if _last(geometry) not in (None, 5, 8):
            found = f"{_text(geometry)}; {expected['geometry']} is expected"
            self._refuse([Problem("other-shape", f"{where}.geometry: {step.geometry}", found)])
        return east_quads(self._with_stride(score, step.rules.stride), geometry, sizes, step.rules)

    def _maps(self, step: Union[DecodeCtpn, DecodeEast], expected: Mapping[str, str], where: str) -> List[tf.Tensor]:
        """The tensors that a step reads; raises SignatureError for another rank or dtype than `expected`."""
        tensors = [self._results[name] for name in step.takes]
        self._refuse(
            [
                Problem("other-shape", f"{where}.{option}: {name}", f"{_text(tensor)}; {shape} is expected")
                for (option, shape), name, tensor in zip(expected.items(), step.takes, tensors)
                if tensor.shape.ndims not in (None, shape.count(",") + 1) or not _is_float(tensor)
            ]
        )
        return tensors

    def _with_stride(self, answer: tf.Tensor, stride: int) -> tf.Tensor:
        images = [self._results[name] for name in self._steps.feed if self._results[name].shape.ndims == 4]
        return check_stride(answer, images[0], stride) if images else answer

    def _anchors(self, anchors: Anchors, deltas: tf.Tensor, where: str) -> Anchors:
        """The anchors of the step, or as many of the published ones as the network has."""
        values = _last(deltas)
        if values is None:
            return anchors if anchors.heights else replace(anchors, heights=HEIGHTS)
        count = values // 4
        if not anchors.heights and values % 4 == 0 and 0 < count <= len(HEIGHTS):
            return replace(anchors, heights=HEIGHTS[:count])
        heights = anchors.heights or HEIGHTS
        if values != 4 * len(heights):
            found = f"{len(heights)} heights, and the network has {values / 4:g} anchors in each cell"
            remedy = "give the heights that the network was trained with"
            self._refuse([Problem("other-anchors", f"{where}.heights", found, remedy)])
        return replace(anchors, heights=heights)

    def _join_lines(self, step: JoinLines, where: str) -> Mapping[str, tf.Tensor]:
        return text_lines(self._results, self._results[step.sizes], step.rules)

    def _scale_back(self, step: ScaleBack, where: str) -> Mapping[str, tf.Tensor]:
        made = scaled_back(self._results[step.coordinates], self._results[SIZES], self._results["original"])
        return {step.coordinates: made}

    def _characters(self, step: Characters, where: str) -> Mapping[str, tf.Tensor]:
        if step.logits:
            self._classes = _last(self._results[step.logits])
        step = check_classes(step, self._classes, f"{self._model.source}: {where}")
        self.files.append(step)
        return {"text": joined_characters(self._results[step.ids], step)}

    def _failed(self, step: Failed, where: str) -> Mapping[str, tf.Tensor]:
        try:
            return replaced(self._results, self._results[STATUS], step)
        except (TypeError, ValueError) as error:
            self._refuse([Problem("wrong-value", f"{where}.failed", reason_of(error))])
            raise

    def _refuse(self, problems: List[Problem]) -> None:
        if problems:
            raise SignatureError(f"{self._model.source}: it does not fit the graph", problems)


def _is_float(tensor: tf.Tensor) -> bool:
    return tensor.dtype.base_dtype in (tf.float32, tf.float64)


def _text(tensor: tf.Tensor) -> str:
    return f"{tensor.dtype.base_dtype.name} {tensor.shape}"


def _last(tensor: tf.Tensor) -> Optional[int]:
    """The last dimension of a tensor, None if unknown."""
    size: Optional[int] = tensor.shape.as_list()[-1] if tensor.shape.ndims else None
    return size
