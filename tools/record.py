"""Runs the console blocks of pages on a terminal, as a reader would, and records what they print.

    python tools/record.py   # makes the outputs in README.md and docs/tutorial.md and the pictures of the terminal anew

What differs in numbers alone stays as it is, so that a second run changes nothing.

A block is fenced as `console`; each of its lines that begins with "$ " is a command, which goes on in the next line
after a backslash. The blocks of all pages run in one folder, in order, and a command that ran before is not run again.
A line of only an ellipsis stands for any lines. A comment before a block tells what differs:

    <!-- not run: REASON -->        the block is for reading only
    <!-- needs: curl -->            it is run where this program is installed
    <!-- exit code: 3 -->           its last command ends with this exit code, others with 0

The server that blocks name, http://localhost:8501, is the test server of tests/support/model_server.py. The folder is
shown as /home/you/ocr.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import pty
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("docs/tutorial.md", "README.md")
# Picture -> the commands of the pages that it shows, as they begin.
PICTURES = {"docs/terminal.svg": ("ckpt2saved export ", "ckpt2saved predict models/crnn ")}

COLUMNS = 80
ROWS = 400
LIMIT = 120.0  # seconds for one command
ADDRESS = "localhost:8501"
PLACE = "/home/you/ocr"
ELLIPSIS = "…"
BLOCK = re.compile(r"((?:^<!-- [^\n]* -->\n)*)^```console\n(.*?)^```$", re.M | re.S)
VOLATILE = re.compile(r"\d+(?:[.,:-]\d+)*(?:e[+-]?\d+)?(?: [kMG]?B\b)?|(?:─|━)+")


@dataclass(frozen=True)
class Run:
    """A style and the text that has it."""

    style: str  # classes of the picture: a colour and "bold", or ""
    text: str


Line = Tuple[Run, ...]


@dataclass(frozen=True)
class Command:
    """A command as it is written, and the lines that it is said to print."""

    text: str
    output: Tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A console block of a page."""

    page: str
    start: int  # where its content is in the page
    end: int
    commands: Tuple[Command, ...]
    not_run: str  # the reason, or ""
    needs: str  # a program, or ""
    exit_code: int


def blocks_of(page: str, text: str) -> List[Block]:
    """Return the console blocks of a page that have commands."""
    found = []
    for match in BLOCK.finditer(text):
        told = dict(re.findall(r"<!-- ([a-z ]+): (.+?) -->", match.group(1)))
        commands: List[Command] = []
        lines = match.group(2).splitlines()
        while lines:
            line = lines.pop(0)
            if line.startswith("$ "):
                written = [line[2:]]
                while written[-1].endswith("\\"):
                    written.append(lines.pop(0))
                commands.append(Command("\n".join(written), ()))
            elif commands:
                commands[-1] = Command(commands[-1].text, (*commands[-1].output, line))
        if commands:
            found.append(
                Block(
                    page,
                    match.start(2),
                    match.end(2),
                    tuple(commands),
                    not_run=told.get("not run", ""),
                    needs=told.get("needs", ""),
                    exit_code=int(told.get("exit code", 0)),
                )
            )
    return found


class Folder:
    """A folder with the repository's examples, where commands run on a terminal; each command once."""

    def __init__(self, path: Path, address: str) -> None:
        self.path = path
        self.address = address
        self.printed: Dict[str, List[Line]] = {}
        self.codes: Dict[str, int] = {}

    def run(self, command: str) -> List[Line]:
        """Return what a command prints; its exit code is in `codes` then."""
        if command not in self.printed:
            code, lines = on_terminal(command.replace(ADDRESS, self.address), self.path)
            self.codes[command] = code
            self.printed[command] = [tuple(Run(run.style, self.shown(run.text)) for run in line) for line in lines]
        return self.printed[command]

    def shown(self, text: str) -> str:
        """Return a text as pages have it. What is replaced is as long, so that no line breaks elsewhere."""
        return text.replace(self.address, ADDRESS).replace(str(self.path), PLACE)


def on_terminal(command: str, folder: Path) -> Tuple[int, List[Line]]:
    """Run a command line of a shell on a terminal of its own; return its exit code and what is on the screen then."""
    pyte: Any = importlib.import_module("pyte")
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    left_out = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "CI")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    environment.update(PATH=path, TERM="xterm-256color", LANG="C.UTF-8", PYTHONPATH=str(ROOT))
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=str(folder), env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    deadline = time.monotonic() + LIMIT
    try:
        while True:
            ready, _, _ = select.select([ours], [], [], 0.2)
            try:
                data = os.read(ours, 65536) if ready else b""
            except OSError:  # the terminal is closed: every process has ended
                break
            stream.feed(data)
            if not data and process.poll() is not None:
                break
            if time.monotonic() > deadline:
                process.kill()
                raise TimeoutError(f"{command}: not done after {LIMIT:.0f} s")
    finally:
        os.close(ours)
    lines = [line_of(screen.buffer[row]) for row in range(ROWS)]
    while lines and not lines[-1]:
        lines.pop()
    return process.wait(), lines


def line_of(cells: Any) -> Line:
    """Return a line of the screen as runs of one style."""
    runs: List[Run] = []
    for column in range(COLUMNS):
        cell = cells[column]
        style = " ".join(([cell.fg] if cell.fg != "default" else []) + (["bold"] if cell.bold else []))
        if runs and runs[-1].style == style:
            runs[-1] = Run(style, runs[-1].text + cell.data)
        else:
            runs.append(Run(style, cell.data))
    while runs and not runs[-1].text.strip():
        runs.pop()
    if runs:
        runs[-1] = Run(runs[-1].style, runs[-1].text.rstrip())
    return tuple(runs)


def plain(lines: Sequence[Line]) -> List[str]:
    """Return lines without their styles."""
    return ["".join(run.text for run in line) for line in lines]


def normalised(lines: Sequence[str]) -> str:
    """Return what must be equal from run to run: numbers, dates, sizes and the width of tables are left out."""
    return " ".join(VOLATILE.sub("#", " ".join(lines)).split())


def fits(expected: Sequence[str], found: Sequence[str]) -> bool:
    """Return whether a command printed what a page says."""
    parts: List[List[str]] = [[]]
    for line in expected:
        if line.strip() == ELLIPSIS:
            parts.append([])
        else:
            parts[-1].append(line)
    pattern = ".*".join(re.escape(normalised(part)) for part in parts)
    # The space beside an ellipsis belongs to what it stands for.
    return re.fullmatch(pattern.replace(r"\ .*", ".*").replace(r".*\ ", ".*"), normalised(found), re.S) is not None


@contextlib.contextmanager
def new_folder() -> Iterator[Folder]:
    """Make a folder for the commands, with a test server that serves its models/crnn; it is removed at the end."""
    serving_rest: Any = importlib.import_module("tests.support.model_server").serving_rest
    path = Path(tempfile.mkdtemp(prefix="", dir="/tmp"))  # as long as PLACE
    try:
        (path / "examples").symlink_to(ROOT / "examples")
        with serving_rest(path / "models" / "crnn", "crnn", port=free_port()) as server:
            yield Folder(path, f"localhost:{server.url.rpartition(':')[2]}")
    finally:
        shutil.rmtree(str(path))


def free_port() -> int:
    """Return a port of four digits that nothing listens on."""
    for port in range(4000, 10000):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)):
                return port
    raise OSError("no free port")


# A terminal as a picture: no script, no font of its own, nothing that is fetched.
CHARACTER = (8.4, 18)  # pixels
MARGIN = 16
TITLE = 30
COLOURS = {
    "black": "#7f8490",
    "red": "#ff7b72",
    "green": "#7ee787",
    "brown": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#56d4dd",
    "white": "#e6edf3",
}
STYLE = "".join(f".{name}{{fill:{value}}}" for name, value in COLOURS.items())
FONT = "ui-monospace,'DejaVu Sans Mono','Cascadia Mono',Menlo,Consolas,monospace"


def picture(lines: Sequence[Line]) -> str:
    """Return a terminal with these lines as SVG."""
    width = COLUMNS * CHARACTER[0] + 2 * MARGIN
    height = len(lines) * CHARACTER[1] + TITLE + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}"'
        f' height="{height}" font-family="{FONT}" font-size="14">',
        f"<style>text{{fill:#c9d1d9;white-space:pre}}.bold{{font-weight:bold}}{STYLE}</style>",
        '<rect width="100%" height="100%" rx="8" fill="#0d1117"/>',
        *[
            f'<circle cx="{20 + 18 * index}" cy="17" r="5.5" fill="{colour}"/>'
            for index, colour in enumerate(("#ff5f56", "#ffbd2e", "#27c93f"))
        ],
    ]
    for row, line in enumerate(lines):
        column = 0
        y = TITLE + (row + 1) * CHARACTER[1] - 4
        for run in line:
            x = MARGIN + column * CHARACTER[0]
            column += len(run.text)
            if run.text.strip():
                style = f' class="{run.style}"' if run.style else ""
                length = len(run.text) * CHARACTER[0]
                text = escape(run.text, quote=False)
                parts.append(
                    f'<text x="{x:.1f}" y="{y}" textLength="{length:.1f}" xml:space="preserve"{style}>{text}</text>'
                )
    return "\n".join([*parts, "</svg>", ""])


def texts_of(svg: str) -> List[str]:
    """Return the lines of a picture."""
    rows: Dict[str, str] = {}
    for y, text in re.findall(r'<text [^>]*y="(\d+)"[^>]*>([^<]*)</text>', svg):
        rows[y] = rows.get(y, "") + " " + text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return list(rows.values())


def session_of(name: str, folder: Folder) -> List[Line]:
    """Return the lines of a picture: each of its commands behind a prompt, and what it printed."""
    lines: List[Line] = []
    for beginning in PICTURES[name]:
        command = next(command for command in folder.printed if command.startswith(beginning))
        for index, part in enumerate(command.split("\n")):
            lines.append((Run("green bold", "$ "), Run("bold", part)) if index == 0 else (Run("bold", "  " + part),))
        lines += [*folder.printed[command], ()]
    return lines[:-1]


def run_blocks(folder: Folder) -> Iterator[Tuple[Block, Command, Optional[List[str]]]]:
    """Run the blocks of all pages; yields each command with what it printed, None if its block is not run."""
    for page in PAGES:
        for block in blocks_of(page, (ROOT / page).read_text(encoding="utf-8")):
            for command in block.commands:
                yield block, command, None if block.not_run else plain(folder.run(command.text))


def rewrite(page: str, folder: Folder) -> None:
    """Put what the commands printed into the blocks of a page, where it is not what stands there already."""
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    for block in reversed(blocks_of(page, text)):
        if not block.not_run:
            lines: List[str] = []
            for command in block.commands:
                found = plain(folder.run(command.text))
                is_same = fits(command.output, found)
                is_cut = any(line.strip() == ELLIPSIS for line in command.output)
                if is_cut and not is_same:
                    say(f"{page}: edit the output of {command.text!r} by hand; it is", *found)
                lines += [f"$ {command.text}", *(command.output if is_same or is_cut else found)]
            text = text[: block.start] + "\n".join(lines) + "\n" + text[block.end :]
    path.write_text(text, encoding="utf-8")


def redraw(name: str, folder: Folder) -> None:
    """Draw a picture anew, if its style or anything but numbers has changed."""
    path = ROOT / name
    drawn = picture(session_of(name, folder))
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    is_same = before.partition("<text")[0] == drawn.partition("<text")[0]
    if not is_same or normalised(texts_of(before)) != normalised(texts_of(drawn)):
        path.write_text(drawn, encoding="utf-8")


def say(*lines: str) -> None:
    """Print lines."""
    sys.stdout.write("\n  ".join(lines) + "\n")


def main() -> None:
    """Record everything anew."""
    sys.path.insert(0, str(ROOT))
    with new_folder() as folder:
        for block, command, _ in run_blocks(folder):
            if not block.not_run:
                say(f"{block.page}: $ {command.text}  # exit code {folder.codes[command.text]}")
        for page in PAGES:
            rewrite(page, folder)
        for name in PICTURES:
            redraw(name, folder)


if __name__ == "__main__":
    main()
