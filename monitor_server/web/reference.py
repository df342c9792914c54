"""The API's reference for people, made from the OpenAPI document: one entry per operation, by tag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the path or the query."""

    name: str
    place: str
    kind: str
    words: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path; ``takes`` and ``gives`` are names of schemas, empty where there are none."""

    method: str
    path: str
    words: str
    parameters: tuple[Parameter, ...]
    takes: str
    gives: str


def operations(document: Mapping[str, Any]) -> dict[str, list[Operation]]:
    """Every operation, under its first tag, in the order of the document."""
    found: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            tag = (told.get("tags") or ["other"])[0]
            good: Mapping[str, Any] = next(
                (answer for code, answer in told["responses"].items() if code.startswith("2")), {}
            )
            operation = Operation(
                method=method.upper(),
                path=path,
                words=told.get("description", ""),
                parameters=tuple(_parameter(one) for one in told.get("parameters", ())),
                takes=_schema_name(told.get("requestBody", {})),
                gives=_schema_name(good),
            )
            found.setdefault(tag, []).append(operation)
    return found


def _parameter(told: Mapping[str, Any]) -> Parameter:
    return Parameter(told["name"], told["in"], _kind(told.get("schema", {})), told.get("description", ""))


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words: its choices, or its type."""
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return ", ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type", ""))


def _schema_name(told: Mapping[str, Any]) -> str:
    schema = told.get("content", {}).get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).rpartition("/")[2]
