"""The language model of a step that decodes: a table of pairs of characters, from a text or from a file."""

from __future__ import annotations

from typing import Any, Sequence, Tuple

from ckpt2saved.ctc.bigram_table import NoTable, pair_table
from ckpt2saved.ctc.language_model import LanguageModel
from ckpt2saved.errors import SignatureError
from ckpt2saved.errors.problem import Note
from ckpt2saved.signature.steps import Bigrams


def read_language_model(
    bigrams: Bigrams, symbols: Sequence[str], classes: Any, where: str
) -> Tuple[LanguageModel, Tuple[Note, ...]]:
    """Return the language model for `classes`, the blank included, and what was counted.

    `symbols` are the characters of the classes; `classes` may be None, which is one more than symbols. Raises
    SignatureError.
    """
    try:
        pairs = pair_table(bigrams.file, symbols, int(classes or len(symbols) + 1))
        model = LanguageModel(pairs.table, bigrams.weight, bigrams.bonus)
    except (NoTable, ValueError) as error:
        raise SignatureError(f"{where}: {bigrams.file}: {error}") from error
    if not pairs.characters:
        return model, ()
    found = f"the pairs of {pairs.characters} characters are counted"
    if pairs.unknown:
        found += f"; {pairs.unknown} other characters have no class"
    return model, (Note("language-model", str(bigrams.file), found),)
