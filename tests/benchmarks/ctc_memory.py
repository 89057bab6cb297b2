"""How much memory decoding takes beside the logits themselves, for each decoder; Linux only.

python -m tests.benchmarks.ctc_memory
"""

from __future__ import annotations

import re
from pathlib import Path

from ckpt2saved.ctc import beam_search
from ckpt2saved.graph.tf1 import tf

STEPS, BATCH, CLASSES = 128, 128, 3862
STATUS = Path("/proc/self/status")


def megabytes(what: str) -> float:
    """VmRSS, what is resident now, or VmHWM, the most that was since the mark was reset."""
    return int(re.search(what + r":\s+([0-9]+) kB", STATUS.read_text()).group(1)) / 1024


def main() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        shape = [STEPS, BATCH, CLASSES]
        logits = tf.get_variable("logits", shape, initializer=tf.random_normal_initializer(), use_resource=False)
        session.run(logits.initializer)
        held, lengths = tf.identity(logits), tf.fill([BATCH], STEPS)
        (greedy,), _ = tf.nn.ctc_greedy_decoder(held, lengths)
        (fast,), _ = beam_search(held, lengths, beam_width=1, top_paths=1, merge_repeated=False)
        for name, decoded in (("greedy", greedy), ("fast", fast)):
            targets = [decoded.indices.op, decoded.values.op, decoded.dense_shape.op]
            session.run(targets)
            Path("/proc/self/clear_refs").write_text("5")
            before = megabytes("VmRSS")
            session.run(targets)
            extra, size = megabytes("VmHWM") - before, STEPS * BATCH * CLASSES * 4 / 2**20
            print(f"{name}: {extra:.1f} MB beside {size:.0f} MB of logits, {extra / size:.3f}x")


if __name__ == "__main__":
    main()
