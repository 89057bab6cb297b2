"""The steps before and after the network of a signature, parsed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Dict, FrozenSet, Mapping, Optional, Set, Tuple, Union

from ckpt2saved.signature.detection import Anchors, EastRules, LineRules, PageArray, ProposalRules

METHODS = ("bilinear", "area", "pillow_bilinear")
ORDERS = ("rgb", "bgr")
BLANKS = ("last", "first")
MOST_PIXELS = 1 << 24  # of a picture, unless the step says another number
MOST_COLUMNS = 2048  # of a resized picture, unless the step says another number

# Results of the steps before the network, by the names that feeds and outputs use.
IMAGES, WIDTHS, STATUS = "images", "widths", "status"
PIXELS = "pixels"  # uint8 [batch, height, width, channels] of pictures before they were resized
COUNT = "count"  # of proposals or lines of each page; the rest of the arrays is padding
SIZES = "sizes"  # float32 [batch, 3]: height, width and scale of each resized page
STEPS = "steps"  # how many steps of the network's outputs are of each picture: found in its graph


@dataclass(frozen=True)
class DecodePictures:
    """Decodes the bytes of pictures: `images`, `widths` and `status`."""

    channels: int = 3  # 3: colours, 1: gray
    max_pixels: int = MOST_PIXELS

    takes: Tuple[str, ...] = ()
    makes = (IMAGES, WIDTHS, STATUS)


@dataclass(frozen=True)
class Resize:
    """Resizes each picture; without `width`, the aspect ratio is kept."""

    height: int
    width: Optional[int] = None
    method: str = "bilinear"
    max_width: int = MOST_COLUMNS

    takes: Tuple[str, ...] = (IMAGES,)
    makes = (IMAGES, WIDTHS)


@dataclass(frozen=True)
class ResizePage:
    """Resizes each page by one factor. The network then gets one page at a time, since their heights differ."""

    short_side: int  # pixels
    max_long_side: int  # pixels; where the long side would be longer, the factor is smaller
    multiple: int = 1  # both sides are rounded up to one
    method: str = "bilinear"

    takes: Tuple[str, ...] = (IMAGES,)
    makes = (IMAGES, WIDTHS, SIZES)


AnyResize = Union[Resize, ResizePage]


@dataclass(frozen=True)
class CropLines:
    """Cuts each of the lines `quads` out of its page and turns it upright; the aspect ratio is kept."""

    quads: str  # float32 [batch, any, 8]: x, y of the corners, clockwise from the top left, in pixels of the picture
    height: int
    max_width: int = MOST_COLUMNS

    makes = (IMAGES, WIDTHS)

    @property
    def takes(self) -> Tuple[str, ...]:
        """The names of tensors and results that the step reads."""
        return (self.quads, COUNT)


@dataclass(frozen=True)
class Normalise:
    """Changes pixel values: (pixel - mean) * scale, in the channel order of the network."""

    order: str = "rgb"
    mean: Tuple[float, ...] = ()  # of each channel in this order, or one for all
    scale: Tuple[float, ...] = ()

    takes: Tuple[str, ...] = (IMAGES,)
    makes = (IMAGES,)


@dataclass(frozen=True)
class Pad:
    """Fills the columns beyond each picture's width with `value`, and makes widths multiples of a number."""

    multiple: int = 1  # the width of each picture is rounded up to one
    min_width: int = 1  # of the batch
    value: float = 0.0

    takes: Tuple[str, ...] = (IMAGES, WIDTHS)
    makes = (IMAGES, WIDTHS)


@dataclass(frozen=True)
class Bigrams:
    """A language model of pairs of characters, which decides between readings."""

    file: Path  # a text in which pairs are counted, or a table of them (.npy)
    weight: float = 0.4  # of the logarithms of the pairs' probabilities
    bonus: float = 0.0  # for each character


@dataclass(frozen=True)
class DecodeCtc:
    """Decodes logits [time, batch, classes] by a CTC beam search: `ids`, `lengths` and `score`."""

    logits: str
    sequence_length: str
    beam_width: int = 1
    merge_repeated: bool = False
    batch_first: bool = False  # whether the logits are [batch, time, classes]
    blank: str = "last"  # the class that is the blank
    bigrams: Optional[Bigrams] = None

    makes = ("ids", "lengths", "score")

    @property
    def takes(self) -> Tuple[str, ...]:
        """The names of tensors and results that the step reads."""
        return self.logits, self.sequence_length

    def renamed(self, names: Mapping[str, str]) -> DecodeCtc:
        """Return the step with other names of what it reads."""
        return replace(
            self,
            logits=names.get(self.logits, self.logits),
            sequence_length=names.get(self.sequence_length, self.sequence_length),
        )


@dataclass(frozen=True)
class Characters:
    """Joins the characters of ids [batch, time], padded with -1: `text`."""

    file: Path
    symbols: Tuple[str, ...]  # the character of each id; "" for an id without one
    ids: str = "ids"
    logits: str = ""  # a tensor whose last dimension is the number of classes, if `ids` are not of `ctc_decode`
    strip: bool = False  # leave out ASCII white space at both ends

    makes = ("text",)

    @property
    def takes(self) -> Tuple[str, ...]:
        """The names of tensors and results that the step reads."""
        return (self.ids, self.logits) if self.logits else (self.ids,)

    def renamed(self, names: Mapping[str, str]) -> Characters:
        """Return the step with other names of what it reads."""
        return replace(self, ids=names.get(self.ids, self.ids), logits=names.get(self.logits, self.logits))


@dataclass(frozen=True)
class DecodeCtpn:
    """Selects proposals of the answers of a CTPN: `boxes`, `scores` and `count`."""

    probabilities: str  # of background and text: [batch, rows, columns * anchors, 2]
    deltas: str  # [batch, rows, columns, 4 * anchors]
    sizes: str  # height and width of each page: [batch, 3]
    anchors: Anchors = Anchors()
    rules: ProposalRules = ProposalRules()

    makes = ("boxes", "scores", "count")

    @property
    def takes(self) -> Tuple[str, ...]:
        """The names of tensors and results that the step reads."""
        return self.probabilities, self.deltas, self.sizes

    def renamed(self, names: Mapping[str, str]) -> DecodeCtpn:
        """Return the step with other names of what it reads."""
        probabilities, deltas, sizes = [names.get(name, name) for name in self.takes]
        return replace(self, probabilities=probabilities, deltas=deltas, sizes=sizes)


@dataclass(frozen=True)
class DecodeEast:
    """Finds the quads of text in the maps of an EAST: `quads`, `scores` and `count`."""

    score: str  # probability of text in each cell: [batch, rows, columns, 1]
    geometry: str  # [batch, rows, columns, 5 or 8]
    sizes: str  # height and width of each page: [batch, 3]
    rules: EastRules = EastRules()

    makes = ("quads", "scores", "count")

    @property
    def takes(self) -> Tuple[str, ...]:
        """The names of tensors and results that the step reads."""
        return self.score, self.geometry, self.sizes

    def renamed(self, names: Mapping[str, str]) -> DecodeEast:
        """Return the step with other names of what it reads."""
        score, geometry, sizes = [names.get(name, name) for name in self.takes]
        return replace(self, score=score, geometry=geometry, sizes=sizes)


@dataclass(frozen=True)
class JoinLines:
    """Joins the proposals `boxes` to text lines: `quads`, `scores` and `count`."""

    sizes: str  # height and width of each page: [batch, 3]
    rules: LineRules = LineRules()

    makes = ("quads", "scores", "count")

    @property
    def takes(self) -> Tuple[str, ...]:
        """The names of tensors and results that the step reads."""
        return ("boxes", "scores", "count", self.sizes)

    def renamed(self, names: Mapping[str, str]) -> JoinLines:
        """Return the step with other names of what it reads."""
        return replace(self, sizes=names.get(self.sizes, self.sizes))


@dataclass(frozen=True)
class ScaleBack:
    """Converts coordinates in the resized page to those of the picture."""

    coordinates: str  # float32 [batch, any, 2 * points]: x and y of each point

    @property
    def takes(self) -> Tuple[str, ...]:
        """The names of tensors and results that the step reads."""
        return (self.coordinates, SIZES)

    @property
    def makes(self) -> Tuple[str, ...]:
        """The names of the results."""
        return (self.coordinates,)


@dataclass(frozen=True)
class Failed:
    """Replaces results of pictures that could not be read by values."""

    values: Mapping[str, Union[str, int, float]]

    @property
    def takes(self) -> Tuple[str, ...]:
        """The names of tensors and results that the step reads."""
        return (STATUS, *self.values)

    @property
    def makes(self) -> Tuple[str, ...]:
        """The names of the results."""
        return tuple(self.values)


Step = Union[
    DecodePictures,
    Resize,
    ResizePage,
    CropLines,
    Normalise,
    Pad,
    DecodeCtc,
    DecodeCtpn,
    DecodeEast,
    JoinLines,
    ScaleBack,
    Characters,
    Failed,
]
_OF_PAGES = (DecodeCtpn, DecodeEast, JoinLines)  # steps whose results have a fixed shape for one page
# What steps make for each line: its dtype.
_OF_LINES = {"score": "float32", "lengths": "int32", "text": "string"}
_WITH_TENSORS = (DecodeCtc, DecodeCtpn, DecodeEast, JoinLines, Characters)  # steps that name tensors of the network


@dataclass(frozen=True)
class Feed:
    """What an input of the network gets: a result of the steps, divided by a number without remainder."""

    source: str
    divide_by: int = 1


@dataclass(frozen=True)
class Steps:
    """What a signature computes before and after the network."""

    preprocess: Tuple[Step, ...] = ()
    feed: Mapping[str, Feed] = field(default_factory=dict)  # input tensor of the network -> its value
    postprocess: Tuple[Step, ...] = ()
    lines: Optional[Steps] = None  # of a second network, which gets the lines that the first one finds on pages

    @property
    def fed_steps(self) -> Tuple[str, ...]:
        """Return the inputs of the network that get the steps of each picture."""
        return tuple(tensor for tensor, feed in self.feed.items() if feed.source == STEPS)

    @property
    def crop(self) -> Optional[CropLines]:
        """Return the step that cuts lines out of pages."""
        return next((step for step in self.preprocess if isinstance(step, CropLines)), None)

    @property
    def all_feeds(self) -> Dict[str, Feed]:
        """Return what each input of the networks gets."""
        return {**self.feed, **(self.lines.feed if self.lines else {})}

    @property
    def takes_pictures(self) -> bool:
        """Return whether the string input holds pictures."""
        return any(isinstance(step, DecodePictures) for step in self.preprocess)

    @property
    def takes_pages(self) -> bool:
        """Return whether the network gets one page at a time, each of its own height and width."""
        return any(isinstance(step, ResizePage) for step in self.preprocess)

    @property
    def counted_results(self) -> Dict[str, PageArray]:
        """Return the results of the last step that makes `count`, which says how many rows of these are no padding."""
        counting = [step for step in self.postprocess if isinstance(step, _OF_PAGES)]
        return counting[-1].rules.results if counting else {}

    @property
    def page_results(self) -> Dict[str, PageArray]:
        """Return the results of steps that have a fixed shape for one page."""
        found = {STATUS: PageArray("int32", ())} if self.takes_pictures else {}
        for step in self.postprocess:
            found.update(step.rules.results if isinstance(step, _OF_PAGES) else {})
        return found

    @property
    def line_results(self) -> Dict[str, str]:
        """Return the results that have one value for each line, with their dtypes."""
        made = [name for step in self.lines.postprocess for name in step.makes] if self.lines else []
        return {name: dtype for name, dtype in _OF_LINES.items() if name in made}

    def renamed(self, names: Mapping[str, str]) -> Steps:
        """Return the steps with other names of the network's tensors."""
        after = tuple(step.renamed(names) if isinstance(step, _WITH_TENSORS) else step for step in self.postprocess)
        feed = {names.get(tensor, tensor): value for tensor, value in self.feed.items()}
        return replace(self, feed=feed, postprocess=after, lines=self.lines and self.lines.renamed(names))

    def fetched(self, outputs: FrozenSet[str], inputs: FrozenSet[str]) -> Tuple[str, ...]:
        """Return the tensors of the network that steps and `outputs` read; `inputs` are keys of the signature.

        Without those of the network that gets the lines.
        """
        known: Set[str] = set(inputs) | set(self.feed) | {STEPS}
        for step in self.preprocess:
            known.update(step.makes)
        found = []
        for step in self.postprocess:
            found += [name for name in step.takes if name not in known]
            known.update(step.makes)
        known.update(self.line_results)
        found += [name for name in sorted(outputs) if name not in known]
        return tuple(dict.fromkeys(found))
