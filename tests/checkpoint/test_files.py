"""From whatever path the user has to a checkpoint's files, or to all that is wrong with them; no TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckpt2saved.checkpoint.files import CheckpointFiles, find_checkpoint
from ckpt2saved.errors import CheckpointError
from ckpt2saved.errors.problem import texts

TABLE = b"\0" * 40 + bytes.fromhex("57fb808b247547db")  # the smallest file that ends as TensorFlow's tables do
SHARD = "model.ckpt-100.data-0000{}-of-0000{}"


def write(directory, names, content=b"data"):
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_bytes(TABLE if name.endswith(".index") else content)


def write_v2(directory, name="model.ckpt-100", *, shards=1, meta=True):
    """A V2 checkpoint; what find_checkpoint should make of it."""
    data = [f"{name}.data-{number:05d}-of-{shards:05d}" for number in range(shards)]
    write(directory, [name + ".index"] + data + [name + ".meta"] * meta)
    files = tuple(directory / file for file in [name + ".index"] + data)
    return CheckpointFiles(directory / name, files, directory / (name + ".meta") if meta else None)


def write_v1(directory, name="model.ckpt-100", *, meta=True):
    """A V1 checkpoint; what find_checkpoint should make of it."""
    write(directory, [name], TABLE)
    write(directory, [name + ".meta"] * meta)
    prefix = directory / name
    return CheckpointFiles(prefix, (prefix,), directory / (name + ".meta") if meta else None, is_v1=True)


def write_state(directory, latest):
    """A state file as tf.train.Saver writes it; `latest` is the text between the quotes."""
    directory.mkdir(parents=True, exist_ok=True)
    text = 'model_checkpoint_path: "{0}"\nall_model_checkpoint_paths: "old"\nall_model_checkpoint_paths: "{0}"\n'
    (directory / "checkpoint").write_text(text.format(latest), encoding="utf-8")


def refusal(path, directory):
    """The message for `path`, with `directory` left out."""
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(path)
    lines = str(caught.value).replace(f"{directory}/", "").split("\n")
    assert tuple(texts(caught.value.problems)) == () or len(lines) == 1 + len(texts(caught.value.problems))
    return lines


def test_data_files_of_many_sets(tmp_path):
    """Each the first of a set of its own: a hundred missing ones are named, and no others looked for."""
    write_v2(tmp_path, shards=1)
    for count in range(90000, 90300):
        (tmp_path / f"model.ckpt-100.data-00000-of-{count}").write_bytes(b"x")
    (tmp_path / SHARD.format(0, 1)).unlink()
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(tmp_path / "model.ckpt-100")
    assert len(caught.value.problems) == 100
    assert texts(caught.value.problems)[0] == "model.ckpt-100.data-00001-of-90000: missing"


# Any path that means a checkpoint.


@pytest.mark.parametrize(
    "name",
    [
        "model.ckpt-100",
        "model.ckpt-100.index",
        "model.ckpt-100.meta",
        "model.ckpt-100.data-00000-of-00003",
        "model.ckpt-100.data-00002-of-00003",
        "checkpoint",
        "",
    ],
    ids=["prefix", "index", "meta", "first-shard", "last-shard", "state-file", "directory"],
)
def test_any_path_to_a_v2_checkpoint(name, tmp_path):
    """The prefix, each of the files, the state file and the directory mean the same checkpoint."""
    expected = write_v2(tmp_path, shards=3)
    write_v2(tmp_path, "model.ckpt-1000")
    write_state(tmp_path, "model.ckpt-100")
    assert find_checkpoint(tmp_path / name) == expected


@pytest.mark.parametrize(
    "name", ["model.ckpt-100", "model.ckpt-100.meta", "checkpoint", ""], ids=["file", "meta", "state-file", "directory"]
)
def test_any_path_to_a_v1_checkpoint(name, tmp_path):
    """The file itself, its .meta, the state file and the directory mean the same V1 checkpoint."""
    expected = write_v1(tmp_path)
    write_v1(tmp_path, "model.ckpt-1000")
    write_state(tmp_path, "model.ckpt-100")
    assert find_checkpoint(tmp_path / name) == expected


@pytest.mark.parametrize("write_any", [write_v2, write_v1], ids=["v2", "v1"])
def test_without_a_meta_file(write_any, tmp_path):
    """A checkpoint may lack its training graph."""
    expected = write_any(tmp_path, meta=False)
    assert expected.meta is None
    assert find_checkpoint(tmp_path / "model.ckpt-100") == expected


def test_a_relative_path_stays_relative(tmp_path, monkeypatch):
    """What the user wrote is what the user reads again."""
    write_v2(tmp_path)
    write_state(tmp_path, "model.ckpt-100")
    monkeypatch.chdir(tmp_path)
    for path in ("model.ckpt-100", "model.ckpt-100.meta", ".", "checkpoint"):
        assert find_checkpoint(Path(path)).prefix == Path("model.ckpt-100")


@pytest.mark.parametrize("name", ["model", "model.v2.ckpt", "best model", "modèle", "a.index", "a.meta", "checkpoint"])
def test_names_of_checkpoints(name, tmp_path):
    """A prefix may have any name, even that of another file's ending."""
    expected = write_v2(tmp_path, name)
    assert find_checkpoint(tmp_path / name) == expected
    assert find_checkpoint(tmp_path / (name + ".data-00000-of-00001")) == expected


def test_name_and_size(tmp_path):
    """The name is the prefix's, the size that of the files with variables, the graph apart."""
    write_v2(tmp_path, shards=2)
    found = find_checkpoint(tmp_path / "model.ckpt-100")
    assert (found.name, found.size) == ("model.ckpt-100", len(TABLE) + 2 * len(b"data"))


def test_a_directory_beside_a_prefix_of_its_name(tmp_path):
    """Where a directory has the prefix's name and nothing in it, the prefix is meant."""
    expected = write_v2(tmp_path, "crnn")
    (tmp_path / "crnn").mkdir()
    assert find_checkpoint(tmp_path / "crnn") == expected
    inside = write_v2(tmp_path / "crnn")
    assert find_checkpoint(tmp_path / "crnn") == inside


def test_symbolic_links(tmp_path):
    """A checkpoint may be linked to, as a whole directory or file by file."""
    real = write_v2(tmp_path / "real")
    (tmp_path / "linked").symlink_to("real")
    (tmp_path / "files").mkdir()
    for file in real.files:
        (tmp_path / "files" / file.name).symlink_to(file)
    assert find_checkpoint(tmp_path / "linked").prefix == tmp_path / "linked" / "model.ckpt-100"
    assert find_checkpoint(tmp_path / "files").prefix == tmp_path / "files" / "model.ckpt-100"


# Data files.


def test_shards_of_another_saving_are_left_out(tmp_path):
    """Of data files in two numbers the whole set counts, and nothing of the other."""
    expected = write_v2(tmp_path, shards=2)
    write(tmp_path, [SHARD.format(0, 3), SHARD.format(2, 3)])
    assert find_checkpoint(tmp_path / "model.ckpt-100") == expected


def test_an_empty_shard_among_others(tmp_path):
    """A shard that got no variables is empty, and nothing is wrong with that."""
    expected = write_v2(tmp_path, shards=2)
    expected.files[1].write_bytes(b"")
    assert find_checkpoint(tmp_path / "model.ckpt-100") == expected


# State files.


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        pytest.param("model.ckpt-100", "model.ckpt-100", id="relative"),
        pytest.param("model.ckpt-100", "./model.ckpt-100", id="dot"),
        pytest.param("model.ckpt-100", "/home/gone/runs/model.ckpt-100", id="absolute-and-gone"),
        pytest.param("model.ckpt-100", "runs/crnn/model.ckpt-100", id="relative-and-gone"),
        pytest.param("model.ckpt-100", r"C:\\runs\\crnn\\model.ckpt-100", id="windows"),
        pytest.param("model.ckpt-100", r"C:\\runs/model.ckpt-100", id="windows-mixed"),
        pytest.param("modèle", r"/home/gone/mod\303\250le", id="octal"),
        pytest.param("modèle", "/home/gone/modèle", id="utf-8"),
        pytest.param("modèle", r"/home/gone/mod\xc3\xa8le", id="hexadecimal"),
        pytest.param("a1b", r"a\61b", id="short-octal"),
        pytest.param('a"b', r"a\"b", id="quote"),
        pytest.param("a'b", r"a\'b", id="apostrophe"),
        pytest.param("a\tb", r"a\tb", id="tab"),
    ],
)
def test_what_a_state_file_records(name, recorded, tmp_path):
    """The latest checkpoint is found beside the state file, however and wherever its path was recorded."""
    expected = write_v2(tmp_path, name)
    write_state(tmp_path, recorded)
    assert find_checkpoint(tmp_path) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("model_checkpoint_path: 'model.ckpt-100'", id="apostrophes"),
        pytest.param('model_checkpoint_path:"model.ckpt-100"', id="no-space"),
        pytest.param('  model_checkpoint_path : "model.ckpt-100"', id="spaces"),
        pytest.param('# model_checkpoint_path: "other"\r\nmodel_checkpoint_path: "model.ckpt-100"\r\n', id="comment"),
        pytest.param(
            'all_model_checkpoint_paths: "other"\nmodel_checkpoint_path: "model.ckpt-100"\nlast_preserved: 1.5\n',
            id="other-fields",
        ),
    ],
)
def test_how_a_state_file_may_look(text, tmp_path):
    """State files are written by hand, too; comments and the list of all checkpoints do not count."""
    expected = write_v2(tmp_path)
    write_v2(tmp_path, "other")
    (tmp_path / "checkpoint").write_bytes(text.encode())
    assert find_checkpoint(tmp_path) == expected


def test_a_name_that_is_not_utf_8(tmp_path):
    """A name in Latin-1, raw or escaped, is found by its bytes."""
    name = os.fsdecode(b"mod\xe8le")
    expected = write_v2(tmp_path, name)
    for recorded in (b"mod\xe8le", rb"mod\350le"):
        (tmp_path / "checkpoint").write_bytes(b'model_checkpoint_path: "' + recorded + b'"\n')
        assert find_checkpoint(tmp_path) == expected


def test_files_beside_the_state_file_go_before_an_absolute_path(tmp_path):
    """A copied directory is meant, not the one that it was copied from."""
    write_v2(tmp_path / "original")
    copied = write_v2(tmp_path / "copy")
    write_state(tmp_path / "copy", tmp_path / "original" / "model.ckpt-100")
    assert find_checkpoint(tmp_path / "copy") == copied


def test_an_absolute_path_elsewhere(tmp_path):
    """With no such files beside the state file those at the recorded path are meant."""
    original = write_v2(tmp_path / "original")
    write_state(tmp_path / "state", tmp_path / "original" / "model.ckpt-100")
    assert find_checkpoint(tmp_path / "state") == original


@pytest.mark.parametrize("write_any", [write_v2, write_v1], ids=["v2", "v1"])
def test_a_whole_checkpoint_goes_before_the_rest_of_one(write_any, tmp_path):
    """Data files alone beside the state file do not hide the checkpoint at the recorded path."""
    original = write_any(tmp_path / "original")
    write(tmp_path / "copy", [SHARD.format(0, 1)])
    write_state(tmp_path / "copy", tmp_path / "original" / "model.ckpt-100")
    assert find_checkpoint(tmp_path / "copy") == original


def test_a_relative_path_is_relative_to_the_state_file(tmp_path):
    """A recorded sub-directory goes before a file of the same name beside the state file."""
    write_v2(tmp_path)
    below = write_v2(tmp_path / "best")
    write_state(tmp_path, "best/model.ckpt-100")
    assert find_checkpoint(tmp_path) == below


def test_a_v1_checkpoint_called_checkpoint(tmp_path):
    """A file called checkpoint that is one is not taken for a state file."""
    expected = write_v1(tmp_path, "checkpoint", meta=False)
    assert find_checkpoint(tmp_path / "checkpoint") == expected
    assert find_checkpoint(tmp_path) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "checkpoint: no line 'model_checkpoint_path: \"…\"' in this state file", id="0-bytes"),
        pytest.param(
            b'all_model_checkpoint_paths: "a"\n',
            "checkpoint: no line 'model_checkpoint_path: \"…\"' in this state file",
            id="no-latest",
        ),
        pytest.param(
            b'model_checkpoint_path: ""\n',
            "checkpoint: no line 'model_checkpoint_path: \"…\"' in this state file",
            id="nothing-recorded",
        ),
        pytest.param(
            rb'model_checkpoint_path: "a\000b"',
            "checkpoint: no line 'model_checkpoint_path: \"…\"' in this state file",
            id="nul",
        ),
        pytest.param(
            b'model_checkpoint_path: "model.ckpt-1',
            "checkpoint: no line 'model_checkpoint_path: \"…\"' in this state file",
            id="truncated",
        ),
        pytest.param(
            bytes(range(256)), "checkpoint: no line 'model_checkpoint_path: \"…\"' in this state file", id="binary"
        ),
        pytest.param(
            b'model_checkpoint_path: "/gone/model.ckpt-300"',
            "checkpoint: it names '/gone/model.ckpt-300' as the latest checkpoint, and no such files are there or "
            "beside it",
            id="gone",
        ),
        pytest.param(
            b'model_checkpoint_path: "checkpoint"',
            "checkpoint: it names 'checkpoint' as the latest checkpoint, and no such files are there or beside it",
            id="itself",
        ),
        pytest.param(
            b'model_checkpoint_path: "' + b"x" * 300 + b'"',
            f"checkpoint: it names '{'x' * 300}' as the latest checkpoint, and no such files are there or beside it",
            id="endless",
        ),
    ],
)
@pytest.mark.parametrize("given", ["directory", "state-file"])
def test_a_state_file_of_no_use(given, content, message, tmp_path):
    """A state file that leads nowhere is refused, with the checkpoints that there are."""
    (tmp_path / "checkpoint").write_bytes(content)
    path = tmp_path / "checkpoint" if given == "state-file" else tmp_path
    assert refusal(path, tmp_path) == [message + "; pass the prefix of a checkpoint"]
    write_v2(tmp_path, "model.ckpt-200")
    write_v2(tmp_path, "model.ckpt-100")
    assert refusal(path, tmp_path) == [
        message + "; pass one of the checkpoints that are there",
        "  - model.ckpt-100",
        "  - model.ckpt-200",
    ]


# Directories without a state file.


@pytest.mark.parametrize("write_any", [write_v2, write_v1], ids=["v2", "v1"])
def test_the_only_checkpoint_of_a_directory(write_any, tmp_path):
    """A directory with one checkpoint needs no state file; other files do not count."""
    expected = write_any(tmp_path)
    write(tmp_path, ["events.out.tfevents.1", "model.ckpt-200.data-00000-of-00001", "model.ckpt-300.meta"])
    write(tmp_path, ["model.ckpt-400.tempstate99", "model.ckpt-500.index.tempstate99"], TABLE)
    (tmp_path / "model.ckpt-600.index").mkdir()
    assert find_checkpoint(tmp_path) == expected


@pytest.mark.parametrize("write_any", [write_v2, write_v1], ids=["v2", "v1"])
def test_several_checkpoints_in_a_directory(write_any, tmp_path):
    """Which of several is meant only the user knows: they are listed."""
    for name in ("model.ckpt-200", "best", "model.ckpt-100"):
        write_any(tmp_path, name)
    assert refusal(tmp_path, tmp_path.parent) == [
        f"{tmp_path.name}: it has no 'checkpoint' state file, and 3 checkpoints; pass one of them",
        f"  - {tmp_path.name}/best",
        f"  - {tmp_path.name}/model.ckpt-100",
        f"  - {tmp_path.name}/model.ckpt-200",
    ]


@pytest.mark.parametrize("names", [[], ["notes.txt", "model.ckpt-100.meta", ".index"]], ids=["empty", "others"])
def test_a_directory_without_a_checkpoint(names, tmp_path):
    """What was looked for, and what to pass."""
    write(tmp_path, names)
    assert refusal(tmp_path, tmp_path.parent) == [
        f"{tmp_path.name}: no checkpoint here, neither a 'checkpoint' state file nor a *.index file nor a V1 checkpoint; pass the "
        "directory, the prefix or a file that tf.train.Saver wrote"
    ]


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
def test_a_saved_model(name, tmp_path):
    """A SavedModel is not a checkpoint, but its variables are one."""
    write(tmp_path / "7", [name])
    expected = write_v2(tmp_path / "7" / "variables", "variables", meta=False)
    assert refusal(tmp_path / "7", tmp_path) == [
        "7: this is a SavedModel, not a checkpoint: take it in with ckpt2saved bump-version BASE --from 7; its "
        "variables alone are the checkpoint 7/variables/variables"
    ]
    assert find_checkpoint(tmp_path / "7" / "variables" / "variables") == expected
    assert find_checkpoint(tmp_path / "7" / "variables") == expected


# What is missing or damaged, everything at once.


@pytest.mark.parametrize(
    ("files", "problems"),
    [
        pytest.param(
            {"model.ckpt-100.index": TABLE},
            ["model.ckpt-100.data-?????-of-?????: missing; there are no data files"],
            id="no-shard",
        ),
        pytest.param(
            {"model.ckpt-100.index": TABLE, SHARD.format(1, 4): b"data"},
            [SHARD.format(number, 4) + ": missing" for number in (0, 2, 3)],
            id="three-of-four-shards",
        ),
        pytest.param(
            {"model.ckpt-100.index": TABLE, SHARD.format(0, 2): b"data", SHARD.format(1, 3): b"data"},
            [SHARD.format(1, 2) + ": missing", SHARD.format(0, 3) + ": missing", SHARD.format(2, 3) + ": missing"],
            id="two-sets",
        ),
        pytest.param(
            {"model.ckpt-100.index": TABLE, SHARD.format(7, 1): b"data"},
            [SHARD.format(0, 1) + ": missing"],
            id="number-too-large",
        ),
        pytest.param(
            {"model.ckpt-100.index": TABLE, SHARD.format(0, 0): b"data"},
            ["model.ckpt-100.data-?????-of-?????: missing; there are no data files"],
            id="shard-of-none",
        ),
        pytest.param(
            {"model.ckpt-100.index": TABLE, SHARD.format(0, 1): b""},
            [SHARD.format(0, 1) + ": 0 bytes"],
            id="empty-data",
        ),
        pytest.param(
            {"model.ckpt-100.index": b"", SHARD.format(0, 1): b"data"},
            ["model.ckpt-100.index: 0 bytes that do not end as an index file does: empty, truncated or overwritten"],
            id="empty-index",
        ),
        pytest.param(
            {"model.ckpt-100.index": TABLE[:-1], SHARD.format(0, 1): b"data"},
            ["model.ckpt-100.index: 47 bytes that do not end as an index file does: empty, truncated or overwritten"],
            id="truncated-index",
        ),
        pytest.param(
            {"model.ckpt-100.index": TABLE[1:], SHARD.format(0, 1): b"data"},
            ["model.ckpt-100.index: 47 bytes that do not end as an index file does: empty, truncated or overwritten"],
            id="index-too-short",
        ),
        pytest.param(
            {"model.ckpt-100.index": TABLE + b"<html>", SHARD.format(0, 1): b"data"},
            ["model.ckpt-100.index: 54 bytes that do not end as an index file does: empty, truncated or overwritten"],
            id="overwritten-index",
        ),
        pytest.param(
            {"model.ckpt-100.index": b"<html>", SHARD.format(1, 2): b"data"},
            [
                "model.ckpt-100.index: 6 bytes that do not end as an index file does: empty, truncated or overwritten",
                SHARD.format(0, 2) + ": missing",
            ],
            id="index-and-shard",
        ),
    ],
)
@pytest.mark.parametrize("given", ["model.ckpt-100", "model.ckpt-100.index", ""], ids=["prefix", "index", "directory"])
def test_a_damaged_v2_checkpoint(given, files, problems, tmp_path):
    """Everything that is wrong with the files is told at once, however they were found."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    write_state(tmp_path, "model.ckpt-100")
    assert refusal(tmp_path / given, tmp_path) == [
        "model.ckpt-100: this checkpoint is damaged; take another one, or copy it again"
    ] + ["  - " + problem for problem in problems]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        pytest.param([SHARD.format(1, 2), SHARD.format(0, 2)], [SHARD.format(0, 2), SHARD.format(1, 2)], id="shards"),
        pytest.param(["model.ckpt-100.meta"], ["model.ckpt-100.meta"], id="meta"),
        pytest.param(
            ["model.ckpt-100.meta", SHARD.format(0, 1)],
            [SHARD.format(0, 1), "model.ckpt-100.meta"],
            id="shard-and-meta",
        ),
    ],
)
@pytest.mark.parametrize("given", ["model.ckpt-100", "model.ckpt-100.index", "first"])
def test_a_missing_index(given, names, found, tmp_path):
    """Data without an index is of no use; what there is of the checkpoint is listed."""
    write(tmp_path, names)
    path = tmp_path / (names[0] if given == "first" else given)
    assert refusal(path, tmp_path) == [
        "model.ckpt-100: the index file model.ckpt-100.index is missing, and the checkpoint can't be read without it; "
        "copy it too"
    ] + [f"  - {name}: present" for name in found]


def test_a_state_file_whose_checkpoint_lacks_its_index(tmp_path):
    """What is left of the latest checkpoint is not passed over."""
    write(tmp_path, [SHARD.format(0, 1)])
    write_state(tmp_path, "/gone/model.ckpt-100")
    assert refusal(tmp_path, tmp_path) == [
        "model.ckpt-100: the index file model.ckpt-100.index is missing, and the checkpoint can't be read without it; "
        "copy it too",
        "  - model.ckpt-100.data-00000-of-00001: present",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "the file is empty", id="0-bytes"),
        pytest.param(TABLE[:-1], "or a truncated V1 one", id="truncated"),
        pytest.param(TABLE[1:], "or a truncated V1 one", id="too-short"),
        pytest.param(b"404 Not Found", "or a truncated V1 one", id="text"),
    ],
)
@pytest.mark.parametrize(
    "given", ["model.ckpt-100", "model.ckpt-100.meta", "checkpoint"], ids=["file", "meta", "state"]
)
def test_a_file_that_is_no_checkpoint(given, content, reason, tmp_path):
    """A single file is a V1 checkpoint or none at all."""
    write(tmp_path, ["model.ckpt-100"], content)
    write(tmp_path, ["model.ckpt-100.meta"])
    write_state(tmp_path, "model.ckpt-100")
    assert refusal(tmp_path / given, tmp_path) == [
        f"model.ckpt-100: this is not a checkpoint ({reason}); expected a prefix with a .index file, one of its files, "
        "a directory, or a V1 checkpoint, which is a table file"
    ]


# What is not there.


@pytest.mark.parametrize(
    ("there", "given", "near"),
    [
        pytest.param(["model.ckpt-1000"], "model.ckpt-100", ["model.ckpt-1000"], id="one-zero-more"),
        pytest.param(["model.ckpt-1000", "zzz"], "model.ckpt-100", ["model.ckpt-1000"], id="not-the-others"),
        pytest.param(["crnn", "ctpn"], "1", ["crnn", "ctpn"], id="nothing-near"),
        pytest.param([str(number) for number in range(10, 17)], "x", ["10", "11", "12", "13", "14"], id="five-at-most"),
        pytest.param(["a" + number for number in "1234567"], "a0", ["a7", "a6", "a5", "a4", "a3"], id="five-nearest"),
    ],
)
@pytest.mark.parametrize("write_any", [write_v2, write_v1], ids=["v2", "v1"])
@pytest.mark.parametrize("ending", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_near_misses_are_suggested(ending, write_any, there, given, near, tmp_path):
    """For a checkpoint that is not there those with the most similar names are listed, or else any."""
    for name in there:
        write_any(tmp_path, name)
    assert refusal(tmp_path / (given + ending), tmp_path) == [
        f"{given}: no such checkpoint: neither {given}.index nor a V1 file of that name; in the same directory there are"
    ] + ["  - " + name for name in near]


def test_nothing_to_suggest(tmp_path):
    """In a directory without checkpoints there is nothing to list."""
    assert refusal(tmp_path / "model.ckpt-100", tmp_path) == [
        "model.ckpt-100: no such checkpoint: neither model.ckpt-100.index nor a V1 file of that name"
    ]


@pytest.mark.parametrize("parent", ["gone", "gone/deeper", "file"])
def test_a_directory_that_is_not_there(parent, tmp_path):
    """A wrong directory is told from a wrong name."""
    write(tmp_path, ["file"])
    assert refusal(tmp_path / parent / "model.ckpt-100", tmp_path) == [
        f"{parent}/model.ckpt-100: there is no directory {parent}"
    ]


def test_a_name_that_no_file_can_have(tmp_path):
    """A name beyond what the file system takes is of no checkpoint."""
    name = "x" * 300
    assert refusal(tmp_path / name, tmp_path) == [
        f"{name}: no such checkpoint: neither {name}.index nor a V1 file of that name"
    ]


def test_a_pipe_is_not_waited_for(tmp_path):
    """A named pipe is no checkpoint, and opening it would take forever."""
    os.mkfifo(str(tmp_path / "model.ckpt-100"))
    assert refusal(tmp_path / "model.ckpt-100", tmp_path) == [
        "model.ckpt-100: no such checkpoint: neither model.ckpt-100.index nor a V1 file of that name"
    ]


def test_a_directory_that_may_not_be_read(tmp_path):
    """Missing permissions are not taken for missing files."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may read everything
    try:
        lines = refusal(closed / "model.ckpt-100", tmp_path)
    finally:
        os.seteuid(user)
    assert lines == ["closed: can't be read: Permission denied"]
