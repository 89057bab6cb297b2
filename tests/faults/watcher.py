"""A process that lists a base directory in a tight loop, as TF Serving would, and judges every numeric child it sees.

As a program: BASE and the contents as a JSON list; it ends when its stdin is closed, and prints what it has seen.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from tests.faults.judging import Content, numbers_in, problem_of

ROOT = Path(__file__).resolve().parents[2]
_MOST_TOLD = 20


class Seen(NamedTuple):
    """What a watcher has seen until it was stopped."""

    polls: int
    versions: int  # distinct
    judgements: int
    partial: List[str]  # incomplete versions
    lost: List[str]  # versions that vanished, although they were among the newest `keep`
    shrunk: List[str]  # numbers that appeared below a higher one

    @property
    def problems(self) -> List[str]:
        return self.partial + self.lost + self.shrunk


class Watched:
    """The result, once the context has ended."""

    seen = Seen(0, 0, 0, [], [], [])


@contextlib.contextmanager
def watching(base: Path, contents: Sequence[Content], keep: int = 0) -> Iterator[Watched]:
    """Watch a base during the block; prune may delete all but the `keep` newest versions, 0: nothing may vanish."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.watcher", str(base), json.dumps(list(contents)), str(keep)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=str(ROOT),
        universal_newlines=True,
    )
    watched = Watched()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield watched
    finally:
        out = process.communicate()[0]
    watched.seen = Seen(*json.loads(out))


class _Watcher:
    def __init__(self, base: str, contents: Sequence[Content], keep: int) -> None:
        self._base, self._contents, self._keep = base, contents, keep
        self._judged: Set[int] = set()
        self._turn: List[int] = []  # versions to be judged again
        self._told: Dict[str, List[str]] = {"partial": [], "lost": [], "shrunk": []}
        self.polls = self.judgements = 0

    def poll(self) -> None:
        numbers = numbers_in(self._base)
        self.polls += 1
        highest = max(self._judged, default=0)
        # Of all that were ever there, not of those that are there now.
        kept = sorted(self._judged.union(numbers))[-self._keep :]
        for number in sorted(set(kept) - set(numbers)):
            self._tell("lost", f"{number} has vanished; {numbers} are there")
        for number in numbers:
            if number not in self._judged:
                if number < highest:
                    self._tell("shrunk", f"{number} appeared after {highest}")
                self._judge(number)
        self._judged.update(numbers)
        self._turn = self._turn or numbers
        if self._turn:
            self._judge(self._turn.pop())

    def _judge(self, number: int) -> None:
        self.judgements += 1
        problem = problem_of(f"{self._base}/{number}", self._contents)
        if problem:
            self._tell("partial", problem)

    def _tell(self, kind: str, text: str) -> None:
        if len(self._told[kind]) < _MOST_TOLD and text not in self._told[kind]:
            self._told[kind].append(text)

    def seen(self) -> Tuple[object, ...]:
        return (self.polls, len(self._judged), self.judgements, *self._told.values())


def main(base: str, contents: str, keep: str) -> None:
    watcher = _Watcher(base, json.loads(contents), int(keep))
    watcher.poll()
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        watcher.poll()
    watcher.poll()
    print(json.dumps(watcher.seen()))


if __name__ == "__main__":
    main(*sys.argv[1:])
