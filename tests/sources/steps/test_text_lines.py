"""Text lines in the graph are those of the published code and of the NumPy reference."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from ckpt2saved.client import detection
from ckpt2saved.compatibility.demands import read_demands
from ckpt2saved.compatibility.fit import find_misfits
from ckpt2saved.compatibility.image import known_images
from ckpt2saved.graph.op_table import shipped_table
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.signature.detection import Anchors, LineRules, ProposalRules
from ckpt2saved.sources.steps.proposals import decoded_proposals
from ckpt2saved.sources.steps.text_lines import MOST_JOINED, text_lines
from tests.support.detector_answers import random_answers
from tests.support.golden_rule import answers

RULES = LineRules()
GOLDEN = answers("ctpn_lines")
CASES = sorted({name.split("/")[0] for name in GOLDEN})
SLANTED = pytest.mark.parametrize("is_slanted", [False, True], ids=["upright", "slanted"])


@functools.lru_cache(maxsize=None)
def built(rules):
    """A session, what is fed, and the results; nothing is known of the shapes."""
    with tf.Graph().as_default() as graph:
        types = {"boxes": tf.float32, "scores": tf.float32, "count": tf.int32}
        given = {name: tf.placeholder(dtype) for name, dtype in types.items()}
        im_info = tf.placeholder(tf.float32)
        return tf.Session(graph=graph), given, im_info, text_lines(given, im_info, rules)


def padded(pages, most=1000):
    """What the graph has of proposals: boxes, scores and count of all pages."""
    found = {
        "boxes": np.zeros((len(pages), most, 4), np.float32),
        "scores": np.zeros((len(pages), most), np.float32),
        "count": np.array([len(page.boxes) for page in pages], np.int32),
    }
    for number, page in enumerate(pages):
        found["boxes"][number, : len(page.boxes)] = page.boxes
        found["scores"][number, : len(page.boxes)] = page.scores
    return found


def lines(proposals, im_info, rules=RULES):
    session, given, info, results = built(rules)
    feed = {given[name]: value for name, value in proposals.items()}
    found = session.run(results, {**feed, info: im_info})
    batch = len(im_info)
    assert found["quads"].shape == (batch, rules.most, 8) and found["quads"].dtype == np.float32
    assert found["scores"].shape == (batch, rules.most) and found["scores"].dtype == np.float32
    assert found["count"].shape == (batch,) and found["count"].dtype == np.int32
    for page, count in enumerate(found["count"]):
        assert not found["quads"][page, count:].any() and not found["scores"][page, count:].any()
    return found


def check_page(found, page, quads, scores):
    count = found["count"][page]
    assert count == len(quads)
    np.testing.assert_allclose(found["quads"][page, :count], quads, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found["scores"][page, :count], scores, rtol=0, atol=1e-6)


def check_as_numpy(boxes, scores, size=(600, 900), rules=RULES):
    """Return the quads of one page's proposals, equal to those of the reference."""
    page = detection.Proposals(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32))
    found = lines(padded([page], max(1, len(boxes))), np.array([size + (1,)], np.float32), rules)
    check_page(found, 0, *detection.text_lines(page, size, rules))
    return found["quads"][0, : found["count"][0]]


@SLANTED
@pytest.mark.parametrize("case", CASES)
def test_lines_are_those_of_the_published_code(case, is_slanted):
    proposals = detection.Proposals(GOLDEN[case + "/boxes"], GOLDEN[case + "/scores"].ravel())
    found = lines(padded([proposals]), GOLDEN[case + "/im_info"], LineRules(is_slanted=is_slanted))
    wanted = GOLDEN[case + ("/lines_O" if is_slanted else "/lines_H")]
    check_page(found, 0, wanted[:, :8], wanted[:, 8])


@pytest.mark.parametrize("first", range(0, 36, 12))
def test_lines_are_those_of_numpy(first):
    counts = {False: 0, True: 0}
    for seed in range(first, first + 12):
        cells = (7 + 5 * seed % 16, 8 + 7 * seed % 25)
        given = random_answers(seed, batch=3, cells=cells, text_rows=1 + seed % 9)
        proposals = detection.proposals(*given[:3])
        for is_slanted in counts:
            rules = LineRules(is_slanted=is_slanted)
            found = lines(padded(proposals), given.im_info, rules)
            for page, one in enumerate(proposals):
                check_page(found, page, *detection.text_lines(one, given.im_info[page, :2], rules))
            counts[is_slanted] += found["count"].sum()
    assert min(counts.values()) > 40


@pytest.mark.parametrize(
    "changed",
    [
        {"min_proposal_score": 0.3, "min_score": 0.4},
        {"max_overlap": 0.7, "min_score": 0.5},
        {"max_gap": 16},
        {"max_gap": 200, "min_common_height": 0.3, "min_height_ratio": 0.3, "min_score": 0.1},
        {"min_aspect_ratio": 5.0, "min_width": 100},
        {"most": 2},
    ],
)
@SLANTED
def test_rules_may_be_others(changed, is_slanted):
    rules = LineRules(is_slanted=is_slanted, **changed)
    given = random_answers(9, batch=2, cells=(20, 24), text_rows=6)
    proposals = detection.proposals(*given[:3])
    found = lines(padded(proposals), given.im_info, rules)
    for page, one in enumerate(proposals):
        check_page(found, page, *detection.text_lines(one, given.im_info[page, :2], rules))
    assert found["count"].any()


def test_a_page_is_answered_as_it_is_alone():
    given = random_answers(21, batch=4, cells=(20, 24), text_rows=6)
    proposals = padded(detection.proposals(*given[:3]))
    found = lines(proposals, given.im_info)
    assert found["count"].any()
    for page in range(4):
        alone = lines({name: value[[page]] for name, value in proposals.items()}, given.im_info[[page]])
        for name, value in alone.items():
            np.testing.assert_array_equal(value, found[name][[page]])


def row(first, last, y, height=20):
    """Boxes of 17 x `height` pixels side by side."""
    return [[x, y, x + 16, y + height - 1] for x in range(first, last, 16)]


def test_an_exact_line():
    (quad,) = check_as_numpy(row(32, 192, 50), [0.95] * 10)
    assert quad.tolist() == [32, 50, 192, 50, 192, 69, 32, 69]


def test_a_slanted_line_is_a_rectangle_around_its_boxes():
    boxes = [[x, 50 + x / 4, x + 16, 69 + x / 4] for x in range(32, 320, 16)]
    (quad,) = check_as_numpy(boxes, [0.95] * len(boxes), rules=LineRules(is_slanted=True))
    corners = quad.reshape(4, 2)
    sides = np.roll(corners, -1, axis=0) - corners
    assert np.sum(sides[0] * sides[1]) == pytest.approx(0, abs=0.1)
    assert sides[0, 1] / sides[0, 0] == pytest.approx(0.25)
    rising = [[x, 200 - x / 4, x + 16, 219 - x / 4] for x in range(32, 320, 16)]
    (quad,) = check_as_numpy(rising, [0.95] * len(rising), rules=LineRules(is_slanted=True))
    assert (quad[3] - quad[1]) / (quad[2] - quad[0]) == pytest.approx(-0.25)


@pytest.mark.parametrize(("ratio", "count"), [(4.9, 1), (5.0, 0)])
def test_the_height_of_a_steep_line_is_that_of_its_sides(ratio, count):
    """Of 21.5 pixels: the rectangle of 106 pixels is rotated, and what counts is how far a side goes down."""
    boxes = [[x, 10 + 2 * x, x + 16, 110 + 2 * x] for x in range(0, 64, 16)]
    found = lines(
        padded([detection.Proposals(np.array(boxes, np.float32), np.full(4, 0.95, np.float32))]),
        np.array([[600, 900, 1]], np.float32),
        LineRules(is_slanted=True, min_common_height=0.5, min_aspect_ratio=ratio),
    )
    assert found["count"].tolist() == [count]


def test_two_lines_may_end_in_the_same_boxes():
    """A box further away, and better than the nearest neighbour, goes on to the same successor."""
    tail = row(64, 160, 40)
    far, near = [[32, 34, 48, 53]], [[48, 46, 64, 65]]
    scores = [0.99] * len(tail) + [0.98, 0.97]
    quads = check_as_numpy(tail + far + near, scores)
    assert quads[:, 0].tolist() == [32, 48]
    assert quads[:, 2].tolist() == [160, 160]


def test_a_worse_box_does_not_join_the_successor_of_a_better_one():
    tail = row(64, 160, 40)
    far, near = [[32, 34, 48, 53]], [[48, 46, 64, 65]]
    quads = check_as_numpy(tail + near + far, [0.99] * len(tail) + [0.98, 0.97])
    assert quads[:, 0].tolist() == [48]


@pytest.mark.parametrize(("gap", "count"), [(50, 1), (51, 2)])
def test_the_widest_gap(gap, count):
    boxes = row(0, 64, 40) + row(48 + gap, 140 + gap, 40)
    assert len(check_as_numpy(boxes, [0.95] * len(boxes))) == count


@pytest.mark.parametrize(("lower", "count"), [(6, 1), (7, 2)])
def test_the_least_common_height(lower, count):
    """Of 20 pixels, 14 or 13."""
    boxes = row(0, 64, 40) + row(64, 128, 40 + lower)
    assert len(check_as_numpy(boxes, [0.95] * len(boxes))) == count


@pytest.mark.parametrize(("height", "count"), [(14, 1), (13, 2)])
def test_the_least_ratio_of_heights(height, count):
    boxes = row(0, 64, 40) + row(64, 128, 42, height)
    assert len(check_as_numpy(boxes, [0.95] * len(boxes))) == count


def test_rounding_does_not_join():
    """Heights 10 and a little less than 7, which is 7 in float32."""
    boxes = [[x, 0, x + 16, 9] for x in range(0, 64, 16)] + [[x, 2**-22, x + 16, 6] for x in range(64, 128, 16)]
    assert len(check_as_numpy(boxes, [0.95] * 8)) == 2


def test_what_is_behind_the_proposals_is_not_used():
    given = random_answers(8, cells=(20, 24), text_rows=6)
    proposals = padded(detection.proposals(*given[:3]), 1500)
    wanted = lines(proposals, given.im_info)
    count = proposals["count"][0]
    proposals["boxes"][0, count:] = row(0, 16 * (1500 - count), 100)
    proposals["scores"][0, count:] = 0.99
    found = lines(proposals, given.im_info)
    assert found["count"].any()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 1024, MOST_JOINED])
def test_a_line_of_any_length(size):
    """One pixel apart, so that they are as many as can be joined, and with an overlap that is allowed."""
    boxes = [[x, 10, x + 16, 29] for x in range(size)]
    rules = LineRules(max_overlap=1.0, min_width=0, min_aspect_ratio=0.0)
    quads = check_as_numpy(boxes, np.linspace(0.99, 0.95, size), (100, 5000), rules)
    assert quads.tolist() == ([[0, 10, size + 15, 10, size + 15, 29, 0, 29]] if size > 1 else [])


def test_the_best_proposals_are_joined():
    """Rows of a hundred, of which the last is cut off."""
    whole, part = divmod(MOST_JOINED, 100)
    count = 100 * (whole + 1)
    boxes = [box for number in range(whole + 1) for box in row(0, 1600, 30 * number)]
    page = detection.Proposals(np.array(boxes, np.float32), np.linspace(0.99, 0.95, count).astype("float32"))
    found = lines(padded([page], count), np.array([[30 * (whole + 2), 1700, 1]], np.float32))
    assert found["count"].tolist() == [whole + 1]
    assert found["quads"][0, : whole + 1, 2].tolist() == [1600.0] * whole + [16.0 * part]


def test_huge_pages_lose_no_precision():
    boxes = [[x, 7000 + x / 64, x + 16, 7030 + x / 64] for x in range(7000, 7900, 16)]
    for is_slanted in (False, True):
        assert len(check_as_numpy(boxes, [0.95] * len(boxes), (8000, 8000), LineRules(is_slanted=is_slanted))) == 1


@SLANTED
@pytest.mark.parametrize("batch", [0, 2])
def test_nothing_has_no_lines(batch, is_slanted):
    nothing = detection.Proposals(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    found = lines(padded([nothing] * batch), np.full((batch, 3), 50, np.float32), LineRules(is_slanted=is_slanted))
    assert found["count"].tolist() == [0] * batch


def both(given, rules=RULES):
    return text_lines(decoded_proposals(*given, Anchors(), ProposalRules()), given[2], rules)


def test_shapes_are_known():
    for batch in (None, 5):
        with tf.Graph().as_default():
            given = [tf.placeholder(tf.float32, [batch] + [None] * rank) for rank in (3, 3, 1)]
            shapes = {name: value.shape.as_list() for name, value in both(given, LineRules(most=70)).items()}
        assert shapes == {"quads": [batch, 70, 8], "scores": [batch, 70], "count": [batch]}


def test_lines_in_the_body_of_a_loop():
    """Page by page of a batch, from the detector's answers on."""
    given = random_answers(4, batch=3, cells=(12, 16), text_rows=5)
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        values = [tf.constant(value) for value in given[:3]]

        def step(page, quads):
            return page + 1, quads.write(page, both([value[page : page + 1] for value in values])["quads"][0])

        loop = tf.while_loop(lambda page, _: page < 3, step, [0, tf.TensorArray(tf.float32, 3)])
        found, together = session.run([loop[1].stack(), both(values)["quads"]])
    assert found.any()
    np.testing.assert_array_equal(found, together)


@SLANTED
def test_every_server_has_the_ops(tmp_path, is_slanted):
    """TF Serving from 1.14 on."""
    with tf.Graph().as_default(), tf.Session() as session:
        given = [tf.placeholder(tf.float32, [None] * rank) for rank in (4, 4, 2)]
        inputs = dict(zip(("cls_prob", "bbox_pred", "im_info"), given))
        definition = tf.saved_model.predict_signature_def(inputs, both(given, LineRules(is_slanted=is_slanted)))
        builder = tf.saved_model.Builder(str(tmp_path / "1"))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": definition}, strip_default_attrs=True
        )
        builder.save()
    misfits = find_misfits(read_demands(tmp_path / "1"), known_images(), shipped_table())
    assert {image.version: found for image, found in misfits.items() if found} == {}
