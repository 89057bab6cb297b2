"""The signature from pictures to text that follows from a CTC network's graph, as lines of a signature file."""

from __future__ import annotations

import json
from typing import List

from ckpt2saved.inspection.graph_report import GraphReport
from ckpt2saved.inspection.proposal import Proposal, Spec

OPTIONS = [
    "",
    "options:",
    "  charset:  # UTF-8, the character of each class on a line; without --option charset=FILE, text is left out",
]
_HEIGHT = 32  # a guess where the graph takes any
_LINES = """
  # From the bytes of a picture to text. A guess of how the training made its pictures: see docs/pictures.md.
  text:
    inputs:
      image_bytes: {{dtype: string, shape: [batch]}}
    preprocess:
      - decode: {{channels: {channels}}}
      - resize: {{height: {height}{width}, method: bilinear}}  # or area, pillow_bilinear
      # as in training: - normalise: {{order: bgr, mean: 127.5, scale: 0.0078125}}
      - pad: {{min_width: 32}}
    feed:
      {image}: images{lengths}
    postprocess:
      - ctc_decode: {{logits: {logits}, sequence_length: {steps}, beam_width: 10, blank: last}}
      - characters: {{file: $charset}}
      - failed: {{text: "", score: -.inf, lengths: 0}}
    outputs:
      text: {{dtype: string, shape: [batch]}}
      score: {{dtype: float32, shape: [batch]}}
      lengths: {{dtype: int32, shape: [batch]}}
      status: {{dtype: int32, shape: [batch]}}  # 0: the picture was read
"""


def picture_signature(graph: GraphReport, proposal: Proposal) -> List[str]:
    """The lines of the signature; [] unless the network takes pictures, maybe lengths, and makes logits over time."""
    kinds = {one.tensor: one.kind for one in graph.inputs}
    images = [spec for spec in proposal.inputs if kinds.get(spec.tensor) == "image" and _is_image(spec)]
    lengths = [spec for spec in proposal.inputs if spec.dtype in ("int32", "int64") and len(spec.sizes or ()) == 1]
    logits = [one.tensor for one in graph.outputs if one.kind == "logits" and one.shape and len(one.shape) == 3]
    if len(images) != 1 or len(lengths) > 1 or len(images + lengths) != len(proposal.inputs) or not logits:
        return []
    _, height, width, channels = images[0].sizes or ()
    text = _LINES.format(
        channels=channels,
        height=height if isinstance(height, int) else f"{_HEIGHT}",
        width=f", width: {width}" if isinstance(width, int) else "",
        image=_quoted(images[0].tensor),
        lengths=f"\n      {_quoted(lengths[0].tensor)}: steps" if lengths else "",
        logits=_quoted(logits[0]),
        steps=_quoted(lengths[0].tensor) if lengths else "steps",
    )
    return text.rstrip("\n").split("\n")


def _is_image(spec: Spec) -> bool:
    sizes = spec.sizes or ()
    return len(sizes) == 4 and isinstance(sizes[0], str) and sizes[3] in (1, 3) and spec.dtype in ("float32", "uint8")


def _quoted(text: str) -> str:
    return json.dumps(text)
