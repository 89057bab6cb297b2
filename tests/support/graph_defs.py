"""SavedModels written node by node."""

from __future__ import annotations

from tensorflow.core.framework.function_pb2 import FunctionDef

from ckpt2saved.graph.tf1 import SavedModel, tf

RUNNING = ".".join(tf.__version__.split(".")[:2])


def write(directory, nodes=(), functions=(), tags=("serve",), tensorflow="", answers="y"):
    """A SavedModel of NodeDefs and FunctionDefs without variables, which answers with one of the nodes."""
    message = SavedModel(saved_model_schema_version=1)
    meta_graph = message.meta_graphs.add()
    meta_graph.meta_info_def.tags.extend(tags)
    meta_graph.meta_info_def.tensorflow_version = tensorflow
    meta_graph.graph_def.node.extend(nodes)
    meta_graph.graph_def.versions.producer = 27
    meta_graph.graph_def.library.function.extend(functions)
    meta_graph.signature_def["serving_default"].outputs["answer"].name = answers + ":0"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "saved_model.pb").write_bytes(message.SerializeToString())
    return directory


def node(op, name, *inputs, **attributes):
    found = tf.NodeDef(op=op, name=name, input=inputs)
    for key, value in attributes.items():
        if isinstance(value, tf.DType):
            found.attr[key].type = value.as_datatype_enum
        elif isinstance(value, str):
            found.attr[key].s = value.encode()
        elif isinstance(value, list):
            items = found.attr[key].list
            (items.i if isinstance(value[0], int) else items.type).extend(
                value if isinstance(value[0], int) else [dtype.as_datatype_enum for dtype in value]
            )
        elif isinstance(value, FunctionDef):
            found.attr[key].func.name = value.signature.name
        else:
            found.attr[key].i = value
    return found


X = node("Placeholder", "x", dtype=tf.float32)
