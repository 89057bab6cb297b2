"""The signature `text` with a language model: the text of the highest rank, in the published files."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.ctc.bigram_table import count_pairs
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.sources.example_pictures import png
from tests.support.bigram_reference import Search

SYMBOLS = list("abcdefghij") + ["ж", "字"]  # the small CRNN has 13 classes
CORPUS = ["abcabc", "ж字", "fade", "jabba", "字字a"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "characters.txt").write_text("\n".join(SYMBOLS) + "\n", "utf-8")
    (folder / "corpus.txt").write_text("\n".join(CORPUS) + "\n", "utf-8")
    return folder


def export(run, files, crnn_checkpoint, base, *arguments, **options):
    options = dict({"charset": files / "characters.txt", "bigrams": files / "corpus.txt", "beam_width": 4}, **options)
    given = [part for name, value in options.items() for part in ("--option", f"{name}={value}")]
    return run("export", "-m", "crnn", "-c", crnn_checkpoint, "-o", base, *given, *arguments)


def test_the_text_is_that_of_the_highest_rank(run, files, crnn_checkpoint, tmp_path):
    """The definition in NumPy, given the logits of the published graph, finds the same texts."""
    result = export(run, files, crnn_checkpoint, tmp_path / "m", bigram_weight=1.5, bigram_bonus=0.25)
    assert result.exit_code == 0, result.output
    assert "corpus.txt: the pairs of 20 characters are counted" in result.output
    pictures = [png(width, 32, width) for width in (20, 61, 100, 333)]
    with tf.Graph().as_default(), tf.Session() as session:
        definitions = tf.saved_model.loader.load(session, ["serve"], str(tmp_path / "m" / "1")).signature_def
        text = definitions["text"]
        names = [node.name for node in session.graph.as_graph_def().node]
        (logits,) = [name for name in names if name.startswith("text/network/") and name.endswith("/logits")]
        fetched = {key: info.name for key, info in text.outputs.items()}
        found, values = session.run([fetched, logits + ":0"], {text.inputs["image_bytes"].name: pictures})
    table = count_pairs(CORPUS, SYMBOLS, 13).table
    plain = []
    for item, width in enumerate((20, 61, 100, 333)):
        own = values[: width // 4, item]
        path, score = Search(table, 1.5, 0.25, 4).run(own).answers[0]
        assert found["text"][item].decode("utf-8") == "".join(SYMBOLS[label] for label in path)
        assert found["score"][item] == pytest.approx(score, rel=1e-4)
        plain.append(Search(np.zeros([13, 13]), 0, 0, 4).run(own).answers[0][0] == path)
    assert not all(plain)


def test_no_weight_is_no_language_model(run, files, crnn_checkpoint, tmp_path):
    """Then the decoder is the one without."""
    unchecked = ["--no-parity", "--no-warmup"]  # the same bytes give the same answers
    result = export(run, files, crnn_checkpoint, tmp_path / "m", *unchecked, bigram_weight=0.0)
    assert result.exit_code == 0, result.output
    assert "are counted" not in result.output
    plain = run("export", "-m", "crnn", "-c", crnn_checkpoint, "-o", tmp_path / "p", *unchecked,
                "--option", "beam_width=4", "--option", f"charset={files / 'characters.txt'}")  # fmt: skip
    assert plain.exit_code == 0, plain.output
    assert len({(tmp_path / base / "1" / "saved_model.pb").read_bytes() for base in "mp"}) == 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"bigrams": "none.txt"}, "none.txt: can't be read: No such file or directory"),
        ({"bigram_weight": -1.0}, "bigram_weight: a number from 0 on is expected; found -1"),
        ({"bigrams": 5}, "--option bigrams=5: a value of type str is expected"),
    ],
)
def test_what_cannot_be_used(run, files, crnn_checkpoint, tmp_path, options, message):
    """Refused before anything is published."""
    result = export(run, files, crnn_checkpoint, tmp_path / "m", **options)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "m" / "1").exists()
