"""Adds a TensorFlow release to the table of ops: `python -m ckpt2saved.compatibility.make_table 2.22.0`.

Downloads the package of that release with pip, takes the op registry out of its libraries through TensorFlow's C API,
in a process of its own and without importing TensorFlow, and writes the table anew. Where a package is at hand already,
`--wheel FILE.whl` takes that. A release that is in the table is replaced.

The Python that pip runs under must be one for which the release has a package: `--python python3.9` for 2.5 to 2.20,
`python3.8` for 2.2 to 2.4, `python3.7` for 1.13 to 2.1, `python3.6` for 1.12; and up to 2.0, which have no
tensorflow-cpu of their own, `--package tensorflow`. All of them, one after the other, make the table from nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Sequence

import click

from ckpt2saved.compatibility.op_table import PATH, OpTable, read_table, write_table
from ckpt2saved.compatibility.registry import parse_op_list

# In the order in which they need each other. Which of them exports the C API depends on the release.
_LIBRARIES = ("libtensorflow_framework.so", "libtensorflow_cc.so", "_pywrap_tensorflow_internal.so")
_CONTRIB = re.compile(r"/contrib/(?!.*/kernel_tests/).*\.so\Z")

# Runs under the release's own Python, 3.6 for 1.12. The libraries' destructors are not all fit to run.
_DUMP = """
import ctypes, os, sys
class Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p)]
target, paths, plugins = sys.argv[1], sys.argv[2].split(":"), sys.argv[3].split(":")
for path in paths:
    library = ctypes.CDLL(path, mode=os.RTLD_LAZY | os.RTLD_GLOBAL)
    if hasattr(library, "TF_GetAllOpList"):
        break
else:
    sys.exit("none of {} exports TF_GetAllOpList".format(paths))
library.TF_NewStatus.restype = ctypes.c_void_p
library.TF_LoadLibrary.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
library.TF_GetAllOpList.restype = ctypes.POINTER(Buffer)
for path in filter(None, plugins):
    if "/lib" in path:
        ctypes.CDLL(path, mode=os.RTLD_LAZY | os.RTLD_GLOBAL)
    else:
        library.TF_LoadLibrary(path.encode(), library.TF_NewStatus())
buffer = library.TF_GetAllOpList().contents
with open(target, "wb") as file:
    file.write(ctypes.string_at(buffer.data, buffer.length))
os._exit(0)
"""


def add_release(table: OpTable, wheel: Path, python: str) -> OpTable:
    """The table with the ops of a TensorFlow package; contrib's are added to those that are known already."""
    match = re.match(r"[A-Za-z_]+-(([0-9]+\.[0-9]+)\.[0-9]+)-", wheel.name)
    if match is None:
        raise click.ClickException("{}: expected the package of a TensorFlow release, *.whl".format(wheel))
    version, release = match.groups()
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as folder:
        with zipfile.ZipFile(str(wheel)) as archive:
            names = [name for name in archive.namelist() if ".so" in name]
            base = sorted((name for name in names if _order(name) >= 0), key=_order)
            contrib = sorted(
                filter(_CONTRIB.search, names), key=lambda name: "/lib" not in name
            )  # what others need first
            for name in base + contrib:
                archive.extract(name, folder)
        ops = parse_op_list(_dump(python, folder, base))
        of_contrib = set(parse_op_list(_dump(python, folder, base, contrib))) - set(ops) if contrib else set()
    releases = dict(table.releases, **{release: ops})
    ordered = sorted(releases, key=lambda one: [int(part) for part in one.split(".")])
    packages = dict(table.packages, **{release: version})
    return OpTable(
        {one: releases[one] for one in ordered}, {one: packages[one] for one in ordered}, table.contrib | of_contrib
    )


def _order(name: str) -> int:
    base = name.rpartition("/")[2]
    found = [index for index, library in enumerate(_LIBRARIES) if base.startswith(library)]
    return found[0] if found else -1


def _is_plugin(name: str) -> bool:
    """Whether it is one of contrib's own, and not a library that several of them need, which comes first."""
    return "/lib" not in name


def _dump(python: str, folder: str, libraries: Sequence[str], plugins: Sequence[str] = ()) -> bytes:
    target = Path(folder) / "ops"
    paths = [":".join(str(Path(folder) / name) for name in names) for names in (libraries, plugins)]
    command = [python, "-c", _DUMP, str(target)] + paths
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise click.ClickException("the ops can't be read: {}".format(done.stdout.decode("utf-8", "replace")))
    return target.read_bytes()


def _download(python: str, requirement: str, folder: str) -> Path:
    command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement]
    if subprocess.run(command, cwd=folder).returncode != 0:  # not where a file could be taken for a module of pip's
        raise click.ClickException("{}: not to be had for {}; pass another --python".format(requirement, python))
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


@click.command(help=__doc__)
@click.argument("versions", nargs=-1)
@click.option("--python", default=sys.executable, help="Default: this one.")
@click.option("--package", default="tensorflow-cpu", show_default=True)
@click.option("--wheel", "wheels", multiple=True, type=click.Path(exists=True), help="Repeat.")
def main(versions: Sequence[str], python: str, package: str, wheels: Sequence[str]) -> None:
    python = os.path.abspath(python) if os.sep in python else python
    table = read_table() if PATH.is_file() else OpTable({}, {}, frozenset())
    for wheel in wheels:
        table = add_release(table, Path(wheel), python)
    for version in versions:
        with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as folder:
            table = add_release(table, _download(python, "{}=={}".format(package, version), folder), python)
    write_table(table)
    for release, ops in table.releases.items():
        click.echo("{:<6} {} ops".format(release, len(ops)))
    click.echo("{} ops of contrib, {} bytes in {}".format(len(table.contrib), PATH.stat().st_size, PATH))


if __name__ == "__main__":
    main()
