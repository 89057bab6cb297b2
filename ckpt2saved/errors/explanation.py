"""What the codes of problems and notes mean, and what helps: a sentence for each, and its part of a page of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List

from ckpt2saved.errors.codes import CODES

_NAME = Path("docs") / "troubleshooting.md"
_PACKAGE = Path(__file__).resolve().parent.parent
_PLACES = (_PACKAGE / _NAME, _PACKAGE.parent / _NAME)  # installed, and in a checkout
# A heading that is a code; what follows it, up to a heading of the same or a higher level, is about the code.
_HEADING = re.compile(r"^(#+) +`?([a-z-]+)`? *(?:\{ *#[a-z-]+ *\})? *$")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#]+\.md)[^)]*\)")
_OTHER_HEADING = re.compile(r"^(#+) ")


def explanation(code: str) -> str:
    """Return what a code of CODES means and, where the page is installed, a message as an example and what to do."""
    return "\n\n".join((f"{code}: {CODES[code]}", *_plain_paragraphs(_sections().get(code, ""), CODES[code])))


def _plain_paragraphs(markdown: str, known: str) -> List[str]:
    """Return the paragraphs of a part of the page as plain text, those that are quoted indented, without `known`."""
    paragraphs = [paragraph.strip() for paragraph in markdown.split("\n\n")]
    return [_plain(paragraph) for paragraph in paragraphs if paragraph not in ("", known)]


def _plain(markdown: str) -> str:
    text = _LINK.sub(r"\1: docs/\2", markdown)
    text = "\n".join("    " + line[2:] if line.startswith("> ") else line for line in text.splitlines())
    return re.sub(r"\\([_*<>\[\]`])", r"\1", text.replace("`", ""))


def _sections() -> Dict[str, str]:
    """The parts of the page by code; none where the page is not installed."""
    for path in _PLACES:
        if path.is_file():
            return parse_sections(path.read_text(encoding="utf-8"))
    return {}


def parse_sections(text: str) -> Dict[str, str]:
    """Return the text below each heading that is a code."""
    found: Dict[str, str] = {}
    code, level = "", 0
    for line in text.splitlines():
        heading, other = _HEADING.match(line), _OTHER_HEADING.match(line)
        if heading and heading.group(2) in CODES:
            code, level = heading.group(2), len(heading.group(1))
            found[code] = ""
        elif other and len(other.group(1)) <= level:
            code, level = "", 0
        elif code:
            found[code] += line + "\n"
    return {code: part.strip() for code, part in found.items()}
