"""A command on a pseudo-terminal, and the lines that a person would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

from tests.support.command_line import ROOT, heed_interrupts

COMMAND = [sys.executable, "-c", "from ckpt2saved.cli import main; main(prog_name='ckpt2saved')"]
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PART = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\r\n\x1b]+")


class OnTerminal:
    """A process whose stdin, stdout and stderr are a terminal of some columns."""

    def __init__(self, command, columns=80, **variables):
        environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        environment.update({"PYTHONPATH": str(ROOT), "TERM": "xterm", **variables})
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        command = [str(word) for word in command]
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )
        os.close(slave)
        self._master = master
        self._printed = b""

    @property
    def raw(self):
        """All that was printed, with its control sequences."""
        return self._printed.decode("utf-8", "replace")

    def wait(self, *, until=None, seconds=120):
        """Read to the end, or until a text was printed; returns the exit code, None if it still runs."""
        end = time.monotonic() + seconds
        while until is None or until not in _CONTROL.sub("", self.raw):
            assert time.monotonic() < end, self.raw
            if not select.select([self._master], [], [], 0.2)[0]:
                continue
            try:
                read = os.read(self._master, 65536)
            except OSError:  # all of the process's ends are closed
                read = b""
            if not read:
                os.close(self._master)
                return self.process.wait()
            self._printed += read
        return None

    def interrupt(self):
        """As ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def lines(self):
        """The lines that a person sees at the end, without those that were rewritten in place."""
        screen, row, column = [""], 0, 0
        for part in _PART.findall(self.raw):
            if part == "\r":
                column = 0
            elif part == "\n":
                row += 1
                screen += [""] * (row + 1 - len(screen))
            elif part.startswith("\x1b["):
                count = int(part[2:-1]) if part[2:-1].isdigit() else 1
                if part.endswith("A"):
                    row = max(0, row - count)
                elif part.endswith("K"):
                    screen[row] = "" if count == 2 else screen[row][:column]
            else:
                screen[row] = screen[row][:column].ljust(column) + part + screen[row][column + len(part) :]
                column += len(part)
        return [line.rstrip() for line in screen if line.strip()]


def on_terminal(*arguments, columns=80, **variables):
    """A command of ckpt2saved on a terminal, run to its end."""
    terminal = OnTerminal([*COMMAND, *arguments], columns, **variables)
    terminal.wait()
    return terminal
