"""The readers that are fuzzed: for each its seeds, what it does with bytes, and the errors that it may raise."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import socket
import struct
import threading
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Sequence, Tuple

import numpy as np
from click.testing import CliRunner

from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.checkpoint.index import Damaged, NotRead, parse_index
from ckpt2saved.cli import main as command_line
from ckpt2saved.client import messages
from ckpt2saved.client.address import parse_address
from ckpt2saved.client.rest import RestServer
from ckpt2saved.client.server import Output, PredictCall
from ckpt2saved.compatibility.demands import read_demands
from ckpt2saved.errors import Ckpt2SavedError
from ckpt2saved.files.kinds import kind_of
from ckpt2saved.files.npz import NoArrays, read_array, read_arrays
from ckpt2saved.files.pictures import NoPicture, read_picture
from ckpt2saved.files.protobuf import serving_messages as serving
from ckpt2saved.files.protobuf import text_format
from ckpt2saved.files.protobuf.crc32c import crc32c, masked
from ckpt2saved.files.protobuf.messages import encode
from ckpt2saved.files.protobuf.tensor_proto import decode_tensor, encode_tensor
from ckpt2saved.files.protobuf.wire import Malformed, of_bytes
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.warm_up.file import as_prediction_log, read_warm_up_requests
from ckpt2saved.saved_model.judgement import EVERYTHING, WARMUP_FILE, judge, judge_warmup
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.server_config.change import _entries as models_of
from ckpt2saved.server_config.measurements import read_measurements
from ckpt2saved.server_config.version_batching import read_parameters
from ckpt2saved.signature.characters import NoCharacters, read_characters
from ckpt2saved.signature.file import parse_model
from ckpt2saved.sources.graph_plan import GraphOptions
from ckpt2saved.verification.accuracy.labels import read_labels
from ckpt2saved.verification.accuracy.page_labels import read_page_labels
from ckpt2saved.verification.differences import differences
from ckpt2saved.verification.recorded import with_recorded
from ckpt2saved.versions import PROVENANCE
from ckpt2saved.versions.published_checkpoints import refuse_published
from ckpt2saved.versions.published_record import PUBLISHED_RECORD
from tests.fuzz.endpoint import ask_endpoint, endpoint_seeds
from tests.fuzz.mutations import mutated, mutated_json
from tests.fuzz.stores import read_store, store_seeds
from tests.support.index_tables import index_table

ROOT = Path(__file__).resolve().parents[2]
_SAVED = ROOT / "tests" / "saved_models" / "variable"
_FROZEN = ROOT / "tests" / "saved_models" / "frozen"
_INDEX = "variables/variables.index"


class Target(NamedTuple):
    """A reader. `read` gets the bytes and an empty folder that is its own."""

    name: str
    seeds: Sequence[bytes]
    read: Callable[[bytes, Path], Any]
    errors: Tuple[type, ...] = (Ckpt2SavedError,)
    is_json: bool = False
    wrap: Callable[[bytes], bytes] = bytes  # what makes a file of the changed bytes: its checksums

    def input(self, chance: Any, others: Sequence[bytes]) -> bytes:
        """The next bytes to be read."""
        seed = chance.choice(self.seeds)
        if self.is_json and chance.random() < 0.6:
            return mutated_json(chance, seed)
        return self.wrap(mutated(chance, seed, others))


# Files


def _put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _version(folder: Path, name: str, content: bytes) -> Path:
    """A version of a model with one file of this content."""
    version = folder / "base" / "1"
    if not version.exists():
        shutil.copytree(str(_SAVED), str(version))
    _put(version, name, content)
    return version


def _graph(content: bytes, folder: Path) -> None:
    version = _version(folder, "saved_model.pb", content)
    judge(version, EVERYTHING)
    kind_of(version / "saved_model.pb")
    for read in (read_signatures, read_demands):
        with contextlib.suppress(Ckpt2SavedError):
            read(version)
    differences(version, _SAVED)


def _graph_as_text(content: bytes, folder: Path) -> None:
    version = _version(folder, "saved_model.pbtxt", content)
    with contextlib.suppress(FileNotFoundError):
        (version / "saved_model.pb").unlink()
    judge(version, EVERYTHING)


def _variables(content: bytes, folder: Path) -> None:
    version = _version(folder, _INDEX, content)
    judge(version, EVERYTHING)
    differences(version, _SAVED)
    parse_index(content)


def _table_entries() -> bytes:
    """The entries of the one block of a real index."""
    content = (_SAVED / _INDEX).read_bytes()
    entries = content[: content.index(struct.pack("<II", 0, 1))]
    assert parse_index(index_table(entries)).entries
    return entries


def _warm_up(content: bytes, folder: Path) -> None:
    version = _version(folder, WARMUP_FILE, content)
    judge_warmup(version)
    read_warm_up_requests(version)


def as_records(record: bytes) -> bytes:
    """A file of TFRecords with one record, whose checksums fit."""
    length = struct.pack("<Q", len(record))
    checksums = [struct.pack("<I", masked(crc32c(part))) for part in (length, record)]
    return length + checksums[0] + record + checksums[1]


_LINE = b"1 1 1700000000000000000 1700000000000000000 " + b"a" * 64 + b"," + b"b" * 64 + b"\n"


def _with_digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode() + b"\n" + data


def _published(content: bytes, folder: Path) -> None:
    version = _version(folder, PROVENANCE.as_posix(), _json(_ORIGIN))
    (version.parent / PUBLISHED_RECORD).write_bytes(content)
    refuse_published(version.parent, frozenset(["a" * 64, "b" * 64]))


def _provenance(content: bytes, folder: Path) -> None:
    version = _version(folder, PROVENANCE.as_posix(), content)
    base = str(version.parent)
    for arguments in (["list", base], ["list", base, "--json"], ["diff", str(_FROZEN), str(version)]):
        result = CliRunner().invoke(command_line, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert all(letter.isprintable() or letter == "\n" for letter in result.output)
    with_recorded(GraphOptions(), version)


def _kind(content: bytes, folder: Path) -> None:
    for name in ("a", "a.onnx", "a.zip", "events.out.tfevents.1"):
        kind_of(_put(folder, name, content))


def _state(content: bytes, folder: Path) -> None:
    for name in ("model.ckpt-1.index", "model.ckpt-1.data-00000-of-00001"):
        _put(folder, name, (_SAVED / _INDEX).read_bytes())
    _put(folder, "checkpoint", content)
    find_checkpoint(folder)


# Texts


def _signature(content: bytes, folder: Path) -> None:
    path = _put(folder, "mine.yaml", content)
    with contextlib.suppress(UnicodeDecodeError):
        parse_model(content.decode("utf-8"), path)


def _text_proto(content: bytes, folder: Path) -> None:
    models_of(content.decode("utf-8", "replace"))


def _batching(content: bytes, folder: Path) -> None:
    read_parameters(str(_put(folder, "batching.pbtxt", content)))


# Answers of servers

_CALL = PredictCall(
    "m", 1, "serving_default", {}, (Output("a", np.dtype("float32")), Output("b", np.dtype("int64")), Output("c", np.dtype(object)))
)  # fmt: skip


class _Answering(RestServer):
    """A client whose server has answered these bytes."""

    def __init__(self, code: int, content: bytes) -> None:
        super().__init__(parse_address("http://localhost:1"))
        self.answer = code, content

    def _ask(self, *question: Any) -> Tuple[int, bytes]:
        return self.answer


def _rest(ask: Callable[[RestServer, bytes], Any]) -> Callable[[bytes, Path], Any]:
    def read(content: bytes, folder: Path) -> None:
        for code in (200, 404, 503):
            with contextlib.suppress(Ckpt2SavedError):
                ask(_Answering(code, content), content)

    return read


_CONNECTIONS = itertools.count()
_OF_ONE_ADDRESS = 10_000  # connections; a closed one keeps its port for a minute, and an address has 28,000 of them


def _http(content: bytes, folder: Path) -> None:
    """The bytes as a whole response, head included."""
    host = f"127.0.0.{1 + next(_CONNECTIONS) // _OF_ONE_ADDRESS % 254}"
    with socket.socket() as listening:
        listening.bind((host, 0))
        listening.listen(1)

        def answer() -> None:
            with contextlib.suppress(OSError):
                connection = listening.accept()[0]
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(content)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1 << 16)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            RestServer(parse_address(f"http://{host}:{listening.getsockname()[1]}")).statuses("m", timeout=10)
        finally:
            thread.join(10)


def _npz() -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, a=np.zeros((3, 4), np.float32), b=np.array([b"x", b"yz"]))
    return content.getvalue()


def _npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8")


def _png() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 30, 20, 8, 2, 0, 0, 0, 0) + bytes(40)


def _jpeg() -> bytes:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 20, 30, 3) + bytes(9)
    return b"\xff\xd8\xff\xe0" + struct.pack(">H", 4) + b"xx" + frame + b"\xff\xd9"


def _archives() -> List[bytes]:
    import tarfile
    import zipfile

    found = []
    for names in (("a.npy",), ("config.json", "m.h5"), ("x/saved_model.pb",)):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as file:
            for name in names:
                file.writestr(name, b"1")
        found.append(content.getvalue())
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as file:
            for name in names:
                file.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
        found.append(content.getvalue()[:2048])
    return found


_STATUS = {
    "model_version_status": [
        {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
        {"version": "2", "state": "END", "status": {"error_code": "NOT_FOUND", "error_message": "gone"}},
    ]
}
_TENSOR = {
    "dtype": "DT_FLOAT",
    "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "4"}], "unknown_rank": False},
    "name": "x:0",
}
_METADATA = {
    "model_spec": {"name": "m", "signature_name": "", "version": "3"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "inputs": {"x": _TENSOR},
                    "outputs": {"a": _TENSOR},
                    "method_name": "tensorflow/serving/predict",
                }
            }
        }
    },
}
_ANSWER = {"outputs": {"a": [[1.5, 2], [3, -4e5]], "b": [1, 2], "c": [{"b64": "eHk="}, "text"]}}
_ORIGIN = {
    "format": 1,
    "checkpoint": {"name": "model.ckpt-7", "step": 7, "sha256": {"model.ckpt-7.index": "00" * 32}},
    "content_sha256": "11" * 32,
    "republished": {"from": 1, "time": "2024-05-06T07:08:09+00:00"},
    "without_batch": {"serving_default": ["x"]},
    "model": "crnn",
    "graph": {"builder": "crnn", "options": {"classes": 3}},
    "steps": {"options": {"charset": "a.txt"}, "files": {"charset": "a.txt"}},
    "weights": "raw",
    "ctc_decoder": "greedy",
    "signatures": ["serving_default"],
}
_ROW = {
    "concurrency": 1, "batch": 1, "rate": None, "p50": 1.0, "p99": 2.0, "requests_per_second": 10.0, "widths": [100],
    "lines_per_second": 10.0, "bytes_received": 1000, "requests": 10, "stable": True, "failures": {},
}  # fmt: skip
_BATCHING = {
    "max_batch_size": 8, "timeout_micros": 0, "pad_inputs": False, "equal_shapes": True, "threads": 2,
    "allowed_batch_sizes": [4, 8],
}  # fmt: skip
_MEASURED = {
    "format": 1,
    "machine": {"cpus": 2},
    "targets": [
        {
            "name": "a",
            "driver": "rest",
            "model": "m",
            "signature": "s",
            "settings": {
                "intra_op": 2,
                "inter_op": None,
                "onednn": False,
                "mixed_precision": None,
                "batching": _BATCHING,
            },
            "rows": [_ROW],
        }
    ],
}
_PAGES = [{"picture": "a.png", "lines": [{"text": "x", "quad": [0, 0, 9, 0, 9, 5, 0, 5]}]}]


def _grpc_seeds() -> List[bytes]:
    spec = serving.ModelSpec(name="m", version=serving.Int64Value(3), signature_name="s")
    tensors = {
        "a": np.ones((2, 3), np.float32),
        "b": np.array([1, 2, 3]),
        "c": np.array([b"x", b""], object),
        "d": np.array([True]),
    }
    outputs = {key: of_bytes(encode_tensor(value)) for key, value in tensors.items()}
    status = serving.ModelVersionStatus(
        version=3, state=30, status=serving.StatusProto(error_code=5, error_message="gone")
    )
    return [
        encode(serving.PredictResponse(outputs=outputs, model_spec=spec)),
        encode(serving.GetModelStatusResponse(model_version_status=[status])),
        *outputs["a"].content().splitlines(True)[:1],
        b"\x08\x03\x12\x04\x12\x02\x08\x05\x3a\x05\x01\x02\x03\x04\x05",  # values one by one
    ]


def _grpc(content: bytes, folder: Path) -> None:
    for decode in (
        messages.decode_status_response,
        messages.decode_metadata_response,
        lambda message: messages.decode_predict_response(message, "abcd"),
        decode_tensor,
    ):
        with contextlib.suppress(Malformed, ValueError):
            decode(content)


def targets() -> List[Target]:
    """All targets, in the order in which they are reported."""
    graphs = [(directory / "saved_model.pb").read_bytes() for directory in (_SAVED, _FROZEN)]
    signatures = [path.read_bytes() for path in sorted((ROOT / "signatures").glob("*.yaml"))]
    request = Request("r", "serving_default", {"x": np.ones((1, 2), np.float32), "s": np.array([b"ab"], object)})
    record = as_prediction_log(request, "m")
    http = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_json(_STATUS))
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(_json(_STATUS))
    models = (
        b'model_config_list { config { name: "m" base_path: "/models/m" model_version_policy { specific { versions: 3'
        b' versions: 4 } } version_labels { key: "stable" value: 3 } } config: < name: \'o\\303\\274\', ["x"] > }'
    )
    text_graph = b'saved_model_schema_version: 1 meta_graphs { meta_info_def { tags: "serve" } signature_def { key: "s" value { } } }'
    state = b'model_checkpoint_path: "model.ckpt-1"\nall_model_checkpoint_paths: "model.ckpt-\\061"\n'
    return [
        Target("saved_model.pb", graphs, _graph),
        Target("saved_model.pbtxt", [text_graph], _graph_as_text),
        Target("index", [(_SAVED / _INDEX).read_bytes()], _variables, (Ckpt2SavedError, Damaged, NotRead)),
        Target("index entries", [_table_entries()], _variables, (Ckpt2SavedError, Damaged, NotRead), wrap=index_table),
        Target("warm-up file", [as_records(record)], _warm_up),
        Target("warm-up request", [record], _warm_up, wrap=as_records),
        Target("provenance", [_json(_ORIGIN)], _provenance, is_json=True),
        Target("published versions", [_LINE * 3], _published, wrap=_with_digest),
        Target("state file", [state], _state),
        Target("kinds of files", [*graphs, *_archives(), _npz(), _npy(np.ones(3)), _json(_ORIGIN), b"ustar"], _kind),
        Target("signature file", signatures, _signature),
        Target("models.config", [models], _text_proto, (text_format.NotTextProto,)),
        Target("batching parameters", [b"max_batch_size { value: 8 }\nallowed_batch_sizes: 8\n"], _batching),
        Target("REST status", [_json(_STATUS)], _rest(lambda server, content: server.statuses("m")), is_json=True),
        Target("REST metadata", [_json(_METADATA)], _rest(lambda server, content: server.metadata("m")), is_json=True),
        Target(
            "REST answer",
            [_json(_ANSWER)],
            _rest(lambda server, content: server.decode(content, _CALL)),
            is_json=True,
        ),
        Target("HTTP response", [http + _json(_STATUS), chunked + _json(_STATUS) + b"\r\n0\r\n\r\n"], _http),
        Target("gRPC messages", _grpc_seeds(), _grpc),
        Target("object store", store_seeds(_SAVED), read_store, is_json=True),
        Target("endpoint", endpoint_seeds(), ask_endpoint),
        Target(
            ".npz",
            [_npz()],
            lambda content, folder: read_arrays(_put(folder, "a.npz", content)),
            (NoArrays,),
        ),
        Target(
            ".npy",
            [_npy(np.zeros((3, 4), np.float32)), _npy(np.array(["ab", "c"])), _npy(np.array([b"x"]))],
            lambda content, folder: read_array(_put(folder, "a.npy", content)),
            (NoArrays,),
        ),
        Target(
            "labels",
            [b"a.png\ttext\nb.png\t\xc3\xa9\n"],
            lambda content, folder: read_labels(_put(folder, "labels.tsv", content)),
        ),
        Target(
            "page labels",
            [_json(_PAGES)],
            lambda content, folder: read_page_labels(_put(folder, "pages.json", content)),
            is_json=True,
        ),
        Target(
            "characters",
            [b"a\nb\n\n\xc3\xa9\r\n"],
            lambda content, folder: read_characters(_put(folder, "characters.txt", content)),
            (NoCharacters,),
        ),
        Target(
            "measurements",
            [_json(_MEASURED)],
            lambda content, folder: read_measurements(_put(folder, "bench.json", content)),
            is_json=True,
        ),
        Target(
            "pictures",
            [_png(), _jpeg(), b"GIF89a\x10\0\x10\0", b"BM" + bytes(16) + struct.pack("<ii", 10, -10)],
            lambda content, folder: read_picture(_put(folder, "a.png", content)),
            (NoPicture,),
        ),
    ]


def every_seed() -> List[bytes]:
    """The seeds of all targets, parts of which are spliced into inputs."""
    return [seed for target in targets() for seed in target.seeds]


def folder_emptied(folder: Path) -> None:
    """Remove what an earlier input left."""
    for name in os.listdir(str(folder)):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(str(path))
        else:
            path.unlink()
