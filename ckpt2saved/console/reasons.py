"""The reason in a TensorFlow error message, as one line without headings, stack traces and repetitions."""

from __future__ import annotations

import re

# Lines before the reason: TensorFlow 2 prints a heading and the place where the op was created. If several ops fail, it
# prints their number, then one line for each, which begins with the error code.
_BEFORE = re.compile(
    r"Graph execution error:|Detected at node.*|Detected unsupported operations.*|Node: .*|<stack traces unavailable>|"
    r'File ".*|.*\(most recent call last\):|From /job:\S*:|[0-9]+ root error\(s\) found\.?|'
    r"(Received a label|Message) from .*:|\[\[.*\]\]|-+"
)
_LISTED = re.compile(r"\([0-9]+\) ([A-Z][A-Z_]+|[A-Z][a-z]+( [a-z]+)*): *")
_IN_FUNCTION = re.compile(r"\{\{function_node [^}]*\}\} *")
_NODE = re.compile(r"\[\[(?:\{\{node ([^}]+)\}\}|node (\S+))")
_INDENTED = re.compile(r"\t|    ")  # a stack frame or node line


def reason_of(error: BaseException) -> str:
    """Return the node that failed, if it is named, and the line with the reason, which is never empty."""
    text = str(getattr(error, "message", None) or error)
    op = getattr(error, "op", None)
    if op is not None:
        return f"{op.name} ({op.type}): {reason_in(text)}"
    return reason_at_node(text) or type(error).__name__


def reason_at_node(text: str) -> str:
    """Return the node and the reason in the text of a message."""
    reason, node = reason_in(text), _node_in(text)
    return f"{node}: {reason}" if node and node not in reason else reason


def reason_in(text: str) -> str:
    """Return the line with the reason of a TensorFlow message; "" if the message is empty."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    for line in lines:
        reason = _LISTED.sub("", _IN_FUNCTION.sub("", line.strip()), count=1).strip()
        if reason and not _INDENTED.match(line) and not _BEFORE.fullmatch(reason):
            return reason.rstrip(".")
    stripped = [line.strip() for line in lines]
    telling = [line for line in stripped if not _BEFORE.fullmatch(line)]
    return (telling or stripped or [""])[-1].rstrip(".")


def _node_in(text: str) -> str:
    for match in _NODE.finditer(text):
        name: str = match.group(1) or match.group(2)
        if not name.startswith("_"):  # feed and fetch nodes added by TensorFlow
            return name
    return ""
