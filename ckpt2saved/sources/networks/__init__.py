"""The built-in networks by name; each is built from the variables of a checkpoint."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from ckpt2saved.errors import UsageError
from ckpt2saved.errors.nearest import did_you_mean
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.sources.networks import crnn, ctpn
from ckpt2saved.sources.networks.layout import Shape, require

BUILDERS: Mapping[str, Any] = {"crnn": crnn, "ctpn": ctpn}


def build_network(name: str, variables: Mapping[str, Shape], options: Mapping[str, Any]) -> Mapping[str, tf.Tensor]:
    """Build a network in the default graph; returns its tensors by their names in signatures.

    `variables` are those of the checkpoint, name -> shape. Raises UsageError for an
    unknown option or a value of the wrong type, CheckpointError for a checkpoint of another network.
    """
    module = BUILDERS[name]
    with v1_control_flow():
        tensors: Mapping[str, Any] = module.build(variables, _complete(name, module.DEFAULTS, options))
    return tensors


def variables_of(name: str, variables: Mapping[str, Shape], options: Mapping[str, Any]) -> List[str]:
    """Return the names of the variables of a network; raises the errors of `build_network`."""
    module = BUILDERS[name]
    expected = module.layout(variables, _complete(name, module.DEFAULTS, options))
    require(name, expected, variables)
    return list(expected)


def options_of(networks: Mapping[str, str], options: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    """Return the part of `options` for each of some networks, name -> built-in network.

    Raises UsageError for an option that none of them has, or a value of the wrong type.
    """
    defaults = {option: value for network in networks.values() for option, value in BUILDERS[network].DEFAULTS.items()}
    _complete(" and ".join(networks.values()), defaults, options)
    return {
        name: {option: value for option, value in options.items() if option in BUILDERS[network].DEFAULTS}
        for name, network in networks.items()
    }


def _complete(builder: str, defaults: Mapping[str, Any], options: Mapping[str, Any]) -> Dict[str, Any]:
    problems = []
    for name, value in options.items():
        if name not in defaults:
            problems.append(Problem("unknown-key", name, "there is no such option", did_you_mean(name, defaults)))
        elif type(value) is not type(defaults[name]):
            expected = type(defaults[name]).__name__
            problems.append(Problem("wrong-type", name, f"found {value!r}, expected a value of type {expected}"))
        elif type(value) is int and value < 1:
            problems.append(Problem("wrong-value", name, f"found {value}, expected 1 or more"))
    if problems:
        raise UsageError(f"the builder {builder} can't take these options", problems)
    return dict(defaults, **options)
