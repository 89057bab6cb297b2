"""When a version is good enough, and what is said when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt2saved.errors import NotAccurate
from ckpt2saved.verification.accuracy.figures import Reading, measure
from ckpt2saved.verification.accuracy.gate import Baseline, Limits, judge
from ckpt2saved.verification.accuracy.labels import Line

TEXTS = ("abcdefghij", "klmnopqrst")


def read_as(*answers, texts=TEXTS):
    """The accuracy of 20 characters, or of other texts."""
    lines = [Line(f"{number}.png", Path("x"), text, number) for number, text in enumerate(texts, start=1)]
    return measure(lines, [Reading(answer) for answer in answers])


ALL_RIGHT, ONE_WRONG, TWO_WRONG = (
    read_as(*TEXTS),
    read_as("abcdefghij", "klmnopqrsX"),
    read_as("Xbcdefghij", "klmnopqrsX"),
)


def codes(verdict):
    return [problem.code for problem in verdict.problems]


def test_the_limit_itself_is_allowed():
    """One of 20 characters is 5 %."""
    assert codes(judge(ONE_WRONG, Limits(max_cer=0.05))) == []
    assert codes(judge(ONE_WRONG, Limits(max_cer=0.0499))) == ["cer-over-limit"]
    assert codes(judge(ALL_RIGHT, Limits(max_cer=0))) == []


def test_not_worse_than_another_within_the_tolerance():
    """Also where the sum of two decimal fractions is rounded down."""
    baseline = Baseline("version 3", ONE_WRONG)
    assert codes(judge(ONE_WRONG, Limits(), baseline)) == []
    assert codes(judge(ALL_RIGHT, Limits(), baseline)) == []
    assert codes(judge(TWO_WRONG, Limits(), baseline)) == ["cer-worse"]
    assert codes(judge(TWO_WRONG, Limits(tolerance=0.05), baseline)) == []
    assert codes(judge(TWO_WRONG, Limits(tolerance=0.0499), baseline)) == ["cer-worse"]
    assert codes(judge(TWO_WRONG, Limits(is_lower=True), baseline)) == ["cer-worse"]
    assert 0.1 + 0.7 < 0.8
    one, eight = [read_as("X" * count + "abcdefghij"[count:], texts=("abcdefghij",)) for count in (1, 8)]
    assert codes(judge(eight, Limits(tolerance=0.7), Baseline("version 3", one))) == []


def test_both_problems_at_once_with_the_lines_that_got_worse():
    """A line that was wrong before is not among them."""
    verdict = judge(TWO_WRONG, Limits(max_cer=0.02), Baseline("version 3", ONE_WRONG))
    with pytest.raises(NotAccurate) as caught:
        verdict.raise_if_worse("step 7", "nothing is published")
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "step 7: the text is not read well enough; nothing is published\n"
        "  - character error rate: 10 % (2 errors in 20 characters), and --max-cer allows 2 %\n"
        "  - character error rate: 10 % (2 errors in 20 characters), and version 3 has 5 % (1 error in 20 characters)\n"
        "  - 1.png: 'abcdefghij' is read as 'Xbcdefghij', and by version 3 as 'abcdefghij'"
    )
    content = verdict.as_content()
    assert not content["is_good_enough"]
    assert [(one["picture"], one["edits"], one["baseline_edits"]) for one in content["worse"]] == [("1.png", 1, 0)]
    assert content["baseline"]["cer"] == 0.05 and content["baseline"]["name"] == "version 3"


def test_without_a_baseline_the_worst_lines_are_shown_and_the_others_counted():
    """At most ten."""
    texts = ["abcdefghij"] * 15
    verdict = judge(read_as(*["Xbcdefghij"] * 15, texts=texts), Limits(max_cer=0.01))
    with pytest.raises(NotAccurate) as caught:
        verdict.raise_if_worse("x", "y")
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + 1 + 10 + 1
    assert lines[-1] == "  - and 5 more lines; --json prints all"
    assert lines[2] == "  - 1.png: 'abcdefghij' is read as 'Xbcdefghij'"


def test_nothing_is_raised_for_a_good_one():
    """A better version with lines that got worse is good enough; the lines are known."""
    better = judge(read_as("abcdefghij", "klmnopqrsX"), Limits(), Baseline("b", read_as("XXcdefghij", "klmnopqrst")))
    better.raise_if_worse("x", "y")
    assert [one.line.picture for one, _ in better.worse] == ["2.png"]
