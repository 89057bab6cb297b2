"""Parse server addresses: http://host:8501 for REST, grpc://host:8500 for gRPC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

GRPC, HTTP, HTTPS = "grpc", "http", "https"
_PORTS = {GRPC: 8500, HTTP: 8501, HTTPS: 443}  # defaults of the TF Serving images
_EXPECTED = "expected http://HOST:8501 for REST, https://HOST, or grpc://HOST:8500"


@dataclass(frozen=True)
class Address:
    """Scheme, host and port of a server, and the path prefix if it is behind a proxy."""

    scheme: str
    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse_address(text: str) -> Address:
    """Parse the address that a user gives; raises ValueError with what was found and what was expected.

    A user name, password or query is refused, and left out of the message, because messages end up in logs.
    """
    shown = repr(_without_secrets(text))
    try:
        parts = urlsplit(text.strip())
    except ValueError:  # brackets without an IPv6 address
        raise ValueError(f"{shown} is not a server address; {_EXPECTED}") from None
    if "://" not in text or parts.scheme not in _PORTS:
        raise ValueError(f"{shown} is not a server address; {_EXPECTED}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{shown}: a name, a password or a query can't be part of it; {_EXPECTED}")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"{shown}: its port is no number from 1 to 65535; {_EXPECTED}") from None
    if not parts.hostname or port == 0:
        what = "there is no host in it" if not parts.hostname else "0 is no port"
        raise ValueError(f"{shown}: {what}; {_EXPECTED}")
    if not all(" " < character <= "~" for character in parts.hostname + parts.path):
        raise ValueError(f"{shown}: it holds characters that are not printable ASCII; {_EXPECTED}")
    path = parts.path.rstrip("/")
    if path == "/v1" or path.startswith("/v1/"):
        raise ValueError(
            f"{shown}: it ends in a path of the REST API; pass {parts.scheme}://{parts.netloc} alone, and the model"
            " with --model-name"
        )
    if path and parts.scheme == GRPC:
        raise ValueError(f"{shown}: gRPC has no path; {_EXPECTED}")
    return Address(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)


def _without_secrets(text: str) -> str:
    """The address without credentials and tokens, for messages."""
    before, at, host = text.rpartition("@")
    scheme, separator, _ = before.partition("://")
    return re.sub(r"([?#]).+", r"\1***", f"{scheme + separator if separator else ''}***@{host}" if at else text)
