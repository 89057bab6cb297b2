"""Which lines of text the network learns from, and which it never sees."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import numpy

# One symbol a line; the line that looks empty holds the space.
CHARSET = Path(__file__).with_name("charset.txt").read_text(encoding="utf-8").split("\n")[:-1]
CLASS_OF = {symbol: number for number, symbol in enumerate(CHARSET)}
MAX_LENGTH = 32

_VALIDATION_SEED = 1_000_001
_UNSEEN_SEED = 1_000_002

DIGITS = "0123456789"
LATIN = "abcdefghijklmnopqrstuvwxyz"
ACCENTED = "àáâãäåæçèéêëíîïñóôõöøùúûüß"
CYRILLIC = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
# Letters that look the same in both scripts: a word of these alone says nothing of its script.
TWINS = set("aceopxyABCEHKMOPTXëË" + "асеорхуАВСЕНКМОРТХёЁ")

_LATIN_ONSETS = list("bcdfghjklmnpqrstvwxyz") * 2 + ["ch", "ll", "ss", "st", "th", "tt", "sch", "br", "gr", "ñ", "ç"]
_LATIN_VOWELS = list("aeiouy") * 3 + ["ea", "ee", "oo", "ie", "ou", "æ"]
_ACCENTS = {"a": "àáâãäå", "e": "èéêë", "i": "íîï", "o": "óôõöø", "u": "ùúûü"}
_CYRILLIC_ONSETS = list("бвгджзклмнпрстфхцчшщ") * 2 + ["ст", "пр", "нн", "тр", "сл", "бъ"]
_CYRILLIC_VOWELS = list("аеиоуыэюя") * 3 + ["ё", "ей", "ий", "ой", "ья", "ье"]
_CYRILLIC_ENDS = ["", "", "", "н", "т", "л", "ть", "сь", "й", "ов", "ъ"]


def validation_lines(count: int = 200) -> list[str]:
    """Return the lines that training measures its progress on; it never trains on them."""
    return _distinct_lines(count, _VALIDATION_SEED)


def unseen_lines(count: int = 150) -> list[str]:
    """Return the lines of the final examination, which nothing in training looks at."""
    return _distinct_lines(count, _UNSEEN_SEED)


def held_out_lines() -> frozenset[str]:
    """Return every generated line that training must leave out."""
    return frozenset(unseen_lines()) | frozenset(validation_lines())


def training_line(random: numpy.random.RandomState, held_out: frozenset[str]) -> str:
    """Draw a line that is not in `held_out`."""
    while True:
        line = _random_line(random)
        if line not in held_out:
            return line


def class_ids(text: str) -> list[int]:
    """Return the class number of each symbol: its line in charset.txt, from 0."""
    return [CLASS_OF[symbol] for symbol in text]


def text_of(ids) -> str:
    """Return the text that a sequence of class numbers spells."""
    return "".join(CHARSET[number] for number in ids)


def _distinct_lines(count: int, seed: int) -> list[str]:
    random = numpy.random.RandomState(seed)
    lines: list[str] = []
    while len(lines) < count:
        lines.append(training_line(random, frozenset(lines)))
    return lines


def _random_line(random: numpy.random.RandomState) -> str:
    """Draw a line of one script: words, words and numbers, numbers alone or, rarely, a row of symbols."""
    while True:
        kind = random.rand()
        if kind < 0.43:
            line = _words(random, _latin_word)
        elif kind < 0.78:
            line = _words(random, _cyrillic_word)
        elif kind < 0.95:
            line = _number(random)
        else:
            line = _row_of_symbols(random)
        if len(line) <= MAX_LENGTH:
            return line


def _words(random: numpy.random.RandomState, word: Callable[[numpy.random.RandomState], str]) -> str:
    """Draw one to four words with punctuation, at times with a number before or after them."""
    case = _pick(random, (str.lower, str.capitalize, str.capitalize, str.title, _capitals))
    parts = []
    for _ in range(random.choice([1, 2, 3, 4], p=[0.5, 0.28, 0.14, 0.08])):
        parts.append(_punctuated(random, case(word(random))))
        if case is str.capitalize and random.rand() < 0.6:
            case = str.lower
    chance = random.rand()
    if chance < 0.12:
        parts.append(_number(random))
    elif chance < 0.17:
        parts.insert(0, _number(random))
    return " ".join(parts)


def _punctuated(random: numpy.random.RandomState, word: str) -> str:
    chance = random.rand()
    if chance < 0.70:
        return word
    if chance < 0.88:
        return word + _pick(random, list(".,:;!?"))
    if chance < 0.92:
        return _pick(random, ("({})", '"{}"', "'{}'")).format(word)
    middle = random.randint(1, len(word))
    if chance < 0.98:
        return word[:middle] + _pick(random, ("-", "-", "'", "/", ".", "@")) + word[middle:]
    return word + _pick(random, (" &", " -", " +", " /"))


def _capitals(word: str) -> str:
    """Write a word in capitals; sharp s has none in the character set."""
    return "".join(letter if letter == "ß" else letter.upper() for letter in word)


def _latin_word(random: numpy.random.RandomState) -> str:
    """Spell syllables, in half of the words with accents."""
    accented = 0.35 if random.rand() < 0.5 else 0.0
    while True:
        word = "" if random.rand() < 0.7 else _pick(random, _LATIN_VOWELS)
        for _ in range(random.randint(1, 5)):
            word += _pick(random, _LATIN_ONSETS) + _pick(random, _LATIN_VOWELS)
        word += _pick(random, ("", "", "n", "s", "l", "r", "t", "ß"))
        word = "".join(
            _pick(random, _ACCENTS[letter]) if letter in _ACCENTS and random.rand() < accented else letter
            for letter in word
        )
        if _is_of_one_script(word):
            return word


def _cyrillic_word(random: numpy.random.RandomState) -> str:
    while True:
        word = "" if random.rand() < 0.7 else _pick(random, _CYRILLIC_VOWELS)
        for _ in range(random.randint(1, 5)):
            word += _pick(random, _CYRILLIC_ONSETS) + _pick(random, _CYRILLIC_VOWELS)
        word += _pick(random, _CYRILLIC_ENDS)
        if _is_of_one_script(word):
            return word


def _is_of_one_script(word: str) -> bool:
    """Tell whether the word shows its script in small letters and in capitals."""
    return any(letter not in TWINS for letter in word) and any(letter not in TWINS for letter in word.upper())


def _number(random: numpy.random.RandomState) -> str:
    """Draw a number as documents have them: amounts, dates, times, telephones, codes, shares."""
    form = _pick(
        random,
        ("#", "##", "###", "####", "#.##", "##,## €", "€ ##.##", "### €", "##.##.####", "####-##-##", "##/##", "##:##")
        + (
            "+## ### ######",
            "(###) ####",
            "## %",
            "#,# %",
            "#-#",
            "A-###",
            "AA##",
            "AA ####",
            "##A",
            "A#A#A#",
            "#####",
        ),
    )
    if random.rand() < 0.1:
        form = "#" + form  # becomes a digit too, so that numbers of every length occur
    capitals = [letter for letter in LATIN.upper() if letter not in "IO"]  # as codes leave out what looks like 1 and 0
    line = "".join(_pick(random, {"#": DIGITS, "A": capitals}.get(symbol, symbol)) for symbol in form)
    return "#" + line if random.rand() < 0.04 else line


def _row_of_symbols(random: numpy.random.RandomState) -> str:
    """Draw letters and signs that no word and no number puts in this order."""
    letters = _pick(random, (LATIN + ACCENTED, _capitals(LATIN + ACCENTED[:-1]), CYRILLIC, CYRILLIC.upper()))
    signs = DIGITS[2:] + " .,:;-!?'\"()/%&+@#€"
    length = random.randint(3, 13)
    row = [_pick(random, signs if random.rand() < 0.3 else letters) for _ in range(length)]
    if any(symbol in letters and symbol not in TWINS for symbol in row):
        return " ".join("".join(row).split())
    return "#" + "".join(_pick(random, DIGITS) for _ in row)


def _pick(random: numpy.random.RandomState, choices):
    return choices[random.randint(len(choices))]
