"""Run the fault suite and print its figures; the exit code is 1 if a promise was broken.

python -m tests.faults [--long] [--only NAME]... [--kills N] [--directory DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List

from tests.faults import errors, kills, places, races, stores, trace
from tests.faults.figures import Figures, table
from tests.faults.interposer import CHANGES, compiled
from tests.faults.launcher import TENSORFLOW, Launcher
from tests.faults.operations import EXPORT, Lab

_SHORT_KILLS, _LONG_KILLS = 100, 1000
_EXPORTS = "export"
Part = Callable[[Lab, argparse.Namespace], Iterable[Figures]]

# The first ones need the library of interposer.c.
PARTS: Dict[str, Part] = {
    "trace": lambda lab, how: [trace.check_order(lab)],
    "kill-at-calls": lambda lab, how: kills.kill_at_every_call(lab, **({"kinds": CHANGES} if how.long else {})),
    "kill-cleanups": lambda lab, how: [kills.kill_cleanups(lab)],
    "fail-at-calls": lambda lab, how: errors.fail_at_every_call(lab, sys.maxsize if how.long else 25),
    "fail-readers": lambda lab, how: [errors.fail_readers(lab, sys.maxsize if how.long else 25)],
    "clocks": lambda lab, how: [places.clocks(lab)],
    "kill-at-random": lambda lab, how: kills.kill_at_random(lab, how.kills),
    "writers": lambda lab, how: [races.writers(lab, each=10 if how.long else 3)],
    "prune-races": lambda lab, how: [races.prune_with_everything(lab, 40 if how.long else 2)],
    "two-mounts": lambda lab, how: races.two_mount_points(lab, 20 if how.long else 1),
    "base-deleted": lambda lab, how: [races.base_deleted(lab, 10 if how.long else 1)],
    "full-disks": lambda lab, how: places.full_disks(lab, 1 if how.long else 4),
    "read-only": lambda lab, how: places.read_only(lab),
    "rights": lambda lab, how: places.without_rights(lab),
    "bases": lambda lab, how: [places.odd_bases(lab)],
    "names": lambda lab, how: [places.odd_names(lab)],
    "file-systems": lambda lab, how: places.other_file_systems(lab),
    "stores": lambda lab, how: _stores(lab, how),
}
_NEED_LIBRARY = list(PARTS)[:6]


def _exports(lab: Lab, how: argparse.Namespace) -> Iterator[Figures]:
    """Yield the figures of the command that loads TensorFlow, in a launcher that has loaded it."""
    yield trace.check_order(lab, [EXPORT])
    yield from kills.kill_at_every_call(lab, CHANGES, [EXPORT], 1 if how.long else 5)
    yield from errors.fail_at_every_call(lab, 100 if how.long else 4, [EXPORT])
    yield from kills.kill_at_random(lab, how.kills // 4, [EXPORT])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="all of it, in about half an hour")
    parser.add_argument(
        "--only", action="append", choices=[*PARTS, _EXPORTS], help="one part; may be given several times"
    )
    parser.add_argument("--kills", type=int, help=f"at random moments ({_SHORT_KILLS}, with --long {_LONG_KILLS})")
    parser.add_argument("--directory", help="where the bases lie, such as /dev/shm")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    how = parser.parse_args()
    how.kills = how.kills or (_LONG_KILLS if how.long else _SHORT_KILLS)
    found: List[Figures] = []
    with tempfile.TemporaryDirectory(dir=how.directory) as folder:
        directory = Path(folder)
        directory.chmod(0o755)  # for the part that becomes another user
        library = compiled(directory)
        if library is None:
            print("no C compiler: calls are neither traced nor made to fail", file=sys.stderr)
        with Launcher(library) as launcher:
            lab = Lab(directory, launcher)
            for name, part in PARTS.items():
                if (not how.only or name in how.only) and (library or name not in _NEED_LIBRARY):
                    found += _told(part(lab, how))
        if library and (not how.only or _EXPORTS in how.only):
            (directory / _EXPORTS).mkdir()
            with Launcher(library, TENSORFLOW) as launcher:
                lab = Lab(directory / _EXPORTS, launcher)
                lab.know_export()
                found += _told(_exports(lab, how))
    print(table(found))
    for figures in found:
        for problem in figures.problems:
            print(f"\n{figures.name}: {problem}")
    if how.json:
        content = {"long": how.long, "library": library is not None, "parts": [one.as_content() for one in found]}
        how.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(figures.problems for figures in found))


def _stores(lab: Lab, how: argparse.Namespace) -> Iterator[Figures]:
    """Yield the figures of object stores; nothing where their packages are missing."""
    try:
        import s3fs  # noqa: F401

        from tests.support.object_stores import s3_server
    except ImportError:
        return
    with stores.store_lab(lab, lambda directory: s3_server()) as store:
        yield stores.fail_syncs(store, 9 if how.long else 2, (False, True) if how.long else (False,))
        yield stores.kill_syncs(store, how.kills // 10)
        yield from stores.disturb_publishers(store, 10 if how.long else 2, (False,))
        yield stores.many_writers(store, 32 if how.long else 8)
        yield stores.stale_listings(store)
    with contextlib.suppress(FileNotFoundError):
        with stores.store_lab(lab, stores.rclone_server) as store:
            yield stores.refused_without_conditions(store)


def _told(all_figures: Iterable[Figures]) -> Iterator[Figures]:
    for figures in all_figures:
        print(f"{figures.name}: {figures.seconds:.0f} s", file=sys.stderr, flush=True)
        yield figures


if __name__ == "__main__":
    main()
