"""The gate of `export`: the staged files read labelled pictures before they are published."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.checkpoints import write_checkpoint
from tests.support.letters import GRAPH, SIGNATURES
from tests.support.model_server import serving_rest

GOOD = np.eye(4, dtype="float32")
D_AS_A = np.concatenate([GOOD[:3], GOOD[:1]])  # reads d as a
C_AND_D_AS_A = np.concatenate([GOOD[:2], GOOD[:1], GOOD[:1]])
# d is 2 of 16 characters, c is 4.
TEXTS = ("abcd", "aabb", "cccc", "dbba")


def write(prefix, weights, step):
    return write_checkpoint(prefix, {"weights": weights, "global_step": np.int64(step)})


@pytest.fixture
def export(run_apart, tmp_path):
    """Export a checkpoint of the network, with the labelled pictures."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "letters.py").write_text(GRAPH)
    (tmp_path / "ocr.yaml").write_text(SIGNATURES)
    labels = tmp_path / "lines.tsv"
    labels.write_text("".join(f"{number}.png\t{text}\n" for number, text in enumerate(TEXTS)))
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.png").write_bytes(text.encode())
    path = list(sys.path)

    def call(weights_or_path, *arguments, lines=True):
        checkpoint = weights_or_path
        if isinstance(weights_or_path, np.ndarray):
            checkpoint = write(tmp_path / "model.ckpt-7", weights_or_path, 7)
        more = ["--lines", labels] if lines else []
        model = ["--model", tmp_path / "ocr.yaml", "--allow-code", "--python-path", tmp_path / "code"]
        return run_apart("export", "-c", checkpoint, "-o", tmp_path / "base", *model, *more, *arguments)

    yield call
    sys.path[:] = path
    sys.modules.pop("letters", None)


def content(base):
    """The names in the base directory, without the lock."""
    return sorted(name for name in os.listdir(str(base)) if not name.startswith(".")) if base.exists() else []


def leftovers(base):
    return [name for name in os.listdir(str(base)) if name.startswith(".staging")] if base.exists() else []


def test_a_good_version_is_published_with_its_figures(export, tmp_path):
    """The figures stand on stderr, in --json, in the report and in the provenance."""
    result = export(D_AS_A, "--max-cer", "0.125", "--json", "--report", tmp_path / "report.md")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["accuracy"]
    assert (found["edits"], found["characters"], found["cer"], found["max_cer"]) == (2, 16, 0.125, 0.125)
    assert len(found["results"]) == 4 and found["is_good_enough"]
    assert "accuracy    characters 12.5 % (2 errors in 16 characters); words 50 %; 2 of 4 lines exact" in result.stderr
    recorded = json.loads((tmp_path / "base" / "1" / "assets.extra" / "ckpt2saved.json").read_text())["accuracy"]
    assert recorded["cer"] == 0.125 and recorded["labels"]["name"] == "lines.tsv" and "results" not in recorded
    assert "| character error rate | 12.5 % | 2 of 16 |" in (tmp_path / "report.md").read_text()


def test_a_version_over_the_limit_is_not_published(export, tmp_path):
    """Exit code 3, with the figures and lines; nothing is published and nothing is left."""
    result = export(D_AS_A, "--max-cer", "0.1", "--json")
    assert result.exit_code == 3
    assert "step 7: the text is not read well enough; nothing is published" in result.stderr
    assert "12.5 % (2 errors in 16 characters), and --max-cer allows 10 %" in result.stderr
    assert "0.png: 'abcd' is read as 'abca'" in result.stderr
    assert content(tmp_path / "base") == [] and leftovers(tmp_path / "base") == []
    found = json.loads(result.stdout)
    assert found["path"] is None and found["accuracy"]["problem_details"][0]["code"] == "cer-over-limit"


def test_a_worse_version_than_the_newest_is_not_published(export, tmp_path):
    """The first one has nothing to compare with; an equal one passes; a worse one within the tolerance passes."""
    result = export(GOOD, "--not-worse-than", "newest")
    assert result.exit_code == 0, result.output
    assert "there is no version yet to compare with" in result.stderr
    result = export(C_AND_D_AS_A, "--not-worse-than", "newest", "--json")
    assert result.exit_code == 3
    assert "43.8 % (7 errors in 16 characters), and version 1 has 0 %" in result.stderr
    assert "2.png: 'cccc' is read as 'aaaa', and by version 1 as 'cccc'" in result.stderr
    worse = json.loads(result.stdout)["accuracy"]["worse"]
    assert [(one["picture"], one["edits"]) for one in worse] == [("2.png", 4), ("0.png", 2), ("3.png", 1)]
    assert content(tmp_path / "base") == ["1"]
    assert export(GOOD, "--not-worse-than", "newest").exit_code == 0
    assert export(D_AS_A, "--not-worse-than", "2", "--tolerance", "0.12").exit_code == 3
    assert content(tmp_path / "base") == ["1", "2"]
    result = export(D_AS_A, "--not-worse-than", tmp_path / "base" / "1", "--tolerance", "0.125")
    assert result.exit_code == 0, result.output
    assert content(tmp_path / "base") == ["1", "2", "3"]
    # Worse than 1, not worse than the newest.
    assert export(D_AS_A, "--not-worse-than", "newest", "--dry-run").exit_code == 0


def test_a_dry_run_measures_too(export, tmp_path):
    """Its exit code says whether the version would be published."""
    assert export(D_AS_A, "--max-cer", "0.1", "--dry-run").exit_code == 3
    assert export(D_AS_A, "--max-cer", "0.2", "--dry-run").exit_code == 0
    assert content(tmp_path / "base") == []


def test_better_than_the_newest_version(export, tmp_path):
    """The same rate is not enough."""
    assert export(D_AS_A, "--better-than", "newest").exit_code == 0
    result = export(D_AS_A, "--better-than", "newest")
    assert result.exit_code == 3 and "only a lower rate is published" in result.stderr
    assert export(GOOD, "--better-than", "1").exit_code == 0
    result = export(GOOD, "--better-than", "1", "--not-worse-than", "1")
    assert result.exit_code == 2 and "pass one of them" in result.stderr
    assert content(tmp_path / "base") == ["1", "2"]


def test_not_worse_than_what_a_server_answers_from(export, tmp_path):
    """The version that is live, whatever lies in the base directory."""
    assert export(GOOD, lines=False).exit_code == 0
    with serving_rest(tmp_path / "base", "base") as server:
        arguments = ["--not-worse-than", "live", "--server", server.url]
        result = export(D_AS_A, *arguments)
        assert result.exit_code == 3, result.output
        assert f"and {server.url}/v1/models/base has 0 %" in result.stderr
        assert export(GOOD, *arguments, "--dry-run").exit_code == 0
        result = export(GOOD, *arguments, "--model-name", "other")
        assert result.exit_code == 1 and "has no such model" in result.stderr
    result = export(GOOD, *arguments)
    assert result.exit_code == 1 and "connection refused" in result.stderr
    assert content(tmp_path / "base") == ["1"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--not-worse-than", "live"], "--not-worse-than live: only with the address of a server"),
        (["--not-worse-than", "5"], "there is no version 5"),
        (["--not-worse-than", "nowhere"], "there is no such directory; expected newest, live, a version number in"),
        (["--tolerance", "0.1"], "--tolerance: only with --not-worse-than"),
        (["--server", "http://h:1", "--not-worse-than", "newest"], "--server: only with --not-worse-than live"),
        (["--max-cer", "5"], "is not in the range 0<=x<=1"),
        (["--select", "best"], "expected a directory with several checkpoints"),
        (
            ["--lines-signature", "text"],
            "there is no signature text; expected one that reads text from pictures of lines: serving_default",
        ),
    ],
)
def test_what_contradicts_itself(export, tmp_path, arguments, said):
    """Exit code 2, and nothing is published."""
    result = export(GOOD, *arguments)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert content(tmp_path / "base") == []


@pytest.mark.parametrize("arguments", [["--max-cer", "0.1"], ["--select", "best"], ["--no-nfc"]])
def test_options_that_need_labelled_pictures(export, arguments):
    """They would have no effect without --lines."""
    result = export(GOOD, *arguments, lines=False)
    assert result.exit_code == 2 and "only with --lines" in result.stderr, result.output


def training(tmp_path, **weights):
    """A directory of checkpoints step1, step2, ..., whose state file names the last one."""
    runs = tmp_path / "runs"
    runs.mkdir()
    for name, value in weights.items():
        write(runs / f"model.ckpt-{name[4:]}", value, int(name[4:]))
    (runs / "checkpoint").write_text(f'model_checkpoint_path: "model.ckpt-{list(weights)[-1][4:]}"\n')
    return runs


def test_the_best_checkpoint_of_a_directory_is_published(export, tmp_path):
    """Not the newest; a table of all on stderr, and in --json."""
    runs = training(tmp_path, step1=C_AND_D_AS_A, step2=GOOD, step3=D_AS_A)
    result = export(runs, "--select", "best", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["checkpoint"]["name"] == "model.ckpt-2" and found["checkpoint"]["step"] == 2
    assert Path(found["selected"]).name == "model.ckpt-2"
    assert [(one["step"], one["figures"]["edits"]) for one in found["candidates"]] == [(1, 7), (2, 0), (3, 2)]
    table = [line.split() for line in result.stderr.splitlines() if "model.ckpt-" in line]
    table = [row for row in table if row[0].startswith("model.ckpt-")]
    assert table[1] == "model.ckpt-2 2 0 % 0 % 4 of 4 best".split()
    assert content(tmp_path / "base") == ["1"]


def test_of_several_best_ones_the_newest(export, tmp_path):
    """By the step, and a checkpoint that cannot be exported is a row with its reason."""
    runs = training(tmp_path, step2=GOOD, step10=GOOD, step3=D_AS_A)
    write_checkpoint(runs / "model.ckpt-11", {"other": GOOD})
    (runs / "model.ckpt-12.index").write_bytes(b"damaged")
    result = export(runs, "--select", "best", "--json", "--report", tmp_path / "report.md")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["checkpoint"]["name"] == "model.ckpt-10"
    reasons = {Path(one["checkpoint"]).name: one["error"] for one in found["candidates"]}
    assert "weights" in reasons["model.ckpt-11"] and "damaged" in reasons["model.ckpt-12"]
    assert "not exported" in (tmp_path / "report.md").read_text()


def test_the_best_one_must_pass_the_gate(export, tmp_path):
    """Exit code 3 after the table; nothing is published."""
    runs = training(tmp_path, step1=C_AND_D_AS_A, step2=D_AS_A)
    result = export(runs, "--select", "best", "--max-cer", "0.1", "--json")
    assert result.exit_code == 3, result.output
    assert "step 2: the text is not read well enough" in result.stderr
    assert len(json.loads(result.stdout)["candidates"]) == 2
    assert content(tmp_path / "base") == []


def test_where_no_checkpoint_can_be_exported(export, tmp_path):
    """All reasons at once."""
    runs = tmp_path / "runs"
    runs.mkdir()
    for step in (1, 2):
        write_checkpoint(runs / f"model.ckpt-{step}", {"other": GOOD})
    result = export(runs, "--select", "best")
    assert result.exit_code == 1
    assert "none of its checkpoints can be exported" in result.stderr and "model.ckpt-2: " in result.stderr


def test_a_model_without_text_is_refused_before_it_is_exported(run_apart, tmp_path, crnn_checkpoint):
    """With the option that adds the signature."""
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "lines.tsv").write_text("a.png\tx\n")
    result = run_apart(
        *(
            "export",
            "--model",
            "crnn",
            "-c",
            crnn_checkpoint,
            "-o",
            tmp_path / "base",
            "--lines",
            tmp_path / "lines.tsv",
        )
    )
    assert result.exit_code == 2
    assert "no signature reads text from pictures" in result.stderr and "--option charset=" in result.stderr
    assert "checkpoint" not in result.stderr.split()[0] and content(tmp_path / "base") == []


def test_clients_of_another_version_must_be_able_to_use_it(export, run_apart, tmp_path):
    """--compatible-with: by number, newest, on a server and a directory; also for bump-version."""
    signatures = (tmp_path / "ocr.yaml").read_text()
    reader = "".join(SIGNATURES.splitlines(True)[4:7]).replace("serving_default", "reader")
    (tmp_path / "ocr.yaml").write_text(signatures.replace("parity:", reader + "parity:"))
    result = export(GOOD, "--compatible-with", "newest", lines=False)
    assert result.exit_code == 0, result.output
    assert "--compatible-with newest: there is no version yet to compare with" in result.stderr
    base = tmp_path / "base"
    result = export(GOOD, "--compatible-with", "1", lines=False)
    assert f"those of {base / '1'} can use it" in result.stderr
    (tmp_path / "ocr.yaml").write_text(signatures)
    result = export(GOOD, "--compatible-with", "newest", lines=False)
    assert result.exit_code == 3
    assert f"model.ckpt-7: clients of {base / '2'} could not use it; nothing is published" in result.stderr
    assert "signature reader: it is gone" in result.stderr
    with serving_rest(base, "base") as server:
        result = export(GOOD, "--compatible-with", "live", "--server", server.url, "--json", lines=False)
        assert [one["code"] for one in json.loads(result.stdout)["problem_details"]] == ["breaks-clients"]
    assert content(base) == ["1", "2"] and leftovers(base) == []
    assert export(GOOD, lines=False).exit_code == 0
    for source, code in (("3", 3), ("2", 0)):
        result = run_apart("bump-version", base, "--from", source, "--compatible-with", base / "1")
        assert result.exit_code == code, result.output
    assert content(base) == ["1", "2", "3", "4"]
    result = export(GOOD, "--compatible-with", "9", lines=False)
    assert (result.exit_code, "--compatible-with 9" in result.stderr) == (2, True)
    result = export(GOOD, "--compatible-with", "live", lines=False)
    assert (result.exit_code, "--compatible-with live: only with the address of a server" in result.stderr) == (2, True)


def test_what_did_not_change_is_not_published_again(export, run_apart, tmp_path):
    """--skip-unchanged: the newest version with the same files is the result; its directory is printed."""
    base = tmp_path / "base"
    assert export(GOOD, "--skip-unchanged", lines=False).exit_code == 0
    result = export(GOOD, "--skip-unchanged", "--report", tmp_path / "report.md", lines=False)
    assert (result.exit_code, result.stdout) == (0, f"{base / '1'}\n"), result.output
    assert f"{base / '1'}: it has the same files; nothing is published" in result.stderr
    assert f"`{base / '1'}` has the same files" in (tmp_path / "report.md").read_text()
    found = json.loads(export(GOOD, "--skip-unchanged", "--json", lines=False).stdout)
    assert (found["path"], found["unchanged"]) == (str(base / "1"), True)
    assert content(base) == ["1"] and leftovers(base) == []
    assert export(D_AS_A, "--skip-unchanged", lines=False).exit_code == 0
    assert export(GOOD, "--skip-unchanged", lines=False).exit_code == 0  # only the newest counts
    (base / "3" / "assets.extra" / "more.txt").write_text("altered")
    assert export(GOOD, "--skip-unchanged", lines=False).exit_code == 0
    assert content(base) == ["1", "2", "3", "4"]
