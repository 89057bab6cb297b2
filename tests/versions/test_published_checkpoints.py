"""Which checkpoints a base has, or had: by the content that the versions' provenance records."""

from __future__ import annotations

import json

import pytest

from ckpt2saved.errors import AlreadyPublished
from ckpt2saved.versions import bump_version, prune_versions, staged
from ckpt2saved.versions.published_checkpoints import PRUNED_RECORD, PublishedCheckpoints, refuse_published
from tests.support.versions import fill, full_disk, make_version, names


def origin(letter, step=1):
    return {"format": 1, "checkpoint": {"name": f"m-{step}", "step": step, "sha256": {"m.index": letter * 64}}}


def content(letter):
    return frozenset([letter * 64])


def test_versions_say_which_checkpoint_they_have(base):
    """Those of others say nothing; a republished one has the checkpoint of its source."""
    known = PublishedCheckpoints(base)
    assert known.versions() == {}
    make_version(base, "1", provenance=origin("a"))
    make_version(base, "2")
    make_version(base, "3", provenance={"checkpoint": {"sha256": [1]}})
    assert list(known.versions()) == [content("a")]
    bump_version(base, "1")
    assert known.versions()[content("a")].text == "version 4"


def test_pruned_versions_stay_known(base):
    """In a file that TF Serving ignores; a full disk prevents no deletion."""
    for number, letter in enumerate("abc", start=1):
        make_version(base, str(number), provenance=origin(letter, step=10 * number))
    prune_versions(base, keep=2)
    prune_versions(base, keep=1)
    assert names(base) == [PRUNED_RECORD, "3"]
    known = PublishedCheckpoints(base).versions()
    assert {one: version.step for one, version in known.items()} == {
        content("a"): 10,
        content("b"): 20,
        content("c"): 30,
    }
    assert known[content("a")].text == "version 1, which was pruned"
    (base / PRUNED_RECORD).write_text("[")
    assert list(PublishedCheckpoints(base).versions()) == [content("c")]


def test_versions_are_pruned_without_the_record_on_a_full_disk(base, monkeypatch):
    """Deleting is what makes room."""
    for number, letter in enumerate("ab", start=1):
        make_version(base, str(number), provenance=origin(letter))
    monkeypatch.setattr("ckpt2saved.versions.published_checkpoints.replace_file", full_disk)
    prune_versions(base, keep=1)
    assert names(base) == ["2"]


def test_the_record_does_not_grow_for_ever(base, monkeypatch):
    """The latest ones are kept."""
    monkeypatch.setattr("ckpt2saved.versions.published_checkpoints._MOST_RECORDED", 3)
    for number, letter in enumerate("abcdef", start=1):
        make_version(base, str(number), provenance=origin(letter))
    prune_versions(base, keep=1)
    recorded = json.loads((base / PRUNED_RECORD).read_text())["versions"]
    assert [one["version"] for one in recorded] == [3, 4, 5]


def test_a_stage_is_checked_under_the_lock_of_the_base(base):
    """What another process published meanwhile is seen, and nothing is published."""
    with pytest.raises(AlreadyPublished, match="version 1, has this checkpoint"), staged(base) as stage:
        fill(stage.path, provenance=origin("a"))
        make_version(base, "1", provenance=origin("a"))
        stage.publish(lambda: refuse_published(base, content("a")))
    assert names(base) == ["1"]
    with staged(base) as stage:
        fill(stage.path, provenance=origin("b"))
        stage.publish(lambda: refuse_published(base, content("b")))
    assert names(base) == ["1", "2"]
