"""Schemas: published ones that written files must fit, and those of the package itself."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import yaml
from jsonschema import Draft7Validator

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


def misfits(name, content):
    """What a schema has against a value, with its places."""
    return [f"{'.'.join(map(str, one.path))}: {one.message}" for one in validator(name).iter_errors(content)]
