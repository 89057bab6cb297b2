"""The command `schema`."""

from __future__ import annotations

import json

import pytest

from ckpt2saved.cli.schemas import names
from tests.support.command_line import python
from tools.make_schemas import as_text, schemas


def test_each_schema_is_listed_with_a_sentence(run):
    lines = run("schema").output.splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert all(line.split(None, 1)[1].endswith(".") for line in lines)


@pytest.mark.parametrize("name", names())
def test_a_schema_is_printed(run, name):
    content = json.loads(run("schema", name).output)
    assert content["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_the_files_are_those_that_are_made():
    assert sorted(schemas()) == names()
    from ckpt2saved.cli.schemas import text_of

    different = [name for name, schema in schemas().items() if as_text(schema) != text_of(name)]
    assert different == [], "run python tools/make_schemas.py"


def test_another_name_is_refused(run):
    result = run("schema", "signatur")
    assert result.exit_code == 2 and "'signatur' is not the name of a schema; did you mean signature?" in result.output
    assert "expected " in run("schema", "x").output and "signature" in run("schema", "x").output


@pytest.mark.parametrize("arguments", [["schema"], ["schema", "signature"]])
def test_neither_tensorflow_nor_numpy_is_imported(arguments):
    code = (
        "import sys\n"
        "from ckpt2saved.cli import main\n"
        "main({!r}, 'ckpt2saved', standalone_mode=False)\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'numpy', 'rich', 'yaml')]\n"
    )
    done = python(code.format(arguments))
    assert done.returncode == 0 and "signature" in done.stdout, done.stdout
