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
from ckpt2saved.signature.yaml_nodes import LONGEST_NAME


class ValueKind(NamedTuple):
    """How a kind of value is read, and its JSON Schema."""

    read: Callable[[OptionReader, yaml.Node, str], Any]
    schema: Mapping[str, Any]


class OptionValue(NamedTuple):
    """An option of a step: the kind of its value, what it is for, and its default where that is one value."""

    kind: ValueKind
    text: str
    default: Any = None
    is_required: bool = False


class StepKind(NamedTuple):
    """A step: its class, what it does, and its options."""

    make: Callable[..., Step]
    text: str
    values: Mapping[str, OptionValue] = {}


def _word(known: Sequence[Any]) -> ValueKind:
    return ValueKind(lambda reader, node, where: reader.word(node, where, known), {"enum": list(known)})


# Names of tensors and of results of steps: text to the reader, whatever type YAML gives it.
NAME_SCHEMA = {"type": ["string", "number", "boolean"], "minLength": 1, "maxLength": LONGEST_NAME}
_COUNT_SCHEMA = {"type": "integer", "minimum": 1}
# What an option of the signature file, as in $NAME, may stand for everywhere but in names.
OPTION_SCHEMA = {"type": "string", "pattern": r"^\$"}
_HEIGHT = r"\s*[1-9][0-9]{0,5}\s*"

_COUNT = ValueKind(OptionReader.count, _COUNT_SCHEMA)
_NUMBER = ValueKind(OptionReader.number, {"type": "number"})
_NUMBERS = ValueKind(
    OptionReader.numbers, {"type": ["number", "array"], "items": {"anyOf": [{"type": "number"}, OPTION_SCHEMA]}}
)
_WEIGHT = ValueKind(OptionReader.weight, {"type": "number", "minimum": 0})
_SHARE = ValueKind(OptionReader.share, {"type": "number", "minimum": 0, "maximum": 1})
_OVERLAP = ValueKind(OptionReader.overlap, {"type": "number", "exclusiveMinimum": 0, "maximum": 1})
_HEIGHTS = ValueKind(
    OptionReader.heights,
    {
        "type": ["integer", "string", "array"],
        "minimum": 1,
        "maximum": 999999,
        "pattern": f"^{_HEIGHT}(,{_HEIGHT})*$",
        "items": {"anyOf": [_COUNT_SCHEMA, OPTION_SCHEMA]},
    },
)
_TRUTH = ValueKind(OptionReader.truth, {"type": "boolean"})
_NAME = ValueKind(OptionReader.name_of_tensor, NAME_SCHEMA)
_FILE = ValueKind(OptionReader.file, {"type": "string"})

_METHOD = OptionValue(
    _word(METHODS),
    "How pixels are resized: bilinear and area as OpenCV's INTER_LINEAR and INTER_AREA, pillow_bilinear as Pillow.",
    Resize.method,
)


def _tensor(text: str) -> OptionValue:
    return OptionValue(_NAME, text, is_required=True)


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
    "decode": StepKind(
        DecodePictures,
        "Decodes the bytes of pictures (PNG, JPEG, GIF, BMP): makes images, widths and status. The first step.",
        {
            "channels": OptionValue(
                _word((1, 3)), "Channels of the decoded pictures: 3 for colours, 1 for gray.", DecodePictures.channels
            ),
            "max_pixels": OptionValue(
                _COUNT,
                "Largest picture, in pixels; a larger one is not decoded and gets status 3.",
                DecodePictures.max_pixels,
            ),
        },
    ),
    "resize": StepKind(
        Resize,
        "Resizes each picture, directly after decode. Without width, the aspect ratio is kept.",
        {
            "height": OptionValue(_COUNT, "Height of the resized pictures, in pixels.", is_required=True),
            "width": OptionValue(
                _COUNT, "Width of the resized pictures, in pixels. Default: the aspect ratio is kept."
            ),
            "method": _METHOD,
            "max_width": OptionValue(
                _COUNT,
                "Largest width after resizing, in pixels; a picture that would be wider gets status 3.",
                Resize.max_width,
            ),
        },
    ),
    "resize_page": StepKind(
        ResizePage,
        "Resizes each page by one factor, directly after decode; makes sizes too. The network gets one page at a time.",
        {
            "short_side": OptionValue(_COUNT, "Short side of a resized page, in pixels.", is_required=True),
            "max_long_side": OptionValue(
                _COUNT,
                "Longest long side, in pixels; where it would be longer, the factor is smaller.",
                is_required=True,
            ),
            "multiple": OptionValue(_COUNT, "Both sides are rounded up to a multiple of it.", ResizePage.multiple),
            "method": _METHOD,
        },
    ),
    "normalise": StepKind(
        Normalise,
        "Changes pixel values to (pixel - mean) * scale, in the channel order of the network.",
        {
            "order": OptionValue(
                _word(ORDERS), "Order of the channels that the network was trained with.", Normalise.order
            ),
            "mean": OptionValue(
                _NUMBERS, "What is subtracted: one number, or one for each channel in this order. Default: 0."
            ),
            "scale": OptionValue(
                _NUMBERS, "What is multiplied by: one number, or one for each channel in this order. Default: 1."
            ),
        },
    ),
    "pad": StepKind(
        Pad,
        "Fills the columns behind the end of each picture, and makes widths multiples of a number.",
        {
            "multiple": OptionValue(_COUNT, "Widths are rounded up to a multiple of it.", Pad.multiple),
            "min_width": OptionValue(_COUNT, "Smallest width of a batch, in pixels.", Pad.min_width),
            "value": OptionValue(_NUMBER, "Value behind the end of a picture, after normalise.", Pad.value),
        },
    ),
}
BEFORE_LINES: Dict[str, StepKind] = {
    "crop_lines": StepKind(
        CropLines,
        "Cuts each line out of its page and turns it upright; the aspect ratio is kept. The first step of each_line.",
        {
            "quads": _tensor("Corners of the lines: a result [batch, n, 8] of the steps for pages, in their pixels."),
            "height": OptionValue(_COUNT, "Height of the lines that are cut out, in pixels.", is_required=True),
            "max_width": OptionValue(_COUNT, "Largest width of a line, in pixels.", CropLines.max_width),
        },
    ),
    "normalise": BEFORE["normalise"],
    "pad": BEFORE["pad"],
}
AFTER: Dict[str, StepKind] = {
    "ctc_decode": StepKind(
        _decode_ctc,
        "Decodes logits by a CTC beam search: makes ids, lengths and score.",
        {
            "logits": _tensor("Logits [time, batch, classes], or [batch, time, classes] with batch_first."),
            "sequence_length": _tensor("Number of steps that count, int32 [batch]."),
            "beam_width": OptionValue(_COUNT, "Number of prefixes that the search keeps.", DecodeCtc.beam_width),
            "merge_repeated": OptionValue(
                _TRUTH,
                "Join equal neighbours in the answer, as tf.nn.ctc_beam_search_decoder.",
                DecodeCtc.merge_repeated,
            ),
            "batch_first": OptionValue(_TRUTH, "Whether the logits are [batch, time, classes].", DecodeCtc.batch_first),
            "blank": OptionValue(_word(BLANKS), "Which class is the blank.", DecodeCtc.blank),
            "bigrams": OptionValue(
                _FILE, "Language model: UTF-8 text in which pairs of characters are counted, or a table of them (.npy)."
            ),
            "bigram_weight": OptionValue(
                _WEIGHT, "Weight of the logarithms of the pairs' probabilities.", Bigrams.weight
            ),
            "bigram_bonus": OptionValue(
                _NUMBER, "Added to the score for each character, against short readings.", Bigrams.bonus
            ),
        },
    ),
    "ctpn_decode": StepKind(
        _decode_ctpn,
        "Selects proposals of the answers of a CTPN: makes boxes, scores and count.",
        {
            "probabilities": _tensor("Probabilities of background and text, [batch, rows, columns * anchors, 2]."),
            "deltas": _tensor("Offsets of the anchors, [batch, rows, columns, 4 * anchors]."),
            "sizes": _tensor("Height, width and scale of each page, float32 [batch, 3]."),
            "heights": OptionValue(
                _HEIGHTS,
                "Heights of the anchors in pixels: a list, or text as in 11,16,23. Default: as many of 11 to 283 as the"
                " checkpoint has anchors.",
            ),
            "width": OptionValue(_COUNT, "Width of the anchors, in pixels.", Anchors.width),
            "min_size": OptionValue(_COUNT, "Smallest side of a proposal, in pixels.", ProposalRules.min_size),
            "min_score": OptionValue(_SHARE, "Smallest probability of a proposal.", ProposalRules.min_score),
            "most_before_nms": OptionValue(
                _COUNT, "Boxes before non-maximum suppression: the best by score.", ProposalRules.most_before_nms
            ),
            "max_overlap": OptionValue(
                _OVERLAP,
                "Intersection over union from which on a box is dropped for a better one.",
                ProposalRules.max_overlap,
            ),
            "most": OptionValue(_COUNT, "Proposals of a page.", ProposalRules.most),
        },
    ),
    "east_decode": StepKind(
        _decode_east,
        "Finds the quads of text in the maps of an EAST: makes quads, scores and count.",
        {
            "score": _tensor("Probability of text in each cell, [batch, rows, columns, 1]."),
            "geometry": _tensor(
                "Distances to the sides and an angle, or to the corners: [batch, rows, columns, 5 or 8]."
            ),
            "sizes": _tensor("Height, width and scale of each page, float32 [batch, 3]."),
            "stride": OptionValue(_COUNT, "Side of a cell, in pixels.", EastRules.stride),
            "min_score": OptionValue(_SHARE, "A cell with a higher score is text.", EastRules.min_score),
            "most_cells": OptionValue(_COUNT, "Cells of a page: the best by score.", EastRules.most_cells),
            "max_overlap": OptionValue(
                _OVERLAP,
                "Intersection over union above which quads are merged, or the weaker is dropped.",
                EastRules.max_overlap,
            ),
            "most_before_nms": OptionValue(
                _COUNT,
                "Merged quads of a page before non-maximum suppression: those with the greatest sum of scores.",
                EastRules.most_before_nms,
            ),
            "min_mean_score": OptionValue(
                _SHARE, "Smallest mean score of the cells in a quad.", EastRules.min_mean_score
            ),
            "most": OptionValue(_COUNT, "Quads of a page.", EastRules.most),
        },
    ),
    "text_lines": StepKind(
        _join_lines,
        "Joins the proposals of ctpn_decode to text lines: makes quads, scores and count.",
        {
            "sizes": _tensor("Height, width and scale of each page, float32 [batch, 3]."),
            "slanted": OptionValue(_TRUTH, "Whether lines may be rotated.", LineRules.is_slanted),
            "min_proposal_score": OptionValue(
                _SHARE, "A proposal with a higher score can be part of a line.", LineRules.min_proposal_score
            ),
            "max_overlap": OptionValue(
                _OVERLAP,
                "Intersection over union from which on a proposal is dropped for a better one.",
                LineRules.max_overlap,
            ),
            "max_gap": OptionValue(_COUNT, "Pixels between the left edges of neighbours.", LineRules.max_gap),
            "min_common_height": OptionValue(
                _SHARE, "Common height of two neighbours, as a part of the smaller height.", LineRules.min_common_height
            ),
            "min_height_ratio": OptionValue(
                _SHARE, "Ratio of the smaller to the larger height of two neighbours.", LineRules.min_height_ratio
            ),
            "min_score": OptionValue(
                _SHARE, "A line is kept if the mean score of its proposals is higher.", LineRules.min_score
            ),
            "min_aspect_ratio": OptionValue(
                _WEIGHT, "A line is kept if its width / height is larger.", LineRules.min_aspect_ratio
            ),
            "min_width": OptionValue(_COUNT, "A line is kept if it is wider, in pixels.", LineRules.min_width),
            "most": OptionValue(_COUNT, "Lines of a page; those found first are kept.", LineRules.most),
        },
    ),
    "scale_back": StepKind(
        ScaleBack,
        "Converts coordinates in the resized page to those of the picture.",
        {"coordinates": _tensor("A result with x and y of points, float32 [batch, n, 2 * points], as quads or boxes.")},
    ),
    "characters": StepKind(
        _characters,
        "Joins the characters of ids [batch, time], padded with -1: makes text.",
        {
            "file": OptionValue(
                _FILE,
                "UTF-8 file with the character of each class on a line, relative to the signature file.",
                is_required=True,
            ),
            "ids": OptionValue(_NAME, "Ids of characters: a result of a step, or a tensor.", Characters.ids),
            "logits": OptionValue(
                _NAME, "Tensor whose last dimension is the number of classes, for ids that ctc_decode does not make."
            ),
            "strip": OptionValue(_TRUTH, "Leave out white space of ASCII at both ends.", Characters.strip),
        },
    ),
    "failed": StepKind(Failed, "Values of results for pictures that could not be read (status other than 0), by name."),
}
