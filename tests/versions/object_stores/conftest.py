"""What the tests of object stores share."""

from __future__ import annotations

import pytest

from tests.support.object_stores import memory_url, s3_server, s3_url


@pytest.fixture(scope="package")
def server():
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(params=["memory", "s3"])
def url(request):
    """A base URL with nothing below it, in each kind of store."""
    if request.param == "memory":
        return memory_url()
    request.getfixturevalue("server")
    return s3_url()
