"""Small networks, once built for training and once for inference."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import texts
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites.analyses.whole_training import WholeTraining
from ckpt2saved.rewrites.to_inference import to_inference
from ckpt2saved.signature.model import ServedModel, Surgery
from ckpt2saved.signature.tensors import Signature, TensorSpec
from tests.support import golden_rule

SIZES = [None, 5, 4, 3]


class Built:
    """A small network: x -> y, and the variables that a checkpoint of it holds."""

    def __init__(self, build, resources=False, sizes=SIZES, v2_control_flow=False):
        self.graph = tf.Graph()
        with self.graph.as_default(), _control_flow(v2_control_flow):
            tf.set_random_seed(1)
            with tf.variable_scope(tf.get_variable_scope(), use_resource=resources):
                x = tf.placeholder(tf.float32, sizes, name="x")
                tf.identity(build(x), name="y")
            self.variables = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
        self.graph_def = self.graph.as_graph_def()
        self.sizes = sizes

    def inference(self, pinned=None, without=(), inputs=("x:0",)):
        variables = {name: shape for name, shape in self.variables.items() if name not in without}
        before = self.graph_def.SerializeToString(deterministic=True)
        signature = Signature("s", tuple(_spec(name) for name in inputs), (_spec("y:0"),))
        model = ServedModel("m", Path("m.yaml"), (signature,), surgery=Surgery(pinned=pinned or {}))
        made = to_inference(WholeTraining(self.graph_def), model, (), variables)
        assert self.graph_def.SerializeToString(deterministic=True) == before
        return made

    def question(self):
        sizes = [4 if size is None else size for size in self.sizes]
        return np.random.RandomState(3).uniform(-2, 3, sizes).astype("float32")


def _spec(tensor):
    return TensorSpec(tensor.replace(":", "_"), tensor, "float32", None)


def _control_flow(v2):
    if v2 and hasattr(tf, "enable_control_flow_v2"):
        return _V2()
    return v1_control_flow()


class _V2:
    def __enter__(self):
        from tensorflow.python.ops import control_flow_util

        self.module, self.before = control_flow_util, control_flow_util.ENABLE_CONTROL_FLOW_V2
        control_flow_util.ENABLE_CONTROL_FLOW_V2 = True

    def __exit__(self, *_):
        self.module.ENABLE_CONTROL_FLOW_V2 = self.before


def answer(graph_def, question, feeds=None):
    """y, with each variable filled by its name."""
    return answers(graph_def, [question], feeds)[0]


def answers(graph_def, questions, feeds=None):
    """y of several requests, one after the other."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        fills = []
        for op in graph.get_operations():
            if op.type in ("VariableV2", "VarHandleOp"):
                shape, dtype = tf.TensorShape(op.get_attr("shape")).as_list(), op.get_attr("dtype")
                value = tf.constant(filled(op.name, shape), tf.as_dtype(dtype).base_dtype)
                if op.type == "VariableV2":
                    fills.append(tf.raw_ops.Assign(ref=op.outputs[0], value=value).op)
                else:
                    fills.append(tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=value))
        session.run(fills)
        fed = {name: value for name, value in (feeds or {}).items() if name.partition(":")[0] in graph_names(graph_def)}
        return [session.run("y:0", dict(fed, **{"x:0": question})) for question in questions]


def graph_names(graph_def):
    return {node.name for node in graph_def.node}


def filled(name, shape):
    """Variances are positive; the rest follows from the name."""
    if name in ("is_training",):
        return np.bool_(True)
    values = golden_rule.fill(name, shape)
    return np.abs(values) + 0.5 if "var" in name.rpartition("/")[2] or "moments/Squeeze_1" in name else values


def check(train, infer, feeds=None, pinned=None, edits=None, **built):
    """`train`, edited, answers as `infer` does, and differently from what it was."""
    training, inference = Built(train, **built), Built(infer, **built)
    made = training.inference(pinned)
    question = training.question()
    wanted = answer(inference.graph_def, question)
    found = answer(made.graph_def, question)
    naive = answer(training.graph_def, question, feeds)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert naive.shape != wanted.shape or np.abs(naive - wanted).max() > 1e-2, "the naive export would do"
    if edits is not None:
        assert [str(edit) for edit in made.edits] == edits
    assert made.edits == training.inference(pinned).edits
    return made


RANDOM, BATCH, FAILS = "other answers each time", "the rest of the batch", "an error"


def would_serve(train, wrong, feeds=None, **built):
    """What is wrong with the answers of `train` where it is served as it is, as the usual script does.

    RANDOM: the same request gets answers that are more than 0.01 apart. BATCH: so does a line when it is asked for
    alone. FAILS: it gets none. A function, the network's inference: it answers otherwise by more than 0.01.
    """
    naive = Built(train, **built)
    question = naive.question()
    if wrong == FAILS:
        with pytest.raises(tf.errors.OpError):
            answer(naive.graph_def, question, feeds)
        return
    first, alone, second, third = answers(naive.graph_def, [question, question[:1], question, question], feeds)
    assert np.isfinite(first).all()
    again = max(np.abs(first - second).max(), np.abs(first - third).max())
    if wrong == RANDOM:
        assert again > 1e-2, "the naive export would do"
        return
    assert again < 1e-5
    if wrong == BATCH:
        assert np.abs(first[:1] - alone).max() > 1e-2, "the naive export would do"
    else:
        right = answer(Built(wrong, **built).graph_def, question)
        assert np.abs(first - right).max() > 1e-2, "the naive export would do"


def refused(train, *messages, wrong, code="", feeds=None, pinned=None, without=(), inputs=("x:0",), **built):
    """`train` is refused, each message is among the reasons, and served as it is it would have been `wrong`.

    With `code`, only problems of this code count.
    """
    would_serve(train, wrong, feeds, **built)
    with pytest.raises(NotServable) as caught:
        Built(train, **built).inference(pinned, without, inputs)
    found = texts(problem for problem in caught.value.problems if code in ("", problem.code))
    for message in messages:
        assert any(re.search(message, text) for text in found), str(caught.value)
    return texts(caught.value.problems)


def variable(name, value=0.0, trainable=False, size=3):
    return tf.get_variable(name, [size], initializer=tf.constant_initializer(value), trainable=trainable)
