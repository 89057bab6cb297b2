"""SavedModels of others copied into a base, and turns taken with others who work there; no TensorFlow."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.files.reading import MOST_LEVELS
from ckpt2saved.versions import bump, bump_version, copy_version, deletion, ignored_names, lock, prune_versions
from tests.support.command_line import call
from tests.support.versions import SAVED, make_version, names


@pytest.fixture
def source(tmp_path):
    return Path(shutil.copytree(str(SAVED), str(tmp_path / "source")))


@pytest.fixture
def base(tmp_path):
    return tmp_path / "base"


# --- links --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "{outside}",
        "../secret",
        "assets/../../secret",
        "../source/../secret",
        "{outside}/../secret",
        "link2",
        "inner/up/../secret",
        "/proc/self/environ",
        "/dev/zero",
        "{source}/../secret",
        "nowhere",
        "../nowhere",
    ],
)
def test_a_link_that_leaves_the_source_is_refused(source, base, tmp_path, target):
    """Absolute, relative, through other links and directories; also to what is not there."""
    secret = tmp_path / "secret"
    secret.write_text("root:$6$")
    (source / "assets").mkdir()
    (source / "inner").mkdir()
    (source / "inner" / "up").symlink_to("../..")
    (source / "link2").symlink_to(secret)
    shutil.rmtree(str(source / "inner")) if "inner" not in target else None
    (source / "link2").unlink() if target != "link2" else None
    (source / "extra").symlink_to(target.format(outside=secret, source=source))
    with pytest.raises(VersionError) as caught:
        bump_version(base, source)
    assert "a symbolic link to " in str(caught.value) and str(source) in str(caught.value)
    assert "root:" not in str(caught.value) and not base.exists()


def test_a_link_to_a_directory_outside_is_refused(source, base, tmp_path):
    """With all that is in it."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "key").write_text("secret")
    (source / "assets").symlink_to(tmp_path / "other")
    with pytest.raises(VersionError, match="source/assets: a symbolic link to .*other, which is not in the SavedModel"):
        bump_version(base, source)
    assert not base.exists()


def test_links_inside_are_followed(source, base, tmp_path):
    """As Kubernetes lays volumes out: ..data leads to the directory of the moment, the files lead through it."""
    moment = source / "..2024_05_06"
    moment.mkdir()
    for name in ("saved_model.pb", "variables"):
        (source / name).rename(moment / name)
        (source / name).symlink_to(Path("..data") / name)
    (source / "..data").symlink_to(moment.name)
    (source / "absolute").symlink_to(source / "saved_model.pb")
    (source / "around").symlink_to(Path("..") / "source" / "saved_model.pb")
    (source / "up").symlink_to(Path("variables") / ".." / "saved_model.pb")
    linked = tmp_path / "linked"
    linked.symlink_to(source)
    published = bump_version(base, linked).path
    content = (SAVED / "saved_model.pb").read_bytes()
    for name in ("saved_model.pb", "absolute", "around", "up"):
        assert (published / name).read_bytes() == content and not (published / name).is_symlink()
    assert names(published / "variables") == names(SAVED / "variables")


def test_a_link_that_is_swapped_meanwhile_leads_nowhere_else(source, base, tmp_path):
    """Whatever is there when it is opened, only what lies inside is read."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (source / "good").write_text("good")
    swapped, stop = source / "swapped", threading.Event()

    def swap():
        while not stop.is_set():
            for target in (secret, source / "good"):
                (source / "new").symlink_to(target)
                (source / "new").rename(swapped)
            (source / "file").write_text("good")
            (source / "file").rename(swapped)

    swapped.write_text("good")
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(60):
            target = tmp_path / str(number)
            target.mkdir()
            with contextlib.suppress(VersionError, OSError):  # it was the wrong one, or gone, just then
                copy_version(source, target, link=False)
            for path in target.rglob("*"):
                assert path.is_dir() or path.read_bytes() != b"secret"
    finally:
        stop.set()
        thread.join()


# --- what is no file ----------------------------------------------------------------------------------------------


def make_socket(path):
    here = os.getcwd()
    os.chdir(str(path.parent))  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("name", ["assets.extra/x", "assets.extra/ckpt2saved.json", "saved_model.pb"])
@pytest.mark.parametrize(
    "make, kind",
    [(lambda path: os.mkfifo(str(path)), "a named pipe"), (make_socket, "a socket")],
    ids=["pipe", "socket"],
)
def test_what_is_no_file_is_refused_and_not_waited_for(source, base, name, make, kind):
    """By its name, wherever it is."""
    (source / "assets.extra").mkdir()
    if (source / name).exists():
        (source / name).unlink()
    make(source / name)
    with pytest.raises(VersionError) as caught:
        bump_version(base, source)
    message = str(caught.value)
    assert name in message and (kind in message or "No such device" in message)
    assert not base.exists()


def test_a_name_that_is_no_utf8_is_refused(source, base):
    """TensorFlow's file names are."""
    (source / "assets").mkdir()
    with open(os.fsencode(str(source)) + b"/assets/a\xff", "wb"):
        pass
    with pytest.raises(VersionError, match=r"source/assets/a\\xff: its name is not UTF-8"):
        bump_version(base, source)
    assert not base.exists()


def test_fifteen_hundred_directories_inside_of_each_other(source, base):
    """Of a source, of a version that is there: no command ends in a traceback."""
    code = "import os; os.chdir({!r})\nfor _ in range(1500): os.mkdir('a'); os.chdir('a')"
    subprocess.run([sys.executable, "-c", code.format(str(source))], check=True)
    try:
        with pytest.raises(VersionError, match=f"a: more than {MOST_LEVELS} nested directories"):
            bump_version(base, source)
        with pytest.raises(VersionError, match=f"a: more than {MOST_LEVELS} nested directories"):
            (source.parent / "target").mkdir()
            copy_version(source, source.parent / "target", link=False)
        base.mkdir()
        source.rename(base / "1")
        assert "a: more than 64 nested directories" in call("list", base).stdout
    finally:
        subprocess.run(["rm", "-rf", str(base), str(source)], check=True)  # pytest's own deletion would not end


@pytest.mark.parametrize(
    "content",
    ['{"a":' * 100000, '{"checkpoint": {"name": "\\ud800\\u001b[31mX"}}', "[1]", "x" * (5 << 20)],
    ids=["deep", "surrogate", "list", "large"],
)
def test_a_provenance_of_any_kind_is_listed(source, base, content):
    """In text and in JSON; control characters as escapes."""
    (source / "assets.extra").mkdir()
    (source / "assets.extra" / "ckpt2saved.json").write_text(content)
    base.mkdir()
    source.rename(base / "1")
    for options in ([], ["--json"]):
        done = call("list", base, *options)
        assert done.returncode == 0 and "\x1b[31m" not in done.stdout, done.stdout


# --- taking turns -------------------------------------------------------------------------------------------------

HOLD = """
    import fcntl, os, sys
    descriptor = os.open(sys.argv[1], os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(base):
    """A process that holds the lock of the base, which takes no more than the right to read it."""
    make_version(base, "1")
    command = [sys.executable, "-c", textwrap.dedent(HOLD), str(base)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.stdin.close()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("command", ["bump", "prune"])
def test_a_long_wait_for_the_lock_is_said_and_ends(base, held, monkeypatch, command):
    """By the name of who holds it, as far as the system tells."""
    monkeypatch.setattr(lock, "_QUIET", 0.05)
    monkeypatch.setattr(lock, "LONGEST_WAIT", 0.3)
    said = []
    with pytest.raises(VersionError) as caught:
        if command == "bump":
            bump_version(base, say=lambda step, text: said.append((step, text)))
        else:
            prune_versions(base, 1, say=lambda step, text: said.append((step, text)))
    ((step, text),) = said
    assert step == "lock" and "holds the directory's lock; waiting for it, for up to 0 s" in text
    assert "has held the directory's lock for 0 s" in str(caught.value) and "run again" in str(caught.value)
    if sys.platform == "linux":
        assert f"process {held.pid} (" in text and f"process {held.pid} (" in str(caught.value)
    assert names(base) == ["1"]


@pytest.mark.parametrize("command", [["bump-version"], ["prune", "--keep", "1"]], ids=["bump", "prune"])
def test_a_wait_that_ends_in_time_is_no_error(base, held, monkeypatch, run, command):
    """And is said on stderr."""
    monkeypatch.setattr(lock, "_QUIET", 0.05)
    run(command[0], base, "--dry-run")  # imports what takes a while
    threading.Timer(1, held.stdin.close).start()
    result = run(command[0], base, *command[1:])
    assert result.exit_code == 0
    assert f"lock        {base}: " in result.output and "waiting for it, for up to 120 s" in result.output


def test_prune_holds_the_lock_for_a_rename_at_a_time(base, monkeypatch):
    """Others publish while it deletes."""
    for number in range(1, 5):
        make_version(base, str(number))
    real, published = deletion.remove_tree, []

    def remove_tree(path):
        published.append(bump_version(base).number)
        real(path)

    monkeypatch.setattr(deletion, "remove_tree", remove_tree)
    assert [version.number for version in prune_versions(base, 1)] == [3, 2, 1]
    assert published == [5, 6, 7]
    assert names(base) == ["4", "5", "6", "7"]


def test_a_newest_version_that_is_pruned_meanwhile_is_chosen_anew(base, monkeypatch):
    """By whoever did not ask for one; who asked for it is told."""
    for number in (1, 2, 3):
        make_version(base, str(number))
    real = bump.copy_version

    def copy(source, target, **options):
        if source.name == "3":
            source.rename(base / ".pruned-x")
            shutil.rmtree(str(base / ".pruned-x" / "variables"))
        real(source if source.exists() else base / ".pruned-x", target, **options)

    monkeypatch.setattr(bump, "copy_version", copy)
    published = bump_version(base)
    assert (published.number, published.source.name, published.republished_from) == (3, "2", 2)

    def vanish(source, target, **options):
        shutil.rmtree(str(source))
        real(source, target, **options)

    monkeypatch.setattr(bump, "copy_version", vanish)
    with pytest.raises(VersionError, match="base/2: deleted or replaced while it was read"):
        bump_version(base, 2)
    assert names(base) == ["1", "3"]


# --- list and prune -----------------------------------------------------------------------------------------------


def test_names_that_tf_serving_ignores_are_said(base):
    """What looks like a version, or holds a SavedModel; with the way to publish it."""
    for name in ("1", "v2", "1.0", "export-3", "99999999999999999999"):
        make_version(base, name)
    (base / "2024-05-06").mkdir()
    (base / "logs").mkdir()
    (base / "notes.txt").write_text("")
    make_version(base, ".staging-x")
    reasons = {one.path.name: one.reason for one in ignored_names(base)}
    assert reasons == {
        "v2": "not an integer",
        "1.0": "not an integer",
        "export-3": "not an integer",
        "99999999999999999999": "larger than 9223372036854775807",
        "2024-05-06": "not an integer",
    }
    done = call("list", base)
    line = "{0}/v2: TF Serving ignores it, as its name is not an integer; publish it with ckpt2saved bump-version {0} "
    assert (line + "--from {0}/v2").format(base) in done.stdout
    content = json.loads(call("list", base, "--json").stdout)
    assert {"path": str(base / "1.0"), "reason": "not an integer"} in content["ignored"]


def test_prune_judges_no_more_versions_than_it_keeps(base, monkeypatch):
    """However many are older."""
    for number in range(1, 9):
        make_version(base, str(number))
    real, judged = deletion.health, []

    def health(path, data):
        judged.append(path.name)
        return real(path, data)

    monkeypatch.setattr(deletion, "health", health)
    assert [version.number for version in prune_versions(base, 2, dry_run=True)] == [6, 5, 4, 3, 2, 1]
    assert judged == ["8", "7"]


def test_deep_compares_all_the_data(base, source):
    """Of bump-version and of list."""
    done = call("bump-version", base, "--from", source, "--deep")
    assert done.returncode == 0, done.stdout
    done = call("list", base, "--deep", "--json")
    assert json.loads(done.stdout)["versions"][0]["problems"] == []
    data = base / "1" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(bytes(24))
    done = call("list", base, "--deep", "--json")
    assert "does not match the data of w" in json.loads(done.stdout)["versions"][0]["problems"][0]
