"""The OpenAPI 3.1 document, generated from the route table and the models: it cannot say anything else than the code.

Source: OpenAPI Specification 3.1.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic.json_schema import models_json_schema

from henslowe import __version__
from henslowe.transport.admin.edge import Route
from henslowe.transport.admin.models.base import ActionName, ErrorReply, LineName, Reply, Request

_REFERENCE = "#/components/schemas/{model}"
_PATH_SCHEMAS: dict[str, dict[str, Any]] = {
    "service": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"},
    "version": {"type": "integer", "minimum": 1},
    "seq": {"type": "integer", "minimum": 1},
    "action": {"type": "string", "enum": list(get_args(ActionName))},
    "line_action": {"type": "string", "enum": list(get_args(LineName))},
    "token": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$", "description": "Its name or id."},
    "secret": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"},
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The document for these routes."""
    schemas = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Henslowe admin API",
            "version": __version__,
            "description": "Replies are additive: ignore fields you do not know. Errors have one shape everywhere.",
        },
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in sorted(schemas.items()) if not _is_query(name, routes)},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The content of <data>/admin.token, or a token with the scope that the operation "
                    "lists. Not needed on the node's Unix socket.",
                }
            },
        },
        "security": [{"token": []}],
    }


def _schemas(routes: Sequence[Route]) -> dict[str, Any]:
    models: dict[type[Reply | Request], None] = {ErrorReply: None}
    for route in routes:
        for model in (route.reply, route.query, route.body):
            if model is not None:
                models[model] = None
    _, definitions = models_json_schema(
        [(model, "serialization" if issubclass(model, Reply) else "validation") for model in models],
        ref_template=_REFERENCE,
    )
    found: dict[str, Any] = definitions["$defs"]
    return found


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    unnamed = {"type": "object" if "application/json" in route.media else "string"}
    content = {"schema": {"$ref": _ref(route.reply)} if route.reply is not None else unnamed}
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', route.path).strip('_')}",
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route, schemas)],
        "responses": {
            str(route.status): {"description": route.summary, "content": dict.fromkeys(route.media, content)},
            "default": {
                "description": "What went wrong",
                "content": {"application/json": {"schema": {"$ref": _ref(ErrorReply)}}},
            },
        },
    }
    if route.body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": {"$ref": _ref(route.body)}}}}
    if "text/event-stream" in route.media:
        operation["parameters"].append(
            {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "integer", "minimum": 0}}
        )
    operation["security"] = [] if route.open else [{"token": [route.needed]}]
    if route.open and route.reply is not None:
        operation["responses"]["503"] = {
            "description": "No",
            "content": {"application/json": {"schema": {"$ref": _ref(route.reply)}}},
        }
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", route.path)
    return [{"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[name]} for name in names]


def _query_parameters(route: Route, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = schemas[route.query.__name__]
    required = schema.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": {key: value for key, value in inner.items() if key != "title"},
        }
        for name, inner in schema["properties"].items()
    ]


def _is_query(name: str, routes: Sequence[Route]) -> bool:
    """A query's model is spread over parameters and not referenced."""
    return any(route.query is not None and route.query.__name__ == name for route in routes)


def _ref(model: type[Reply | Request]) -> str:
    return _REFERENCE.format(model=model.__name__)
