from __future__ import annotations

import re
from typing import Any

import aiohttp
import jsonschema
import pytest
from aiohttp import web

from henslowe.transport.admin.api import add_admin, all_routes
from henslowe.transport.admin.openapi import document
from tests.transport.admin.small_node import Served

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return document(all_routes())


def operations(spec: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, each) for path, item in spec["paths"].items() for method, each in item.items()]


def test_every_route_that_is_served_is_described_and_no_other(served: Served) -> None:
    app = web.Application()
    add_admin(app, served.admin)
    served_routes = {
        (route.resource.canonical, route.method.lower())
        for route in app.router.routes()
        if route.resource is not None and route.method != "*"
    }
    assert served_routes == {(path, method) for path, method, _ in operations(document(all_routes()))}


def test_every_reference_resolves(spec: dict[str, Any]) -> None:
    references = set(re.findall(r"'\$ref': '([^']+)'", repr(spec)))
    assert references
    for reference in references:
        assert reference.startswith("#/components/schemas/")
        assert reference.rpartition("/")[2] in spec["components"]["schemas"]


def test_every_schema_is_a_schema_of_the_dialect_that_openapi_3_1_prescribes(spec: dict[str, Any]) -> None:
    for schema in spec["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for _, _, operation in operations(spec):
        for parameter in operation["parameters"]:
            jsonschema.Draft202012Validator.check_schema(parameter["schema"])


def test_the_document_has_the_shape_that_openapi_3_1_prescribes(spec: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", spec["openapi"])
    assert set(spec) <= {"openapi", "info", "paths", "components", "security", "servers", "tags"}
    assert {"title", "version"} <= set(spec["info"])
    identifiers = [operation["operationId"] for _, _, operation in operations(spec)]
    assert len(set(identifiers)) == len(identifiers)
    for path, method, operation in operations(spec):
        assert path.startswith("/")
        assert method in METHODS
        in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        keys = [(p["in"], p["name"]) for p in operation["parameters"]]
        assert len(set(keys)) == len(keys)
        for parameter in operation["parameters"]:
            assert parameter["in"] in {"path", "query", "header"}
            assert parameter["in"] != "path" or parameter["required"] is True
            assert "schema" in parameter
        assert operation["responses"]
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d|default", status)
            assert response["description"]
            assert all("/" in media for media in response["content"])
        if "requestBody" in operation:
            assert operation["requestBody"]["content"]
    schemes = spec["components"]["securitySchemes"]
    assert all(name in schemes for requirement in spec["security"] for name in requirement)


def test_only_the_probes_and_the_metrics_are_open(spec: dict[str, Any]) -> None:
    opened = {path for path, _, operation in operations(spec) if operation.get("security") == []}
    assert opened == {"/livez", "/readyz", "/metrics"}


@pytest.mark.parametrize(
    "path",
    [
        "/livez",
        "/readyz",
        "/admin/v1/status",
        "/admin/v1/tree",
        "/admin/v1/config",
        "/admin/v1/services",
        "/admin/v1/services/{service}",
        "/admin/v1/services/{service}/versions",
        "/admin/v1/services/{service}/logs",
        "/admin/v1/events",
    ],
)
async def test_replies_are_what_the_document_promises(
    served: Served, local: aiohttp.ClientSession, spec: dict[str, Any], path: str
) -> None:
    await served.node.say("output", "STAGE_OUTPUT", "INFO", "hello", 4, source="test", channel="stderr", line="x")
    await served.node.say("lifecycle", "PROMOTE", "SUCCESS", "hello", 4, by="somebody")
    schema = spec["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    async with local.get(path.replace("{service}", "hello")) as response:
        body = await response.json()
    jsonschema.Draft202012Validator({**schema, "components": spec["components"]}).validate(body)


async def test_the_document_is_served(local: aiohttp.ClientSession, spec: dict[str, Any]) -> None:
    async with local.get("/admin/v1/openapi.json") as response:
        assert response.content_type == "application/json"
        assert await response.json() == spec
