"""CTC beam searches in a graph to be served give way to others, in any graph, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved import ctc
from ckpt2saved.checkpoint.contents import Weights
from ckpt2saved.errors import NotServable
from ckpt2saved.graph.ops import BEAM_SEARCH
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites.for_serving import ServingRewritten, rewrite_serving, without_searches
from ckpt2saved.rewrites.replace_ctc_decoder import ReplaceCtcDecoder
from ckpt2saved.saved_model.writing import ServingGraph, cut_down, spec_of
from ckpt2saved.signature.tensors import Signature

WEIGHTS = Weights("raw", {}, "")


def serving(build):
    """What `build` makes of logits and lengths, as a graph to be served."""
    with tf.Graph().as_default() as graph:
        logits = tf.placeholder(tf.float32, [None, None, 6], name="logits")
        lengths = tf.placeholder(tf.int32, [None], name="lengths")
        weight = tf.get_variable("weight", [], initializer=tf.ones_initializer(), use_resource=False)
        outputs = build(logits * weight, lengths)
        saver = tf.train.Saver()
    inputs = (spec_of("lengths", lengths), spec_of("logits", logits))
    signature = Signature("serving_default", inputs, tuple(spec_of(key, outputs[key]) for key in sorted(outputs)))
    made = ServingGraph(graph.as_graph_def(), saver.as_saver_def(), {"serving_default": signature})
    return cut_down(made)


def answers(made, logits, lengths):
    """What a serving graph answers."""
    signature = made.signatures["serving_default"]
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(made.graph_def, name="")
        session.run(tf.assign(session.graph.get_tensor_by_name("weight:0"), 1.0).op)
        feeds = {signature.input("logits").tensor: logits, signature.input("lengths").tensor: lengths}
        return session.run({spec.key: spec.tensor for spec in signature.outputs}, feeds)


def two_decoders(logits, lengths):
    """Two beam searches of other settings, one used in the graph itself, and one that something waits for."""
    first, score = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=4, top_paths=2, merge_repeated=True)
    second, _ = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=1, top_paths=1, merge_repeated=False)
    with tf.control_dependencies([second[0].values.op]):
        waited = tf.identity(lengths)
    return {
        "second best": first[1].values,
        "second best shape": first[1].dense_shape,
        "dense": tf.sparse.to_dense(first[0], default_value=-1),
        "score": score,
        "indices": second[0].indices,
        "waited": waited,
    }


def noise(steps=9, batch=5, seed=0):
    return np.random.RandomState(seed).standard_normal((steps, batch, 6)).astype("float32") * 2


def test_every_decoder_is_replaced_and_the_answers_stay():
    """Outputs, consumers and control inputs are re-wired, each with its decoder's own settings."""
    before = serving(two_decoders)
    rewritten = rewrite_serving(before, WEIGHTS, [ReplaceCtcDecoder("fast")])
    assert [(d.node, d.beam_width, d.top_paths, d.merge_repeated) for d in rewritten.replaced] == [
        ("CTCBeamSearchDecoder", 4, 2, True),
        ("CTCBeamSearchDecoder_1", 1, 1, False),
    ]
    assert not [node.name for node in rewritten.serving.graph_def.node if node.op == BEAM_SEARCH]
    for seed in range(5):
        question = noise(seed=seed), [9, 2, 4, 9, 3]
        wanted, found = answers(before, *question), answers(rewritten.serving, *question)
        assert sorted(wanted) == sorted(found)
        for key, value in wanted.items():
            assert found[key].dtype == value.dtype
            np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("beam_width", [1, 4])
def test_a_decoder_in_the_body_of_a_loop_is_replaced(beam_width):
    """Each line alone; what the new decoder has without an input, such as constants, belongs to the loop then."""

    def build(logits, lengths):
        def body(line, scores):
            _, score = tf.nn.ctc_beam_search_decoder(
                logits[:, line : line + 1], lengths[line : line + 1], beam_width=beam_width, top_paths=1
            )
            return line + 1, scores.write(line, score[0, 0])

        batch = tf.shape(lengths)[0]
        array = tf.TensorArray(tf.float32, batch)
        _, scores = tf.while_loop(lambda line, _: line < batch, body, [tf.constant(0), array], back_prop=False)
        return {"score": scores.stack()}

    with v1_control_flow():
        before = serving(build)
    rewritten = rewrite_serving(before, WEIGHTS, [ReplaceCtcDecoder("fast")])
    assert [decoder.beam_width for decoder in rewritten.replaced] == [beam_width]
    assert not [node.name for node in rewritten.serving.graph_def.node if node.op == BEAM_SEARCH]
    for batch in (5, 1, 0):
        question = noise(batch=batch), [9, 2, 4, 9, 3][:batch]
        wanted, found = answers(before, *question), answers(rewritten.serving, *question)
        np.testing.assert_allclose(found["score"], wanted["score"], rtol=1e-5, atol=1e-5)


def test_a_stand_in_keeps_dtypes_and_ranks_and_leaves_loops_alone():
    """Of a decoder for several paths, which all become the same; one inside a loop stays."""

    def build(logits, lengths):
        paths, score = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=4, top_paths=2)

        def repeat(step, total):
            _, more = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=2)
            return step + 1, total + tf.reduce_sum(more)

        _, total = tf.while_loop(lambda step, total: step < 2, repeat, [0, 0.0])
        return {"first": paths[0].values, "second": paths[1].values, "score": score, "total": total}

    with v1_control_flow():
        before = serving(build)
    after = without_searches(ServingRewritten(before, WEIGHTS))
    assert [node.name for node in after.graph_def.node if node.op == BEAM_SEARCH] == ["while/CTCBeamSearchDecoder"]
    wanted, found = [answers(made, noise(), [9, 8, 7, 6, 5]) for made in (before, after)]
    assert {key: (value.dtype, value.ndim) for key, value in found.items()} == {
        key: (value.dtype, value.ndim) for key, value in wanted.items()
    }
    np.testing.assert_array_equal(found["second"], found["first"])
    assert found["score"].shape == (5, 2) and found["total"] == wanted["total"]


def test_the_graph_that_is_given_stays_as_it_was():
    """A rewrite is a function: what it was given can still be the reference."""
    before = serving(two_decoders)
    graph_def = before.graph_def.SerializeToString(deterministic=True)
    signatures = dict(before.signatures)
    rewrite_serving(before, WEIGHTS, [ReplaceCtcDecoder("fast")])
    assert before.graph_def.SerializeToString(deterministic=True) == graph_def
    assert before.signatures == signatures


def test_a_graph_without_a_beam_search_is_left_alone():
    """And the rewrite says that there was none."""
    before = serving(lambda logits, lengths: {"best": tf.argmax(logits, 2)})
    rewritten = rewrite_serving(before, WEIGHTS, [ReplaceCtcDecoder("fast")])
    assert rewritten.replaced == () and rewritten.serving is before


def test_a_served_output_of_the_decoder_itself_is_renamed():
    """A signature that fetches CTCBeamSearchDecoder:0 fetches what stands for it."""

    def build(logits, lengths):
        (best,), score = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=3)
        return {"indices": best.indices, "values": best.values, "shape": best.dense_shape, "score": score}

    before = serving(build)
    assert before.signatures["serving_default"].output("values").tensor == "CTCBeamSearchDecoder:1"
    rewritten = rewrite_serving(before, WEIGHTS, [ReplaceCtcDecoder("fast")])
    wanted, found = [answers(made, noise(), [9, 8, 7, 6, 5]) for made in (before, rewritten.serving)]
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, err_msg=key)


@pytest.mark.parametrize("width", [2, 11, 100])
def test_wide_beams_of_few_classes(width):
    """Noise over five labels and a wide beam: where the op's odd habits show in its answers."""

    def build(logits, lengths):
        (best, second), score = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=width, top_paths=2)
        return {"best": best.values, "second": second.values, "score": score}

    before = serving(build)
    rewritten = rewrite_serving(before, WEIGHTS, [ReplaceCtcDecoder("fast")])
    assert [decoder.beam_width for decoder in rewritten.replaced] == [width]
    wanted, found = [answers(made, noise(20), [20, 19, 7, 2, 20]) for made in (before, rewritten.serving)]
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5, err_msg=key)


def test_greedy_takes_the_best_class_of_each_step():
    """Two steps that each say blank most surely, and yet together say 0: the beam search reads it, greedy does not."""
    chances = np.array([[0.4, 0.0, 0.0, 0.0, 0.0, 0.6]] * 2)
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(chances), -50)[:, np.newaxis].astype("float32")

    def build(logits, lengths):
        (best,), score = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=2, merge_repeated=False)
        return {"values": best.values, "score": score}

    before = serving(build)
    beam, greedy = [
        answers(made, logits, [2])
        for made in (before, rewrite_serving(before, WEIGHTS, [ReplaceCtcDecoder("greedy")]).serving)
    ]
    assert (list(beam["values"]), list(greedy["values"])) == ([0], [])
    np.testing.assert_allclose(np.exp(beam["score"]), [[0.4 * 0.4 + 2 * 0.4 * 0.6]], rtol=1e-4)
    np.testing.assert_allclose(np.exp(greedy["score"]), [[0.6 * 0.6]], rtol=1e-4)


def test_greedy_for_several_paths_is_refused():
    """It finds one."""
    with pytest.raises(NotServable, match="CTCBeamSearchDecoder: greedy decoding finds one path, .* asked for 2"):
        rewrite_serving(serving(two_decoders), WEIGHTS, [ReplaceCtcDecoder("greedy")])


def test_a_beam_of_one_is_not_greedy():
    """docs/ctc-decoder.md's example: the beam adds up the alignments of a text, and reads a where greedy reads ab."""
    chances = np.array([[0.6, 1e-9, 0.4], [0.35, 0.4, 0.25]])
    with tf.Graph().as_default(), tf.Session() as session:
        logits, lengths = tf.constant(np.log(chances)[:, np.newaxis].astype("float32")), tf.constant([2])
        (stock,), score = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=1, merge_repeated=False)
        (fast,), fast_score = ctc.beam_search(logits, lengths, beam_width=1, top_paths=1, merge_repeated=False)
        (best,), _ = tf.nn.ctc_greedy_decoder(logits, lengths)
        a, b = 0, 1
        assert list(session.run(stock.values)) == list(session.run(fast.values)) == [a]
        assert list(session.run(best.values)) == [a, b]
        np.testing.assert_allclose(np.exp(session.run([score, fast_score])), [[[0.36]]] * 2, rtol=1e-5)
