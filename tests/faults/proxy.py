"""An HTTP proxy in front of an object store: a request, counted from 1, fails, comes late, or ends its client."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Tuple

_ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>injected</Message></Error>"
_STATUS = {"500": (500, b"InternalError"), "503": (503, b"SlowDown")}
_HOP = ("connection", "transfer-encoding", "keep-alive", "content-length")

# What happens to a request: an answer with an error; the connection ends before the store has the request, or after
# the store has answered; half of the answer comes; the answer comes late.
KINDS = ("500", "503", "refused", "lost", "cut", "slow")


@dataclass(frozen=True)
class Plan:
    """What happens to which request."""

    kind: str = ""  # of KINDS; "": nothing
    at: int = 0
    persists: bool = False
    call: Optional[Callable[[], None]] = None  # instead, before the request is passed on, or after it with kind "lost"
    seconds: float = 1.0  # of "slow"

    def hits(self, number: int) -> bool:
        return bool(self.at) and (number == self.at or (self.persists and number > self.at))


NOTHING = Plan()


class Proxy:
    """The proxy; `url` is its address. `plan` holds for the requests from the last reset() on."""

    def __init__(self, url: str, upstream: str) -> None:
        self.url = url
        self.upstream = upstream
        self.stale = False  # listings are repeated as they were when this was set
        self._lock = threading.Lock()
        self._plan, self._count = NOTHING, 0
        self._listings: Dict[str, Tuple[int, List[Tuple[str, str]], bytes]] = {}

    def reset(self, plan: Plan = NOTHING) -> None:
        with self._lock:
            self._plan, self._count = plan, 0

    @property
    def count(self) -> int:
        return self._count

    def next(self) -> Plan:
        """Return the plan for the next request: that of reset(), or one that does nothing."""
        with self._lock:
            self._count += 1
            return self._plan if self._plan.hits(self._count) else NOTHING

    def listing(self, path: str) -> Optional[Tuple[int, List[Tuple[str, str]], bytes]]:
        return self._listings.get(path) if self.stale else None

    def remember(self, path: str, answer: Tuple[int, List[Tuple[str, str]], bytes]) -> None:
        if not self.stale and "list-type" in path:
            self._listings[path] = answer


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *arguments: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def _pass_on(self) -> None:
        plan = self.proxy.next()
        body = self._body()
        if plan.call and plan.kind != "lost":
            plan.call()
        if plan.kind == "refused":
            self._end()
            return
        if plan.kind in _STATUS:
            status, code = _STATUS[plan.kind]
            self._answer(status, [("Content-Type", "application/xml")], _ERROR % code)
            return
        answer = self.proxy.listing(self.path) or self._asked(body)
        self.proxy.remember(self.path, answer)
        if plan.call and plan.kind == "lost":
            plan.call()
        if plan.kind == "lost":
            self._end()
            return
        if plan.kind == "slow":
            time.sleep(plan.seconds)
        self._answer(*answer, cut=plan.kind == "cut")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
            if not size:
                return b"".join(pieces)

    def _asked(self, body: bytes) -> Tuple[int, List[Tuple[str, str]], bytes]:
        address = urllib.parse.urlsplit(self.proxy.upstream)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in (*_HOP, "expect")}
            headers["Content-Length"] = str(len(body))
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            if self.command == "HEAD":
                kept.append(("Content-Length", answer.getheader("Content-Length") or "0"))
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: List[Tuple[str, str]], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._end()

    def _end(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        pass  # a client that was killed


@contextlib.contextmanager
def proxied(upstream: str) -> Iterator[Proxy]:
    """Run a proxy in front of the address `upstream`."""
    handler = type("_Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}", upstream)
    handler.proxy = proxy  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
