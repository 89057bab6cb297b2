"""What keeps TF Serving from loading a version, found without TensorFlow."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from ckpt2saved.errors.problem import texts
from ckpt2saved.versions.health import health
from tests.support.versions import (
    FROZEN_GRAPH,
    GRAPH,
    INDEX,
    VALUES,
    as_nobody,
    make_version,
    open_to_all,
)

WITHOUT_VALUES = "variables/variables.index: missing; TF Serving would load the version without a value in any variable"
DATA = "variables/variables.data-00000-of-00001"


def write(name, content):
    return lambda directory: (directory / name).write_bytes(content)


def remove(*files):
    return lambda directory: [(directory / name).unlink() for name in files]


def remove_variables(directory):
    shutil.rmtree(str(directory / "variables"))


def with_shards(*shards):
    def change(directory):
        (directory / DATA).unlink()
        for shard in shards:
            (directory / "variables" / ("variables.data-" + shard)).write_bytes(VALUES)

    return change


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        pytest.param(lambda directory: None, [], id="whole"),
        pytest.param(remove("saved_model.pb"), ["saved_model.pb: missing; TF Serving has nothing to load"], id="no-pb"),
        pytest.param(write("saved_model.pb", b""), ["saved_model.pb: empty"], id="empty-pb"),
        pytest.param(
            write("saved_model.pb", GRAPH[:-1]),
            ["saved_model.pb: truncated after 4404 bytes, or damaged; copy the complete file again"],
            id="pb-cut-in-the-graph",
        ),
        pytest.param(
            write("saved_model.pb", b"\x08\x01\x12\x80"),
            ["saved_model.pb: truncated after 4 bytes, or damaged; copy the complete file again"],
            id="pb-cut-in-a-length",
        ),
        pytest.param(
            write("saved_model.pb", b"\x08"),
            ["saved_model.pb: truncated after 1 bytes, or damaged; copy the complete file again"],
            id="pb-cut-in-the-version",
        ),
        pytest.param(
            write("saved_model.pb", b"\x08\x01"),
            ["saved_model.pb: truncated or of something else: no meta graph in its 2 bytes"],
            id="no-meta-graph",
        ),
        pytest.param(
            write("saved_model.pb", b"<html>not found</html>"),
            ["saved_model.pb: truncated after 22 bytes, or damaged; copy the complete file again"],
            id="no-protobuf",
        ),
        pytest.param(
            write("saved_model.pb", GRAPH + b"\x18\x80\x80\x01\x251234\x2912345678" + GRAPH[2:]), [], id="more-fields"
        ),
        pytest.param(remove("variables/variables.index"), [WITHOUT_VALUES], id="no-index"),
        pytest.param(remove_variables, [WITHOUT_VALUES], id="no-variables-yet"),
        pytest.param(remove("variables/variables.index", DATA), [WITHOUT_VALUES], id="empty-variables"),
        pytest.param(write("variables/variables.index", b""), ["variables/variables.index: empty"], id="empty-index"),
        pytest.param(
            write("variables/variables.index", INDEX[-47:]),
            ["variables/variables.index: truncated to 47 bytes; copy the complete file again"],
            id="short-index",
        ),
        pytest.param(
            write("variables/variables.index", INDEX + b"\0"),
            ["variables/variables.index: truncated, or no checkpoint index: its last 8 bytes are not a table's"],
            id="no-index-of-a-checkpoint",
        ),
        pytest.param(
            remove(DATA),
            ["variables/variables.data-*: missing, though variables/variables.index is there"],
            id="no-data",
        ),
        pytest.param(
            with_shards("00000-of-00002", "00001-of-00002"),
            ["variables/variables.data-00000-of-00001: missing"],
            id="shards-of-another-index",
        ),
        pytest.param(with_shards("00000-of-00001", "00001-of-00003"), [], id="other-shards-beside"),
        pytest.param(
            lambda directory: [
                write("saved_model.pb", FROZEN_GRAPH)(directory),
                remove("variables/variables.index")(directory),
            ],
            [WITHOUT_VALUES],
            id="data-without-index",
        ),
    ],
)
def test_what_is_wrong_with_a_version_is_found_without_tensorflow(base, change, problems):
    """Above all what TF Serving would load without complaint."""
    directory = make_version(base, "1")
    change(directory)
    open_to_all(directory)

    assert texts(health(directory).problems) == problems


def test_every_truncation_of_the_graph_is_found(base):
    """TF 1.15 loads a few of them, with no signature."""
    directory = make_version(base, "1")
    for length in range(1, len(GRAPH)):
        (directory / "saved_model.pb").write_bytes(GRAPH[:length])
        assert len(health(directory).problems) == 1, length


def test_a_graph_without_variables_needs_none(base):
    """Neither an empty directory for them, which git and other copiers leave out."""
    directory = make_version(base, "1")
    (directory / "saved_model.pb").write_bytes(FROZEN_GRAPH)
    shutil.rmtree(str(directory / "variables"))

    assert not health(directory).problems


TEXT_GRAPH = """
saved_model_schema_version: 1
meta_graphs {
  meta_info_def { tags: "serve" }
  signature_def {
    key: "serving_default"
    value { outputs { key: "y" value { name: "y:0" dtype: DT_FLOAT } } method_name: "tensorflow/serving/predict" }
  }
}
"""


def test_a_text_graph_is_a_graph(base):
    """Unless it is empty."""
    directory = make_version(base, "1")
    (directory / "saved_model.pb").unlink()
    (directory / "saved_model.pbtxt").write_text(TEXT_GRAPH)
    assert not health(directory).problems

    (directory / "saved_model.pbtxt").write_bytes(b"")
    assert texts(health(directory).problems) == ["saved_model.pbtxt: empty"]


def test_what_is_no_directory_is_said_so(tmp_path):
    """TF Serving takes each of them for a version."""
    (tmp_path / "1").write_bytes(b"")
    (tmp_path / "2").symlink_to("gone")

    assert texts(health(tmp_path / "1").problems) == ["not a directory"]
    assert texts(health(tmp_path / "2").problems) == ["a symbolic link to gone, which is no directory"]
    assert texts(health(tmp_path / "3").problems) == ["there is no such directory"]


def test_modes_that_keep_a_server_out_are_found(base):
    """Of directories and of files, beside whatever else is wrong."""
    directory = make_version(base, "1")
    (directory / "variables").chmod(0o750)
    (directory / "saved_model.pb").chmod(0o600)
    (directory / DATA).unlink()

    assert tuple(texts(health(directory).problems)) == (
        "variables/variables.data-*: missing, though variables/variables.index is there",
        "saved_model.pb: mode 0600, which denies access to a server that runs as another user; chmod o+r",
        "variables: mode 0750, which denies access to a server that runs as another user; chmod o+rx",
    )


def test_a_failing_disk_is_no_missing_right(base, monkeypatch):
    """os.access says no, and not why: the error itself is told; one that does not come again is none."""
    directory = make_version(base, "1")
    access, opened, failing = os.access, os.open, []

    def fails(path):
        return os.fspath(path).endswith("saved_model.pb")

    def open_file(path, *arguments, **options):
        if failing and fails(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "access", lambda path, *rights, **how: not fails(path) and access(path, *rights, **how))
    monkeypatch.setattr(os, "supports_effective_ids", {os.access})
    monkeypatch.setattr(os, "open", open_file)
    assert health(directory).problems == ()
    failing.append(True)
    assert texts(health(directory).problems) == ["saved_model.pb: Input/output error"]


def test_what_this_user_may_not_read_is_found(nobodys, monkeypatch):
    """A directory that is closed hides the rest, and is no traceback."""
    directory = make_version(nobodys, "1")
    (directory / "saved_model.pb").chmod(0o600)
    closed = make_version(nobodys, "2")
    closed.chmod(0o744)
    with as_nobody():
        problems, closed_problems = tuple(texts(health(directory).problems)), tuple(texts(health(closed).problems))

        monkeypatch.setattr(
            "ckpt2saved.versions.health.why_no_access", lambda path, rights: None
        )  # as a file server may say
        refused = health(directory).problems

    assert refused[0].text == "saved_model.pb: Permission denied"
    assert problems == (
        "saved_model.pb: this user may not read it",
        "saved_model.pb: mode 0600, which denies access to a server that runs as another user; chmod o+r",
    )
    assert closed_problems == (
        ".: this user may not read it",
        ".: mode 0744, which denies access to a server that runs as another user; chmod o+rx",
    )
