"""What is inside of a loop or a condition is neither fed nor fetched, whoever asks for it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from tests.support.trainings import save, weights


@pytest.fixture
def words(tmp_path):
    """A CTC network whose labels a loop makes text of, a line at a time; the lines are cut out inside of the loop."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 20, 8], name="image")
        length = tf.placeholder(tf.int32, [None], name="length")
        labels = tf.sparse_placeholder(tf.int32, name="labels")
        flat = tf.matmul(tf.reshape(tf.transpose(image, [1, 0, 2]), [-1, 8]), weights("classes", 8, 5))
        logits = tf.reshape(flat, [20, -1, 5], name="logits")
        (decoded,), _ = tf.nn.ctc_greedy_decoder(logits, length)
        text = tf.as_string(decoded.values)
        ends = tf.cumsum(tf.bincount(tf.cast(decoded.indices[:, 0], tf.int32), minlength=tf.shape(image)[0]))
        spans = tf.stack([tf.concat([[0], ends[:-1]], 0), ends], 1)
        lines = tf.map_fn(lambda span: tf.reduce_join(text[span[0] : span[1]]), spans, dtype=tf.string)
        tf.identity(lines, name="words")
        return save(
            tmp_path, tf.train.GradientDescentOptimizer(0.1), tf.reduce_mean(tf.nn.ctc_loss(labels, logits, length))
        )


@pytest.fixture
def attention(tmp_path):
    """A network that reads its features with attention: a softmax inside of a loop, inside of a loop."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 6, 8], name="image")
        labels = tf.placeholder(tf.int64, [None], name="labels")

        def line(features):
            def step(number, state):
                share = tf.nn.softmax(tf.matmul(state, features, transpose_b=True))
                return number + 1, tf.tanh(tf.matmul(tf.matmul(share, features), weights("cell", 8, 8)), name="state")

            return tf.while_loop(lambda number, _: number < 3, step, (0, tf.zeros([1, 8])))[1][0]

        with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
            weights("cell", 8, 8)
            states = tf.map_fn(line, image)
        states.set_shape([None, 8])
        logits = tf.matmul(states, weights("classes", 8, 5), name="logits")
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        return save(tmp_path, tf.train.GradientDescentOptimizer(0.1), tf.reduce_mean(loss))


@pytest.fixture
def branches(tmp_path):
    """One head on a branch that only a training runs, one on the other, and one that depends on the picture."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, 8], name="image")
        training = tf.placeholder(tf.bool, [], name="is_train")
        hidden = tf.matmul(image, weights("w", 8, 8))
        hidden = tf.cond(
            training,
            lambda: tf.identity(hidden * tf.random_uniform(tf.shape(hidden)), name="noisy"),
            lambda: tf.identity(hidden, name="plain"),
            name="phase",
        )
        bright = tf.cond(
            tf.reduce_mean(image) > 0.5, lambda: tf.identity(hidden, name="dark"), lambda: hidden * 2, name="light"
        )
        logits = tf.matmul(bright, weights("v", 8, 3), name="logits")
        loss = tf.reduce_mean(tf.square(logits - tf.placeholder(tf.float32, [None, 3], name="labels")))
        return save(tmp_path, tf.train.GradientDescentOptimizer(0.1), loss)


def inspected(run, prefix):
    result = run("inspect", prefix, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def tensors(content):
    """Every tensor that an inspection offers to feed or to fetch."""
    graph = content["graph"]
    names = [one["tensor"] for one in graph["inputs"] + graph["outputs"]]
    return names + [name for one in graph["inputs"] for name in one["instead"]]


def test_nothing_inside_a_loop_is_offered_and_the_printed_command_works(run, tmp_path, words):
    """What the loop makes is offered outside of it."""
    content = inspected(run, words)
    assert not [name for name in tensors(content) if "while" in name]
    proposed = [one["tensor"] for one in content["graph"]["outputs"] if one["proposed"]]
    assert "words:0" in proposed and "logits:0" in proposed
    arguments = [word.strip("'") for word in content["command"].split()[2:-2]]
    result = run("export", *arguments, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output


def test_a_softmax_inside_a_loop_is_no_output(run, attention):
    """Nor is a state of the loop; the scores behind it are."""
    content = inspected(run, attention)
    assert not [name for name in tensors(content) if "while" in name]
    assert [one["tensor"] for one in content["graph"]["outputs"] if one["proposed"]] == ["logits:0"]
    assert [one["tensor"] for one in content["graph"]["inputs"]] == ["image:0"]


def inside(prefix, op, at=0):
    """A tensor of this op that is inside of a loop."""
    graph_def = tf.train.import_meta_graph(str(prefix) + ".meta", clear_devices=True).export_meta_graph().graph_def
    flow = Graph(graph_def).control
    return [node.name for node in graph_def.node if node.op == op and flow.loops(node.name)][at] + ":0"


def test_an_output_inside_a_loop_is_refused_with_what_leaves_it(run, tmp_path, words):
    """The message names the loop, the Exit, and what reads it."""
    with tf.Graph().as_default():
        tensor = inside(words, "ReduceJoin")
    result = run(
        "export", "--checkpoint", words, "--input=image", "--input=length", "--output=x=" + tensor, "-o", tmp_path / "b"
    )
    assert result.exit_code == 3, result.output
    text = " ".join(result.output.split())
    assert f"outputs.x: {tensor}: it is inside the while loop 'map/while/" in text
    assert "TensorArrayGatherV3:0 (it reads map/while/Exit" in text
    assert not (tmp_path / "b").exists()


def test_an_input_inside_a_loop_is_refused_with_what_enters_it(run, tmp_path, words):
    with tf.Graph().as_default():
        tensor = inside(words, "TensorArrayReadV3")
    result = run("export", "--checkpoint", words, "--input=x=" + tensor, "--output=words", "-o", tmp_path / "b")
    assert result.exit_code == 3, result.output
    assert "where nothing can be fed; use an input of the loop: stack" in " ".join(result.output.split())


def test_the_innermost_of_loops_is_left_by_what_leaves_them_all(run, tmp_path, attention):
    with tf.Graph().as_default():
        tensor = inside(attention, "Softmax")
    result = run("export", "--checkpoint", attention, "--input=image", "--output=x=" + tensor, "-o", tmp_path / "b")
    assert result.exit_code == 3, result.output
    assert "TensorArrayGatherV3:0 (it reads net/map/while/Exit" in " ".join(result.output.split())


def test_logits_inside_a_loop_are_not_decoded(run, tmp_path, attention):
    """--decode fetches too."""
    with tf.Graph().as_default():
        tensor = inside(attention, "Softmax")
    result = run("export", "--checkpoint", attention, "--input=image", "--decode", tensor, "-o", tmp_path / "b")
    assert result.exit_code == 3, result.output
    assert f"graph.decode: {tensor}: it is inside the while loop" in " ".join(result.output.split())


def exported(run, tmp_path, prefix, output, *more):
    return run("export", "--checkpoint", prefix, "--input=image", "--output=" + output, "-o", tmp_path / "b", *more)


def test_an_output_on_a_branch_that_never_runs_is_refused(run, tmp_path, branches):
    """In inference it has no value at all, which TensorFlow would tell of a made-up request only."""
    result = exported(run, tmp_path, branches, "phase/noisy", "--set=is_train=false")
    assert result.exit_code == 3, result.output
    text = " ".join(result.output.split())
    assert (
        "phase/noisy:0: it is on a branch of a condition that does not run in inference, where is_train is False"
        in text
    )


def test_an_output_on_the_branch_of_inference_is_served(run, tmp_path, branches):
    """It is a plain tensor once the switch is pinned."""
    result = exported(run, tmp_path, branches, "phase/plain", "--set=is_train=false")
    assert result.exit_code == 0, result.output


def test_an_output_that_some_requests_have_no_value_for_is_refused(run, tmp_path, branches):
    result = exported(run, tmp_path, branches, "light/dark")
    assert result.exit_code == 3, result.output
    assert "it is on a branch of a condition, and has a value only where Greater" in " ".join(result.output.split())


def test_what_depends_on_a_branch_is_not_on_it_behind_the_merge(run, tmp_path, branches):
    result = exported(run, tmp_path, branches, "logits")
    assert result.exit_code == 0, result.output


def test_no_branch_is_offered(run, branches):
    assert [one["tensor"] for one in inspected(run, branches)["graph"]["outputs"] if one["proposed"]] == ["logits:0"]


def test_a_condition_inside_of_a_branch_leaves_what_is_behind_it_on_that_branch():
    """The merge of the inner condition joins its two sides, not those of the outer one."""
    nodes = [
        ("p", "Placeholder", []),
        ("q", "Placeholder", []),
        ("x", "Placeholder", []),
        ("outer", "Switch", ["x", "p"]),
        ("inner", "Switch", ["outer:1", "q"]),
        ("waits", "Const", ["^inner_pivot"]),
        ("inner_pivot", "Identity", ["inner"]),
        ("joined", "Merge", ["inner:1", "waits"]),
        ("all", "Merge", ["joined", "outer"]),
    ]
    graph = Graph(tf.GraphDef(node=[tf.NodeDef(name=name, op=op, input=inputs) for name, op, inputs in nodes]))
    flow = graph.control
    assert flow.branches(("waits", 0)) == {(("p", 0), 1), (("q", 0), 0)}
    assert flow.branches(("joined", 0)) == {(("p", 0), 1)}
    assert flow.branches(("all", 0)) == frozenset()


def test_a_tensor_of_a_function_of_ones_own_is_refused_inside_a_loop_too(run, tmp_path, branches, monkeypatch):
    """Whoever builds the graph: a raw name of a tensor inside of a loop."""
    (tmp_path / "mine.py").write_text(
        "import tensorflow.compat.v1 as tf\n"
        "def build(variables, options):\n"
        "    image = tf.placeholder(tf.float32, [None, 8], name='image')\n"
        "    w = tf.get_variable('w', [8, 8], use_resource=False)\n"
        "    _, found = tf.while_loop(lambda n, _: n < 2, lambda n, x: (n + 1, tf.tanh(tf.matmul(x, w), name='in')), (0, image))\n"
        "    return {'image': image, 'found': found}\n"
    )
    model = tmp_path / "mine.yaml"
    model.write_text(
        "format: 1\ngraph:\n  builder: mine:build\nsignatures:\n  serving_default:\n    inputs:\n"
        "      image: {dtype: float32, shape: [batch, 8]}\n    outputs:\n"
        "      found: {tensor: 'while/in:0', dtype: float32, shape: [batch, 8]}\n"
        "parity:\n  - dims: {batch: 2}\n    inputs:\n      image: {uniform: [0, 1]}\n"
    )
    with v1_control_flow():
        code = ("--allow-code", "--python-path", tmp_path)
        result = run("export", "--model", model, "--checkpoint", branches, *code, "-o", tmp_path / "b")
    assert result.exit_code == 3, result.output
    assert "while/in:0: it is inside the while loop" in " ".join(result.output.split())
