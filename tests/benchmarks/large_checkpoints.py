"""Measures what large checkpoints, and many old versions, cost an export.

python -m tests.benchmarks.large_checkpoints [--rounds N] [--gigabytes N ...] [--versions N]

Checkpoints of four shards are exported beside a plain script and `cp` of the files, in turns. Then a small checkpoint is
published in a base that is empty, and in one with many old versions. Ends with 1 where a limit is exceeded.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List

from ckpt2saved.versions.base import newest_child
from tests.benchmarks.__main__ import Cost, run

MOST_TIME, MOST_MEMORY = 1.3, 1.5  # of the plain script
MOST_SECONDS_LATER = 1.0  # with the old versions, in any of the commands
SHARDS, ROWS, COLUMNS = 4, 1024, 2048  # 8 MB a variable
MODULE = "tests.benchmarks.large_checkpoints"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured, in turns (3)")
    parser.add_argument("--gigabytes", type=float, nargs="*", default=[0.1, 1, 4], help="sizes (0.1 1 4)")
    parser.add_argument("--versions", type=int, default=10000, help="old versions in the base (10000; 0: not measured)")
    parser.add_argument("--make", nargs=2, metavar=("GIGABYTES", "PREFIX"), help=argparse.SUPPRESS)
    parser.add_argument("--plain", nargs=2, metavar=("PREFIX", "DIRECTORY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        return make_checkpoint(float(options.make[0]), options.make[1])
    if options.plain:
        return plain_script(*options.plain)
    failed = False
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        print(f"median of {options.rounds} | seconds | MB | ratio of time (at most) | of memory (at most)")
        for size in options.gigabytes:
            failed |= exports(size, Path(folder), options.rounds)
        if options.versions:
            failed |= old_versions(options.versions, Path(folder), options.rounds)
    sys.exit(1 if failed else 0)


def exports(gigabytes: float, scratch: Path, rounds: int) -> bool:
    """The export without parity beside the plain script and cp, in turns; whether a limit is exceeded."""
    prefix = str(scratch / f"model-{gigabytes:g}")
    run(["-m", MODULE, "--make", str(gigabytes), prefix])
    costs: Dict[str, List[Cost]] = {"cp": [], "plain script": [], "export --no-parity": []}
    for _ in range(rounds):
        for name, measured in costs.items():
            target = scratch / "target"
            settled()
            if name == "cp":
                target.mkdir()
                measured.append(copied(prefix, target))
            elif name == "plain script":
                measured.append(run(["-m", MODULE, "--plain", prefix, str(target)]))
            else:
                measured.append(run(export_command(prefix, target)))
            shutil.rmtree(str(target))
    medians = {name: Cost(*map(statistics.median, zip(*several))) for name, several in costs.items()}
    plain, ours = medians["plain script"], medians["export --no-parity"]
    slower, larger = ours.seconds / plain.seconds, ours.megabytes / plain.megabytes
    for name, cost in medians.items():
        row = f"{gigabytes:g} GB: {name} | {cost.seconds:.2f} | {cost.megabytes:.0f} |"
        is_ours = name.startswith("export")
        print(row, f"{slower:.2f} ({MOST_TIME}) | {larger:.2f} ({MOST_MEMORY})" if is_ours else "|", flush=True)
    for file in scratch.glob(f"model-{gigabytes:g}*"):
        file.unlink()
    return slower > MOST_TIME or larger > MOST_MEMORY


def export_command(prefix: str, base: Path) -> List[str]:
    command = ["-m", "ckpt2saved", "export", "-q", "-c", prefix, "-o", str(base), "--no-parity"]
    return command + ["--input", "x=x:0", "--output", "y=y:0"]


def settled() -> None:
    """Wait until earlier files are on the disk: a later fsync would pay for them."""
    os.sync()


def copied(prefix: str, target: Path) -> Cost:
    """What `cp` of the checkpoint costs, until it is on the disk, as a published version is."""
    files = [str(file) for file in sorted(Path(prefix).parent.glob(Path(prefix).name + ".*"))]
    start = time.perf_counter()
    script = 'target=$1; shift; cp "$@" "$target" && sync "$target"/*'
    process = subprocess.Popen(["sh", "-c", script, "sh", str(target), *files])
    _, process.returncode, usage = os.wait4(process.pid, 0)
    if process.returncode:
        sys.exit("failed: cp")
    return Cost(time.perf_counter() - start, usage.ru_maxrss / 1024)


def make_checkpoint(gigabytes: float, prefix: str) -> None:
    """Write a sharded checkpoint of this size, and its meta graph."""
    import numpy as np

    from ckpt2saved.graph.tf1 import tf

    count = max(round(gigabytes * 1e9 / (4 * ROWS * COLUMNS)), SHARDS)
    names = [f"layer_{number:04d}/weights" for number in range(count)]
    parts = [f"{prefix}_part-{number:05d}-of-{SHARDS:05d}" for number in range(SHARDS)]
    value = np.random.RandomState(0).standard_normal((ROWS, COLUMNS)).astype("float32")
    with tf.Graph().as_default(), tf.Session() as session:
        weights = tf.placeholder(tf.float32, value.shape)
        for number, part in enumerate(parts):
            own = names[number::SHARDS]
            blank = [""] * len(own)
            save = tf.raw_ops.SaveV2(
                prefix=part, tensor_names=own, shape_and_slices=blank, tensors=[weights] * len(own)
            )
            session.run(save, {weights: value})
        session.run(tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix))
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, ROWS], name="x")
        variables = [
            tf.get_variable(name, value.shape, initializer=tf.zeros_initializer(), use_resource=False) for name in names
        ]
        tf.add_n([tf.matmul(x, variable) for variable in variables], name="y")
        tf.train.export_meta_graph(prefix + ".meta", saver_def=tf.train.Saver(sharded=True).as_saver_def())


def plain_script(prefix: str, directory: str) -> None:
    """What people do by hand: import the meta graph, restore, SavedModelBuilder."""
    import tensorflow.compat.v1 as tf

    tf.logging.set_verbosity(tf.logging.ERROR)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.train.import_meta_graph(prefix + ".meta", clear_devices=True).restore(session, prefix)
        info = tf.saved_model.utils.build_tensor_info
        signature = tf.saved_model.signature_def_utils.build_signature_def(
            {"x": info(graph.get_tensor_by_name("x:0"))},
            {"y": info(graph.get_tensor_by_name("y:0"))},
            tf.saved_model.signature_constants.PREDICT_METHOD_NAME,
        )
        builder = tf.saved_model.builder.SavedModelBuilder(directory)
        builder.add_meta_graph_and_variables(
            session, [tf.saved_model.tag_constants.SERVING], signature_def_map={"serving_default": signature}
        )
        builder.save()


def old_versions(count: int, scratch: Path, rounds: int) -> bool:
    """Every command that looks at a base, on one with a version and on one with many; whether one is slower."""
    prefix = str(scratch / "small")
    run(["-m", MODULE, "--make", "0.01", prefix])
    other = str(scratch / "other")  # no version has it, so that all are looked at
    run(["-m", MODULE, "--make", "0.05", other])
    few, many = scratch / "few", scratch / "many"
    for base in (few, many):
        run(export_command(prefix, base))
    for number in range(2, count + 1):
        shutil.copytree(str(many / "1"), str(many / str(number)), copy_function=os.link)
    commands = {
        "export --no-parity": lambda base: export_command(prefix, base),
        "export --unless-published": lambda base: export_command(other, base) + ["--unless-published"],
        "bump-version": lambda base: ["-m", "ckpt2saved", "bump-version", "-q", str(base)],
    }
    run(commands["export --unless-published"](many))  # reads all of them, once
    shutil.rmtree(str(newest_child(many).path))
    failed = False
    for name, command in commands.items():
        seconds: Dict[Path, List[float]] = {few: [], many: []}
        for _ in range(rounds):
            for base, measured in seconds.items():
                settled()
                measured.append(run(command(base)).seconds)
                shutil.rmtree(str(newest_child(base).path))
        before, after = (statistics.median(seconds[base]) for base in (few, many))
        later = after - before
        print(
            f"{name}, {count} old versions | {after:.2f} | | {before:.2f} s with one; {later:+.2f} s ({MOST_SECONDS_LATER}) |"
        )
        failed |= later > MOST_SECONDS_LATER
    listing = (
        run(["-m", "ckpt2saved", "list", "--json", str(few)]),
        run(["-m", "ckpt2saved", "list", "--json", str(many)]),
    )
    row = "list, {} old versions | {:.2f} | {:.0f} | {:.2f} s with one; {:.2f} ms a version |"
    before, after = listing[0].seconds, listing[1].seconds
    print(row.format(count, after, listing[1].megabytes, before, 1000 * (after - before) / count))
    return failed


if __name__ == "__main__":
    main()
