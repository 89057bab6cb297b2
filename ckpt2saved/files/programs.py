"""Other programs that are run: found in the absolute directories of PATH, never in the working directory."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import List, Optional

_ROOT = str(Path(__file__).resolve().parent.parent.parent)  # where this package is, however it was found


def find_program(name: str) -> Optional[str]:
    """The program in the PATH's absolute directories; a relative one, as `.`, stands for whatever lies there today."""
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(folder)]
    return shutil.which(name, path=os.pathsep.join(folders)) if folders else None


def python_command(module: str, *arguments: str) -> List[str]:
    """The command that runs main() of a module of this package in a new Python, with what this one imports from.

    `python -m` would put the working directory first, where a file called tempfile.py would run in the place of the
    standard library's.
    """
    paths = [os.path.abspath(path) for path in sys.path if path]
    paths += [] if _ROOT in paths else [_ROOT]
    code = f"import sys; sys.path[:] = {paths!a}; from {module} import main; main()"
    return [sys.executable, "-c", code] + list(arguments)
