"""The role of each tensor of a checkpoint (weight, statistic, slot, ...), inferred from names and shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

WEIGHTS = "weights"
SLOTS = "optimizer slots"
AVERAGES = "moving averages"
STATISTICS = "batch-norm statistics"
COUNTERS = "counters"
ROLES = (WEIGHTS, STATISTICS, AVERAGES, SLOTS, COUNTERS)  # in order of importance for serving

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# The children of an optimizer of Keras 3 in an object graph.
OPTIMIZER_CHILDREN = frozenset(("_iterations", "_trainable_variables"))
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_OBJECT_SLOT = re.compile(r"(.+)/\.OPTIMIZER_SLOT/(.+)/([^/]+)\Z")
_FAMILY = re.compile(
    r"(?:.*/)?(?P<family>Adam|AdamW|AdamOptimizer|NadamOptimizer|Nadam|Momentum|RMSProp|Adadelta|Adagrad|AdagradDA|"
    r"Ftrl|AdaMax|LAMB|LARS|RMSPropOptimizer|AdadeltaOptimizer|MomentumOptimizer)(_[0-9]+)?\Z"
)
_POWER = re.compile(r"(?:.*/)?beta[12]_power(_[0-9]+)?\Z")
_AVERAGE = re.compile(r"(?:.*/)(ExponentialMovingAverage|EMA|ema|average)(_[0-9]+)?\Z")
_BIAS = re.compile(r"(?:.*/)(biased|local_step)(_[0-9]+)?\Z")  # of an average that begins at zero
_STATISTIC = re.compile(r"(?:.*/)?(moving|running|pop|population)_?(mean|avg|average|variance|var)(_[0-9]+)?\Z")
_OPTIMIZERS = re.compile(r"(?:.*/)?(optimizer|training)(_[0-9]+)?/")
_OBJECT_OPTIMIZERS = re.compile(r"(?:.*/)?(_?[a-z]*optimizer[_0-9]*/|_variables/[0-9]+\Z)")
_TRAINED = re.compile(r"(?:.*/)?_trainable_variables/[0-9]+\Z")  # Keras 3: the model's own, held by its optimizer
_METRICS = re.compile(r"(?:.*/)?(_?metrics|loss_tracker|keras_api/metrics)/|.*(save_counter|step)\Z")
_SLOT_NAMES = ("m", "v", "rms", "momentum", "accumulator", "accum_grad", "accum_var", "velocity", "vhat")


@dataclass(frozen=True)
class Variable:
    """A tensor of a checkpoint with its role."""

    name: str
    shape: Tuple[int, ...]
    dtype: str
    size: int  # bytes
    role: str
    family: Optional[str] = None  # the optimizer of a slot


def with_roles(
    shapes: Mapping[str, Tuple[int, ...]],
    dtypes: Mapping[str, Tuple[str, int]],
    names: Optional[Mapping[str, str]] = None,
) -> List[Variable]:
    """Return every tensor with its role; `dtypes` holds dtype name and element size.

    Bookkeeping tensors of object-based checkpoints are left out. `names` holds, for object-based checkpoints, a path in
    the model where the key uses another path.
    """
    found: List[Variable] = []
    for name in sorted(shapes):
        dtype, width = dtypes[name]
        if name == OBJECT_GRAPH or (dtype == "string" and ".ATTRIBUTES" in name):
            continue
        count = 1
        for size in shapes[name]:
            count *= size
        path = (names or {}).get(name, shown(name))
        role, family = _role(name, shapes, dtype) if names is None else _object_role(path, shapes[name], dtype)
        found.append(
            Variable(name=path, shape=tuple(shapes[name]), dtype=dtype, size=count * width, role=role, family=family)
        )
    return found


def shown(key: str) -> str:
    """Return a variable's name for people, also for a key of an object-based checkpoint."""
    return key[: -len(VALUE)] if key.endswith(VALUE) else key


def _role(key: str, shapes: Mapping[str, Tuple[int, ...]], dtype: str) -> Tuple[str, Optional[str]]:
    name, shape = shown(key), shapes[key]
    slot = _OBJECT_SLOT.match(name)
    if slot:
        return SLOTS, f"{slot.group(3)} of {slot.group(2)}"
    if _POWER.match(name):
        return SLOTS, "Adam"
    if _AVERAGE.match(name):
        return AVERAGES, None
    if _BIAS.match(name):
        return AVERAGES, None
    family = _FAMILY.match(name)
    if family and shape != () or family and _base(name) in shapes:
        return SLOTS, family.group("family").replace("Optimizer", "")
    if _STATISTIC.match(name):
        return STATISTICS, None
    base, last = _base(name), name.rpartition("/")[2]
    if base in shapes and shapes[base] == shape and shape != ():
        return SLOTS, _unnumbered(last) if last not in _SLOT_NAMES else "slot " + last
    if shape == () or dtype in ("int32", "int64", "bool", "uint64"):
        return COUNTERS, None
    if _OPTIMIZERS.match(name):
        return SLOTS, "optimizer"
    return WEIGHTS, None


def _object_role(name: str, shape: Tuple[int, ...], dtype: str) -> Tuple[str, Optional[str]]:
    """Return the role in an object-based checkpoint, where names are attribute names and scalars may be weights."""
    slot = _OBJECT_SLOT.match(name)
    if slot:
        return SLOTS, f"{slot.group(3)} of {slot.group(2)}"
    if _TRAINED.match(name):
        return WEIGHTS, None
    if dtype in ("int32", "int64", "bool", "uint64") or _METRICS.match(name):
        return COUNTERS, None
    if _OBJECT_OPTIMIZERS.match(name):
        return (COUNTERS, None) if shape == () else (SLOTS, "optimizer")
    if _STATISTIC.match(name):
        return STATISTICS, None
    if _AVERAGE.match(name):
        return AVERAGES, None
    return WEIGHTS, None


def has_slots(variables: Sequence[Variable]) -> bool:
    """Return whether an optimizer kept slots for weights."""
    weights = {variable.name for variable in variables if variable.role == WEIGHTS}
    return any(variable.role == SLOTS and _base(variable.name) in weights for variable in variables)


def without_slots(names: Sequence[str], variables: Sequence[Variable]) -> List[str]:
    """Return the weights among `names` without optimizer slots."""
    trained = {_base(variable.name) for variable in variables if variable.role == SLOTS}
    weights = {variable.name for variable in variables if variable.role == WEIGHTS}
    return [name for name in names if name in weights and name not in trained]


def _base(name: str) -> str:
    return name.rpartition("/")[0]


def _unnumbered(name: str) -> str:
    return re.sub(r"_[0-9]+\Z", "", name)


@dataclass(frozen=True)
class Group:
    """Variables that are shown together: count and size in bytes."""

    name: str
    count: int
    size: int


def by_role(variables: Sequence[Variable]) -> List[Group]:
    """Return groups by role, slots with their optimizer, in the order of ROLES."""
    names = [f"{v.role} ({v.family})" if v.family else v.role for v in variables]
    groups = _grouped(variables, names)
    return sorted(groups, key=lambda group: ROLES.index(group.name.partition(" (")[0]))


def by_scope(variables: Sequence[Variable], most: int = 12) -> List[Group]:
    """Return groups of weights and statistics by scope, with as much of the scope as gives at most `most` groups."""
    served = [v for v in variables if v.role in (WEIGHTS, STATISTICS)]
    parts = [v.name.split("/") for v in served]
    names = ["/".join(p[:1]) for p in parts]
    for depth in range(2, 8):
        deeper = ["/".join(p[: min(depth, max(1, len(p) - 1))]) for p in parts]
        if len(set(deeper)) > most:
            break
        names = deeper
    if len(set(names)) > most:
        names = _families(names)
    return _grouped(served, names)


def _families(names: Sequence[str]) -> List[str]:
    """Merge numbered groups: conv1_1, conv1_2 and conv2_1 become conv*."""
    stems = [re.sub(r"(_?[0-9]+)+\Z", "", name) or name for name in names]
    members = {stem: {name for name, other in zip(names, stems) if other == stem} for stem in stems}
    return [stem + "*" if len(members[stem]) > 1 else name for name, stem in zip(names, stems)]


def _grouped(variables: Sequence[Variable], names: Sequence[str]) -> List[Group]:
    sizes: Dict[str, List[int]] = {}
    for name, variable in zip(names, variables):
        sizes.setdefault(name, []).append(variable.size)
    return [Group(name, len(found), sum(found)) for name, found in sizes.items()]
