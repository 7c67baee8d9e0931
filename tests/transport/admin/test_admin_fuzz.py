"""Generated requests, right and wrong, to every operation of the admin API: no 500, and replies as documented.

A seeded handful of each; `bench/fuzz_admin.py` sends thousands with schemathesis.
"""

from __future__ import annotations

import random
from typing import Any

import aiohttp
import jsonschema

from henslowe.transport.admin.api import all_routes
from henslowe.transport.admin.openapi import document

LEFT_OUT = {"/admin/v1/stop", "/admin/v1/events/stream"}
"""The node's end, and a stream that has none."""
PER_OPERATION = 12
HOSTILE = [
    "",
    "x",
    "-1",
    "0",
    "1",
    "99999999999999999999",
    "1.5",
    "true",
    "null",
    "[]",
    "a" * 3_000,
    "é\u202e",
    "%00",
    "..",
]
VALUES: list[Any] = [None, True, -1, 0, 1, 2**70, 1.5, "", "x", "x" * 5_000, [], [1], {}, {"x": 1}, "\u0000"]


class Requests:
    """A seeded source of requests for one document."""

    def __init__(self, spec: dict[str, Any], seed: int) -> None:
        self._random = random.Random(seed)
        self._spec = spec

    def path(self, template: str, operation: dict[str, Any]) -> str:
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                schema = parameter["schema"]
                known = [*schema.get("enum", []), "hello", "admin", 1]
                value = str(self._random.choice(known if self._random.random() < 0.6 else HOSTILE[1:])).replace("/", "")
                template = template.replace(
                    "{" + parameter["name"] + "}", value.replace("..", "dots").replace("%", "p")
                )
        return template

    def query(self, operation: dict[str, Any]) -> list[tuple[str, str]]:
        names = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"]
        names += ["unknown"] if self._random.random() < 0.1 else []
        return [(name, self._random.choice(HOSTILE)) for name in names if self._random.random() < 0.4]

    def body(self, operation: dict[str, Any]) -> Any:
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        schema = self._spec["components"]["schemas"][reference.rpartition("/")[2]]
        if self._random.random() < 0.2:
            return self._random.choice(VALUES)
        return {name: self._random.choice(VALUES) for name in schema["properties"] if self._random.random() < 0.5}


async def test_generated_requests_get_documented_replies(local: aiohttp.ClientSession) -> None:
    spec = document(all_routes())
    requests = Requests(spec, seed=1)
    told: dict[int, int] = {}
    for template, item in spec["paths"].items():
        for method, operation in item.items():
            for _ in range(0 if template in LEFT_OUT else PER_OPERATION):
                path, query = requests.path(template, operation), requests.query(operation)
                body = {"json": requests.body(operation)} if "requestBody" in operation else {}
                async with local.request(method, path, params=query, **body) as response:
                    content = await response.read()
                    status, kind = response.status, response.content_type
                    told[status] = told.get(status, 0) + 1
                    asked = f"{method} {path} {query} {body}: {status} {content[:500]!r}"
                    assert status < 500 or str(status) in operation["responses"], asked
                    documented = operation["responses"].get(str(status), operation["responses"]["default"])["content"]
                    assert kind in documented, asked
                    if kind == "application/json":
                        schema = {**documented[kind]["schema"], "components": spec["components"]}
                        wrong = jsonschema.Draft202012Validator(schema).iter_errors(await response.json())
                        assert [error.message[:500] for error in wrong] == [], asked
    assert told[200] > 50, "right requests are among them"
    assert sum(count for status, count in told.items() if 400 <= status < 500) > 50, "and wrong ones"
