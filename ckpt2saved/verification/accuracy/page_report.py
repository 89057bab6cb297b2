"""The accuracy on labelled pages as tables for people, JSON for programs, and Markdown for CI."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ckpt2saved.verification.accuracy.figures import Figures, LineResult
from ckpt2saved.verification.accuracy.gate import counted, line_content, percent, rate_text
from ckpt2saved.verification.accuracy.page_evaluation import EvaluatedPages
from ckpt2saved.verification.accuracy.page_figures import Match, PageAccuracy, PageResult
from ckpt2saved.verification.accuracy.page_labels import Quad
from ckpt2saved.verification.accuracy.report import FIGURES, Report, confusions_content, error_tables


def report_on_pages(evaluated: EvaluatedPages) -> Report:
    """What `evaluate` reports of labelled pages: figures, confusions, the worst lines, and for programs all lines."""
    accuracy = evaluated.accuracy
    return Report(
        signature=evaluated.signature,
        text=accuracy.text,
        summary=_summary(accuracy),
        content=_content(evaluated),
        tables=((FIGURES, _figures(accuracy)), *error_tables(accuracy.text)),
    )


def _content(evaluated: EvaluatedPages) -> Dict[str, Any]:
    accuracy = evaluated.accuracy
    return {
        "signature": evaluated.signature,
        **accuracy.figures.as_content(),
        "confusions": confusions_content(accuracy.text),
        "results": [_page_content(one) for one in accuracy.results],
    }


def _page_content(result: PageResult) -> Dict[str, Any]:
    text = result.text.figures
    return {
        "picture": result.page.picture,
        "page": result.page.number,
        "status": result.reading.status,
        "reason": result.reading.reason or None,
        "lines": len(result.labelled),
        "answered": len(result.reading.lines),
        "found": len(result.found),
        "characters": text.characters,
        "edits": text.edits,
        "cer": text.cer,
        "results": [_labelled_content(result, line, match) for line, match in zip(result.labelled, result.matches)],
        "added": [_line_content(line, quad) for line, quad in zip(result.added, result.added_quads)],
    }


def _labelled_content(result: PageResult, line: LineResult, match: Optional[Match]) -> Dict[str, Any]:
    quad = None if match is None else result.reading.lines[match.position].quad
    return {"line": line.line.number, "overlap": match.overlap if match else 0.0, **_line_content(line, quad)}


def _line_content(line: LineResult, quad: Optional[Quad]) -> Dict[str, Any]:
    content = line_content(line)
    return {**{key: content[key] for key in ("text", "answer", "edits", "cer", "score")}, "quad": quad}


def _summary(accuracy: PageAccuracy) -> str:
    figures = accuracy.figures
    parts = [
        f"{figures.found} of {counted(figures.lines, 'line')} found",
        f"{figures.found} of {counted(figures.answered, 'answered line')} right",
        f"characters {rate_text(figures.text)}",
    ]
    if figures.unread:
        parts.append(f"{counted(figures.unread, 'page')} not read")
    return "; ".join(parts)


def _figures(accuracy: PageAccuracy) -> List[List[str]]:
    figures, text = accuracy.figures, accuracy.figures.text
    return [
        ["lines found", _percent(figures.recall), f"{figures.found} of {figures.lines}"],
        ["answered lines right", _percent(figures.precision), f"{figures.found} of {figures.answered}"],
        ["harmonic mean", _percent(figures.f1), ""],
        _rate_row("character error rate", text),
        _rate_row("error rate of found lines", figures.found_text),
        [
            "characters right",
            _of(figures.right_characters, text.characters),
            f"{figures.right_characters} of {text.characters}",
        ],
        ["word error rate", percent(text.wer), f"{text.word_edits} of {text.words}"],
        ["exact lines", _of(figures.found_text.exact, figures.lines), f"{figures.found_text.exact} of {figures.lines}"],
        ["pages not read", percent(figures.unread / figures.pages), f"{figures.unread} of {figures.pages}"],
    ]


def _rate_row(name: str, figures: Figures) -> List[str]:
    return [name, percent(figures.cer), f"{figures.edits} of {figures.characters}"]


def _of(count: int, total: int) -> str:
    return _percent(count / total if total else None)


def _percent(share: Optional[float]) -> str:
    return "-" if share is None else percent(share)
