"""One HTTP request and its response, with one deadline for both and a size limit for the response."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

from ckpt2saved.client.address import HTTPS, Address

_HEAD_BYTES = 1 << 18  # limit of all status lines and headers, including those of `100 Continue`
_PIECE = 1 << 16
_LONGEST_SECONDS = 1e6  # below the maximum timeout of sockets


class TooLarge(Exception):
    """The response is larger than the limit; the rest was not read."""

    def __init__(self, size: int, is_head: bool = False) -> None:
        part = "'s head" if is_head else ""
        super().__init__(f"the answer{part} is larger than the {size >> 10} KB that are read")
        self.is_head = is_head


@dataclass(frozen=True)
class Limits:
    """The limits of one exchange."""

    seconds: float  # for connecting, TLS, sending and receiving together
    size: int  # bytes of the response body


class Connections:
    """Connections to one server that stay open between exchanges; threads may share it."""

    def __init__(self) -> None:
        self._idle: List[socket.socket] = []

    def take(self) -> Optional[socket.socket]:
        """An idle connection, which the caller alone has now; None if there is none."""
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def give(self, sock: socket.socket) -> None:
        """Take back a connection whose response was read to its end."""
        self._idle.append(sock)

    def close(self) -> None:
        """Close the idle connections."""
        while True:
            sock = self.take()
            if sock is None:
                return
            sock.close()


@dataclass(frozen=True)
class Message:
    """An HTTP request."""

    method: str
    path: str
    body: Optional[bytes] = None


def exchange(
    address: Address, message: Message, limits: Limits, connections: Optional[Connections] = None
) -> Tuple[int, bytes]:
    """Send a request; returns status code and body. Redirects are not followed, and proxies are not used.

    Without `connections`, the connection is closed after it. An idle one that the server has closed meanwhile is
    replaced by a new one.

    Raises TooLarge, socket.timeout after the deadline, and the errors of socket, ssl and http.client. A ConnectionError
    is one before the header of the response; within its body it is an http.client.HTTPException.
    """
    deadline = _Deadline(min(limits.seconds, _LONGEST_SECONDS))
    idle = None if connections is None else connections.take()
    if idle is not None:
        with contextlib.suppress(ConnectionError):
            return _exchanged(address, _Wire(idle, deadline), message, limits, connections)
    return _exchanged(address, _Wire(_connected(address, deadline), deadline), message, limits, connections)


def _exchanged(
    address: Address, wire: _Wire, message: Message, limits: Limits, connections: Optional[Connections]
) -> Tuple[int, bytes]:
    connection = http.client.HTTPConnection(address.host, address.port)
    connection.sock = wire
    stays_open = False
    try:
        headers = {"Content-Type": "application/json"} if message.body else {}
        connection.request(message.method, message.path, message.body, headers)
        # Python 3.13 complains on stderr of a response that is collected without having been closed or read to its end.
        with contextlib.closing(connection.getresponse()) as answer:
            wire.received.allow(limits.size)
            found = answer.status, _body(answer, limits.size)
            stays_open = connections is not None and not answer.will_close
            return found
    finally:
        if connections is not None and stays_open:
            connections.give(wire.sock)
        else:
            wire.sock.close()


def _body(answer: http.client.HTTPResponse, size: int) -> bytes:
    if answer.length is not None and answer.length > size:
        raise TooLarge(size)
    content = io.BytesIO()
    while True:
        try:
            piece = answer.read(_PIECE)
        except ConnectionError as error:
            received = f"{content.tell()} bytes of the body"
            raise http.client.HTTPException(f"{error.strerror or error} after {received}") from error
        except ValueError as error:  # http.client takes -5 for the size of a chunk, and fails to read so many bytes
            raise http.client.HTTPException(f"a chunk of the body has a size that none can have ({error})") from error
        if not piece:
            break
        content.write(piece)
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
    return content.getvalue()


class _Deadline:
    """The end time of an exchange."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the deadline; raises socket.timeout after it."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        return left


class _Received(io.RawIOBase):
    """The received bytes of a socket, with a deadline and a size limit."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self.sock = sock
        self.deadline = deadline
        self.left = _HEAD_BYTES
        self.error = TooLarge(_HEAD_BYTES, is_head=True)

    def allow(self, size: int) -> None:
        """Set the limit for the body, after the header was received."""
        self.left, self.error = size + _HEAD_BYTES, TooLarge(size)  # chunks of a body have headers too

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.sock.settimeout(self.deadline.left())
        count = self.sock.recv_into(buffer)
        self.left -= count
        if self.left < 0:
            raise self.error
        return count


class _Wire:
    """A connected socket for http.client, with a deadline."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self.sock = sock
        self.deadline = deadline
        self.received = _Received(sock, deadline)

    def sendall(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            self.sock.settimeout(self.deadline.left())
            rest = rest[self.sock.send(rest[:_PIECE]) :]

    def makefile(self, *how: Any, **more: Any) -> Any:
        return io.BufferedReader(self.received)

    def close(self) -> None:
        """Do nothing: http.client closes the socket before the response is read."""


def _connected(address: Address, deadline: _Deadline) -> socket.socket:
    found = _resolved(address, deadline)
    for number, (family, kind, protocol, _, place) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(
                deadline.left() / (len(found) - number)
            )  # leave time for the other addresses if the first does not respond
            sock.connect(place)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.scheme == HTTPS:
                sock.settimeout(deadline.left())
                return ssl.create_default_context().wrap_socket(sock, server_hostname=address.host)
            return sock
        except ssl.SSLError:
            sock.close()
            raise
        except OSError:
            sock.close()
            if number == len(found) - 1:
                raise
    raise socket.gaierror(socket.EAI_NONAME, "no address")


def _resolved(address: Address, deadline: _Deadline) -> List[Any]:
    """The addresses of the host. Resolved in a thread, because getaddrinfo has no timeout."""
    addresses: List[Any] = []
    failures: List[Exception] = []

    def resolve() -> None:
        try:
            addresses.extend(socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
            failures.append(error)

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(deadline.left())
    for failure in failures:
        if isinstance(failure, UnicodeError):
            raise socket.gaierror(socket.EAI_NONAME, "no host can be called so") from failure
        raise failure
    if thread.is_alive():
        raise socket.timeout("timed out")
    return addresses
