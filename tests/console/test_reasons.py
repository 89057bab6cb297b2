"""The line of a TensorFlow error that says why, of errors that this TensorFlow really raises."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.console.reasons import reason_at_node, reason_in, reason_of
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from tests.support.checkpoints import write_checkpoint
from tests.support.command_line import unmeasured_environment
from tests.support.trainings import weights

HEADINGS = (
    "Graph execution error",
    "Detected at",
    "Node:",
    "File ",
    "root error",
    "[[{{",
    "[[node",
    "Traceback",
    "defined at",
)


@pytest.fixture(params=[False, True], ids=["built", "imported"])
def graph(request):
    """Ops that fail in different ways; a graph that was imported has no stack to show for them."""
    graph = tf.Graph()
    with graph.as_default(), v1_control_flow():
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        tf.reshape(x, [3, 4], name="wrong_size")
        with tf.control_dependencies([tf.Assert(tf.reduce_sum(x) > 1e9, [x], name="check")]):
            tf.identity(x, name="checked")
        tf.py_func(lambda value: [][1], [x], tf.float32, name="python")
        tf.image.decode_png(tf.constant(b"no picture"), name="png")
        tf.matmul(x, tf.placeholder(tf.float32, [None, None], name="other"), name="product")
        tf.identity(tf.get_variable("w", [2], use_resource=False), name="unset")
        _, reversed_ = tf.while_loop(
            lambda n, _: n < 2,
            lambda n, y: (n + 1, tf.reshape(y, [5, 4])),
            (0, x),
            (tf.TensorShape([]), tf.TensorShape(None)),
        )
        tf.identity(reversed_, name="looped")
        tf.cond(tf.reduce_sum(x) > 1e9, lambda: tf.identity(x, name="dead"), lambda: x * 2)
    if not request.param:
        return graph
    copy = tf.Graph()
    with copy.as_default():
        tf.import_graph_def(graph.as_graph_def(), name="")
    return copy


@pytest.mark.parametrize(
    "fetched, why",
    [
        (
            "wrong_size:0",
            "wrong_size (Reshape): Input to reshape is a tensor with 2 values, but the requested shape has 12",
        ),
        ("checked:0", "assertion failed: [[1 2]]"),
        ("python:0", "python (PyFunc): IndexError: list index out of range"),
        ("product:0", "product (MatMul): Matrix size-incompatible: In[0]: [1,2], In[1]: [1,3]"),
        ("unset:0", "Attempting to use uninitialized value w"),
        ("looped:0", "Input to reshape is a tensor with 2 values, but the requested shape has 20"),
    ],
)
def test_the_reason_of_an_op_is_what_it_says_itself(graph, fetched, why):
    """Neither a heading, nor where the op was made, nor where it stands in the graph."""
    with tf.Session(graph=graph) as session, pytest.raises(tf.errors.OpError) as raised:
        session.run(fetched, {"x:0": [[1, 2]], "other:0": [[1, 2, 3]]})
    found = reason_of(raised.value)
    assert why in found
    assert not any(heading in found for heading in HEADINGS)
    assert "\n" not in found


def test_of_several_ops_that_fail_the_first_is_told(graph):
    with tf.Session(graph=graph) as session, pytest.raises(tf.errors.OpError) as raised:
        session.run(["wrong_size:0", "product:0", "png:0"], {"x:0": [[1, 2]], "other:0": [[1, 2, 3]]})
    found = reason_of(raised.value)
    assert any(why in found for why in ("Input to reshape", "Matrix size-incompatible", "image"))
    assert not any(heading in found for heading in HEADINGS)


def test_a_graph_that_can_not_be_imported_says_why():
    definition = tf.GraphDef()
    definition.node.add(name="a", op="NoSuchOp")
    with tf.Graph().as_default(), pytest.raises((ValueError, tf.errors.OpError)) as raised:
        tf.import_graph_def(definition, name="")
    assert "NoSuchOp" in reason_of(raised.value)


def test_a_file_that_can_not_be_written_is_named_with_the_reason(tmp_path):
    """As on a full disk: the system refuses to write more, here because a file may not grow beyond a limit."""
    code = (
        "import resource, sys\n"
        "from ckpt2saved.console.reasons import reason_of\n"
        "from ckpt2saved.graph.tf1 import tf\n"
        "import numpy as np\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "with tf.Graph().as_default(), tf.Session() as session:\n"
        "    value = tf.constant(np.zeros(1000000, np.float32))\n"
        "    save = tf.raw_ops.SaveV2(prefix=sys.argv[1], tensor_names=['x'], shape_and_slices=[''], tensors=[value])\n"
        "    try:\n"
        "        session.run(save)\n"
        "    except tf.errors.OpError as error:\n"
        "        print('reason=' + reason_of(error))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    done = subprocess.run(command, env=unmeasured_environment(), capture_output=True)
    (found,) = [line for line in done.stdout.decode().splitlines() if line.startswith("reason=")]
    assert "model.data-00000-of-00001" in found and "File too large" in found
    assert not any(heading in found for heading in HEADINGS if heading != "File ")


@pytest.mark.parametrize(
    "text, why",
    [
        ("Retval[0] does not have value", "Retval[0] does not have value"),
        ("Graph execution error:\n\nRetval[0] does not have value", "Retval[0] does not have value"),
        (
            "2 root error(s) found.\n  (0) Invalid argument: too long\n\t [[{{node a/b}}]]\n\t [[c/_3]]\n"
            "  (1) Invalid argument: too long\n\t [[{{node a/b}}]]\n0 successful operations.\n0 derived errors ignored.",
            "a/b: too long",
        ),
        (
            "2 root error(s) found.\n  (0) INVALID_ARGUMENT:  too long\n\t [[{{node a/b}}]]\n  (1) CANCELLED: x",
            "a/b: too long",
        ),
        (
            "From /job:localhost/replica:0/task:0:\n{{function_node __inference_step_12}} too long\n\t [[node a (defined at "
            "/x.py:3) ]] [Op:__inference_step_12]\n\nErrors may have originated from an input operation.",
            "a: too long",
        ),
        (
            "Graph execution error:\n\nDetected at node 'a' defined at (most recent call last):\n"
            '    File "x.py", line 1, in <module>\n      run()\n    File "y.py", line 2, in run\n      a = b(c)\nNode: \'a\'\n'
            "Detected at node 'a' defined at (most recent call last):\n    File \"x.py\", line 1, in <module>\nNode: 'a'\n"
            "2 root error(s) found.\n  (0) INVALID_ARGUMENT:  too long\n\t [[{{node a}}]]",
            "a: too long",
        ),
        (
            "Graph execution error:\n\nDetected at node a defined at (most recent call last):\n<stack traces unavailable>\n"
            "too long\n\t [[{{node a}}]] [Op:StatefulPartitionedCall]",
            "a: too long",
        ),
        ("/m/variables.data-00000-of-00001.tempstate1; No space left on device\n\t [[{{node SaveV2}}]]", None),
        ("", ""),
    ],
)
def test_messages_of_other_tensorflows(text, why):
    """As 1.14, 2.3, 2.8 and 2.13 word them."""
    assert reason_at_node(text) == (why if why is not None else "SaveV2: " + text.splitlines()[0])


def test_an_error_without_words_is_named():
    assert reason_of(ValueError()) == "ValueError"
    assert reason_in("Graph execution error:") == "Graph execution error:"


def test_an_export_that_cannot_be_answered_says_why(run, tmp_path):
    """Parity asks the graph itself; where that fails, what it says is what matters."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 4], name="x")
        y = tf.matmul(x, weights("w", 4, 3))
        with tf.control_dependencies([tf.Assert(tf.reduce_sum(y) > 1e9, ["the sum is too small"])]):
            tf.identity(y, name="y")
        tf.train.export_meta_graph(str(tmp_path / "model.meta"))
    import numpy as np

    prefix = write_checkpoint(tmp_path / "model", {"w": np.ones([4, 3], np.float32)})
    result = run("export", "--checkpoint", prefix, "--input=x", "--output=y", "-o", tmp_path / "base")
    assert result.exit_code in (1, 3), result.output
    assert "assertion failed: [the sum is too small]" in " ".join(result.output.split())
    assert "Graph execution error" not in result.output and "Detected at" not in result.output
