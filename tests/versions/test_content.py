"""The SHA-256 of a version's files."""

from __future__ import annotations

import subprocess

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.versions import PROVENANCE, BumpOptions, bump_version, read_provenance
from ckpt2saved.versions.content import Unchanged, content_sha256, refuse_unchanged
from tests.support.versions import make_version


def test_it_is_that_of_sha256sum(tmp_path):
    """So that it can be checked without ckpt2saved."""
    version = make_version(tmp_path, "1")
    (version / "assets").mkdir()
    (version / "assets" / "a b.txt").write_text("x")
    (version / "saved_model-2").write_text("y")  # sorts before `saved_model.pb`
    command = (
        "find . -type f ! -path ./assets.extra/ckpt2saved.json -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum"
        " | sha256sum"
    )
    done = subprocess.run(command, shell=True, cwd=str(version), stdout=subprocess.PIPE, text=True)
    assert content_sha256(version) == done.stdout.split()[0]


def test_it_depends_on_names_and_bytes_alone(tmp_path):
    version = make_version(tmp_path / "a", "1")
    same = make_version(tmp_path / "b", "2")
    assert content_sha256(version) == content_sha256(same)
    before = content_sha256(version)
    (version / "variables" / "more").write_text("x")
    assert content_sha256(version) != before


def test_each_version_has_it(tmp_path):
    """Also one that another tool wrote; a version that is published again keeps it."""
    foreign = make_version(tmp_path / "elsewhere", "7")
    first = bump_version(tmp_path / "base", foreign).path
    again = bump_version(tmp_path / "base").path
    expected = content_sha256(foreign)
    for version in (first, again):
        assert read_provenance(version)["content_sha256"] == expected == content_sha256(version)


def test_a_copy_with_other_files_is_not_republished(tmp_path):
    """As one that was copied incompletely."""
    first = bump_version(tmp_path / "base", make_version(tmp_path / "elsewhere", "7")).path
    (first / "assets").mkdir()
    (first / "assets" / "more.txt").write_text("x")
    with pytest.raises(
        VersionError, match="its files are not those that were published: they were copied incompletely"
    ):
        bump_version(tmp_path / "other", first)
    assert not (tmp_path / "other").exists()
    (first / PROVENANCE).unlink()
    assert bump_version(tmp_path / "other", first).number == 1


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_damaged_version_is_not_republished(tmp_path, dry_run):
    """Its files would be linked, so that servers would load the damage as a good version again; an older one is good."""
    base = tmp_path / "base"
    foreign = make_version(tmp_path / "elsewhere", "7")
    (foreign / "assets").mkdir()
    (foreign / "assets" / "charset.txt").write_text("abc")
    for _ in range(2):
        bump_version(base, foreign)
    (base / "2" / "assets" / "charset.txt").write_text("abd")
    for source in (None, 2):
        with pytest.raises(VersionError) as error:
            bump_version(base, source, BumpOptions(dry_run=dry_run))
        assert error.value.message == f"{base / '2'}: not republished"
        (problem,) = error.value.problems
        assert (problem.code, problem.where) == ("altered-files", "2") and "name another one" in problem.remedy
    assert bump_version(base, 1, BumpOptions(dry_run=dry_run)).number == 3
    (base / "2" / PROVENANCE).unlink()
    assert bump_version(base, 2, BumpOptions(dry_run=dry_run)).number == (3 if dry_run else 4)


def test_what_counts_as_unchanged(tmp_path):
    """The newest version, if its files still are those that it records; a negative number is none of a server."""
    base = tmp_path / "base"
    content = content_sha256(make_version(tmp_path, "1"))
    refuse_unchanged(base, content)  # there is none yet
    make_version(base, "-1", provenance={"format": 1, "content_sha256": content})
    refuse_unchanged(base, content)
    first = bump_version(base, tmp_path / "1").path
    with pytest.raises(Unchanged, match=f"{first}: it has the same files; nothing is published") as raised:
        refuse_unchanged(base, content)
    assert raised.value.version == first
    refuse_unchanged(base, "0" * 64)
    (first / "variables" / "more").write_text("x")
    refuse_unchanged(base, content)
