"""Property-based tests: a few examples that are always the same, and many random ones with CKPT2SAVED_TEST_LONG=1."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

__all__ = ["assume", "example", "given", "st"]

_COMMON = {
    "deadline": None,  # the machine may be loaded
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("short", settings(derandomize=True, max_examples=60, **_COMMON))
settings.register_profile("long", settings(max_examples=5000, **_COMMON))
settings.load_profile("long" if os.environ.get("CKPT2SAVED_TEST_LONG") else "short")
