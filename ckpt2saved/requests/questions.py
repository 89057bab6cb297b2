"""The requests on which a SavedModel's files are compared with the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from ckpt2saved.errors import SignatureError
from ckpt2saved.requests.requests import MADE_UP_SIZE, Excerpt, Inputs, wires
from ckpt2saved.requests.splitting import batch_apart
from ckpt2saved.signature.model import ExampleInput, ParityCase, ServedModel
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.tf1 import tf

MOST_VALUES = 1 << 28  # of an input; a page of 600 dpi has 100 million
WARMUP_PART = "warm-up"  # of requests that a server answers while it loads a version
RANDOM_WILL_DO = ("float", "bfloat", "uint8")  # dtypes of pictures

Answers = Dict[str, np.ndarray]  # by the key of a signature's output


@dataclass(frozen=True)
class Question:
    """One request: a signature and its inputs."""

    case: int
    signature: str
    inputs: Inputs
    part: str = "parity"  # what it is asked for, and counted in
    excerpt: Optional[Excerpt] = None  # None: all outputs of the signature

    @property
    def where(self) -> str:
        return f"{self.name}: signature {self.signature}"

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.part}[{self.case}]"

    def wires(self, signature_defs: Mapping[str, Any]) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
        """The feeds by tensor name, and the tensors to fetch by output key."""
        return wires(signature_defs[self.signature], self.inputs, self.excerpt)


def questions(model: ServedModel) -> List[Question]:
    """The requests to compare on: each parity case of the signature file, put to each signature.

    Raises SignatureError where an input can't be made from what the file says.
    """
    asked: List[Question] = []
    for number, case in enumerate(model.parity or (default_case(model),)):
        inputs = question_inputs(model, case, number)
        asked += [_question(number, signature, inputs) for signature in model.signatures]
    return asked


def question_inputs(model: ServedModel, case: ParityCase, number: int = 0) -> Dict[str, np.ndarray]:
    """The inputs of all signatures, by their keys, as a parity case says; raises SignatureError for what is none."""
    inputs: Dict[str, np.ndarray] = {}
    problems: List[str] = []
    for spec in {spec.key: spec for signature in model.signatures for spec in signature.inputs}.values():
        try:
            inputs[spec.key] = _array(spec, case, seed=number)
        except ValueError as error:
            problems.append(f"parity[{number}].inputs.{spec.key}: {error}")
    if problems:
        raise SignatureError(f"{model.source}: the inputs to compare on can't be made", problems)
    return inputs


def _question(case: int, signature: Signature, inputs: Inputs) -> Question:
    return Question(case, signature.name, {spec.key: inputs[spec.key] for spec in signature.inputs})


def default_case(model: ServedModel, known: Mapping[str, ExampleInput] = {}) -> ParityCase:
    """Random numbers, which do for images; what an input that is not `known` means, only a signature file can say."""
    specs = {spec.key: spec for signature in model.signatures for spec in signature.inputs}
    unknown = [key for key, spec in specs.items() if key not in known and not spec.dtype.startswith(RANDOM_WILL_DO)]
    if unknown:
        raise SignatureError(
            f"{model.source}: it needs a 'parity' part that says how to make {', '.join(unknown)}: the staged version"
            " is compared with the checkpoint on such inputs"
        )
    dims = {name: size for name, size in default_sizes(model).items() if isinstance(name, str)}
    return ParityCase(dims, {key: known.get(key, ExampleInput((0.0, 255.0), None)) for key in specs})


def default_sizes(model: ServedModel) -> Dict[Any, int]:
    """What the sizes in the shapes of inputs are in a request of `default_case`, those that are numbers included."""
    specs = [spec for signature in model.signatures for spec in signature.inputs]
    batches = {spec.shape[0] for spec in specs if spec.shape}
    sizes = {size for spec in specs for size in spec.shape}
    outputs = {size for signature in model.signatures for spec in signature.outputs for size in spec.shape or ()}
    batch = batch_apart(sizes | outputs | {MADE_UP_SIZE})
    return {size: size if isinstance(size, int) else batch if size in batches else MADE_UP_SIZE for size in sizes}


def _array(spec: TensorSpec, case: ParityCase, seed: int) -> np.ndarray:
    shape = tuple(size if isinstance(size, int) else case.dims[size] for size in spec.shape)
    count = 1
    for size in shape:
        count *= size
    if count > MOST_VALUES:
        raise ValueError(f"the shape {list(shape)} has {count} values; at most {MOST_VALUES} are made")
    dtype = tf.as_dtype(spec.dtype).as_numpy_dtype
    example = case.inputs[spec.key]
    if example.uniform is not None:
        low, high = example.uniform
        return np.random.RandomState(seed).uniform(low, high, shape).astype(dtype)
    try:
        values = np.array(example.values, dtype)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"the values are not {spec.dtype}") from None
    if not _are_as_given(values, example.values):
        raise ValueError(f"the values are not {spec.dtype}")
    if not values.shape:
        return np.full(shape, values)
    if values.shape != shape:
        raise ValueError(f"the values have the shape {list(values.shape)}, expected {list(shape)}")
    return values


def _are_as_given(values: np.ndarray, given: Any) -> bool:
    """Whether numpy has made no other values of those that were given: 1 of 1.5, or a list in the place of a text."""
    if values.dtype.kind == "O":
        return all(isinstance(value, (str, bytes)) for value in values.ravel().tolist())
    return values.dtype.kind not in "iu" or bool(np.all(np.array(given) == values))
