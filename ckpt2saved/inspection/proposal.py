"""The export that an inspection proposes: inputs and outputs with open sizes, switches, and the command line."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import Dict, List, Optional, Sequence, Tuple, Union

from ckpt2saved.errors.problem import Choice
from ckpt2saved.graph.ops import data_format
from ckpt2saved.inspection.fixed import batch_of_states, fixed_to_batch
from ckpt2saved.inspection.inputs import Input, batch_of
from ckpt2saved.inspection.outputs import Output
from ckpt2saved.inspection.training import Switch
from ckpt2saved.inspection.training_graph import TrainingGraph

Sizes = Tuple[Union[int, str], ...]

EXPORT_DIR = "models/ocr"
# Kinds of outputs that are good keys.
_SAYING = ("probabilities", "boxes", "scores", "classes")


@dataclass(frozen=True)
class Spec:
    """A tensor to serve: key, tensor, dtype, and sizes, with names for those that vary."""

    key: str
    tensor: str
    dtype: str
    sizes: Optional[Sizes]  # None: the graph does not show them

    @property
    def text(self) -> str:
        return "?" if self.sizes is None else f"[{','.join(str(size) for size in self.sizes)}]"


@dataclass(frozen=True)
class Proposal:
    """What to export; `choices` are the decisions that only the user can make."""

    inputs: Tuple[Spec, ...]
    outputs: Tuple[Spec, ...]
    switches: Tuple[Switch, ...]
    fixed: Tuple[str, ...]  # nodes that fix the batch size
    batch: Optional[int]  # the fixed batch size; None: open
    choices: Tuple[Choice, ...]


def propose(
    training: TrainingGraph,
    inputs: Sequence[Input],
    chosen: Sequence[Output],
    switches: Sequence[Switch],
    choices: Sequence[Choice],
    *,
    held: Optional[Tuple[int, str]] = None,
) -> Proposal:
    """Propose the chosen outputs and their inputs; the batch size stays open if no node fixes it.

    `held` is the only batch size that export accepts, and the node that accepts no other.
    """
    refs, given = [output.ref for output in chosen], [one.ref for one in inputs]
    batch = held[0] if held else batch_of(inputs) or _batch_of_logits(chosen)
    batch = batch or batch_of_states(training, refs, given)
    fixed = fixed_to_batch(training, refs, given, batch) if batch and batch > 1 else []
    fixed = fixed or ([held[1]] if held else [])
    holds = batch if fixed else None
    open_batch = batch if batch and batch > 1 and not fixed else None
    # A batch size of 1 may be fixed anywhere, and a 1 in a constant does not show it.
    sizes = [_input_sizes(training, one, 1 if batch == 1 else holds, open_batch) for one in inputs]
    specs = tuple(Spec(one.key, one.tensor, one.dtype, size) for one, size in zip(inputs, sizes))
    choices = list(choices) + [
        Choice("--input", (), "the graph does not show them", f"the sizes of {spec.tensor}")
        for spec in specs
        if spec.sizes is None
    ]
    outputs = _apart([Spec(o.key, o.tensor, o.dtype, _output_sizes(o, open_batch)) for o in _by_kind(chosen)])
    return Proposal(
        inputs=specs,
        outputs=tuple(outputs),
        switches=tuple(switches),
        fixed=tuple(fixed),
        batch=holds,
        choices=tuple(choices),
    )


def _batch_of_logits(chosen: Sequence[Output]) -> Optional[int]:
    """The batch size that logits [time, batch, classes] are fixed to."""
    shapes = [output.shape for output in chosen if output.kind == "logits" and output.shape and len(output.shape) == 3]
    return shapes[0][1] if shapes else None


def _input_sizes(
    training: TrainingGraph, one: Input, holds: Optional[int], open_batch: Optional[int]
) -> Optional[Sizes]:
    shape = one.shape
    batch = holds if holds else "batch"
    if one.kind == "image":
        return _image_sizes(training, one, batch, open_batch)
    if shape is None:
        return (batch,) if one.kind == "lengths" else None
    names: List[Union[int, str]] = []
    for axis, size in enumerate(shape):
        is_batch = axis == 0 and (size is None or size == open_batch)
        names.append(batch if is_batch else f"{one.key}_{axis}" if size is None else size)
    return tuple(names)


def _image_sizes(
    training: TrainingGraph, one: Input, batch: Union[int, str], open_batch: Optional[int]
) -> Optional[Sizes]:
    shape, channels_first, channels = one.shape, False, None
    for taker in training.graph.users(one.ref):
        if taker.op == "Conv2D":
            channels_first = data_format(taker) == "NCHW"
            weights = training.graph.tensor(taker.inputs[1]).shape
            channels = weights[2] if weights and len(weights) == 4 else None
    if shape is None:
        if channels is None:
            return () if one.dtype == "string" else None
        shape = (None, channels, None, None) if channels_first else (None, None, None, channels)
    sizes: List[Union[int, str, None]] = list(shape)
    alone = len(sizes) == 3 and sizes[2] in (1, 3, 4)  # one picture, no batch
    first = 0 if alone else 1
    if not alone and sizes and (sizes[0] is None or sizes[0] == open_batch):
        sizes[0] = batch
    if len(sizes) == 4:
        last = 1 if channels_first else 3
        if sizes[last] is None and channels:
            sizes[last] = channels
    spatial = [axis for axis in range(first, len(sizes)) if sizes[axis] is None]
    names = ["height", "width"] if len(spatial) == 2 else ["width"]
    for number, axis in enumerate(spatial):
        sizes[axis] = names[number] if number < len(names) else f"size_{axis}"
    return tuple(size for size in sizes if size is not None)


def _output_sizes(output: Output, open_batch: Optional[int]) -> Optional[Sizes]:
    shape = output.shape
    if shape is None:
        return None
    names = {
        "decoder": ("labels",),
        "dense": ("batch", "longest"),
        "score": ("batch", "paths"),
        "logits": ("time", "batch", "classes"),
    }.get(output.kind)
    if names is None:
        names = ("batch", "rows", "columns", "values") if len(shape) == 4 else ("batch", "steps", "values")
        names = names if len(shape) > 2 else ("rows", "values")
    axis = 1 if output.kind == "logits" else 0
    sizes: List[Union[int, str]] = []
    for number, size in enumerate(shape):
        is_batch = size == open_batch and number == axis and output.kind != "decoder"
        name = names[number] if number < len(names) else f"size_{number}"
        sizes.append(name if size is None or is_batch else size)
    return tuple(sizes)


def outputs_without_batch(proposal: Proposal) -> List[str]:
    """The keys of the outputs whose first dimension is known not to be the batch dimension."""
    batches = ("batch", "rows", proposal.batch)  # "rows" may be the batch
    known = [spec for spec in proposal.outputs if spec.sizes is not None]
    return [spec.key for spec in known if not spec.sizes or spec.sizes[0] not in batches]


def _by_kind(chosen: Sequence[Output]) -> List[Output]:
    """The outputs; those with equal keys, such as those of one scope, get their kind as key."""
    keys = [output.key for output in chosen]
    return [replace(o, key=o.kind) if o.kind in _SAYING and keys.count(o.key) > 1 else o for o in chosen]


def _apart(specs: Sequence[Spec]) -> List[Spec]:
    taken: Dict[str, int] = {}
    found: List[Spec] = []
    for spec in specs:
        number = taken[spec.key] = taken.get(spec.key, 0) + 1
        found.append(spec if number == 1 else replace(spec, key=f"{spec.key}_{number}"))
    return found


def command_line(proposal: Proposal, source: Sequence[str]) -> List[List[str]]:
    """The export command, as groups of words for one line each; `source` are the options that name the graph."""
    lines = [["ckpt2saved", "export", *source]]
    for spec in proposal.inputs:
        lines.append(["--input", f"{spec.key}={spec.tensor}{'' if spec.sizes is None else spec.text}"])
    lines += [["--output", f"{spec.key}={spec.tensor}"] for spec in proposal.outputs]
    lines.append(["--export-dir", EXPORT_DIR])
    return [[shlex.quote(word) for word in line] for line in lines]


def value_text(value: Union[bool, float, str, None]) -> str:
    """The value of a training switch as in YAML and on the command line."""
    if value is None or isinstance(value, str):
        return value or "?"
    return str(value).lower() if isinstance(value, bool) else repr(value)
