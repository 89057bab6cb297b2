"""The command line, called in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.schemas import misfits_of_output


def without_chatter(err):
    """`err` without the one line that TensorFlow 2.20's C++ logs whatever it is told; before and after, none is there."""
    from ckpt2saved.graph.tf1 import tf

    if not tf.__version__.startswith("2.20."):
        return err
    return re.sub(r"(?m)^(WARNING: All log messages before absl|I0000 .* MLIR V1 optimization pass).*\n", "", err)


ROOT = Path(__file__).resolve().parents[2]


def unmeasured_environment(**variables):
    """The environment of a process that may not write files: without coverage, whose data file would fail at its end.

    And without compiled modules: Python 3.7 does not notice that it wrote a part of one, which nothing can import then.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS_")}
    return dict(kept, PYTHONDONTWRITEBYTECODE="1", **variables)


def heed_interrupts():
    """For `preexec_fn`: a job in the background of a shell ignores SIGINT, and so would the processes that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def python(code, **keywords):
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **keywords,
    )


def call(*arguments, **keywords):
    """The command in a process that has no TensorFlow, and what it printed; JSON fits its schema."""
    code = "import sys; sys.modules['tensorflow'] = None; from ckpt2saved.cli import main; main({!r}, 'ckpt2saved')"
    done = python(code.format([str(argument) for argument in arguments]), **keywords)
    start = done.stdout.find("{")
    if "--json" in arguments and start >= 0:
        content, _ = json.JSONDecoder().raw_decode(done.stdout, start)
        assert misfits_of_output(" ".join(arguments[: 2 if arguments[0] == "bench" else 1]), content) == []
    return done


def exported(run, base, checkpoint, *options, **keywords):
    model = "ctpn" if "ctpn" in str(checkpoint) else "crnn"
    return run("export", "--model", model, "--checkpoint", checkpoint, "--export-dir", base, *options, **keywords)
