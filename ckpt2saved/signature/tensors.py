"""Tensor specs and signatures."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, List, Mapping, Optional, Sequence, Tuple, Union

if TYPE_CHECKING:
    from ckpt2saved.signature.steps import Steps

DTYPES = (
    "bfloat16 bool complex64 complex128 float16 float32 float64 "
    "int8 int16 int32 int64 string uint8 uint16 uint32 uint64"
).split()
LARGEST_SIZE = 2**63 - 1

# A size; of one that a request may choose its name, or None where it has none.
Dimension = Union[int, str, None]
WARMUP = "warmup"  # the one output of a signature that an export adds for warm-up, with whose name its own begins
DEFAULT_SIGNATURE = "serving_default"  # of a request that names none
PREDICT = "tensorflow/serving/predict"  # what TF Serving calls the method of a signature
TENSOR_NAME = re.compile(r"[^:^]+(:[0-9]{1,9})?\Z")  # TensorFlow's number of an output is an int32


def checked_tensor_name(text: str) -> str:
    """Return `text` if it is `node` or `node:output`; raises ValueError otherwise."""
    if not TENSOR_NAME.match(text):
        raise ValueError(f"{text!r} is not a tensor's name, as in logits or logits:0")
    return text


def shape_text(shape: Optional[Sequence[Dimension]]) -> str:
    """Return a shape for people, as in [?, 32, ?, 3]; sizes that are not fixed are names, None or -1."""
    if shape is None:
        return "of unknown rank"
    return f"[{', '.join(str(size) if isinstance(size, int) and size >= 0 else '?' for size in shape)}]"


@dataclass(frozen=True)
class TensorSpec:
    """A tensor with its name for clients, `key`, and its name in the graph, `tensor`."""

    key: str
    tensor: str  # "" of a SparseTensor that a SavedModel binds whole, which TF Serving can't fetch
    dtype: str  # "": as in the graph, which a command line need not say
    shape: Optional[Tuple[Dimension, ...]]  # None: as in the graph, or of any rank

    @property
    def has_open_batch(self) -> bool:
        """Return whether requests may choose the first dimension."""
        return self.shape is not None and len(self.shape) > 0 and not isinstance(self.shape[0], int)

    @property
    def has_open_sizes(self) -> bool:
        """Return whether requests may choose a dimension other than the first."""
        return self.shape is not None and not all(isinstance(size, int) for size in self.shape[1:])

    @property
    def fixed_sizes(self) -> Tuple[int, ...]:
        """Return the dimensions that requests can't choose."""
        return tuple(size for size in self.shape or () if isinstance(size, int))

    @property
    def shape_text(self) -> str:
        """Return the shape for people, as in [?, 32, ?, 3]."""
        return shape_text(self.shape)

    @property
    def dimensions(self) -> Tuple[Dimension, ...]:
        """Return the shape, which is always known once the graph was read."""
        if self.shape is None:
            raise ValueError(f"{self.key}: its shape is that of the graph, which has not been read yet")
        return self.shape


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of one function that a served model offers."""

    name: str
    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[TensorSpec, ...]
    method: str = PREDICT
    steps: Optional[Steps] = None  # before and after the network, of which it then runs an instance of its own

    @property
    def fields(self) -> List[Tuple[str, TensorSpec]]:
        """Return each input and output with its field in a signature file, as in signatures.NAME.inputs.KEY."""
        return [
            (f"signatures.{self.name}.{side}.{spec.key}", spec)
            for side, specs in (("inputs", self.inputs), ("outputs", self.outputs))
            for spec in specs
        ]

    def input(self, key: str) -> TensorSpec:
        """Return the input with that key."""
        return next(spec for spec in self.inputs if spec.key == key)

    def output(self, key: str) -> TensorSpec:
        """Return the output with that key."""
        return next(spec for spec in self.outputs if spec.key == key)

    def with_outputs(self, moved: Mapping[str, str]) -> Signature:
        """Return a copy with some outputs bound to other tensors."""
        outputs = tuple(replace(spec, tensor=moved.get(spec.tensor, spec.tensor)) for spec in self.outputs)
        return replace(self, outputs=outputs)

    @property
    def fetched(self) -> Tuple[str, ...]:
        """Return the tensors of the network that a signature with steps reads."""
        if self.steps is None:
            return ()
        outputs = frozenset(spec.tensor for spec in self.outputs)
        return self.steps.fetched(outputs, frozenset(spec.key for spec in self.inputs))

    @property
    def all_fetched(self) -> Tuple[str, ...]:
        """Return the tensors of all networks that a signature with steps reads."""
        lines = self.steps.lines if self.steps is not None else None
        return self.fetched + (lines.fetched(frozenset(), frozenset()) if lines else ())

    @property
    def pictures(self) -> Tuple[TensorSpec, ...]:
        """Return the inputs that are the bytes of pictures."""
        takes = self.steps is not None and self.steps.takes_pictures
        return tuple(spec for spec in self.inputs if takes and spec.dtype == "string")

    @property
    def takes_pages(self) -> bool:
        """Return whether the network gets each picture alone, and its own size."""
        return self.steps is not None and self.steps.takes_pages

    @property
    def has_strings(self) -> bool:
        """Return whether an input or output is a string tensor."""
        return any(spec.dtype == "string" for spec in self.inputs + self.outputs)

    @property
    def is_for_warmup(self) -> bool:
        """Return whether an export added the signature for warm-up, so that a request reads all variables."""
        return self.name.startswith(WARMUP) and [spec.key for spec in self.outputs] == [WARMUP]
