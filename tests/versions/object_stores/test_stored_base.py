"""Publishing into an object store: claims, stages, interruptions; list, bump and prune."""

from __future__ import annotations

import datetime
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ckpt2saved.errors import AlreadyPublished, NotDeleted, StrayOptions, VersionError
from ckpt2saved.versions import BumpOptions
from ckpt2saved.versions.bases import base_at, local_version
from ckpt2saved.versions.content import Unchanged, content_sha256
from ckpt2saved.versions.object_stores import claims, published, stored_listing, stored_stage
from ckpt2saved.versions.object_stores.drivers import Driver
from ckpt2saved.versions.object_stores.published import RecordedCheckpoints
from ckpt2saved.versions.object_stores.store import ObjectStore, StoredObject, open_store
from ckpt2saved.versions.object_stores.url import VersionUrl
from ckpt2saved.versions.provenance import write_provenance
from tests.fuzz.fuzzer import CPU_SECONDS, WALL_SECONDS, forked, with_timers
from tests.support.object_stores import is_exclusive_moto, memory_url, upload_directory
from tests.support.versions import fill, make_version

FILES = ["saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"]
DAY = datetime.timedelta(hours=24)


@pytest.fixture
def exclusive(url):
    """A URL whose store creates exclusively."""
    if url.startswith("s3:") and not is_exclusive_moto():
        pytest.skip("this release of moto ignores the condition")
    return url


@pytest.fixture
def memory():
    return memory_url()


def publish(url, requested=None, *, provenance=None, single_writer=False):
    with base_at(url, single_writer=single_writer).staged(requested) as stage:
        fill(stage.path)
        if provenance is not None:
            write_provenance(stage.path, dict(provenance, content_sha256=content_sha256(stage.path)))
        return stage.publish()


def keys(url):
    return [one.key for one in open_store(url).objects()]


def versions_of(url):
    return [(one.number, one.is_complete) for one in base_at(url).listing()]


def test_a_version_is_published(exclusive):
    """And nothing of its stage is left; the claim stays."""
    published = publish(exclusive)
    assert published == VersionUrl(exclusive, "1") and str(published) == f"{exclusive}/1"
    assert keys(exclusive) == [".ckpt2saved/claims/1", *(f"1/{name}" for name in FILES)]
    claim = json.loads(open_store(exclusive).read(".ckpt2saved/claims/1", 1000).decode())
    assert claim["format"] == 1 and claim["stage"].startswith(".staging-") and claim["host"]
    assert str(publish(exclusive)) == f"{exclusive}/2"
    assert versions_of(exclusive) == [(2, True), (1, True)]
    with local_version(published) as directory:
        assert (directory.parent.name, directory.name) == (exclusive.rpartition("/")[2], "1")
        assert (directory / FILES[1]).read_bytes()
    assert not directory.exists()


def test_saved_model_pb_is_copied_last(memory, monkeypatch):
    """After everything was uploaded below the stage and read back, since a server sees a number at once."""
    done = []
    for name in ("upload", "copy", "sha256", "create"):
        monkeypatch.setattr(ObjectStore, name, _noting(done, name, getattr(ObjectStore, name)))
    publish(memory)
    kinds = [kind for kind, _ in done]
    stages = [(kind, key.partition("/")[2]) for kind, key in done if kind in ("upload", "sha256")]
    assert kinds == ["create"] * 2 + ["upload"] * 3 + ["sha256"] * 3 + ["create"] + ["copy"] * 3
    assert stages[2] == ("upload", "saved_model.pb")
    assert [key.partition("/")[2] for kind, key in done if kind == "copy"][-1] == "saved_model.pb"
    assert all(key.startswith(".staging-") for kind, key in done if kind == "upload")


def _noting(done, name, function):
    def noted(store, *arguments):
        key = arguments[1] if name == "upload" else arguments[0]
        done.append((name, key if isinstance(key, str) else str(key)))
        return function(store, *arguments)

    return noted


def test_many_publishers_get_a_number_each(exclusive):
    with ThreadPoolExecutor(4) as threads:
        published = list(threads.map(lambda _: publish(exclusive).name, range(4)))
    assert sorted(published) == ["1", "2", "3", "4"]
    assert versions_of(exclusive) == [(4, True), (3, True), (2, True), (1, True)]
    assert not [key for key in keys(exclusive) if key.startswith(".staging-")]


def test_a_requested_number(memory, tmp_path):
    upload_directory(memory, make_version(tmp_path, "7"), "7")
    assert publish(memory, 9).name == "9"
    with pytest.raises(VersionError, match=r"version 8 can't be published, as memory://.*/9 is there already"):
        publish(memory, 8)
    open_store(memory).create(".ckpt2saved/claims/12", b"{}")
    with pytest.raises(VersionError, match=r"as a claim of memory://.*/12 is there already"):
        publish(memory, 12)
    assert publish(memory).name == "13"


def test_a_number_that_is_taken_meanwhile(memory, monkeypatch):
    """By a publisher that claims, and by a tool that does not."""
    with base_at(memory).staged() as stage:
        fill(stage.path)
        next_number = stored_stage.next_number
        with monkeypatch.context() as patch:
            patch.setattr(stored_stage, "next_number", lambda *_: 1)
            open_store(memory).create(".ckpt2saved/claims/1", b"{}")
            open_store(memory).create("2/variables/variables.index", b"1")
            assert stage.publish().name == "3"
        assert stored_stage.next_number is next_number
    with base_at(memory).staged(5) as stage:
        fill(stage.path)
        monkeypatch.setattr(stored_stage, "next_number", lambda *_: 1)
        with pytest.raises(VersionError, match="another process has just published version 5"):
            stage.publish()
    assert not [key for key in keys(memory) if key.startswith((".staging-", "5/"))]


def test_a_claim_whose_answer_was_lost(memory, monkeypatch):
    """A driver repeats a request after a lost connection, and is then told that the claim exists: its own."""
    create = ObjectStore.create

    def twice(store, key, data):
        create(store, key, data)
        if "claims" in key:
            create(store, key, data)

    monkeypatch.setattr(ObjectStore, "create", twice)
    assert publish(memory).name == "1"


def test_a_store_that_refuses_every_claim(memory, monkeypatch):
    """It is given up; nothing stays."""
    create = ObjectStore.create

    def refuse(store, key, data):
        if "claims" in key:
            raise FileExistsError(key)
        create(store, key, data)

    monkeypatch.setattr(ObjectStore, "create", refuse)
    monkeypatch.setattr(stored_stage, "_MOST_CLAIMS", 5)
    with pytest.raises(VersionError, match=r"5 numbers in a row were taken, the last one 5: the store refuses every"):
        publish(memory)
    assert keys(memory) == []


def test_a_store_that_ignores_the_condition(memory, monkeypatch):
    def overwrite(driver, files, path, data):
        files.pipe_file(path, data)

    driver = type(open_store(memory)._driver)
    monkeypatch.setattr(driver, "create", overwrite)
    with pytest.raises(VersionError, match=r"it has created an object that was there already.*pass --single-writer"):
        publish(memory)
    assert keys(memory) == []
    assert publish(memory, single_writer=True).name == "1"


def test_a_driver_without_create_if_absent(memory, monkeypatch):
    monkeypatch.setattr(type(open_store(memory)._driver), "creates_exclusively", False)
    with pytest.raises(
        VersionError, match=r"its driver can't create an object only if it is absent; pass --single-wri"
    ):
        publish(memory)
    assert publish(memory, single_writer=True).name == "1"


def test_single_writer_is_for_object_stores(tmp_path):
    with pytest.raises(StrayOptions, match="--single-writer: only with a base directory in an object store"):
        base_at(tmp_path, single_writer=True)


def test_what_reads_back_otherwise_is_not_published(memory, monkeypatch):
    monkeypatch.setattr(ObjectStore, "sha256", lambda store, key, most: "0" * 64)
    with pytest.raises(VersionError, match="reads back otherwise than it was uploaded; nothing was published"):
        publish(memory)
    assert keys(memory) == []


@pytest.mark.parametrize("step", ["upload", "sha256", "copy"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), VersionError("no network")])
def test_an_interruption_leaves_no_files(memory, monkeypatch, step, error):
    """But for the claim, so that the number is not used again."""
    function, calls = getattr(ObjectStore, step), []

    def fails(store, *arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise error
        return function(store, *arguments)

    monkeypatch.setattr(ObjectStore, step, fails)
    with pytest.raises(type(error)):
        publish(memory)
    assert keys(memory) == ([".ckpt2saved/claims/1"] if step == "copy" else [])
    assert publish(memory).name == ("2" if step == "copy" else "1")


@pytest.mark.parametrize("is_made", [True, False])
def test_a_failing_copy_of_saved_model_pb(memory, monkeypatch, is_made):
    """It may be made after the request has failed: then the version is published, and nothing of it may be deleted."""
    function = ObjectStore.copy

    def fails(store, source, target):
        if is_made or not target.endswith(".pb"):
            function(store, source, target)
        if target.endswith(".pb"):
            raise VersionError("timed out")

    monkeypatch.setattr(ObjectStore, "copy", fails)
    if is_made:
        assert publish(memory).name == "1" and versions_of(memory) == [(1, True)]
        return
    with pytest.raises(VersionError, match=r"1: it is not known whether it is published: saved_model.pb, .* timed out"):
        publish(memory)
    assert versions_of(memory) == [(1, False)]
    assert not [key for key in keys(memory) if key.startswith(".staging-")]


def test_another_writer_in_the_same_number(memory, monkeypatch):
    function = ObjectStore.copy

    def copy(store, source, target):
        function(store, source, target)
        store.create(target + ".other", b"1")

    monkeypatch.setattr(ObjectStore, "copy", copy)
    with pytest.raises(VersionError, match="as if another process wrote there too; nothing was published"):
        publish(memory)


def test_a_claim_that_is_gone(memory, monkeypatch):
    monkeypatch.setattr(stored_stage, "holds", lambda *_: False)
    with pytest.raises(VersionError, match="the claim of this number is gone"):
        publish(memory)
    assert keys(memory) == [".ckpt2saved/claims/1"]


def test_what_killed_publishers_left_is_removed_after_a_day(memory, tmp_path, monkeypatch):
    source = make_version(tmp_path, "7")
    (source / "saved_model.pb").unlink()
    upload_directory(memory, source, ".staging-1")
    upload_directory(memory, source, "7")  # killed after its claim
    upload_directory(memory, source, "8")  # of another tool, which may still be writing
    store = open_store(memory)
    store.create(".ckpt2saved/claims/7", b"{}")
    before = keys(memory)
    publish(memory)
    assert set(before) <= set(keys(memory))
    monkeypatch.setattr(claims, "_ABANDONED_AFTER", -DAY)
    claims.remove_abandoned(store, [one for one in store.objects() if one.key in before])
    left = keys(memory)
    assert not [key for key in left if key.startswith((".staging-", "7/"))]
    assert ".ckpt2saved/claims/7" in left and "8/variables/variables.index" in left
    assert publish(memory).name == "10"


def test_a_bad_version_is_not_published(memory):
    with pytest.raises(VersionError, match="TF Serving could not load the staged version"):
        with base_at(memory).staged() as stage:
            stage.publish()
    assert keys(memory) == []


def test_unchanged_and_published_checkpoints(memory):
    record = {"format": 1, "checkpoint": {"name": "crnn-7", "step": 7, "sha256": {"index": "a" * 64}}}
    base = base_at(memory)
    base.refuse_unchanged("0" * 64)
    base.refuse_published(frozenset(("a" * 64,)))
    publish(memory, provenance=record)
    with local_version(memory) as directory:
        content = content_sha256(directory)
    with pytest.raises(Unchanged, match="1: it has the same files") as error:
        base.refuse_unchanged(content)
    assert error.value.version == VersionUrl(memory, "1") and error.value.provenance["checkpoint"]["step"] == 7
    base.refuse_unchanged("0" * 64)
    with pytest.raises(AlreadyPublished, match="version 1, has this checkpoint already"):
        base.refuse_published(frozenset(("a" * 64,)))
    publish(memory)
    assert [str(one.path) for one in base.prune(1)] == [f"{memory}/1"]
    with pytest.raises(AlreadyPublished, match="version 1, which was pruned, has this checkpoint already"):
        base.refuse_published(frozenset(("a" * 64,)))


@pytest.fixture
def read(monkeypatch):
    """The keys of the objects that were read."""
    found, real = [], ObjectStore.read

    def reading(store, key, most):
        found.append(key)
        return real(store, key, most)

    monkeypatch.setattr(ObjectStore, "read", reading)
    return found


def of_checkpoint(letter):
    return {"format": 1, "checkpoint": {"name": "crnn", "step": 7, "sha256": {"index": letter * 64}}}


def is_published(base, letter):
    try:
        base.refuse_published(frozenset([letter * 64]))
    except AlreadyPublished as error:
        return str(error).partition(": ")[2].partition(", has")[0]
    return None


def test_the_listing_says_which_checkpoints_are_published(url, read):
    """So that the provenance of thousands of versions need not be read, which would take a request each."""
    for letter in "abcd":
        publish(url, provenance=of_checkpoint(letter), single_writer=True)
    base = base_at(url)
    base.prune(2)
    del read[:]
    assert is_published(base, "f") is None and read == []
    assert is_published(base, "c") == "version 3" and read == ["3/assets.extra/ckpt2saved.json"]
    assert is_published(base, "a") == "version 1, which was pruned" and read[1:] == [".ckpt2saved/pruned/1"]


def test_versions_that_the_listing_does_not_say_it_of_are_read(memory, tmp_path, read, monkeypatch):
    """Those that were copied there, that an older release published, or whose publisher could not say it."""
    upload_directory(memory, make_version(tmp_path, "1", provenance=of_checkpoint("a")), "1")

    def refused(store, key, data):
        raise VersionError("no rights")

    with monkeypatch.context() as patch:
        patch.setattr(stored_stage, "record_published", lambda *_: None)
        publish(memory, provenance=of_checkpoint("b"))
    publish(memory, provenance=of_checkpoint("c"))
    base = base_at(memory)
    for letter, number in zip("abc", "123"):
        assert is_published(base, letter) == f"version {number}"
    base.prune(1)
    del read[:]
    assert is_published(base, "f") is None and read == []  # the prune has recorded them
    assert is_published(base, "a") == "version 1, which was pruned"
    monkeypatch.setattr(ObjectStore, "create", refused)
    published.record_published(open_store(memory), "4", frozenset(["d" * 64]))  # no reason to fail


def test_a_version_that_was_replaced_by_hand_is_read(memory, tmp_path):
    """Its provenance is newer than the object that says what was published, and its prune adds a second one."""
    for letter in "ab":
        publish(memory, provenance=of_checkpoint(letter))
    store, base = open_store(memory), base_at(memory)
    store.delete([one.key for one in store.objects("1")])
    assert is_published(base, "a") is None
    upload_directory(memory, make_version(tmp_path, "1", provenance=of_checkpoint("c")), "1")
    assert is_published(base, "c") == "version 1" and is_published(base, "a") is None
    base.prune(1)
    assert is_published(base, "c") == "version 1, which was pruned" and is_published(base, "a") is None
    hashes = [frozenset([letter * 64]) for letter in "abc"]
    for recorded in (RecordedCheckpoints(store.objects()), RecordedCheckpoints(store.objects()[::-1])):
        assert [recorded.has("1", one) for one in hashes] == [True, False, True]
        assert not recorded.rule_out("1", hashes[0]) and not recorded.rule_out("1", hashes[2])


def test_without_times_versions_are_read(memory):
    """As of a store that lists none."""
    content = frozenset(["a" * 64])
    store = open_store(memory)
    published.record_published(store, "1", content)
    (recorded,) = [replace(one, modified=None) for one in store.objects()]
    now = datetime.datetime.now(datetime.timezone.utc)
    for time in (now, None):
        of_version = StoredObject("1/assets.extra/ckpt2saved.json", 1, time)
        assert not RecordedCheckpoints([recorded]).rule_out("1", frozenset(["b" * 64]), of_version)
    of_version = StoredObject("1/assets.extra/ckpt2saved.json", 1, now)
    assert RecordedCheckpoints([replace(recorded, modified=now)]).rule_out("1", frozenset(["b" * 64]), of_version)


def test_the_list_of_versions(url, tmp_path):
    record = {"format": 1, "checkpoint": {"name": "crnn-7", "step": 7}}
    upload_directory(url, make_version(tmp_path, "7", provenance=record), "7")
    upload_directory(url, make_version(tmp_path, "v8"), "v8")
    upload_directory(url, tmp_path / "v8", "07")
    store = open_store(url)
    store.create("9/variables/variables.index", b"x")
    store.create("photographs/1.jpg", b"x")
    listing = base_at(url).listing()
    assert [(one.name, one.is_complete, one.duplicate_of) for one in listing] == [
        ("9", False, None),
        ("7", True, None),
        ("07", True, "7"),
    ]
    assert listing[0].problems[0].text == "saved_model.pb: missing or empty in the store"
    assert (listing[1].origin.checkpoint, listing[1].origin.step) == ("crnn-7", 7) and listing[2].origin is None
    assert listing[1].size == sum(one.stat().st_size for one in (tmp_path / "7").rglob("*") if one.is_file())
    assert [(str(one.path), one.reason) for one in listing.ignored] == [(f"{url}/v8", "not an integer")]


def test_a_record_that_is_too_large_is_none(memory, tmp_path, monkeypatch):
    """It is its version's alone: the others are listed, pruned and published as before."""
    monkeypatch.setattr(stored_listing, "_MOST_BYTES", 100)
    for name in ("6", "7"):
        upload_directory(memory, make_version(tmp_path, name, provenance={"format": 1, "x": name * 100}), name)
    base = base_at(memory)
    assert [(one.name, one.origin, one.is_complete) for one in base.listing()] == [("7", None, True), ("6", None, True)]
    base.refuse_published(frozenset(("a" * 64,)))
    assert [one.number for one in base.prune(1)] == [6]


def test_control_characters_in_names_are_shown_as_text(memory, tmp_path):
    """TF Serving reads a number with white space around it as a version too."""
    record = {"format": 1, "checkpoint": {"name": "crnn-7", "step": 7, "sha256": {"index": "a" * 64}}}
    upload_directory(memory, make_version(tmp_path, "7", provenance=record), "\n7\v")
    base = base_at(memory)
    (version,) = base.listing(deep=True)
    assert version.is_complete and str(version.path) == f"{memory}/\\n7\\x0b"
    with pytest.raises(AlreadyPublished, match=r"crnn: version \\n7\\x0b, has this checkpoint already"):
        base.refuse_published(frozenset(("a" * 64,)))
    with pytest.raises(VersionError, match=r"there is no version 8; expected one of \\n7\\x0b$"):
        base.version(8)
    with local_version(version.path) as directory:
        assert (directory / "saved_model.pb").is_file()


def test_thirty_thousand_versions(memory, monkeypatch):
    """Took quadratic time when old versions were pruned."""
    objects = tuple(StoredObject(f"{number}/saved_model.pb", 1, None) for number in range(30000))
    monkeypatch.setattr(ObjectStore, "objects", lambda store: objects)
    monkeypatch.setattr(ObjectStore, "delete", lambda store, keys: None)

    def prune():
        with_timers(2 * CPU_SECONDS, WALL_SECONDS)
        base = base_at(memory)
        return len(base.prune(1)), base.next_number(), len(base.listing())

    assert forked(prune)[0] == (29999, 30000, 30000)


def test_a_deep_list_finds_damage(memory, tmp_path):
    source = make_version(tmp_path, "7")
    (source / FILES[1]).write_bytes(b"\0" * (source / FILES[1]).stat().st_size)
    upload_directory(memory, source, "7")
    base = base_at(memory)
    assert base.listing()[0].is_complete
    assert "damaged" in base.listing(deep=True)[0].problems[0].text


def test_names_that_are_no_files_are_a_problem(memory, tmp_path):
    upload_directory(memory, make_version(tmp_path, "7"), "7")
    open_store(memory).create("7/assets/\x1b[2J", b"x")
    (version,) = base_at(memory).listing(deep=True)
    assert "can't be a file of a directory" in version.problems[0].text and "\x1b" not in version.problems[0].text


def test_old_versions_are_pruned(url, tmp_path):
    """But for those in use, the complete ones that are kept, and what is no SavedModel; claims keep their numbers."""
    source = make_version(tmp_path, "1")
    for name in ("1", "2", "3", "4", "5"):
        upload_directory(url, source, name)
    store = open_store(url)
    store.create("0/photograph.jpg", b"x")
    store.create(".ckpt2saved/claims/1", b"{}")
    store.delete(["5/saved_model.pb"])
    base = base_at(url)
    assert [one.number for one in base.prune(2, dry_run=True)] == [2, 1]
    assert [one.number for one in base.prune(2, spare=[2])] == [1]
    assert [one.number for one in base.listing()] == [5, 4, 3, 2, 0]
    assert ".ckpt2saved/claims/1" in keys(url)
    with pytest.raises(VersionError, match="can't keep 0 versions"):
        base.prune(0)


def test_a_pruned_version_loses_saved_model_pb_first(memory, tmp_path, monkeypatch):
    for name in ("1", "2"):
        upload_directory(memory, make_version(tmp_path / name, name), name)
    deleted = []
    monkeypatch.setattr(ObjectStore, "delete", lambda store, found: deleted.extend(found))
    base_at(memory).prune(1)
    assert deleted[0] == "1/saved_model.pb" and len(deleted) == 3


def test_what_a_store_does_not_delete_does_not_keep_the_others(memory, monkeypatch):
    """As objects with a retention; without any answer the others are not tried."""
    for _ in range(5):
        publish(memory)
    monkeypatch.setattr(claims, "_ABANDONED_AFTER", -DAY)
    base, remove = base_at(memory), MemoryFileSystem.rm_file

    def kept(files, path):
        if "/3/" in path:
            raise PermissionError("retained")
        remove(files, path)

    with monkeypatch.context() as patch, pytest.raises(NotDeleted) as error:
        patch.setattr(MemoryFileSystem, "rm_file", kept)
        base.prune(2)
    assert [str(one) for one in error.value.deleted] == [f"{memory}/2", f"{memory}/1"]
    (problem,) = error.value.problems
    assert problem.where == "3" and "could not delete 3/saved_model.pb: retained" in problem.found
    assert [one.number for one in base.listing()] == [5, 4, 3]
    assert ".ckpt2saved/claims/1" in keys(memory)  # the next prune deletes it

    tried = []

    def unreachable(files, path):
        tried.append(path)
        raise ConnectionError("no network")

    with monkeypatch.context() as patch, pytest.raises(NotDeleted, match="an old version could not") as error:
        patch.setattr(MemoryFileSystem, "rm_file", unreachable)
        base.prune(1)
    assert error.value.deleted == () and len(tried) == 1
    assert [one.number for one in base.prune(1)] == [4, 3]


def test_claims_of_long_deleted_versions_go(memory, tmp_path, monkeypatch):
    for _ in range(3):
        publish(memory)
    monkeypatch.setattr(claims, "_ABANDONED_AFTER", -DAY)
    base_at(memory).prune(1)
    assert [key for key in keys(memory) if "claims" in key] == [".ckpt2saved/claims/3"]
    assert publish(memory).name == "4"


def test_a_version_is_published_again(memory, tmp_path):
    publish(memory, provenance={"format": 1})
    base = base_at(memory)
    for source, origin in ((None, 1), (1, 1), ("1", 1), (f"{memory}/1", 1)):
        published = base.bump(source, BumpOptions())
        assert published.republished_from == origin and published.provenance["republished"]["from"] == origin
        base.prune(1)
        publish(memory, 10 * (published.number + 10))
        base = base_at(memory)
        upload_directory(memory, make_version(tmp_path / str(published.number), "1"), "1")
    elsewhere = make_version(tmp_path, "elsewhere")
    planned = base.bump(elsewhere, BumpOptions(dry_run=True))
    assert planned.dry_run and planned.path == VersionUrl(memory, str(planned.number))
    published = base.bump(elsewhere, BumpOptions(batching="max_batch_size { value: 4 }\n"))
    assert published.path == planned.path and published.republished_from == str(elsewhere)
    with local_version(published.path) as directory:
        assert (directory / "batching_params.pbtxt").read_text() == "max_batch_size { value: 4 }\n"


def test_what_cannot_be_published_again(memory, tmp_path):
    base = base_at(memory)
    with pytest.raises(VersionError, match="there is no version to republish"):
        base.bump(None, BumpOptions())
    upload_directory(memory, make_version(tmp_path, "7"), "7")
    with pytest.raises(VersionError, match="there is no version 6; expected one of 7"):
        base.bump(6, BumpOptions())
    (tmp_path / "7" / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(VersionError, match="not republished, since TF Serving could not load it"):
        base.bump(tmp_path / "7", BumpOptions())


def test_a_version_url_is_no_base(memory):
    with pytest.raises(VersionError, match=r"its name is a version number; expected the base directory"):
        base_at(memory + "/7").check()


def test_the_newest_complete_version_is_opened(memory, tmp_path):
    upload_directory(memory, make_version(tmp_path, "7"), "7")
    open_store(memory).create("8/variables/variables.index", b"x")
    with local_version(memory) as directory:
        assert directory.name == "7"
    with local_version(f"{memory}/7/saved_model.pb") as directory:
        assert directory.name == "7"
    with pytest.raises(VersionError, match="there is no version 9; expected one of 7, 8"), local_version(f"{memory}/9"):
        pass
    assert isinstance(open_store(memory)._driver, Driver)
