"""The functions of `import ckpt2saved`: their options, what importing them does, and what they return."""

from __future__ import annotations

import inspect
import json
import re
import shutil
from pathlib import Path

import click
import pytest

import ckpt2saved
from ckpt2saved.cli import main
from ckpt2saved.errors import UsageError
from ckpt2saved.graph.tf1 import tf
from tests.support.command_line import python
from tests.support.readers import picture_of, write_lines, write_reader

# What a command has for its printed result and its loop, and a function for a program.
OF_COMMANDS = {"as_json", "drawing", "from_stdin", "interval", "listen", "once", "quiet", "report", "until_ready"}
OF_FUNCTIONS = {"progress"}


def test_importing_it_changes_nothing():
    """Nothing that is slow is imported, and no state of the process is changed."""
    done = python(
        "import json, logging, os, signal, sys, warnings\n"
        "def state():\n"
        "    root = logging.getLogger()\n"
        "    handlers = [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]\n"
        "    levels = [root.level, len(root.handlers), logging.getLogger('tensorflow').level]\n"
        "    return [dict(os.environ), list(sys.path), handlers, levels, list(map(str, warnings.filters))]\n"
        "before = state()\n"
        "import ckpt2saved\n"
        "ckpt2saved.export, ckpt2saved.verify, ckpt2saved.errors.NotLive\n"
        "slow = {'click', 'numpy', 'rich', 'tensorflow', 'yaml'}\n"
        "print(json.dumps([before == state(), sorted(slow & set(sys.modules))]))\n"
    )
    assert json.loads(done.stdout) == [True, []], done.stdout


def test_its_types_can_be_read():
    """The annotations name things that exist."""
    for name in ckpt2saved.__all__:
        assert getattr(ckpt2saved, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'exports'"):
        ckpt2saved.exports  # noqa: B018


@pytest.mark.parametrize(
    "name", ["export", "bump-version", "diff", "list", "prune", "sync", "inspect", "verify", "evaluate", "predict"]
)
def test_a_function_has_the_options_of_its_command(name, monkeypatch):
    """The same names and defaults, so that what is known of the one holds for the other."""
    monkeypatch.delenv("CKPT2SAVED_WITH_ONEDNN")  # of the tests
    command = main.commands[name]
    function = getattr(ckpt2saved, {"list": "list_versions"}.get(name, name.replace("-", "_")))
    parameters = inspect.signature(function).parameters
    options = {one.name: one for one in command.params}
    assert set(parameters) - OF_FUNCTIONS == set(options) - OF_COMMANDS
    given = {"export": ["--export-dir", "x"], "diff": ["x", "y"], "sync": ["x", "y"]}.get(name, ["x"])
    values = command.make_context(name, given).params
    for key in set(options) - OF_COMMANDS:
        default = parameters[key].default
        if not (options[key].required or default is inspect.Parameter.empty):
            assert default == values[key] or not (len(default) or values[key]), key
            assert type(default) is type(values[key]) or not isinstance(default, bool), key


def impossible(option):
    """A value that the command line refuses for an option; None if it takes all."""
    kind = option.type
    if isinstance(kind, click.Choice):
        return "nonsense"
    return kind.min - 1 if isinstance(kind, (click.IntRange, click.FloatRange)) else None


@pytest.mark.parametrize("name", ["export", "bump-version", "prune", "verify", "evaluate", "predict"])
def test_what_a_command_refuses_a_function_refuses(name, version):
    """Numbers out of range and unknown choices, with the name of the option."""
    values = {one.name: (one.opts[0], impossible(one)) for one in main.commands[name].params}
    values = {key: (option, value) for key, (option, value) in values.items() if value is not None}
    given = [version.parent, version.parent] if name in ("export", "predict") else [version.parent]
    assert values
    for key, (option, value) in values.items():
        with pytest.raises(UsageError, match=f"{option} {value}: expected "):
            getattr(ckpt2saved, name.replace("-", "_"))(*given, **{key: value})
    for value in (float("nan"), float("inf")) if "timeout" in values else ():
        with pytest.raises(UsageError, match="--timeout"):
            getattr(ckpt2saved, name.replace("-", "_"))(*given, timeout=value)


def test_the_versions_of_a_model(version, tmp_path):
    """list_versions, bump_version and prune: data, without anything printed or TensorFlow imported."""
    base = version.parent
    steps = []
    bumped = ckpt2saved.bump_version(base, progress=lambda step, text: steps.append((step, text)))
    assert (
        bumped.path == base / "2" and bumped.number == 2 and bumped.source == version and bumped.republished_from == 1
    )
    assert bumped.provenance["model"] == "crnn" and bumped.server is None and bumped.problems == ()
    (base / "v3").mkdir()
    listing = ckpt2saved.list_versions(str(base))
    assert [one.number for one in listing] == [2, 1] and len(listing) == 2 and listing[0].is_complete
    assert [one.path.name for one in listing.ignored] == ["v3"]
    assert [one.path for one in ckpt2saved.prune(base, keep=1, dry_run=True).deleted] == [base / "1"]
    assert ckpt2saved.prune(base, keep=1).deleted[0].number == 1
    assert [one.number for one in ckpt2saved.list_versions(base)] == [2]


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda base: ckpt2saved.bump_version(base, model_name="x"), "--model-name: only with the address of a server"),
        (
            lambda base: ckpt2saved.bump_version(base, wait_for="nowhere"),
            "--wait-for: 'nowhere' is not a server address",
        ),
        (lambda base: ckpt2saved.prune(base, model_name="x"), "--model-name: only with the address of a server"),
        (lambda base: ckpt2saved.export("x", base, tolerance=0.1), "--tolerance: only with --not-worse-than"),
        (lambda base: ckpt2saved.export("x", base, beam_width=3), "--beam-width: only with --decode LOGITS"),
        (lambda base: ckpt2saved.export("x", base, select="newest"), "--select newest: expected best"),
        (lambda base: ckpt2saved.export("x", base, renames={"(": ""}), r"--map: '\(' is not a regular expression"),
        (lambda base: ckpt2saved.export("x", base, inputs={"a": "b:c"}), "'b:c' is not a tensor's name"),
        (lambda base: ckpt2saved.export({"a": "x"}, base, model="crnn"), "--checkpoint: crnn takes one; found one for"),
        (lambda base: ckpt2saved.verify(base, pinned={"a": 1}), "--set: only with --checkpoint"),
        (
            lambda base: ckpt2saved.predict("http://h/v1/models/m", ["a"], gpu=True),
            "--gpu: only with the files of a version",
        ),
        (lambda base: ckpt2saved.evaluate(base), "found neither; expected labelled pictures"),
        (lambda base: ckpt2saved.evaluate(base, lines="a", pages="b"), "found both; expected labelled pictures"),
    ],
)
def test_what_contradicts_itself(version, call, said):
    """The same errors as on a command line, with the options as they are named there."""
    with pytest.raises(UsageError, match=said) as caught:
        call(version.parent)
    assert caught.value.exit_code == 2 and caught.value.version is None


def test_an_export(crnn_checkpoint, tmp_path):
    """What is published, and what is known of it; a dry run; an error names what was published."""
    steps = []
    version = ckpt2saved.export(
        str(crnn_checkpoint), str(tmp_path / "m"), model="crnn", warmup=2, progress=lambda *step: steps.append(step)
    )
    assert version.path == tmp_path / "m" / "1" and version.number == 1 and not version.dry_run
    assert json.loads((version.path / "assets.extra/ckpt2saved.json").read_text()) == dict(version.provenance)
    assert version.server is None and version.problems == () and version.measured is None
    assert [text for step, text in steps if step == "note"] == [note.text for note in version.notes] and version.notes
    assert {"checkpoint", "weights", "parity", "warm-up"} <= {step for step, _ in steps}
    found = ckpt2saved.verify(version.path, checkpoint=crnn_checkpoint)
    assert found.problems == () and found.compared.answers and found.path == version.path
    planned = ckpt2saved.export(
        crnn_checkpoint, tmp_path / "m", model="crnn", parity=False, dry_run=True, wait_for="http://h:1"
    )
    assert planned.path == tmp_path / "m" / "2" and planned.dry_run and not planned.path.exists()
    with pytest.raises(ckpt2saved.errors.NotLive, match="connection refused") as caught:
        ckpt2saved.export(
            crnn_checkpoint, tmp_path / "m", model="crnn", parity=False, wait_for="http://127.0.0.1:1", timeout=0.1
        )
    published = caught.value.version
    assert published.path == tmp_path / "m" / "2" and published.path.is_dir()
    assert published.server.arrival.outcome == "timed out" and published.problems == caught.value.problems
    with pytest.raises(ckpt2saved.errors.CheckpointError) as caught:
        ckpt2saved.export(tmp_path / "nothing", tmp_path / "m", model="crnn")
    assert caught.value.version is None


def test_an_evaluation(tmp_path):
    """The figures and lines of a version; that they are not good enough is a result, and no error."""
    reader = write_reader(tmp_path / "ocr" / "1", {picture_of("kitten"): "sitting", picture_of("ab"): "ab"})
    labels = write_lines(tmp_path, ("kitten", "ab"))
    found = ckpt2saved.evaluate(tmp_path / "ocr", lines=labels, max_cer=0.1)
    assert found.model == str(reader) and found.cer == 3 / 8 and found.wer == 1 / 2
    assert [problem.code for problem in found.problems] == ["cer-over-limit"]
    assert [(one.reference, one.answer, one.edits) for one in found.accuracy.results] == [
        ("kitten", "sitting", 3),
        ("ab", "ab", 0),
    ]
    assert ckpt2saved.evaluate(str(reader), lines=str(labels)).problems == ()


def test_predictions(tmp_path):
    """One for each file, of a directory for each picture: answers, or the problem."""
    reader = write_reader(tmp_path / "ocr" / "1", {picture_of("kitten"): "sitting", picture_of("ab"): "ab"})
    labels = write_lines(tmp_path / "lines", ("kitten", "lost"))
    found = ckpt2saved.predict(tmp_path / "ocr", [labels.parent, tmp_path / "nothing.png"])
    assert found.model == str(reader) and found.signature.name == "text"
    first, second, third = list(found)
    assert first.answers["text"].tolist() == b"sitting" and first.problem is None and first.unread is None
    assert second.unread.code == "unread-picture" and third.problem.code == "unreadable-file"


def test_an_inspection(crnn_checkpoint, tmp_path):
    """The content of a checkpoint as values."""
    found = ckpt2saved.inspect(crnn_checkpoint)
    assert found.checkpoint.step == 7 and found.saved_model is None
    with pytest.raises(ckpt2saved.errors.CheckpointError):
        ckpt2saved.inspect(tmp_path)


def blocks():
    """The blocks of Python in the guide, with whether they need TensorFlow 2."""
    text = (Path(__file__).resolve().parent.parent / "docs" / "python-api.md").read_text(encoding="utf-8")
    found = re.findall(r"(<!-- needs TensorFlow 2 -->\n)?```python\n(.*?)```", text, re.S)
    return [(code, bool(needs)) for needs, code in found]


def test_the_examples_of_the_guide(crnn_checkpoint, tmp_path, monkeypatch, capsys):
    """They run in the order in which they stand there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "crnn").mkdir(parents=True)
    for path in crnn_checkpoint.parent.glob(crnn_checkpoint.name + "*"):
        shutil.copy(str(path), str(tmp_path / "runs" / "crnn"))
    (tmp_path / "charset.txt").write_text("".join(f"{letter}\n" for letter in "abcdefghijkl"))
    for code, needs_2 in blocks():
        if not needs_2 or tf.executing_eagerly():
            exec(compile(code, "docs/python-api.md", "exec"), {})
    said = capsys.readouterr().out
    assert said.startswith("models/crnn/1 1\n") and "published, but not served: models/crnn/3" in said
    assert not tf.executing_eagerly() or said.endswith("[1, 2]\n")
    assert len(blocks()) == 6
