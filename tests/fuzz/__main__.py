"""Fuzzes the readers of untrusted bytes that need no TensorFlow, and prints what was found.

python -m tests.fuzz [--seconds N] [--seed N] [--only NAME] [--keep FOLDER] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.fuzz.fuzzer import fuzz
from tests.fuzz.targets import targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="how long, for all readers together (600)")
    parser.add_argument("--seed", type=int, default=0, help="other inputs for another number (0)")
    parser.add_argument(
        "--only", action="append", help="the readers whose name has this part; may be given several times"
    )
    parser.add_argument("--keep", type=Path, help="write the inputs that were not survived into this folder")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    asked = parser.parse_args()
    chosen = [one for one in targets() if not asked.only or any(part in one.name for part in asked.only)]
    figures, findings = fuzz(chosen, asked.seed, asked.seconds, say=lambda line: print(line, flush=True))
    print(f"{'reader':20} {'inputs':>9} {'refused':>9} {'a second':>9} {'peak MB':>8}")
    for one in figures:
        rate = one.inputs / max(one.seconds, 1e-9)
        print(f"{one.name:20} {one.inputs:9} {one.refused:9} {rate:9.0f} {one.peak >> 20:8}")
    total = sum(one.inputs for one in figures)
    kinds = {kind: sum(one.kind == kind for one in findings) for kind in ("crash", "hang", "memory")}
    print(f"{total} inputs; crashes: {kinds['crash']}, hangs: {kinds['hang']}, out of memory: {kinds['memory']}")
    if asked.keep:
        asked.keep.mkdir(parents=True, exist_ok=True)
        for number, finding in enumerate(findings):
            (asked.keep / f"{number}-{finding.target.replace(' ', '-').replace('/', '-')}").write_bytes(finding.content)
    if asked.json:
        content = {
            "seed": asked.seed,
            "seconds": asked.seconds,
            "readers": [one._asdict() for one in figures],
            "findings": [dict(one._asdict(), content=one.content.hex()) for one in findings],
        }
        asked.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.exit(3 if findings else 0)


if __name__ == "__main__":
    main()
