"""The mark of warm-up requests: where it stands, and how it is taken away."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.requests.warm_up.marks import MARK, is_marked, markable_input, marked, without_mark
from ckpt2saved.signature.tensors import Signature, TensorSpec


def test_each_line_begins_with_the_mark_and_nothing_else_changes():
    """Also where lines are single values; float32 has the mark exactly."""
    inputs = {"x": np.arange(12, dtype="float32").reshape(2, 3, 2), "n": np.array([3, 3])}
    found = marked(inputs, "x")
    assert found["x"][:, 0, 0].tolist() == [MARK, MARK] and found["n"] is inputs["n"]
    assert (found["x"] != inputs["x"]).sum() == 2 and inputs["x"][0, 0, 0] == 0
    assert is_marked(found) and not is_marked(inputs)
    again = without_mark(found)
    assert again["x"][:, 0, 0].tolist() == [0, 0] and (again["x"][:, 1:] == inputs["x"][:, 1:]).all()
    assert marked({"x": np.ones(2)}, "x")["x"].tolist() == [MARK, MARK]
    for shape in ([0, 3], [2, 0, 3], [0]):  # the user's own requests may be without values
        assert marked({"x": np.zeros(shape)}, "x")["x"].shape == tuple(shape)
    assert not is_marked({"x": np.zeros([0, 3], "float32"), "s": np.array([b"a"], object)})


@pytest.mark.parametrize(
    "dtypes, output, key",
    [
        (["int32", "float32", "float64"], "int64", "1"),
        (["float64"], "string", "0"),
        (["uint8", "float16"], "int64", None),
        (["float32"], "uint64", None),
    ],
)
def test_the_input_with_the_mark(dtypes, output, key):
    """The first one with enough bits; outputs of some types cannot be made by every TensorFlow."""
    inputs = tuple(TensorSpec(str(number), "t:0", dtype, (None, 4)) for number, dtype in enumerate(dtypes))
    outputs = (TensorSpec("y", "y:0", output, (None, 2)),)
    assert markable_input(Signature("serving_default", inputs, outputs)) == key
