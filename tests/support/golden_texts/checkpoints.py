"""Golden texts of checkpoints and the files beside them."""

from __future__ import annotations

import base64
import os
from types import SimpleNamespace

import numpy as np
import pytest

from ckpt2saved.checkpoint.contents import Naming, Variable, Weights, choose_weights
from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.checkpoint.objects import ModelObjects, Place, SavedObjects, find_model, model_objects
from ckpt2saved.checkpoint.reading import check_unserved, values
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.inspection.subject import find_subject
from ckpt2saved.saved_model.writing import _copy_variables
from ckpt2saved.signature.arguments import model_of_arguments, parse_tensor
from ckpt2saved.sources.binding import bind
from ckpt2saved.sources.graph_plan import GraphOptions, plan_graph
from ckpt2saved.sources.joined import JOINED, _refuse_others
from ckpt2saved.sources.objects import _check_restored, load_traced, trace
from ckpt2saved.sources.restored import Restored, SavedTable, find_restored
from tests.support.batch_norms import update
from tests.support.checkpoints import write_checkpoint
from tests.support.golden_texts.finding import inspected, loaded, opened, raised, trained
from tests.support.networks import variable
from tests.support.tensors import FLOAT8, save
from tests.support.trainings import weights
from tests.support.versions import make_version

DATA = "m.data-00000-of-00001"


def saved(folder, **arrays):
    return write_checkpoint(folder / "m", {name: np.asarray(array) for name, array in arrays.items()})


def of_files(*names):
    def call(folder):
        for name in names:
            (folder / name).write_bytes(b"\x89HDF\r\n\x1a\n")
        find_checkpoint(folder if len(names) > 1 or not names[0].startswith("m.") else folder / "m")

    return raised(call)


def two_checkpoints(folder):
    for name in ("a", "b"):
        write_checkpoint(folder / name, {"w": np.zeros(2, "float32")})
    (folder / "checkpoint").unlink() if (folder / "checkpoint").exists() else None
    find_checkpoint(folder)


def chosen(kind="auto", dtype=tf.float32, **naming):
    """What is found where variables are looked up in a checkpoint of w and v, of which w has an average."""

    def call(folder):
        prefix = saved(
            folder, w=np.zeros(2, "float32"), v=np.zeros(2, "float32"), **{"w/ExponentialMovingAverage": np.zeros(2)}
        )
        variables = [Variable(name, (2,), dtype) for name in ("v", "w")]
        choose_weights(opened(prefix), variables, kind, Naming(**naming))

    return raised(call)


def truncated(folder):
    prefix = saved(folder, w=np.arange(2.0))
    os.truncate(str(folder / DATA), 8)
    values(opened(prefix), ["w"])


def half(folder):
    prefix = save(folder / "m", [("w", "4 0,2", np.zeros(2, "float32"))])
    values(opened(prefix), ["w"])


def with_nan(folder):
    prefix = saved(folder, w=np.float32([np.nan, 1]))
    checkpoint = opened(prefix)
    chosen = choose_weights(checkpoint, [Variable("w", (2,), tf.float32)], "raw")
    return _copy_variables(["w"], str(folder / "copy"), checkpoint, chosen)


def objects():
    kernel = SimpleNamespace(shape=tf.TensorShape([2]), dtype=tf.float32)
    return ModelObjects([{"kernel": 1}, {}], {1: kernel}, ["", "kernel"])


def two_objects(folder):
    saved = SavedObjects(({"a": 1, "b": 2}, {"kernel": 3}, {"kernel": 4}, {}, {}), ("", "", "", "a/k", "b/k"))
    keys = ("a/k", "b/k")
    files = SimpleNamespace(prefix="m")
    checkpoint = SimpleNamespace(files=files, shapes=dict.fromkeys(keys, (2,)), dtypes=dict.fromkeys(keys, tf.float32))
    find_model(objects(), saved, checkpoint)


def eager(call):
    """Run with TensorFlow 2 alone, which has object-based checkpoints."""

    def found(folder):
        if not tf.executing_eagerly():
            pytest.skip("needs TensorFlow 2")
        return raised(call)(folder)

    return found


def module(outside=None):
    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel = tf.compat.v2.Variable([1.0, 2.0])

        def __call__(self, x):
            return x * (self.kernel if outside is None else outside)

    return Module()


def object_based(folder):
    made = module()
    prefix = tf.compat.v2.train.Checkpoint(net=made).write(str(folder / "m"))
    return made, opened(folder / prefix)


def restored_otherwise(folder):
    made, checkpoint = object_based(folder)
    (key,) = [name for name in checkpoint.shapes if name.endswith("VARIABLE_VALUE")]
    made.kernel.assign([3.0, 4.0])
    place = Place((), {1: key})
    _check_restored(made, model_objects(made), place, checkpoint)


def untracked(folder):
    _, checkpoint = object_based(folder)
    model = model_of_arguments([parse_tensor("x[batch,2]")], [parse_tensor("output")], None)
    traced = trace(module(tf.compat.v2.Variable([1.0, 2.0], name="scale")), model)
    load_traced(traced, {}, checkpoint, model, "build")


def table_missing(folder):
    checkpoint = opened(saved(folder, w=np.zeros(2, "float32")))
    with tf.Graph().as_default() as graph:
        tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.float32, name="vocab")
    tables = {"vocab": SavedTable("vocab-keys", "vocab-values")}
    Restored(tables, tables).bound(checkpoint, graph, lambda name: name)


def network():
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    return tf.multiply(x, weights("k", 2), name="y")


def training_of_y():
    loss = tf.reduce_sum(network())
    tf.train.AdamOptimizer().minimize(loss)
    x = tf.get_default_graph().get_tensor_by_name("x:0")
    tf.multiply(x, tf.get_variable("own", [2], use_resource=False), name="z")


def of_another_run(folder):
    trained(folder, training_of_y)
    write_checkpoint(folder / "model", {"other": np.zeros(2, "float32")})
    return folder / "model"


def damaged_meta(folder):
    trained(folder, network)
    (folder / "model.meta").write_bytes(b"no graph")
    return folder / "model"


def without_meta(folder):
    return saved(folder, w=np.zeros(2, "float32"))


def never_updated():
    x = tf.placeholder(tf.float32, [None, 2, 2, 2], name="x")
    gamma, mean = weights("gamma", 2), variable("mean", size=2)
    variance = variable("variance", 1.0, size=2)
    norm = tf.nn.fused_batch_norm(x, gamma, gamma, epsilon=1e-3)
    update(mean, norm[1])
    update(variance, norm[2])
    y = tf.identity(norm[0], name="y")
    tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y))


def untrained(folder):
    trained(folder, training_of_y)
    options = GraphOptions(
        (folder,), graph="meta", inputs=(parse_tensor("x"),), outputs=(parse_tensor("z"),), weights="raw"
    )
    plan = plan_graph(options)
    with plan.open() as checkpoint:
        return bind(plan, checkpoint).notes


def counting(folder):
    """A Saver whose restore op adds to a variable."""
    with tf.Graph().as_default() as graph:
        count = tf.get_variable("count", [2], use_resource=False)
        (restored,) = tf.raw_ops.RestoreV2(
            prefix="model", tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32], name="restore"
        )
        tf.group(tf.assign_add(count, restored, name="add"), name="restore_all")
    source = SimpleNamespace(graph_def=graph.as_graph_def(), restore_op="restore_all", path="model.meta")
    find_restored(source, {"count"})


def of_another_network(folder):
    """A recogniser's checkpoint for both networks."""
    files = SimpleNamespace(prefix=folder / "crnn.ckpt")
    part = SimpleNamespace(files=files, variables=lambda: {"shadow/LSTMLayers/w": (4, 5)})
    _refuse_others(JOINED["ocr"], {"detector": part, "recogniser": part})


def two_versions(folder):
    for number in ("1", "2"):
        make_version(folder, number)
    return folder


def only_on_tensorflow_1(folder):
    if not tf.__version__.startswith("1."):
        pytest.skip("newer TensorFlow knows all dtypes")
    for ending, content in FLOAT8.items():
        (folder / ("m." + ending)).write_bytes(base64.b64decode(content))
    return check_unserved(opened(folder / "m"), Weights("raw", {"w": "w"}, ""))


def of_objects(folder):
    if not tf.executing_eagerly():
        pytest.skip("needs TensorFlow 2")
    return object_based(folder)[1].files.prefix


CASES = [
    ("candidate-checkpoint", raised(two_checkpoints), "{folder}/a"),
    ("candidate-object", raised(two_objects), "a"),
    ("damaged-tensor", raised(truncated), "w: …"),
    ("initial-averages", loaded(never_updated), "mean: all 0, and variance all 1, as they were initialised"),
    (
        "meta-of-another-run",
        inspected(of_another_run),
        "the .meta seems to be of another run: 1 of its 1 trained variables are not in the checkpoint,"
        " or in another shape",
    ),
    ("missing-average", chosen("ema"), "v/ExponentialMovingAverage: missing"),
    ("missing-index", of_files("m.data-00000-of-00001"), "m.data-00000-of-00001: present"),
    (
        "missing-table",
        raised(table_missing),
        "vocab-keys: missing; the lookup table vocab (MutableHashTableV2) is restored from it",
    ),
    ("nan-weights", with_nan, "w: 1 values are NaN"),
    (
        "newest-version",
        lambda folder: find_subject(two_versions(folder)).remarks,
        "{folder}/2 is the newest of 2 versions",
    ),
    (
        "no-meta",
        inspected(without_meta),
        "there is no m.meta, so the graph is unknown; export with a built-in model (--model crnn, ctpn),"
        " or copy the .meta file of the training here",
    ),
    (
        "not-a-checkpoint",
        of_files("weights.h5", "more.h5"),
        "more.h5: this is an HDF5 file, as Keras saves models and weights, not a checkpoint: export"
        " takes a model as --graph, without --checkpoint, and weights alone (.weights.h5) as"
        " --checkpoint, with --graph MODULE:FUNCTION, a function that returns the Keras model",
    ),
    (
        "object-based",
        inspected(of_objects),
        "written by tf.train.Checkpoint or Keras: it has objects (under its root: net) and no graph;"
        " export it with --graph MODULE:FUNCTION, a function of yours that returns the tf.Module or"
        " Keras model, --python-path DIRECTORY where that module is, --input NAME[batch,…] with the"
        " shape, and --output output",
    ),
    (
        "other-network",
        raised(of_another_network),
        "detector={folder}/crnn.ckpt: this is a checkpoint of crnn; expected one of ctpn",
    ),
    (
        "other-tensor-restored",
        eager(restored_otherwise),
        "kernel: TensorFlow restores another tensor than net/kernel/.ATTRIBUTES/VARIABLE_VALUE",
    ),
    ("shared-variable", chosen(rename=lambda name: "w"), "w: v and w would read it"),
    (
        "unknown-dtype",
        only_on_tensorflow_1,
        "not served, and not read: TensorFlow … does not know the dtype of w/scale (24)",
    ),
    (
        "unread-meta",
        inspected(damaged_meta),
        "{folder}/model.meta: this is not a meta graph, or it is damaged (…); expected the file that"
        " tf.train.Saver writes beside a checkpoint",
    ),
    ("unreadable-tensor", raised(half), "w: Does not have sufficient slices …"),
    ("unrestorable", raised(counting), "count (VariableV2): the training's restore op fills it by add (AssignAdd)"),
    ("untracked-variable", eager(untracked), "scale:0 [2]: a variable"),
    (
        "untrained-variable",
        untrained,
        "no optimizer slots for own, as there are for others: frozen, or of a tower that was never trained?",
    ),
    ("variable-dtype", chosen("raw", tf.int32), "v: found float32, expected int32"),
]
