"""The table of ops is TensorFlow's own registry, and what it says of a SavedModel is what TensorFlow's loader does."""

from __future__ import annotations

import glob
import itertools
import os
import re
import sys

import numpy as np
import pytest
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.kernel_def_pb2 import KernelList
from tensorflow.core.framework.op_def_pb2 import OpList

from ckpt2saved.answers import cc_loader
from ckpt2saved.compatibility.demands import read_demands
from ckpt2saved.compatibility.fit import (
    check_fit,
    contrib_ops,
    find_misfits,
    fitting_images,
    nodes_text,
    releases_text,
)
from ckpt2saved.compatibility.image import Image, find_image, find_server_kind, known_images
from ckpt2saved.errors import NotCompatible, NotServable, ServingError, VersionError
from ckpt2saved.files.protobuf.wire import Malformed
from ckpt2saved.graph.kernel_table import Device, read_kernels
from ckpt2saved.graph.op_table import LINKED, PATH, OpTable, read_table, write_table
from ckpt2saved.graph.registry import Attribute, parse_kernel_list, parse_op_list
from ckpt2saved.graph.tf1 import SavedModel, op_def, tf
from ckpt2saved.versions import find_version
from tests.support.graph_defs import RUNNING, X, node, write
from tools.make_op_table import dump


@pytest.fixture(scope="module")
def table():
    return read_table()


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """What the running TensorFlow's libraries list, as the script takes it from a package: nothing is imported."""
    folder = tf.sysconfig.get_lib()
    patterns = ("libtensorflow_framework*", "libtensorflow_cc*", "python/_pywrap_tensorflow_internal.so")
    libraries = [path for pattern in patterns for path in sorted(glob.glob(os.path.join(folder, pattern)))]
    folder = tmp_path_factory.mktemp("ops")
    dump(sys.executable, str(folder), libraries)
    return {name: (folder / (name + ".0")).read_bytes() for name in ("ops", "kernels")}


@pytest.fixture(scope="module")
def kernels_here(registered):
    return parse_kernel_list(registered["kernels"])


def test_the_table_is_the_registry_of_the_running_tensorflow(table, registered):
    """Every op, attribute, default and allowed value, as TensorFlow's own messages have them."""
    expected = {op.name: {a.name: a for a in op.attr} for op in OpList.FromString(registered["ops"]).op}
    column = table.releases[RUNNING]
    assert len(column) > 1000
    assert sorted(column) == sorted(expected), "run tools/make_op_table.py for this TensorFlow"
    for op, attributes in column.items():
        assert sorted(attributes) == sorted(expected[op])
        here = op_def(op)  # 1.x registers some in Python when they are first used
        assert here is None or sorted(a.name for a in here.attr) == sorted(attributes)
        for name, attribute in attributes.items():
            definition = expected[op][name]
            has_default = definition.HasField("default_value")
            assert (attribute.default is not None) == has_default, (op, name)
            if has_default:
                assert AttrValue.FromString(attribute.default) == definition.default_value, (op, name)
            allowed = definition.allowed_values.list
            values = sorted(set(allowed.type)) or sorted({text.decode() for text in allowed.s})
            assert list(attribute.allowed or ()) == values, (op, name)


def test_the_script_reads_what_the_libraries_say(table, registered):
    """Without TensorFlow's messages."""
    assert parse_op_list(registered["ops"]) == table.releases[RUNNING]


def test_kernels_are_read_as_tensorflow_has_them(registered, kernels_here):
    """By TensorFlow's own message."""
    expected = [
        (kernel.op, kernel.device_type, kernel.label, frozenset((one.name, values(one)) for one in kernel.constraint))
        for kernel in KernelList.FromString(registered["kernels"]).kernel
    ]
    assert kernels_here == expected
    assert ("Conv2D", "CPU", "", frozenset([("T", frozenset([1]))])) in expected


def values(constraint):
    allowed = constraint.allowed_values.list
    return frozenset(allowed.type) | frozenset(text.decode() for text in allowed.s)


def test_the_table_of_kernels_is_the_registry_of_the_running_tensorflow(kernels_here):
    """For each op and every combination of values, among them one that no kernel has."""
    table, kernels = read_kernels(), {}
    for kernel in kernels_here:
        if kernel.device in ("CPU", "DEFAULT") and not kernel.label:
            kernels.setdefault(kernel.op, set()).add(frozenset(one for one in kernel.constraints if one[1]))
        elif kernel.device == "GPU" and not kernel.label:  # those that compute in host memory
            node_values = {name: sorted(allowed)[:1] for name, allowed in kernel.constraints}
            assert table.has_kernel(RUNNING, kernel.op, node_values, Device.GPU), kernel
    assert len(kernels) > 1000
    assert {op for op in table.ops[Device.CPU] if table.kernels(RUNNING, op, Device.CPU)} - table_of_contrib() == set(
        kernels
    ), "run tools/make_kernel_table.py for this TensorFlow"
    for op, ones in kernels.items():
        names = sorted({name for one in ones for name, _ in one})
        choices = [{value for one in ones for value in dict(one).get(name, ())} | {0} for name in names]
        for combination in itertools.product(*choices):
            node_values = {name: (value,) for name, value in zip(names, combination)}
            expected = any(all(node_values[name][0] in allowed for name, allowed in one) for one in ones)
            assert table.has_kernel(RUNNING, op, node_values, Device.CPU) == expected, (op, node_values)


def table_of_contrib():
    """The ops whose kernels are in libraries of tf.contrib, which the images of this release link."""
    libraries = read_table().libraries.get(RUNNING, {})
    return {op for op, library in libraries.items() if library.startswith(LINKED)}


def test_what_is_said_to_need_a_gpu_has_no_kernel_here(table, kernels_here):
    """And what any CPU runs is not said to; nor what this release does not have."""
    here = {one.op for one in kernels_here if one.device in ("CPU", "DEFAULT")}
    kernels = read_kernels()
    assert not [op for op in table.releases[RUNNING] if kernels.is_for_gpu(op) and op in here]
    assert all(map(kernels.is_for_gpu, ("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "CTCLossV2")))
    assert not any(map(kernels.is_for_gpu, ("Conv2D", "CTCBeamSearchDecoder", "AccumulateNV2", "NoSuchOp")))


def test_what_is_no_list_of_ops_is_not_taken_for_one():
    """Cut off, or something else."""
    with pytest.raises(Malformed):
        parse_op_list(b"\x0a\x05ab")


def test_the_table_knows_every_release_that_can_be_asked_about(table):
    """And is small enough to ship."""
    assert {image.minor for image in known_images()} <= set(table.releases)
    assert list(table.releases)[0] == "1.12" and RUNNING in table.releases
    assert PATH.stat().st_size < 150000


def test_a_table_is_written_as_it_was_read(tmp_path, table):
    """The same bytes each time, so that a difference in them is one in the content."""
    write_table(table, tmp_path / "copy")
    assert read_table(tmp_path / "copy") == table
    assert (tmp_path / "copy").read_bytes() == PATH.read_bytes()


def test_what_comes_goes_and_comes_again(tmp_path):
    """As an attribute of 1.15 that 2.0, branched off earlier, does not have."""
    with_t, without = {"T": Attribute(b"0\x01", (1, 2))}, {}
    ops = {"1.15": {"Op": with_t}, "2.0": {"Op": without}, "2.1": {"Op": {"T": Attribute(None, None)}}, "2.2": {}}
    libraries = {"1.14": {"Old": "rnn/a.so", "Other": "rnn/a.so"}, "1.15": {"Old": "image/b.so"}}
    packages = {release: release + ".0" for release in ops}
    written = OpTable(ops, packages, frozenset(["Old"]), libraries)
    write_table(written, tmp_path / "table")
    read = read_table(tmp_path / "table")
    assert read == written
    assert read.releases_with("Op") == ("1.15", "2.0", "2.1")
    assert read.releases_with_attribute("Op", "T") == ("1.15", "2.1")
    assert read.releases_allowing("Op", "T", 3) == ("2.1",)


def function(name, *nodes):
    found = FunctionDef(node_def=nodes)
    found.signature.name = name
    argument, result = found.signature.input_arg.add(), found.signature.output_arg.add()
    argument.name, argument.type, result.name, result.type = "x", 1, "y", 1
    found.ret["y"] = nodes[0].name + ":y:0" if nodes else "x"
    return found


def said(directory, serving, table):
    """What is missing, as text."""
    image = Image(serving)
    return [str(misfit) for misfit in find_misfits(read_demands(directory), [image], table)[image]]


def fits(directory, table):
    """The releases that lack nothing."""
    misfits = find_misfits(read_demands(directory), known_images(), table)
    return releases_text([image.minor for image in fitting_images(misfits)])


Y = node("Neg", "y", "x", T=tf.float32)
NEW = function("g", node("Neg", "inner", "x", T=tf.float32, new=3))
UNKNOWN = function("f", node("NoSuchOp", "inner", "x", T=tf.float32))
CALL = {"Tin": [tf.float32], "Tout": [tf.float32], "f": UNKNOWN}
POOL = {"T": tf.float32, "ksize": [1, 1, 1, 1], "strides": [1, 1, 1, 1]}

S = node("Placeholder", "s", dtype=tf.complex64)
ZERO = node("Const", "zero", dtype=tf.int32)
ZERO.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0))
FFT = function(
    "fft",
    node("Real", "out", "inner:output:0", T=tf.complex64, Tout=tf.float32),
    node("BatchFFT", "inner", "cast:y:0"),
    node("Cast", "cast", "x", SrcT=tf.float32, DstT=tf.complex64),
)
FFT.ret["y"] = "out:output:0"

# Up to 2.4 and from 2.5 on.
REFUSED = "NodeDef mentions attr 'new' not in Op" if [int(n) for n in RUNNING.split(".")] < [2, 5] else None
IGNORED = "Neg.new: an attribute that {} ignores, and so answers otherwise; no TensorFlow release has it"

# Nodes, functions; what the C++ loader complains of; what is said.
LOADED = {
    "all there": ([X, Y], [], None, []),
    "an attribute for others": ([X, node("Neg", "y", "x", T=tf.float32, _mine=3)], [], None, []),
    "an op": (
        [X, node("NoSuchOp", "y", "x", T=tf.float32)],
        [],
        "not registered 'NoSuchOp'",
        ["NoSuchOp: no op of any TensorFlow from 1.12 to 2.21: an add-on's or your own"],
    ),
    "an op that nobody asks for": (
        [X, Y, node("NoSuchOp", "idle", "x", T=tf.float32)],
        [],
        "not registered 'NoSuchOp'",
        ["NoSuchOp: no op of any TensorFlow"],
    ),
    "an op in a function that nobody asks for": (
        [X, Y, node("PartitionedCall", "idle", "x", **CALL)],
        [UNKNOWN],
        "not registered 'NoSuchOp'",
        ["NoSuchOp: no op of any TensorFlow"],
    ),
    "an op in a function that nobody calls": ([X, Y], [UNKNOWN], None, []),
    "an attribute": (
        [X, node("Neg", "y", "x", T=tf.float32, new=3)],
        [],
        REFUSED,
        ["Neg.new: an attribute that {} refuses; no TensorFlow release has it (node y)"] if REFUSED else [IGNORED],
    ),
    "an attribute that nobody asks for": (
        [X, Y, node("Neg", "idle", "x", T=tf.float32, new=3)],
        [],
        REFUSED,
        ["Neg.new: an attribute that {} refuses"] if REFUSED else [IGNORED],
    ),
    "an attribute in a function": (
        [X, node("PartitionedCall", "y", "x", **dict(CALL, f=NEW))],
        [NEW],
        REFUSED,
        ["Neg.new: an attribute that {} refuses; no TensorFlow release has it (node g/inner)"]
        if REFUSED
        else [IGNORED],
    ),
    "an attribute in a function that nobody asks for": (
        [X, Y, node("PartitionedCall", "idle", "x", **dict(CALL, f=NEW))],
        [NEW],
        None,
        [],
    ),
    "an attribute without a meaning": (
        [X, node("Neg", "y", "x", T=tf.float32, debug_name="y")],
        [],
        REFUSED and REFUSED.replace("new", "debug_name"),
        ["Neg.debug_name: an attribute that {} refuses"] if REFUSED else [],
    ),
    "a type": (
        [X, node("Placeholder", "s", dtype=tf.string), node("Neg", "y", "s", T=tf.string)],
        [],
        "(is not in the list of allowed values|No OpKernel was registered)",
        ["Neg.T=string: a value that {} does not allow; no TensorFlow release has it (node y)"],
    ),
    "a word": (
        [X, node("MaxPool", "y", "x", padding="ROUND", **POOL)],
        [],
        "is not in the list of allowed values",
        ["MaxPool.padding=ROUND: a value that {} does not allow"],
    ),
    "a kernel": (
        [S, Y, X, node("BatchFFT", "idle", "s")],
        [],
        "No OpKernel was registered to support Op 'BatchFFT'",
        ["BatchFFT: no kernel for CPUs in {}, only for GPUs (node idle)"],
    ),
    "a kernel for a type": (
        [X, Y, node("Cumsum", "idle", "b", "zero", T=tf.qint8), ZERO, node("Placeholder", "b", dtype=tf.qint8)],
        [],
        "No OpKernel was registered to support Op 'Cumsum'",
        ["Cumsum.T=qint8: no kernel for CPUs in {} with this value, but with float32, "],
    ),
    "a kernel in a function": (
        [X, node("PartitionedCall", "y", "x", **dict(CALL, f=FFT))],
        [FFT],
        "No OpKernel was registered to support Op 'BatchFFT'",
        ["BatchFFT: no kernel for CPUs in {}, only for GPUs (node fft/inner)"],
    ),
    "a kernel in a function that nobody asks for": (
        [X, Y, node("PartitionedCall", "idle", "x", **dict(CALL, f=FFT))],
        [FFT],
        None,
        [],
    ),
    "an attribute left out": (
        [X, node("Neg", "y", "x")],
        [],
        "(missing attr 'T'|No attr named 'T')",
        ["Neg.T: {} wants the attribute"],
    ),
}


@pytest.mark.parametrize("case", sorted(LOADED))
def test_what_is_said_of_the_running_release_is_what_its_loader_does(tmp_path, case, table):
    """Loaded, and asked for y, by the loader that TF Serving uses: refused for what is said, and for nothing else."""
    nodes, functions, complaint, expected = LOADED[case]
    directory = write(tmp_path / "1", nodes, functions)
    problems = said(directory, RUNNING + ".0", table)
    assert len(problems) == len(expected), problems
    for problem, text in zip(problems, expected):
        assert problem.startswith(text.format(RUNNING)), problem
    feed = np.ones((1, 2, 2, 1), "float32")
    if complaint is None:
        with cc_loader.loaded(cc_loader.find_library(), directory) as model:
            np.testing.assert_array_equal(model.run(["y:0"], {"x:0": feed})[0], -feed)
        return
    with pytest.raises(NotServable) as refused:
        with cc_loader.loaded(cc_loader.find_library(), directory) as model:
            model.run(["y:0"], {"x:0": feed})
    assert re.search(complaint, str(refused.value)), str(refused.value)


def test_ops_and_attributes_by_release(tmp_path, table):
    """What today's TensorFlow writes and older servers lack: each with the releases that have it, the worst first."""
    nodes = [node("VarHandleOp", f"v{n}", dtype=tf.float32, shape=1, debug_name=0) for n in range(5)]
    nodes += [X, node("DisableCopyOnRead", "r", "v0"), node("Neg", "y", "v0", "v1", "^v2", "v3:0", "v4", T=tf.float32)]
    nodes += [node("DepthwiseConv2dNative", "c", "x", "x", T=tf.float32, strides=1, padding="EXPLICIT")]
    directory = write(tmp_path / "1", nodes)
    assert said(directory, "1.14.0", table) == [
        "DisableCopyOnRead: no op of 1.14; TensorFlow has it since 2.10 (node r)",
        "VarHandleOp.debug_name: an attribute that 1.14 refuses; TensorFlow has it since 2.15 "
        "(5 nodes: v0, v1, v2 and 2 more)",
        "DepthwiseConv2dNative.padding=EXPLICIT: a value that 1.14 does not allow; TensorFlow has it since 2.3 (node c)",
    ]
    assert [text.split(":")[0] for text in said(directory, "2.4.4", table)] == [
        "DisableCopyOnRead",
        "VarHandleOp.debug_name",
    ]
    assert fits(directory, table) == "2.10 or newer"


def test_an_attribute_at_its_default_is_no_difference(tmp_path, table):
    """Where it is ignored; servers up to 2.4 refuse it all the same."""
    given = {"T": tf.float32, "Tk": tf.int32, "index_type": tf.int32}
    default = write(tmp_path / "1", [X, node("TopKV2", "y", "x", "x", **given)])
    assert fits(default, table) == "2.5 or newer"
    other = write(tmp_path / "2", [X, node("TopKV2", "y", "x", "x", **dict(given, index_type=tf.int64))])
    assert fits(other, table) == "2.13 or newer"
    assert said(other, "2.12.2", table) == [
        "TopKV2.index_type: an attribute that 2.12 ignores, and so answers otherwise; TensorFlow has it since 2.13 (node y)"
    ]


def test_what_left_and_what_came_back(tmp_path, table):
    """2.0 branched off before 1.15: the decoder's T is in 1.15 and from 2.1 on."""
    decoder = {"beam_width": 1, "top_paths": 1, "T": tf.float32}
    directory = write(tmp_path / "1", [X, node("CTCBeamSearchDecoder", "y", "x", "x", **decoder)])
    assert said(directory, "1.15.0", table) == [] == said(directory, "2.1.4", table)
    (problem,) = said(directory, "2.0.0", table)
    assert "TensorFlow has it in 1.15 and since 2.1" in problem
    assert fits(directory, table) == "1.15, 2.1 or newer"
    (problem,) = said(
        write(tmp_path / "2", [X, node("CompareAndBitpack", "b", "x", "x", T=tf.float32)]), "2.9.3", table
    )
    assert "TensorFlow has it from 1.12 to 2.5" in problem


def test_functions_are_no_unknown_ops(tmp_path, table):
    """One that is called as an op is looked up in the library, and its attributes are its own; its nodes are looked at."""
    called = function("my_function", node("DisableCopyOnRead", "inner", "x"))
    directory = write(tmp_path / "1", [X, node("my_function", "y", "x", anything=tf.float32)], [called])
    assert said(directory, "2.19.1", table) == []
    assert said(directory, "2.4.4", table) == [
        "DisableCopyOnRead: no op of 2.4; TensorFlow has it since 2.10 (node my_function/inner)"
    ]


def test_what_a_server_runs_and_what_it_does_not(tmp_path, table):
    """To restore, to initialize and to answer; functions among several as well; but not to save."""
    names = ("restored", "initialized", "answered", "saved")
    functions = [function(name, node("Neg", "inner", "x", T=tf.float32, new=3)) for name in names]
    nodes = [X] + [node("PartitionedCall", name + "_call", "x", **dict(CALL, f=f)) for name, f in zip(names, functions)]
    case = node("Case", "y", "^answered_call", "x", Tin=[tf.float32], Tout=[tf.float32])
    case.attr["branches"].list.func.add().name = "branch"
    functions.append(function("branch", node("Neg", "inner", "x", T=tf.float32, new=3)))
    directory = write(tmp_path / "1", nodes + [case], functions)
    message = SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    message.meta_graphs[0].saver_def.restore_op_name = "restored_call"
    message.meta_graphs[0].collection_def["legacy_init_op"].node_list.value.append("initialized_call")
    (directory / "saved_model.pb").write_bytes(message.SerializeToString())
    assert read_demands(directory).idle == {"saved/inner"}
    image = find_image("2.4")
    (misfit,) = find_misfits(read_demands(directory), [image], table)[image]
    assert sorted(misfit.nodes) == ["answered/inner", "branch/inner", "initialized/inner", "restored/inner"]


@pytest.mark.parametrize("op", ["PyFunc", "PyFuncStateless", "EagerPyFunc"])
def test_python_is_in_no_server(tmp_path, op, table):
    """Though it is in every registry of a Python package."""
    directory = write(tmp_path / "1", [node(op, "p")])
    assert all("it calls Python" in said(directory, image.version, table)[0] for image in known_images())


@pytest.mark.parametrize(
    "op, where",
    [
        ("GatherTree", "1.14 to 1.15"),  # seq2seq
        ("TreePredictionsV4", "1.14 to 1.15"),  # tensor_forest
        ("SkipGramGenerateCandidates", "1.14 to 1.15"),  # text
        ("HyperplaneLSHProbes", "1.14 to 1.15"),  # nearest_neighbor
        ("SparseFeatureCrossV2", "1.14 to 1.15"),  # layers
        ("MaskedMatmul", "1.14 to 1.15"),  # factorization
        ("Resampler", ""),
        ("PeriodicResample", ""),
        ("ImageProjectiveTransform", ""),
        ("BipartiteMatch", ""),
        ("FusedConv2DBiasActivation", ""),
        ("RoutingFunction", ""),  # tensor_forest/hybrid
        ("ZeroInitializer", ""),  # framework: the op is linked, its kernel is not
        ("DecodeLibsvm", ""),
        ("BlockLSTM", "1.14 or newer"),  # TensorFlow's own; its kernel is of contrib in 1.14
        ("GRUBlockCell", "1.14 or newer"),
        ("ImageProjectiveTransformV2", "2.2 or newer"),  # of contrib, which no image links, until 2.2
    ],
)
def test_contrib(tmp_path, table, op, where):
    """Servers of 1.x have of tf.contrib what their image links, and not all that a Python package has."""
    assert op in table.contrib or table.releases_with(op)
    nodes = [tf.NodeDef(op=op, name="r"), X]
    for name, attribute in dict(*[table.releases[one][op] for one in table.releases_with(op)[-1:]]).items():
        if attribute.default is None:  # as a node has to give it
            nodes[0].attr[name].type = (attribute.allowed or [1])[0]
    directory = write(tmp_path / "1", nodes)
    assert fits(directory, table) == where
    if not table.releases_with(op):
        expected = "which TF Serving has in 1.14 to 1.15 only" if where else "and no image of TF Serving links it"
        assert contrib_ops(read_demands(directory), table) == (op,)
        (problem,) = said(directory, "2.0.0", table)
        assert problem == f"{op}: an op of tf.contrib, {expected} (node r)"
        assert said(directory, "1.15.0", table) == ([] if where else [problem])


def test_which_libraries_the_images_link(table):
    """Each pattern is that of a library which the packages of 1.14 have, and 1.15 but for the one that moved."""
    for release, moved in (("1.14", set()), ("1.15", {"rnn/"})):
        libraries = set(table.libraries[release].values())
        found = {prefix for prefix in LINKED if any(library.startswith(prefix) for library in libraries)}
        assert set(LINKED) - found == moved


def test_an_error_says_everything_and_what_to_do(tmp_path):
    """For export: all problems, and where they are none."""
    demands = read_demands(write(tmp_path / "1", [X, node("DisableCopyOnRead", "r", "x"), node("NoSuchOp", "n")]))
    with pytest.raises(NotCompatible) as refused:
        check_fit(demands, find_server_kind("1.14"))
    assert refused.value.exit_code == 3 and len(refused.value.problems) == 2
    assert "no known release has everything" in str(refused.value)
    demands = read_demands(write(tmp_path / "2", [X, node("DisableCopyOnRead", "r", "x")]))
    with pytest.raises(NotCompatible, match="serve it with 2.10 or newer, or build the graph without"):
        check_fit(demands, find_server_kind("1.14"))
    check_fit(demands, find_server_kind("2.19"))


@pytest.mark.parametrize(
    "wrong, expected, remedy",
    [
        ({"op": "LRN", "T": tf.bfloat16}, "LRN.T=bfloat16: no kernel for CPUs", "compute it in float32"),
        ({"op": "AddN", "T": tf.qint8, "N": 1}, "AddN.T=qint8: no kernel for CPUs in 2.19 with this value, but", ""),
        (
            {"op": "DepthToSpace", "T": tf.float32, "data_format": "NCHW", "block_size": 2},
            "DepthToSpace.data_format=NCHW: no kernel for CPUs in 2.19 with this value, but with NHWC, and for GPUs with",
            "serve it with tensorflow/serving:2.19.1-gpu on a GPU",
        ),
    ],
)
def test_no_kernel_for_a_value(tmp_path, wrong, expected, remedy):
    """Each with the types that have one, and what to do."""
    directory = write(tmp_path / "1", [X, node(name="n", **wrong)])
    with pytest.raises(NotCompatible) as refused:
        check_fit(read_demands(directory), find_server_kind("2.19"))
    (problem,) = refused.value.problems
    assert problem.text.startswith(expected) and problem.code == "kernel-not-in-serving", problem.text
    assert problem.remedy == remedy


def test_large_nodes_and_odd_bytes_are_no_obstacle(tmp_path, table):
    """A constant of megabytes is passed over; a text that is none is no allowed value, nor an error."""
    constant = node("Const", "k", dtype=tf.float32)
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.zeros(1 << 18, "float32")))
    odd = node("Identity", "y", "k", T=tf.float32)
    odd.attr["texts"].list.s.append(b"\xff\xfe")
    odd.attr["text"].s = b"\xff"
    demands = read_demands(write(tmp_path / "1", [constant, odd]))
    assert demands.nodes == 2
    assert [misfit.attribute for misfit in find_misfits(demands, known_images(), table)[Image("2.20.0")]] == [
        "text",
        "texts",
    ]


def test_where_a_saved_model_is(tmp_path):
    """Its directory, its file, or the base directory of its versions."""
    for number in (2, 10):
        write(tmp_path / str(number), [X])
    assert find_version(tmp_path) == tmp_path / "10"
    assert find_version(tmp_path / "2") == tmp_path / "2"
    assert find_version(tmp_path / "2" / "saved_model.pb") == tmp_path / "2"


def test_who_wrote_it(tmp_path):
    """By its own account; of several meta graphs the one that servers load."""
    demands = read_demands(write(tmp_path / "1", [X], tensorflow="2.4.1"))
    assert (demands.tensorflow, demands.nodes) == ("2.4.1", 1)


@pytest.mark.parametrize("length", [1, 30, 100, -1])
def test_a_file_that_is_cut_off(tmp_path, length):
    """Anywhere: nothing is said of its ops."""
    path = write(tmp_path / "1", [X] * 20) / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ServingError, match="cut off, or no SavedModel; export it again"):
        read_demands(tmp_path / "1")


def test_what_is_no_saved_model(tmp_path):
    """Each with what was found, and what to do."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "text" / "1").mkdir(parents=True)
    (tmp_path / "text" / "1" / "saved_model.pbtxt").write_text("saved_model_schema_version: 1")
    write(tmp_path / "nothing")
    (tmp_path / "nothing" / "saved_model.pb").write_bytes(b"")
    for path, message in (
        ("absent", "there is no such directory; expected a version"),
        ("file", "not a directory"),
        ("empty", "neither a version .saved_model.pb is not there. nor the base directory"),
        ("text", "the ops of a saved_model.pbtxt are not read here; write the SavedModel in its binary form"),
        ("nothing", "no graph is in it"),
    ):
        with pytest.raises((ServingError, VersionError), match=message):
            read_demands(find_version(tmp_path / path))
    with pytest.raises(NotServable, match="no meta graph is tagged 'serve' and nothing else.*: gpu, serve; "):
        read_demands(write(tmp_path / "tagged", [X], tags=("serve", "gpu")))


def test_releases_as_people_say_them():
    """Stretches, and the end left open."""
    everything = [image.minor for image in known_images()]
    assert releases_text(everything) == "1.14 or newer"
    assert releases_text(everything[-1:]) == everything[-1]
    assert releases_text(["1.15", "2.1", "2.2"]) == "1.15, 2.1 to 2.2"
    assert releases_text([]) == ""
    assert nodes_text(["a"]) == "node a"
    assert nodes_text(["a", "b", "c", "d"]) == "4 nodes: a, b, c and 1 more"


@pytest.mark.parametrize("op, newest", [("CudnnRNN", "2.19"), ("CudnnRNNV2", "2.19"), ("CudnnRNNV3", "2.20")])
@pytest.mark.parametrize("is_chosen", [False, True], ids=["in the graph", "in a function for GPUs"])
def test_what_cudnn_9_refuses(tmp_path, table, op, newest, is_chosen):
    """Ops without lengths, which have kernels all the same; a GPU runs the function that is for it, as Keras makes one."""
    nodes, functions = [X, node(op, "y", "x", T=tf.float32)], []
    if is_chosen:
        functions = [function("on_gpu", node(op, "inner", "x", T=tf.float32)), function("on_cpu", Y)]
        for one, device in zip(functions, ("GPU", "CPU")):
            one.attr["api_implements"].s, one.attr["api_preferred_device"].s = b"lstm", device.encode()
        nodes = [X, node("PartitionedCall", "y", "x", **dict(CALL, f=functions[1]))]
    directory = write(tmp_path / "1", nodes, functions)
    demands = read_demands(directory)
    found = find_misfits(demands, known_images(), table, Device.GPU)
    assert [image.minor for image in fitting_images(found)][-1] == newest
    if newest != "2.20":
        (misfit,) = found[known_images()[-1]]
        assert misfit.nodes == (("on_gpu/inner",) if is_chosen else ("y",))
        assert misfit.reason == "its kernel fails every request with cuDNN 9.3, which tensorflow/serving:2.20.0-gpu has"
    assert fits(directory, table) == ("1.14 or newer" if is_chosen else "")
