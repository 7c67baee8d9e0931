"""Results that are still good are answered without their server: to those, and for as long, as it says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from henslowe.actors.endpoints import Era, JsonObject, OnNotification
from henslowe.actors.results.rows import ResultRow
from henslowe.actors.routes import Route
from henslowe.errors import UpstreamLost
from tests.transport.gateway.world import LocalServer, World, modern_body, text, tool, until, version, world

V1, V2 = version("hello", 1), version("hello", 2)
READ_ONLY = {"now": tool("now", annotations={"readOnlyHint": True})}
URI = "file:///a"


class Store:
    """Keeps what the cache wants kept, as the table does."""

    def __init__(self) -> None:
        self.kept: dict[str, ResultRow] = {}

    def rows(self) -> list[ResultRow]:
        return list(self.kept.values())

    def change(self, added: list[JsonObject], dropped: list[str]) -> None:
        self.kept = {key: row for key, row in self.kept.items() if key not in dropped}
        self.kept |= {fields["key"]: ResultRow(**fields) for fields in added}


class Marked(LocalServer):
    """A server of the stateless era whose reads say how long they are good."""

    def __init__(self, *args: Any, scope: str = "private", **more: Any) -> None:
        super().__init__(*args, resources={URI: "x"}, era=Era.MODERN, **more)
        self.scope = scope

    async def _answer(self, method: str, params: JsonObject, notify: OnNotification) -> JsonObject:
        answer = await super()._answer(method, params, notify)
        if method == "resources/read":
            answer["result"].update(ttlMs=4_000, cacheScope=self.scope)
        return answer


async def now(params: JsonObject, _notify: OnNotification) -> JsonObject:
    return text(str(params.get("arguments")), isError=params.get("arguments") == {"fail": True})


async def read(gw: World, **meta: Any) -> Any:
    body = modern_body("resources/read", {"uri": URI}, **meta)
    _, answer, _ = await gw.post(
        "/mcp/hello", body, MCP_Protocol_Version="2026-07-28", Mcp_Method="resources/read", Mcp_Name=URI
    )
    return answer["result"]


async def call(gw: World, **arguments: Any) -> Any:
    _, answer, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "now", "arguments": arguments})
    return answer["result"]


async def test_a_read_is_good_for_as_long_as_its_server_says(gw: World) -> None:
    server = gw.serve(Marked(V1, {}))
    assert (await read(gw))["ttlMs"] == 4_000
    gw.now[0] += 3
    assert (await read(gw))["ttlMs"] == 1_000
    assert server.calls == ["resources/read"]
    gw.now[0] += 1
    assert (await read(gw))["ttlMs"] == 4_000
    assert server.calls == ["resources/read"] * 2


@pytest.mark.parametrize(("scope", "asked"), [("private", 2), ("public", 1)])
async def test_what_is_private_is_answered_to_the_same_client_alone(gw: World, scope: str, asked: int) -> None:
    server = gw.serve(Marked(V1, {}, scope=scope))
    for name in ("one", "two", "one"):
        await read(gw, **{"io.modelcontextprotocol/clientInfo": {"name": name, "version": "1"}})
    assert len(server.calls) == asked


async def test_another_version_is_asked_anew(gw: World) -> None:
    gw.serve(Marked(V1, {}))
    await read(gw)
    new = gw.serve(Marked(V2, {}))
    await read(gw)
    assert new.calls == ["resources/read"]


async def test_what_another_version_answered_in_the_end_is_kept_for_that_one(gw: World) -> None:
    class Dying(Marked):
        async def _answer(self, method: str, params: JsonObject, notify: OnNotification) -> JsonObject:
            if not dead:
                dead.append(gw.serve(new))
                raise UpstreamLost("it fell over", sent=True)
            return await super()._answer(method, params, notify)

    dead: list[LocalServer] = []
    old, new = Dying(V1, {}), Marked(V2, {})
    gw.serve(old)
    await read(gw)  # begun at the old one
    await read(gw)
    assert new.calls == ["resources/read"]
    gw.route(Route(V1.service, V1))
    await read(gw)
    assert old.calls == ["resources/read"]


async def test_what_a_server_announces_as_changed_is_forgotten(gw: World) -> None:
    server = gw.serve(Marked(V1, {}))
    await read(gw)
    gw.gateway.server_event(V1, {"method": "notifications/resources/updated", "params": {"uri": URI}})
    await read(gw)
    gw.gateway.server_event(V1, {"method": "notifications/resources/list_changed"})
    await read(gw)
    assert len(server.calls) == 3


async def test_tools_are_kept_only_when_named_and_read_only() -> None:
    async with world(cache_tools={"hello/now": 5_000, "hello/other": 5_000}) as gw:
        server = gw.serve(LocalServer(V1, {"now": now, "other": now}, listed=READ_ONLY))
        for _ in range(2):
            await call(gw, a=1)
            await call(gw, a=2)
            await call(gw, fail=True)  # an error is asked for again
            await gw.modern("/mcp/hello", "tools/call", {"name": "other", "arguments": {}})
        assert server.calls.count("now") == 2 + 2
        assert server.calls.count("other") == 2


async def test_nothing_is_kept_by_default(gw: World) -> None:
    server = gw.serve(LocalServer(V1, {"now": now}, listed=READ_ONLY))
    for _ in range(2):
        await call(gw)
    assert len(server.calls) == 2


async def test_results_are_bounded_and_can_be_purged() -> None:
    async with world(cache_tools={"hello/now": 5_000}, cache_bytes_max=1_024) as gw:
        gw.serve(LocalServer(V1, {"now": now}, listed=READ_ONLY))
        for number in range(50):
            await call(gw, n=number)
        results = gw.gateway.results
        assert 0 < results.size <= 1_024
        assert results.size == sum(len(row.answer) for row in results.rows())
        assert results.purge("other") == 0
        assert results.purge("hello", "now") > 0
        assert (len(results), results.size) == (0, 0)


async def test_results_outlive_the_node_as_long_as_they_are_good() -> None:
    store = Store()
    async with world(results=store) as gw:
        gw.serve(Marked(V1, {}))
        await read(gw)
        await until(lambda: bool(store.kept))
        (row,) = store.kept.values()
        assert (row.service, row.name, orjson.loads(row.answer)["result"]["ttlMs"]) == ("hello", URI, 4_000)
    async with world(results=store) as gw:
        gw.gateway.start()
        server = gw.serve(Marked(V1, {}))
        await read(gw)
        assert server.calls == []
        gw.gateway.results.purge()
        await until(lambda: not store.kept)
