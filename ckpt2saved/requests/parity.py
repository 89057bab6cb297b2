"""The requests of the parity check between SavedModel files and checkpoint, and the cases that they are made for.

Pixels are random. Values of inputs that can't be random, as sequence lengths and encoded images, are found by trial.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Callable, ContextManager, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ckpt2saved.checkpoint.contents import Checkpoint
from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import SignatureError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.beam_searches import QUICK, SECONDS_PER_CLASS, find_searches, searches_behind
from ckpt2saved.graph.tf1 import open_session, tf
from ckpt2saved.requests.lengths import measured
from ckpt2saved.requests.made_up_by_shape import HIGHEST_PIXEL, MADE_UP_SIZE, MOST_VALUES
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.splitting import batch_apart
from ckpt2saved.signature.model import ExampleInput, ParityCase, ServedModel
from ckpt2saved.signature.tensors import Dimension, Signature, TensorSpec
from ckpt2saved.sources.binding import BoundGraph

_MOST_TRIALS = 60
_RANDOM_WILL_DO = ("float", "bfloat", "uint8")  # dtypes of images


def parity_requests(model: ServedModel, cases: Sequence[ParityCase]) -> List[Request]:
    """The parity requests: one for each case and each signature.

    Raises SignatureError if an input cannot be made as the file describes.
    """
    asked: List[Request] = []
    for number, case in enumerate(cases):
        inputs = case_inputs(model, case, number)
        asked += [
            Request(f"parity[{number}]", signature.name, {spec.key: inputs[spec.key] for spec in signature.inputs})
            for signature in model.signatures
        ]
    return asked


def parity_cases(network: BoundGraph, checkpoint: Checkpoint) -> Tuple[ParityCase, ...]:
    """The cases of the signature file's parity part, or one that the graph can run.

    Sequence lengths follow from the graph. Values of other inputs (integers, strings, images) are found by running the
    graph with candidates; raises SignatureError if none works.
    """
    signatures = network.serving.signatures
    return network.model.parity or (
        measured_case(network.model, network.graph, signatures, lambda: network.session(checkpoint), tries=True),
    )


def measured_case(
    model: ServedModel,
    graph: tf.Graph,
    signatures: Mapping[str, Signature],
    filled: Callable[[], ContextManager[tf.Session]],
    tries: bool = False,
) -> ParityCase:
    """A case that the graph can run: random pixels, and sequence lengths that follow from the graph.

    `filled` opens a session of `graph` with restored variables. With `tries`, values of other inputs are found by
    running the graph with candidates. Raises SignatureError if an input cannot be made.
    """
    steps_of: Dict[str, Tuple[str, int]] = {}
    known: Dict[str, ExampleInput] = {}
    unknown: Dict[str, TensorSpec] = {}
    for signature in model.signatures:
        for spec in signature.inputs:
            tensor = graph.get_tensor_by_name(signatures[signature.name].input(spec.key).tensor)
            found = measured(tensor) if tensor.dtype.is_integer and len(spec.dimensions) == 1 else None
            if found:
                steps_of[spec.key] = found
            if (found or not tensor.consumers()) and spec.dtype != "string":
                known[spec.key] = ExampleInput(None, 1)
            elif not spec.dtype.startswith(_RANDOM_WILL_DO):
                unknown[spec.key] = spec
    small = _small_floats(model, known)
    if not known and not (tries and (unknown or small)):
        return default_case(model)
    with filled() as session:
        trial = _Trial(model, session, signatures)
        if tries:
            known.update(trial.found(known, list(unknown.values()), small))
        case = default_case(model, known, trial.refusal)
        inputs = dict(case.inputs)
        for key, (tensor, axis) in steps_of.items():
            signature = next(s for s in model.signatures if key in {spec.key for spec in s.inputs})
            made = case_inputs(model, case)
            feeds = {signatures[signature.name].input(spec.key).tensor: made[spec.key] for spec in signature.inputs}
            steps = np.asarray(session.run(tensor, feeds)).shape[axis]
            inputs[key] = ExampleInput(None, _lengths(made[key].shape[0], steps))
    return replace(case, inputs=inputs)


def default_case(model: ServedModel, known: Mapping[str, ExampleInput] = {}, refusal: str = "") -> ParityCase:
    """A parity case with `known` inputs and random pixels; raises SignatureError if another input cannot be random.

    `refusal` is what the graph failed with when values for that input were tried.
    """
    specs = {spec.key: spec for signature in model.signatures for spec in signature.inputs}
    unknown = [key for key, spec in specs.items() if key not in known and not spec.dtype.startswith(_RANDOM_WILL_DO)]
    if unknown:
        raise SignatureError(
            f"{model.source}: it needs a 'parity' part that says how to make {', '.join(unknown)}: the staged version"
            " is compared with the checkpoint on such inputs"
            + (f". The graph fails with the values that were tried: {refusal}" if refusal else "")
        )
    dims = {name: size for name, size in default_sizes(model).items() if isinstance(name, str)}
    return ParityCase(dims, {key: known.get(key, ExampleInput((0.0, HIGHEST_PIXEL), None)) for key in specs})


def default_sizes(model: ServedModel) -> Dict[Dimension, int]:
    """Dimension (name or number) -> its size in the requests of `default_case`."""
    specs = [spec for signature in model.signatures for spec in signature.inputs]
    batches = {spec.dimensions[0] for spec in specs if spec.dimensions}
    sizes = {size for spec in specs for size in spec.dimensions}
    outputs = {size for signature in model.signatures for spec in signature.outputs for size in spec.shape or ()}
    batch = batch_apart(sizes | outputs | {MADE_UP_SIZE})
    return {size: size if isinstance(size, int) else batch if size in batches else MADE_UP_SIZE for size in sizes}


def case_inputs(model: ServedModel, case: ParityCase, number: int = 0) -> Dict[str, np.ndarray]:
    """The inputs of all signatures by key, made for the parity case; raises SignatureError if it is invalid."""
    inputs: Dict[str, np.ndarray] = {}
    problems: List[Problem] = []
    for spec in {spec.key: spec for signature in model.signatures for spec in signature.inputs}.values():
        try:
            inputs[spec.key] = _array(spec, case, seed=number)
        except ValueError as error:
            problems.append(Problem("example-input", f"parity[{number}].inputs.{spec.key}", str(error)))
    if problems:
        raise SignatureError(f"{model.source}: the inputs to compare on can't be made", problems)
    return inputs


def _array(spec: TensorSpec, case: ParityCase, seed: int) -> np.ndarray:
    shape = tuple(size if isinstance(size, int) else case.dims[str(size)] for size in spec.dimensions)
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
    """Whether numpy kept the given values: it turns 1.5 into 1, and accepts a list in place of a string."""
    if values.dtype.kind == "O":
        return all(isinstance(value, (str, bytes)) for value in values.ravel().tolist())
    return values.dtype.kind not in "iu" or bool(np.all(np.array(given) == values))


class _Trial:
    """Runs a graph with candidate inputs."""

    def __init__(self, model: ServedModel, session: tf.Session, signatures: Mapping[str, Signature]) -> None:
        self._model = model
        self._session = session
        self._signatures = signatures
        self.refusal = ""  # of the candidates that came first: what the graph failed with

    def found(
        self, known: Mapping[str, ExampleInput], specs: Sequence[TensorSpec], small: Sequence[str]
    ) -> Dict[str, ExampleInput]:
        """Example inputs for `specs` and the float inputs `small` that the graph can run; {} if there are none."""
        if not specs and not small:
            return {}
        sizes = default_sizes(self._model)
        likely = [_likely(spec, sizes) for spec in specs]
        highest = (HIGHEST_PIXEL, 1.0) if small else (HIGHEST_PIXEL,)
        for high, *values in itertools.islice(itertools.product(highest, *likely), _MOST_TRIALS * len(highest)):
            found = {spec.key: ExampleInput(None, value) for spec, value in zip(specs, values)}
            found.update({key: ExampleInput((0.0, high), None) for key in small})
            if self.answers(dict(known, **found)):
                return self.shortened(known, found, specs, sizes)
        return {}

    def shortened(
        self,
        known: Mapping[str, ExampleInput],
        found: Dict[str, ExampleInput],
        specs: Sequence[TensorSpec],
        sizes: Mapping[Dimension, int],
    ) -> Dict[str, ExampleInput]:
        """The examples with smaller values for some lines, for inputs with one value for each line (maybe a length)."""
        for spec in specs:
            value = found[spec.key].values
            if len(spec.dimensions) == 1 and isinstance(value, int) and value > 1:
                lines = sizes[spec.dimensions[0]]
                shorter = dict(found, **{spec.key: ExampleInput(None, _lengths(lines, value))})
                if self.answers(dict(known, **shorter)):
                    found = shorter
        return found

    def answers(self, inputs: Mapping[str, ExampleInput]) -> bool:
        """Whether every signature runs with these inputs and returns no NaN."""
        made = case_inputs(self._model, default_case(self._model, inputs))
        for signature in self._model.signatures:
            served = self._signatures[signature.name]
            feeds = {served.input(spec.key).tensor: made[spec.key] for spec in signature.inputs}
            try:
                tensors = self.in_time([spec.tensor for spec in served.outputs], feeds)
                values = self._session.run(tensors, feeds)
            except (tf.errors.OpError, ValueError) as error:  # ValueError: also for an error message with image bytes
                self.refusal = self.refusal or reason_of(error)
                return False
            if any(value.dtype.kind == "f" and np.isnan(value).any() for value in map(np.asarray, values)):
                return False
        return True

    def in_time(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> List[str]:
        """The outputs; outputs of a slow CTC beam search are replaced by its inputs.

        Raises ValueError if the beam search would refuse its sequence lengths.
        """
        graph = self._session.graph
        searches = find_searches(graph, outputs)
        read = [[search.logits, search.lengths] for search in searches]
        seconds = 0.0
        for search, (logits, ends) in zip(searches, self._session.run(read, feeds)):
            if len(ends) != logits.shape[1] or (ends > len(logits)).any():
                raise ValueError(f"{search.lengths}: there are more steps than logits, or other lines")
            seconds += SECONDS_PER_CLASS * search.work(logits.shape[2], ends)
        if seconds <= QUICK:
            return list(outputs)
        others = [output for output in outputs if not searches_behind(graph, output, searches)]
        return others + [tensor for tensors in read for tensor in tensors]


def _small_floats(model: ServedModel, known: Mapping[str, ExampleInput]) -> Tuple[str, ...]:
    """Keys of the float inputs other than the image; they may be regions, whose first number is an image index."""
    specs = {spec.key: spec for signature in model.signatures for spec in signature.inputs}
    floats = [spec for spec in specs.values() if spec.dtype.startswith("float")]
    image = max(floats, key=lambda spec: len(spec.dimensions), default=None)
    return tuple(sorted(spec.key for spec in floats if spec is not image and spec.key not in known))


def _likely(spec: TensorSpec, sizes: Mapping[Dimension, int]) -> List[Any]:
    """Candidate values of an input: a width or length, the batch size, an id, an image."""
    if spec.dtype == "string":
        return [_picture(), b"", b"0"]
    if spec.dtype == "bool":
        return [False, True]
    widest = max([size for key, size in sizes.items()] or [1])
    numbers = [widest >> shift for shift in range(7) if widest >> shift > 0] + [1, 0]
    return list(dict.fromkeys(numbers if spec.dimensions else [sizes.get("batch", 1)] + numbers))


def _picture() -> bytes:
    """A PNG image that every image op can decode."""
    with tf.Graph().as_default(), open_session() as session:
        pixels = np.random.RandomState(0).randint(0, 256, (32, 96, 3)).astype(np.uint8)
        encoded: bytes = session.run(tf.image.encode_png(pixels))
        return encoded


def _lengths(batch: int, steps: int) -> Any:
    """Sequence lengths [batch]: `steps` and some shorter ones."""
    return [max(steps - steps * (line % 4) // 4, 1) for line in range(batch)]
