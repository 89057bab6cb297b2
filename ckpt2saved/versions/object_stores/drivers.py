"""What differs between the drivers of object stores: package, arguments, create-if-absent, copying."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from typing import Any, Dict, Optional

from ckpt2saved.versions.object_stores.failures import status_of

# 409: another request for the same key is in progress.
_TAKEN = (409, 412)
_COPY_POLL = 0.5  # seconds


class Driver:
    """A kind of object store, as fsspec reaches it; `files` is its file system, and paths are those of fsspec."""

    extra: Optional[str] = None  # of this package, with which the driver is installed
    creates_exclusively = False

    def arguments(self) -> Dict[str, Any]:
        """Return arguments of the file system."""
        return {}

    def create(self, files: Any, path: str, data: bytes) -> None:
        """Create an object; raises FileExistsError if it exists. Not atomic unless `creates_exclusively`."""
        if files.exists(path):
            raise FileExistsError(path)
        files.pipe_file(path, data)

    def copy(self, files: Any, source: str, target: str) -> None:
        """Copy an object within the store."""
        files.cp_file(source, target)


class _S3(Driver):
    extra = "s3"
    creates_exclusively = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._creating: Any = None  # a file system all of whose uploads are conditional

    def arguments(self) -> Dict[str, Any]:
        # botocore before 1.31 does not know these variables.
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return {"client_kwargs": {"endpoint_url": endpoint}} if endpoint else {}

    def create(self, files: Any, path: str, data: bytes) -> None:
        bucket, _, key = path.partition("/")
        try:
            self._conditional(files).call_s3("put_object", Bucket=bucket, Key=key, Body=data)
        except Exception as error:
            if status_of(error) in _TAKEN:
                raise FileExistsError(path) from error
            raise

    def _conditional(self, files: Any) -> Any:
        """Return a file system whose uploads have the header; botocore before 1.35 has no parameter for it."""
        with self._lock:
            if self._creating is None:
                creating = type(files)(**files.storage_options, skip_instance_cache=True)
                creating.connect()
                creating.s3.meta.events.register("before-call.s3.PutObject", _if_none_match)
                self._creating = creating
            return self._creating


def _if_none_match(params: Dict[str, Any], **_: Any) -> None:
    params["headers"]["If-None-Match"] = "*"


class _Gcs(Driver):
    extra = "gcs"
    creates_exclusively = True

    def arguments(self) -> Dict[str, Any]:
        # gcsfs logs a traceback of each failed request, also of a claim that is taken; messages say what fails.
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
        return {}

    def create(self, files: Any, path: str, data: bytes) -> None:
        from urllib.parse import quote

        bucket, _, key = path.partition("/")
        # The kind of upload that gcsfs makes of small objects; some emulators look at the condition in no other.
        body = (
            b"--==0==\nContent-Type: application/json; charset=UTF-8\n\n"
            + json.dumps({"name": key}).encode("utf-8")
            + b"\n--==0==\nContent-Type: application/octet-stream\n\n"
            + data
            + b"\n--==0==--"
        )
        try:
            files.call(
                "POST",
                f"{files._location}/upload/storage/v1/b/{quote(bucket)}/o",
                uploadType="multipart",
                ifGenerationMatch="0",
                headers={"Content-Type": 'multipart/related; boundary="==0=="'},
                data=body,
                json_out=True,
            )
        except Exception as error:
            if status_of(error) in _TAKEN:
                raise FileExistsError(path) from error
            raise


class _Azure(Driver):
    extra = "azure"
    creates_exclusively = True

    def create(self, files: Any, path: str, data: bytes) -> None:
        try:
            files.pipe_file(path, data, overwrite=False)  # sends If-None-Match: *
        except Exception as error:
            if status_of(error) in _TAKEN:
                raise FileExistsError(path) from error
            raise

    def copy(self, files: Any, source: str, target: str) -> None:
        from fsspec.asyn import sync

        files.cp_file(source, target)
        while sync(files.loop, self._is_pending, files, target):
            time.sleep(_COPY_POLL)

    @staticmethod
    async def _is_pending(files: Any, path: str) -> bool:
        """Return whether the server is still copying."""
        container, _, blob = path.partition("/")
        async with files.service_client.get_blob_client(container=container, blob=blob) as client:
            properties = await client.get_blob_properties()
        return bool(properties.copy.status == "pending")


class _Memory(Driver):
    """Objects of this process, which every instance of the file system shares."""

    creates_exclusively = True
    _lock = threading.Lock()

    def create(self, files: Any, path: str, data: bytes) -> None:
        with self._lock:
            super().create(files, path, data)


_DRIVERS = {
    "abfs": _Azure,
    "abfss": _Azure,
    "az": _Azure,
    "gcs": _Gcs,
    "gs": _Gcs,
    "memory": _Memory,
    "s3": _S3,
    "s3a": _S3,
}


def driver_of(scheme: str) -> Driver:
    """Return what is special of the store with this scheme."""
    return _DRIVERS.get(scheme, Driver)()
