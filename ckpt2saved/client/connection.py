"""Choose the REST or the gRPC client for an address."""

from __future__ import annotations

from ckpt2saved.client.address import GRPC, Address
from ckpt2saved.client.server import Server


def connect(address: Address) -> Server:
    """The client for an address; opens no connection. Raises ServerError if grpcio is needed and not installed."""
    if address.scheme == GRPC:
        from ckpt2saved.client.rpc import GrpcServer

        return GrpcServer(address)
    from ckpt2saved.client.rest import RestServer

    return RestServer(address)
