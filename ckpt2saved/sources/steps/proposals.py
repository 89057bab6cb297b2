"""Proposals of a CTPN: its anchors moved by the predicted deltas, and the best of those that overlap."""

from __future__ import annotations

from typing import Dict, List, Tuple

import numpy as np

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.detection import STRIDE, Anchors, ProposalRules
from ckpt2saved.sources.steps.pages import each_page


def decoded_proposals(
    cls_prob: tf.Tensor, bbox_pred: tf.Tensor, im_info: tf.Tensor, anchors: Anchors, rules: ProposalRules
) -> Dict[str, tf.Tensor]:
    """Return the proposals of each page, best first, and how many there are; the rest is 0.

    `boxes` float32 [batch, rules.most, 4]: x1, y1, x2, y2, inclusive pixels; `scores` float32 [batch, rules.most];
    `count` int32 [batch].

    `cls_prob` is float32 [batch, rows, columns * A, 2] or [batch, rows, columns, 2 * A], the probability of text
    second; `bbox_pred` float32 [batch, rows, columns, 4 * A], dx, dy, dw, dh of each anchor; `im_info` float32
    [batch, 3], of which height and width are used. A box with a corner or a score that is NaN is left out.
    """

    def of_page(probabilities: tf.Tensor, deltas: tf.Tensor, info: tf.Tensor) -> List[tf.Tensor]:
        boxes, is_box = _decoded(deltas, info, anchors, rules.min_size)
        scores = tf.reshape(probabilities, [-1, 2])[:, 1]
        boxes, scores = _best(boxes, scores, tf.logical_and(is_box, scores >= rules.min_score), rules.most_before_nms)
        kept = apart(boxes, rules.max_overlap, rules.most)
        boxes, scores = tf.gather(boxes, kept), tf.gather(scores, kept)
        return [padded(boxes, rules.most), padded(scores, rules.most), tf.size(kept)]

    return each_page(of_page, [cls_prob, bbox_pred, im_info], rules.results)


def _decoded(deltas: tf.Tensor, info: tf.Tensor, anchors: Anchors, min_size: int) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return the boxes float32 [cells * A, 4] inside of the page, and which of them are large enough, bool [cells * A].

    `deltas` is float32 [rows, columns, 4 * A], `info` height, width, ... of the page. Of the deltas only dy and dh are
    used, as in the published code: CTPN predicts no horizontal offsets.
    """
    x1, y1, x2, y2 = np.array(anchors.corners, np.float32).T
    heights = y2 - y1 + 1
    shape = tf.shape(deltas)
    rows, columns = (tf.cast(tf.range(size) * STRIDE, tf.float32)[:, None] for size in (shape[0], shape[1]))
    deltas = tf.reshape(deltas, [shape[0], shape[1], len(heights), 4])
    centres = deltas[..., 1] * heights + (rows + (y1 + heights / 2))[:, None]
    halves = tf.exp(deltas[..., 3]) * heights * 0.5
    left, right = (columns + x + tf.zeros_like(centres) for x in (x1, x2 + 1))
    boxes = tf.reshape(tf.stack([left, centres - halves, right, centres + halves], axis=3), [-1, 4])
    # Asked before clipping: whether the minimum of a number and NaN is NaN differs from release to release.
    is_number = tf.logical_not(tf.reduce_any(tf.is_nan(boxes + _last_pixels(info)), axis=1))
    boxes = clipped(boxes, info)
    is_large = tf.reduce_all(boxes[:, 2:] - boxes[:, :2] + 1 >= float(min_size), axis=1)
    return boxes, tf.logical_and(is_number, is_large)


def _best(boxes: tf.Tensor, scores: tf.Tensor, allowed: tf.Tensor, most: int) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return the boxes and scores with the best scores among those `allowed`, best first; the first of equal ones."""
    boxes, scores = tf.boolean_mask(boxes, allowed), tf.boolean_mask(scores, allowed)
    scores, order = tf.nn.top_k(scores, tf.minimum(tf.size(scores), most))
    return tf.gather(boxes, order), scores


def apart(boxes: tf.Tensor, max_overlap: float, most: int) -> tf.Tensor:
    """Return int32 [kept], ascending: which of `boxes` float32 [n, 4], best first, overlap no better one that is kept.

    Areas are in inclusive pixels: 1 is added to x2 and y2. TensorFlow drops a box whose overlap is greater than a
    threshold, the published code one whose overlap is as great.
    """
    ranks = -tf.cast(tf.range(tf.shape(boxes)[0]), tf.float32)  # no two alike: releases order equal scores differently
    return tf.raw_ops.NonMaxSuppressionV3(
        boxes=boxes + tf.constant([0.0, 0.0, 1.0, 1.0]),
        scores=ranks,
        max_output_size=most,
        iou_threshold=max(0.0, float(np.nextafter(np.float32(max_overlap), np.float32(-1)))),
        score_threshold=tf.float32.min,
    )


def clipped(boxes: tf.Tensor, info: tf.Tensor) -> tf.Tensor:
    """Return `boxes` [n, 4] inside of the page; `info` is its height, width, ..., of the same dtype."""
    return tf.maximum(tf.minimum(boxes, _last_pixels(info)), 0)


def _last_pixels(info: tf.Tensor) -> tf.Tensor:
    """Return the greatest x, y, x, y of a page whose `info` is height, width, ..."""
    height, width = tf.unstack(tf.reshape(info[:2], [2]))
    return tf.stack([width, height, width, height]) - 1


def padded(values: tf.Tensor, size: int) -> tf.Tensor:
    """Return `values` [n, ...] with zeros behind, [size, ...]."""
    return tf.pad(values, [[0, size - tf.shape(values)[0]]] + [[0, 0]] * (values.shape.ndims - 1))
