"""The command `schema`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from jsonschema import Draft7Validator

from ckpt2saved.cli.schemas import names, text_of
from ckpt2saved.errors.codes import CODES
from ckpt2saved.versions import PROVENANCE, bump_version, read_provenance
from tests.support.command_line import python
from tests.support.schemas import misfits, misfits_of_output
from tools.make_schemas import as_text, schemas


def test_each_schema_is_listed_with_a_sentence(run):
    lines = run("schema").output.splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert all(line.split(None, 1)[1].endswith(".") for line in lines)
    listed = json.loads(run("schema", "--json").output)["schemas"]
    assert [(one["name"], one["title"]) for one in listed] == [tuple(line.split(None, 1)) for line in lines]


@pytest.mark.parametrize("name", names())
def test_a_schema_is_printed(run, name):
    text = run("schema", name).output
    content = json.loads(text)
    assert content["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(content)
    assert '"enum": []' not in text  # which yaml-language-server refuses, and with it the whole schema


def test_the_files_are_those_that_are_made():
    assert sorted(schemas()) == names()
    different = [name for name, schema in schemas().items() if as_text(schema) != text_of(name)]
    assert different == [], "run python -m tools.make_schemas"


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


def commands_with_json(group, prefix=""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_with_json(command, f"{name}-")
        elif any(parameter.name == "as_json" for parameter in command.params):
            yield prefix + name


def test_each_command_with_json_has_a_schema():
    from ckpt2saved.cli import main

    commands = set(commands_with_json(main)) - {"evaluate"} | {"evaluate-lines", "evaluate-pages"}
    assert commands | {"error", "provenance", "signature"} == set(names())


@pytest.mark.parametrize("name", sorted(set(names()) - {"signature"}))
def test_every_key_has_a_description(name):
    """Its own, or that of the definition that it refers to."""
    schema = json.loads(text_of(name))
    missing = []

    def look(value, where):
        for key, item in value.get("properties", {}).items():
            reference = item.get("$ref", "").rpartition("/")[2]
            if not item.get("description") and not schema["definitions"].get(reference, {}).get("description"):
                missing.append(where + (key,))
        for key, item in value.items():
            for position, one in enumerate(item if isinstance(item, list) else [item]):
                if isinstance(one, dict):
                    look(one, where + (key, position))

    look(schema, ())
    assert missing == []


@pytest.mark.parametrize("name", sorted(set(names()) - {"signature", "provenance"}))
def test_the_codes_are_those_of_problems(name):
    assert json.loads(text_of(name))["definitions"]["code"]["enum"] == sorted(CODES)


EVENT = {"event": "vanished", "checkpoint": "runs/model.ckpt-7", "format": 1}


def test_each_event_of_a_watch_has_keys_of_its_own():
    assert misfits("watch", EVENT) == misfits("watch", {**EVENT, "added": 1}) == misfits("watch", FAILED) == []
    assert misfits("watch", {**EVENT, "event": "nonsense"}) != []
    assert misfits("watch", {**EVENT, "event": "skipped"}) != []  # without its reason
    assert misfits("watch", {**EVENT, "event": "skipped", "reason": "newer"}) == []


DELETED = {"deleted": ["models/1"], "dry_run": False, "format": 1}
FAILED = {"error": {"message": "no", "exit_code": 1}, "problems": [], "problem_details": [], "format": 1}


def test_keys_may_be_added_and_not_left_out():
    for content in (DELETED, FAILED):
        assert misfits("prune", content) == []
        assert misfits("prune", {**content, "added": 1}) == []
        for key in content:
            assert misfits("prune", {name: value for name, value in content.items() if name != key}) != [], key
    assert misfits("error", FAILED) == [] != misfits("error", DELETED)


@pytest.mark.parametrize(
    "content",
    [
        {**DELETED, "undocumented": 1},
        {**DELETED, "deleted": [1]},
        {**DELETED, "dry_run": None},
        {**DELETED, "format": 2},
        {**FAILED, "problem_details": [{"code": "nonsense", "where": "", "text": "", "remedy": ""}]},
        {**DELETED, "deleted": float("nan")},
    ],
)
def test_the_outputs_of_commands_in_tests_are_held_to_the_schemas(content):
    """Keys without a description included; tests/conftest.py compares every output with misfits_of_output."""
    assert misfits_of_output("prune", DELETED) == misfits_of_output("prune", FAILED) == []
    assert misfits_of_output("prune", content) != []


@pytest.mark.parametrize("origin", [1, "other/1"])
def test_the_provenance_of_bump_version_fits(exported_crnn, tmp_path, origin):
    """Of a version of export, and of a SavedModel of another tool."""
    base = tmp_path / "base"
    shutil.copytree(str(exported_crnn), str(base / "1"))
    shutil.copytree(str(exported_crnn), str(tmp_path / "other" / "1"))
    (tmp_path / "other" / "1" / PROVENANCE).unlink()
    published = bump_version(base, origin if origin == 1 else tmp_path / origin)
    content = read_provenance(published.path)
    assert misfits_of_output("provenance", content) == []
    assert len(content) == 3 if origin != 1 else content["checkpoint"]["step"] == 7


def test_a_schema_can_be_used_by_check_jsonschema(run, exported_crnn, tmp_path):
    """As docs/json.md has it for CI."""
    pytest.importorskip("check_jsonschema")
    (tmp_path / "list.schema.json").write_text(run("schema", "list").output, encoding="utf-8")
    (tmp_path / "list.json").write_text(run("list", exported_crnn.parent, "--json").output, encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", "list.schema.json", "list.json"]
    done = subprocess.run(command, cwd=str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
