"""Requests per second and latencies of a model alone and behind the gateway, with 1 to 32 clients, as a table.

python examples/gateway/bench.py MODEL [--recogniser MODEL] [--pages FOLDER]: see README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, NamedTuple, Sequence
from urllib.parse import urlsplit

import numpy as np
from gateway import cropped, opened, parts_of
from uploads import accepted

from ckpt2saved.errors import UsageError

HERE = Path(__file__).resolve().parent
CLIENTS = (1, 2, 4, 8, 16, 32)
_LISTENING = re.compile(r"Listening at: (http://[\d.:]+)")
Call = Callable[[int], None]  # one request, with the page of this number


class Column(NamedTuple):
    """What is measured side by side."""

    name: str
    call: Call


class Run(NamedTuple):
    """What some clients got in some time."""

    times: List[float]  # of each request, seconds
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="as for gateway.py")
    parser.add_argument("--recogniser", default="", help="as for gateway.py")
    parser.add_argument("--pages", type=Path, default=HERE.parent / "ctpn" / "images", help="a folder of pictures")
    parser.add_argument("--seconds", type=float, default=3, help="of each number of clients in each column (3)")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is measured, in turns (2)")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="how many at once (1 2 4 8 16 32)")
    parser.add_argument("--workers", type=int, default=2, help="processes of gunicorn (2)")
    options = parser.parse_args()
    pages = [path.read_bytes() for path in sorted(options.pages.iterdir()) if path.suffix in (".png", ".jpg")]
    with contextlib.ExitStack() as stack:
        columns = list(_columns(stack, options, pages))
        print("clients |", " | ".join(column.name for column in columns), flush=True)
        for column in columns:  # the first requests to each process also prepare the model
            measured(column.call, max(options.clients), options.seconds)
        for count in options.clients:
            runs = [[measured(one.call, count, options.seconds) for one in columns] for _ in range(options.rounds)]
            print(count, "|", " | ".join(map(speed, zip(*runs))), flush=True)


def speed(runs: Sequence[Run]) -> str:
    """Requests per second of all clients, the median of the latency and its 99th percentile."""
    times = [one for run in runs for one in run.times]
    median, slowest = np.percentile(times, [50, 99]) * 1e3
    return f"{len(times) / sum(run.seconds for run in runs):.1f}/s, {median:.0f}, {slowest:.0f} ms"


def _columns(stack: contextlib.ExitStack, options: argparse.Namespace, pages: Sequence[bytes]) -> Iterator[Column]:
    model = opened(options.model)
    recogniser = opened(options.recogniser) if options.recogniser else model
    modes = ["parts"]
    with contextlib.suppress(UsageError):  # of a detector alone
        model.predict("page", {"image_bytes": [pages[0]]})
        modes = ["page", "parts"]
        yield Column("page, without the gateway", lambda number: _ask(model, "page", [pages[number % len(pages)]]))
    for mode in modes:
        arguments = [options.model, mode, options.recogniser if mode == "parts" else ""]
        url = stack.enter_context(_gunicorn(arguments, options.workers))
        yield Column(f"gateway, --mode {mode}", _posting(url, pages))
    lines = [_lines(model, page) for page in pages]
    yield Column(
        "text of the lines of a page, without the gateway",
        lambda number: [_ask(recogniser, "text", part) for part in parts_of(lines[number % len(lines)])],
    )


def _ask(model: Any, signature: str, contents: Sequence[bytes]) -> Any:
    return model.predict(signature, {"image_bytes": list(contents)})


def _lines(model: Any, page: bytes) -> List[bytes]:
    """The lines that the detector finds, cut out, each as a PNG file."""
    answer = _ask(model, "picture_lines", [page])
    return cropped(accepted(page)[1], answer["quads"][0][: int(answer["count"][0])])


def _posting(url: str, pages: Sequence[bytes]) -> Call:
    """POST /read on a connection that each thread keeps."""
    kept = threading.local()

    def call(number: int) -> None:
        if not hasattr(kept, "connection"):
            kept.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=300)
        kept.connection.request("POST", "/read", pages[number % len(pages)])
        response = kept.connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(content.decode())

    return call


def measured(call: Call, clients: int, seconds: float) -> Run:
    """Each client sends its next request when the last was answered, until the seconds are over."""
    numbers, times, failures = itertools.count(), [], []
    start = time.perf_counter()

    def client() -> None:
        try:
            while time.perf_counter() - start < seconds:
                began = time.perf_counter()
                call(next(numbers))
                times.append(time.perf_counter() - began)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return Run(times, time.perf_counter() - start)


@contextlib.contextmanager
def _gunicorn(arguments: Sequence[str], workers: int) -> Iterator[str]:
    """The address of gateways in `workers` processes, with as many threads as there are clients."""
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(HERE), "--bind", "127.0.0.1:0", "--timeout", "300"]
    command += ["--workers", str(workers), "--threads", str(max(CLIENTS)), "--keep-alive", "60"]
    with tempfile.TemporaryFile() as log:
        call = f"gateway:create_app({', '.join(map(repr, arguments))})"
        process = subprocess.Popen([*command, call], stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ))
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            process.wait()


def _address(process: Any, log: Any) -> str:
    while True:
        log.seek(0)
        said = log.read().decode("utf-8", "replace")
        found = _LISTENING.search(said)
        if found:
            return found.group(1)
        if process.poll() is not None:
            sys.exit(said)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
