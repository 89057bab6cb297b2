"""Servers that answer what no TF Serving answers."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

OK = b"HTTP/1.1 200 OK\r\n"


@contextlib.contextmanager
def answering(*pieces, forever=b"", pause=0.0):
    """The address of a server that says the pieces to whoever asks, then `forever` again and again."""

    def answer(connection):
        with contextlib.suppress(OSError), connection:
            connection.recv(1 << 16)
            for piece in pieces:
                connection.sendall(piece)
            while forever:
                connection.sendall(forever)
                time.sleep(pause)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(5)
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def body(content):
    """An answer with this content, as JSON unless it is bytes."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return OK + b"Content-Length: %d\r\n\r\n" % len(content) + content


def statuses(version="1", state="AVAILABLE", **more):
    return {"model_version_status": [dict({"version": version, "state": state}, **more)]}
