"""Schemas of what inspect, verify, predict and bench ctc print."""

from __future__ import annotations

from typing import Dict

from ckpt2saved.checkpoint.roles import ROLES
from tools.schemas.exports import BEAM_SEARCH, DIFFERENCES, ONEDNN
from tools.schemas.messages import FORMAT, NOTES, PROBLEMS, details, messages, output
from tools.schemas.parts import (
    Schema,
    by_name,
    count,
    described,
    list_of,
    mapping,
    nullable,
    number,
    one_of,
    record,
    reference,
    rows,
    text,
    texts,
    truth,
    word,
)
from tools.schemas.servers import SERVER

_DTYPE = text("dtype of the tensor, as in float32.")
_SHAPE: Schema = {
    "description": "Dimensions; null for one that varies. null: the graph does not show the rank.",
    "type": ["array", "null"],
    "items": {"type": ["integer", "null"]},
}
_GROUPS = {"name": text("Name of the group."), "count": count("Variables."), "size": count("Bytes.")}
_TENSOR: Dict[str, Schema] = {
    "key": text("Proposed name for clients."),
    "tensor": text("Name in the graph, node:output."),
    "dtype": _DTYPE,
    "shape": _SHAPE,
    "kind": text("What it is."),
    "reason": text("Why it is proposed, for people."),
}
_SPEC = {
    "key": _TENSOR["key"],
    "tensor": _TENSOR["tensor"],
    "dtype": _DTYPE,
    "sizes": {
        "description": "Dimensions, with a name for one that varies; null: the graph does not show them.",
        "type": ["array", "null"],
        "items": {"type": ["integer", "string"]},
    },
}
_SWITCH: Dict[str, Schema] = {
    "name": text("Node of the switch."),
    "dtype": _DTYPE,
    "value": {
        "description": "Value in inference; null if it is not known.",
        "type": ["boolean", "number", "string", "null"],
    },
    "guess": {"description": "Value that its name suggests.", "type": ["boolean", "number", "null"]},
    "default": nullable(text("Default of the placeholder.")),
    "reason": text("For people."),
}
_VARIABLE: Dict[str, Schema] = {
    "name": text("Name in the checkpoint."),
    "shape": described("Dimensions.", list_of({"type": "integer"})),
    "dtype": _DTYPE,
    "size": count("Bytes."),
    "role": word("What it is for.", *ROLES),
    "family": nullable(text("Optimizer of a slot.")),
}
_PROPOSAL = nullable(
    record(
        "What export would serve; null where nothing can be proposed.",
        {
            "inputs": rows("Inputs.", _SPEC),
            "outputs": rows("Outputs.", _SPEC),
            "switches": rows("Training switches that are set.", _SWITCH),
            "fixed": texts("Nodes that fix the batch."),
            "batch": nullable(count("Size of the batch that is fixed; null if it is open.")),
            "choices": texts("What only the user can decide, a line for each."),
        },
    )
)
_CHOICES = rows(
    "What only the user can decide, for programs.",
    {
        "option": text("Option of export."),
        "values": texts("Values that may be passed; empty if they are not known."),
        "reason": text("Why, for people."),
        "text": text("The line for people."),
    },
)
_GRAPH = record(
    "The training's graph.",
    {
        "tensorflow": text("Version of TensorFlow that wrote it."),
        "nodes": count("Nodes."),
        "inputs": rows(
            "Tensors that requests can feed.", {**_TENSOR, "instead": texts("Tensors that could be fed instead.")}
        ),
        "outputs": rows(
            "Tensors that can be served, the likeliest first.",
            {**_TENSOR, "proposed": truth("Whether the proposal has it.")},
        ),
        "decoders": rows(
            "CTC decoders.",
            {
                "node": text("Node."),
                "op": text("Type of the op."),
                "logits": text("Tensor of the logits, float32 [time, batch, classes]."),
                "sequence_length": text("Tensor of the lengths, int32 [batch]."),
                "settings": by_name("Attributes of the op.", {"type": ["integer", "boolean"]}),
                "paths": described(
                    "Tensors of each path: indices int64 [n, 2], values int64 [n], shape int64 [2].",
                    list_of(list_of({"type": "string"})),
                ),
                "log_probability": text("Tensor of the score, float32 [batch, paths]."),
                "dense": texts("Tensors with the same labels as a padded matrix."),
            },
        ),
        "switches": rows("Training switches.", _SWITCH),
        "training_ops": record(
            "Nodes that behave differently in training.",
            {
                "dropout": texts("Dropout."),
                "batch_norm": texts("Batch norms that use the statistics of the batch."),
                "switched": texts("Those of both that are on one branch of a condition."),
            },
        ),
        "towers": rows(
            "Sub-networks that could be served, the best first; empty for one.",
            {
                "ends": texts("Output tensors."),
                "variables": texts("Variables that it reads."),
                "untrained": texts("Variables that no optimizer updates."),
                "missing": texts("Variables that the checkpoint lacks."),
                "training_ops": count("Nodes that behave differently in training."),
            },
        ),
        "shared": texts("Variables that all towers read."),
        "tables": texts("Lookup tables."),
        "left_out": texts("Python functions that follow the outputs, and are not served."),
        "labels": texts("Tensors that only the loss needs."),
        "proposal": _PROPOSAL,
        **PROBLEMS,
        **NOTES,
        "choice_details": _CHOICES,
    },
)
_SERVED_TENSOR = {
    "key": text("Name for clients."),
    "tensor": text("Name in the graph; empty for a SparseTensor."),
    "dtype": _DTYPE,
    "shape": _SHAPE,
}
_SAVED_MODEL = record(
    "The SavedModel.",
    {
        "directory": text("Its directory."),
        "tags": texts("Tags of its meta graph."),
        "tensorflow": text("Version of TensorFlow that wrote it."),
        "nodes": count("Nodes."),
        "signatures": rows(
            "Signatures.",
            {
                "name": text("Name."),
                "inputs": rows("Inputs.", _SERVED_TENSOR),
                "outputs": rows("Outputs.", _SERVED_TENSOR),
                "method": text("Method name."),
                "steps": {"description": "Always null: steps are a part of the graph.", "type": "null"},
            },
        ),
        "decoders": texts("CTC decoders."),
        "tables": texts("Lookup tables."),
        "variables": rows("Variables.", _VARIABLE),
        "provenance": {
            "description": "Content of assets.extra/ckpt2saved.json, which is not checked: see the schema provenance.",
            "type": ["object", "null"],
        },
        **PROBLEMS,
        **NOTES,
    },
)


def inspect_schema() -> Schema:
    """Return the schema of what inspect prints."""
    path = "Path of the files; null if there are none."
    required = {
        "path": text("What was given."),
        "kind": word("What it is.", "checkpoint", "meta graph", "frozen graph", "SavedModel"),
        "checkpoint": nullable(text(path)),
        "meta": nullable(text(path)),
        "saved_model": nullable(text(path)),
        **messages("remark", "Remarks"),
        "signature": nullable(text("File that --write-signature wrote.")),
        "format": FORMAT,
    }
    of_graph = {
        "graph": reference("graph"),
        "command": nullable(text("Command that exports it; null where there is none.")),
    }
    of_checkpoint = {
        "step": nullable({"description": "Global step.", "type": "integer"}),
        "object_based": truth("Whether tf.train.Checkpoint wrote it."),
        "roles": rows("Variables by role.", _GROUPS),
        "scopes": rows("Weights and statistics by scope.", _GROUPS),
        "averages": record(
            "Moving averages.",
            {"of": count("Trained variables that have one."), "weights": count("Trained variables.")},
        ),
        "missing": texts("Variables of the graph that the checkpoint lacks."),
        "missing_needed": texts("Those of them that the proposed outputs need."),
        "misshapen": texts("Variables of another shape, a line for each."),
        "misshapen_details": details("Variables of another shape"),
        "unused": texts("Tensors of the checkpoint that the graph does not have."),
        "variables": rows("Tensors of the checkpoint.", _VARIABLE),
    }
    optional = {**of_graph, **of_checkpoint, "served": reference("served")}
    return output(
        "inspect",
        "What inspect prints: the content of a checkpoint, meta graph or SavedModel.",
        described(
            "graph and command are there for a graph, step and what follows for a checkpoint, served for a SavedModel.",
            mapping(required, optional, is_open=True),
        ),
        {"graph": _GRAPH, "served": _SAVED_MODEL},
    )


def verify_schema() -> Schema:
    """Return the schema of what verify prints."""
    return output(
        "verify",
        "What verify prints: the problems of a version, and how its answers compare.",
        record(
            "The results of all checks.",
            {
                "path": text("The version's directory."),
                **PROBLEMS,
                **NOTES,
                "warnings": texts("Checks that could not run, a line for each."),
                "answers": count("Requests that were run on the files."),
                "loader": nullable(text("What loaded the files; null if they were not loaded.")),
                "checkpoint": nullable(
                    record(
                        "The comparison with --checkpoint.",
                        {
                            "path": text("Path of the checkpoint."),
                            "answers": count("Answers that were compared."),
                            "max_abs_difference": DIFFERENCES,
                            "beam_search": BEAM_SEARCH,
                        },
                    )
                ),
                "onednn": nullable(ONEDNN),
                "server": nullable(described("The version on --server.", reference("server"))),
                "format": FORMAT,
            },
        ),
        {"server": SERVER},
    )


def predict_schema() -> Schema:
    """Return the schema of what predict prints."""
    outputs = {
        "description": "Value of each output, without the batch dimension for a picture; null for a file without an"
        " answer. Strings are text, or {b64} for bytes that are not UTF-8; numbers that are not finite are null;"
        " complex numbers are lists of two.",
        "type": ["object", "null"],
        "additionalProperties": reference("value"),
    }
    value = one_of(
        {"type": ["string", "number", "boolean", "null"]},
        list_of(reference("value")),
        mapping({"b64": text("Bytes in base64.")}, is_open=True),
    )
    return output(
        "predict",
        "What predict prints: the answers for each file.",
        record(
            "The answers of a model.",
            {
                "model": text("Version directory, or address of the model."),
                "signature": text("Signature that was used."),
                "files": count("Files."),
                "unread": count("Pictures that the model could not read."),
                "unanswered": count("Files without an answer."),
                "results": rows(
                    "Each file, in order.",
                    {
                        "file": text("Path of the file."),
                        "outputs": outputs,
                        "problem": nullable(text("Why there is no answer, or what the status of the picture means.")),
                    },
                ),
                "error": nullable(described("What ended the requests before the last file.", reference("error"))),
                **PROBLEMS,
                "format": FORMAT,
            },
        ),
        {"value": value},
    )


def bench_schema() -> Schema:
    """Return the schema of what bench ctc prints."""
    seconds = number("Median time in seconds.", minimum=0)
    return output(
        "bench ctc",
        "What bench ctc prints: the times of the CTC decoders.",
        record(
            "The times of the CTC decoders.",
            {
                "tensorflow": text("Version of TensorFlow."),
                "python": text("Version of Python."),
                "machine": text("Operating system and processor."),
                "cases": rows(
                    "Sizes that were measured.",
                    {
                        "batch": count("Lines.", 1),
                        "steps": count("Steps of each line.", 1),
                        "classes": count("Classes, the blank included.", 2),
                        "beam_width": count("Width of the beam search.", 1),
                        "logits": word("flat: noise; peaked: as of a trained network.", "flat", "peaked"),
                        "seconds": record(
                            "Median time of each decoder, in seconds.",
                            {"stock": seconds, "fast": seconds, "greedy": seconds},
                        ),
                        "speedup": number("stock / fast.", minimum=0),
                    },
                ),
                "format": FORMAT,
            },
        ),
    )
