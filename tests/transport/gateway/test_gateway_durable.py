"""Sessions kept by the session manager: a client goes on after the node has been stopped and started again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from henslowe.actors import names
from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.kernel import Scheduler
from henslowe.actors.routes import Observations, Route, RouteTable
from henslowe.actors.sessions import SESSIONS, SessionManager
from henslowe.config.settings import GatewaySettings, StorageSettings
from henslowe.errors import LimitReached
from henslowe.storage import Store
from henslowe.transport.gateway import Gateway, ManagedSessions, add_gateway
from henslowe.transport.gateway import managed as managed_module
from tests.transport.gateway.world import ACCEPT, LocalServer, echo, initialize_body, until, version

SETTINGS = GatewaySettings(sessions_max=2, session_idle_s=3600)
V1 = version("hello", 1)


@asynccontextmanager
async def life(data: Path) -> AsyncIterator[tuple[str, ManagedSessions, LocalServer]]:
    """One life of a node, as far as sessions go: URL of the service, sessions, server."""
    Scheduler.install()
    store = Store.open(data, "n1", StorageSettings(map_size_gib=1))
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args)
    sessions = ManagedSessions(store.table(SESSIONS))
    manager = await SessionManager.start_link(store, SETTINGS, name=names.SESSION_MANAGER)
    directory, routes = EndpointDirectory(), RouteTable()
    server = LocalServer(V1, {"echo": echo}, resources={"a:b": "c"})
    directory.add(server)
    routes.publish({V1.service: Route(V1.service, V1)})
    gateway = Gateway(
        routes=routes,
        directory=directory,
        observations=Observations(),
        sessions=sessions,
        settings=SETTINGS,
        registry=CollectorRegistry(),
        node_info={"name": "henslowe", "version": "0"},
    )
    app = web.Application()
    add_gateway(app, gateway)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp/hello", sessions, server
    finally:
        await runner.cleanup()
        await gateway.close()
        for ref in (manager, writer):
            await ref.stop(block=False)
        store.close()


async def post(http: aiohttp.ClientSession, url: str, body: Any, session: str = "") -> tuple[int, Any, str]:
    headers = {"Accept": ACCEPT, **({"Mcp-Session-Id": session} if session else {})}
    async with http.post(url, json=body, headers=headers) as response:
        answer = await response.json() if response.content_type == "application/json" else None
        return response.status, answer, response.headers.get("Mcp-Session-Id", "")


def message(method: str, **params: Any) -> Any:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def test_a_session_goes_on_after_a_restart_of_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managed_module, "SEEN_INTERVAL_S", 0.0)
    async with aiohttp.ClientSession() as http:
        async with life(tmp_path / "data") as (url, _, _):
            _, _, session = await post(http, url, initialize_body())
            assert (await post(http, url, message("logging/setLevel", level="error"), session))[0] == 200
            assert (await post(http, url, message("resources/subscribe", uri="a:b"), session))[1]["result"] == {}
        async with life(tmp_path / "data") as (url, sessions, _):
            row = sessions.get(session)
            assert row is not None
            assert (row.log_level, list(row.subscriptions), row.protocol_version) == ("error", ["a:b"], "2025-11-25")
            status, answer, _ = await post(http, url, message("tools/call", name="echo"), session)
            assert (status, "result" in answer) == (200, True)
            async with http.delete(url, headers={"Mcp-Session-Id": session}) as response:
                assert response.status == 200
            assert (await post(http, url, message("ping"), session))[0] == 404
            await until(lambda: len(sessions) == 0)


async def test_the_next_life_of_the_node_asks_the_server_again_for_what_a_session_wanted(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        async with life(tmp_path / "data") as (url, _, _):
            _, _, session = await post(http, url, initialize_body())
            await post(http, url, message("logging/setLevel", level="debug"), session)
            await post(http, url, message("resources/subscribe", uri="a:b"), session)
        async with life(tmp_path / "data") as (url, _, server):
            headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
            async with http.get(url, headers=headers) as stream:
                assert stream.status == 200
                await until(lambda: server.watched == {"a:b"})
            await post(http, url, message("tools/call", name="echo"), session)
            await until(lambda: server.level == "debug")


async def test_the_managers_limit_reaches_the_client(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http, life(tmp_path / "data") as (url, sessions, _):
        for _ in range(SETTINGS.sessions_max):
            assert (await post(http, url, initialize_body()))[0] == 200
        status, answer, _ = await post(http, url, initialize_body())
        assert (status, answer["error"]["data"]["code"]) == (503, LimitReached.code)
        assert len(sessions) == SETTINGS.sessions_max
