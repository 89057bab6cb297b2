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


def text(description: str, **more: Any) -> Schema:
    """Return a schema of a string."""
    return {"description": description, "type": "string", **more}


def word(description: str, *words: str) -> Schema:
    """Return a schema of one of some strings."""
    return {"description": description, "type": "string", "enum": list(words)}


def count(description: str, least: int = 0) -> Schema:
    """Return a schema of a whole number."""
    return {"description": description, "type": "integer", "minimum": least}


def number(description: str, **more: Any) -> Schema:
    """Return a schema of a number."""
    return {"description": description, "type": "number", **more}


def truth(description: str) -> Schema:
    """Return a schema of true or false."""
    return {"description": description, "type": "boolean"}


def texts(description: str) -> Schema:
    """Return a schema of a list of strings."""
    return {"description": description, "type": "array", "items": {"type": "string"}}


def rows(description: str, properties: Mapping[str, Schema], optional: Mapping[str, Schema] = {}) -> Schema:
    """Return a schema of a list of objects, to which later releases may add keys."""
    return described(description, list_of(mapping(properties, optional, is_open=True)))


def record(description: str, properties: Mapping[str, Schema], optional: Mapping[str, Schema] = {}) -> Schema:
    """Return a schema of an object, to which later releases may add keys."""
    return described(description, mapping(properties, optional, is_open=True))


def by_name(description: str, values: Mapping[str, Any]) -> Schema:
    """Return a schema of an object whose keys are names."""
    return {"description": description, "type": "object", "additionalProperties": dict(values)}


def nullable(schema: Mapping[str, Any]) -> Schema:
    """Return a schema of what fits this one, or null."""
    if "type" not in schema:
        outer = {"description": schema["description"]} if "description" in schema else {}
        return {**outer, **one_of(schema, {"type": "null"})}
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    found: Schema = {**schema, "type": [*kinds, "null"]}
    if "enum" in schema:
        found["enum"] = [*schema["enum"], None]
    return found
