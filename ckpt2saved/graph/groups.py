"""The names of the groups of nodes, without TensorFlow."""

from __future__ import annotations

CONVOLUTIONS = "convolutions"
RECURRENT = "recurrent layers"
DENSE = "dense layers"
DECODER = "decoder"
PICTURES = "pictures"
TRANSFERS = "transfers"
OTHER = "other"
GROUPS = (PICTURES, CONVOLUTIONS, RECURRENT, DENSE, DECODER, TRANSFERS, OTHER)
