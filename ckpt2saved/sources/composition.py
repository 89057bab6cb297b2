"""Signatures of steps and a network: the network as a graph source sees it, and the whole as requests do."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Dict, List, Mapping, Tuple

from ckpt2saved.errors import SignatureError
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.saved_model.writing import Asset
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.steps import COUNT, IMAGES, PIXELS, STEPS, WIDTHS, Characters, DecodePictures, Steps
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.sources.example_pictures import with_pictures
from ckpt2saved.sources.loaded import LoadedGraph
from ckpt2saved.sources.lookups import asset_names
from ckpt2saved.sources.network_run import NetworkRun, Place
from ckpt2saved.sources.postprocessing import Decoded
from ckpt2saved.sources.steps.line_crops import Crops, crop_arrays, cropped_lines
from ckpt2saved.sources.steps.line_groups import by_page, read_in_groups
from ckpt2saved.sources.steps.pages import cut_padding, each_page


def network_model(model: ServedModel) -> ServedModel:
    """Return `model` as a graph source serves it: signatures with steps are what these feed and fetch."""
    known = {
        spec.tensor: spec for signature in model.signatures if signature.steps is None for spec in signature.inputs
    }
    signatures = [s if s.steps is None else _network_signature(s, s.steps, known) for s in model.signatures]
    return replace(model, signatures=tuple(signatures))


def _network_signature(signature: Signature, steps: Steps, known: Mapping[str, TensorSpec]) -> Signature:
    inputs = tuple(known.get(tensor, TensorSpec(_key(tensor), tensor, "", None)) for tensor in steps.all_feeds)
    outputs = tuple(TensorSpec(_key(tensor), tensor, "", None) for tensor in signature.all_fetched)
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
    decoded: Decoded = {}
    for number, (signature, of_network) in enumerate(zip(model.signatures, loaded.model.signatures)):
        alike = [s for s in model.signatures[:number] if s.steps and replace(s, name=signature.name) == signature]
        if signature.steps is None:
            signatures.append(of_network)
        elif alike:  # one instance of the network answers both
            made = next(s for s in signatures if s.name == alike[0].name)
            signatures.append(replace(made, name=signature.name))
        else:
            place = Place(
                loaded=loaded,
                graph_def=graph_def,
                model=model,
                name=signature.name,
                where="signatures." + signature.name,
                scope=re.sub(r"[^A-Za-z0-9_.]", "_", signature.name).lstrip("_.") or "signature",
                decoded=decoded,
            )
            with loaded.graph.as_default(), v1_control_flow():
                composer = _Composer(place, signature, signature.steps)
                signatures.append(composer.signature())
                assets += composer.assets(assets)
                notes += composer.notes
    parity = tuple(with_pictures(case, signatures) for case in loaded.model.parity)
    completed = replace(loaded.model, signatures=tuple(signatures), parity=parity)
    return replace(loaded, model=completed, assets=tuple(assets), notes=notes)


class _Composer:
    """Builds one signature in the default graph."""

    def __init__(self, place: Place, signature: Signature, steps: Steps) -> None:
        self._place = place
        self._signature = signature
        self._steps = steps
        self._shared = self._inputs_of_network()
        self._results: Dict[str, tf.Tensor] = {}
        self._files: List[Characters] = []
        self.notes: Tuple[Note, ...] = ()

    def signature(self) -> Signature:
        """Build the steps and an instance of the network; returns the signature, bound to the graph's tensors."""
        with tf.name_scope(self._place.scope):
            inputs = []
            for spec in self._signature.inputs:
                sizes = [size if isinstance(size, int) else None for size in spec.dimensions]
                tensor = self._shared.get(spec.key)
                if tensor is None:
                    tensor = tf.placeholder(spec.dtype, sizes, name=_key(spec.key))
                self._results[spec.key] = tensor
                inputs.append(replace(spec, tensor=tensor.name))
            if self._steps.takes_pages:
                self._of_pages()
            else:
                self._of_batch(self._results)
            self._results.update(cut_padding(self._results, self._steps.counted_results))
            outputs = [self._output(spec) for spec in self._signature.outputs]
        return Signature(self._signature.name, tuple(inputs), tuple(outputs), steps=self._steps)

    def _inputs_of_network(self) -> Dict[str, tf.Tensor]:
        """The network's inputs by the signature's keys, if requests can feed them as they are; otherwise nothing."""
        found: Dict[str, tf.Tensor] = {}
        for name, feed in self._steps.feed.items():
            if self._steps.preprocess or feed.divide_by != 1 or feed.source in found or feed.source == STEPS:
                return {}
            found[feed.source] = self._place.tensor(name)
        specs = {spec.key: spec for spec in self._signature.inputs}
        fits = all(key in specs and specs[key].dtype == found[key].dtype.base_dtype.name for key in found)
        return found if fits and len(found) == len(specs) else {}

    def _of_batch(self, results: Dict[str, tf.Tensor]) -> None:
        """Add the results of the steps and of the network, for all items at once."""
        run = NetworkRun(self._place, self._steps, self._signature.fetched, results)
        if self._signature.pictures:
            run.read(results[self._signature.pictures[0].key])
        if self._shared:  # no second instance of the network is needed
            names = [*self._steps.feed, *self._signature.fetched]
            results.update({name: self._place.tensor(name) for name in names})
            run.run_behind()
        else:
            run.run()
        self._finish(run)

    def _of_pages(self) -> None:
        """Add the results for each page alone: pages differ in height and width, and a batch of them is large."""
        key = self._signature.pictures[0].key
        contents = self._results[key]
        crop = self._steps.lines.crop if self._steps.lines is not None else None
        arrays = self._steps.page_results
        decode = self._steps.preprocess[0]
        assert isinstance(decode, DecodePictures)
        lists = crop_arrays(crop, decode.channels) if crop is not None else {}

        def page(content: tf.Tensor) -> List[tf.Tensor]:
            results = {key: content[None]}
            self._of_batch(results)
            made = [results[name][0] for name in arrays]
            if crop is not None:
                made += cropped_lines(results[PIXELS][0], results[crop.quads][0, : results[COUNT][0]], crop)
            return made

        self._results.update(each_page(page, [contents], arrays, lists))
        if self._steps.lines is not None:
            with tf.name_scope("lines"):
                self._of_lines(self._steps.lines)

    def _of_lines(self, steps: Steps) -> None:
        """Add the results for each line of all pages: the second network reads them in batches."""
        place = self._place._replace(where=self._place.where + ".each_line")
        dtypes = self._steps.line_results

        def read(images: tf.Tensor, widths: tf.Tensor) -> List[tf.Tensor]:
            results = {IMAGES: images, WIDTHS: widths}
            run = NetworkRun(place, steps, steps.fetched(frozenset(), frozenset()), results)
            run.run()
            self._finish(run)
            return [results[name] for name in dtypes]

        crops = Crops(*[self._results[name] for name in Crops._fields])
        found = read_in_groups(read, crops, dtypes)
        counts = self._results[COUNT]
        self._results.update({name: by_page(values, counts) for name, values in found.items()})

    def _finish(self, run: NetworkRun) -> None:
        self._files, self.notes = self._files + run.files, self.notes + run.notes

    def _output(self, spec: TensorSpec) -> TensorSpec:
        if spec.tensor not in self._results:
            problem = Problem("unknown-tensor", f"signatures.{self._signature.name}.outputs.{spec.key}", spec.tensor)
            raise SignatureError(f"{self._place.model.source}: it does not fit the graph", [problem])
        tensor = tf.identity(self._results[spec.tensor], name=_key(spec.key))
        return replace(spec, tensor=tensor.name)

    def assets(self, known: List[Asset]) -> List[Asset]:
        """The character files, which the graph holds too: for people, and for clients."""
        files = {step.file for step in self._files} - {asset.file for asset in known}
        names = asset_names([asset.file for asset in known] + sorted(files))
        with tf.name_scope(self._place.scope):
            return [Asset(tf.constant(names[file], name="file").name, file, names[file]) for file in sorted(files)]
