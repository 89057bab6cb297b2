"""External programs, looked up in the absolute directories of PATH and never in the working directory."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import List, Optional

_ROOT = str(Path(__file__).resolve().parent.parent.parent)  # the directory that contains this package


def find_program(name: str) -> Optional[str]:
    """Return the program's path; relative entries of PATH, such as `.`, are ignored."""
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(folder)]
    return shutil.which(name, path=os.pathsep.join(folders)) if folders else None


def python_command(module: str, *arguments: str) -> List[str]:
    """Return a command that runs main() of a module of this package in a new Python with the same sys.path.

    `python -m` would put the working directory first in sys.path, where a file such as tempfile.py would replace the
    module of the standard library.
    """
    paths = [os.path.abspath(path) for path in sys.path if path]
    paths += [] if _ROOT in paths else [_ROOT]
    code = f"import sys; sys.path[:] = {paths!a}; from {module} import main; main()"
    return [sys.executable, "-c", code] + list(arguments)
