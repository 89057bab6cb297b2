"""What a version records of its export is taken where it is what an export writes, and nothing else of it."""

from __future__ import annotations

import json

import pytest

from ckpt2saved.sources.graph_plan import GraphOptions
from ckpt2saved.verification.recorded import with_recorded
from ckpt2saved.versions import PROVENANCE

BUILT_IN = {"model": "crnn", "graph": {"builder": "crnn", "options": {"classes": 3, "x": [1]}}}


@pytest.mark.parametrize(
    "steps, expected",
    [
        ({"options": {"threshold": 0.5}, "files": {"charset": "/elsewhere/a.txt"}}, {"threshold": 0.5, "charset": "a.txt"}),
        ({"options": [1], "files": ["a"]}, {}),
        ({"options": {"a": {}}, "files": {"charset": None, "b": 3}}, {}),
        ("text", {}),
    ],
)  # fmt: skip
def test_damaged_records_of_steps_are_left_out(tmp_path, steps, expected):
    """A record is a file that somebody may have edited."""
    (tmp_path / PROVENANCE).parent.mkdir()
    (tmp_path / PROVENANCE).write_text(json.dumps(dict(BUILT_IN, steps=steps)))
    if "charset" in expected:
        expected = {**expected, "charset": str(tmp_path / "assets" / "a.txt")}
    assert with_recorded(GraphOptions(), tmp_path).options == {"classes": 3, **expected}
