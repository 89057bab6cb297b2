"""The recipes in examples/ci, the GitHub action and the GitLab component: their shell steps are run here.

The server is one that answers as TF Serving does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.model_server import serving_rest
from tests.support.schemas import against_schema

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "examples" / "ci"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
SPEC, COMPONENT = yaml.safe_load_all((ROOT / "templates" / "export.yml").read_text())
# In the names of tests: what a shell would run or take apart if it were part of a script.
NASTY = ["a b", "$(touch run)", "`touch run`", "'; touch run; '", '"; touch run; "', "$HOME", "*", "\\", "LINES"]


def program(path, lines):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


@pytest.fixture
def shell(tmp_path):
    """Runs lines of a shell in a job's directory, with this Python as `python`, where `pip` writes what it was told."""
    recording = "import json, sys; json.dump(sys.argv[1:], open(sys.argv.pop(1), 'w'))"
    program(
        tmp_path / "bin" / "python",
        f'if [ "$1 $2" = "-m pip" ]; then exec "{sys.executable}" -c "{recording}" "{tmp_path}/pip.json" "$@"; fi\n'
        f'exec "{sys.executable}" "$@"',
    )
    program(tmp_path / "bin" / "ckpt2saved", f'exec "{sys.executable}" -m ckpt2saved "$@"')

    def run(lines, **variables):
        path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
        temporary = {name: str(tmp_path) for name in ("RUNNER_TEMP",)}
        files = {"GITHUB_OUTPUT": "output", "GITHUB_STEP_SUMMARY": "summary.md"}
        environment = dict(os.environ, PATH=path, PYTHONPATH=str(ROOT), **temporary, **files)
        environment.update(variables)
        command = ["sh", "-ec", lines]
        return subprocess.run(command, cwd=str(tmp_path), env=environment, capture_output=True, text=True)

    run.folder = tmp_path
    return run


@pytest.fixture
def recorded(shell):
    """The same with a ckpt2saved that only writes down its arguments, one file for each call."""
    record = (
        "import json, os, sys; from pathlib import Path;"
        "(Path(sys.argv[1]) / ('call-%d.json' % len(list(Path(sys.argv[1]).glob('call-*'))))).write_text(json.dumps(sys.argv[2:]));"
        "print('{}')"
    )
    program(shell.folder / "bin" / "ckpt2saved", f'exec "{sys.executable}" -c "{record}" "{shell.folder}" "$@"')
    return shell


@pytest.fixture
def job(shell, crnn_checkpoint):
    """A job's working directory, in which a training has left its checkpoint."""
    training = shell.folder / "runs" / "crnn"
    training.parent.mkdir()
    training.symlink_to(crnn_checkpoint.parent)
    base = shell.folder / "models" / "crnn"
    base.mkdir(parents=True)

    def run(lines, **variables):
        return shell(lines, CKPT2SAVED_EXPORT_DIR=str(base), **variables)

    with serving_rest(base, "crnn") as server:
        run.server, run.folder, run.base = server, shell.folder, base
        yield run


def of_action(inputs, step="Export"):
    """A step of the action as GitHub runs it: the lines, and the variables with the inputs in them."""
    assert set(inputs) <= set(ACTION["inputs"])
    values = {name: inputs.get(name, given.get("default")) for name, given in ACTION["inputs"].items()}
    (found,) = [one for one in ACTION["runs"]["steps"] if one["name"] == step]
    assert found["shell"] == "sh" and "${{" not in found["run"]

    def filled(text):
        return re.sub(r"\${{ inputs\.([\w-]+) }}", lambda match: str(values[match.group(1)]), text)

    variables = {name: filled(text) for name, text in found["env"].items()}
    variables.pop("ACTION_PATH", None)
    return found["run"], variables


def of_component(inputs):
    """The component's job, as GitLab includes it."""
    wanted = SPEC["spec"]["inputs"]
    assert set(inputs) <= set(wanted)
    values = {name: inputs.get(name, given.get("default")) for name, given in wanted.items()}

    def filled(node):
        if isinstance(node, str):
            return re.sub(r"\$\[\[ inputs\.([\w-]+) \]\]", lambda match: str(values[match.group(1)]), node)
        if isinstance(node, dict):
            return {filled(name): filled(value) for name, value in node.items()}
        return [filled(value) for value in node] if isinstance(node, list) else node

    assert not any(
        "$[[" in line
        for line in COMPONENT["$[[ inputs.job ]]"]["script"] + COMPONENT["$[[ inputs.job ]]"]["before_script"]
    )
    return filled(COMPONENT)


def of_component_job(inputs):
    (found,) = of_component(inputs).values()
    return "\n".join(found["script"]), found["variables"]


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


def example(job):
    """The job's training is that of the example, whose lines can be read."""
    (job.folder / "runs" / "crnn").unlink()
    (job.folder / "runs" / "crnn").symlink_to(ROOT / "examples" / "crnn" / "checkpoint")
    (job.folder / "training").mkdir()
    (job.folder / "training" / "images").symlink_to(ROOT / "examples" / "crnn" / "images")
    for name, source in (("charset.txt", "charset.txt"), ("held-out.tsv", "lines.tsv")):
        (job.folder / "training" / name).write_text(
            (ROOT / "examples" / "crnn" / source).read_text(encoding="utf-8"), encoding="utf-8"
        )


def outputs(job):
    return dict(line.split("=", 1) for line in (job.folder / "output").read_text().splitlines())


def test_github_actions(job):
    """The recipe's step with the action publishes, reads the labelled lines, waits, and prunes."""
    pytest.importorskip("rapidfuzz")
    example(job)
    (publish,) = yaml.safe_load((RECIPES / "github-actions.yml").read_text())["jobs"].values()
    (step,) = [step for step in publish["steps"] if "ckpt2saved" in step.get("uses", "")]
    inputs = dict(step["with"], **{"export-dir": job.base, "wait-for": job.server.url, "keep": "1"})
    lines, variables = of_action(inputs)
    done = job(lines, **variables)
    assert done.returncode == 0, done.stderr
    found = outputs(job)
    assert found["path"] == str(job.base / "1") and found["version"] == "1"
    content = json.loads(Path(found["json"]).read_text())
    assert content["path"] == found["path"] and content["server"]["outcome"] == "live"
    assert content["accuracy"]["cer"] <= 0.05
    assert (job.folder / "summary.md").read_text().startswith("### ckpt2saved export: published")
    assert step["id"] == "publish" and "steps.publish.outputs.json" in (RECIPES / "github-actions.yml").read_text()


def test_gitlab(job):
    """The recipe's component publishes and waits; without its labelled lines here, which the action's has."""
    (included,) = yaml.safe_load((RECIPES / "gitlab-ci.yml").read_text())["include"]
    assert included["component"].split("@")[0].endswith("/ckpt2saved/export")
    without = dict.fromkeys(["lines", "max-cer", "not-worse-than", "options"], "")
    inputs = dict(included["inputs"], **{"export-dir": job.base, "wait-for": job.server.url}, **without)
    lines, variables = of_component_job(inputs)
    is_live(job, job(lines, **variables), "report.md", "export.json")
    (found,) = of_component({}).values()
    assert found["artifacts"]["paths"] == ["export.json", "report.md"]


@pytest.mark.parametrize("of", [of_action, of_component_job])
def test_a_version_that_does_not_go_live(job, of):
    """The step fails with the exit code of the command; the version is named; nothing is pruned."""
    job.server.script[1] = [("END", "FAILED_PRECONDITION", "out of memory")]
    inputs = {"model": "crnn", "checkpoint": "runs/crnn", "export-dir": job.base, "wait-for": job.server.url, "keep": 1}
    lines, variables = of(inputs)
    done = job(f"set -x\n{lines}", **variables)
    assert done.returncode == 3 and "out of memory" in done.stderr and "+ ckpt2saved prune" not in done.stderr
    if of is of_action:
        assert outputs(job)["path"] == str(job.base / "1")


@pytest.mark.parametrize("of", [of_action, of_component_job])
def test_a_wrong_command_line(job, of):
    """Exit code 2, and outputs that are empty."""
    lines, variables = of({"export-dir": job.base, "arguments": "--no-such-option"})
    done = job(lines, **variables)
    assert done.returncode == 2 and "--no-such-option" in done.stderr
    if of is of_action:
        assert outputs(job)["path"] == outputs(job)["version"] == ""


@pytest.mark.parametrize("of", [of_action, of_component_job])
def test_inputs_are_no_code(recorded, of):
    """Every input arrives as it was given, whatever a shell would make of it; empty ones are not there."""
    several = "\n".join(NASTY)
    inputs = {"export-dir": NASTY[1], "model": NASTY[2], "graph": NASTY[3], "wait-for": NASTY[4], "timeout": NASTY[5]}
    inputs.update({"lines": NASTY[6], "max-cer": NASTY[7], "not-worse-than": NASTY[8], "keep": NASTY[0]})
    inputs.update({"checkpoint": several, "options": several, "arguments": several})
    lines, variables = of(inputs)
    done = recorded(lines, **variables)
    assert done.returncode == 0, done.stderr
    calls = [json.loads(path.read_text()) for path in sorted(recorded.folder.glob("call-*.json"))]
    export, prune = calls
    given = [word for value in NASTY for word in ("--checkpoint", value)]
    given += [word for value in NASTY for word in ("--option", value)] + NASTY
    start = export.index("--checkpoint")
    assert export[0] == "export" and export[start : start + len(given)] == given
    single = dict(zip(export[1:start:2], export[2:start:2]))
    wanted = ["export-dir", "timeout", "model", "graph", "wait-for", "lines", "max-cer", "not-worse-than"]
    assert single == {f"--{name}": inputs[name] for name in wanted}
    assert export[start + len(given)] == "--json" and prune == [
        "prune",
        NASTY[1],
        "--keep",
        NASTY[0],
        "--server",
        NASTY[4],
    ]
    assert not (recorded.folder / "run").exists()


@pytest.mark.parametrize("of", [of_action, of_component_job])
def test_what_is_not_given_is_not_passed(recorded, of):
    lines, variables = of({"export-dir": "models/crnn", "model": "crnn"})
    assert recorded(lines, **variables).returncode == 0
    (call,) = [json.loads(path.read_text()) for path in recorded.folder.glob("call-*.json")]
    report = "summary.md" if of is of_action else "report.md"
    assert call == "export --export-dir models/crnn --timeout 600 --model crnn --json --report".split() + [report]


@pytest.mark.parametrize("tensorflow, extras", [("cpu", "cpu,evaluate,serving"), ("none", "evaluate,serving")])
def test_what_the_action_installs(shell, tensorflow, extras):
    lines, variables = of_action({"tensorflow": tensorflow, "requirements": "\n".join(NASTY)}, "Install ckpt2saved")
    done = shell(lines, ACTION_PATH="/an action", **variables)
    assert done.returncode == 0, done.stderr
    called = json.loads((shell.folder / "pip.json").read_text())
    assert called[called.index("--") + 1 :] == [f"/an action[{extras}]", *NASTY]
    assert not (shell.folder / "run").exists()
    lines, variables = of_action({"tensorflow": "$(touch run)"}, "Install ckpt2saved")
    assert shell(lines, ACTION_PATH="/", **variables).returncode == 2 and not (shell.folder / "run").exists()


def test_what_the_component_installs(shell):
    (found,) = of_component({"package": "\n".join(NASTY)}).values()
    assert shell("\n".join(found["before_script"]), **found["variables"]).returncode == 0
    called = json.loads((shell.folder / "pip.json").read_text())
    assert called[called.index("--") + 1 :] == NASTY and not (shell.folder / "run").exists()


def test_action_and_component_take_the_same_inputs():
    """Apart from how each installs; every one is used, and described."""
    of_one = {"working-directory", "python-version", "tensorflow", "requirements"}, {"job", "stage", "image", "package"}
    inputs = set(ACTION["inputs"]), set(SPEC["spec"]["inputs"])
    assert inputs[0] - of_one[0] == inputs[1] - of_one[1]
    for given, text in ((ACTION["inputs"], ACTION["runs"]), (SPEC["spec"]["inputs"], COMPONENT)):
        for name, value in given.items():
            assert value["description"] and f"inputs.{name}" in json.dumps(text), name


def test_the_workflow_of_this_repository_runs_everything():
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    (versions,) = [
        step["with"]["python-version"].split()
        for step in job["steps"]
        if "setup-python" in step["uses" if "uses" in step else "name"]
    ]
    assert {"3.7", "3.13"} <= set(versions)


@pytest.mark.parametrize(
    "schema, path",
    [
        ("github-workflows", "examples/ci/github-actions.yml"),
        ("github-workflows", ".github/workflows/ci.yml"),
        ("github-actions", "action.yml"),
        ("gitlab-ci", "examples/ci/gitlab-ci.yml"),
    ],
)
def test_files_fit_the_schemas_of_those_who_read_them(tmp_path, schema, path):
    """And a mistake in one does not."""
    pytest.importorskip("check_jsonschema")
    assert against_schema(schema, ROOT / path) == ""
    broken = tmp_path / "broken.yml"
    text = (ROOT / path).read_text()
    broken.write_text(re.sub("paths:|runs-on:|runs:|script:", "wrong:", text))
    assert "Schema validation errors" in against_schema(schema, broken)


def test_the_component_fits_the_schema(tmp_path):
    """Its header, and the job that it becomes."""
    pytest.importorskip("check_jsonschema")
    for number, content in enumerate([SPEC, of_component({"export-dir": "models"})]):
        path = tmp_path / f"{number}.yml"
        path.write_text(yaml.safe_dump(content))
        assert against_schema("gitlab-ci", path) == ""
    path.write_text(path.read_text().replace("paths", "path_s"))
    assert "Schema validation errors" in against_schema("gitlab-ci", path)
