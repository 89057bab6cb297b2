"""Properties of the reader of signature files."""

from __future__ import annotations

import math
from pathlib import Path

import yaml

from ckpt2saved.errors import SignatureError, UsageError
from ckpt2saved.signature.file import parse_model
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.yaml_nodes import NotYaml, check_aliases, compose, parse_scalar
from tests.support.properties import example, given, st

PIECES = st.one_of(
    st.sampled_from(
        "&a *a !!str !!binary !!python/name:os.system ! !<x> << ? : - , [ ] { } | > |2 >- ' \" # % %YAML --- ... ~ null "
        "true 1:30 010 0x1F .inf format signatures graph".split()
        + [" ", "\n", "\n  ", "\n- ", ": ", "\t", "\\x41", "\\ud800", "\u0085", "\u2028", "\ufeff"]
    ),
    st.text(max_size=3),
)


@given(st.lists(PIECES, max_size=20).map("".join))
@example("%YAML 9.9\n---\na")
@example('"\\ud800": 1')
@example("!<!> a")
@example("&a [*a]")
@example("? [a]\n: b")
def test_any_text_is_a_model_or_an_error(text):
    """With the file's name; never an error of the YAML reader."""
    try:
        assert isinstance(parse_model(text, Path("mine.yaml")), ServedModel)
    except (SignatureError, UsageError) as error:
        assert str(error).startswith("mine.yaml") and len(str(error)) < 30000


VALUES = st.recursive(
    st.one_of(st.text(max_size=6), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=12,
)


@given(VALUES)
def test_within_the_limits_nothing_is_lost(value):
    """The nodes are those that PyYAML makes of the text; a merge key is refused."""
    text = yaml.safe_dump(value, allow_unicode=True)
    root, refused = compose(text)
    check_aliases(root)
    loader = yaml.SafeLoader("")
    assert refused == [] and loader.construct_document(root) == yaml.safe_load(text)


@given(st.text(max_size=12))
@example("1e3")
@example("0b11")
@example("!!str x")
def test_any_text_is_a_value_or_refused(text):
    """As PyYAML reads a number or a truth value; all else is the text itself."""
    try:
        value = parse_scalar(text)
    except ValueError as error:
        assert "base 60" in str(error) or "base 8" in str(error) or "could not convert" in str(error), text
        return
    if isinstance(value, str):
        assert value == text or (text.strip()[0] in "'\"" and value == text.strip()[1:-1])
    else:
        loaded = yaml.safe_load(text.strip())
        assert loaded == value or (math.isnan(loaded) and math.isnan(value))


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()))
def test_values_survive_the_command_line(value):
    text = yaml.safe_dump(value).split("\n")[0]
    assert parse_scalar(text) == value and type(parse_scalar(text)) is type(value)


@given(st.binary(max_size=30))
def test_bytes_are_text_or_refused(content):
    """Control characters that YAML does not have."""
    try:
        compose(content.decode("latin-1"))
    except NotYaml as error:
        assert len(str(error)) < 1000
