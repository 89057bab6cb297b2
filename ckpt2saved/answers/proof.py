"""Compute the expected outputs: those of the original graph, with a time limit for a slow CTC beam search."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Sequence, Set, Tuple

import numpy as np

from ckpt2saved.answers.checkpoint_asker import CheckpointAsker
from ckpt2saved.answers.search_limits import SearchLimits
from ckpt2saved.answers.stock_search import Decoded, decode_in_time
from ckpt2saved.console.say import Say, progress_of
from ckpt2saved.graph.beam_searches import QUICK, SECONDS_PER_CLASS, BeamSearch, find_searches, searches_behind
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.request import Answers, Request

_SAY_EVERY = 30.0  # seconds


@dataclass(frozen=True)
class Searched:
    """The part of a request that TensorFlow's beam search op decoded."""

    request: Request
    search: BeamSearch
    logits: np.ndarray  # [time, batch, classes]
    lengths: np.ndarray  # [batch], sequence lengths
    readings: Tuple[Decoded, ...]  # the last one with all classes
    seconds: float

    @property
    def is_whole(self) -> bool:
        return bool(np.array_equal(self.lengths, self.readings[-1].lengths))

    def describe(self) -> Dict[str, Any]:
        """The content for the provenance and --json."""
        found: Dict[str, Any] = {
            "request": self.request.name,
            "node": self.search.name,
            "beam_width": self.search.beam_width,
            "classes": self.logits.shape[2],
            "lines": len(self.lengths),
            "lines_compared": self._lines(self.readings[-1]),
            "steps": int(self.lengths.sum()),
            "steps_compared": int(self.readings[-1].lengths.sum()),
            "seconds": round(self.seconds, 1),
        }
        few = self.readings[0]
        if few.labels is not None:
            found["with_few_classes"] = {
                "classes": few.labels.shape[1] + 1,
                "lines_compared": self._lines(few),
                "steps_compared": int(few.lengths.sum()),
            }
        return found

    def _lines(self, decoded: Decoded) -> int:
        """Number of lines of which all steps were decoded."""
        return int(np.sum(self.lengths == decoded.lengths))

    def __str__(self) -> str:
        texts = [
            f"{self._lines(decoded)} of {len(self.lengths)} lines completely ({int(decoded.lengths.sum())} of"
            f" {int(self.lengths.sum())} steps) with"
            f" {('all classes' if decoded.labels is None else f'the likeliest {decoded.labels.shape[1]} classes')}"
            for decoded in self.readings
        ]
        text = (
            f"{self.request.name}: {self.search.name} (beam_width {self.search.beam_width}) decoded {'; '.join(texts)},"
            f" in {duration(self.seconds)}"
        )
        return text if self.is_whole else text + "; the network is compared on all of it"


@dataclass(frozen=True)
class Proof:
    """The requests to run on the files, and the expected outputs."""

    asked: Tuple[Request, ...]
    expected: Tuple[Answers, ...]
    requests: Tuple[Request, ...]  # the complete requests
    searched: Tuple[Searched, ...] = ()  # beam searches that ran with a time limit

    @property
    def is_partial(self) -> bool:
        """Whether a beam search decoded only a part of its steps."""
        return any(not search.is_whole for search in self.searched)

    @property
    def only_answered(self) -> Tuple[Request, ...]:
        """The complete requests without complete expected outputs; they must still run on the files."""
        asked = {id(request) for request in self.asked}
        return tuple(request for request in self.requests if id(request) not in asked)


def prove(asker: CheckpointAsker, asked: Sequence[Request], limits: SearchLimits, say: Say) -> Proof:
    """Run the requests on the original graph; returns requests and expected outputs.

    A slow beam search runs separately, within the time of `limits`, on as many lines as fit. Its part of the comparison
    feeds these logits to the files, with blanks for steps that were not decoded; everything before the logits is
    compared on the complete request. `say` reports estimate, progress and outcome. Raises SignatureError if the graph
    cannot run a request, NotServable if an output contains NaN, and the errors of `decode_in_time`.
    """
    stock = StockSearches(asker, asked, limits, say)
    if stock.is_needed and not stock.is_quick():
        pairs = [pair for request in asked for pair in stock.pairs(request)]
    else:
        pairs = list(zip(asked, asker.answers(asked)))
    compared, answers = tuple(request for request, _ in pairs), tuple(answers for _, answers in pairs)
    asker.refuse_nan(compared, answers)
    return Proof(compared, answers, tuple(asked), stock.searched)


class StockSearches:
    """The beam searches that the requests depend on; each runs once for all requests with the same inputs."""

    def __init__(self, asker: CheckpointAsker, asked: Sequence[Request], limits: SearchLimits, say: Say) -> None:
        self._asker, self._asked, self._limits, self._say = asker, asked, limits, say
        self._graph: tf.Graph = asker.graph
        self._signatures = asker.signatures
        self._quick = False
        self._done: Dict[Any, Searched] = {}
        self._compared_inside: Set[Any] = set()
        self._left = limits.seconds
        self._places = self._find_places()
        self._sizes: Dict[str, Any] = {}
        with self._graph.as_default():
            for search in {search.name: search for _, search in self._places.values()}.values():
                self._sizes[search.name] = tf.shape(self._graph.get_tensor_by_name(search.logits))

    @property
    def is_needed(self) -> bool:
        """Whether a request depends on a beam search."""
        return bool(self._places)

    @property
    def searched(self) -> Tuple[Searched, ...]:
        """The results so far."""
        return tuple(self._done.values())

    def _find_places(self) -> Dict[Any, Tuple[Request, BeamSearch]]:
        """(Inputs, node name) -> the first request that needs this beam search, and the search."""
        places: Dict[Any, Tuple[Request, BeamSearch]] = {}
        for request in self._asked:
            _, fetches = request.feeds_and_fetches(self._signatures)
            for search in find_searches(self._graph, fetches.values()):
                places.setdefault((self._key(request), search.name), (request, search))
        return places

    def _key(self, request: Request) -> FrozenSet[Tuple[str, int]]:
        """A key that is equal for requests with the same inputs."""
        feeds, _ = request.feeds_and_fetches(self._signatures)
        return frozenset((tensor, id(value)) for tensor, value in feeds.items())

    def is_quick(self) -> bool:
        """Whether the op decodes everything quickly; if not, `say` reports an estimate."""
        self._quick = self._takes_a_moment()
        return self._quick

    def _takes_a_moment(self) -> bool:
        batches: List[Tuple[float, BeamSearch, np.ndarray]] = []
        for request, search in self._places.values():
            feeds, _ = request.feeds_and_fetches(self._signatures)
            try:
                sizes, lengths = self._asker.run([self._sizes[search.name], search.lengths], feeds)
            except tf.errors.OpError:
                return True  # running the request itself will report this error
            if len(lengths) != sizes[1] or (lengths > sizes[0]).any():
                return True
            batches.append((search.work(sizes[2], lengths), search, sizes))
        seconds = SECONDS_PER_CLASS * sum(work for work, _, _ in batches)
        few = self._limits.lines
        if seconds <= QUICK and (few is None or all(sizes[1] <= few for _, _, sizes in batches)):
            return True
        _, search, (steps, batch, classes) = max(batches, key=lambda found: found[0])
        requests = "1 request" if len(batches) == 1 else f"{len(batches)} requests"
        lines = "" if few is None else f", on at most {few} line(s) of each request (--parity-lines)"
        budget = duration(min(self._limits.seconds, max(seconds, 1)))
        self._say(
            "estimate",
            f"TensorFlow's own beam search (beam_width {search.beam_width}) would take about {duration(seconds)} for"
            f" {requests}, the largest {batch} lines x {steps} steps x {classes} classes; it runs here for at most"
            f" {budget} (--parity-seconds){lines}",
        )
        return False

    def all(self) -> Tuple[Searched, ...]:
        """Run every search within the time limit."""
        self.is_quick()
        for request in self._asked:
            self.run(request)
        return self.searched

    def run(self, request: Request) -> Tuple[Searched, ...]:
        """Run the searches that a request depends on, within their share of the time limit."""
        _, fetches = request.feeds_and_fetches(self._signatures)
        key = self._key(request)
        found = find_searches(self._graph, fetches.values())
        return tuple(self._decoded(request, (key, search.name)) for search in found)

    def _decoded(self, request: Request, place: Any) -> Searched:
        if place in self._done:
            return self._done[place]
        _, search = self._places[place]
        inner = (search.logits, search.lengths) + (search.outputs if self._quick else ())
        part = replace(request, outputs=(), inner_fetches=inner)
        logits, lengths, *outputs = self._asker.answer(part).values()
        if self._quick:
            everything = Decoded(lengths, tuple(outputs), tuple(range(len(lengths))))
            self._done[place] = Searched(
                request=request, search=search, logits=logits, lengths=lengths, readings=(everything,), seconds=0.0
            )
            return self._done[place]
        share = self._left / (len(self._places) - len(self._done))
        started = time.monotonic()
        readings = decode_in_time(
            search,
            logits,
            lengths,
            replace(self._limits, seconds=share),
            self._teller(request, share, len(lengths)),
        )
        seconds = time.monotonic() - started
        self._left -= min(seconds, share)
        self._done[place] = Searched(
            request=request, search=search, logits=logits, lengths=lengths, readings=readings, seconds=seconds
        )
        self._say("compared", str(self._done[place]))
        return self._done[place]

    def _teller(self, request: Request, share: float, batch: int) -> Callable[[int, float], None]:
        said = [0.0]

        def tell(lines: int, seconds: float) -> None:
            text = (
                f"{request.name}: TensorFlow's beam search: {lines} of {batch} lines begun, {duration(seconds)} of at"
                f" most {duration(share)}"
            )
            progress_of(self._say)(text)
            if seconds - said[0] >= _SAY_EVERY:
                said[0] = seconds
                self._say("progress", text)

        return tell

    def pairs(self, request: Request) -> List[Tuple[Request, Answers]]:
        """The requests that replace a request in the comparison, and their expected outputs."""
        ask = self._asker.answer
        searched = self.run(request)
        read = {t: value for one in searched for t, value in zip(one.search.outputs, one.readings[-1].outputs)}
        if all(one.is_whole for one in searched):
            return [(request, ask(replace(request, inner_feeds=read)))]
        feeds, outputs = request.feeds_and_fetches(self._signatures)
        searches = [one.search for one in searched]
        behind = {key: bool(searches_behind(self._graph, outputs[key], searches)) for key in outputs}
        network = tuple(key for key in outputs if not behind[key])
        inner = self._inside(request, searched, feeds)
        found: List[Tuple[Request, Answers]] = []
        if network or inner:
            part = replace(request, outputs=network, inner_fetches=tuple(inner))
            answers = ask(replace(request, outputs=network)) if network else {}
            found.append((part, {**answers, **inner}))
        decoded = tuple(key for key in outputs if behind[key])
        for number in range(max(len(one.readings) for one in searched)):
            given, read = {}, {}
            for one in searched:
                reading = one.readings[min(number, len(one.readings) - 1)]
                given.update(self._given(one, reading))
                read.update(zip(one.search.outputs, reading.outputs))
            part = replace(request, outputs=decoded, inner_feeds=given)
            found.append((part, ask(replace(part, inner_feeds={**given, **read}))))
        return found

    def _given(self, searched: Searched, reading: Decoded) -> Dict[str, np.ndarray]:
        """The feeds with which a decoder decodes the same part; TensorFlow's op gets shorter lengths, to save time."""
        search = searched.search
        if self._limits.is_for_stock:
            return {search.logits: searched.logits, search.lengths: reading.lengths}
        return {search.logits: reading.shortened(searched.logits, searched.lengths)}

    def _inside(
        self, request: Request, searched: Sequence[Searched], feeds: Mapping[str, np.ndarray]
    ) -> Dict[str, np.ndarray]:
        """The logits and lengths as inner tensors to compare, once for all requests with the same inputs."""
        found: Dict[str, np.ndarray] = {}
        for one in searched:
            for tensor, value in ((one.search.logits, one.logits), (one.search.lengths, one.lengths)):
                place = (self._key(request), tensor)
                if tensor not in feeds and place not in self._compared_inside:
                    self._compared_inside.add(place)
                    found[tensor] = value
        return found


def duration(seconds: float) -> str:
    """A duration as text: 12 s, 15 min, 3.5 h."""
    if seconds < 100:
        return f"{max(seconds, 0.1):.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
