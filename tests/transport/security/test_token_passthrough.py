"""A client's token ends at the gateway: no server behind it ever sees one, whatever it is and however it comes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.transport.security.house import House


def sent_upstream(house: House, token: str, **headers: str) -> dict[str, str]:
    status, _, body = house.mcp("tools/call", {"name": "headers", "arguments": {}}, token=token, **headers)
    assert status == 200, body
    said: dict[str, Any] = json.loads(body["result"]["content"][0]["text"])
    return {name.lower(): value for name, value in said.items()}


@pytest.mark.parametrize("kind", ["node", "oauth", "root"])
def test_a_clients_token_is_never_passed_on(house: House, kind: str) -> None:
    token = {
        "node": lambda: house.token("passing"),
        "oauth": lambda: house.issuer.token(aud=f"{house.node.url}/mcp"),
        "root": lambda: house.root,
    }[kind]()
    seen = sent_upstream(house, token, X_Api_Key="mine", Cookie="a=b", Proxy_Authorization="Basic eA==")
    assert "authorization" not in seen
    assert not {"x-api-key", "cookie", "proxy-authorization"} & seen.keys()
    assert seen["x-upstream-key"] == "upstream-credential", "the server is shown the node's own credential"
    for heard, message in list(house.upstream.heard):
        assert token not in json.dumps([heard, message])


def test_what_belongs_to_the_call_does_travel(house: House) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert sent_upstream(house, house.root, Traceparent=trace)["traceparent"] == trace


def test_a_token_for_somebody_else_is_not_taken(house: House) -> None:
    for audience in ("https://other.example/mcp", house.issuer.url, "henslowe"):
        status, headers, _ = house.mcp("tools/list", token=house.issuer.token(aud=audience))
        assert status == 401
        assert 'error="invalid_token"' in headers["www-authenticate"]
