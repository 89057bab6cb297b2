"""The steps before and after the network of a signature, parsed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import FrozenSet, Mapping, Optional, Set, Tuple, Union

METHODS = ("bilinear", "area", "pillow_bilinear")
ORDERS = ("rgb", "bgr")
BLANKS = ("last", "first")
MOST_PIXELS = 1 << 24  # of a picture, unless the step says another number
MOST_COLUMNS = 2048  # of a resized picture, unless the step says another number

# Results of the steps before the network, by the names that feeds and outputs use.
IMAGES, WIDTHS, STATUS = "images", "widths", "status"
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

    makes = ("text",)

    @property
    def takes(self) -> Tuple[str, ...]:
        """The names of tensors and results that the step reads."""
        return (self.ids, self.logits) if self.logits else (self.ids,)

    def renamed(self, names: Mapping[str, str]) -> Characters:
        """Return the step with other names of what it reads."""
        return replace(self, ids=names.get(self.ids, self.ids), logits=names.get(self.logits, self.logits))


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


Step = Union[DecodePictures, Resize, Normalise, Pad, DecodeCtc, Characters, Failed]


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

    @property
    def fed_steps(self) -> Tuple[str, ...]:
        """Return the inputs of the network that get the steps of each picture."""
        return tuple(tensor for tensor, feed in self.feed.items() if feed.source == STEPS)

    @property
    def takes_pictures(self) -> bool:
        """Return whether the string input holds pictures."""
        return any(isinstance(step, DecodePictures) for step in self.preprocess)

    def renamed(self, names: Mapping[str, str]) -> Steps:
        """Return the steps with other names of the network's tensors."""
        after = tuple(
            step.renamed(names) if isinstance(step, (DecodeCtc, Characters)) else step for step in self.postprocess
        )
        feed = {names.get(tensor, tensor): value for tensor, value in self.feed.items()}
        return replace(self, feed=feed, postprocess=after)

    def fetched(self, outputs: FrozenSet[str], inputs: FrozenSet[str]) -> Tuple[str, ...]:
        """Return the tensors of the network that steps and `outputs` read; `inputs` are keys of the signature."""
        known: Set[str] = set(inputs) | set(self.feed) | {STEPS}
        for step in self.preprocess:
            known.update(step.makes)
        found = []
        for step in self.postprocess:
            found += [name for name in step.takes if name not in known]
            known.update(step.makes)
        found += [name for name in sorted(outputs) if name not in known]
        return tuple(dict.fromkeys(found))
