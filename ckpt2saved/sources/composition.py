"""Signatures of steps and a network: the network as a graph source sees it, and the whole as requests do."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ckpt2saved.console.reasons import reason_of
from ckpt2saved.ctc.language_model import LanguageModel
from ckpt2saved.errors import SignatureError
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.copying import copied
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.rewrites.mask_padding import Masked, PaddedBatch, mask_padding
from ckpt2saved.saved_model.writing import Asset
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.steps import (
    IMAGES,
    STATUS,
    STEPS,
    WIDTHS,
    Characters,
    DecodeCtc,
    DecodePictures,
    Failed,
    Normalise,
    Pad,
    Resize,
    Steps,
)
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.sources.example_pictures import with_pictures
from ckpt2saved.sources.loaded import LoadedGraph
from ckpt2saved.sources.lookups import asset_names
from ckpt2saved.sources.steps.batches import normalised, padded
from ckpt2saved.sources.steps.language_models import read_language_model
from ckpt2saved.sources.steps.pictures import READ, TOO_SMALL, read_pictures
from ckpt2saved.sources.steps.texts import check_classes, decoded_logits, joined_characters, replaced
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
                tensor = tf.placeholder(spec.dtype, sizes, name=_key(spec.key))
                self._results[spec.key] = tensor
                inputs.append(replace(spec, tensor=tensor.name))
            with tf.name_scope("preprocess"):
                self._before()
            self._run_network(graph_def)
            with tf.name_scope("postprocess"):
                self._find_small()
                self._after()
            outputs = [self._output(spec) for spec in self._signature.outputs]
        return Signature(self._signature.name, tuple(inputs), tuple(outputs), steps=self._steps)

    def _before(self) -> None:
        steps = self._steps.preprocess
        decode = steps[0] if steps else None
        if isinstance(decode, DecodePictures):
            resize = steps[1] if len(steps) > 1 else None
            contents = self._results[self._signature.pictures[0].key]
            found = read_pictures(contents, decode, resize if isinstance(resize, Resize) else None, self._scope)
            self._results.update(found._asdict())
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

    def _after(self) -> None:
        classes = None
        for number, step in enumerate(self._steps.postprocess):
            where = f"signatures.{self._signature.name}.postprocess[{number}]"
            if isinstance(step, DecodeCtc):
                logits = self._logits(step, where)
                classes = logits.shape.as_list()[-1] if logits.shape.ndims else None
                model = self._language_model(step, classes, where)
                self._results.update(decoded_logits(logits, self._results[step.sequence_length], step, model))
            elif isinstance(step, Characters):
                if step.logits:
                    classes = self._results[step.logits].shape.as_list()[-1]
                step = check_classes(step, classes, f"{self._model.source}: {where}")
                self._results["text"] = joined_characters(self._results[step.ids], step)
                self._files.append(step)
            elif isinstance(step, Failed):
                try:
                    self._results.update(replaced(self._results, self._results[STATUS], step))
                except (TypeError, ValueError) as error:
                    problem = Problem("wrong-value", f"{where}.failed", reason_of(error))
                    raise SignatureError(f"{self._model.source}: it does not fit the graph", [problem]) from error

    def _language_model(self, step: DecodeCtc, classes: Any, where: str) -> Optional[LanguageModel]:
        if step.bigrams is None or not (step.bigrams.weight or step.bigrams.bonus):
            return None
        where = f"{self._model.source}: {where}"
        readers = [s for s in self._steps.postprocess if isinstance(s, Characters) and s.ids in step.makes]
        symbols = check_classes(readers[0], classes, where).symbols if readers else ()
        model, notes = read_language_model(step.bigrams, symbols, classes, where)
        self.notes += notes
        return model

    def _logits(self, step: DecodeCtc, where: str) -> tf.Tensor:
        """The logits of a step; raises SignatureError for tensors that can't be decoded."""
        logits, lengths = self._results[step.logits], self._results[step.sequence_length]
        problems = []
        if logits.shape.ndims not in (None, 3) or logits.dtype.base_dtype not in (tf.float32, tf.float64):
            found = f"{logits.dtype.base_dtype.name} {logits.shape}; logits are float32 of rank 3"
            problems.append(Problem("other-shape", f"{where}.ctc_decode.logits: {step.logits}", found))
        if lengths.shape.ndims not in (None, 1) or lengths.dtype.base_dtype != tf.int32:
            found = f"{lengths.dtype.base_dtype.name} {lengths.shape}; lengths are int32 [batch]"
            problems.append(
                Problem("other-shape", f"{where}.ctc_decode.sequence_length: {step.sequence_length}", found)
            )
        if problems:
            raise SignatureError(f"{self._model.source}: it does not fit the graph", problems)
        return logits

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
