"""The format of preprocess, feed and postprocess in signature files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import yaml

from ckpt2saved.signature.characters import NoCharacters
from ckpt2saved.signature.option_values import MissingOption, OptionReader
from ckpt2saved.signature.step_kinds import AFTER, BEFORE, BEFORE_LINES, StepKind
from ckpt2saved.signature.steps import (
    STEPS,
    WIDTHS,
    CropLines,
    DecodePictures,
    Failed,
    Feed,
    Normalise,
    Pad,
    Resize,
    ResizePage,
    Step,
    Steps,
)
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.signature.yaml_nodes import found_text, unknown_name


class StepsReader(OptionReader):
    """Reads the steps of signatures."""

    def steps(self, parts: Mapping[str, yaml.Node], where: str) -> Optional[Steps]:
        """Return the steps of a signature; raises MissingOption."""
        if not {"preprocess", "feed", "postprocess", "each_line"} & set(parts):
            return None
        steps = self.steps_of_network(parts, where, BEFORE)
        if "feed" not in parts:
            node = next(iter(parts.values()))
            self.problem("missing-key", node, where, "feed is missing: what each input of the network gets")
        if "each_line" not in parts:
            return steps
        place = where + ".each_line"
        required = ("preprocess", "feed")
        of_lines = self.mapping(parts["each_line"], place, required=required, optional=("postprocess",))
        return replace(steps, lines=self.steps_of_network(of_lines, place, BEFORE_LINES))

    def steps_of_network(self, parts: Mapping[str, yaml.Node], where: str, known: Mapping[str, StepKind]) -> Steps:
        return Steps(
            self.step_list(parts["preprocess"], where + ".preprocess", known) if "preprocess" in parts else (),
            self.feed(parts["feed"], where + ".feed") if "feed" in parts else {},
            self.step_list(parts["postprocess"], where + ".postprocess", AFTER) if "postprocess" in parts else (),
        )

    def step_list(self, node: yaml.Node, where: str, known: Mapping[str, StepKind]) -> Tuple[Step, ...]:
        if not isinstance(node, yaml.SequenceNode):
            self.problem("wrong-type", node, where, f"a list of steps is expected; found {found_text(node)}")
            return ()
        found: List[Step] = []
        for position, item in enumerate(node.value):
            step = self.step(item, f"{where}[{position}]", known)
            found += [] if step is None else [step]
        return tuple(found)

    def step(self, node: yaml.Node, where: str, known: Mapping[str, StepKind]) -> Optional[Step]:
        if isinstance(node, yaml.ScalarNode):
            name, options = self.text(node, where), None
        else:
            entries = self.mapping(node, where)
            if len(entries) != 1:
                if isinstance(node, yaml.MappingNode):
                    expected = "one step is expected, as in - resize: {height: 32}"
                    self.problem("wrong-type", node, where, f"{expected}; found {', '.join(entries) or 'none'}")
                return None
            ((name, options),) = entries.items()
        if name not in known:
            self.problem("unknown-key", node, where, *unknown_name("step", name, list(known)))
            return None
        return self.made(known[name], options, node, f"{where}.{name}")

    def made(self, kind: StepKind, options: Optional[yaml.Node], node: yaml.Node, where: str) -> Optional[Step]:
        if kind.make is Failed:
            return self.failed(options or node, where)
        required = [name for name, value in kind.values.items() if value.is_required]
        optional = [name for name in kind.values if name not in required]
        count = len(self.problems)
        if options is not None:
            entries = self.mapping(options, where, required, optional)
        else:
            entries = {}
            for name in required:
                self.problem("missing-key", node, where, f"{name} is missing")
        values: Dict[str, Any] = {}
        for name, value in kind.values.items():
            if name not in entries or (entries[name].tag.endswith(":null") and not value.is_required):
                continue
            try:
                values[name] = value.kind.read(self, entries[name], f"{where}.{name}")
            except MissingOption:
                if value.is_required:
                    raise
        if len(self.problems) > count:
            return None
        try:
            return kind.make(**values)
        except NoCharacters as error:
            self.problem("character-file", node, where, f"{values['file']}: {error}")
            return None

    def failed(self, node: yaml.Node, where: str) -> Failed:
        entries = self.mapping(node, where)
        return Failed({name: self.value(item, f"{where}.{name}") for name, item in entries.items()})

    def feed(self, node: yaml.Node, where: str) -> Dict[str, Feed]:
        found = {}
        for tensor, item in self.mapping(node, where).items():
            place = f"{where}.{tensor}"
            if isinstance(item, yaml.ScalarNode):
                found[tensor] = Feed(self.text(item, place))
                continue
            parts = self.mapping(item, place, required=("from",), optional=("divide_by",))
            source = self.text(parts["from"], place + ".from") if "from" in parts else ""
            divisor = self.count(parts["divide_by"], place + ".divide_by") if "divide_by" in parts else 1
            found[tensor] = Feed(source, divisor)
        if not found and isinstance(node, yaml.MappingNode):
            self.problem("missing-key", node, where, "at least one input of the network is expected")
        return found

    def check_names(self, node: yaml.Node, where: str, steps: Steps, inputs: Sequence[str]) -> None:
        """Check that feeds and steps before the network read what is there."""
        self.check_order(node, where, steps)
        if steps.lines is not None:
            self.check_lines(node, where, steps, steps.lines)
        known: Set[str] = set(inputs)
        for position, step in enumerate(steps.preprocess):
            for name in step.takes:
                if name not in known:
                    found = f"it works on {name}, which no step before it makes"
                    remedy = "put the step decode before it"
                    self.problem("wrong-value", node, f"{where}.preprocess[{position}]", found, remedy)
            known.update(step.makes)
        known.update({STEPS} if WIDTHS in known and not steps.takes_pages else ())
        for tensor, feed in steps.feed.items():
            if feed.source not in known:
                found, remedy = unknown_name("result of a step, or input", feed.source, sorted(known))
                self.problem("wrong-value", node, f"{where}.feed.{tensor}", found, remedy)

    def check_lines(self, node: yaml.Node, where: str, steps: Steps, lines: Steps) -> None:
        """Check that the second network gets lines, and that the first one finds them on pages."""
        if not steps.takes_pages:
            found = "lines are cut out of pages, and this signature takes none"
            self.problem("wrong-value", node, where + ".each_line", found, "put resize_page behind decode")
        crops = [number for number, step in enumerate(lines.preprocess) if isinstance(step, CropLines)]
        if crops != [0]:
            found = f"crop_lines is expected as the first step, and nowhere else; found {len(crops)}"
            self.problem("wrong-value", node, where + ".each_line.preprocess", found)
        quads = [name for name, array in steps.page_results.items() if array.shape[1:] == (8,)]
        if lines.crop is not None and lines.crop.quads not in quads:
            place = f"{where}.each_line.preprocess[0].crop_lines.quads"
            self.problem("wrong-value", node, place, *unknown_name("result with quads", lines.crop.quads, quads))
        self.check_names(node, where + ".each_line", lines, [*steps.page_results])

    def check_order(self, node: yaml.Node, where: str, steps: Steps) -> None:
        """Check the places of decode and resize, and that values for channels are as many as there are channels."""
        decode = steps.preprocess[0] if steps.preprocess else None
        channels = decode.channels if isinstance(decode, DecodePictures) else None
        for position, step in enumerate(steps.preprocess):
            place = f"{where}.preprocess[{position}]"
            if isinstance(step, DecodePictures) and position:
                self.problem("wrong-value", node, place, "decode is not the first step", "put it first")
            if isinstance(step, (Resize, ResizePage)) and (position != 1 or channels is None):
                name = "resize" if isinstance(step, Resize) else "resize_page"
                self.problem(
                    "wrong-value", node, place, f"{name} does not follow decode", "put it directly after decode"
                )
            if isinstance(step, Pad) and steps.takes_pages:
                found = "pad is for pictures of one height; the network gets one page at a time"
                self.problem("wrong-value", node, place, found, "remove pad; resize_page takes multiple")
            for name in ("mean", "scale") if isinstance(step, Normalise) else ():
                values = getattr(step, name)
                if channels is not None and len(values) not in (0, 1, channels):
                    found = f"{len(values)} numbers; one, or one for each of the {channels} channels, is expected"
                    self.problem("wrong-value", node, f"{place}.normalise.{name}", found)

    def check_pictures(self, node: yaml.Node, where: str, signature: Signature) -> None:
        """Check that a signature that decodes pictures has one input for them."""
        strings = [spec for spec in signature.inputs if spec.dtype == "string" and len(spec.shape or ()) == 1]
        if signature.steps is not None and signature.steps.takes_pictures and len(strings) != 1:
            found = f"one string input of shape [batch] is expected, for the pictures; found {len(strings)}"
            self.problem("picture-input", node, where + ".inputs", found)

    def check_pages(self, node: yaml.Node, where: str, signature: Signature) -> None:
        """Check that the outputs of a signature that takes pages have the same shape for each page."""
        steps = signature.steps
        known = [*steps.page_results, *steps.line_results] if steps is not None and signature.takes_pages else None
        for spec in signature.outputs if known is not None else ():
            if known is not None and spec.tensor not in known:
                found = f"the shape of {spec.tensor} depends on the page, and a batch has pages of several sizes"
                remedy = f"expected one of {', '.join(known)}"
                self.problem("wrong-value", node, f"{where}.outputs.{spec.key}", found, remedy)
