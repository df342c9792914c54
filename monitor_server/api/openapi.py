"""The OpenAPI document: bodies are read by hand, bounded and fast, so their schemas are put in by hand too."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from monitor_server.api.examples import EXAMPLES
from trainguard.wire import ACTIONS

_SCHEMAS = "#/components/schemas/"
_bodies: dict[str, type[BaseModel]] = {}


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """``openapi_extra`` of a route whose body is ``model``."""
    _bodies[model.__name__] = model
    content: dict[str, Any] = {"schema": {"$ref": _SCHEMAS + model.__name__}}
    if model.__name__ in EXAMPLES:
        content["example"] = EXAMPLES[model.__name__]
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        _, definitions = models_json_schema(
            [(model, "validation") for model in _bodies.values()], ref_template=_SCHEMAS + "{model}"
        )
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        for name, schema in definitions["$defs"].items():
            schemas.setdefault(name, schema)
        _name_the_actions(schemas)
        problem = {"content": {"application/problem+json": {"schema": {"$ref": _SCHEMAS + "Problem"}}}}
        schemas["Problem"] = _PROBLEM
        for operations in made["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = {"description": "What is wrong, and where.", **problem}
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = made
    return app.openapi_schema


def _name_the_actions(schemas: dict[str, Any]) -> None:
    """Say of every order that it bears its action: pydantic only knows a default, and then one fits several kinds."""
    for model in ACTIONS.values():
        told = schemas.get(model.__name__)
        if told is not None:
            told["required"] = list(dict.fromkeys(["action", *told.get("required", ())]))
    if "UnknownOrder" in schemas:
        schemas["UnknownOrder"]["properties"]["action"]["not"] = {"enum": list(ACTIONS)}


_PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457.",
    "type": "object",
    "required": ["title", "status", "code", "detail", "errors"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "For programs; unknown_run, invalid_envelope, …"},
        "detail": {"type": "string", "description": "For people: one sentence."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
