"""Object stores: connections that are cut, errors of the server, late answers, stale listings, kills, two writers."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from tests.faults.figures import Figures
from tests.faults.judging import PROVENANCE, Content, missing, numbers_in, problems_in
from tests.faults.launcher import Argv, Ended, Launcher
from tests.faults.operations import KEEP, Lab, crashes, leftovers
from tests.faults.proxy import KINDS, NOTHING, Plan, Proxy, proxied

BUCKET = "models"
_GRAPH = "saved_model.pb"
_SECRET = "testing"
IMPORTS = ("s3fs", "aiobotocore.session")


class Bucket:
    """The bucket behind the proxy, as a server that reads a base URL sees it: independent of ckpt2saved."""

    def __init__(self, endpoint: str) -> None:
        import boto3

        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=_SECRET,
            aws_secret_access_key=_SECRET,
            region_name="us-east-1",
        )

    def keys(self, prefix: str) -> Dict[str, int]:
        """Return key below the prefix -> size."""
        found: Dict[str, int] = {}
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix + "/"):
            found.update({one["Key"][len(prefix) + 1 :]: one["Size"] for one in page.get("Contents", ())})
        return found

    def complete(self, prefix: str) -> List[int]:
        """Return the numbers with a graph, which a server would load, lowest first."""
        names = (key.partition("/") for key in self.keys(prefix))
        return sorted(int(name) for name, _, rest in names if name.isdigit() and rest == _GRAPH)

    def problem_of(self, prefix: str, number: int, contents: Sequence[Content]) -> Optional[str]:
        """Return what is wrong with a version that has its graph."""
        names = [key for key in self.keys(prefix) if key.startswith(f"{number}/")]
        found: Content = {}
        for name in names:
            try:
                data = self._client.get_object(Bucket=BUCKET, Key=f"{prefix}/{name}")["Body"].read()
            except self._client.exceptions.NoSuchKey:
                continue
            found[name.partition("/")[2]] = f"{len(data)} {hashlib.sha256(data).hexdigest()}"
        if found.pop(PROVENANCE, None) and found in contents:
            return None
        if number not in self.complete(prefix):
            return None  # it is being deleted, the graph first
        return f"{prefix}/{number}: {found}, expected one of {list(contents)}"

    def put(self, prefix: str, name: str, directory: Path) -> None:
        for path in directory.rglob("*"):
            if path.is_file():
                key = f"{prefix}/{name}/{path.relative_to(directory).as_posix()}"
                self._client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())


class Watch:
    """A thread that lists a base URL in a tight loop, and judges each version with a graph."""

    def __init__(self, bucket: Bucket, prefix: str, contents: Sequence[Content]) -> None:
        self.polls = self.judgements = 0
        self.seen: Dict[int, int] = {}
        self.problems: List[str] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(bucket, prefix, contents), daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self, bucket: Bucket, prefix: str, contents: Sequence[Content]) -> None:
        while not self._ends.is_set():
            self.polls += 1
            for number in bucket.complete(prefix):
                if self.seen.setdefault(number, self.polls) == self.polls:
                    self.judgements += 1
                    problem = bucket.problem_of(prefix, number, contents)
                    if problem:
                        self.problems.append(problem)


class StoreLab:
    """A server with its proxy, and a launcher whose commands speak to the proxy."""

    def __init__(self, lab: Lab, bucket: Bucket, proxy: Proxy, launcher: Launcher) -> None:
        self.lab = lab
        self.bucket = bucket
        self.proxy = proxy
        self.launcher = launcher

    def fresh(self, versions: int = 0) -> Tuple[str, str]:
        """Return a prefix in the bucket, and its URL, with so many versions that another tool has put there."""
        prefix = uuid.uuid4().hex
        for number in range(1, versions + 1):
            self.bucket.put(prefix, str(number), self.lab.source)
        return prefix, f"s3://{BUCKET}/{prefix}"

    def problems(self, prefix: str) -> List[str]:
        numbers = self.bucket.complete(prefix)
        found = (self.bucket.problem_of(prefix, number, self.lab.contents) for number in numbers)
        return [problem for problem in found if problem]

    def run(self, argv: Argv, plan: Plan = NOTHING) -> Ended:
        self.proxy.reset(plan)
        return self.launcher.run(argv)


@contextlib.contextmanager
def store_lab(lab: Lab, server: Callable[[Path], contextlib.AbstractContextManager[str]]) -> Iterator[StoreLab]:
    """Run a server of S3 with its proxy, and a launcher that has its address."""
    with server(lab.directory) as endpoint, proxied(endpoint) as proxy:
        environment = {
            "AWS_ENDPOINT_URL": proxy.url,
            "AWS_ACCESS_KEY_ID": _SECRET,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "2",
        }
        with Launcher(imports=IMPORTS, environment=environment) as launcher:
            yield StoreLab(lab, Bucket(endpoint), proxy, launcher)


@contextlib.contextmanager
def rclone_server(directory: Path) -> Iterator[str]:
    """Run rclone's server of S3 on a directory; raises FileNotFoundError without rclone."""
    program = shutil.which("rclone") or shutil.which("rclone", path=os.path.dirname(sys.executable))
    if program is None:
        raise FileNotFoundError("rclone")
    served = directory / f"rclone-{uuid.uuid4().hex}"
    (served / BUCKET).mkdir(parents=True)
    arguments = ["--auth-key", f"{_SECRET},{_SECRET}", "--addr", "127.0.0.1:0", "--config", os.devnull, str(served)]
    process = subprocess.Popen(
        [program, "serve", "s3", *arguments], stderr=subprocess.PIPE, universal_newlines=True, env=dict(os.environ)
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "http://" in line:
                yield line[line.index("http://") :].split("]")[0].strip().rstrip("/")
                break
    finally:
        process.kill()
        process.communicate()


def evenly(count: int, most: int) -> range:
    """Return at most so many of the numbers from 1 to `count`."""
    step = -(-count // most)
    return range((step + 1) // 2, count + 1, step)


def number_of_requests(store: StoreLab, argv: Argv) -> int:
    ended = store.run(argv)
    assert ended.exit_code == 0, ended
    return store.proxy.count


def fail_syncs(store: StoreLab, most: int = sys.maxsize, lasts: Sequence[bool] = (False, True)) -> Figures:
    """Pull from a store whose requests fail, each one or evenly `most` of them, once and for good."""
    figures = Figures("store: sync while requests fail")
    prefix, url = store.fresh(2)
    base = store.lab.fresh(0)
    requests = number_of_requests(store, ("sync", url, base, "--once"))
    store.lab.drop(base)
    for kind in KINDS:
        for persists in lasts:
            for at in evenly(requests, most):
                base = store.lab.fresh(0)
                plan = Plan(kind, at, persists, seconds=0.2)
                ended = store.run(("sync", url, base, "--once"), plan)
                figures.ended(ended)
                figures.errors += 1
                problems = crashes(ended) + problems_in(base, store.lab.contents)
                if ended.exit_code == 0 and numbers_in(base) != [2]:
                    problems.append(f"exit code 0, and {numbers_in(base)} are there")
                if numbers_in(base) not in ([], [1], [2]) or leftovers(base):
                    problems.append(f"left {[path.name for path in base.iterdir()]}")
                again = store.run(("sync", url, base, "--once"))
                if again.exit_code != 0 or numbers_in(base)[-1:] != [2]:
                    problems.append(f"the next run failed: {again}")
                figures.found(f"sync, {kind} at {at}, persists {persists}", problems, len(numbers_in(base)))
                store.lab.drop(base)
    return figures.finished()


def kill_syncs(store: StoreLab, kills: int, seed: int = 1) -> Figures:
    """Kill -9 at random moments of a sync from a store into one local base; the next run removes what is left."""
    figures = Figures("store: kill sync at random")
    chance = random.Random(seed)
    prefix, url = store.fresh(2)
    base = store.lab.fresh(0)
    begin = time.monotonic()
    number_of_requests(store, ("sync", url, base, "--once"))
    duration = time.monotonic() - begin
    store.lab.drop(base)
    store.proxy.reset()
    while figures.kills < kills:
        base = store.lab.fresh(0)
        running = store.launcher.start(("sync", url, base, "--once"))
        time.sleep(chance.uniform(0, duration))
        running.kill()
        ended = running.wait()
        figures.ended(ended)
        problems = problems_in(base, store.lab.contents)
        again = store.run(("sync", url, base, "--once"))
        if again.exit_code != 0 or numbers_in(base) != [2] or leftovers(base):
            problems.append(f"the next run: {again}, left {leftovers(base)}")
        figures.found("sync", problems, len(numbers_in(base)))
        store.lab.drop(base)
    return figures.finished()


def disturb_publishers(
    store: StoreLab, most: int = sys.maxsize, lasts: Sequence[bool] = (False, True), kinds: Sequence[str] = KINDS
) -> Iterator[Figures]:
    """Publish and prune while each request, or evenly `most` of them, fails or is the last that the process makes."""
    for operation in (_PUBLISH, _PRUNE):
        figures = Figures(f"store: {operation.name} while requests fail")
        prefix, url = store.fresh(operation.versions)
        requests = number_of_requests(store, operation.argv(store, url))
        for kind in kinds:
            for persists in lasts:
                for at in evenly(requests, most):
                    plan = Plan(kind, at, persists, seconds=0.2)
                    _disturb(store, operation, plan, figures)
        yield figures.finished()
        figures = Figures(f"store: {operation.name} killed at every request")
        for kind in ("", "lost"):
            for at in evenly(requests, most):
                _disturb(store, operation, Plan(kind, at), figures, kills=True)
        yield figures.finished()


class _Operation(NamedTuple):
    name: str
    argv: Callable[[StoreLab, str], Argv]  # of the URL
    versions: int
    keep: int = 0


_PUBLISH = _Operation("bump-version", lambda store, url: ("bump-version", url, "--from", store.lab.source), 1)
_PRUNE = _Operation("prune", lambda store, url: ("prune", url, "--keep", KEEP), 4, KEEP)


def _disturb(store: StoreLab, operation: _Operation, plan: Plan, figures: Figures, *, kills: bool = False) -> None:
    before = list(range(1, operation.versions + 1))
    prefix, url = store.fresh(operation.versions)
    argv = operation.argv(store, url)
    with Watch(store.bucket, prefix, store.lab.contents) as watch:
        ended = _killed(store, argv, plan) if kills else store.run(argv, plan)
    figures.ended(ended)
    figures.errors += not kills
    figures.judgements += watch.judgements
    complete = store.bucket.complete(prefix)
    problems = crashes(ended) + watch.problems + store.problems(prefix)
    lost = missing(complete, before[-operation.keep :])
    new = missing(before, complete)
    if lost:
        problems.append(f"lost: {lost}")
    if len(new) > (operation is _PUBLISH):
        problems.append(f"new: {new}")
    if operation is _PUBLISH and not ended.was_killed and bool(new) != (ended.exit_code == 0):
        if not new or "not known whether it is published" not in ended.err:
            problems.append(f"exit code {ended.exit_code}, published {new}: {ended.err}")
    again = store.run(_PUBLISH.argv(store, url))
    highest = max(complete, default=0)
    if again.exit_code != 0 or not [number for number in store.bucket.complete(prefix) if number > highest]:
        problems.append(f"the next run failed: {again}")
    figures.found(f"{operation.name}, {plan}", problems + store.problems(prefix), len(complete))


def _killed(store: StoreLab, argv: Argv, plan: Plan) -> Ended:
    """Run a command that the proxy kills at a request, before the store has it, or with kind "lost" after that."""
    known, running = threading.Event(), []

    def kill() -> None:
        known.wait()
        running[0].kill()

    store.proxy.reset(dataclasses.replace(plan, call=kill))
    running.append(store.launcher.start(argv))
    known.set()
    ended = running[0].wait()
    store.proxy.reset()
    return ended


def many_writers(store: StoreLab, count: int = 8, each: int = 2) -> Figures:
    """All publish under one URL at once: each number once."""
    figures = Figures(f"store: {count} writers at once")
    prefix, url = store.fresh()
    store.proxy.reset()
    argv = _PUBLISH.argv(store, url)
    with Watch(store.bucket, prefix, store.lab.contents) as watch:
        after = time.monotonic() + 0.5
        running = [store.launcher.start(*[argv] * each, after=after) for _ in range(count)]
        ended = [one.wait() for one in running]
    problems = watch.problems + store.problems(prefix)
    for one in ended:
        figures.ended(one)
        problems += crashes(one) + ([f"failed: {one}"] if one.exit_code else [])
    printed = [int(line.rpartition("/")[2]) for one in ended for line in one.out.split()]
    if len(set(printed)) != count * each or sorted(printed) != store.bucket.complete(prefix):
        problems.append(f"printed {sorted(printed)}, complete {store.bucket.complete(prefix)}")
    figures.judgements += watch.judgements
    figures.found(figures.name, problems, len(printed))
    figures.cases = count
    return figures.finished()


def stale_listings(store: StoreLab) -> Figures:
    """A publisher and a prune that see listings from before others published: no number twice, nothing lost."""
    figures = Figures("store: stale listings")
    prefix, url = store.fresh(1)
    argv = _PUBLISH.argv(store, url)
    for command in (argv, ("prune", url, "--keep", "1", "--dry-run")):
        assert store.run(command).exit_code == 0
    for late in (argv, argv, ("prune", url, "--keep", "1"), argv):
        store.proxy.stale = True
        before = store.bucket.complete(prefix)
        try:
            ended = store.run(late)
        finally:
            store.proxy.stale = False
        figures.ended(ended)
        complete = store.bucket.complete(prefix)
        problems = crashes(ended) + store.problems(prefix)
        if before[-1] not in complete:
            problems.append(f"lost: {before[-1]}")
        if late is argv and bool(ended.exit_code == 0) != (complete[-1] > before[-1]):
            problems.append(f"{before} became {complete}: {ended}")
        figures.found(" ".join(map(str, late)), problems, len(complete))
    return figures.finished()


def refused_without_conditions(store: StoreLab) -> Figures:
    """A server that ignores If-None-Match is found out; with --single-writer it is published there."""
    figures = Figures("store: rclone, which ignores If-None-Match")
    prefix, url = store.fresh(1)
    argv = _PUBLISH.argv(store, url)
    refused = store.run(argv)
    problems = crashes(refused)
    if refused.exit_code != 1 or "--single-writer" not in refused.err or store.bucket.complete(prefix) != [1]:
        problems.append(f"not refused: {refused}")
    figures.found("bump-version", problems, 1)
    done = store.run((*argv, "--single-writer"))
    problems = crashes(done) + store.problems(prefix)
    if done.exit_code != 0 or store.bucket.complete(prefix) != [1, 2]:
        problems.append(f"not published: {done}")
    figures.found("bump-version --single-writer", problems, 2)
    return figures.finished()
