"""The recipes in examples/ci: what they run is run here, against a server that answers as TF Serving does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.model_server import serving_rest
from tests.support.schemas import against_schema

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "examples" / "ci"


@pytest.fixture
def job(tmp_path, crnn_checkpoint):
    """A job's working directory, in which a training has left its checkpoint; runs lines of a shell there."""
    training = tmp_path / "runs" / "crnn"
    training.parent.mkdir()
    training.symlink_to(crnn_checkpoint.parent)
    program = tmp_path / "bin" / "ckpt2saved"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ckpt2saved "$@"\n')
    program.chmod(0o755)
    base = tmp_path / "models" / "crnn"
    base.mkdir(parents=True)

    def run(lines, **variables):
        path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
        environment = dict(os.environ, PATH=path, PYTHONPATH=str(ROOT), CKPT2SAVED_EXPORT_DIR=str(base), **variables)
        return subprocess.run(
            ["sh", "-ec", lines],
            cwd=str(tmp_path),
            env=environment,
            capture_output=True,
            text=True,
        )

    with serving_rest(base, "crnn") as server:
        run.server, run.folder, run.base = server, tmp_path, base
        yield run


def is_live(job, done, report, export):
    """The version is published, live, and kept as JSON for programs and Markdown for people."""
    assert done.returncode == 0, done.stderr
    content = json.loads((job.folder / export).read_text())
    assert content["path"] == str(job.base / "1") and content["server"]["outcome"] == "live"
    page = (job.folder / report).read_text()
    assert page.startswith(f"### ckpt2saved export: published `{job.base / '1'}`, live on {job.server.url}\n")
    assert "| answers | 3 matching the files, largest difference " in page


def test_the_shell_script(job):
    """Trains, publishes, waits, prunes."""
    script = f"sh {RECIPES / 'publish.sh'}"
    variables = {"CKPT2SAVED_MODEL": "crnn", "CKPT2SAVED_CHECKPOINT": "runs/crnn", "TRAIN": "echo trained > log"}
    done = job(script, CKPT2SAVED_WAIT_FOR=job.server.url, **variables)
    is_live(job, done, "publish-results/report.md", "publish-results/export.json")
    assert (job.folder / "log").read_text() == "trained\n"


def test_the_shell_script_stops_where_the_server_does(job):
    """A version that does not load is a red build with the server's own words, and nothing is pruned."""
    job.server.script[1] = [("END", "FAILED_PRECONDITION", "out of memory")]
    variables = {"CKPT2SAVED_MODEL": "crnn", "CKPT2SAVED_CHECKPOINT": "runs/crnn"}
    script = f"sh -x {RECIPES / 'publish.sh'}"
    done = job(script, CKPT2SAVED_WAIT_FOR=job.server.url, **variables)
    assert done.returncode == 3 and "out of memory" in done.stderr and "+ ckpt2saved prune" not in done.stderr
    page = (job.folder / "publish-results" / "report.md").read_text()
    assert f"published `{job.base / '1'}`, then exit code 3\n" in page and "out of memory" in page
    assert json.loads((job.folder / "publish-results" / "export.json").read_text())["server"]["problems"]
    done = job(f"sh {RECIPES / 'publish.sh'}", TRAIN="exit 7", **variables)
    assert done.returncode == 7


def test_github_actions(job):
    """The workflow is one, and its step that publishes does so."""
    recipe = RECIPES / "github-actions.yml"
    (publish,) = yaml.safe_load(recipe.read_text())["jobs"].values()
    assert set(publish["env"]) == {"CKPT2SAVED_EXPORT_DIR", "CKPT2SAVED_WAIT_FOR"}
    lines = [step["run"] for step in publish["steps"] if step.get("run", "").startswith("ckpt2saved ")]
    assert len(lines) == 2
    done = job("\n".join(lines), CKPT2SAVED_WAIT_FOR=job.server.url, GITHUB_STEP_SUMMARY="summary.md")
    is_live(job, done, "summary.md", "export.json")


def test_gitlab(job):
    """The pipeline is one, and its job that publishes does so."""
    publish = yaml.safe_load((RECIPES / "gitlab-ci.yml").read_text())["publish"]
    install, *lines = publish["script"]
    assert install.startswith("pip install") and publish["artifacts"]["paths"] == ["export.json", "report.md"]
    done = job("\n".join(lines), CKPT2SAVED_WAIT_FOR=job.server.url)
    is_live(job, done, "report.md", "export.json")


@pytest.mark.parametrize("recipe, schema", [("github-actions.yml", "github-workflows"), ("gitlab-ci.yml", "gitlab-ci")])
def test_recipes_fit_the_schemas_of_those_who_read_them(tmp_path, recipe, schema):
    """And a mistake in one does not."""
    pytest.importorskip("check_jsonschema")
    assert against_schema(schema, RECIPES / recipe) == ""
    broken = tmp_path / recipe
    broken.write_text((RECIPES / recipe).read_text().replace("paths: ", "path_s: ").replace("runs-on", "runs_on"))
    assert "Schema validation errors" in against_schema(schema, broken)
