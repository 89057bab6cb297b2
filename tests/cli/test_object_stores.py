"""Commands with a base directory in an object store: an S3 server in this process."""

from __future__ import annotations

import json

import pytest

from ckpt2saved.versions.object_stores.store import open_store
from tests.support.model_server import serving_rest
from tests.support.object_stores import is_exclusive_moto, s3_server, s3_url, upload_directory
from tests.support.versions import make_version


@pytest.fixture(scope="module", autouse=True)
def server():
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def url():
    return s3_url() + "/crnn"


@pytest.fixture(scope="module")
def single_writer():
    """The option for releases of moto that ignore the condition of create-if-absent."""
    return () if is_exclusive_moto() else ("--single-writer",)


def succeeded(result):
    assert result.exit_code == 0, result.output
    return result.stdout


def keys(url):
    return [one.key for one in open_store(url).objects()]


def test_an_export_and_what_follows(run_apart, url, version, crnn_checkpoint, single_writer):
    """To the answer of a server, which has the same files as version 1."""
    export = ("export", "-m", "crnn", "-c", crnn_checkpoint, "-o", url, *single_writer)
    assert succeeded(run_apart(*export, "--dry-run", "--no-parity", "--quiet")) == f"{url}/1\n" and keys(url) == []
    with serving_rest(version.parent, "crnn") as server:
        result = run_apart(*export, "--wait-for", server.url, "--timeout", "30")
    assert succeeded(result) == f"{url}/1\n"
    assert "matching the files" in result.stderr
    assert [key for key in keys(url) if key.startswith(".staging-")] == []

    unchanged = json.loads(succeeded(run_apart(*export, "--skip-unchanged", "--json", "-q")))
    assert (unchanged["path"], unchanged["unchanged"]) == (f"{url}/1", True)
    bump = ("bump-version", url, *single_writer)
    bumped = json.loads(succeeded(run_apart(*bump, "--compatible-with", "newest", "--json", "-q")))
    assert (bumped["path"], bumped["version"], bumped["from"]) == (f"{url}/2", 2, 1)
    listed = json.loads(succeeded(run_apart("list", url, "--deep", "--json")))["versions"]
    assert [(one["path"], one["step"], one["republished_from"], one["problems"]) for one in listed] == [
        (f"{url}/2", 7, 1, []),
        (f"{url}/1", 7, None, []),
    ]
    assert succeeded(run_apart("verify", url, "-q", "--without-onednn")) == f"{url}/2\n"
    assert succeeded(run_apart("prune", url, "--keep", "1", "--dry-run")) == f"{url}/1\n"
    assert json.loads(succeeded(run_apart("prune", url, "--keep", "1", "--json")))["deleted"] == [f"{url}/1"]
    result = run_apart(*export, "--unless-published", "--no-parity")
    assert result.exit_code == 1 and f"{url}: version 2, has this checkpoint already" in result.stderr
    assert [key for key in keys(url) if key.startswith(".staging-")] == []


def test_the_table_of_versions(run_apart, url, tmp_path):
    upload_directory(url, make_version(tmp_path, "7"), "7")
    upload_directory(url, tmp_path / "7", "v8")
    open_store(url).delete(["7/variables/variables.index"])
    result = run_apart("list", url)
    assert "variables/variables.index: missing or empty in the store" in " ".join(succeeded(result).split())
    assert (
        f"{url}/v8: TF Serving ignores it, as its name is not an integer; publish it with ckpt2saved" in result.stderr
    )
    assert "no versions yet" in run_apart("list", url + "/other").stderr


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["list", "s3://no-such-bucket/crnn"], "s3://no-such-bucket/crnn: could not find the bucket: "),
        (
            ["verify", "s3://models/nothing/7"],
            "s3://models/nothing: there is no version 7; there are no versions below",
        ),
        (["prune", "s3://models/nothing/7"], "its name is a version number; expected the base directory of a model"),
        (["bump-version", "s3://models/nothing"], "there is no version to republish; name a SavedModel directory"),
    ],
)
def test_what_cannot_be_done(run_apart, arguments, found):
    result = run_apart(*arguments)
    assert result.exit_code == 1 and found in " ".join(result.stderr.split()) and "Traceback" not in result.stderr


def test_pictures_are_not_read_by_a_version_in_a_store(run_apart, url, tmp_path, crnn_checkpoint):
    """Each batch would be a download; the version is downloaded by hand once."""
    upload_directory(url, make_version(tmp_path, "7"), "7")
    (tmp_path / "lines.tsv").write_text("a.png\ta\n")
    (tmp_path / "a.png").write_bytes(b"x")
    options = ("--lines", tmp_path / "lines.tsv", "--not-worse-than", "newest")
    result = run_apart("export", "-m", "crnn", "-c", crnn_checkpoint, "-o", url, *options)
    assert result.exit_code == 2 and "download the version, and pass its directory" in " ".join(result.stderr.split())
