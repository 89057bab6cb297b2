"""The hint for a misspelt name."""

from __future__ import annotations

from typing import Iterable, Optional


def did_you_mean(found: str, known: Iterable[str], otherwise: Optional[str] = None) -> str:
    """Return "did you mean X?" with the closest known name; if none is close, `otherwise`, by default all of them."""
    import difflib  # slow to import

    names = list(known)
    near = difflib.get_close_matches(found, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"expected {', '.join(names) or 'none'}" if otherwise is None else otherwise
