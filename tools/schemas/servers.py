"""Schemas of a version on a server, and of what serving-config and doctor print."""

from __future__ import annotations

from tools.schemas.messages import FORMAT, NOTES, PROBLEMS, details, messages, output
from tools.schemas.parts import (
    Schema,
    by_name,
    count,
    described,
    list_of,
    nullable,
    number,
    one_of,
    record,
    rows,
    text,
    texts,
    truth,
    word,
)

_ADDRESS = text("Address of the server.")
_ASKED = record(
    "The version as the server has it.",
    {
        "address": _ADDRESS,
        "model": text("Name of the model on the server."),
        "version": count("Number of the version."),
        "outcome": word("How the wait ended.", "live", "failed", "superseded", "timed out"),
        "seconds": number("Time until then, in seconds.", minimum=0),
        "states": rows(
            "States of the version, as they were seen.",
            {
                "state": text("START, LOADING, AVAILABLE, UNLOADING, END, NOT_SEEN or UNREACHABLE."),
                "seconds": number("When it was first seen, in seconds from the beginning.", minimum=0),
                "text": text("For people."),
            },
        ),
        "answers": count("Requests that were answered."),
        "seconds_per_answer": nullable(number("Longest time of a request, in seconds.", minimum=0)),
        "compared": truth("Whether answers were compared with those of the files."),
        "max_abs_difference": by_name(
            "Largest absolute difference of each output: signature -> output -> number.",
            {"type": "object", "additionalProperties": {"type": "number"}},
        ),
        "unasked": texts("Signatures that were not run, or not with all requests, a line for each."),
        "unasked_details": details("Signatures that were not run, or not with all requests"),
        **NOTES,
        "batches": {
            "description": "Whether the server runs with --enable_batching; null if that is not known.",
            "type": ["boolean", "null"],
        },
        **PROBLEMS,
    },
)
_NOT_ASKED = record("The server could not be asked.", {"address": _ADDRESS, **PROBLEMS})
SERVER = one_of(_ASKED, _NOT_ASKED)

SETTINGS = record(
    "Settings of the server's process; null where the server decides, or where they are not known.",
    {
        "intra_op": nullable(count("Threads for one op.")),
        "inter_op": nullable(count("Ops that run at the same time.")),
        "onednn": nullable(truth("Whether TensorFlow computes in oneDNN.")),
        "batching": nullable(
            record(
                "Parameters of batching; null without batching.",
                {
                    "max_batch_size": count("Largest batch, and largest request."),
                    "timeout_micros": count("Time that a batch waits to be filled, in microseconds."),
                    "pad_inputs": truth("Whether requests of different shapes are padded."),
                    "equal_shapes": truth("Whether clients send all requests in the same shape."),
                    "threads": nullable(count("Batches that run at the same time.")),
                    "allowed_batch_sizes": described("Sizes of batches; empty: any.", list_of({"type": "integer"})),
                },
            )
        ),
        "mixed_precision": nullable(text("Type of numbers of the products, as in bfloat16.")),
    },
)


def serving_config_schema() -> Schema:
    """Return the schema of what serving-config prints."""
    return output(
        "serving-config",
        "What serving-config prints: the configuration files, and the commands that start the server.",
        record(
            "The configuration of a server.",
            {
                "models": rows(
                    "The served models.",
                    {
                        "name": text("Name for clients."),
                        "path": text("Base directory on this machine, or the URL from which versions are pulled."),
                        "base_path": text("Base directory in the server."),
                        "policy": text("Versions that are loaded: latest:1, all, specific:3,4, ..."),
                        "versions": described("Numbers of the loaded versions.", list_of({"type": "integer"})),
                        "labels": by_name("Version of each label.", {"type": "integer"}),
                    },
                ),
                "mounts": rows(
                    "Directories that the server sees.",
                    {"host": text("Directory on this machine."), "server": text("Its path in the server.")},
                ),
                "image": text("Docker image of the server."),
                "directory": text("Directory of the files."),
                "files": texts("Names of the files."),
                "start": by_name("Command that starts the server, by what starts it.", {"type": "string"}),
                **messages("remark", "Remarks on batching"),
                "changes": texts("What a running server will do, a line for each."),
                "settings": SETTINGS,
                "reasons": texts("Why the settings are so, a line for each reason."),
                "clients": texts("What clients should set, a line for each."),
                "dry_run": truth("Whether nothing was written (--dry-run)."),
                "container": nullable(text("With --run: id of the container.")),
                "format": FORMAT,
            },
        ),
    )


_CUDA = nullable(text("Release of CUDA, as in 11.2; null for none, or if it is not known."))
_IMAGE = {
    "version": text("Release of TF Serving."),
    "tag": text("Docker image for CPUs."),
    "gpu_tag": text("Docker image for GPUs."),
    "cuda": text("Release of CUDA in the image for GPUs."),
    "cudnn": text("Release of cuDNN in the image for GPUs."),
    "oldest_driver": text("Oldest NVIDIA driver for the image for GPUs."),
    "driver_suffices": {
        "description": "Whether the driver of this machine runs the image for GPUs; null if that is not known.",
        "type": ["boolean", "null"],
    },
}
_MISFIT = {
    "kind": word("What the server lacks.", "op", "attribute", "value", "missing attribute", "kernel"),
    "op": text("Type of the op."),
    "attribute": text("Attribute of the op; empty where it is the op, or several attributes."),
    "value": text("Value of the attribute; empty unless it is the value."),
    "reason": text("For people."),
    "nodes": texts("Nodes that use it."),
    "remedy": text("What helps, for people; empty where only another release does."),
}
_FIT = nullable(
    record(
        "The SavedModel that was given.",
        {
            "path": text("Its directory."),
            "tensorflow": text("Version of TensorFlow that wrote it; empty if it is not recorded."),
            "nodes": count("Nodes of the graph."),
            "contrib_ops": texts("Ops of tf.contrib."),
            "gpu_ops": texts("Ops that need a server with a GPU."),
            "device": word("What the servers compute on (--for-device).", "cpu", "gpu"),
            "fits": texts("Releases of TF Serving that have all of its ops, attributes and kernels, as in 2.11."),
            "fits_on": record(
                "The same for each device.", {"cpu": texts("Releases for CPUs."), "gpu": texts("Releases for GPUs.")}
            ),
            "serving": by_name(
                "What each release lacks, by release.",
                record(
                    "A release of TF Serving.",
                    {
                        "version": text("Release of TF Serving."),
                        "fits": truth("Whether it has all ops, attributes and kernels."),
                        "misfits": rows("What it lacks.", _MISFIT),
                    },
                ),
            ),
        },
    )
)


def doctor_schema() -> Schema:
    """Return the schema of what doctor prints."""
    return output(
        "doctor",
        "What doctor prints: the versions of this environment, and whether a SavedModel fits TF Serving.",
        record(
            "The diagnosis of an environment, and of a SavedModel.",
            {
                "python": record("This Python.", {"version": text("Its version."), "executable": text("Its path.")}),
                "tensorflow": nullable(
                    record(
                        "The TensorFlow of this Python.",
                        {
                            "package": text("Name of the package."),
                            "version": text("Its version."),
                            "directory": text("Where it is installed."),
                            "cuda": _CUDA,
                            "cudnn": nullable(text("Release of cuDNN that it was built with.")),
                        },
                    )
                ),
                **PROBLEMS,
                "driver": record(
                    "The NVIDIA driver of this machine.",
                    {
                        "version": nullable(text("Its version; null without a driver.")),
                        "gpus": texts("Names of the GPUs."),
                        "remark": text("Why there is no version; empty if there is one."),
                    },
                ),
                "images": rows("Images of TF Serving that go with this environment.", _IMAGE),
                "client": record(
                    "The package tensorflow-serving-api.",
                    {
                        "installed": nullable(text("Its version.")),
                        "install": nullable(text("Command that installs the fitting one.")),
                    },
                ),
                "saved_model": _FIT,
                "format": FORMAT,
            },
        ),
    )
