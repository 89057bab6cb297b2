"""The schema of signature files, made of the tables with which they are read.

What a schema can't say, and the reader refuses:

- names that must be somewhere else: an option `$NAME` of the file, a result of a step, the inputs and dimensions of
  `parity`, equal inputs of two signatures, one string input [batch] for pictures, outputs of a signature of pages;
- values of options: that one fits where `$NAME` is written; and that "$NAME" in quotes is text;
- numbers: a smaller and a larger one in `uniform`, as many of `mean` and `scale` as there are channels, 32.0 where a
  whole number is expected, NaN;
- whether a regular expression of `graph.map` and its replacement are valid, and whether a character file can be read;
- what YAML reads unexpectedly (dates, numbers of base 60 or 8), a key that is given twice, control characters, tags,
  merge keys, and the limits for the size of a file.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping

from ckpt2saved.signature.model import FUNCTION, META
from ckpt2saved.signature.schema import FORMAT, RESERVED
from ckpt2saved.signature.step_kinds import (
    AFTER,
    BEFORE,
    BEFORE_LINES,
    NAME_SCHEMA,
    OPTION_SCHEMA,
    OptionValue,
    StepKind,
)
from ckpt2saved.signature.steps import Failed
from ckpt2saved.signature.tensors import DEFAULT_SIGNATURE, DTYPES, LARGEST_SIZE, TENSOR_NAME
from ckpt2saved.signature.yaml_nodes import LONGEST_NAME
from tools.schemas.parts import (
    Schema,
    described,
    document,
    enumeration,
    list_of,
    mapping,
    one_of,
    reference,
)

_SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_KEY: Schema = {"minLength": 1, "maxLength": LONGEST_NAME}
_TRUTH: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 1}
_SIZE: Schema = {"type": "integer", "minimum": 0, "maximum": LARGEST_SIZE}


def _pattern(expression: str) -> str:
    """Return a regular expression of Python as one of JSON Schema, which ends in $."""
    assert expression.endswith(r"\Z")
    return f"^{expression[:-2]}$"


_TENSOR: Schema = {**NAME_SCHEMA, "pattern": _pattern(TENSOR_NAME.pattern)}


def signature_schema() -> Schema:
    """Return the schema of a signature file."""
    required = {
        "format": described("Format of the file. This version of ckpt2saved reads 1.", {"const": FORMAT}),
        "signatures": described(
            "What the served model offers: for each signature its inputs, outputs and steps. serving_default is the one"
            " of requests that name none.",
            {
                "type": "object",
                "required": [DEFAULT_SIGNATURE],
                "properties": {
                    DEFAULT_SIGNATURE: {
                        "description": "The signature of requests that name none.",
                        "allOf": [reference("signature")],
                    }
                },
                "propertyNames": {**_KEY, "pattern": f"^(?!{RESERVED})"},
                "additionalProperties": reference("signature"),
            },
        ),
    }
    optional = {
        "graph": _graph(),
        "options": described(
            "Options of steps, with their defaults: --option NAME=VALUE gives another value, and a step refers to one"
            " as $NAME. An option without a default leaves out the signatures that need it, unless it is given.",
            {
                "type": "object",
                "propertyNames": _KEY,
                "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
            },
        ),
        "parity": described(
            "Inputs for which the exported files must answer as the checkpoint does. Pictures are made where none are"
            " given.",
            list_of(reference("parity_case"), minItems=1),
        ),
    }
    definitions = {
        "signature": _signature(),
        "tensor": _tensor(["dtype", "shape"]),
        "named_tensor": _tensor(["dtype", "shape", "tensor"]),
        "tensors": _tensors(),
        "feed": _feed(),
        "before": _step(BEFORE),
        "before_lines": _step(BEFORE_LINES),
        "after": _step(AFTER),
        "option": described("The value of an option of this file: $NAME.", OPTION_SCHEMA),
        "parity_case": _parity_case(),
        "values": one_of(_SCALAR, list_of(reference("values"))),
    }
    return document(
        "A signature file: how clients see a model, and the steps before and after the network.",
        "A YAML file for `ckpt2saved export --model FILE.yaml`. Reading the file checks more than a schema can say.",
        mapping(required, optional),
        definitions,
    )


def _graph() -> Schema:
    optional = {
        "builder": described(
            f"Where the graph comes from: {META} (default) for the training's graph beside the checkpoint, the name of"
            " a built-in network, or a function as package.module:function.",
            {**NAME_SCHEMA, "pattern": f"^([^:]*|{FUNCTION.pattern[:-2]})$", "default": META},
        ),
        "options": described(
            "Arguments of the builder; --option NAME=VALUE overrides them.",
            {"type": "object", "propertyNames": _KEY, "additionalProperties": _SCALAR},
        ),
        "set": described(
            f"Values of training switches, by node; only for a graph of {META}.",
            {"type": "object", "propertyNames": _KEY, "additionalProperties": _SCALAR},
        ),
        "map": described(
            "Regular expressions and their replacements: names of the graph's variables to names in the checkpoint.",
            {
                "type": "object",
                "propertyNames": _KEY,
                "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": LONGEST_NAME},
            },
        ),
        "keep_training_ops": described("Keep dropout and the like as they are in training.", _TRUTH),
        "allow_labels": described(f"Labels may be inputs; only for a graph of {META}.", _TRUTH),
        "weights": described(
            "Which values of a variable are served: raw, or ema for its moving average. Default: as the graph shows.",
            enumeration(["raw", "ema"]),
        ),
        "decode": described("A CTC beam search that is appended to the graph.", _decode()),
    }
    is_meta = {"properties": {"builder": {"const": META}}}  # also without a builder
    only_meta = {"properties": {"set": False, "allow_labels": False}}
    is_function = {"required": ["builder"], "properties": {"builder": {"type": "string", "pattern": ":"}}}
    return described(
        "The graph of the network, and what is changed of it.",
        {
            **mapping({}, optional),
            "if": is_meta,
            "then": {"properties": {"options": {"maxProperties": 0}}},
            "else": {**only_meta, "if": is_function, "else": {"properties": {"keep_training_ops": False}}},
        },
    )


def _decode() -> Schema:
    return mapping(
        {"logits": described("Logits [time, batch, classes] or [batch, time, classes], the blank last.", _TENSOR)},
        {
            "beam_width": described("Number of prefixes that the search keeps.", {**_COUNT, "default": 10}),
            "top_paths": described("Number of answers for each line.", {**_COUNT, "default": 1}),
            "merge_repeated": described("Join equal neighbours in the answer.", {**_TRUTH, "default": False}),
            "sequence_length": described(
                "Number of steps that count: an int32 tensor [batch], or full for all of them.",
                {**_TENSOR, "default": "full"},
            ),
        },
    )


def _signature() -> Schema:
    required = {
        "inputs": described("Tensors of a request, by the keys that clients use.", reference("tensors")),
        "outputs": described("Tensors of an answer, by the keys that clients use.", reference("tensors")),
    }
    optional = {
        "preprocess": described(
            "Steps before the network: from the bytes of pictures to its input. With resize_page the network gets one"
            " page at a time.",
            {
                **list_of(reference("before")),
                "allOf": [
                    _only_at(0, "decode"),
                    _only_at(1, "resize", "resize_page"),
                    _after("decode", "resize", "resize_page"),
                    _no_pad_of_pages(),
                ],
            },
        ),
        "feed": described("What each input of the network gets.", reference("feed")),
        "postprocess": described("Steps after the network, in order.", list_of(reference("after"))),
        "each_line": described(
            "Steps around a second network, which reads the lines that the first one finds on pages.",
            mapping(
                {
                    "preprocess": described(
                        "Steps before the second network: crop_lines first.",
                        {
                            **list_of(reference("before_lines"), minItems=1),
                            "allOf": [_only_at(0, "crop_lines"), {"items": [_is_step("crop_lines")]}],
                        },
                    ),
                    "feed": described("What each input of the second network gets.", reference("feed")),
                },
                {"postprocess": described("Steps after the second network.", list_of(reference("after")))},
            ),
        ),
    }
    of_pages = {"preprocess": {"minItems": 2, "items": [True, _is_step("resize_page")]}}
    dependencies: Dict[str, Any] = {name: ["feed"] for name in ("preprocess", "postprocess")}
    dependencies["each_line"] = {"required": ["feed", "preprocess"], "properties": of_pages}
    return mapping(required, optional, dependencies=dependencies)


def _is_step(*names: str) -> Schema:
    """Return a schema of the steps with these names."""
    return one_of({"enum": list(names)}, *({"type": "object", "required": [name]} for name in names))


def _only_at(place: int, *names: str) -> Schema:
    """Return a schema of lists that have these steps at one place alone."""
    other = {"not": _is_step(*names)}
    return {"items": [*([other] * place), True], "additionalItems": other}


def _after(first: str, *names: str) -> Schema:
    """Return a schema of lists that have the step `first` before one of these."""
    return {"if": {"contains": _is_step(*names)}, "then": {"items": [_is_step(first)]}}


def _no_pad_of_pages() -> Schema:
    return {"if": {"contains": _is_step("resize_page")}, "then": {"items": {"not": _is_step("pad")}}}


def _tensors() -> Schema:
    """Return a schema of tensors by key; a key that is no tensor's name needs `tensor`."""
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": _KEY,
        "patternProperties": {_TENSOR["pattern"]: reference("tensor")},
        "additionalProperties": reference("named_tensor"),
    }


def _tensor(required: Any) -> Schema:
    size = one_of(
        described("A size.", _SIZE),
        described("Name of a size that requests choose.", {"type": "string", "minLength": 1}),
    )
    properties = {
        "dtype": described("Type of the values.", enumeration(DTYPES)),
        "shape": described(
            "Dimensions: a size, or a name for one that varies, as in [batch, 32, width, 3]; [] for a single value.",
            list_of(size),
        ),
        "tensor": described(
            "Name of the tensor in the graph, node or node:output, or of a result of a step. Default: the key.", _TENSOR
        ),
    }
    return mapping({name: properties.pop(name) for name in required}, properties)


def _feed() -> Schema:
    source = "What the input gets: images, widths, sizes, steps or status of the steps, or an input of the signature."
    divided = mapping(
        {"from": described(source, NAME_SCHEMA)},
        {
            "divide_by": described(
                "Divide by it without remainder, as the network's pooling does.",
                {**one_of(_COUNT, reference("option")), "default": 1},
            )
        },
    )
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": _KEY,
        "additionalProperties": described(source, one_of(NAME_SCHEMA, divided)),
    }


def _step(kinds: Mapping[str, StepKind]) -> Schema:
    """Return a schema of one step: its name, or a mapping from its name to its options."""
    bare = [name for name, kind in kinds.items() if not _required(kind) and kind.make is not Failed]
    options = {name: described(kind.text, _options(kind)) for name, kind in kinds.items()}
    one = mapping({}, options, minProperties=1, maxProperties=1)
    return one_of(enumeration(bare), one) if bare else one


def _required(kind: StepKind) -> Mapping[str, OptionValue]:
    return {name: value for name, value in kind.values.items() if value.is_required}


def _options(kind: StepKind) -> Schema:
    if kind.make is Failed:
        return {"type": "object", "propertyNames": _KEY, "additionalProperties": _SCALAR}
    required = {name: _option(value) for name, value in _required(kind).items()}
    return mapping(required, {name: _option(value) for name, value in kind.values.items() if name not in required})


def _option(value: OptionValue) -> Schema:
    is_name = value.kind.schema is NAME_SCHEMA  # as is a name, whatever it begins with
    kinds = [value.kind.schema, *([] if is_name else [reference("option")])]
    kinds += [] if value.is_required else [{"type": "null"}]
    schema = one_of(*kinds) if len(kinds) > 1 else dict(value.kind.schema)
    return described(value.text, {**schema, **({} if value.default is None else {"default": value.default})})


def _parity_case() -> Schema:
    uniform = described(
        "Random numbers from the first on, below the second.",
        list_of({"type": "number"}, minItems=2, maxItems=2),
    )
    example = {**mapping({}, {"uniform": uniform, "values": _values()}), "minProperties": 1, "maxProperties": 1}
    return mapping(
        {
            "inputs": described(
                "A value for each input of the signatures: random numbers, or the values themselves.",
                {"type": "object", "propertyNames": _KEY, "additionalProperties": example},
            )
        },
        {
            "dims": described(
                "A size for each name of a dimension of the inputs.",
                {"type": "object", "propertyNames": _KEY, "additionalProperties": _SIZE},
            )
        },
    )


def _values() -> Schema:
    return described("The values, with the shape of the input; !!binary for bytes.", one_of(reference("values")))
