"""The OpenAPI document as generators of clients want it. Pure.

FastAPI's and pydantic's documents are valid; what generators stumble over is put right here, for
every path alike: names that are no identifiers, several things of one name, defaults that their
own schema forbids, answers of bytes without a schema.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_NO_IDENTIFIER = re.compile(r"\W+")
_REFERENCE = "#/components/schemas/"
_BYTES = {"type": "string", "format": "binary"}
_OCTETS = "application/octet-stream"
_FORM = "multipart/form-data"
_VERBS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


_PRIORITY = {
    "name": "X-Priority",
    "in": "header",
    "required": False,
    "description": "how long the request may be put off for others",
    "schema": {"type": "string", "enum": ["high", "normal", "low"], "default": "normal"},
}


def friendly(document: dict[str, Any]) -> dict[str, Any]:
    """The same document, changed in place.

    - operationIds are identifiers, each of its own;
    - schemas of components have short names, which are their only titles;
    - the $defs of schemas inside of paths are components;
    - defaults are values that their schemas allow; enums have one spelling of each value;
    - bodies of bytes say so, and inferences take a priority;
    - fields of forms are left out instead of null, which a form can't say.
    """
    _lift_definitions(document)
    _shorten_names(document)
    for operation in _operations(document):
        for content in _contents(operation):
            if _OCTETS in content and not content[_OCTETS].get("schema"):
                content[_OCTETS]["schema"] = dict(_BYTES)
            for field in content.get(_FORM, {}).get("schema", {}).get("properties", {}).values():
                _drop_null(field)
        if "504" in operation["responses"]:
            operation["parameters"] = [*operation.get("parameters", ()), dict(_PRIORITY)]
    for schema in _schemas(document):
        _mend(schema)
    for name, schema in document["components"]["schemas"].items():
        schema["title"] = name
    _name_operations(document)
    return document


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        for verb, operation in item.items():
            if verb in _VERBS:
                yield operation


def _contents(operation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if "requestBody" in operation:
        yield operation["requestBody"]["content"]
    for answer in operation["responses"].values():
        yield answer.get("content", {})


def _roots(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Where schemas begin."""
    yield from document["components"]["schemas"].values()
    for operation in _operations(document):
        for content in _contents(operation):
            yield from (media["schema"] for media in content.values() if "schema" in media)
        yield from (one["schema"] for one in operation.get("parameters", []) if "schema" in one)


def _schemas(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for root in _roots(document):
        yield from _within(root)


def _within(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and those in it. (Not everything that is an object: properties may be called
    ``title`` and ``default``, and examples are values.)"""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("properties", "patternProperties", "$defs"):
        for inner in schema.get(key, {}).values():
            yield from _within(inner)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for inner in schema.get(key, ()):
            yield from _within(inner)
    for key in ("items", "additionalProperties", "not"):
        yield from _within(schema.get(key))


def _lift_definitions(document: dict[str, Any]) -> None:
    """References to ``#/$defs`` lead nowhere from within a path."""
    components = document.setdefault("components", {}).setdefault("schemas", {})
    for root in list(_roots(document)):
        definitions = root.pop("$defs", {})
        names = {}
        for name, schema in definitions.items():
            names[f"#/$defs/{name}"] = _REFERENCE + _placed(components, name, schema)
        _rename_references(root, names)
        for schema in definitions.values():
            _rename_references(schema, names)


def _placed(components: dict[str, Any], name: str, schema: dict[str, Any]) -> str:
    """The name under which a schema is among the components: its own, unless another has it."""
    number, free = 1, name
    while free in components and _canonical(components[free]) != _canonical(schema):
        number += 1
        free = f"{name}{number}"
    components.setdefault(free, schema)
    return free


def _canonical(schema: Any) -> str:
    text = json.dumps(schema, sort_keys=True)
    return text.replace("#/$defs/", _REFERENCE)


def _shorten_names(document: dict[str, Any]) -> None:
    """Names without modules (FastAPI writes them where two classes share a name) or brackets."""
    components = document["components"]["schemas"]
    names: dict[str, str] = {}
    taken: set[str] = set()
    for name in components:
        short = _NO_IDENTIFIER.sub("_", name.rpartition("__")[2]).strip("_")
        short = "".join(part[:1].upper() + part[1:] for part in short.split("_")) or "Schema"
        number, free = 1, short
        while free in taken:
            number += 1
            free = f"{short}{number}"
        taken.add(free)
        names[name] = free
    document["components"]["schemas"] = {names[name]: one for name, one in components.items()}
    references = {_REFERENCE + name: _REFERENCE + short for name, short in names.items()}
    for root in _roots(document):
        _rename_references(root, references)


def _rename_references(root: dict[str, Any], names: Mapping[str, str]) -> None:
    for schema in _within(root):
        if "$ref" in schema:
            schema["$ref"] = names.get(schema["$ref"], schema["$ref"])
        mapping = schema.get("discriminator", {}).get("mapping", {})
        for key, value in mapping.items():
            mapping[key] = names.get(value, value)


def _mend(schema: dict[str, Any]) -> None:
    schema.pop("title", None)
    if "default" in schema and schema["default"] is None and not _takes_null(schema):
        del schema["default"]
    values = schema.get("enum")
    if isinstance(values, list):
        spellings: dict[Any, Any] = {}
        for value in values:
            spellings.setdefault(value.lower() if isinstance(value, str) else value, value)
        schema["enum"] = list(spellings.values())


def _drop_null(schema: dict[str, Any]) -> None:
    kept = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(kept) == 1:
        del schema["anyOf"]
        schema.update(kept[0])


def _takes_null(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    if kind is not None:
        return kind == "null" or (isinstance(kind, list) and "null" in kind)
    inner = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if inner:
        return any(_takes_null(one) for one in inner)
    return not {"$ref", "enum", "const", "allOf"} & schema.keys()


def _name_operations(document: Mapping[str, Any]) -> None:
    taken: set[str] = set()
    for operation in _operations(document):
        name = _NO_IDENTIFIER.sub("_", operation.get("operationId", "operation")).strip("_")
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free)
        operation["operationId"] = free
