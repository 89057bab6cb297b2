"""Adds a TensorFlow release to the table of ops: `python tools/make_op_table.py 2.22.0`.

Downloads the package of that release with pip, reads the op registry of its libraries through TensorFlow's C API, in a
process of its own and without importing TensorFlow, and writes the table again. `--wheel FILE.whl` reads a package that
is already downloaded. A release that is in the table is replaced.

The Python that pip runs under must be one for which the release has a package: `--python python3.9` for 2.5 to 2.20,
`python3.8` for 2.2 to 2.4, `python3.7` for 1.13 to 2.1, `python3.6` for 1.12. Releases up to 2.0 have no
tensorflow-cpu: pass `--package tensorflow`. The table is rebuilt by adding every release.
tools/make_kernel_table.py does the same for kernels.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Set, Tuple

import click

from ckpt2saved.graph.op_table import PATH, OpTable, read_table, write_table
from ckpt2saved.graph.registry import Kernel, Ops, parse_kernel_list, parse_op_list

# In the order in which they must be loaded. The library that exports the C API depends on the release.
_LIBRARIES = ("libtensorflow_framework.so", "libtensorflow_cc.so", "_pywrap_tensorflow_internal.so")
_CONTRIB = re.compile(r"/contrib/(?!.*/kernel_tests/).*\.so\Z")

# Runs under the release's own Python, 3.6 for 1.12. Writes the ops and the kernels, first without contrib's libraries,
# then after each of them. Ends without the libraries' destructors, some of which crash.
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
library.TF_GetAllRegisteredKernels.argtypes = [ctypes.c_void_p]
library.TF_GetAllRegisteredKernels.restype = ctypes.POINTER(Buffer)
def write(number):
    lists = ("ops", library.TF_GetAllOpList()), ("kernels", library.TF_GetAllRegisteredKernels(library.TF_NewStatus()))
    for name, buffer in lists:
        with open(os.path.join(target, "{}.{}".format(name, number)), "wb") as file:
            file.write(ctypes.string_at(buffer.contents.data, buffer.contents.length))
write(0)
for number, path in enumerate(filter(None, plugins), start=1):
    if "/lib" in path:
        ctypes.CDLL(path, mode=os.RTLD_LAZY | os.RTLD_GLOBAL)
    else:
        library.TF_LoadLibrary(path.encode(), library.TF_NewStatus())
    write(number)
os._exit(0)
"""


class Registered(NamedTuple):
    """The ops and kernels that are registered once some libraries are loaded."""

    ops: Ops
    kernels: Sequence[Kernel]


def add_release(table: OpTable, wheel: Path, python: str) -> OpTable:
    """Return the table with the ops of a TensorFlow package; ops of contrib are added to the known ones."""
    version, release = version_of(wheel)
    base, contrib = read_wheel(wheel, python)
    of_contrib = {op for _, after in contrib for op in after.ops} - set(base.ops)
    libraries: Dict[str, str] = {}
    before: Registered = base
    for library, after in contrib:
        libraries.update((op, library) for op in _with_kernels(after) - _with_kernels(before))
        before = after
    releases = dict(table.releases, **{release: base.ops})
    ordered = sorted(releases, key=lambda one: [int(part) for part in one.split(".")])
    packages = dict(table.packages, **{release: version})
    return table._replace(
        releases={one: releases[one] for one in ordered},
        packages={one: packages[one] for one in ordered},
        contrib=table.contrib | of_contrib,
        libraries=dict(table.libraries, **{release: libraries}) if libraries else table.libraries,
    )


def _with_kernels(registered: Registered) -> Set[str]:
    return {kernel.op for kernel in registered.kernels}


def version_of(wheel: Path) -> Tuple[str, str]:
    """Return the version of a package and its release: 2.4.4, and 2.4."""
    match = re.match(r"[A-Za-z_]+-(([0-9]+\.[0-9]+)\.[0-9]+)-", wheel.name)
    if match is None:
        raise click.ClickException(f"{wheel}: expected the package of a TensorFlow release, *.whl")
    version, release = match.groups()
    return version, release


def read_wheel(wheel: Path, python: str) -> Tuple[Registered, List[Tuple[str, Registered]]]:
    """Return what a package registers, and what is registered after each library of contrib, by path in contrib/."""
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as folder:
        with zipfile.ZipFile(str(wheel)) as archive:
            names = [name for name in archive.namelist() if ".so" in name]
            base = sorted((name for name in names if _order(name) >= 0), key=_order)
            # The libraries that others depend on come first.
            contrib = sorted(filter(_CONTRIB.search, names), key=lambda name: ("/lib" not in name, name))
            for name in base + contrib:
                archive.extract(name, folder)
        paths = [[str(Path(folder) / name) for name in group] for group in (base, contrib)]
        found = dump(python, folder, *paths)
    return found[0], list(zip([name.partition("/contrib/")[2] for name in contrib], found[1:]))


def _order(name: str) -> int:
    base = name.rpartition("/")[2]
    found = [index for index, library in enumerate(_LIBRARIES) if base.startswith(library)]
    return found[0] if found else -1


def dump(python: str, folder: str, libraries: Sequence[str], plugins: Sequence[str] = ()) -> List[Registered]:
    """Return what is registered once the libraries are loaded, and after each plugin; `folder` is for files."""
    command = [python, "-c", _DUMP, folder] + [":".join(paths) for paths in (libraries, plugins)]
    done = subprocess.run(command, check=False, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise click.ClickException(f"the ops can't be read: {done.stdout.decode('utf-8', 'replace')}")
    contents = [
        [(Path(folder) / f"{name}.{number}").read_bytes() for name in ("ops", "kernels")]
        for number in range(len(plugins) + 1)
    ]
    return [Registered(parse_op_list(ops), parse_kernel_list(kernels)) for ops, kernels in contents]


def download(python: str, requirement: str, folder: str) -> Path:
    """Return the package that pip downloads to a folder for a Python."""
    command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement]
    # In a folder without files, which could replace modules that pip imports.
    if subprocess.run(command, check=False, cwd=folder).returncode != 0:
        raise click.ClickException(f"{requirement}: pip finds no package for {python}; pass another --python")
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


@click.command(help=__doc__)
@click.argument("versions", nargs=-1)
@click.option("--python", default=sys.executable, help="Default: this one.")
@click.option("--package", default="tensorflow-cpu", show_default=True)
@click.option("--wheel", "wheels", multiple=True, type=click.Path(exists=True), help="May be given several times.")
def main(versions: Sequence[str], python: str, package: str, wheels: Sequence[str]) -> None:
    """Add releases to the table; the module says how."""
    python = os.path.abspath(python) if os.sep in python else python
    table = read_table() if PATH.is_file() else OpTable({}, {}, frozenset(), {})
    for wheel in wheels:
        table = add_release(table, Path(wheel), python)
    for version in versions:
        with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as folder:
            table = add_release(table, download(python, f"{package}=={version}", folder), python)
    write_table(table)
    for release, ops in table.releases.items():
        click.echo(f"{release:<6} {len(ops)} ops")
    click.echo(f"{len(table.contrib)} ops of contrib, {PATH.stat().st_size} bytes in {PATH}")


if __name__ == "__main__":
    main()
