"""The steps that a signature file may name, and how their options are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

import yaml

from ckpt2saved.signature.characters import read_characters
from ckpt2saved.signature.detection import Anchors, EastRules, LineRules, ProposalRules
from ckpt2saved.signature.option_values import OptionReader
from ckpt2saved.signature.steps import (
    BLANKS,
    METHODS,
    ORDERS,
    Bigrams,
    Characters,
    CropLines,
    DecodeCtc,
    DecodeCtpn,
    DecodeEast,
    DecodePictures,
    Failed,
    JoinLines,
    Normalise,
    Pad,
    Resize,
    ResizePage,
    ScaleBack,
    Step,
)


class OptionValue(NamedTuple):
    """How an option of a step is read."""

    read: Callable[[OptionReader, yaml.Node, str], Any]
    is_required: bool = False


class StepKind(NamedTuple):
    """A step: its class, and how its options are read."""

    make: Callable[..., Step]
    values: Mapping[str, OptionValue] = {}


def _word(known: Sequence[Any]) -> OptionValue:
    return OptionValue(lambda reader, node, where: reader.word(node, where, known))


_COUNT, _NUMBERS = OptionValue(OptionReader.count), OptionValue(OptionReader.numbers)
_NAME = OptionValue(OptionReader.name_of_tensor)
_TENSOR = OptionValue(OptionReader.name_of_tensor, is_required=True)
_SHARE, _OVERLAP = OptionValue(OptionReader.share), OptionValue(OptionReader.overlap)


def _characters(file: Path, **values: Any) -> Characters:
    return Characters(file, read_characters(file), **values)


def _decode_ctc(
    bigrams: Optional[Path] = None, bigram_weight: float = 0.4, bigram_bonus: float = 0.0, **values: Any
) -> DecodeCtc:
    found = None if bigrams is None else Bigrams(bigrams, bigram_weight, bigram_bonus)
    return DecodeCtc(bigrams=found, **values)


def _decode_ctpn(heights: Tuple[int, ...] = (), width: Optional[int] = None, **values: Any) -> DecodeCtpn:
    names = {name: values.pop(name) for name in ("probabilities", "deltas", "sizes")}
    anchors = Anchors(heights) if width is None else Anchors(heights, width)
    return DecodeCtpn(anchors=anchors, rules=ProposalRules(**values), **names)


def _decode_east(score: str, geometry: str, sizes: str, **values: Any) -> DecodeEast:
    return DecodeEast(score, geometry, sizes, EastRules(**values))


def _join_lines(sizes: str, slanted: bool = False, **values: Any) -> JoinLines:
    return JoinLines(sizes, LineRules(is_slanted=slanted, **values))


BEFORE: Dict[str, StepKind] = {
    "decode": StepKind(DecodePictures, {"channels": _word((1, 3)), "max_pixels": _COUNT}),
    "resize": StepKind(
        Resize,
        {
            "height": OptionValue(OptionReader.count, is_required=True),
            "width": _COUNT,
            "method": _word(METHODS),
            "max_width": _COUNT,
        },
    ),
    "resize_page": StepKind(
        ResizePage,
        {
            "short_side": OptionValue(OptionReader.count, is_required=True),
            "max_long_side": OptionValue(OptionReader.count, is_required=True),
            "multiple": _COUNT,
            "method": _word(METHODS),
        },
    ),
    "normalise": StepKind(Normalise, {"order": _word(ORDERS), "mean": _NUMBERS, "scale": _NUMBERS}),
    "pad": StepKind(Pad, {"multiple": _COUNT, "min_width": _COUNT, "value": OptionValue(OptionReader.number)}),
}
BEFORE_LINES: Dict[str, StepKind] = {
    "crop_lines": StepKind(
        CropLines,
        {"quads": _TENSOR, "height": OptionValue(OptionReader.count, is_required=True), "max_width": _COUNT},
    ),
    "normalise": BEFORE["normalise"],
    "pad": BEFORE["pad"],
}
AFTER: Dict[str, StepKind] = {
    "ctc_decode": StepKind(
        _decode_ctc,
        {
            "logits": _TENSOR,
            "sequence_length": _TENSOR,
            "beam_width": _COUNT,
            "merge_repeated": OptionValue(OptionReader.truth),
            "batch_first": OptionValue(OptionReader.truth),
            "blank": _word(BLANKS),
            "bigrams": OptionValue(OptionReader.file),
            "bigram_weight": OptionValue(OptionReader.weight),
            "bigram_bonus": OptionValue(OptionReader.number),
        },
    ),
    "ctpn_decode": StepKind(
        _decode_ctpn,
        {
            "probabilities": _TENSOR,
            "deltas": _TENSOR,
            "sizes": _TENSOR,
            "heights": OptionValue(OptionReader.heights),
            "width": _COUNT,
            "min_size": _COUNT,
            "min_score": _SHARE,
            "most_before_nms": _COUNT,
            "max_overlap": _OVERLAP,
            "most": _COUNT,
        },
    ),
    "east_decode": StepKind(
        _decode_east,
        {
            "score": _TENSOR,
            "geometry": _TENSOR,
            "sizes": _TENSOR,
            "stride": _COUNT,
            "min_score": _SHARE,
            "most_cells": _COUNT,
            "max_overlap": _OVERLAP,
            "most_before_nms": _COUNT,
            "min_mean_score": _SHARE,
            "most": _COUNT,
        },
    ),
    "text_lines": StepKind(
        _join_lines,
        {
            "sizes": _TENSOR,
            "slanted": OptionValue(OptionReader.truth),
            "min_proposal_score": _SHARE,
            "max_overlap": _OVERLAP,
            "max_gap": _COUNT,
            "min_common_height": _SHARE,
            "min_height_ratio": _SHARE,
            "min_score": _SHARE,
            "min_aspect_ratio": OptionValue(OptionReader.weight),
            "min_width": _COUNT,
            "most": _COUNT,
        },
    ),
    "scale_back": StepKind(ScaleBack, {"coordinates": _TENSOR}),
    "characters": StepKind(
        _characters,
        {
            "file": OptionValue(OptionReader.file, is_required=True),
            "ids": _NAME,
            "logits": _NAME,
            "strip": OptionValue(OptionReader.truth),
        },
    ),
    "failed": StepKind(Failed),
}
