"""Lines alone and in a padded batch."""

from __future__ import annotations

import numpy as np

from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites.mask_padding import PaddedBatch, mask_padding
from tests.support import golden_rule

HEIGHT, CHANNELS = 6, 3


class Network:
    """A network from x to y, and what it answers with variables that are filled by their names."""

    def __init__(
        self, graph_def, images="x:0", outputs=("y:0",), lengths=(), fill=golden_rule.fill, divided=1, **batch
    ):
        self.graph_def, self.fill = graph_def, fill
        self.divided = divided  # how many of what `lengths` take are a step
        self.images, self.outputs, self.lengths = images, list(outputs), tuple(lengths)
        self.masked = mask_padding(graph_def, PaddedBatch(images, "widths:0", self.lengths, **batch), self.outputs)
        self._sessions = {}

    @staticmethod
    def built(build, sizes=(None, HEIGHT, None, CHANNELS), **batch):
        """A network that `build` makes of x."""
        with tf.Graph().as_default() as graph, v1_control_flow():
            x = tf.placeholder(tf.float32, sizes, name="x")
            tf.identity(build(x), name="y")
        return Network(graph.as_graph_def(), **batch)

    def run(self, graph_def, outputs, feeds):
        """Outputs of the original graph or the masked one."""
        key = id(graph_def)
        if key not in self._sessions:
            with tf.Graph().as_default() as graph:
                tf.import_graph_def(graph_def, name="")
                session, fills = tf.Session(), []
                for op in graph.get_operations():
                    if op.type in ("VariableV2", "VarHandleOp"):
                        shape = tf.TensorShape(op.get_attr("shape")).as_list()
                        value = tf.constant(self.fill(op.name, shape))
                        if op.type == "VariableV2":
                            fills.append(tf.raw_ops.Assign(ref=op.outputs[0], value=value).op)
                        else:
                            fills.append(tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=value))
                session.run(fills)
            self._sessions[key] = session
        return self._sessions[key].run(outputs, feeds)

    def alone(self, picture, steps=None):
        """What the original network answers one picture."""
        feeds = {self.images: picture[np.newaxis]}
        feeds.update({name: [steps * self.divided] for name in self.lengths})
        return self.run(self.graph_def, self.outputs, feeds)

    def steps(self, width):
        """The steps of a line of this width."""
        return int(self.run(self.masked.graph_def, self.masked.steps, {"widths:0": [width]})[0])

    def together(self, pictures, axis=1, masked=True, padding=7.0):
        """What one batch of all pictures answers, with numbers in the padding that would show."""
        widths = [picture.shape[axis] for picture in pictures]
        batch = []
        for picture in pictures:
            more = [(0, 0)] * picture.ndim
            more[axis] = (0, max(widths) - picture.shape[axis])
            batch.append(np.pad(picture, more, "constant", constant_values=padding))
        if masked:
            return self.run(self.masked.graph_def, self.outputs, {self.images: batch, "widths:0": widths})
        feeds = {self.images: batch}
        feeds.update({name: [self.steps(width) * self.divided for width in widths] for name in self.lengths})
        return self.run(self.graph_def, self.outputs, feeds)

    def difference(self, pictures, line_axis=0, time_axis=None, axis=1, masked=True, padding=7.0):
        """The largest difference of a line's own steps alone and together, relative to the largest number alone."""
        together = self.together(pictures, axis, masked, padding)
        largest, scale = 0.0, 1e-9
        for place, picture in enumerate(pictures):
            steps = None if self.masked.steps is None else self.steps(picture.shape[axis])
            for alone, both in zip(self.alone(picture, steps), together):
                alone, both = np.moveaxis(alone, line_axis, 0)[0], np.moveaxis(both, line_axis, 0)[place]
                if time_axis is not None:
                    time = time_axis - (line_axis < time_axis)
                    assert alone.shape[time] == steps, (picture.shape, alone.shape, steps)
                    both = np.take(both, range(steps), time)
                assert alone.shape == both.shape
                if alone.size:
                    assert not np.isnan(alone).any() and not np.isnan(both).any()
                    largest = max(largest, float(np.abs(alone - both).max()))
                    scale = max(scale, float(np.abs(alone).max()))
        return largest / scale


def pictures(random, widths, height=HEIGHT, channels=CHANNELS):
    """A picture [height, width, channels] for each width."""
    return [random.uniform(-1, 1, (height, width, channels)).astype("float32") for width in widths]
