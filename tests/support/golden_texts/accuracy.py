"""Golden texts of labels files and of the accuracy of a version."""

from __future__ import annotations

from pathlib import Path

from ckpt2saved.errors import CheckpointError
from ckpt2saved.exporting.selection import Candidate, best_of
from ckpt2saved.verification.accuracy.figures import Reading, measure
from ckpt2saved.verification.accuracy.gate import Baseline, Limits, judge
from ckpt2saved.verification.accuracy.labels import Line, read_labels
from tests.support.golden_texts.finding import raised


def labelled(content):
    """The problems of a labels file beside a.png and d.png."""

    def read(folder):
        for name in ("a.png", "d.png"):
            (folder / name).write_bytes(b"x")
        (folder / "labels.tsv").write_bytes(content)
        read_labels(folder / "labels.tsv")

    return raised(read)


def judged_text(text, answer, **limits):
    """The problems of an answer, where version 3 answers the text."""
    line = [Line("a.png", Path("a.png"), text, 1)]
    baseline = Baseline("version 3", measure(line, [Reading(text)]))
    verdict = judge(measure(line, [Reading(answer)]), Limits(**limits), baseline)
    return raised(lambda folder: verdict.raise_if_worse("", ""))


LABELS = b"a.png\tone\na.png\ttwo\nb.png\tone\nc.png one\nd.png\t\xff\n"
CASES = [
    ("duplicate-picture", labelled(LABELS), "line 2: a.png is also in line 1; delete one"),
    (
        "missing-picture",
        labelled(LABELS),
        "line 3: there is no file {folder}/b.png; paths are relative to the folder of the labels file",
    ),
    (
        "no-label",
        labelled(LABELS),
        "line 4: no tab in c.png one; expected path<TAB>text; separate the path from the text by a tab",
    ),
    ("other-encoding", labelled(LABELS), "line 5: byte 7 is not UTF-8; save the file as UTF-8"),
    (
        "cer-not-lower",
        judged_text("abcd", "abcd", is_lower=True),
        "character error rate: 0 % (0 errors in 4 characters), as version 3 has; only a lower rate is published",
    ),
    (
        "cer-over-limit",
        judged_text("abcd", "abcx", max_cer=0.1),
        "character error rate: 25 % (1 error in 4 characters), and --max-cer allows 10 %",
    ),
    (
        "cer-worse",
        judged_text("abcd", "abcx", tolerance=0.1),
        "character error rate: 25 % (1 error in 4 characters), and version 3 has 0 % (0 errors in 4 characters)"
        " (--tolerance 0.1)",
    ),
    (
        "misread-line",
        judged_text("abcd", "abcx", max_cer=0.1),
        "a.png: 'abcd' is read as 'abcx', and by version 3 as 'abcd'",
    ),
    (
        "not-exported",
        raised(lambda folder: best_of([Candidate(folder / "model.ckpt-1", error=CheckpointError("it is damaged"))])),
        "model.ckpt-1: it is damaged",
    ),
]
