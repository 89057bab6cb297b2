"""The weights of the golden answers: every variable's values follow from its name."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def fill(name, shape):
    """The values of the variable `name`; an average has a name, and so values, of its own."""
    if name == "global_step":
        return np.float32(123)
    r = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    if name.endswith(("gamma", "moving_variance")):
        return r.uniform(0.5, 1.5, shape).astype("float32")
    x = r.standard_normal(shape)
    scale = np.sqrt(2.0 / np.prod(shape[:-1])) if len(shape) > 1 else 0.1
    return np.asarray(x * scale).astype("float32")


def variables(network):
    """Name -> shape of everything in the original checkpoint of `network` (crnn, ctpn)."""
    content = json.loads((GOLDEN / (network + ".variables.json")).read_text())
    return {name: tuple(shape) for name, shape in content.items()}


def answers(network):
    """The golden answers of `network`, by name."""
    with np.load(str(GOLDEN / (network + ".npz"))) as file:
        return {name: file[name] for name in file.files}
