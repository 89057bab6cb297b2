"""SavedModels that look up the text of a picture by its bytes, and labelled pictures for them."""

from __future__ import annotations

import json

import numpy as np

from ckpt2saved.graph.tf1 import tf


def write_reader(directory, texts, name="text", with_status=True):
    """A version with a signature that answers `texts` (bytes of a picture -> text); status 4 for other bytes."""
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.string, [None], name="image_bytes")
        keys, values = tf.constant(list(texts)), tf.constant([text.encode("utf-8") for text in texts.values()])
        missing = b"\xff\xff"
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), missing)
        found = table.lookup(images)
        is_known = tf.not_equal(found, missing)
        outputs = {"text": tf.where(is_known, found, tf.fill(tf.shape(found), b""))}
        if with_status:
            outputs["status"] = tf.where(is_known, tf.zeros_like(found, tf.int32), tf.fill(tf.shape(found), 4))
            outputs["score"] = tf.where(
                is_known, tf.fill(tf.shape(found), -0.5), tf.fill(tf.shape(found), float("-inf"))
            )
        definition = tf.saved_model.predict_signature_def({"image_bytes": images}, outputs)
        builder = tf.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {name: definition}, main_op=tf.group(tf.tables_initializer())
        )
        builder.save()
    return directory


def write_page_reader(directory, pages, name="page"):
    """A version with a signature that answers the lines of `pages` (bytes of a picture -> [(text, quad), ...]).

    As `page` of the ocr: padded to the largest count of the batch; status 4 for other bytes.
    """
    lines = [*pages.values(), []]
    most = max(1, *map(len, lines))
    texts, quads = np.full((len(lines), most), b"", object), np.zeros((len(lines), most, 8), np.float32)
    for row, page in enumerate(lines):
        for column, (text, quad) in enumerate(page):
            texts[row, column], quads[row, column] = text.encode("utf-8"), quad
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.string, [None], name="image_bytes")
        numbers = tf.constant(np.arange(len(pages), dtype=np.int64))
        keys = tf.lookup.KeyValueTensorInitializer(tf.constant(list(pages)), numbers)
        row = tf.lookup.StaticHashTable(keys, len(pages)).lookup(images)
        count = tf.gather(tf.constant([len(page) for page in lines], tf.int32), row)
        width = tf.maximum(tf.reduce_max(count), 1)
        outputs = {
            "text": tf.gather(tf.constant(texts), row)[:, :width],
            "quads": tf.gather(tf.constant(quads), row)[:, :width],
            "text_scores": tf.fill(tf.stack([tf.shape(row)[0], width]), -0.5),
            "count": count,
            "status": tf.where(tf.equal(row, len(pages)), tf.fill(tf.shape(row), 4), tf.zeros_like(count)),
        }
        definition = tf.saved_model.predict_signature_def({"image_bytes": images}, outputs)
        builder = tf.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {name: definition}, main_op=tf.group(tf.tables_initializer())
        )
        builder.save()
    return directory


def write_pages(folder, pages):
    """A labels file of `pages` (name -> [(text, quad), ...]), whose pictures are `picture of` and the name."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, lines in pages.items():
        (folder / f"{name}.png").write_bytes(picture_of(name))
        labelled = [{"text": text, "quad": list(quad)} for text, quad in lines]
        entries.append({"picture": f"{name}.png", "lines": labelled})
    path = folder / "pages.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def box(left, top, right, bottom):
    """The quad of an upright rectangle."""
    return left, top, right, top, right, bottom, left, bottom


def write_lines(folder, texts):
    """A labels file with a picture for each text, whose bytes are `picture of` and the text."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, text in enumerate(texts, start=1):
        (folder / f"{number}.png").write_bytes(picture_of(text))
        rows.append(f"{number}.png\t{text}\n")
    path = folder / "labels.tsv"
    path.write_text("".join(rows), encoding="utf-8")
    return path


def picture_of(text):
    return b"picture of " + text.encode("utf-8")
