"""The rules that say what an op does to the columns of lines are found by its name."""

from __future__ import annotations

import pkgutil

from ckpt2saved.rewrites.analyses.columns import evaluation, rules


def test_the_rules_of_every_module_are_registered():
    """Also those of a module that was added: what no module imports registers nothing."""
    modules = {f"{rules.__name__}.{module.name}" for module in pkgutil.iter_modules(rules.__path__)}
    assert {rule.__module__ for rule in evaluation.RULES.values()} == modules
