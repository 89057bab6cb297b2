"""Servers that answer what no TF Serving answers."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
import time

OK = b"HTTP/1.1 200 OK\r\n"


@contextlib.contextmanager
def answering(*pieces, forever=b"", pause=0.0, resets=False):
    """The address of a server that says the pieces to whoever asks, then `forever` again and again.

    At the end it closes the connection, or resets it.
    """

    def answer(connection):
        with contextlib.suppress(OSError), connection:
            receive_request(connection)
            for piece in pieces:
                connection.sendall(piece)
            while forever:
                connection.sendall(forever)
                time.sleep(pause)
            if resets:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(5)
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def receive_request(connection):
    """Read all of a request: closing a socket with unread bytes resets the connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(1 << 16) or b"\r\n\r\n"
    head, rest = received.split(b"\r\n\r\n", 1)
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    missing = (int(length.group(1)) if length else 0) - len(rest)
    while missing > 0:
        piece = connection.recv(1 << 16)
        missing -= len(piece) or missing


def body(content):
    """An answer with this content, as JSON unless it is bytes."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return OK + b"Content-Length: %d\r\n\r\n" % len(content) + content


def statuses(version="1", state="AVAILABLE", **more):
    return {"model_version_status": [dict({"version": version, "state": state}, **more)]}
