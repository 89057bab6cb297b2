"""Requests to the health endpoint of `sync`, without a network: a pair of sockets."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path
from typing import Any, List

from ckpt2saved.versions.syncing.endpoint import _Handler
from ckpt2saved.versions.syncing.state import ModelState, SyncState

_STATUS = re.compile(rb"HTTP/1\.0 (200|400|404|414|431|501|503|505) [ -~\xa0-\xff]*\Z")
_HEADERS = (b"Server", b"Date", b"Content-Type", b"Content-Length", b"Connection")


class _Server:
    """What the handler knows of its server."""

    state = SyncState((ModelState("crnn", has_version=True, local=7), ModelState('a"b\\c\nd')))


def endpoint_seeds() -> List[bytes]:
    """Requests of probes and of others."""
    host = b" HTTP/1.1\r\nHost: a:9090\r\nConnection: keep-alive\r\n"
    return [
        b"GET /healthz" + host + b"\r\n",
        b"GET /metrics?a=1 HTTP/1.0\r\n\r\n",
        b"GET /readyz\r\n",
        b"GET http://a/metrics"
        + host
        + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"POST /metrics" + host + b"Content-Length: 99999999999999999999\r\n\r\nabc",
        b"GET //a/../healthz HTTP/2.0\r\n" + b"X: y\r\n" * 120 + b"\r\n",
        b"GET /\xff\xfe%00%0d%0aX:y HTTP/1.1\r\nX: " + b"y" * 9000 + b"\r\n b\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x16\x03\x01\x02\x00\x01",
    ]


def ask_endpoint(content: bytes, folder: Path) -> None:
    """Send the bytes, and judge the answer: none, or one response without a header of the request's."""
    client, server = socket.socketpair()
    with client, server:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.sendall(content)
        client.shutdown(socket.SHUT_WR)
        client.settimeout(10)
        handler: Any = _Handler
        handler(server, ("127.0.0.1", 1), _Server())
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)
        _judge(b"".join(iter(lambda: client.recv(1 << 16), b"")))


def _judge(answer: bytes) -> None:
    assert len(answer) < 1 << 16
    if not answer.startswith(b"HTTP/"):  # to a request of HTTP/0.9
        assert all(letter.isprintable() or letter == "\n" for letter in answer.decode("utf-8"))
        return
    head, end, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    assert end and _STATUS.match(status), status
    fields = dict(header.split(b": ", 1) for header in headers)
    assert len(fields) == len(headers) and set(fields) <= set(_HEADERS) and b"\n" not in head.replace(b"\r\n", b"")
    assert int(fields.get(b"Content-Length", len(body))) == len(body)
