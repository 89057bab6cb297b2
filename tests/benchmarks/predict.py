"""Measures whole Predicts of the full-size crnn with 3862 classes, lines of 32 x 256, oneDNN off and on.

python -m tests.benchmarks.predict [--rounds N] [--onednn off|on] [--only single|decoder|whole]

- single: CPU time of a request of one line, beside a product of 2048 x 2048 matrices in the same process' settings.
- decoder: how much of that is the decoder's, from requests that fetch the logits instead, in turns.
- whole: 128 lines by the original's graph (batch statistics, products in the LSTM's loop, TensorFlow's decoder) and by
  the export of the same checkpoint, in turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np

from ckpt2saved.answers.timed_process import SessionSettings, timed_process
from ckpt2saved.requests.request import Request

ROOT = Path(__file__).resolve().parent.parent.parent
CLASSES, WIDTH, STEPS, LINES, SIDE = 3862, 256, 64, 128, 2048
LEAST_SPEED = 0.8  # of the product of matrices
MOST_OF_DECODER = 0.05
# Multiplications and additions of one line: convolutions by output pixels, kernel and channels, LSTMs, classes.
OPERATIONS = 2 * (
    32 * 256 * 9 * 3 * 64
    + 16 * 128 * 9 * 64 * 128
    + 8 * 64 * 9 * (128 * 256 + 256 * 256)
    + 4 * 64 * 9 * (256 * 512 + 512 * 512)
    + 64 * 4 * 512 * 512
    + STEPS * 4 * 768 * 1024
    + STEPS * 512 * CLASSES
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="requests of one line, in turns (15)")
    parser.add_argument("--onednn", choices=["off", "on"], help="default: both")
    parser.add_argument("--only", choices=["single", "decoder", "whole"], help="default: all")
    parser.add_argument("--folder", type=Path, help="keep the models here, and take those that are here")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / "product").exists():
            make_models(folder)
        for onednn in [options.onednn] if options.onednn else ["off", "on"]:
            environment = {"TF_ENABLE_ONEDNN_OPTS": "01"[onednn == "on"]}
            if options.only in (None, "single"):
                for threads in (1, 2):
                    failed |= single(folder, environment, threads, options.rounds)
            if options.only in (None, "decoder"):
                failed |= decoder(folder, environment, options.rounds)
            if options.only in (None, "whole"):
                whole(folder, environment)
    sys.exit(1 if failed else 0)


def make_models(folder: Path) -> None:
    """The export, the original's graph, and a product of matrices."""
    from ckpt2saved.graph.tf1 import tf, v1_control_flow
    from ckpt2saved.sources.networks import build_network, layers
    from tests.support import golden_rule
    from tests.support.checkpoints import filled, write_checkpoint

    shapes = dict(golden_rule.variables("crnn"))
    shapes["shadow/LSTMLayers/w"] = (512, CLASSES)
    write_checkpoint(folder / "crnn", {name: np.asarray(value) for name, value in filled(shapes).items()})
    command = [sys.executable, "-m", "ckpt2saved", "export", "-q", "-m", "crnn", "-c", str(folder / "crnn")]
    command += ["--no-parity", "--no-warmup", "-o", str(folder / "models")]
    subprocess.run(command, cwd=str(ROOT), check=True, stdout=subprocess.DEVNULL)
    tf.logging.set_verbosity(tf.logging.ERROR)
    patched = mock.patch.multiple(layers, batch_norm=batch_statistics, _lstm=lstm_with_product_in_loop)
    with patched, v1_control_flow(), tf.Graph().as_default(), tf.Session() as session:
        tensors = build_network("crnn", shapes, {})
        tf.train.Saver().restore(session, str(folder / "crnn"))
        save(session, folder / "original", {name: tensors[name] for name in ("input_data", "input_batch_size")},
             {name: tensors[name] for name in ("output_indices", "output_values", "output_shape")})  # fmt: skip
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [SIDE, SIDE])
        weights = tf.Variable(tf.ones([SIDE, SIDE]), use_resource=False)
        total = tf.reduce_sum(tf.matmul(x, weights))  # one number, so that no large output is copied
        session.run(tf.global_variables_initializer())
        save(session, folder / "product", {"x": x}, {"y": total})


def save(session, directory: Path, inputs, outputs) -> None:
    from ckpt2saved.graph.tf1 import tf

    signature = tf.saved_model.predict_signature_def(inputs, outputs)
    builder = tf.saved_model.Builder(str(directory))
    builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, clear_devices=True)
    builder.save()


def batch_statistics(images, weights, scope):
    """Batch norm as a training has it."""
    from ckpt2saved.graph.tf1 import tf

    scale, offset = (weights[f"{scope}/{name}"] for name in ("gamma", "beta"))
    return tf.nn.fused_batch_norm(images, scale, offset, epsilon=0.001, is_training=True)[0]


def lstm_with_product_in_loop(inputs, kernel, bias):
    """An LSTM as BasicLSTMCell computes it in dynamic_rnn."""
    from ckpt2saved.graph.tf1 import tf

    hidden = kernel.get_shape().as_list()[1] // 4
    steps, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]
    arriving = tf.TensorArray(tf.float32, steps).unstack(inputs)

    def step(time, state, output, outputs):
        i, j, f, o = tf.split(tf.matmul(tf.concat([arriving.read(time), output], 1), kernel) + bias, 4, axis=1)
        state = tf.sigmoid(f + 1.0) * state + tf.sigmoid(i) * tf.tanh(j)
        output = tf.sigmoid(o) * tf.tanh(state)
        return time + 1, state, output, outputs.write(time, output)

    zeros = tf.zeros([batch, hidden])
    outputs = tf.TensorArray(tf.float32, steps, element_shape=[None, hidden])
    outputs = tf.while_loop(lambda time, *_: time < steps, step, [0, zeros, zeros, outputs])[-1].stack()
    outputs.set_shape([None, None, hidden])
    return outputs


def lines(count: int, signature: str, **more) -> Request:
    """A request of lines of noise."""
    images = np.random.RandomState(0).uniform(0, 255, (count, 32, WIDTH, 3)).astype("float32")
    inputs = {"input_data": images, "input_batch_size": np.full(count, STEPS, "int32")}
    return Request("lines", signature, inputs, **more)


def timed(process, request: Request):
    run = process.run(request)
    if run.failure:
        process.answers(request)  # raises it
    return run


def name_of(environment) -> str:
    return "oneDNN on" if environment["TF_ENABLE_ONEDNN_OPTS"] == "1" else "oneDNN off"


def single(folder: Path, environment, threads: int, rounds: int) -> bool:
    """Print the speed of a request of one line; whether it is below the limit."""
    settings = SessionSettings(intra_op=threads, inter_op=threads)
    product = Request("product", "serving_default", {"x": np.ones((SIDE, SIDE), "float32")})
    line = lines(1, "dense")
    speeds = {"line": [], "product": []}
    with timed_process(folder / "models" / "1", settings, environment) as ours, timed_process(
        folder / "product", settings, environment
    ) as theirs:
        for number in range(rounds + 3):
            run, of_product = timed(ours, line), timed(theirs, product)
            if number >= 3:
                speeds["line"].append(OPERATIONS / run.cpu_seconds / 1e9)
                speeds["product"].append(2 * SIDE**3 / of_product.cpu_seconds / 1e9)
    of_line, of_product = (statistics.median(speeds[name]) for name in ("line", "product"))
    ratio = statistics.median(a / b for a, b in zip(speeds["line"], speeds["product"]))
    print(
        f"single, {name_of(environment)}, {threads} threads | {OPERATIONS / of_line / 1e6:.1f} ms CPU |"
        f" {of_line:.1f} GFLOP per CPU second | product {of_product:.1f} | ratio {ratio:.2f} (at least {LEAST_SPEED})",
        flush=True,
    )
    return ratio < LEAST_SPEED


def decoder(folder: Path, environment, rounds: int) -> bool:
    """Print the decoder's share of a request of one line; whether it is above the limit."""
    version = folder / "models" / "1"
    whole, logits = lines(1, "dense"), lines(1, "dense", outputs=(), inner_fetches=into_decoder(version))
    with timed_process(version, SessionSettings(intra_op=1, inter_op=1), environment) as process:
        seconds = {"whole": [], "logits": []}
        for number in range(2 * rounds + 3):
            for name, request in (("whole", whole), ("logits", logits)):
                cpu = timed(process, request).cpu_seconds
                if number >= 3:
                    seconds[name].append(cpu)
        profile = process.profile(whole, rounds)
    share = statistics.median(1 - b / a for a, b in zip(seconds["whole"], seconds["logits"]))
    whole_ms, logits_ms = (statistics.median(seconds[name]) * 1e3 for name in ("whole", "logits"))
    print(
        f"decoder, {name_of(environment)}, batch 1 | whole {whole_ms:.1f} ms CPU | logits {logits_ms:.1f} ms |"
        f" share {share * 100:.1f} % (at most {MOST_OF_DECODER * 100:.0f} %) | of the time of ops"
        f" {profile.share_of('decoder') * 100:.1f} %",
        flush=True,
    )
    for group in profile.groups:
        print(f"  {group.group} | {group.seconds * 1e3:.2f} ms | {group.share * 100:.1f} %")
    print(f"  no op runs | {profile.idle_seconds * 1e3:.2f} ms", flush=True)
    return share > MOST_OF_DECODER


def into_decoder(version: Path):
    """The tensors that the layers give to the decoder."""
    from ckpt2saved.graph.graph import Graph
    from ckpt2saved.graph.groups import DECODER
    from ckpt2saved.graph.names import full_name, parsed
    from ckpt2saved.graph.node_groups import node_groups
    from ckpt2saved.graph.tf1 import SavedModel

    meta_graph = SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs[0]
    outputs = [parsed(info.name)[0] for info in meta_graph.signature_def["dense"].outputs.values()]
    graph = Graph(Graph(meta_graph.graph_def).graph_def(outputs))
    groups = node_groups(graph)
    layers = ("convolutions", "recurrent layers", "dense layers")
    found = {
        ref
        for name, node in graph.nodes.items()
        if groups[name] == DECODER
        for ref in node.inputs
        if groups[ref[0]] in layers
    }
    return tuple(sorted(map(full_name, found)))


def whole(folder: Path, environment) -> None:
    """Print what 128 lines cost, by the original's graph and by the export, and the decoder's share of the latter."""
    version = folder / "models" / "1"
    settings = SessionSettings(intra_op=2, inter_op=2)
    with timed_process(folder / "original", settings, environment) as process:
        timed(process, lines(1, "serving_default"))
        theirs = timed(process, lines(LINES, "serving_default"))
    logits = {"outputs": (), "inner_fetches": into_decoder(version)}
    requests = [lines(LINES, "dense"), lines(LINES, "dense", **logits)]
    with timed_process(version, settings, environment) as process:
        for more in ({}, logits):
            timed(process, lines(1, "dense", **more))
        turns = [[timed(process, request) for request in requests] for _ in range(2)]
    ours = min((turn[0] for turn in turns), key=lambda run: run.cpu_seconds)
    share = 1 - min(turn[1].cpu_seconds for turn in turns) / ours.cpu_seconds
    print(
        f"whole, {name_of(environment)}, {LINES} lines | original {theirs.seconds:.1f} s, {theirs.cpu_seconds:.1f} s CPU"
        f" | export {ours.seconds:.2f} s, {ours.cpu_seconds:.2f} s CPU | ratio {theirs.seconds / ours.seconds:.1f}, of"
        f" CPU {theirs.cpu_seconds / ours.cpu_seconds:.1f} | decoder {share * 100:.1f} % of the CPU time",
        flush=True,
    )


if __name__ == "__main__":
    main()
