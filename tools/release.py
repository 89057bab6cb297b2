"""Builds a release and tries it out: `python tools/release.py`, with what `pip install -e ".[release]"` installs.

Refuses a working tree with changes, a version that CHANGELOG.md does not have, entries under Unreleased, and a tag that
is there. Builds the source distribution and the wheel into dist/ and checks their metadata and contents. Then, for each
Python (3.7 and 3.13, where no --python is given), in environments of their own: the source distribution installs; the
wheel installs with TensorFlow, runs examples/demo.sh, and passes the tests that are about no graph of TensorFlow. The
demo and the tests lie in the unpacked source distribution, from which the package is taken away. The steps of
Dockerfile are run, as plain shell. Last, the message of the tag is written to dist/tag-message.txt. Nothing is tagged
and nothing is uploaded.

--files-only builds and checks the files of the last commit, whatever the working tree has.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

import click

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.7", "3.13")
# Those of about 30 folders that need TensorFlow for a few fixtures at most.
PLAIN_TESTS = (
    "tests/cli/test_predict.py",
    "tests/client",
    "tests/console",
    "tests/files",
    "tests/requests",
    "tests/server_config",
    "tests/signature",
    "tests/versions",
)


class Changes(NamedTuple):
    """A section of CHANGELOG.md: its heading without brackets, and the lines below it."""

    heading: str
    text: str


class Files(NamedTuple):
    """What a release is made of."""

    sdist: Path
    wheel: Path


def version_of(root: Path) -> str:
    """Return the version in the package's source."""
    text = (root / "ckpt2saved" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'(?m)^__version__ = "([^"]+)"$', text)
    if found is None:
        raise click.ClickException('ckpt2saved/__init__.py: no line __version__ = "..."')
    return found.group(1)


def changes_of(root: Path) -> Dict[str, Changes]:
    """Return the sections of CHANGELOG.md by version; that of "Unreleased" among them."""
    parts = re.split(r"(?m)^## +(.*)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"))
    headings = [re.sub(r"[\[\]]", "", heading).strip() for heading in parts[1::2]]
    return {heading.split(" ")[0]: Changes(heading, text.strip()) for heading, text in zip(headings, parts[2::2])}


def refusals(root: Path) -> List[str]:
    """Return every reason not to release what is there, in one sentence each."""
    version, changes, reasons = version_of(root), changes_of(root), []
    changed = _answer(["git", "status", "--porcelain"], root)
    if changed:
        reasons.append(f"the working tree has changes: {', '.join(line[3:] for line in changed.splitlines()[:5])}")
    if version not in changes:
        reasons.append(f"CHANGELOG.md has no section {version}, the version of ckpt2saved/__init__.py")
    elif not re.fullmatch(r"\S+ - \d{4}-\d\d-\d\d", changes[version].heading):
        reasons.append(f"CHANGELOG.md: {changes[version].heading!r} is not 'VERSION - YEAR-MONTH-DAY'")
    unreleased = changes.get("Unreleased", Changes("", "")).text
    if re.search(r"(?m)^[-*] ", unreleased):
        reasons.append(f"CHANGELOG.md has entries under Unreleased; move them to {version}")
    if _answer(["git", "tag", "--list", tag_of(version)], root):
        reasons.append(f"the tag {tag_of(version)} is there already; give ckpt2saved/__init__.py another version")
    return reasons


def tag_of(version: str) -> str:
    """Return the name of a version's tag."""
    return f"v{version}"


def tag_message(version: str, changes: Changes) -> str:
    """Return the message of the tag. Headings lose their "#", with which git would take them for comments."""
    lines = [re.sub(r"^#+ +(.*)$", r"\1:", line) for line in changes.text.splitlines()]
    return f"ckpt2saved {version}\n\n" + "\n".join(lines) + "\n"


def committed(root: Path, folder: Path) -> Path:
    """Clone the last commit: nothing else gets into the files, and other builds in `root` do not meet this one."""
    shutil.rmtree(str(folder), ignore_errors=True)
    _run(["git", "clone", "--quiet", root, folder], root)
    return folder


def build(sources: Path, output: Path, isolated: bool) -> Files:
    """Build both files into `output`, which then has no others of this package.

    `isolated`: with the newest setuptools, in an environment of its own, and not with the one that is installed.
    """
    output.mkdir(parents=True, exist_ok=True)
    for old in [*output.glob("ckpt2saved-*.tar.gz"), *output.glob("ckpt2saved-*.whl")]:
        old.unlink()
    _run(
        [sys.executable, "-m", "build", *([] if isolated else ["--no-isolation"]), "--outdir", output, sources], sources
    )
    (sdist,), (wheel,) = output.glob("ckpt2saved-*.tar.gz"), output.glob("ckpt2saved-*.whl")
    return Files(sdist, wheel)


def check(clone: Path, files: Files) -> None:
    """Check the metadata, what is in the wheel, and that the source distribution has what git has."""
    tools = Path(sys.executable).parent
    _run([sys.executable, "-m", "twine", "check", "--strict", *files], clone)
    _run([tools / "check-wheel-contents", "--toplevel", "ckpt2saved", files.wheel], clone)
    _run([sys.executable, "-m", "check_sdist", "--no-isolation"], clone)


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpack the source distribution and take the package away, so that only an installed one can be found."""
    shutil.rmtree(str(folder), ignore_errors=True)
    with tarfile.open(str(sdist)) as archive:
        if hasattr(tarfile, "data_filter"):  # Python 3.12 warns without one
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(str(folder))
    (sources,) = folder.iterdir()
    for name in ("ckpt2saved", "ckpt2saved.egg-info", "signatures"):
        shutil.rmtree(str(sources / name))
    return sources


def find_python(minor: str) -> Optional[Path]:
    """Return a Python of this version (3.7) on the PATH or among those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"
    on_path = shutil.which(f"python{minor}")
    for candidate in [*([Path(on_path)] if on_path else []), *sorted(pyenv.glob(f"{minor}.*/bin/python"))]:
        ask = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(ask, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if done.returncode == 0 and done.stdout.decode().strip() == minor:
            return candidate
    return None


def try_sdist(python: Path, sdist: Path, folder: Path) -> None:
    """Install the source distribution in a new environment, and ask for its version."""
    environment = _environment(python, folder)
    _run([environment / "bin" / "pip", "install", *_QUIET, sdist], folder)
    _run([environment / "bin" / "ckpt2saved", "--version"], folder)


def try_wheel(python: Path, wheel: Path, sources: Path, folder: Path) -> None:
    """Install the wheel with TensorFlow in a new environment; run the demo and the plain tests with it."""
    environment = _environment(python, folder)
    interpreter = environment / "bin" / "python"
    _run([interpreter, "-m", "pip", "install", *_QUIET, "-c", "tests/constraints.txt", f"{wheel}[cpu,test]"], sources)
    _run(["sh", "tests/install_serving_api.sh", interpreter], sources)
    variables = {"PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    where = [interpreter, "-c", "import ckpt2saved; print(ckpt2saved.__file__)"]
    found = _answer(where, sources)
    if not found.startswith(str(environment)):
        raise click.ClickException(f"the demo would run with {found}, and not with what the wheel installed")
    _run(["sh", "examples/demo.sh", folder / "demo"], sources, variables)
    options = ["-W", "ignore::DeprecationWarning", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    _run([interpreter, *options, *PLAIN_TESTS], sources, variables)


_QUIET = ("--quiet", "--disable-pip-version-check")


def _environment(python: Path, folder: Path) -> Path:
    shutil.rmtree(str(folder), ignore_errors=True)
    folder.mkdir(parents=True)
    _run([python, "-m", "venv", folder / "venv"], folder)
    return folder / "venv"


def _variables() -> Dict[str, str]:
    """The environment without what would let a command find this checkout's package."""
    return {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }


def _run(command: Sequence[object], folder: Path, variables: Optional[Mapping[str, str]] = None) -> None:
    words = [str(word) for word in command]
    click.echo(f"$ {' '.join(words)}")
    if subprocess.run(words, check=False, cwd=str(folder), env=dict(_variables(), **(variables or {}))).returncode:
        raise click.ClickException(f"failed: {' '.join(words)}")


def _answer(command: Sequence[object], folder: Path) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, check=False, cwd=str(folder), env=_variables(), stdout=subprocess.PIPE)
    if done.returncode:
        raise click.ClickException(f"failed: {' '.join(words)}")
    return done.stdout.decode().strip()


@click.command(help=__doc__)
@click.option("--python", "pythons", type=click.Path(path_type=Path), multiple=True, help="A Python to try it with.")
@click.option("--files-only", is_flag=True, help="Build and check the files, and no more.")
def main(pythons: Sequence[Path], files_only: bool) -> None:
    """Build, check, try out, and write the message of the tag."""
    version, output, work = version_of(ROOT), ROOT / "dist", ROOT / "build" / "release"
    reasons = [] if files_only else refusals(ROOT)
    found = {minor: find_python(minor) for minor in ([] if files_only or pythons else PYTHONS)}
    reasons += [f"no Python {minor} on the PATH or among pyenv's; pass --python" for minor in found if not found[minor]]
    if reasons:
        raise click.ClickException("not released:\n" + "\n".join(f"  {reason}" for reason in reasons))
    clone = committed(ROOT, work / "clone")
    files = build(clone, output, isolated=not files_only)
    check(clone, files)
    if files_only:
        return
    sources = unpack(files.sdist, work / "sources")
    for number, python in enumerate([*pythons, *filter(None, found.values())]):
        try_sdist(python, files.sdist, work / f"sdist-{number}")
        try_wheel(python, files.wheel, sources, work / f"wheel-{number}")
    _run([sys.executable, "-m", "pytest", "-q", "tests/test_dockerfile.py"], ROOT, {"CKPT2SAVED_TEST_DOCKERFILE": "1"})
    message = output / "tag-message.txt"
    message.write_text(tag_message(version, changes_of(ROOT)[version]), encoding="utf-8")
    click.echo(f"\n{files.sdist}\n{files.wheel}\n{message}\n\nTo tag it:")
    click.echo(f"git tag --annotate {tag_of(version)} --file {message.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
