"""A running server asked through its REST API, by the standard library."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import Any, Dict, Mapping, Optional, Tuple
from urllib.parse import quote

import numpy as np

from ckpt2saved.running.address import HTTPS, Address
from ckpt2saved.running.json_values import from_json, to_json
from ckpt2saved.running.server import (
    OK,
    STATUS_SECONDS,
    NoServing,
    Output,
    Refused,
    Server,
    Unknown,
    Unreachable,
    VersionStatus,
)

_SHOWN = 200  # characters of an answer that is not TF Serving's


class RestServer(Server):
    """TF Serving behind http:// or https://. The environment's proxies are not used: it is nobody's public server."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def statuses(self, model: str, version: Optional[int] = None) -> Tuple[VersionStatus, ...]:
        """GET /v1/models/NAME[/versions/N]."""
        path = _path(model, version)
        code, text = self._ask("GET", path, None, STATUS_SECONDS)
        content = self._content(code, text, path)
        if code == 404:
            raise Unknown(content["error"])
        if code >= 500:
            raise Unreachable("HTTP {}: {}".format(code, content["error"]))
        if code != 200:
            raise Refused("HTTP {}".format(code), content["error"])
        try:
            return tuple(_status(entry) for entry in content["model_version_status"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._garbage(code, text, path) from None

    def predict(
        self,
        model: str,
        version: int,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Tuple[Output, ...],
        timeout: float,
    ) -> Dict[str, np.ndarray]:
        """POST /v1/models/NAME/versions/N:predict, in columns: rows can't carry a SparseTensor's parts."""
        path = _path(model, version) + ":predict"
        body = {"signature_name": signature, "inputs": {key: to_json(value) for key, value in inputs.items()}}
        code, text = self._ask("POST", path, json.dumps(body), timeout)
        content = self._content(code, text, path)
        if code != 200:
            raise Refused("HTTP {}".format(code), content["error"])
        try:
            answered = content["outputs"]
            # Of a single output the server leaves the name away.
            by_key = {outputs[0].key: answered} if len(outputs) == 1 else answered
            return {output.key: from_json(by_key[output.key], output.dtype) for output in outputs}
        except KeyError as error:
            raise Refused("HTTP {}".format(code), "the answer has no output {}".format(error)) from None
        except (TypeError, ValueError) as error:
            raise Refused("HTTP {}".format(code), "the answer can't be read: {}".format(error)) from None

    def _ask(self, method: str, path: str, body: Optional[str], timeout: float) -> Tuple[int, str]:
        address = self.address
        kind = http.client.HTTPSConnection if address.scheme == HTTPS else http.client.HTTPConnection
        connection = kind(address.host, address.port, timeout=timeout)
        try:
            connection.request(method, address.path + path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        except ssl.SSLError as error:
            raise NoServing(
                "{}: no TLS there, or no certificate to trust ({}); one of your own: SSL_CERT_FILE=ca.pem".format(
                    address, error
                )
            ) from error
        except ConnectionRefusedError as error:
            raise Unreachable(
                "connection refused: no server listens there; one that is starting opens its ports only when its first "
                "models are loaded"
            ) from error
        except socket.timeout as error:
            raise Unreachable("no answer within {:g} s".format(timeout)) from error
        except socket.gaierror as error:
            raise Unreachable("there is no host {} ({})".format(address.host, error.strerror)) from error
        except ConnectionError as error:
            raise Unreachable("the connection was closed without an answer; is it the gRPC port?") from error
        except (http.client.BadStatusLine, http.client.LineTooLong) as error:
            raise NoServing("{}: what answers there does not speak HTTP".format(address)) from error
        except http.client.HTTPException as error:
            raise Unreachable("the answer broke off ({})".format(type(error).__name__)) from error
        except OSError as error:
            raise Unreachable(error.strerror or str(error)) from error
        finally:
            connection.close()

    def _content(self, code: int, text: str, path: str) -> Dict[str, Any]:
        """The JSON object of an answer; of an error one with the text `error`."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if code >= 500 and not (isinstance(content, dict) and "error" in content):
            raise Unreachable("HTTP {}, as of a proxy whose server is not up: {}".format(code, _shown(text)))
        if not isinstance(content, dict) or (code != 200 and not isinstance(content.get("error"), str)):
            raise self._garbage(code, text, path)
        return content

    def _garbage(self, code: int, text: str, path: str) -> NoServing:
        return NoServing(
            "{}{}: this is no answer of TF Serving's: HTTP {}, {}".format(self.address, path, code, _shown(text))
        )


def _path(model: str, version: Optional[int]) -> str:
    path = "/v1/models/" + quote(model, safe="")
    return path if version is None else "{}/versions/{}".format(path, version)


def _status(entry: Mapping[str, Any]) -> VersionStatus:
    status = entry.get("status") or {}
    return VersionStatus(
        int(entry["version"]),
        str(entry["state"]),
        str(status.get("error_code", OK)),
        str(status.get("error_message", "")),
    )


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else line[:_SHOWN] + "…") if line else "an empty answer"
