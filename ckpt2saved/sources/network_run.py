"""The steps before a network, an instance of the network, and the steps behind it, in the default graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from ckpt2saved.errors import SignatureError
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.copying import copied
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.mask_padding import Masked, PaddedBatch, mask_padding
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.steps import (
    IMAGES,
    SIZES,
    STATUS,
    STEPS,
    WIDTHS,
    Characters,
    DecodePictures,
    Normalise,
    Pad,
    Resize,
    ResizePage,
    Steps,
)
from ckpt2saved.sources.loaded import LoadedGraph
from ckpt2saved.sources.postprocessing import Decoded, Postprocessing
from ckpt2saved.sources.steps.batches import normalised, padded
from ckpt2saved.sources.steps.pages import sizes_of
from ckpt2saved.sources.steps.pictures import READ, TOO_SMALL, read_pictures


class Place(NamedTuple):
    """Where steps are declared, and what they run on."""

    loaded: LoadedGraph
    graph_def: Any  # of `loaded`
    model: ServedModel
    name: str  # of the signature
    where: str  # signatures.NAME or a part of it, in messages
    scope: str  # with which the names of functions begin
    decoded: Decoded  # by steps of signatures so far

    def tensor(self, name: str) -> tf.Tensor:
        """Return the network's tensor that steps and signatures call so."""
        if name in self.loaded.tensors:
            return self.loaded.tensors[name]
        return self.loaded.graph.get_tensor_by_name(name)


class NetworkRun:
    """Adds to `results` what steps and network make of it: tensors by the names that steps and outputs use."""

    def __init__(self, place: Place, steps: Steps, fetched: Sequence[str], results: Dict[str, tf.Tensor]) -> None:
        self._place = place
        self._steps = steps
        self._fetched = fetched  # the tensors of the network that are read
        self._results = results
        self.files: List[Characters] = []
        self.notes: Tuple[Note, ...] = ()

    def run(self) -> None:
        """Build everything; raises SignatureError for steps that do not fit the graph."""
        with tf.name_scope("preprocess"):
            self._before()
        self._run_network()
        self.run_behind()

    def run_behind(self) -> None:
        """Build the steps behind the network, whose tensors are among the results."""
        with tf.name_scope("postprocess"):
            self._find_small()
            after = Postprocessing(self._place.model, self._place.where, self._steps, self._results)
            after.run(self._place.decoded)
        self.files, self.notes = after.files, self.notes + after.notes

    def read(self, contents: tf.Tensor) -> None:
        """Decode and resize the pictures in `contents`, string [batch], as the first steps say."""
        decode, *more = self._steps.preprocess
        assert isinstance(decode, DecodePictures)
        resize = more[0] if more and isinstance(more[0], (Resize, ResizePage)) else None
        with tf.name_scope("decode"):
            found = read_pictures(contents, decode, resize, self._place.scope, self._steps.lines is not None)
        self._results.update({name: tensor for name, tensor in found._asdict().items() if tensor is not None})
        if self._steps.takes_pages:
            self._results[SIZES] = sizes_of(found)

    def _before(self) -> None:
        for step in self._steps.preprocess:
            if isinstance(step, Normalise):
                self._results["images"] = normalised(self._results["images"], step)
            elif isinstance(step, Pad):
                images, widths = padded(self._results["images"], self._results["widths"], step)
                self._results.update(images=images, widths=widths)

    def _run_network(self) -> None:
        """Add an instance of the network, whose lines do not depend on each other as far as that can be proven."""
        places = {name: self._place.tensor(name) for name in self._fetched}
        inputs = {name: self._place.tensor(name) for name in self._steps.feed}
        part = pruned(self._place.graph_def, {tensor.op.name for tensor in [*places.values(), *inputs.values()]})
        outputs = [tensor.name for tensor in places.values()]
        images = [name for name, feed in self._steps.feed.items() if feed.source == IMAGES]
        images = [] if self._steps.takes_pages else images  # a page alone has no padding
        fed: Dict[str, tf.Tensor] = {}
        if images:
            widths = _free_name(part, "own_widths")
            batch = PaddedBatch(
                images=inputs[images[0]].name,
                widths=widths + ":0",
                lengths=tuple(inputs[name].name for name in self._counts()),
                multiple=self._multiple(),
            )
            masked = mask_padding(part, batch, outputs)
            self.notes += tuple(replace(note, where=f"{self._place.name}: {note.where}") for note in masked.notes)
            part = masked.graph_def
            fed[batch.widths] = self._results[WIDTHS]
            outputs += [masked.steps] if masked.steps else []
            self._refuse_unknown_steps(masked)
        for name, feed in self._steps.feed.items():
            if feed.source != STEPS:
                fed[inputs[name].name] = tf.cast(self._results[feed.source], inputs[name].dtype.base_dtype)
                if feed.divide_by != 1:
                    fed[inputs[name].name] //= feed.divide_by
        counts = [inputs[name].name for name in self._counts() if inputs[name].op.name in {n.name for n in part.node}]
        copies = dict(zip(outputs + counts, copied(part, fed, outputs + counts, "network")))
        self._results.update({name: fed[tensor.name] for name, tensor in inputs.items() if tensor.name in fed})
        self._results.update({name: copies[tensor.name] for name, tensor in places.items()})
        if images and masked.steps:  # a graph may take the widths, and divide them itself
            self._results.setdefault(STEPS, copies[masked.steps])
            self._results.update(dict.fromkeys(self._steps.fed_steps, self._results[STEPS]))
        for name in self._counts():
            self._results.setdefault(name, copies[inputs[name].name])
            self._results.setdefault(STEPS, self._results[name])

    def _counts(self) -> List[str]:
        """The inputs of the network that are the number of steps of each picture."""
        return [name for name, feed in self._steps.feed.items() if feed.source in (STEPS, WIDTHS)]

    def _multiple(self) -> int:
        return max([step.multiple for step in self._steps.preprocess if isinstance(step, Pad)], default=1)

    def _refuse_unknown_steps(self, masked: Masked) -> None:
        if masked.steps is None and self._steps.fed_steps:
            problems = [
                Problem(
                    "unknown-steps",
                    f"{self._place.where}.feed.{name}",
                    "the graph does not show how many steps of its outputs are of each picture",
                    "give {from: widths, divide_by: N}",
                )
                for name in self._steps.fed_steps
            ]
            raise SignatureError(f"{self._place.model.source}: it does not fit the graph", problems)

    def _find_small(self) -> None:
        """Give pictures of no step their status."""
        if STATUS in self._results and STEPS in self._results:
            status = self._results[STATUS]
            is_small = tf.logical_and(tf.equal(status, READ), tf.equal(self._results[STEPS], 0))
            self._results[STATUS] = tf.where(is_small, tf.fill(tf.shape(status), TOO_SMALL), status)


def _free_name(graph_def: Any, name: str) -> str:
    taken = {node.name for node in graph_def.node}
    while name in taken:
        name += "_"
    return name
