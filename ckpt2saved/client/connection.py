"""Choose the REST or the gRPC client for an address."""

from __future__ import annotations

from typing import Optional, Union

from ckpt2saved.client.address import GRPC, Address, parse_address
from ckpt2saved.client.server import RemoteServer
from ckpt2saved.errors import UsageError

ServerAddress = Union[str, Address]  # http://host:8501 or grpc://host:8500


def address_of(given: Optional[ServerAddress], option: str) -> Optional[Address]:
    """The address that `option` gives; raises UsageError."""
    if not isinstance(given, str):
        return given
    try:
        return parse_address(given)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def server_at(given: Optional[ServerAddress], option: str) -> Optional[RemoteServer]:
    """As connect, for the address that `option` gives; None without one."""
    address = address_of(given, option)
    return None if address is None else connect(address)


def connect(address: Address, *, keeps_connections: bool = False) -> RemoteServer:
    """The client for an address; opens no connection. Raises ServerError if grpcio is needed and not installed.

    Each call has a connection of its own, unless `keeps_connections`: then they stay open until close().
    """
    if address.scheme == GRPC:
        from ckpt2saved.client.rpc import GrpcServer

        return GrpcServer(address, keeps_connections)
    from ckpt2saved.client.rest import RestServer

    return RestServer(address, keeps_connections)
