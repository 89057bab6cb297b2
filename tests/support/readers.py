"""SavedModels that look up the text of a picture by its bytes, and labelled pictures for them."""

from __future__ import annotations

from ckpt2saved.tf1 import tf


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
