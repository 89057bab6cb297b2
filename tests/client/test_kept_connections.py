"""Requests that are encoded once and sent often, over connections that stay open."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from ckpt2saved.client.address import parse_address
from ckpt2saved.client.connection import connect
from ckpt2saved.client.server import Output, PredictCall, Refused
from tests.support.model_server import serving_grpc, serving_rest
from tests.support.saved_models import write_version


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model of one version that doubles its input. Not to be written to."""
    base = tmp_path_factory.mktemp("served") / "m"
    base.mkdir()
    write_version(base / "1", lambda x: {"y": x * 2.0}, "float32", (None, 2))
    return base


def call_of(value, signature="serving_default"):
    return PredictCall(
        model="m",
        version=None,
        signature=signature,
        inputs={"x": np.full((1, 2), value, np.float32)},
        outputs=(Output("y", np.dtype(np.float32)),),
    )


def asked(server, value):
    call = call_of(value)
    return server.decode(server.send(server.encode(call), 10), call)["y"].tolist()


def test_one_connection_serves_many_requests(base):
    with serving_rest(base, "m") as model:
        server = connect(parse_address(model.url), keeps_connections=True)
        assert [asked(server, value) for value in (1, 2, 3)] == [[[2, 2]], [[4, 4]], [[6, 6]]]
        with pytest.raises(Refused, match="signature"):
            server.predict(call_of(1, "none"), 10)
        assert server.statuses("m")[0].version == 1
        assert len(model.connections) == 1
        server.close()
        assert asked(server, 4) == [[8, 8]]
        assert len(model.connections) == 2
        server.close()


def test_a_connection_of_its_own_for_each_call_unless_told_otherwise(base):
    with serving_rest(base, "m") as model:
        server = connect(parse_address(model.url))
        assert [asked(server, value) for value in (1, 2)] == [[[2, 2]], [[4, 4]]]
        assert len(model.connections) == 2


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(base):
    with serving_rest(base, "m") as model:
        server = connect(parse_address(model.url), keeps_connections=True)
        assert asked(server, 1) == [[2, 2]]
        model.connections[0].shutdown(socket.SHUT_RDWR)
        assert asked(server, 2) == [[4, 4]]
        assert len(model.connections) == 2
        server.close()


def test_one_channel_of_grpc_serves_many_requests(base):
    pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    with serving_grpc(base, "m") as model:
        server = connect(parse_address(model.url), keeps_connections=True)
        assert [asked(server, value) for value in (1, 2, 3)] == [[[2, 2]], [[4, 4]], [[6, 6]]]
        server.close()
        with pytest.raises(ValueError, match="closed"):
            asked(server, 4)
