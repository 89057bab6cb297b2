"""The JSON Schema of signature files and their reader accept and refuse the same files."""

from __future__ import annotations

import copy
import json
import re

import pytest
import yaml
from jsonschema import Draft7Validator

from ckpt2saved.cli.schemas import text_of
from ckpt2saved.signature.file import load_model, signature_folder
from ckpt2saved.signature.schema import SchemaReader
from ckpt2saved.signature.step_kinds import AFTER, BEFORE, BEFORE_LINES, OptionValue, StepKind
from ckpt2saved.signature.steps import Failed
from tests.support.schemas import as_an_editor_reads, misfits, validator
from tests.support.signature_files import DETECTOR, FILE, GOOD, READER, WHOLE
from tools.make_schemas import as_text
from tools.schemas import signature as made
from tools.schemas.signature import signature_schema

OF_TESTS = {"good": GOOD, "steps": FILE, "detector": DETECTOR, "reader": READER}
OTHERS = (None, "word", "", -1, 0, 2.5, True, [], {"x": 1})  # what each value is replaced by
NOT_SAYABLE = re.compile(  # problems that a schema can't find
    r"is not a known (option of this file|result of a step, or input|result with quads|input of any signature)"
    r"|is not a known dimension of any input|parity\[\d\]\.(dims|inputs): .* is missing"
    r"|it works on |it has another dtype or shape in signature|for the pictures; found"
    r"|depends on the page, and a batch has pages|a smaller and a larger number are expected"
    r"|numbers; one, or one for each of the|a string can't be a random number|is not a valid replacement"
    r"|--option |: can't be read: "
)


@pytest.fixture(scope="module")
def schema():
    return json.loads(text_of("signature"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signatures")
    (folder / "characters.txt").write_text("a\nb\n", encoding="utf-8")
    return folder


def loaded(text):
    return as_an_editor_reads(yaml.compose(text))


def problems_of(content, folder):
    """What the reader has against a value."""
    reader = SchemaReader(folder / "own.yaml", {"charset": str(folder / "characters.txt"), "heights": "11,16"})
    reader.model(node_of(content))
    return [str(problem) for problem in reader.problems]


def node_of(value):
    """The node that YAML composes of a value's text; faster than to write and to read the text."""
    mark = yaml.Mark("", 0, 0, 0, None, None)
    if isinstance(value, dict):
        pairs = [(node_of(str(key)), node_of(item)) for key, item in value.items()]
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, mark, mark)
    if isinstance(value, list):
        return yaml.SequenceNode("tag:yaml.org,2002:seq", [node_of(item) for item in value], mark, mark)
    text = {True: "true", False: "false", None: ""}[value] if isinstance(value, (bool, type(None))) else str(value)
    kind = {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}[type(value)]
    return yaml.ScalarNode(f"tag:yaml.org,2002:{kind}", text, mark, mark, style='"' if value == "" else None)


def mutations(content):
    """The content with one value missing, unknown or of another type, and where."""

    def inside(value, where):
        keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if isinstance(value, dict):
            value["unknown_key"] = 1
            yield where + ("unknown_key",)
            del value["unknown_key"]
        for key in keys:
            kept = value[key]
            for other in OTHERS:
                value[key] = copy.copy(other)
                yield where + (key, repr(other))
            value[key] = kept
            yield from inside(kept, where + (key,))
        for key in keys if isinstance(value, dict) else ():
            kept = dict(value)
            del value[key]
            yield where + (key, "missing")
            value.clear()
            value.update(kept)

    changed = copy.deepcopy(content)
    for where in inside(changed, ()):
        yield changed, where


def test_the_file_is_made_of_the_tables_of_the_reader(schema):
    assert as_text(signature_schema()) == text_of("signature"), "run python -m tools.make_schemas"
    Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("name", ["crnn", "ctpn", "ocr"])
def test_the_files_of_the_built_in_models_fit(folder, name):
    assert misfits("signature", loaded((signature_folder() / f"{name}.yaml").read_text(encoding="utf-8"))) == []
    assert load_model(name, {"charset": str(folder / "characters.txt")}).signatures


@pytest.mark.parametrize("name", [*WHOLE, *OF_TESTS])
def test_files_that_the_reader_accepts_fit(folder, name):
    content = loaded({**WHOLE, **OF_TESTS}[name])
    assert problems_of(content, folder) == []
    assert misfits("signature", content) == []


@pytest.mark.parametrize("name", list(WHOLE))
def test_the_schema_and_the_reader_refuse_the_same(folder, name):
    """But for what a schema can't say; the docstring of tools/schemas/signature.py lists it."""
    fits = validator("signature").is_valid
    differences, counts = [], {True: 0, False: 0}
    for changed, where in mutations(loaded(WHOLE[name])):
        problems, does_fit = problems_of(changed, folder), fits(changed)
        sayable = [one for one in problems if not NOT_SAYABLE.search(one)]
        sayable = [] if where[0] == "options" and len(where) > 2 else sayable  # values that steps refuse
        counts[does_fit] += 1
        if not does_fit and not problems:
            differences.append(f"{where}: only the schema refuses it: {misfits('signature', changed)}")
        if sayable and does_fit:
            differences.append(f"{where}: only the reader refuses it: {sayable}")
    assert differences == []
    assert min(counts.values()) > 20  # both happens


def test_the_corpus_has_every_option_of_every_step():
    used = {}

    def look(value):
        if isinstance(value, dict):
            for key, item in value.items():
                used.setdefault(key, set()).update(item if isinstance(item, dict) else ())
                look(item)
        for item in value if isinstance(value, list) else ():
            look(item)

    for text in WHOLE.values():
        look(loaded(text))
    for kinds in (BEFORE, BEFORE_LINES, AFTER):
        for name, kind in kinds.items():
            assert name in used and set(kind.values) <= used[name], name


def test_a_new_step_is_in_the_schema(monkeypatch, folder):
    """And the file has to be made again; an option without a description can't be written."""
    kind = StepKind(Failed, "A new step.", {"height": OptionValue(made.BEFORE["resize"].values["height"].kind, "…")})
    monkeypatch.setitem(AFTER, "new_step", kind)
    assert "new_step" in as_text(signature_schema()) and as_text(signature_schema()) != text_of("signature")
    with pytest.raises(TypeError):
        OptionValue(kind.values["height"].kind)


def test_every_key_has_a_description(schema):
    missing = []

    def look(value, where):
        for key, item in value.get("properties", {}).items() if isinstance(value, dict) else ():
            if isinstance(item, dict) and not item.get("description") and "definitions" in where[:1]:
                missing.append(where + (key,))
        for key, item in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            if key not in ("if", "then", "else", "allOf", "dependencies"):
                look(item, where + (key,))

    look({"definitions": schema["definitions"], "properties": schema["properties"]}, ())
    assert missing == []


@pytest.mark.parametrize("value", [0, 2**63 - 1, 2**63])
def test_the_largest_size(folder, value):
    content = loaded(WHOLE["function"])
    content["signatures"]["serving_default"]["inputs"]["image"]["shape"] = [value]
    assert bool(misfits("signature", content)) == bool(problems_of(content, folder)) == (value == 2**63)
