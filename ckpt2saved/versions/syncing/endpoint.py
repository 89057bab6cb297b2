"""The health endpoint of `sync`: /healthz, /readyz and /metrics over HTTP, for probes and Prometheus."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Iterator, Optional, Tuple

from ckpt2saved.errors import ServerError
from ckpt2saved.versions.syncing.metrics import CONTENT_TYPE, metrics_text
from ckpt2saved.versions.syncing.state import SyncState

_MOST_BYTES = 8192  # of a request
_MOST_SECONDS = 5.0  # for a request and its answer
_MOST_REQUESTS = 16  # at a time
_POLL = 0.2  # seconds, in which the end is noticed
_PLAIN = "text/plain; charset=utf-8"

Address = Tuple[str, int]


def parse_listen(text: str) -> Address:
    """Parse HOST:PORT; without HOST all addresses of the machine, with port 0 any free port."""
    match = re.match(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*)):([0-9]{1,5})\Z", text)
    if match is None or int(match.group(3)) > 65535:
        raise ValueError(f"{text!r} is no HOST:PORT, as in 127.0.0.1:9090, or :9090 for all addresses")
    return match.group(1) or match.group(2), int(match.group(3))


@contextlib.contextmanager
def listening(address: Address, state: SyncState) -> Iterator[str]:
    """Answer requests in a thread during the block, and yield the URL; raises ServerError if that is not possible."""
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    server = _opened(host, port, state)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL,), name="endpoint", daemon=True)
    thread.start()
    try:
        yield f"http://{shown or '0.0.0.0'}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _opened(host: str, port: int, state: SyncState) -> _Server:
    kind = _Server6 if ":" in host else _Server
    try:
        return kind(host, port, state)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ServerError(
            f"--listen: could not listen on {host}:{port}: {reason}; expected an address of this machine, and a port"
            " that is free"
        ) from error


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    request_queue_size = _MOST_REQUESTS

    def __init__(self, host: str, port: int, state: SyncState) -> None:
        self.state = state
        self._free = threading.BoundedSemaphore(_MOST_REQUESTS)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without the name of the machine, which HTTPServer looks up and which can take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; a request too many is closed."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that closes the connection is of no interest."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    timeout = _MOST_SECONDS  # of each read and write
    error_content_type = _PLAIN
    error_message_format = "%(code)d %(message)s\n"
    _timer: Optional[threading.Timer] = None

    def setup(self) -> None:
        super().setup()
        self.rfile = _Limited(self.rfile)  # type: ignore[assignment]  # of which readline alone is used
        self._timer = threading.Timer(_MOST_SECONDS, self._close)  # of all reads and writes together
        self._timer.daemon = True
        self._timer.start()

    def finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        state = self.server.state  # type: ignore[attr-defined]  # it is a _Server
        path = self.path.partition("?")[0]
        if path == "/healthz":
            is_alive = state.is_alive()
            self._answer(200 if is_alive else 503, "ok\n" if is_alive else "nothing has been done for a while\n")
        elif path == "/readyz":
            lacking = [model.name for model in state.models if not model.has_version]
            text = "".join(f"{name}: no version yet\n" for name in lacking)
            self._answer(503 if lacking else 200, text or "ok\n")
        elif path == "/metrics":
            self._answer(200, metrics_text(state), CONTENT_TYPE)
        else:
            self.send_error(404, "expected /healthz, /readyz or /metrics")

    def _answer(self, code: int, text: str, kind: str = _PLAIN) -> None:
        content = text.encode("utf-8", "backslashreplace")
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def version_string(self) -> str:
        """Return the value of the header Server."""
        return "ckpt2saved"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: probes come every few seconds."""


class _Limited(io.RawIOBase):
    """A stream that ends after _MOST_BYTES."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream
        self._left = _MOST_BYTES

    def readline(self, size: Optional[int] = -1) -> bytes:
        most = self._left if size is None or size < 0 else min(size, self._left)
        line: bytes = self._stream.readline(most)
        self._left -= len(line)
        return line

    def close(self) -> None:
        self._stream.close()
        super().close()
