"""Schemas of what evaluate prints, and of the accuracy of an export."""

from __future__ import annotations

from typing import Dict

from tools.schemas.messages import FORMAT, PROBLEMS, output
from tools.schemas.parts import (
    Schema,
    count,
    described,
    list_of,
    mapping,
    nullable,
    number,
    record,
    rows,
    text,
    truth,
)

_CER = number("Character error rate: edits / characters, a fraction that may exceed 1.", minimum=0)
_TEXT: Dict[str, Schema] = {
    "characters": count("Characters of all references."),
    "edits": count("Substituted, missing and added characters."),
    "cer": _CER,
    "words": count("Words of all references."),
    "word_edits": count("Substituted, missing and added words."),
    "wer": number("Word error rate: word_edits / words, a fraction that may exceed 1.", minimum=0),
}
FIGURES: Dict[str, Schema] = {
    "lines": count("Labelled lines."),
    "unread": count("Pictures that were not read."),
    "exact": count("Lines that were read without an error."),
    **_TEXT,
}
_SIGNATURE = text("Signature that read the pictures.")
_SHA256 = text("SHA-256 of the labels file.", pattern="^[0-9a-f]{64}$")
_LABELS = record("The labels file.", {"path": text("Its path."), "sha256": _SHA256})
_MAX_CER = nullable(number("Limit of the character error rate (--max-cer)."))
_CONFUSIONS = rows(
    "Pairs of characters, most frequent first.",
    {
        "reference": text("Character of the reference; empty for one that was added."),
        "read": text("Character that was read; empty for one that is missing."),
        "count": count("How often.", 1),
    },
)
_STATUS = nullable(
    {
        "description": "Status that the model answers: 0 it was read, others see docs/pictures.md; null if the request"
        " was refused.",
        "type": "integer",
    }
)
_REASON = nullable(text("Why it was not read."))
_OF_LINE: Dict[str, Schema] = {
    "text": text("Reference."),
    "answer": text("What was read."),
    "edits": count("Errors: substituted, missing and added characters."),
    "cer": _CER,
    "score": nullable(
        number("Score that the model answers, a log-probability; null where it is not finite or not there.")
    ),
}
_LINE: Dict[str, Schema] = {
    "picture": text("Path of the picture, as in the labels file."),
    "line": count("Line of the labels file.", 1),
    **_OF_LINE,
    "status": _STATUS,
    "reason": _REASON,
}
_BASELINE = nullable(
    record(
        "Version that was compared with (--not-worse-than).",
        {
            "name": text("The version, for people."),
            "tolerance": number("How much the character error rate may be higher."),
            **FIGURES,
        },
    )
)
_VERDICT: Dict[str, Schema] = {
    "max_cer": _MAX_CER,
    "baseline": _BASELINE,
    "is_good_enough": truth("Whether all limits are met."),
    **PROBLEMS,
    "worse": rows(
        "Lines with more errors than by the baseline.",
        {
            **_LINE,
            "baseline_answer": text("What the baseline read."),
            "baseline_edits": count("Errors of the baseline."),
        },
    ),
}
_OF_LINES: Dict[str, Schema] = {
    "labels": _LABELS,
    "signature": _SIGNATURE,
    **FIGURES,
    "confusions": _CONFUSIONS,
    "results": rows("Each line of the labels file.", _LINE),
    **_VERDICT,
}
ACCURACY = record("How the files read labelled pictures of lines (--lines).", _OF_LINES)
ACCURACY_RECORD = nullable(
    record(
        "How the files read labelled pictures of lines; null without --lines.",
        {
            "labels": record("The labels file.", {"name": text("Its name."), "sha256": _SHA256}),
            "signature": _SIGNATURE,
            **FIGURES,
            "max_cer": _MAX_CER,
            "baseline": _BASELINE,
        },
    )
)
_MODEL = {"model": text("Version directory, or address of the model.")}
_QUAD = described(
    "x and y of the corners, clockwise from the top left, in pixels of the picture.", list_of({"type": "number"})
)
_SHARE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_PAGE: Dict[str, Schema] = {
    "picture": text("Path of the picture, as in the labels file."),
    "page": count("Number of the page in the labels file.", 1),
    "status": _STATUS,
    "reason": _REASON,
    "lines": count("Labelled lines."),
    "answered": count("Lines that the model answers."),
    "found": count("Labelled lines with a match."),
    "characters": _TEXT["characters"],
    "edits": _TEXT["edits"],
    "cer": _CER,
    "results": rows(
        "Each labelled line.",
        {
            "line": count("Number of the line on its page.", 1),
            "overlap": number("Intersection over union with its match; 0 if it was not found.", minimum=0),
            **_OF_LINE,
            "quad": nullable(_QUAD),
        },
    ),
    "added": rows("Each answered line without a match.", {**_OF_LINE, "quad": _QUAD}),
}


def lines_schema() -> Schema:
    """Return the schema of what evaluate --lines prints."""
    title = "What evaluate --lines prints: error rates, confusions and the answer for each line."
    result = record("The accuracy on labelled lines.", {**_MODEL, **_OF_LINES, "format": FORMAT})
    return output("evaluate --lines FILE.tsv", title, result)


def pages_schema() -> Schema:
    """Return the schema of what evaluate --pages prints."""
    title = "What evaluate --pages prints: lines that are found, error rates, and the answer for each line."
    keys = {
        **_MODEL,
        "labels": _LABELS,
        "signature": _SIGNATURE,
        "pages": count("Labelled pages."),
        "unread": count("Pages that were not read."),
        "lines": count("Labelled lines."),
        "answered": count("Lines that the model answers."),
        "found": count("Labelled lines that match an answered one: an intersection over union above 0.5."),
        "recall": described("found / lines; null without lines.", _SHARE),
        "precision": described("found / answered; null without answered lines.", _SHARE),
        "f1": described("Harmonic mean of recall and precision.", _SHARE),
        "exact": count("Lines that were found and read without an error."),
        **_TEXT,
        "right_characters": count("Characters of the references that were read as they are."),
        "found_characters": count("Characters of the lines that were found."),
        "found_edits": count("Errors in the lines that were found."),
        "found_cer": number("Character error rate of the lines that were found.", minimum=0),
        "confusions": _CONFUSIONS,
        "results": rows("Each page of the labels file.", _PAGE),
        **_VERDICT,
        "format": FORMAT,
    }
    result = mapping(keys, is_open=True)
    return output("evaluate --pages FILE.json", title, described("The accuracy on labelled pages.", result))
