# SPDX-License-Identifier: Apache-2.0
"""The part of JSON Schema 2020-12 that our schemas use; a keyword it does not know fails the test that uses it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_NOTES = {"$schema", "$defs", "title", "description"}
_KNOWN = _NOTES | {
    "type",
    "const",
    "enum",
    "pattern",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "minItems",
    "anyOf",
    "$ref",
}


def violations(value: object, schema: Mapping[str, Any]) -> list[str]:
    """Every way in which `value` is not what `schema` describes; empty if it is."""
    return list(_check(value, schema, schema, "$"))


def _check(value: object, schema: Mapping[str, Any], root: Mapping[str, Any], at: str) -> Iterator[str]:
    assert set(schema) <= _KNOWN, f"schema keyword at {at}: {set(schema) - _KNOWN}"
    if "$ref" in schema:
        target: Any = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        yield from _check(value, target, root, at)
    yield from _check_value(value, schema, at)
    if "anyOf" in schema and not any(not list(_check(value, one, root, at)) for one in schema["anyOf"]):
        yield f"{at} is none of the alternatives"
    if isinstance(value, dict):
        yield from _check_object(value, schema, root, at)
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{at} is too short"
        for place, item in enumerate(value):
            yield from _check(item, schema.get("items", {}), root, f"{at}[{place}]")


def _check_value(value: object, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    names = schema.get("type", [])
    allowed = [_TYPES[name] for name in ([names] if isinstance(names, str) else names)]
    if allowed and not any(type(value) in kinds for kinds in allowed):
        yield f"{at} is of type {type(value).__name__}, want {names}"
    if "const" in schema and value != schema["const"]:
        yield f"{at} is not {schema['const']!r}"
    if "enum" in schema and not any(type(value) is type(one) and value == one for one in schema["enum"]):
        yield f"{at} is {value!r}, want one of {schema['enum']}"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"{at} is {value!r}, want {schema['pattern']}"


def _check_object(
    value: dict[str, object], schema: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> Iterator[str]:
    yield from (f"{at} has no {name}" for name in schema.get("required", []) if name not in value)
    others = schema.get("additionalProperties", {})
    for name, item in value.items():
        inner = schema.get("properties", {}).get(name, others)
        if inner is False:
            yield f"{at} has an unknown key {name}"
        else:
            yield from _check(item, inner, root, f"{at}.{name}")
