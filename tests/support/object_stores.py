"""Object stores of tests: an S3 server in this process, and fsspec's objects in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import uuid
from pathlib import Path

import pytest
from werkzeug import serving

from ckpt2saved.versions.object_stores.store import open_store


@contextlib.contextmanager
def s3_server():
    """An S3 server with the bucket `models`, which the environment names for this process and its children."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = moto.DomainDispatcherApplication(moto.create_backend_app)
    # ThreadedMotoServer of moto 4 does not say which port it has.
    server = serving.make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        import s3fs

        if sys.version_info < (3, 8):
            patch.setattr(s3fs.S3FileSystem, "close_session", staticmethod(_close))
        s3fs.S3FileSystem(client_kwargs={"endpoint_url": endpoint}, skip_instance_cache=True).makedirs(
            "models", exist_ok=True
        )
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _close(loop, client):
    """Close the connections of a file system that is garbage, without the wait of the last s3fs for Python 3.7.

    Where the garbage is collected in the thread of the loop, the wait is for that thread itself, and ends after seconds.
    """
    asyncio.run_coroutine_threadsafe(client.__aexit__(None, None, None), loop)


def memory_url():
    """A base URL in the memory of this process, with nothing below it."""
    pytest.importorskip("fsspec")
    return f"memory://{uuid.uuid4().hex}/crnn"


def s3_url():
    """A base URL in the server of s3_server(), with nothing below it."""
    return f"s3://models/{uuid.uuid4().hex}"


def is_exclusive_moto():
    """Whether the server honours If-None-Match; releases before 5 ignore it."""
    import moto

    return int(moto.__version__.split(".")[0]) >= 5


def upload_directory(url, directory, name):
    """Upload a version as another tool would."""
    store = open_store(url)
    for parent, _, files in os.walk(str(directory)):
        for file in files:
            path = Path(parent) / file
            store.upload(path, f"{name}/{path.relative_to(directory).as_posix()}")
