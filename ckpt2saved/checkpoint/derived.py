"""Variable values that are computed from checkpoint values during copying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from ckpt2saved.graph.tf1 import tf


@dataclass(frozen=True)
class Derived:
    """The value that a SavedModel stores for a variable instead of the checkpoint's."""

    graph_def: Any  # GraphDef of the computation
    tensor: str  # the result
    variables: Mapping[str, str]  # placeholder in there -> the variable whose value it gets

    @property
    def size(self) -> int:
        """Return the size of the value in bytes."""
        with tf.Graph().as_default():
            (tensor,) = tf.import_graph_def(self.graph_def, return_elements=[self.tensor])
        return int(tensor.shape.num_elements() * tensor.dtype.size)

    def computed(self, values: Mapping[str, Any]) -> Any:
        """Add the computation to the default graph; `values` are tensors by variable name."""
        feeds = {f"{name}:0": values[variable] for name, variable in self.variables.items()}
        (tensor,) = tf.import_graph_def(self.graph_def, input_map=feeds, return_elements=[self.tensor])
        return tensor
