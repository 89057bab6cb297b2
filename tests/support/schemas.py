"""Published schemas that written files must fit."""

from __future__ import annotations

import subprocess
import sys


def against_schema(name, path):
    """What a schema that check-jsonschema comes with has against a file; "" if nothing."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor." + name, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.decode() if done.returncode else ""
