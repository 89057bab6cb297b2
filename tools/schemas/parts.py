"""Parts of JSON Schemas. All are of draft-07, the newest one that editors, validators and generators alike can read."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Sequence

Schema = Dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"


def described(text: str, schema: Mapping[str, Any]) -> Schema:
    """Return a copy of the schema with this description."""
    return {"description": text, **schema}


def document(title: str, text: str, schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    """Return a whole schema; `title` is the sentence by which `ckpt2saved schema` lists it."""
    whole: Schema = {"$schema": DRAFT, "title": title, "description": text, **schema}
    if definitions:
        whole["definitions"] = {name: definitions[name] for name in sorted(definitions)}
    return whole


def reference(name: str) -> Schema:
    """Return a reference to a definition."""
    return {"$ref": f"#/definitions/{name}"}


def one_of(*schemas: Mapping[str, Any]) -> Schema:
    """Return a schema of values that fit one of these, or several."""
    return {"anyOf": [dict(schema) for schema in schemas]}


def mapping(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] = {}, *, is_open: bool = False, **more: Any
) -> Schema:
    """Return a schema of an object with these keys; other keys are allowed if it `is_open`."""
    schema: Schema = {"type": "object", "properties": {**required, **optional}}
    if required:
        schema["required"] = list(required)
    if not is_open:
        schema["additionalProperties"] = False
    return {**schema, **more}


def list_of(items: Mapping[str, Any], **more: Any) -> Schema:
    """Return a schema of an array whose items all fit the same schema."""
    return {"type": "array", "items": dict(items), **more}


def enumeration(values: Sequence[Any]) -> Schema:
    """Return a schema of some values."""
    return {"enum": list(values)}
