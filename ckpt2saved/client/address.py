"""Parse addresses of servers and of models: http://host:8501 for REST, grpc://host:8500 for gRPC."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, Union
from urllib.parse import quote, unquote, urlsplit

from ckpt2saved.files.reading import is_url

GRPC, HTTP, HTTPS = "grpc", "http", "https"
_PORTS = {GRPC: 8500, HTTP: 8501, HTTPS: 443}  # defaults of the TF Serving images
_EXPECTED = "expected http://HOST:8501 for REST, https://HOST, or grpc://HOST:8500"
_MODELS = "/v1/models/"  # path of the REST API; the name of a model follows
# What follows: the name, a version, and the method that a client of the REST API would call.
_OF_A_MODEL = re.compile(r"(?P<model>[^/:?#@]+)(/versions/(?P<version>[0-9]{1,19}))?(:predict|/metadata|/)?\Z")
_EXPECTED_MODEL = f"expected http://HOST:8501{_MODELS}NAME, with /versions/N for one version"
_LARGEST_VERSION = 2**63 - 1


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


@dataclass(frozen=True)
class ModelAddress:
    """A model on a server, and one of its versions, or None for the one that the server chooses."""

    server: Address
    model: str  # "" if the address names none
    version: Optional[int] = None

    def __str__(self) -> str:
        return f"{self.server}{model_path(self.model, self.version)}" if self.model else str(self.server)

    def named(self, model: str) -> ModelAddress:
        """The address of the model with this name; raises ValueError if it names another, or none of both does."""
        if not (model or self.model):
            raise ValueError(
                f"{self}: a server may have several models; pass {self}{_MODELS}NAME, or the name of the model"
                " (--model-name)"
            )
        if self.model and model not in ("", self.model):
            raise ValueError(
                f"{self}: this address is of the model {self.model}, and the name that is given is {model}"
            )
        return replace(self, model=model or self.model)


def model_path(model: str, version: Optional[int] = None) -> str:
    """The path of a model, or of one version, in the REST API."""
    path = _MODELS + quote(model, safe="", errors="surrogateescape")
    return path if version is None else f"{path}/versions/{version}"


def parse_model_address(text: str) -> ModelAddress:
    """Parse http://HOST:8501/v1/models/NAME[/versions/N], also with grpc://, or the address of a server alone.

    Raises ValueError with what was found and what was expected, without secrets.
    """
    before, models, after = text.strip().partition(_MODELS)
    server = parse_address(before)
    if not models:
        return ModelAddress(server, "")
    match = _OF_A_MODEL.match(after)
    version = match and match.group("version")
    if not match or (version and int(version) > _LARGEST_VERSION):
        raise ValueError(f"{_without_secrets(text)!r} is not the address of a model; {_EXPECTED_MODEL}")
    return ModelAddress(server, unquote(match.group("model")), int(version) if version else None)


def parse_model_place(text: str) -> Union[Path, ModelAddress]:
    """Parse a directory, or the address of a model on a server; raises ValueError."""
    if not text.strip():
        raise ValueError(f"nothing is given; expected a directory, or {_EXPECTED_MODEL.partition(' ')[2]}")
    return parse_model_address(text) if is_url(text) else Path(text).expanduser()


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
