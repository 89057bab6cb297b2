"""SavedModels of small graphs, and requests to them."""

from __future__ import annotations

import contextlib

import numpy as np
from google.protobuf import text_format

from ckpt2saved.answers import cc_loader
from ckpt2saved.graph.tf1 import SavedModel, tf
from ckpt2saved.requests.warm_up.file import read_warm_up_requests
from ckpt2saved.saved_model.reading import read_signatures


def changed(version, change):
    """The version with another MetaGraphDef."""
    path = version / "saved_model.pb"
    saved_model = SavedModel.FromString(path.read_bytes())
    change(saved_model.meta_graphs[0])
    path.write_bytes(saved_model.SerializeToString())
    return version


def write_version(directory, build, dtype="float32", shape=(None, 4), restores=False, key="x"):
    """A SavedModel that TensorFlow's own builder writes, of a graph without variables unless it `restores` some."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(dtype, shape, name="x")
        outputs = build(x)
        definition = tf.saved_model.predict_signature_def({key: x}, outputs)
        if restores:
            session.run(tf.global_variables_initializer())
        builder = tf.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": definition})
        builder.save()
    return directory


def as_text(version, changed=lambda text: text):
    """The same version, whose graph is in protobuf's text form."""
    saved_model = SavedModel.FromString((version / "saved_model.pb").read_bytes())
    (version / "saved_model.pb").unlink()
    (version / "saved_model.pbtxt").write_text(changed(text_format.MessageToString(saved_model)))
    return version


def check_survives(version):
    """What TF Serving's batching asks of every record: one batch in front of all inputs and outputs, whatever its size."""
    requests = read_warm_up_requests(version)
    assert requests
    with tf.Graph().as_default(), tf.Session() as session:
        signatures = tf.saved_model.loader.load(session, ["serve"], str(version)).signature_def
        for request in requests:
            (count,) = {value.shape[0] for value in request.inputs.values()}
            assert count <= 32
            for lines in (count, count + 1, 2 * count):
                for value in answers(session, signatures, request, lines).values():
                    assert value.shape[0] == lines
    return requests


def answers(session, signatures, request, lines):
    definition = signatures[request.signature]
    feeds = {
        definition.inputs[key].name: np.resize(value, (lines,) + value.shape[1:])
        for key, value in request.inputs.items()
    }
    fetches = {key: definition.outputs[key].name for key in request.outputs or definition.outputs}
    return dict(zip(fetches, session.run(list(fetches.values()), feeds)))


@contextlib.contextmanager
def asking(path):
    """A function from a signature and its inputs to its answers, by Python's loader, which takes strings too."""
    with tf.Graph().as_default(), tf.Session() as session:
        definitions = tf.saved_model.loader.load(session, ["serve"], str(path)).signature_def

        def ask(signature="serving_default", **inputs):
            definition = definitions[signature]
            feeds = {definition.inputs[key].name: value for key, value in inputs.items()}
            return session.run({key: info.name for key, info in definition.outputs.items()}, feeds)

        yield ask


def asked(path, signature="serving_default", **inputs):
    """The answers of a published version, by TF Serving's own loader."""
    library = cc_loader.find_library()
    served = read_signatures(path)[signature]
    feeds = {served.input(key).tensor: value for key, value in inputs.items()}
    names = {spec.key: spec.tensor for spec in served.outputs}
    with cc_loader.loaded(library, path) as loaded:
        return dict(zip(names, loaded.run(list(names.values()), feeds)))
