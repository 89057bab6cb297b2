"""The server behind an address: spoken to over REST or gRPC, as the address says."""

from __future__ import annotations

from ckpt2saved.client.address import GRPC, Address
from ckpt2saved.client.server import Server


def connect(address: Address) -> Server:
    """The server at an address, not asked anything yet; raises ServerError where what speaks gRPC is not installed."""
    if address.scheme == GRPC:
        from ckpt2saved.client.rpc import GrpcServer

        return GrpcServer(address)
    from ckpt2saved.client.rest import RestServer

    return RestServer(address)
