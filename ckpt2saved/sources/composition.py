"""Signatures of steps and a network: the network as a graph source sees it, and the whole as requests do."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Dict, List, Mapping, Tuple

from ckpt2saved.errors import SignatureError
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.copying import copied
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.rewrites.mask_padding import Masked, PaddedBatch, mask_padding
from ckpt2saved.saved_model.writing import Asset
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
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.sources.example_pictures import with_pictures
from ckpt2saved.sources.loaded import LoadedGraph
from ckpt2saved.sources.lookups import asset_names
from ckpt2saved.sources.postprocessing import Postprocessing
from ckpt2saved.sources.steps.batches import normalised, padded
from ckpt2saved.sources.steps.pages import cut_padding, each_page, sizes_of
from ckpt2saved.sources.steps.pictures import READ, TOO_SMALL, read_pictures
from ckpt2saved.tf1 import tf, v1_control_flow


def network_model(model: ServedModel) -> ServedModel:
    """Return `model` as a graph source serves it: signatures with steps are what these feed and fetch."""
    known = {
        spec.tensor: spec for signature in model.signatures if signature.steps is None for spec in signature.inputs
    }
    signatures = [s if s.steps is None else _network_signature(s, s.steps, known) for s in model.signatures]
    return replace(model, signatures=tuple(signatures))


def _network_signature(signature: Signature, steps: Steps, known: Mapping[str, TensorSpec]) -> Signature:
    inputs = tuple(known.get(tensor, TensorSpec(_key(tensor), tensor, "", None)) for tensor in steps.feed)
    outputs = tuple(TensorSpec(_key(tensor), tensor, "", None) for tensor in signature.fetched)
    return Signature(signature.name, inputs, outputs)


def _key(name: str) -> str:
    """Return a name that a node may have: of letters TensorFlow takes those of ASCII alone."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def composed(loaded: LoadedGraph, model: ServedModel) -> LoadedGraph:
    """Return a graph that was loaded for `network_model(model)` with the steps of the signatures of `model`."""
    signatures: List[Signature] = []
    assets: List[Asset] = list(loaded.assets)
    notes = model.notes + loaded.notes
    graph_def = loaded.graph.as_graph_def() if any(signature.steps for signature in model.signatures) else None
    for signature, of_network in zip(model.signatures, loaded.model.signatures):
        if signature.steps is None:
            signatures.append(of_network)
            continue
        with loaded.graph.as_default(), v1_control_flow():
            composer = _Composer(loaded, model, signature, signature.steps)
            signatures.append(composer.signature(graph_def))
            assets += composer.assets(assets)
            notes += composer.notes
    parity = tuple(with_pictures(case, signatures) for case in loaded.model.parity)
    completed = replace(loaded.model, signatures=tuple(signatures), parity=parity)
    return replace(loaded, model=completed, assets=tuple(assets), notes=notes)


class _Composer:
    """Builds one signature in the default graph."""

    def __init__(self, loaded: LoadedGraph, model: ServedModel, signature: Signature, steps: Steps) -> None:
        self._loaded = loaded
        self._model = model
        self._signature = signature
        self._steps = steps
        self._shared = self._inputs_of_network()
        self._scope = re.sub(r"[^A-Za-z0-9_.]", "_", signature.name).lstrip("_.") or "signature"
        self._results: Dict[str, tf.Tensor] = {}
        self._files: List[Characters] = []
        self.notes: Tuple[Note, ...] = ()

    def signature(self, graph_def: Any) -> Signature:
        """Build the steps and an instance of the network; returns the signature, bound to the graph's tensors."""
        with tf.name_scope(self._scope):
            inputs = []
            for spec in self._signature.inputs:
                sizes = [size if isinstance(size, int) else None for size in spec.dimensions]
                tensor = self._shared.get(spec.key)
                if tensor is None:
                    tensor = tf.placeholder(spec.dtype, sizes, name=_key(spec.key))
                self._results[spec.key] = tensor
                inputs.append(replace(spec, tensor=tensor.name))
            if self._steps.takes_pages:
                self._of_pages(graph_def)
            else:
                self._of_batch(graph_def)
            self._results.update(cut_padding(self._results, self._steps.counted_results))
            outputs = [self._output(spec) for spec in self._signature.outputs]
        return Signature(self._signature.name, tuple(inputs), tuple(outputs), steps=self._steps)

    def _inputs_of_network(self) -> Dict[str, tf.Tensor]:
        """The network's inputs by the signature's keys, if requests can feed them as they are; otherwise nothing."""
        found: Dict[str, tf.Tensor] = {}
        for name, feed in self._steps.feed.items():
            if self._steps.preprocess or feed.divide_by != 1 or feed.source in found or feed.source == STEPS:
                return {}
            found[feed.source] = self._tensor(name)
        specs = {spec.key: spec for spec in self._signature.inputs}
        fits = all(key in specs and specs[key].dtype == found[key].dtype.base_dtype.name for key in found)
        return found if fits and len(found) == len(specs) else {}

    def _of_batch(self, graph_def: Any) -> None:
        """Add the results of the steps and of the network, for all items at once."""
        with tf.name_scope("preprocess"):
            self._before()
        if self._shared:  # no second instance of the network is needed
            names = [*self._steps.feed, *self._signature.fetched]
            self._results.update({name: self._tensor(name) for name in names})
        else:
            self._run_network(graph_def)
        with tf.name_scope("postprocess"):
            self._find_small()
            after = Postprocessing(self._model, self._signature, self._steps, self._results)
            after.run()
        self._files, self.notes = after.files, self.notes + after.notes

    def _of_pages(self, graph_def: Any) -> None:
        """Add the results for each page alone: pages differ in height and width, and a batch of them is large."""
        key = self._signature.pictures[0].key
        contents = self._results[key]
        arrays = self._steps.page_results

        def page(content: tf.Tensor) -> List[tf.Tensor]:
            self._results = {key: content[None]}
            self._of_batch(graph_def)
            return [self._results[name][0] for name in arrays]

        self._results = {key: contents, **each_page(page, [contents], arrays)}

    def _before(self) -> None:
        steps = self._steps.preprocess
        decode = steps[0] if steps else None
        if isinstance(decode, DecodePictures):
            resize = steps[1] if len(steps) > 1 and isinstance(steps[1], (Resize, ResizePage)) else None
            contents = self._results[self._signature.pictures[0].key]
            found = read_pictures(contents, decode, resize, self._scope)
            self._results.update(found._asdict())
            if self._steps.takes_pages:
                self._results[SIZES] = sizes_of(found)
        for step in steps:
            if isinstance(step, Normalise):
                self._results["images"] = normalised(self._results["images"], step)
            elif isinstance(step, Pad):
                images, widths = padded(self._results["images"], self._results["widths"], step)
                self._results.update(images=images, widths=widths)

    def _run_network(self, graph_def: Any) -> None:
        """Add an instance of the network, whose lines do not depend on each other as far as that can be proven."""
        names = self._signature.fetched
        places = {name: self._tensor(name) for name in names}
        inputs = {name: self._tensor(name) for name in self._steps.feed}
        part = pruned(graph_def, {tensor.op.name for tensor in [*places.values(), *inputs.values()]})
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
            self.notes += tuple(replace(note, where=f"{self._signature.name}: {note.where}") for note in masked.notes)
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
                    f"signatures.{self._signature.name}.feed.{name}",
                    "the graph does not show how many steps of its outputs are of each picture",
                    "give {from: widths, divide_by: N}",
                )
                for name in self._steps.fed_steps
            ]
            raise SignatureError(f"{self._model.source}: it does not fit the graph", problems)

    def _find_small(self) -> None:
        """Give pictures of no step their status."""
        if STATUS in self._results and STEPS in self._results:
            status = self._results[STATUS]
            is_small = tf.logical_and(tf.equal(status, READ), tf.equal(self._results[STEPS], 0))
            self._results[STATUS] = tf.where(is_small, tf.fill(tf.shape(status), TOO_SMALL), status)

    def _tensor(self, name: str) -> tf.Tensor:
        if name in self._loaded.tensors:
            return self._loaded.tensors[name]
        return self._loaded.graph.get_tensor_by_name(name)

    def _output(self, spec: TensorSpec) -> TensorSpec:
        if spec.tensor not in self._results:
            problem = Problem("unknown-tensor", f"signatures.{self._signature.name}.outputs.{spec.key}", spec.tensor)
            raise SignatureError(f"{self._model.source}: it does not fit the graph", [problem])
        tensor = tf.identity(self._results[spec.tensor], name=_key(spec.key))
        return replace(spec, tensor=tensor.name)

    def assets(self, known: List[Asset]) -> List[Asset]:
        """The character files, which the graph holds too: for people, and for clients."""
        files = {step.file for step in self._files} - {asset.file for asset in known}
        names = asset_names([asset.file for asset in known] + sorted(files))
        with tf.name_scope(self._scope):
            return [Asset(tf.constant(names[file], name="file").name, file, names[file]) for file in sorted(files)]


def _free_name(graph_def: Any, name: str) -> str:
    taken = {node.name for node in graph_def.node}
    while name in taken:
        name += "_"
    return name
