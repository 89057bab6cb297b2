"""A client of TF Serving's REST API, based on the standard library."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from ckpt2saved.client.address import Address, model_path
from ckpt2saved.client.exchange import Connections, Limits, Message, TooLarge, exchange
from ckpt2saved.client.json_values import from_json, to_json
from ckpt2saved.client.metadata import metadata_from_json
from ckpt2saved.client.server import (
    OK,
    STATUS_SECONDS,
    EncodedCall,
    Metadata,
    NoServing,
    PredictCall,
    Refused,
    RemoteServer,
    TimedOut,
    Unknown,
    Unreachable,
    VersionStatus,
    check_versions,
    of_version,
)
from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.files.json_text import TooMuchMemory, read_json

_PREDICT = ":predict"
_SHOWN = 200  # characters to quote of an unexpected response
# Limits of a response in bytes: about 50,000 version states; five million numbers of float32.
_STATUS_BYTES = 8 << 20
_PREDICT_BYTES = 64 << 20
_MOST_MEMORY = 512 << 20  # of a response once it is parsed; such numbers take 300 MB
_LARGEST_VERSION = 2**63 - 1


class RestServer(RemoteServer):
    """TF Serving at http:// or https://. Proxies of the environment are not used, as the server is not a public one."""

    def __init__(self, address: Address, keeps_connections: bool = False) -> None:
        self.address = address
        self._connections = Connections() if keeps_connections else None

    def statuses(
        self, model: str, version: Optional[int] = None, timeout: float = STATUS_SECONDS
    ) -> Tuple[VersionStatus, ...]:
        """GET /v1/models/NAME[/versions/N]."""
        path = model_path(model, version)
        code, text, content = self._get(path, Limits(timeout, _STATUS_BYTES))
        try:
            found = tuple(_status(entry) for entry in content["model_version_status"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._garbage(code, text, path) from None
        return of_version(found, version, self.address)

    def metadata(self, model: str, version: Optional[int] = None, timeout: float = STATUS_SECONDS) -> Metadata:
        """GET /v1/models/NAME[/versions/N]/metadata."""
        path = model_path(model, version) + "/metadata"
        code, text, content = self._get(path, Limits(timeout, _STATUS_BYTES))
        try:
            found = metadata_from_json(content)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._garbage(code, text, path) from None
        check_versions((found.version,), version, self.address)
        return found

    def encode(self, call: PredictCall) -> EncodedCall:
        """POST /v1/models/NAME/versions/N:predict in columnar format, which can hold the parts of a SparseTensor."""
        inputs = {key: to_json(value) for key, value in call.inputs.items()}
        body = {"signature_name": call.signature, "inputs": inputs}
        return EncodedCall(_predict_path(call), json.dumps(body).encode("ascii"))

    def send(self, encoded: EncodedCall, timeout: float) -> bytes:
        code, answer = self._ask("POST", encoded.path, encoded.body, Limits(timeout, _PREDICT_BYTES))
        if code != 200:
            raise Refused(f"HTTP {code}", self._content(code, _text(answer), encoded.path)["error"])
        return answer

    def decode(self, answer: bytes, call: PredictCall) -> Dict[str, np.ndarray]:
        code = 200
        content = self._content(code, _text(answer), _predict_path(call))
        try:
            answered = content["outputs"]
            # The server omits the key of a single output.
            by_key = {call.outputs[0].key: answered} if len(call.outputs) == 1 else answered
            if not isinstance(by_key, dict):
                raise ValueError("its outputs have no names")
            return {output.key: from_json(by_key[output.key], output.dtype) for output in call.outputs}
        except KeyError as error:
            raise Refused(f"HTTP {code}", f"the answer has no output {error}") from None
        except (TypeError, ValueError) as error:
            raise Refused(f"HTTP {code}", f"the answer can't be read: {error}") from None

    def close(self) -> None:
        if self._connections is not None:
            self._connections.close()

    def _get(self, path: str, limits: Limits) -> Tuple[int, str, Dict[str, Any]]:
        """Status code, text and content of a successful response; raises Unknown, Refused or Unreachable otherwise."""
        code, answer = self._ask("GET", path, None, limits)
        text = _text(answer)
        content = self._content(code, text, path)
        if code == 404:
            raise Unknown(content["error"])
        if code >= 500:
            raise Unreachable(f"HTTP {code}: {content['error']}", may_repeat=code == 503)
        if code != 200:
            raise Refused(f"HTTP {code}", content["error"])
        return code, text, content

    def _ask(self, method: str, path: str, body: Optional[bytes], limits: Limits) -> Tuple[int, bytes]:
        address = self.address
        try:
            return exchange(address, Message(method, address.path + path, body), limits, self._connections)
        except TooLarge as error:
            raise NoServing(f"{address}{path}: {error}{'' if error.is_head else _remedy(path)}") from error
        except ssl.SSLError as error:
            raise NoServing(
                f"{address}: no TLS there, or no certificate to trust ({error}); one of your own: SSL_CERT_FILE=ca.pem"
            ) from error
        except ConnectionRefusedError as error:
            raise Unreachable(
                "connection refused: no server listens there; one that is starting opens its ports only when its first "
                "models are loaded",
                may_repeat=True,
            ) from error
        except socket.timeout as error:
            raise TimedOut(f"no response within {limits.seconds:.3g} s") from error
        except socket.gaierror as error:
            raise Unreachable(f"there is no host {address.host} ({error.strerror})") from error
        except ConnectionError as error:
            raise Unreachable("the connection was closed without a response; is it the gRPC port?") from error
        except (http.client.BadStatusLine, http.client.LineTooLong) as error:
            raise NoServing(f"{address}: the server there does not speak HTTP") from error
        except http.client.HTTPException as error:
            raise Unreachable(f"the answer broke off ({one_line(str(error), _SHOWN)})") from error
        except OSError as error:
            raise Unreachable(error.strerror or str(error)) from error

    def _content(self, code: int, text: str, path: str) -> Dict[str, Any]:
        """The JSON object of a response; for an error, an object with the text `error`."""
        try:
            content = _parsed(text)
        except TooMuchMemory as error:
            raise NoServing(f"{self.address}{path}: the answer can't be read: {error}{_remedy(path)}") from error
        if code >= 500 and not (isinstance(content, dict) and isinstance(content.get("error"), str)):
            raise Unreachable(
                f"HTTP {code}, as from a proxy whose server is down: {_shown(text)}", may_repeat=code == 503
            )
        if not isinstance(content, dict) or (code != 200 and not isinstance(content.get("error"), str)):
            raise self._garbage(code, text, path)
        return content if code == 200 else {"error": one_line(content["error"])}

    def _garbage(self, code: int, text: str, path: str) -> NoServing:
        what = f"{code}, and redirects are not followed" if 300 <= code < 400 else code
        return NoServing(f"{self.address}{path}: this is not a response of TF Serving: HTTP {what}, {_shown(text)}")


def _predict_path(call: PredictCall) -> str:
    return model_path(call.model, call.version) + _PREDICT


def _remedy(path: str) -> str:
    """Return what to do about an answer that is too large, after what was found."""
    return "; ask for fewer rows at a time, or over gRPC" if path.endswith(_PREDICT) else ""


def _text(answer: bytes) -> str:
    return answer.decode("utf-8", "replace")


def _parsed(text: str) -> Any:
    """Parse JSON; None if it is invalid. Raises TooMuchMemory."""
    try:
        return read_json(text, _MOST_MEMORY)
    except TooMuchMemory:
        raise
    except ValueError:
        return None


def _status(entry: Mapping[str, Any]) -> VersionStatus:
    """Parse the state of a version; raises ValueError, KeyError or AttributeError if the entry is invalid."""
    version = str(entry["version"])
    if (
        not re.match(r"[0-9]{1,19}\Z", version)
        or int(version) > _LARGEST_VERSION
        or not isinstance(entry["state"], str)
    ):
        raise ValueError
    status = entry.get("status") or {}
    code, message = status.get("error_code", OK), status.get("error_message", "")
    return VersionStatus(int(version), one_line(entry["state"]), one_line(str(code), _SHOWN), one_line(str(message)))


def _shown(text: str) -> str:
    line = one_line(text, _SHOWN)
    return repr(line) if line else "an empty answer"
