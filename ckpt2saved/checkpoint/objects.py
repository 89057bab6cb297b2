"""The object graph of an object-based checkpoint: variables, and the object that is the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from google.protobuf.message import DecodeError

from ckpt2saved.checkpoint.contents import Checkpoint, misfits
from ckpt2saved.checkpoint.reading import values
from ckpt2saved.checkpoint.roles import OBJECT_GRAPH, OPTIMIZER_CHILDREN
from ckpt2saved.errors import CheckpointError
from ckpt2saved.errors.problem import Problem, listed
from ckpt2saved.graph.tf1 import TrackableObjectGraph, children_of, tf
from ckpt2saved.graph.traversal import paths, reach, walk

_BOOK_KEEPING = ("save_counter", "root", "call_signature_parameters")
_MOST = 8
_DEPTH = 4  # maximal depth of a model below the root
# Base classes of the objects that Keras adds to a compiled model for training; no answer depends on them.
_OF_TRAINING = ("Optimizer", "BaseOptimizer", "OptimizerV2", "Metric", "MetricsContainer", "CompileMetrics")


@dataclass(frozen=True)
class SavedObjects:
    """The object graph of a checkpoint; node 0 is the root."""

    children: Tuple[Mapping[str, int], ...]
    keys: Tuple[str, ...]  # of the tensor of a variable; "" for anything else

    @property
    def root_text(self) -> str:
        """Return the names of the root's children, for people."""
        names = sorted(name for name in self.children[0] if name not in _BOOK_KEEPING)
        names = [name for name in names if not name.startswith("_")] or names
        return listed(names, _MOST) or "nothing"

    def paths(self, depth: int) -> Dict[int, Tuple[str, ...]]:
        """Return the shortest path from the root to each object at most `depth` names away."""
        return paths(0, self.children.__getitem__, depth)

    def names(self) -> Dict[str, str]:
        """Return variable key -> a path that does not lead through an optimizer, if there is one.

        Keras 3 also stores a model's variables in its optimizer, and a key may use that path.
        """

        def children(node: int) -> Mapping[str, int]:
            return {} if set(self.children[node]) >= OPTIMIZER_CHILDREN else self.children[node]

        return {self.keys[node]: "/".join(path) for node, path in paths(0, children).items() if self.keys[node]}


def read_objects(checkpoint: Checkpoint) -> SavedObjects:
    """Read the object graph of a checkpoint; raises CheckpointError if it is damaged."""
    graph = TrackableObjectGraph()
    try:
        graph.ParseFromString(values(checkpoint, [OBJECT_GRAPH])[OBJECT_GRAPH])
    except DecodeError as error:
        raise CheckpointError(
            f"{checkpoint.files.prefix}: what {OBJECT_GRAPH} says of the checkpoint's objects is no"
            f" TrackableObjectGraph: {error}"
        ) from error
    nodes = list(graph.nodes) or [graph.nodes.add()]
    children = tuple(
        {child.local_name: child.node_id for child in node.children if 0 <= child.node_id < len(nodes)}
        for node in nodes
    )
    keys = [[a.checkpoint_key for a in node.attributes if a.name == "VARIABLE_VALUE"] for node in nodes]
    return SavedObjects(children, tuple(key[0] if key else "" for key in keys))


@dataclass(frozen=True)
class ModelObjects:
    """The variables of a model object and its object graph, without optimizer and metrics."""

    children: List[Dict[str, int]] = field(default_factory=list)  # node 0 is the model
    variables: Dict[int, Any] = field(default_factory=dict)  # node -> tf.Variable
    paths: List[str] = field(default_factory=list)
    held: List[Any] = field(default_factory=list)  # the objects themselves


def model_objects(made: Any) -> ModelObjects:
    """Traverse a model object like tf.train.Checkpoint."""
    found, numbers = ModelObjects(), {id(made): 0}
    found.paths.append("")
    found.held.append(made)
    for node, one in enumerate(found.held):  # grows during the loop
        found.children.append({})
        variable = _variable(one)
        if variable is not None:
            found.variables[node] = variable
            continue
        for name, child in children_of(one).items():
            if any(kind.__name__ in _OF_TRAINING for kind in type(child).__mro__):
                continue
            if id(child) not in numbers:
                numbers[id(child)] = len(found.held)
                found.held.append(child)
                found.paths.append(f"{found.paths[node]}/{name}".lstrip("/"))
            found.children[node][name] = numbers[id(child)]
    return found


def _variable(one: Any) -> Any:
    """Return the tf.Variable of an object, also inside a Keras 3 variable; None if it is none."""
    if isinstance(one, tf.compat.v2.Variable):
        return one
    value = getattr(one, "value", None) if hasattr(one, "handle") else None
    return value if isinstance(value, tf.compat.v2.Variable) else None


@dataclass(frozen=True)
class Place:
    """The location of a model in a checkpoint, and the tensors of its variables."""

    path: Tuple[str, ...]  # from the root
    keys: Mapping[int, str]  # node of the model -> key in the checkpoint

    @property
    def name(self) -> str:
        return "/".join(self.path) or "the root itself"


def find_model(model: ModelObjects, objects: SavedObjects, checkpoint: Checkpoint) -> Place:
    """Return the single object of a checkpoint that has all variables of a model, with equal shape and dtype.

    Raises CheckpointError if there is none, with what the closest object lacks, or if there are several.
    """
    places: List[Place] = []
    nearest: Optional[Place] = None
    most: Tuple[int, int] = (0, 0)
    inside: Set[int] = set()  # of an object that is the model
    for node, path in objects.paths(_DEPTH).items():
        if node in inside:
            continue
        place = Place(path, _keys(model, objects, node))
        problems = _problems(model, place, checkpoint)
        likeness = (len(model.variables) - len(problems), len(place.keys))
        if not problems:
            places.append(place)
            inside |= _below(objects, node)
        elif nearest is None or likeness > most:
            nearest, most = place, likeness
    different = {tuple(sorted(place.keys.items())): place for place in reversed(places)}
    if len(different) == 1:
        return next(iter(different.values()))
    if different:
        names = sorted(place.name for place in different.values())
        raise CheckpointError(
            f"{checkpoint.files.prefix}: the model that the function returned could be any of {len(names)} objects in"
            " this checkpoint; return a tf.Module that has the model as its attribute of the right name"
            f" (self.{next((n for n in names if '/' not in n and ' ' not in n), 'net')} = model) and calls it",
            [Problem("candidate-object", name, "") for name in names],
        )
    raise _not_found(model, objects, checkpoint, nearest)


def _below(objects: SavedObjects, node: int) -> Set[int]:
    return reach([node], lambda one: objects.children[one].values()) - {node}


def _keys(model: ModelObjects, objects: SavedObjects, root: int) -> Dict[int, str]:
    """Return variable -> tensor, if the object `root` of the checkpoint is the model."""

    def following(pair: Tuple[int, int]) -> Iterator[Tuple[int, int]]:
        saved = objects.children[pair[1]]
        return ((child, saved[name]) for name, child in model.children[pair[0]].items() if name in saved)

    found: Dict[int, str] = {}
    for node, saved in walk([(0, root)], following):
        if node in model.variables and objects.keys[saved]:
            found.setdefault(node, objects.keys[saved])
    return found


def _problems(model: ModelObjects, place: Place, checkpoint: Checkpoint) -> List[Problem]:
    """Return a problem for each variable that is missing or has another shape or dtype."""
    expected: Dict[str, Any] = {}
    shapes: Dict[str, Any] = {}
    problems: List[Problem] = []
    for node, variable in model.variables.items():
        name, key = model.paths[node], place.keys.get(node)
        sizes = variable.shape.as_list() if variable.shape.ndims is not None else None
        if sizes is not None:
            expected[name] = sizes
        elif key is None:
            problems.append(Problem("missing-variable", name, "missing"))
        if key is not None and key in checkpoint.shapes:
            shapes[name] = checkpoint.shapes[key]
            dtype = tf.as_dtype(variable.dtype).base_dtype
            if checkpoint.dtypes[key] != dtype:
                text = f"found {checkpoint.dtypes[key].name}, expected {dtype.name}"
                problems.append(Problem("variable-dtype", name, text))
    takers: Dict[str, List[str]] = {}
    for node, key in place.keys.items():
        takers.setdefault(key, []).append(model.paths[node])
    problems += [
        Problem(
            "shared-variable",
            " and ".join(sorted(names)),
            f"one variable in the checkpoint, {len(names)} in the model",
        )
        for names in takers.values()
        if len(names) > 1
    ]
    return misfits(expected, shapes) + problems


def _not_found(
    model: ModelObjects, objects: SavedObjects, checkpoint: Checkpoint, nearest: Optional[Place]
) -> CheckpointError:
    text = (
        f"{checkpoint.files.prefix}: this checkpoint does not hold every variable of the model that the function"
        " returned"
    )
    if nearest is None or not nearest.keys:
        text += f"; no object in it has parts of the same names: under its root are {objects.root_text}"
        nearest = nearest or Place((), {})
    else:
        text += f"; the nearest is {nearest.name}; under its root are {objects.root_text}"
    return CheckpointError(text + _other_keras(model, objects), _problems(model, nearest, checkpoint))


def _other_keras(model: ModelObjects, objects: SavedObjects) -> str:
    """Return the remedy for a Keras 3 model with a Keras 2 checkpoint, or the reverse."""
    saved = _kerases(objects.children)
    made = _kerases(model.children)
    if saved == {2} and made == {3}:
        return (
            "; it was written by Keras 2, and this is Keras 3, which names its layers otherwise: export with the "
            "TensorFlow of the training (up to 2.15), or pip install tf_keras and set TF_USE_LEGACY_KERAS=1"
        )
    if saved == {3} and made == {2}:
        return "; it was written by Keras 3, and this is Keras 2: export with the TensorFlow of the training (2.16 on)"
    return ""


def _kerases(children: Sequence[Mapping[str, int]]) -> Set[int]:
    names = {name for one in children for name in one}
    found = {2} if any(name.startswith("layer_with_weights-") for name in names) else set()
    return found | ({3} if "_kernel" in names or "_operations" in names else set())
