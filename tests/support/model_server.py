"""A small server that answers as TF Serving documents it, and computes its answers with TensorFlow; faults on demand."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import re
import socketserver
import threading
import time
from pathlib import Path

import numpy as np

PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(:predict|/metadata)?\Z")


class ModelServer:
    """One model, whose versions are AVAILABLE as they lie in `base`, the newest alone; `script` says otherwise."""

    def __init__(self, base, name):
        self.base = Path(str(base))
        self.name = name
        self.script = {}  # version -> states, one for each time that it is asked for, of which the last stays
        self.batching = False  # as with --enable_batching
        self.batches = Batches()
        self.uninitialised = False  # the version was loaded before its variables were there
        self.wrong = lambda key, value: value  # what becomes of a right answer
        self.fault = None  # hang, garbage: of predict
        self.busy = 0  # the next predicts that find the queue of batches full
        self.lists = None  # what the model's status is, instead of what lies there
        self.asked = []  # the paths
        self.connections = []  # sockets of the REST API, as they were accepted
        self.models = {}
        self.loading = threading.Lock()

    def statuses(self, version=None):
        """(code, content) as GetModelStatus has it."""
        if version is None:
            listed = self.lists if self.lists is not None else [(n, "AVAILABLE") for n in self.newest()]
            if not listed:
                return 404, {"error": f"Could not find any versions of model {self.name}"}
            return 200, {"model_version_status": [entry(number, state) for number, state in listed]}
        states = self.script.get(version, ["AVAILABLE" if version in self.newest() else 404])
        state = states.pop(0) if len(states) > 1 else states[0]
        if state == 404:
            return 404, {"error": f"Could not find version {version} of model {self.name}"}
        if isinstance(state, tuple):
            return state if isinstance(state[0], int) else (200, {"model_version_status": [entry(version, *state)]})
        return 200, {"model_version_status": [entry(version, state)]}

    def chosen(self, version):
        """The version that answers a request for this one, or for none."""
        return version or self.newest()[-1]

    def metadata(self, version=None):
        """(code, content) as GetModelMetadata has it in the REST API."""
        from google.protobuf import json_format

        if not self.newest():
            return 404, {"error": f"Servable not found for request: Latest({self.name})"}
        number = self.chosen(version)
        signatures = {
            name: json_format.MessageToDict(
                definition,
                True,
                preserving_proto_field_name=True,  # True: also fields that have their default
            )
            for name, definition in self.loaded(number)[1].items()
        }
        spec = {"name": self.name, "signature_name": "", "version": str(number)}
        return 200, {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}

    def newest(self):
        numbers = sorted(int(path.name) for path in self.base.iterdir() if path.name.isdigit())
        return numbers[-1:]

    def predict(self, version, signature, inputs):
        """The arrays that a version answers, or (code, message); `inputs` are arrays or nested lists."""
        if self.busy:
            self.busy -= 1
            text = "The batch scheduling queue to which this task was submitted is full; currently at 100 tasks"
            return "UNAVAILABLE", text
        version = self.chosen(version)
        session, signature_defs = self.loaded(version)
        if signature not in signature_defs:
            return "INVALID_ARGUMENT", f'Serving signature name: "{signature}" not found in signature def'
        definition = signature_defs[signature]
        feeds = {
            info.name: np.array(inputs[key], dtype_of(info)).reshape(np.shape(inputs[key]))
            for key, info in definition.inputs.items()
        }
        from ckpt2saved.graph.tf1 import tf

        keys = sorted(definition.outputs)
        fetches = [definition.outputs[key].name for key in keys]

        def run(feeds):
            try:
                return [np.asarray(value) for value in session.run(fetches, feeds)]
            except tf.errors.OpError as error:
                return type(error).__name__, error.message

        if self.batching:  # a queue for each set of tensors, as BatchingSession has it
            values = self.batches.run((version, tuple(sorted(feeds)), tuple(fetches)), feeds, run)
        else:
            values = run(feeds)
        if isinstance(values, tuple):
            return values
        return {key: self.wrong(key, value) for key, value in zip(keys, values)}

    def loaded(self, version):
        with self.loading:
            if version not in self.models:
                self.models[version] = self.load(version)
            return self.models[version]

    def load(self, version):
        from ckpt2saved.graph.tf1 import tf

        session = tf.Session(graph=tf.Graph())
        with session.graph.as_default():
            meta_graph = tf.saved_model.loader.load(session, ["serve"], str(self.base / str(version)))
        if self.uninitialised:
            session = tf.Session(graph=session.graph)
        return session, meta_graph.signature_def


class Batches:
    """Requests put together and answers split as TF Serving's batching_session.cc does it, errors included."""

    def __init__(self):
        self.max_batch_size = 32
        self.timeout_seconds = 0.05  # batch_timeout_micros
        self.sizes = []  # of all batches, in tasks
        self.lines = []  # of all batches
        self.lock = threading.Lock()
        self.open = {}  # queue -> the batch that takes tasks

    def run(self, queue, feeds, run):
        """The outputs for these feeds as a list, or (code, message); `run` computes those of a batch."""
        if any(not value.ndim for value in feeds.values()):
            return "INVALID_ARGUMENT", "Batching Run() input tensors must have at least one dimension"
        sizes = {value.shape[0] for value in feeds.values()}
        if len(sizes) != 1:
            return "INVALID_ARGUMENT", "Batching Run() input tensors must have equal 0th-dimension size"
        (size,) = sizes
        if size > self.max_batch_size:
            text = "Task size {} is larger than maximum input batch size {}"
            return "INVALID_ARGUMENT", text.format(size, self.max_batch_size)
        with self.lock:
            batch = self.open.get(queue)
            if batch is None or batch.size + size > self.max_batch_size:
                batch = self.open[queue] = Batch()
            position = batch.add(feeds, size)
        if position == 0:
            time.sleep(self.timeout_seconds)
            with self.lock:
                if self.open.get(queue) is batch:
                    del self.open[queue]
                self.sizes.append(len(batch.tasks))
                self.lines.append(batch.size)
            batch.compute(run)
        batch.done.wait()
        return batch.answers[position]


class Batch:
    """Tasks that are computed together, and all fail together."""

    def __init__(self):
        self.tasks = []  # feeds
        self.lines = []  # of each task
        self.size = 0
        self.answers = None
        self.done = threading.Event()

    def add(self, feeds, size):
        self.tasks.append(feeds)
        self.lines.append(size)
        self.size += size
        return len(self.tasks) - 1

    def compute(self, run):
        found = self.outputs(run)
        if isinstance(found, tuple):
            self.answers = [found] * len(self.tasks)
        else:
            ends = np.cumsum(self.lines)[:-1]
            self.answers = list(zip(*(np.split(value, ends) for value in found)))
            self.answers = [list(values) for values in self.answers]
        self.done.set()

    def outputs(self, run):
        for name in self.tasks[0]:
            if len({task[name].shape[1:] for task in self.tasks}) > 1:
                return (
                    "FAILED_PRECONDITION",
                    f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off. Set "
                    "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
                    "dimensions starting with the first dim.",
                )
        found = run({name: np.concatenate([task[name] for task in self.tasks]) for name in self.tasks[0]})
        for value in found if isinstance(found, list) else ():
            if not value.ndim:
                return "FAILED_PRECONDITION", "Batched output tensor has 0 dimensions"
            if value.shape[0] != self.size:
                return (
                    "FAILED_PRECONDITION",
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                    "input tensors",
                )
        return found


def entry(version, state, code="OK", message=""):
    return {"version": str(version), "state": state, "status": {"error_code": code, "error_message": message}}


def dtype_of(info):
    from ckpt2saved.graph.tf1 import tf

    dtype = tf.as_dtype(info.dtype)
    return object if dtype == tf.string else dtype.as_numpy_dtype


def plain(value):
    """Strings of a JSON request as bytes."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def as_json(key, value):
    if value.dtype.kind not in "OSU":
        return value.tolist()

    def text(one):
        return {"b64": base64.b64encode(one).decode()} if key.endswith("_bytes") else one.decode()

    return each(value.tolist(), text)


def columns(rows):
    """The inputs of a request in the row format."""
    return {key: [row[key] for row in rows] for key in rows[0]}


def each(value, change):
    return [each(one, change) for one in value] if isinstance(value, list) else change(value)


class Handler(http.server.BaseHTTPRequestHandler):
    """The REST API of `server.model`; connections stay open for further requests, as in TF Serving."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as head and body are sent apart

    def setup(self):
        self.server.model.connections.append(self.request)
        super().setup()

    def do_GET(self):
        model = self.server.model
        match = self.match()
        if match is None or match.group(3) == ":predict":
            return self.answer(400, {"error": "Malformed request: GET " + self.path})
        if match.group(1) != model.name:
            return self.answer(404, {"error": "Could not find any versions of model " + match.group(1)})
        ask = model.metadata if match.group(3) else model.statuses
        self.answer(*ask(int(match.group(2)) if match.group(2) else None))

    def do_POST(self):
        model = self.server.model
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])).decode())
        match = self.match()
        if model.fault == "hang":
            time.sleep(2)
        if model.fault == "garbage":
            return self.answer(200, "<html>Welcome</html>")
        rows = body.get("instances")
        inputs = {key: plain(value) for key, value in (columns(rows) if rows else body["inputs"]).items()}
        version = int(match.group(2)) if match.group(2) else None
        answers = model.predict(version, body.get("signature_name", "serving_default"), inputs)
        if isinstance(answers, tuple):
            return self.answer(503 if answers[0] == "UNAVAILABLE" else 400, {"error": answers[1]})
        outputs = {key: as_json(key, value) for key, value in answers.items()}
        if rows:
            keys = sorted(outputs)
            found = [dict(zip(keys, row)) for row in zip(*(outputs[key] for key in keys))]
            return self.answer(200, {"predictions": found if len(keys) > 1 else outputs[keys[0]]})
        self.answer(200, {"outputs": outputs if len(outputs) > 1 else list(outputs.values())[0]})

    def match(self):
        self.server.model.asked.append(self.path)
        return PATH.match(self.path)

    def answer(self, code, content):
        text = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(code if isinstance(code, int) else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(text)

    def log_message(self, *arguments):
        pass


class Listener(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A thread for each request; without looking up this machine's name, which may take seconds."""

    daemon_threads = True

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address


@contextlib.contextmanager
def serving_rest(base, name, tls=None, port=0):
    """A ModelServer behind the REST API, as a proxy with the SSLContext `tls` shows it; its `url` is the address."""
    model = ModelServer(base, name)
    with Listener(("127.0.0.1", port), Handler) as server:
        server.model = model
        model.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield model
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def serving_grpc(base, name):
    """A ModelServer behind the gRPC API, in the messages of tensorflow-serving-api."""
    from concurrent import futures

    import grpc
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

    from ckpt2saved.graph.tf1 import tf

    model = ModelServer(base, name)

    def status(request, context):
        spec = request.model_spec
        model.asked.append(f"GetModelStatus {spec.version.value}")
        code, content = model.statuses(spec.version.value if spec.HasField("version") else None)
        if code == 404:
            context.abort(grpc.StatusCode.NOT_FOUND, content["error"])
        answer = get_model_status_pb2.GetModelStatusResponse()
        for one in content["model_version_status"]:
            added = answer.model_version_status.add(version=int(one["version"]))
            added.state = get_model_status_pb2.ModelVersionStatus.State.Value(one["state"])
            added.status.error_code = getattr(tf.errors, one["status"]["error_code"], 0)
            added.status.error_message = one["status"]["error_message"]
        return answer

    def metadata(request, context):
        assert list(request.metadata_field) == ["signature_def"]
        spec = request.model_spec
        model.asked.append(f"GetModelMetadata {spec.version.value}")
        if spec.name != name or not model.newest():
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        number = model.chosen(spec.version.value)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, definition in model.loaded(number)[1].items():
            signatures.signature_def[key].CopyFrom(definition)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name = name
        answer.model_spec.version.value = number
        answer.metadata["signature_def"].Pack(signatures)
        return answer

    def predict(request, context):
        spec = request.model_spec
        model.asked.append(f"Predict {spec.version.value} {spec.signature_name}")
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        answers = model.predict(spec.version.value, spec.signature_name, inputs)
        if isinstance(answers, tuple):
            context.abort(getattr(grpc.StatusCode, answers[0], grpc.StatusCode.FAILED_PRECONDITION), answers[1])
        answer = predict_pb2.PredictResponse()
        for key, value in answers.items():
            answer.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return answer

    server = grpc.server(futures.ThreadPoolExecutor(16))
    handlers = {}  # service -> method -> handler
    for service, method, call, kind in (
        ("ModelService", "GetModelStatus", status, get_model_status_pb2.GetModelStatusRequest),
        ("PredictionService", "Predict", predict, predict_pb2.PredictRequest),
        ("PredictionService", "GetModelMetadata", metadata, get_model_metadata_pb2.GetModelMetadataRequest),
    ):
        handler = grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=kind.FromString, response_serializer=lambda answer: answer.SerializeToString()
        )
        handlers.setdefault(service, {})[method] = handler
    for service, methods in handlers.items():
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("tensorflow.serving." + service, methods),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    model.url = f"grpc://127.0.0.1:{port}"
    server.start()
    try:
        yield model
    finally:
        server.stop(None)
