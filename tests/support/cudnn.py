"""Networks of cuDNN's ops."""

from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.core.protobuf.device_properties_pb2 import DeviceProperties, NamedDevice
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.grappler.cluster import Cluster

from ckpt2saved.graph.graph_def import called_functions
from ckpt2saved.graph.tf1 import tf


def network(op, made, states, params=None, lengths=None, dtype=tf.float32, **attributes):
    """The GraphDef of a network that takes `x`, with its outputs called output_0 and so on."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(dtype, [None, None, len(made.weights[0][0][0])], name="x")
        how = {
            "input": x,
            "input_h": tf.constant(states[0], dtype),
            "input_c": tf.constant(states[1] if made.mode == "lstm" else 0, dtype),
            "params": tf.constant(made.buffer(), dtype) if params is None else params(),
            "rnn_mode": made.mode,
            "direction": "bidirectional" if made.directions > 1 else "unidirectional",
            "name": "rnn",
        }
        if op == "CudnnRNNV3":
            how["sequence_lengths"] = tf.constant(lengths)
        found = getattr(tf.raw_ops, op)(**dict(how, **attributes))
        for number, output in enumerate(found[: 1 + len(states)]):
            tf.identity(output, name=f"output_{number}")
        return graph.as_graph_def()


def computed(graph_def, count, inputs, variables=()):
    """The outputs of a network."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        for name, value in dict(variables).items():
            tensor = graph.get_tensor_by_name(f"{name}:0")
            session.run(tf.raw_ops.Assign(ref=tensor, value=value))
        return session.run([f"output_{number}:0" for number in range(count)], {"x:0": inputs})


def computed_with_buffer(graph_def, count, inputs, variables):
    """The buffer that the op would get, and the outputs."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        (call,) = [one for one in graph.get_operations() if one.type == "StatefulPartitionedCall"]
        fetches = [call.inputs[3], *(f"output_{number}:0" for number in range(count))]
        feeds = {f"{name}/read:0": value for name, value in variables.items()}
        return session.run(fetches, dict(feeds, **{"x:0": inputs}))


def variable(name, shape=None):
    """A variable; without `shape`, as tf.contrib makes that of the buffer."""
    return lambda: tf.raw_ops.VariableV2(shape=tf.TensorShape(shape), dtype=tf.float32, name=name)


def chosen(graph_def, device, output="output_0"):
    """The ops that a session on a device would run, by TensorFlow's own optimizer; no such device is needed."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        meta_graph = tf.train.export_meta_graph(graph=graph)
    meta_graph.collection_def["train_op"].node_list.value.append(output)
    for node in meta_graph.graph_def.node:
        node.device = f"/job:localhost/replica:0/task:0/device:{device}:0"
    devices = []
    for kind in ("CPU", "GPU"):
        properties = DeviceProperties(type=kind, num_cores=4, frequency=1000, memory_size=1 << 30)
        properties.environment["architecture"] = "8"
        devices.append(NamedDevice(name=f"/job:localhost/replica:0/task:0/device:{kind}:0", properties=properties))
    config = ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1
    optimized = tf_optimizer.OptimizeGraph(config, meta_graph, cluster=Cluster(devices=devices))
    functions = {function.signature.name: function for function in optimized.library.function}
    called = called_functions(optimized.node, functions)
    return {node.op for name in called for node in functions[name].node_def}
