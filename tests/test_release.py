"""tools/release.py: what it refuses, and the message of the tag. The whole of it takes minutes: run it."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from tools import release

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = """# Changelog

## [Unreleased]

## [1.2.0] - 2026-01-31

### Added

- A thing.

## [1.1.0] - 2026-01-01

- Another.
"""


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=str(folder), check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "ckpt2saved").mkdir()
    (tmp_path / "ckpt2saved" / "__init__.py").write_text('"""A package."""\n\n__version__ = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "all")
    return tmp_path


def commit(root, old, new, file="CHANGELOG.md"):
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))
    git(root, "commit", "--quiet", "--all", "--message", "more")


def test_nothing_is_refused_where_all_is_well(root):
    assert release.refusals(root) == []


def test_a_tree_with_changes(root):
    (root / "new.txt").write_text("")
    assert release.refusals(root) == ["the working tree has changes: new.txt"]


def test_a_version_without_changes(root):
    commit(root, "1.2.0", "1.3.0", "ckpt2saved/__init__.py")
    (reason,) = release.refusals(root)
    assert reason == "CHANGELOG.md has no section 1.3.0, the version of ckpt2saved/__init__.py"


def test_a_version_without_a_date(root):
    commit(root, " - 2026-01-31", "")
    assert release.refusals(root) == ["CHANGELOG.md: '1.2.0' is not 'VERSION - YEAR-MONTH-DAY'"]


def test_entries_of_no_release(root):
    commit(root, "## [Unreleased]\n", "## [Unreleased]\n\n### Fixed\n\n- A mistake.\n")
    assert release.refusals(root) == ["CHANGELOG.md has entries under Unreleased; move them to 1.2.0"]
    commit(root, "- A mistake.\n", "")
    assert release.refusals(root) == []


def test_a_tag_that_is_there(root):
    git(root, "tag", "v1.2.0")
    (root / "new.txt").write_text("")
    dirty, tagged = release.refusals(root)
    assert "new.txt" in dirty and tagged.startswith("the tag v1.2.0 is there already")


def test_the_message_of_the_tag(root):
    """Git keeps all of it."""
    (root / "message").write_text(release.tag_message("1.2.0", release.changes_of(root)["1.2.0"]))
    git(root, "tag", "--annotate", "v1.2.0", "--file", "message")
    shown = ["git", "tag", "--list", "v1.2.0", "--format=%(contents)"]
    text = subprocess.run(shown, cwd=str(root), stdout=subprocess.PIPE, check=True).stdout.decode()
    assert text.strip() == "ckpt2saved 1.2.0\n\nAdded:\n\n- A thing."


def test_the_changelog_of_this_repository():
    """The version has a section, and every section has entries by kind."""
    changes = release.changes_of(ROOT)
    assert release.version_of(ROOT) in changes and "Unreleased" in changes
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for one in changes.values():
        found = [line[4:] for line in one.text.splitlines() if line.startswith("### ")]
        assert set(found) <= kinds and len(set(found)) == len(found), one.heading


def test_the_unpacked_sources_have_no_package(tmp_path):
    inside = tmp_path / "in" / "ckpt2saved-1.2.0"
    for name in ("ckpt2saved", "ckpt2saved.egg-info", "signatures", "tests"):
        (inside / name).mkdir(parents=True)
    with tarfile.open(str(tmp_path / "a.tar.gz"), "w:gz") as archive:
        archive.add(str(inside), inside.name)
    sources = release.unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert [path.name for path in sources.iterdir()] == ["tests"]


def test_the_plain_tests_are_there():
    for path in release.PLAIN_TESTS:
        assert (ROOT / path).exists(), path
