"""The command line: quick to explain itself, exact about what is wrong with it."""

from __future__ import annotations

import errno
import json
import os
import re

import pytest

from ckpt2saved.cli import main
from ckpt2saved.console.interrupts import Interrupts, interrupt
from ckpt2saved.versions import deletion
from tests.support.command_line import ROOT, call, python
from tests.support.versions import version_of

COMMANDS = [
    "bench",
    "diff",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "bump-version",
    "inspect",
    "list",
    "predict",
    "prune",
    "schema",
    "serving-config",
    "sync",
    "verify",
    "watch",
]
# Modules of folders that also hold modules with TensorFlow; commands import these before they need it.
PLAIN_MODULES = [
    "checkpoint.files",
    "exporting.plan",
    "exporting.watching",
    "exporting.export_process",
    "inspection.subject",
    "inspection.signature_path",
    "verification.live",
]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["bench", "ctc", "--help"], ["bench", "served", "--help"]]
    + [[command, "--help"] for command in COMMANDS],
)
def test_help_needs_no_tensorflow(arguments):
    """Every --help in a process of its own, and TensorFlow nowhere in it."""
    code = (
        "import sys\n"
        "from ckpt2saved.cli import main\n"
        "try: main({!r}, 'ckpt2saved')\n"
        "except SystemExit as done: assert done.code == 0\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'numpy', 'rich', 'yaml')]\n"
    )
    done = python(code.format(arguments))
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("Usage: ckpt2saved")


def test_list_needs_no_numpy(exported_crnn):
    """It takes longer to import than everything else, and the checksums of a version's index are of little data."""
    code = (
        "import sys\n"
        "from ckpt2saved.cli import main\n"
        "main(['list', sys.argv[1]], 'ckpt2saved', standalone_mode=False)\n"
        "assert 'numpy' not in sys.modules\n"
    )
    done = python(f"import sys; sys.argv[1:] = [{str(exported_crnn.parent)!r}]\n" + code)
    assert done.returncode == 0 and "complete" in done.stdout, done.stdout


def test_folders_without_tensorflow_import_without_it():
    """All their modules in one process, as the table of docs/development/architecture.md says, and what commands import before TensorFlow."""
    table = (ROOT / "docs" / "development" / "architecture.md").read_text(encoding="utf-8")
    plain = re.findall(r"^\| `(\w+)/` \| .* \| no \|$", table, re.M)
    assert len(plain) > 5
    paths = [path for folder in plain for path in sorted((ROOT / "ckpt2saved" / folder).rglob("*.py"))]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).replace(".__init__", "") for path in paths]
    modules += ["ckpt2saved." + module for module in PLAIN_MODULES]
    code = "import importlib, sys\nsys.modules['tensorflow'] = None\nfor name in {!r}: importlib.import_module(name)"
    done = python(code.format(modules))
    assert done.returncode == 0, done.stdout


def test_one_module_imports_tensorflow():
    """Everybody else takes it from there."""
    importers = [
        path.name
        for path in (ROOT / "ckpt2saved").rglob("*.py")
        if "import tensorflow" in path.read_text(encoding="utf-8")
        or "from tensorflow" in path.read_text(encoding="utf-8")
    ]
    assert importers == ["tf1.py"]


def test_every_command_is_known_to_these_tests_and_to_the_readme():
    """Help, tests and README name the same commands."""
    from ckpt2saved.cli import main

    assert sorted(main.commands) == sorted(COMMANDS)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if "ckpt2saved " + command not in readme] == []


def test_without_tensorflow_export_says_which_line_installs_it(tmp_path):
    """The rest of the checks come first: they cost milliseconds."""
    (tmp_path / "m.index").write_bytes(bytes(40) + bytes.fromhex("57fb808b247547db"))
    (tmp_path / "m.data-00000-of-00001").write_bytes(b"data")
    done = call("export", "-m", "crnn", "-c", tmp_path / "m", "-o", tmp_path / "models")
    assert done.returncode == 1
    assert "pip install 'ckpt2saved[cpu]'" in done.stdout and "Traceback" not in done.stdout
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["export"], 2, "Missing option '--export-dir'"),
        (["export", "-m", "crnn", "-o", "y"], 2, "Missing option '--checkpoint'"),
        (
            ["export", "-c", "x", "-o", "y"],
            2,
            "--input: missing; pass --input NAME=TENSOR for each tensor that a request feeds",
        ),
        (["export", "-m", "crn", "-c", "x", "-o", "y"], 2, "there is no built-in model 'crn', did you mean crnn?"),
        (["export", "-m", "no.yaml", "-c", "x", "-o", "y"], 2, "--model: there is no signature file no.yaml"),
        (["export", "-m", "crnn", "-c", "x", "-o", "y", "--weights", "best"], 2, "'best' is not one of"),
        (["export", "-m", "crnn", "-c", "x", "-o", "y", "--version", "0"], 2, "0 is not in the range x>=1"),
        (["export", "-m", "crnn", "-c", "", "-o", "y"], 2, "an empty path"),
        (["export", "-m", "crnn", "-c", "nowhere", "-o", "y"], 1, "nowhere: no such checkpoint"),
        (["export", "-m", "crnn", "-c", "x", "-o", "s3:/bucket/m"], 1, "s3:/bucket/m: not a local directory"),
        (
            ["export", "-m", "crnn", "-c", "x", "-o", "s3://key:x@bucket/m"],
            1,
            "s3://...@bucket/m: there are credentials",
        ),
        (["export", "-m", "crnn", "-c", "x", "-o", "y", "--single-writer"], 2, "--single-writer: only with a base"),
        (["list", "https://host/m"], 1, "https://host/m: not a URL of an object store; expected one such as s3://"),
        (
            ["watch", "x", "-m", "crnn", "-o", "s3://bucket/m"],
            2,
            "watch publishes into a directory of this machine only",
        ),
        (["inspect", "nowhere"], 1, "nowhere: no such checkpoint"),
        (["inspect", "x", "--write-signature", "x.json"], 2, "x.json does not end in .yaml"),
        (["inspect", "x", "--write-signature", "no/x.yaml"], 2, "there is no directory no"),
        (["prune", "nowhere", "--keep", "0"], 2, "0 is not in the range x>=1"),
        (["prune", "nowhere"], 1, "nowhere"),
        (["list", "nowhere"], 1, "nowhere"),
        (["bump-version", "nowhere"], 1, "nowhere"),
        (["verify", "nowhere"], 1, "nowhere: there is no such directory; expected a version"),
        (["verify", "nowhere", "--server", "host:8501"], 2, "'host:8501' is not a server address"),
        (["serving-config", "nowhere", "-o", "x"], 1, "nowhere: there is no such directory"),
        (["serving-config", "nowhere", "-o", "x", "--serving", "latest"], 2, "'latest' is no release"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(tmp_path, arguments, code, message):
    """Exit 2 for the command line, 1 for the world; never a traceback, and nothing is made."""
    done = call(*arguments, cwd=str(tmp_path))
    assert done.returncode == code, done.stdout
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ["1234567890", "9" * 5000])
@pytest.mark.parametrize("option", ["--input", "--output", "--decode", "--sequence-length"])
def test_the_number_of_an_output_has_at_most_nine_digits(tmp_path, option, number):
    """TensorFlow's number of an output is an int32, and Python reads no number of 5000 digits."""
    given = {"--input": "images", "--decode": "logits", option: "logits:" + number}
    done = call("export", "-c", "x", "-o", "y", *[word for pair in given.items() for word in pair])
    assert done.returncode == 2, done.stdout
    assert f"Invalid value for '{option}': 'logits:{number}' is not" in done.stdout


def test_bump_version_prints_the_published_directory(tmp_path):
    """Roll back to 1, which becomes 4; then see what would come next."""
    for number in (1, 3):
        version_of(tmp_path, number)
    done = call("bump-version", tmp_path, "--from", "1")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / '4'}\n")
    done = call("bump_version", tmp_path, "--dry_run")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / '5'}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3", "4"]
    content = json.loads(call("bump-version", tmp_path, "--from", "1", "--version", "9", "--json").stdout)
    assert content == {"path": str(tmp_path / "9"), "version": 9, "from": 1, "dry_run": False, "format": 1}


def test_an_error_is_json_too(tmp_path):
    """On stdout; a wrong command line that Click finds has its message alone."""
    done = call("bump-version", tmp_path, "--json")
    assert done.returncode == 1
    printed, _, said = done.stdout.partition("Error: ")
    content = json.loads(printed)
    assert content == {
        "error": {"message": said.rstrip("\n"), "exit_code": 1},
        "problems": [],
        "problem_details": [],
        "format": 1,
    }
    assert "{" not in call("bump-version", tmp_path, "--json", "--from", "x", "--nowhere").stdout


def test_list_shows_origin_size_and_health(tmp_path):
    """A table for people, JSON for programs; an empty base is no error."""
    assert "no versions yet" in call("list", tmp_path).stdout
    version_of(tmp_path, 1)
    call("bump-version", tmp_path)
    (version_of(tmp_path, 3) / "saved_model.pb").unlink()
    lines = [line.strip() for line in call("list", tmp_path).stdout.splitlines() if line.strip()]
    assert lines[0].split() == ["version", "from", "size", "published", "(UTC)", "health"]
    assert lines[2].startswith("3   elsewhere") and "saved_model.pb" in lines[2]
    assert lines[3].startswith("2   republished from 1") and lines[3].endswith("complete")
    assert lines[4].startswith("1   elsewhere") and lines[4].endswith("complete")
    content = json.loads(call("list", tmp_path, "--json").stdout)
    assert content["format"] == 1
    assert [version["version"] for version in content["versions"]] == [3, 2, 1]
    assert [bool(version["problems"]) for version in content["versions"]] == [True, False, False]
    assert content["versions"][1]["republished_from"] == 1


def test_a_command_in_a_notebook_does_not_need_the_modules_of_its_kernel():
    """`!ckpt2saved` inherits the name of the kernel's backend of matplotlib, which Keras imports."""
    pytest.importorskip("matplotlib")
    code = (
        "import os\n"
        "os.environ['MPLBACKEND'] = 'module://matplotlib_inline.backend_inline'\n"
        "from ckpt2saved.cli.invocation import prepare_tensorflow\n"
        "prepare_tensorflow(gpu=False)\n"
        "import matplotlib.pyplot\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stdout


def test_the_last_garbage_collection_of_a_process_with_tensorflow_is_left_out():
    """It takes 0.7 s and frees nothing that matters; what TensorFlow itself does at the end comes before."""
    code = (
        "import atexit, gc\n"
        "from ckpt2saved.cli.invocation import prepare_tensorflow\n"
        "atexit.register(lambda: print('then', gc.get_freeze_count() > 1000))\n"
        "prepare_tensorflow(gpu=False)\n"
        "prepare_tensorflow(gpu=False)\n"
        "atexit.register(lambda: print('first', gc.get_freeze_count()))\n"
    )
    done = python(code)
    assert done.stdout.split("\n")[:2] == ["first 0", "then True"], done.stdout


def test_list_of_the_directory_of_all_models_names_them(tmp_path):
    """A base directory is expected; it is one level below."""
    version_of(tmp_path / "models" / "my model", 1)
    (tmp_path / "models" / "empty").mkdir()
    said = call("list", "models", cwd=str(tmp_path)).stdout
    assert said == "models: no versions yet; it holds models: pass 'models/my model'\n"
    assert call("list", "models/empty", cwd=str(tmp_path)).stdout == "models/empty: no versions yet\n"


def test_prune_prints_what_is_gone(tmp_path):
    """The newest stay; --dry-run only says."""
    for number in (1, 2, 3):
        version_of(tmp_path, number)
    assert call("prune", tmp_path, "--keep", "1", "--dry-run").stdout.split() == [str(tmp_path / n) for n in "21"]
    assert call("prune", tmp_path).stdout == ""  # five are kept by default
    done = call("prune", tmp_path, "--keep", "2", "--json")
    assert json.loads(done.stdout) == {"deleted": [str(tmp_path / "1")], "dry_run": False, "format": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_what_prune_could_delete_is_printed_before_the_failure(tmp_path, monkeypatch, capsys):
    """On stdout, with all problems on stderr; --json has both."""
    for number in (1, 2, 3, 4):
        version_of(tmp_path, number)
    real = deletion.open_directory

    def refused(path):
        if path.name == "2":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(deletion, "open_directory", refused)
    with pytest.raises(SystemExit) as ended:
        main(["prune", str(tmp_path), "--keep", "2"])
    out, err = capsys.readouterr()
    found = (
        f"2: Permission denied ({tmp_path / '2'}); run as a user with the required rights, or grant them to this user"
    )
    assert (ended.value.code, out) == (1, f"{tmp_path / '1'}\n")
    assert err == (
        f"Error: {tmp_path}: an old version could not be deleted, 1 could\n  - {found}\n"
        "More: ckpt2saved explain not-deleted\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(["prune", str(tmp_path), "--keep", "1", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content["deleted"] == [str(tmp_path / "3")] and content["problems"] == [found]
    assert ended.value.code == content["error"]["exit_code"] == 1


def test_a_signal_whose_exception_was_lost_still_ends_the_work(monkeypatch):
    """Python drops what is raised in a callback of weakref: the next thing that is said notices."""
    from rich.console import Console

    from ckpt2saved.cli import invocation
    from ckpt2saved.console.narration import Narration

    said = []
    monkeypatch.setattr(invocation, "_interrupts", Interrupts(interrupt))
    say = invocation.UntilInterrupted(Narration(Console(quiet=True), "", None, lambda step, text: said.append(step)))
    say("graph", "")
    with pytest.raises(KeyboardInterrupt):
        invocation._interrupts(2, None)
    with pytest.raises(KeyboardInterrupt):
        say("written", "")
    assert said == ["graph"]


@pytest.mark.parametrize("is_interrupted", [True, False])
def test_a_signal_during_a_function_of_c(monkeypatch, is_interrupted):
    """Python makes a SystemError of it, which without a signal is a bug and keeps its traceback."""
    from click.testing import CliRunner

    from ckpt2saved.cli import invocation

    monkeypatch.setattr(invocation, "_interrupts", Interrupts(interrupt))

    @invocation.command("work")
    def work():
        try:
            if is_interrupted:
                invocation._interrupts(2, None)
            raise KeyError
        except (KeyboardInterrupt, KeyError) as error:
            raise SystemError("<built-in function IsSequence> returned a result with an error set") from error

    result = CliRunner().invoke(work, [])
    assert ("Aborted!" in result.output) is is_interrupted and result.exit_code == 1
    assert isinstance(result.exception, SystemExit if is_interrupted else SystemError)
