"""Schemas: published ones that written files must fit, and those of the package itself."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from ckpt2saved.cli.schemas import text_of


def against_schema(name, path):
    """What a schema that check-jsonschema comes with has against a file; "" if nothing."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor." + name, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.decode() if done.returncode else ""


class _Loader(yaml.SafeLoader):
    """Takes bytes and dates as text, as the YAML 1.2 of editors."""


for _kind in ("binary", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", lambda loader, node: loader.construct_scalar(node))


def as_an_editor_reads(root):
    """The value of a YAML node that an editor checks; all keys are text."""

    def with_text_keys(value):
        if isinstance(value, dict):
            return {key if isinstance(key, str) else str(key): with_text_keys(item) for key, item in value.items()}
        return [with_text_keys(item) for item in value] if isinstance(value, list) else value

    loader = _Loader("")
    try:
        return with_text_keys(loader.construct_document(root))
    finally:
        loader.dispose()


@functools.lru_cache(maxsize=None)
def validator(name):
    """What checks a value against one of the package's schemas."""
    return Draft7Validator(json.loads(text_of(name)))


@functools.lru_cache(maxsize=None)
def strict_validator(name):
    """The same for a schema that allows no keys but those that it describes."""
    return Draft7Validator(_closed(json.loads(text_of(name))))


def _closed(schema):
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


def misfits(name, content):
    """What a schema has against a value, with its places."""
    return _texts(validator(name), content)


def _texts(checks, content):
    """The errors, each with its place; where one of several schemas would do, the one that is nearest."""
    found = [best_match([error]) for error in checks.iter_errors(content)]
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:500]}" for error in found]


def misfits_of_output(command, content):
    """What the schema of a command has against the content that it prints with --json, undocumented keys included."""
    name = command.replace(" ", "-")
    if name == "evaluate":
        name = "evaluate-pages" if "pages" in content else "evaluate-lines"
    try:
        printed = json.loads(json.dumps(content, allow_nan=False))
    except ValueError as error:
        return [f"{name}: this is not JSON: {error}"]
    return [f"{name}: {text}" for text in _texts(strict_validator(name), printed)]
