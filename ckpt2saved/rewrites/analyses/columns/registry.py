"""The rules by op; a module of `rules/` adds those of a kind of op."""

from __future__ import annotations

from typing import Callable, Dict, List, Union

from ckpt2saved.rewrites.analyses.columns.values import Step, Value

Rule = Callable[[Step], Union[Value, List[Value]]]
RULES: Dict[str, Rule] = {}


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Make a function the rule of some ops."""

    def registered(rule: Rule) -> Rule:
        twice = sorted(set(ops) & set(RULES))
        assert not twice, f"have a rule already: {twice}"  # or the order of the imports would decide
        RULES.update(dict.fromkeys(ops, rule))
        return rule

    return registered
