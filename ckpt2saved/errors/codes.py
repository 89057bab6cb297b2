"""The codes of problems and notes, which stay the same from release to release, and what each says."""

from __future__ import annotations

from typing import Dict

OTHER = "other"

CODES: Dict[str, str] = {
    OTHER: "The text alone says it.",
    # Checkpoints and what lies beside them.
    "cut-off": "A file ends before what it should hold.",
    "meta-of-another-run": "The .meta and the checkpoint are of different trainings.",
    "misshapen-variable": "A variable has another shape in the graph than in the checkpoint.",
    "newest-version": "Of several versions the newest is taken.",
    "no-checkpoint": "There is no checkpoint beside the graph.",
    "no-meta": "There is no .meta beside the checkpoint.",
    "object-based": "tf.train.Checkpoint wrote the checkpoint.",
    "unread-meta": "The .meta can't be read.",
    # Graphs.
    "batch-statistics": "A batch norm normalizes by the statistics of the batch.",
    "contrib-op": "No image of TF Serving has this op of tf.contrib.",
    "dangling-input": "A node takes what the graph does not have.",
    "decoder-in-function": "CTC decoders inside of functions are not replaced.",
    "greedy-paths": "Greedy decoding finds one path, and the graph asks for more.",
    "input-pipeline": "An output needs an input pipeline, which a server does not have.",
    "label-input": "An output needs a label, which no request brings.",
    "no-batching": "A signature can't be used with --enable_batching.",
    "no-input-used": "No output depends on any input.",
    "no-kernel": "An op has no kernel for the CPU.",
    "output-without-value": "An output has no value in inference.",
    "part-of-the-batch": "The outputs answer a part of each batch.",
    "pinned-device": "Nodes are pinned to a device.",
    "py-func": "An op calls Python, which a server does not have.",
    "random-op": "An output depends on random numbers that are no dropout.",
    "reads-files": "An op reads a file that a server does not have.",
    "state-change": "An answer depends on a variable that each request assigns.",
    "teacher-forcing": "An answer is computed from the label that it is compared with.",
    "undecided-switch": "Nothing in the graph shows the value of a training switch in inference.",
    "unfed-placeholder": "An output depends on a placeholder that no request feeds.",
    "unfilled-table": "Nothing fills a lookup table when the SavedModel is loaded.",
    "unknown-attribute": "TensorFlow does not know an attribute of an op.",
    "unknown-op": "TensorFlow does not know an op.",
    "unknown-tensor": "The graph has no such tensor.",
    "value-not-set": "A switch can't be set to the value that was asked for.",
    # SavedModels.
    "no-signature": "The SavedModel has no signature that a server answers.",
    "tag-missing": "No meta graph of the SavedModel has the tag serve.",
    "unnamed-tensor": "A tensor of a signature has no name, as a SparseTensor bound whole.",
}
