"""What is not a proper request: each with the status and the code that says why, and never a crash."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tests.transport.gateway.world import (
    ACCEPT,
    CAPABILITIES,
    MODERN,
    PROTOCOL,
    LocalServer,
    World,
    call_body,
    echo,
    initialize_body,
    modern_body,
    tool,
    version,
    world,
)

CALL = {"MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/call", "Mcp_Name": "echo"}
LIST = {"MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/list"}


def without(body: Any, *path: str) -> Any:
    holder = body
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    return body


HOSTILE: list[tuple[str, bytes, int, int]] = [
    ("nothing", b"", 400, -32700),
    ("no JSON", b"{nope", 400, -32700),
    ("half a message", b'{"jsonrpc":"2.0","id":1,', 400, -32700),
    ("not UTF-8", b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}', 400, -32700),
    ("a lone surrogate", b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', 400, -32700),
    ("NaN", b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', 400, -32700),
    ("nested too deep", b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 400, -32700),
    ("a number", b"42", 400, -32600),
    ("a string", b'"ping"', 400, -32600),
    ("null", b"null", 400, -32600),
    ("an empty object", b"{}", 400, -32600),
    ("another JSON-RPC", b'{"jsonrpc":"1.0","id":1,"method":"ping"}', 400, -32600),
    ("id null", b'{"jsonrpc":"2.0","id":null,"method":"ping"}', 400, -32600),
    ("id true", b'{"jsonrpc":"2.0","id":true,"method":"ping"}', 400, -32600),
    ("id 1.5", b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 400, -32600),
    ("id an object", b'{"jsonrpc":"2.0","id":{},"method":"ping"}', 400, -32600),
    ("method a number", b'{"jsonrpc":"2.0","id":1,"method":7}', 400, -32600),
    ("method a list", b'{"jsonrpc":"2.0","id":1,"method":["ping"]}', 400, -32600),
    ("method an object", b'{"jsonrpc":"2.0","id":1,"method":{}}', 400, -32600),
    ("params a list", b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', 400, -32602),
    ("a notification with an id", b'{"jsonrpc":"2.0","id":1,"method":"notifications/cancelled"}', 400, -32600),
    ("a tool's name a list", b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["a"]}}', 400, -32602),
    ("no tool's name", b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{}}}', 400, -32602),
    ("no params where a name is", b'{"jsonrpc":"2.0","id":1,"method":"prompts/get"}', 400, -32602),
    ("a URI a number", b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":0}}', 400, -32602),
    (
        "arguments a list",
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":[1]}}',
        400,
        -32602,
    ),
    ("_meta a string", b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":"x"}}', 400, -32602),
    ("no method, no result", b'{"jsonrpc":"2.0","id":1}', 400, -32600),
]


@pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
@pytest.mark.parametrize(("body", "status", "code"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
async def test_hostile_bodies(gw: World, body: bytes, status: int, code: int, modern: bool) -> None:
    gw.serve(LocalServer(version("hello"), {"echo": echo}))
    headers = LIST if modern else {"Mcp_Session_Id": await gw.initialize("/mcp/hello")}
    for path in ("/mcp/hello", "/mcp"):
        if not modern and path == "/mcp":
            headers = {"Mcp_Session_Id": await gw.initialize(path)}
        got, answer, _ = await gw.post(path, None, raw=body, **headers)
        assert (got, answer["error"]["code"]) == (status, code), answer


MODERN_TABLE: list[tuple[str, Any, dict[str, str], int, int]] = [
    ("no _meta", without(call_body("echo"), "params", "_meta"), CALL, 400, -32602),
    ("no params", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, LIST, 400, -32602),
    ("no version in _meta", without(call_body("echo"), "params", "_meta", PROTOCOL), CALL, 400, -32602),
    ("no capabilities in _meta", without(call_body("echo"), "params", "_meta", CAPABILITIES), CALL, 400, -32602),
    ("_meta a list", {**call_body("echo"), "params": {"name": "echo", "_meta": [1]}}, CALL, 400, -32602),
    ("no version header", call_body("echo"), {"Mcp_Method": "tools/call", "Mcp_Name": "echo"}, 400, -32020),
    ("a handshake version header", call_body("echo"), {**CALL, "MCP_Protocol_Version": "2025-11-25"}, 400, -32020),
    ("no method header", call_body("echo"), {"MCP_Protocol_Version": MODERN, "Mcp_Name": "echo"}, 400, -32020),
    ("another method header", call_body("echo"), {**CALL, "Mcp_Method": "tools/list"}, 400, -32020),
    ("no name header", call_body("echo"), {"MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/call"}, 400, -32020),
    ("another name header", call_body("echo"), {**CALL, "Mcp_Name": "rm"}, 400, -32020),
    ("a broken name header", call_body("echo"), {**CALL, "Mcp_Name": "=?base64?!?="}, 400, -32020),
    (
        "an unknown version",
        call_body("echo", **{PROTOCOL: "2099-01-01"}),
        {**CALL, "MCP_Protocol_Version": "2099-01-01"},
        400,
        -32022,
    ),
    ("an unknown method", modern_body("no/such"), {**LIST, "Mcp_Method": "no/such"}, 404, -32601),
    ("a method of the other era", modern_body("ping"), {**LIST, "Mcp_Method": "ping"}, 404, -32601),
    ("initialize with an envelope", modern_body("initialize"), {**LIST, "Mcp_Method": "initialize"}, 404, -32601),
    ("an unknown tool", call_body("nope"), {**CALL, "Mcp_Name": "nope"}, 400, -32602),
    ("a batch", [call_body("echo")], CALL, 400, -32600),
    ("a response", {"jsonrpc": "2.0", "id": 1, "result": {}}, CALL, 400, -32600),
    (
        "a header without its argument",
        call_body("find"),
        {**CALL, "Mcp_Name": "find", "Mcp_Param_Region": "eu"},
        400,
        -32020,
    ),
    ("an argument without its header", call_body("find", {"region": "eu"}), {**CALL, "Mcp_Name": "find"}, 400, -32020),
    (
        "an old notification of an unknown version",
        {"jsonrpc": "2.0", "method": "notifications/x"},
        {"MCP_Protocol_Version": "2099-01-01"},
        400,
        -32022,
    ),
    (
        "listen without a filter",
        modern_body("subscriptions/listen"),
        {**LIST, "Mcp_Method": "subscriptions/listen"},
        400,
        -32602,
    ),
    (
        "listen that takes JSON only",
        modern_body("subscriptions/listen", {"notifications": {}}),
        {**LIST, "Mcp_Method": "subscriptions/listen", "Accept": "application/json"},
        406,
        -32600,
    ),
]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"), [row[1:] for row in MODERN_TABLE], ids=[row[0] for row in MODERN_TABLE]
)
async def test_modern_requests_that_do_not_agree_with_themselves(
    gw: World, body: Any, headers: dict[str, str], status: int, code: int
) -> None:
    find = tool("find", properties={"region": {"type": "string", "x-mcp-header": "Region"}})
    gw.serve(LocalServer(version("hello"), {"echo": echo, "find": echo}, listed={"find": find}))
    got, answer, _ = await gw.post("/mcp/hello", body, **headers)
    assert (got, answer["error"]["code"]) == (status, code), answer
    assert answer["id"] == (body.get("id") if isinstance(body, dict) else None)


async def test_a_routing_header_that_comes_twice_is_refused(gw: World) -> None:
    gw.serve(LocalServer(version("hello"), {"echo": echo}))
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", ACCEPT),
        ("MCP-Protocol-Version", MODERN),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "echo"),
        ("mcp-name", "other"),
    ]
    async with gw.http.post(f"{gw.url}/mcp/hello", json=call_body("echo"), headers=headers) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, -32020)


async def test_sessions_are_asked_for_and_must_exist(gw: World) -> None:
    gw.serve(LocalServer(version("hello"), {"echo": echo}))
    gw.serve(LocalServer(version("other"), {"echo": echo}))
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert (await gw.post("/mcp/hello", body))[0] == 400
    assert (await gw.post("/mcp/hello", body, Mcp_Session_Id="nobody"))[0] == 404
    assert (await gw.post("/mcp/hello", body, Mcp_Session_Id="x" * 5_000))[0] == 404
    session = await gw.initialize("/mcp/hello")
    assert (await gw.post("/mcp/hello", body, Mcp_Session_Id=session))[0] == 200
    assert (await gw.post("/mcp/other", body, Mcp_Session_Id=session))[0] == 404, "a session belongs to its endpoint"
    assert (await gw.post("/mcp", body, Mcp_Session_Id=session))[0] == 404


@pytest.mark.parametrize(
    "params",
    [{}, {"protocolVersion": 5}, {"protocolVersion": "2025-11-25"}, {"protocolVersion": "x", "clientInfo": "me"}],
    ids=repr,
)
async def test_initialize_wants_its_parameters(gw: World, params: Any) -> None:
    gw.serve(LocalServer(version("hello"), {"echo": echo}))
    status, answer, headers = await gw.post("/mcp/hello", {**initialize_body(), "params": params})
    assert (status, answer["error"]["code"]) == (400, -32602)
    assert "Mcp-Session-Id" not in headers


async def test_an_unknown_service_is_404_in_both_eras(gw: World) -> None:
    for answer in (
        await gw.post("/mcp/nope", initialize_body()),
        await gw.modern("/mcp/nope", "tools/list"),
        await gw.modern("/mcp/..%2F..%2Fetc", "tools/list"),
    ):
        assert answer[0] == 404
        assert answer[1]["error"]["data"]["code"] == "not_found"


async def test_a_service_without_an_active_version_is_unavailable_and_says_why(gw: World) -> None:
    why = gw.unserved["new"] = "new has no active version: v1 failed at start"
    for status, answer, headers in (
        await gw.post("/mcp/new", initialize_body()),
        await gw.modern("/mcp/new", "tools/call", {"name": "echo"}),
    ):
        assert (status, headers["Retry-After"]) == (503, "1")
        assert answer["error"]["message"] == why
        assert answer["error"]["data"]["code"] == "unavailable"
    _, answer, _ = await gw.modern("/mcp", "tools/call", {"name": "new__echo"})
    assert (answer["error"]["message"], answer["error"]["data"]["code"]) == (why, "unavailable")


async def test_verbs_types_and_sizes() -> None:
    async with world(request_bytes_max=2_000) as gw:
        gw.serve(LocalServer(version("hello"), {"echo": echo}))
        url = f"{gw.url}/mcp/hello"
        post = gw.post
        assert (await post("/mcp/hello", initialize_body(), Content_Type="text/plain"))[0] == 415
        assert (await post("/mcp/hello", initialize_body(), Accept="text/html"))[0] == 406
        assert (await post("/mcp/hello", initialize_body(), Accept="*/*"))[0] == 200
        assert (await post("/mcp/hello", None, raw=b"x" * 2_001))[0] == 413

        async def endless() -> Any:
            for _ in range(100):
                yield b"x" * 100

        headers = {"Content-Type": "application/json", "Accept": ACCEPT}
        async with gw.http.post(url, data=endless(), headers=headers) as response:
            assert response.status == 413, "a chunked body has no length to look at"
        bomb = gzip.compress(b" " * 1_000_000)
        assert len(bomb) < 2_000
        assert (await post("/mcp/hello", None, raw=bomb, Content_Encoding="gzip"))[0] == 413
        status, answer, _ = await post("/mcp/hello", None, raw=b"{}", Content_Encoding="gzip")
        assert (status, answer["error"]["code"]) == (400, -32700)
        for verb in ("GET", "DELETE"):
            async with gw.http.request(verb, url, headers={"MCP-Protocol-Version": MODERN}) as response:
                assert (response.status, response.headers["Allow"]) == (405, "POST")
        async with gw.http.put(url, headers={"Mcp-Session-Id": "x"}) as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET, POST, DELETE")
        async with gw.http.get(url) as response:
            assert response.status == 405
        session = await gw.initialize("/mcp/hello")
        sent = {"Mcp-Session-Id": session, "Accept": "application/json"}
        async with gw.http.get(url, headers=sent) as response:
            assert response.status == 406


async def test_too_many_sessions_and_streams_are_refused_with_words() -> None:
    async with world(sessions_max=1, streams_max=1) as gw:
        gw.serve(LocalServer(version("hello"), {"echo": echo}))
        session = await gw.initialize("/mcp/hello")
        status, answer, headers = await gw.post("/mcp/hello", initialize_body())
        assert (status, answer["error"]["data"]["code"]) == (503, "limit_reached")
        assert headers["Retry-After"] == "1"
        streaming = {"Mcp-Session-Id": session, "Accept": ACCEPT}
        async with gw.http.get(f"{gw.url}/mcp/hello", headers=streaming) as stream:
            assert stream.status == 200
            listen = {"notifications": {"toolsListChanged": True}}
            status, answer, _ = await gw.modern("/mcp/hello", "subscriptions/listen", listen)
            assert (status, answer["error"]["data"]["code"]) == (503, "limit_reached")
