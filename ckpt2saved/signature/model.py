"""The parsed signature file: graph builder, graph edits, signatures and example inputs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from ckpt2saved.errors.problem import Note
from ckpt2saved.signature.tensors import Signature, TensorSpec

META = "meta"  # the builder that stands for the training's graph beside the checkpoint
FULL = "full"  # all steps of the logits are used

# A function as a graph's builder, package.module:function.
FUNCTION = re.compile(r"[^\W0-9]\w*(\.[^\W0-9]\w*)*:[^\W0-9]\w*(\.[^\W0-9]\w*)*\Z")
Scalar = Union[str, int, float, bool]


@dataclass(frozen=True)
class ExampleInput:
    """An example input: random numbers in [low, high), or `values`."""

    uniform: Optional[Tuple[float, float]]
    values: Optional[Any]


@dataclass(frozen=True)
class ParityCase:
    """Inputs for which a staged version must answer like its checkpoint."""

    dims: Mapping[str, int]
    inputs: Mapping[str, ExampleInput]


@dataclass(frozen=True)
class Decode:
    """A CTC beam search to append to a graph."""

    logits: str  # [time, batch, classes] or [batch, time, classes], the blank last
    beam_width: int = 10
    top_paths: int = 1
    merge_repeated: bool = False
    sequence_length: str = FULL  # or an int32 tensor [batch]


@dataclass(frozen=True)
class Surgery:
    """Edits of a graph besides pruning; `pinned` to `allow_labels` apply to training graphs only."""

    pinned: Mapping[str, Scalar] = field(default_factory=dict)  # training switch -> pinned value
    renames: Tuple[Tuple[str, str], ...] = ()  # regular expression -> replacement: variables to the checkpoint's names
    keep_training_ops: bool = False
    weights: Optional[str] = None  # raw or ema, if the graph does not show it
    decode: Optional[Decode] = None
    allow_labels: bool = False  # whether labels may be inputs
    keeps_cudnn: bool = False  # whether servers with a GPU run cuDNN's recurrent networks, and only others the loops


@dataclass(frozen=True)
class ServedModel:
    """A signature file: the graph builder with its options, signatures, and example inputs."""

    name: str
    source: Path
    signatures: Tuple[Signature, ...]
    builder: str = META  # as the file names it: META, a built-in network, or a function as package.module:function
    options: Mapping[str, Scalar] = field(default_factory=dict)
    parity: Tuple[ParityCase, ...] = ()
    surgery: Surgery = Surgery()
    step_options: Mapping[str, Scalar] = field(default_factory=dict)  # that steps of signatures use, with their values
    declared: Tuple[str, ...] = ()  # names of the options that the file declares for steps
    notes: Tuple[Note, ...] = ()  # signatures of the file that are left out

    @property
    def inputs_by_tensor(self) -> Dict[str, TensorSpec]:
        """The inputs that name a tensor of the graph, as in images:0 -> its spec; others are keys of a builder."""
        return {spec.tensor: spec for one in self.signatures for spec in one.inputs if ":" in spec.tensor}

    @property
    def outputs_by_tensor(self) -> Dict[str, TensorSpec]:
        """The outputs that name a tensor of the graph, as in logits:0 -> its spec."""
        return {spec.tensor: spec for one in self.signatures for spec in one.outputs if ":" in spec.tensor}
