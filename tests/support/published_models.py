"""Versions of models that are whole for those who do not run them, with signatures of networks for lines."""

from __future__ import annotations

SPARSE = {"output_indices": ("int64", [-1, 2]), "output_values": ("int64", [-1]), "output_shape": ("int64", [2])}
DENSE = {"ids": ("int64", [-1, -1]), "lengths": ("int32", [-1]), "score": ("float32", [-1])}
LINES = {"input_data": ("float32", [-1, 32, -1, 3]), "input_batch_size": ("int32", [-1])}
FIXED_LINES = {"input_data": ("float32", [-1, 32, 100, 3])}
CRNN = {"serving_default": (LINES, SPARSE), "dense": (LINES, DENSE)}


def saved_model(signatures, tags=("serve",)):
    """The bytes of a saved_model.pb with these signatures, by TensorFlow's own classes."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta_graph = message.meta_graphs.add()
    meta_graph.meta_info_def.tags.extend(tags)
    nodes = {key for sides in signatures.values() for side in sides for key in side}
    for node in sorted(nodes):
        meta_graph.graph_def.node.add(name=node, op="Placeholder")
    for name, sides in signatures.items():
        signature = meta_graph.signature_def[name]
        signature.method_name = "tensorflow/serving/predict"
        for target, tensors in zip((signature.inputs, signature.outputs), sides):
            for key, (dtype, shape) in tensors.items():
                info = target[key]
                info.dtype = getattr(types_pb2, {"float32": "DT_FLOAT"}.get(dtype, "DT_" + dtype.upper()))
                if shape == "sparse":
                    info.coo_sparse.values_tensor_name = key + ":0"
                    continue
                info.name = key + ":0"
                info.tensor_shape.unknown_rank = shape is None
                for size in shape or []:
                    info.tensor_shape.dim.add(size=size)
    return message.SerializeToString()


def publish(base, *numbers, **keywords):
    """Whole versions of a model; of a CRNN unless `signatures` are given."""
    content = saved_model(**dict({"signatures": CRNN}, **keywords))
    for number in numbers:
        directory = base / str(number)
        directory.mkdir(parents=True)
        (directory / "saved_model.pb").write_bytes(content)
    return base


def succeeded(result):
    assert result.exit_code == 0, result.output
    return result
