"""Compare the loops that stand for cuDNN's recurrent networks, and the buffers made for it, with cuDNN itself.

python -m tests.gpu.cudnn run                on a machine with a GPU, with TensorFlow; prints a line for each network
python -m tests.gpu.cudnn write CASES.npz    on any machine, with TensorFlow
python -m tests.gpu.cudnn check CASES.npz    on a machine with a GPU, with PyTorch; prints a line for each network

`run` exports the networks for servers with a GPU, and compares what the GPU answers with what the CPU does. PyTorch passes
a buffer of parameters to cuDNN as TensorFlow's op does, and installs on more machines with GPUs. `check`
also has cuDNN lay out parameters that are all different, and compares the order.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import numpy as np

_TOLERANCE = 1e-5
_SIZES = ((6, 3, 4, 5), (40, 4, 64, 96))  # steps, lines, inputs, units
_MODES = {4: 2, 3: 3}  # gates -> cudnnRNNMode_t: CUDNN_LSTM, CUDNN_GRU


def run() -> bool:
    """Compare the op on a GPU with the loops on the CPU; returns whether all is as expected."""
    from ckpt2saved.graph.tf1 import check_gpus, tf
    from ckpt2saved.rewrites.to_signatures import in_cpu_ops
    from tests.support.cudnn import network
    from tests.support.recurrent import layers

    check_gpus()
    tf.config.experimental.enable_tensor_float_32_execution(False)  # it has 10 bits of a float32's 23
    found, ops = [], ("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3")
    for op, mode, count, directions in itertools.product(ops, ("lstm", "gru"), (1, 2), (1, 2)):
        inputs = np.random.RandomState(1).uniform(-1, 1, [40, 4, 64]).astype("float32")
        made = layers(mode, 64, 96, count, directions).scaled(0.1)
        states, lengths = made.states(4), [40, 20, 39, 39] if op == "CudnnRNNV3" else None
        graph_def, _ = in_cpu_ops(network(op, made, states, lengths=lengths), keeps_cudnn=True)
        (_, on_cpu), (ran, on_gpu) = [_ran(graph_def, 1 + len(states), inputs, number) for number in (0, 1)]
        found.append(max(float(np.abs(one - other).max()) for one, other in zip(on_cpu, on_gpu)))
        print(f"{op} {mode} {count} {directions}: {found[-1]:.2g}, {'the op' if ran else 'LOOPS'} on the GPU")
        if not ran:
            found.append(float("inf"))
    print(f"TensorFlow {tf.version.VERSION}, {len(found)} networks, largest difference {max(found):.2g}")
    return max(found) <= _TOLERANCE


def _ran(graph_def: Any, count: int, inputs: np.ndarray, gpus: int) -> Tuple[bool, List[np.ndarray]]:
    """Whether cuDNN's op ran, and the outputs."""
    from ckpt2saved.graph.tf1 import tf

    config = tf.ConfigProto(device_count={"GPU": gpus}, gpu_options=tf.GPUOptions(allow_growth=True))
    options, metadata = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), tf.RunMetadata()
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        tf.import_graph_def(graph_def, name="")
        fetches = [f"output_{number}:0" for number in range(count)]
        answers = session.run(fetches, {"x:0": inputs}, options=options, run_metadata=metadata)
    nodes = {stats.node_name for device in metadata.step_stats.dev_stats for stats in device.node_stats}
    return any("CudnnRNNV3" in name for name in nodes), answers


def write(path: str) -> None:
    """Write networks with their inputs, buffers and the answers of the loops."""
    from ckpt2saved.rewrites.to_signatures import in_cpu_ops
    from tests.support.cudnn import computed_with_buffer, network, variable
    from tests.support.recurrent import layers

    cases: Dict[str, Any] = {}
    for (steps, lines, inputs, units), mode, count, directions, form in itertools.product(
        _SIZES, ("lstm", "gru"), (1, 2), (1, 2), ("buffer", "contrib", "lengths")
    ):
        values = np.random.RandomState(1).uniform(-1, 1, [steps, lines, inputs]).astype("float32")
        # With larger weights a network is chaotic: it amplifies the difference of two roundings.
        made = layers(mode, inputs, units, count, directions).scaled(1 if units < 10 else 0.1)
        states, saved, lengths = made.states(lines), {}, None
        if form == "contrib":
            saved = made.contrib("net/")
            given = network("CudnnRNN", made, states, variable("net/cudnn/opaque_kernel"))
        elif form == "lengths":
            lengths = sorted([steps, steps // 2] + [steps - 1] * (lines - 2), reverse=True)
            given = network("CudnnRNNV3", made, states, lengths=lengths)
        else:
            given = network("CudnnRNN", made, states)
        shapes = {name: value.shape for name, value in saved.items()}
        graph_def, _ = in_cpu_ops(given, shapes, keeps_cudnn=True)
        params, *answers = computed_with_buffer(graph_def, 1 + len(states), values, saved)
        sizes = [4 if mode == "lstm" else 3, units, inputs, count, directions]
        case = {"inputs": values, "params": params, "sizes": sizes}
        case.update({f"state_{number}": state for number, state in enumerate(states)})
        case.update({f"answer_{number}": answer for number, answer in enumerate(answers)})
        if lengths:
            case["lengths"] = lengths
        cases.update({f"{mode} {count}x{units} {directions} {form}/{key}": value for key, value in case.items()})
    np.savez_compressed(path, **cases)


def check(path: str) -> bool:
    """Compare with cuDNN; returns whether all is as expected."""
    import torch

    torch.backends.cudnn.allow_tf32 = False
    print(f"cuDNN {torch.backends.cudnn.version()}, {torch.cuda.get_device_name()}")
    with np.load(path) as cases:
        names = list(dict.fromkeys(key.split("/")[0] for key in cases.files))
        found = [_difference({key: cases[key] for key in cases.files if key.startswith(name + "/")}) for name in names]
    for name, difference in zip(names, found):
        print(f"{name:24} {difference:.2g}")
    ordered = [_is_in_order(gates, *sizes) for gates in _MODES for sizes in ((5, 4, 2, 2), (96, 64, 1, 1))]
    print(f"{len(found)} networks, largest difference {max(found):.2g}; order of the parameters: {ordered}")
    return all(ordered) and max(found) <= _TOLERANCE


def _difference(case: Dict[str, Any]) -> float:
    """The largest difference between the answers of cuDNN and those of the loops."""
    import torch
    from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

    given = {key.split("/")[1]: value for key, value in case.items()}
    gates, units, _, count, directions = sizes = tuple(map(int, given["sizes"]))
    inputs, params, *states = (
        torch.tensor(given[key]).cuda() for key in ("inputs", "params", "state_0", "state_1") if key in given
    )
    weights = [torch.zeros(shape).cuda() for shape in _shapes(*sizes)]  # of which cuDNN is told the shapes alone
    packed, steps, lines = None, inputs, []
    if "lengths" in given:
        packed = pack_padded_sequence(inputs, torch.tensor(given["lengths"]))
        steps, lines = packed.data, packed.batch_sizes.tolist()
    state, memory = states[0], states[1] if gates == 4 else None
    how = (_MODES[gates], units, 0, count, False, 0.0, False, directions == 2, lines, None)
    output, *last = torch._cudnn_rnn(steps, weights, 4, params, state, memory, *how)[: 1 + len(states)]
    if packed is not None:
        output, _ = pad_packed_sequence(PackedSequence(output, packed.batch_sizes), total_length=inputs.shape[0])
    answers = [given[f"answer_{number}"] for number in range(1 + len(states))]
    return max(float(np.abs(one.cpu().numpy() - other).max()) for one, other in zip([output, *last], answers))


def _is_in_order(gates: int, units: int, inputs: int, count: int, directions: int) -> bool:
    """Whether cuDNN lays out parameters as convert_cudnn_rnn says: all matrices, then all bias vectors."""
    import torch

    shapes, numbers = _shapes(gates, units, inputs, count, directions), itertools.count()
    weights = [np.array([next(numbers) for _ in range(int(np.prod(shape)))], "float32") for shape in shapes]
    tensors = [torch.tensor(one.reshape(shape)).cuda() for one, shape in zip(weights, shapes)]
    how = (4, inputs, _MODES[gates], units, 0, count, False, directions == 2)
    found = torch._cudnn_rnn_flatten_weight(tensors, *how).cpu().numpy()
    expected = [one for rank in (2, 1) for one, shape in zip(weights, shapes) if len(shape) == rank]
    return bool(np.array_equal(found, np.concatenate(expected)))


def _shapes(gates: int, units: int, inputs: int, count: int, directions: int) -> List[Sequence[int]]:
    """The shapes of the parameters of each layer and direction, two matrices and two bias vectors each."""
    return [
        shape for size in _widths(units, inputs, count, directions) for shape in _of_part(gates * units, size, units)
    ]


def _widths(units: int, inputs: int, count: int, directions: int) -> Iterator[int]:
    for layer, _ in itertools.product(range(count), range(directions)):
        yield units * directions if layer else inputs


def _of_part(rows: int, width: int, units: int) -> Tuple[Sequence[int], ...]:
    return (rows, width), (rows, units), (rows,), (rows,)


if __name__ == "__main__":
    if sys.argv[1:] == ["run"]:
        sys.exit(not run())
    if len(sys.argv) != 3 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    if sys.argv[1] == "write":
        write(sys.argv[2])
    else:
        sys.exit(not check(sys.argv[2]))
