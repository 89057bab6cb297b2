"""Golden texts of graphs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from ckpt2saved.graph.meta_graph import read_meta_graph
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.hoist_products import HoistProducts
from ckpt2saved.rewrites.replace_ctc_decoder import ReplaceCtcDecoder
from ckpt2saved.rewrites.rewrite import apply_all
from ckpt2saved.saved_model.writing import bind_signatures
from ckpt2saved.signature.detection import Anchors
from ckpt2saved.signature.model import Decode, ServedModel, Surgery
from ckpt2saved.signature.steps import DecodeCtpn, Steps
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.sources.loaded import loaded_from_builder
from ckpt2saved.sources.network_run import NetworkRun
from ckpt2saved.sources.postprocessing import Postprocessing
from ckpt2saved.verification.servability import batching_notes
from tests.support.golden_texts.finding import (
    linted,
    loaded,
    of_meta_graph,
    raised,
    rewritten,
    verified,
    with_meta_graph,
)
from tests.support.graph_defs import X, node
from tests.support.padded_batches import Network
from tests.support.trainings import weights
from tests.support.versions import make_version

LOGITS = (None, None, 5)


def image(sizes=(None, 2)):
    return tf.placeholder(tf.float32, sizes, name="x")


def regrouped():
    tf.reshape(image(), [4, 2], name="y")
    weights("k", 1)


def multiplied():
    tf.matmul(image(), weights("k", 2, 3), name="y")


def unrelated():
    image()
    tf.identity(weights("k", 2), name="y")


def with_unused():
    multiplied()
    tf.placeholder(tf.float32, [None], name="z")


def with_placeholder():
    tf.add(image(), tf.placeholder(tf.float32, [2], name="mean"), name="y")


def in_a_loop():
    from ckpt2saved.graph.tf1 import v1_control_flow

    with v1_control_flow():
        tf.while_loop(lambda y: tf.reduce_sum(y) < 9, lambda y: tf.add(y, y, name="step"), [image()])


def of_a_label():
    labels = tf.placeholder(tf.int32, [None], name="labels")
    logits = tf.matmul(image(), weights("k", 2, 3), name="logits")
    loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits), name="loss")
    tf.train.GradientDescentOptimizer(0.1).minimize(loss)


def split():
    first, second = tf.split(image((4, 2)), 2)
    tf.identity(first, name="y")
    tf.identity(second, name="other")


def looked_up():
    table = tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.float32, name="table")
    words = tf.placeholder(tf.int64, [None], name="x")
    tf.raw_ops.LookupTableFindV2(table_handle=table, keys=words, default_value=tf.constant(0.0), name="y")


def of_a_meta(*nodes):
    """What is found in the file of a meta graph."""

    def call(folder):
        path = folder / "model.meta"
        path.write_bytes(tf.MetaGraphDef(graph_def=tf.GraphDef(node=[X, *nodes])).SerializeToString())
        read_meta_graph(path)

    return raised(call)


def bound(inputs, outputs, sparse=False):
    """What is found where a signature is bound to a graph."""

    def call(folder):
        with tf.Graph().as_default() as graph:
            x = image()
            y = tf.identity(x, name="y")
        tensors = {"x": x, "y": y}
        if sparse:
            with graph.as_default():
                tensors["y"] = tf.SparseTensor(tf.zeros([1, 2], tf.int64), tf.zeros([1]), tf.ones([2], tf.int64))
        signature = Signature("serving_default", tuple(inputs), tuple(outputs))
        bind_signatures(ServedModel("own", Path("own.yaml"), (signature,)), tensors, graph)

    return raised(call)


def decoded(folder):
    """The notes on a decoder after a builder's graph."""
    with tf.Graph().as_default() as graph:
        logits = tf.identity(tf.placeholder(tf.float32, LOGITS, name="x"), name="logits")
        ids = tf.zeros([1, 1], tf.int64, name="own_ids")
    tensors = {"x": graph.get_tensor_by_name("x:0"), "logits": logits, "ids": ids}
    inputs = (TensorSpec("x", "x", "float32", ("time", "batch", 5)),)
    outputs = (TensorSpec("ids", "ids", "int64", None),)
    model = ServedModel(
        "own",
        Path("own.yaml"),
        (Signature("serving_default", inputs, outputs),),
        surgery=Surgery(decode=Decode("logits")),
    )
    return loaded_from_builder(model, graph, tensors).notes


def searches(top_paths=1, in_function=False):
    """A graph with a beam search, in a function or not."""
    with tf.Graph().as_default() as graph:
        logits = tf.placeholder(tf.float32, LOGITS, name="x")
        lengths = tf.placeholder(tf.int32, [None], name="lengths")
        _, score = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=4, top_paths=top_paths)
        tf.identity(score, name="y")
    graph_def = graph.as_graph_def()
    if in_function:
        function = graph_def.library.function.add()
        function.signature.name = "search"
        (found,) = [one for one in graph_def.node if one.op == "CTCBeamSearchDecoder"]
        function.node_def.add().CopyFrom(found)
    return graph_def


def in_its_loop(folder):
    """The notes on a recurrent layer whose kernel depends on the state."""
    with tf.Graph().as_default() as graph, v1_control_flow():
        x = tf.placeholder(tf.float32, [4, None, 2], name="x")
        array = tf.TensorArray(tf.float32, 4).unstack(x)

        def step(time, h):
            return time + 1, tf.matmul(array.read(time), tf.ones([2, 2]) * tf.reduce_mean(h))

        start = [0, tf.ones_like(x[0])]
        made = tf.while_loop(lambda time, _: time < 4, step, start, shape_invariants=[tf.TensorShape([]), x.shape[1:]])
        tf.identity(made[1], name="y")
        context = Context.of(graph.as_graph_def(), ["y:0"], ["x:0"])
    return apply_all([HoistProducts()], context).notes


def replaced(kind, **graph):
    return apply_all([ReplaceCtcDecoder(kind)], Context.of(searches(**graph), ["y:0"], ["x:0", "lengths:0"]))


def scalar_output(folder):
    version = make_version(folder, "1")
    with_meta_graph(
        version,
        lambda meta_graph: [
            one.tensor_shape.CopyFrom(tf.TensorShape([]).as_proto())
            for one in meta_graph.signature_def["serving_default"].outputs.values()
        ],
    )
    return batching_notes(version)


def without_steps(folder):
    """A network whose graph does not show its steps."""
    place = SimpleNamespace(where="signatures.text", model=SimpleNamespace(source="own.yaml"))
    run = SimpleNamespace(_steps=SimpleNamespace(fed_steps=["input_batch_size"]), _place=place)
    NetworkRun._refuse_unknown_steps(run, SimpleNamespace(steps=None))


def other_anchors(folder):
    """Two heights, for a network of three anchors in each cell."""
    step = DecodeCtpn("probabilities", "deltas", "sizes", Anchors((11, 16)))
    with tf.Graph().as_default():
        shapes = {"probabilities": [None, None, None, 2], "deltas": [None, None, None, 12], "sizes": [None, 3]}
        tensors = {name: tf.placeholder(tf.float32, sizes) for name, sizes in shapes.items()}
        steps = Steps(postprocess=(step,))
        Postprocessing(ServedModel("own", Path("own.yaml"), ()), "signatures.lines", steps, tensors).run()


def with_attribute(meta_graph):
    (found,) = [one for one in meta_graph.graph_def.node if one.name == "y"]
    found.attr["fused_activation"].s = b"Relu"


XS = TensorSpec("x", "x", "float32", ("batch", 2))
YS = TensorSpec("y", "y", "float32", ("batch", 2))

CASES = [
    (
        "contrib-op",
        linted(node("PeriodicResample", "resample")),
        "resample (PeriodicResample): an op of tf.contrib, and no image of TF Serving links it; build"
        " the graph without it, or cut it before this node",
    ),
    (
        "damaged-graph",
        of_a_meta(node("Identity", "y", "nothing", T=tf.float32)),
        "'y': input 'nothing': there is no such tensor",
    ),
    (
        "dangling-input",
        of_meta_graph(lambda meta_graph: meta_graph.graph_def.node[0].input.append("nothing")),
        "saved_model.pb: nothing: no node of the graph, and inputs of x; export it again",
    ),
    ("decoder-hides-output", decoded, "ids: of the decoder that is appended, not the builder's"),
    (
        "decoder-in-function",
        lambda folder: replaced("fast", in_function=True).notes,
        "1 inside functions are not replaced",
    ),
    ("decoder-input", decoded, "logits: [batch, time, classes], transposed for the decoder"),
    (
        "depends-on-batch",
        lambda folder: Network.built(lambda x: x - tf.reduce_mean(x, 0)).masked.notes,
        "Mean (Mean): it mixes lines",
    ),
    (
        "fed-and-fetched",
        bound([XS], [TensorSpec("y", "x", "float32", ("batch", 2))]),
        "signatures.serving_default.outputs.y: x:0 is the input x itself, and TF Serving would answer"
        ' every request with "is both fed and fetched"; remove it, or use a later tensor',
    ),
    (
        "fed-twice",
        bound([XS, TensorSpec("again", "x", "float32", ("batch", 2))], [YS]),
        "signatures.serving_default.inputs: again and x are both x:0, and TF Serving would answer every"
        ' request with "fed more than once"; remove one of them',
    ),
    ("fixed-batch", loaded(regrouped), "the batch is 4 and can't be another: …"),
    (
        "greedy-paths",
        lambda folder: replaced("greedy", top_paths=2).problems,
        "CTCBeamSearchDecoder: greedy decoding finds one path, and this decoder is asked for 2; use"
        " --ctc-decoder fast or stock",
    ),
    ("input-shape", loaded(multiplied, inputs=("x[batch,3]",)), "Dimensions must be equal, but are 3 and 2 for …"),
    (
        "inside-loop",
        loaded(in_a_loop, outputs=("while/step",)),
        "signatures.serving_default.outputs.step: while/step:0: it is inside the while loop"
        " 'while/while_context', where nothing can be fetched; use an output of the loop: while/Exit:0",
    ),
    (
        "label-input",
        loaded(of_a_label, inputs=("x", "labels"), outputs=("logits",)),
        "signatures.serving_default.inputs.labels: labels:0: it is a label:"
        " SparseSoftmaxCrossEntropyWithLogits/SparseSoftmaxCrossEntropyWithLogits"
        " (SparseSoftmaxCrossEntropyWithLogits) compares answers with it, so that a client would have to"
        " send the answer",
    ),
    ("no-batching", scalar_output, "serving_default: cannot be used with --enable_batching: y"),
    ("no-input-used", loaded(unrelated), "no output depends on x:0; choose inputs nearer to the outputs"),
    (
        "other-anchors",
        raised(other_anchors),
        "signatures.lines.postprocess[0].ctpn_decode.heights: 2 heights, and the network has 3 anchors in each cell;"
        " give the heights that the network was trained with",
    ),
    (
        "other-dtype",
        bound([XS], [TensorSpec("y", "y", "int32", ("batch", 2))]),
        "signatures.serving_default.outputs.y.dtype: float32 in the graph, int32 in the file",
    ),
    (
        "other-shape",
        bound([XS], [TensorSpec("y", "y", "float32", ("batch", 3))]),
        "signatures.serving_default.outputs.y.shape: [?, 2] in the graph, [batch, 3] in the file",
    ),
    (
        "output-without-value",
        rewritten(
            node("Placeholder", "is_train", dtype=tf.bool),
            node("Switch", "switch", "x", "is_train", T=tf.float32),
            node("Identity", "y", "switch:1", T=tf.float32),
            pinned={"is_train": False},
        ),
        "y:0: it is on a branch of a condition that does not run in inference, where is_train is False;"
        " take the output of the condition",
    ),
    (
        "part-of-the-batch",
        loaded(split),
        "split (Split): it splits the batch of x:0 between 2 towers, and the outputs use 1 of them,"
        " which would answer only a part of each request; make split:0 the input instead",
    ),
    (
        "pinned-device",
        verified(lambda meta_graph: setattr(meta_graph.graph_def.node[0], "device", "/device:GPU:0")),
        "x (/device:GPU:0): tied to a device, and a server without it does not load the graph; export"
        " with clear_devices",
    ),
    (
        "products-in-loop",
        in_its_loop,
        "while/while_context: the products of a recurrent layer with its inputs are computed in its loop, as in the"
        " training: the kernel changes inside the loop",
    ),
    (
        "state-change",
        rewritten(
            node("VariableV2", "count", dtype=tf.float32),
            node("AssignAdd", "y", "count", "x", T=tf.float32),
        ),
        "y (AssignAdd): an output is the value that it assigns to count; build the graph for inference",
    ),
    (
        "teacher-forcing",
        loaded(of_a_label, outputs=("loss",)),
        "labels:0 (Placeholder): an output is computed from it, and"
        " SparseSoftmaxCrossEntropyWithLogits/SparseSoftmaxCrossEntropyWithLogits"
        " (SparseSoftmaxCrossEntropyWithLogits) compares answers with it (teacher forcing); build the"
        " graph for inference, where the network reads its own earlier answers",
    ),
    (
        "unfed-placeholder",
        loaded(with_placeholder),
        "mean (Placeholder): no request feeds it; make it an input, or cut the graph after it",
    ),
    ("unfilled-table", loaded(looked_up), "table (HashTableV2): nothing in the graph fills this lookup table"),
    (
        "unknown-attribute",
        loaded(multiplied, change=with_attribute),
        "y: this TensorFlow's MatMul has no attribute 'fused_activation'",
    ),
    (
        "unknown-op",
        verified(lambda meta_graph: meta_graph.graph_def.node.add(op="OurOwnOp", name="own")),
        "own (OurOwnOp): no op of this TensorFlow, …, nor of a server of its release; the graph was"
        " written by 1.14.0 (OurOwnOp: no op of any TensorFlow from …: an add-on's or your own, and the"
        " image has of add-ons only TensorFlow Text's (2.0 or newer) and Decision Forests' (2.11 or"
        " newer))",
    ),
    (
        "unknown-steps",
        raised(without_steps),
        "signatures.text.feed.input_batch_size: the graph does not show how many steps of its outputs"
        " are of each picture; give {from: widths, divide_by: N}",
    ),
    (
        "unnamed-tensor",
        bound([XS], [TensorSpec("y", "y", "float32", ("batch",))], sparse=True),
        "signatures.serving_default.outputs.y: 'y' is a SparseTensor; TF Serving would load it and fail"
        ' every request with "Tensor :0 … was not found in the Graph"; serve its indices, values and'
        " dense_shape",
    ),
    (
        "unused-input",
        loaded(with_unused, inputs=("x", "z")),
        "z:0: no output depends on it, and TF Serving would demand it of every request",
    ),
]
