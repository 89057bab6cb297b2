"""Where a running server listens: http://host:8501 for REST, grpc://host:8500 for gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

GRPC, HTTP, HTTPS = "grpc", "http", "https"
_PORTS = {GRPC: 8500, HTTP: 8501, HTTPS: 443}  # those of TF Serving's images
_EXPECTED = "expected http://HOST:8501 for REST, https://HOST, or grpc://HOST:8500"


@dataclass(frozen=True)
class Address:
    """A server's scheme, host and port, and the path under which a proxy shows it."""

    scheme: str
    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        host = "[{}]".format(self.host) if ":" in self.host else self.host
        return "{}://{}:{}{}".format(self.scheme, host, self.port, self.path)


def parse_address(text: str) -> Address:
    """The address that a user gives; raises ValueError that says what is wrong and what was expected."""
    parts = urlsplit(text.strip())
    if "://" not in text or parts.scheme not in _PORTS:
        raise ValueError("{!r} is no server's address; {}".format(text, _EXPECTED))
    try:
        port = parts.port
    except ValueError:
        raise ValueError("{!r}: its port is no number from 1 to 65535; {}".format(text, _EXPECTED)) from None
    if not parts.hostname or port == 0:
        what = "there is no host in it" if not parts.hostname else "0 is no port"
        raise ValueError("{!r}: {}; {}".format(text, what, _EXPECTED))
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("{!r}: a name, a password or a query can't be part of it; {}".format(text, _EXPECTED))
    path = parts.path.rstrip("/")
    if path == "/v1" or path.startswith("/v1/"):
        raise ValueError(
            "{!r}: it ends in a path of the REST API; pass {}://{} alone, and the model with --model-name".format(
                text, parts.scheme, parts.netloc
            )
        )
    if path and parts.scheme == GRPC:
        raise ValueError("{!r}: gRPC has no path; {}".format(text, _EXPECTED))
    return Address(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)
