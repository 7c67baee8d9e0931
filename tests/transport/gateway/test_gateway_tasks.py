"""Tasks: ids of the gateway's own, that lead back to the version which made them."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from henslowe.actors.endpoints import Era, JsonObject, OnNotification
from henslowe.transport.mcp import eras
from tests.transport.gateway.world import (
    ACCEPT,
    CAPABILITIES,
    MODERN,
    LocalServer,
    World,
    echo,
    events,
    modern_body,
    version,
)

V1, V2 = version("jobs", 1), version("jobs", 2)
KNOWS: JsonObject = {CAPABILITIES: {"extensions": {eras.TASKS_EXTENSION: {}}}}


class JobServer(LocalServer):
    """A server whose `work` is a task, in the form of its era; every server calls its first task `t1`."""

    def __init__(self, key: Any, era: Era) -> None:
        super().__init__(key, {"work": echo}, era=era)
        self.status = "working"
        self.asked: list[tuple[str, str]] = []
        declared = {"extensions": {eras.TASKS_EXTENSION: {}}} if era is Era.MODERN else {"tasks": {"list": {}}}
        self.facts.capabilities.update(declared)

    def _shown(self) -> JsonObject:
        ttl = "ttlMs" if self.facts.era is Era.MODERN else "ttl"
        poll = {"pollIntervalMs": 100} if ttl == "ttlMs" else {}
        done = {"result": {"content": []}} if self.status == "completed" and ttl == "ttlMs" else {}
        return {
            "taskId": "t1",
            "status": self.status,
            "createdAt": "",
            "lastUpdatedAt": "",
            ttl: 60_000,
            **poll,
            **done,
        }

    async def _answer(self, method: str, params: JsonObject, notify: OnNotification) -> JsonObject:
        if method == "tools/call":
            made = self._shown()
            return {"result": {**made, "resultType": "task"} if self.facts.era is Era.MODERN else {"task": made}}
        if not method.startswith("tasks/"):
            return await super()._answer(method, params, notify)
        self.asked.append((method, params["taskId"]))
        if params["taskId"] != "t1":
            return {"error": {"code": -32602, "message": "Task not found"}}
        if method == "tasks/result":
            return {"result": {"content": [], "_meta": {"io.modelcontextprotocol/related-task": {"taskId": "t1"}}}}
        if method == "tasks/cancel" and self.facts.era is Era.MODERN:
            return {"result": {}}
        return {"result": self._shown()}


async def said(gw: World, path: str, method: str, **params: Any) -> Any:
    """The answer to a stateless client that knows tasks."""
    body = modern_body(method, params, **KNOWS)
    name = params.get("name") or params.get("taskId")
    named = {"Mcp_Name": name} if name else {}
    _, answer, _ = await gw.post(path, body, MCP_Protocol_Version="2026-07-28", Mcp_Method=method, **named)
    return answer.get("result") or answer["error"]


async def work(gw: World, path: str = "/mcp/jobs", name: str = "work") -> str:
    made = await said(gw, path, "tools/call", name=name, arguments={})
    assert made["resultType"] == "task"
    return str(made["taskId"])


async def test_a_task_leads_back_to_the_version_that_made_it(gw: World) -> None:
    old, new = JobServer(V1, Era.MODERN), JobServer(V2, Era.MODERN)
    gw.serve(old)
    first = await work(gw)
    gw.serve(new)
    second = await work(gw)
    assert len({first, second, "t1"}) == 3
    assert (await said(gw, "/mcp/jobs", "tasks/get", taskId=first))["taskId"] == first
    await said(gw, "/mcp/jobs", "tasks/update", taskId=second, inputResponses={})
    assert (old.asked, new.asked) == ([("tasks/get", "t1")], [("tasks/update", "t1")])


async def test_the_aggregate_finds_tasks_of_all_services(gw: World) -> None:
    gw.serve(JobServer(V1, Era.MODERN))
    gw.serve(JobServer(version("other"), Era.MODERN))
    task_id = await work(gw, "/mcp", "other__work")
    assert (await said(gw, "/mcp", "tasks/get", taskId=task_id))["status"] == "working"
    assert (await said(gw, "/mcp/jobs", "tasks/get", taskId=task_id))["code"] == -32602
    discovered = await said(gw, "/mcp", "server/discover")
    assert discovered["capabilities"]["extensions"] == {eras.TASKS_EXTENSION: {}}


async def test_the_outcome_is_known_when_the_server_is_gone(gw: World) -> None:
    server = JobServer(V1, Era.MODERN)
    gw.serve(server)
    task_id = await work(gw)
    server.status = "completed"
    outcome = await said(gw, "/mcp/jobs", "tasks/get", taskId=task_id)
    gw.down(server)
    assert await said(gw, "/mcp/jobs", "tasks/get", taskId=task_id) == outcome
    assert await said(gw, "/mcp/jobs", "tasks/cancel", taskId=task_id) == {"resultType": "complete"}


async def test_a_task_whose_version_is_no_more_is_asked_for_at_the_one_that_serves(gw: World) -> None:
    old, new = gw.serve(JobServer(V1, Era.MODERN)), JobServer(V2, Era.MODERN)
    task_id = await work(gw)
    gw.down(old)
    gw.serve(new)
    del gw.versions[V1]
    assert (await said(gw, "/mcp/jobs", "tasks/get", taskId=task_id))["taskId"] == task_id


async def test_the_version_that_is_at_a_task_is_held(gw: World) -> None:
    server = JobServer(V1, Era.MODERN)
    server.status = "completed"
    gw.serve(server)
    await work(gw)
    assert gw.held == []  # it was done at once
    server.status = "working"
    await work(gw)
    assert gw.held == [V1]


async def test_who_does_not_declare_the_extension_is_told_to(gw: World) -> None:
    gw.serve(JobServer(V1, Era.MODERN))
    for method in ("tasks/get", "tasks/cancel"):
        body = modern_body(method, {"taskId": "x"})
        status, answer, _ = await gw.post(
            "/mcp/jobs", body, MCP_Protocol_Version="2026-07-28", Mcp_Method=method, Mcp_Name="x"
        )
        assert (status, answer["error"]["code"]) == (400, -32021)
    listen = modern_body("subscriptions/listen", {"notifications": {"taskIds": ["x"]}})
    status, answer, _ = await gw.post(
        "/mcp/jobs", listen, MCP_Protocol_Version="2026-07-28", Mcp_Method="subscriptions/listen"
    )
    assert answer["error"]["data"]["requiredCapabilities"]["extensions"] == {eras.TASKS_EXTENSION: {}}


@pytest.mark.parametrize("name", ["other", None])
async def test_the_routing_header_of_a_task_must_agree_with_the_body(gw: World, name: str | None) -> None:
    gw.serve(JobServer(V1, Era.MODERN))
    body = modern_body("tasks/get", {"taskId": "x"}, **KNOWS)
    named = {} if name is None else {"Mcp_Name": name}
    status, answer, _ = await gw.post(
        "/mcp/jobs", body, MCP_Protocol_Version="2026-07-28", Mcp_Method="tasks/get", **named
    )
    assert (status, answer["error"]["code"]) == (400, -32020)


async def test_clients_of_the_handshake_era_have_tasks_in_their_form(gw: World) -> None:
    server = JobServer(V1, Era.LEGACY)
    gw.serve(server)
    session, stranger = await gw.initialize("/mcp/jobs"), await gw.initialize("/mcp/jobs")
    _, made, _ = await gw.legacy("/mcp/jobs", session, "tools/call", {"name": "work", "task": {"ttl": 1_000}})
    task_id = made["result"]["task"]["taskId"]
    assert task_id != "t1"
    _, listed, _ = await gw.legacy("/mcp/jobs", session, "tasks/list")
    assert [task["taskId"] for task in listed["result"]["tasks"]] == [task_id]
    _, others, _ = await gw.legacy("/mcp/jobs", stranger, "tasks/list")
    assert others["result"]["tasks"] == []
    _, outcome, _ = await gw.legacy("/mcp/jobs", session, "tasks/result", {"taskId": task_id})
    assert outcome["result"]["_meta"]["io.modelcontextprotocol/related-task"]["taskId"] == task_id


async def test_each_form_is_offered_to_clients_of_its_era_only(gw: World) -> None:
    gw.serve(JobServer(V1, Era.LEGACY))
    session = await gw.initialize("/mcp/jobs")
    assert "tasks" not in (await said(gw, "/mcp/jobs", "server/discover"))["capabilities"]
    _, updated, _ = await gw.legacy("/mcp/jobs", session, "tasks/update", {"taskId": "x"})
    assert updated["error"]["code"] == -32601
    assert (await said(gw, "/mcp/jobs", "tasks/list"))["code"] == -32601


async def test_nothing_is_told_of_a_task_whose_time_is_over(gw: World) -> None:
    gw.serve(JobServer(V1, Era.MODERN))
    task_id = await work(gw)
    gw.now[0] += 60 + 60 + 1
    assert (await said(gw, "/mcp/jobs", "tasks/get", taskId=task_id))["code"] == -32602


# -- news ----------------


async def listen(gw: World, *task_ids: str) -> aiohttp.ClientResponse:
    """A stream of a stateless client that listens to tasks."""
    body = modern_body("subscriptions/listen", {"notifications": {"taskIds": list(task_ids)}}, **KNOWS)
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "subscriptions/listen", "Accept": ACCEPT}
    return await gw.http.post(f"{gw.url}/mcp/jobs", json=body, headers=headers)


async def test_a_client_that_listens_to_a_task_hears_what_becomes_of_it(gw: World) -> None:
    server = gw.serve(JobServer(V1, Era.MODERN))
    task_id = await work(gw)
    async with await listen(gw, task_id, "nobodys") as stream:
        heard = events(stream)
        acknowledged = (await anext(heard))[1]
        assert acknowledged["params"]["notifications"] == {"taskIds": [task_id]}
        first = (await anext(heard))[1]
        assert (first["method"], first["params"]["taskId"], first["params"]["status"]) == (
            "notifications/tasks",
            task_id,
            "working",
        )
        server.status = "completed"
        done = (await anext(heard))[1]["params"]
        assert (done["taskId"], done["status"], done["result"]) == (task_id, "completed", {"content": []})
        asked = len(server.asked)
        await gw.gateway.close()
        assert [event async for _, event in heard][-1]["result"]["resultType"] == "complete"
        assert len(server.asked) == asked, "what is done is asked for no more"


async def test_what_became_of_a_task_is_heard_from_another_version_of_the_node_too(gw: World) -> None:
    server = gw.serve(JobServer(V1, Era.MODERN))
    task_id = await work(gw)
    async with await listen(gw, task_id) as stream:
        heard = events(stream)
        for _ in range(2):
            await anext(heard)
        gw.serve(JobServer(V2, Era.MODERN))
        server.status = "completed"
        assert (await anext(heard))[1]["params"]["status"] == "completed"


@pytest.mark.parametrize("ids", [3, [3], ["x"] * 101 + ["y"]], ids=["no list", "no strings", "too many"])
async def test_task_ids_that_are_none_are_refused(gw: World, ids: Any) -> None:
    gw.serve(JobServer(V1, Era.MODERN))
    ids = [f"{task_id}{n}" for n, task_id in enumerate(ids)] if isinstance(ids, list) and len(ids) > 1 else ids
    error = await said(gw, "/mcp/jobs", "subscriptions/listen", notifications={"taskIds": ids})
    assert error["code"] == -32602


async def test_a_session_hears_what_its_server_says_of_its_task_and_others_do_not(gw: World) -> None:
    gw.serve(JobServer(V1, Era.LEGACY))
    mine, other = await gw.initialize("/mcp/jobs"), await gw.initialize("/mcp/jobs")
    made = await gw.legacy("/mcp/jobs", mine, "tools/call", {"name": "work", "arguments": {}, "task": {}})
    task_id = made[1]["result"]["task"]["taskId"]
    streams = [
        await gw.http.get(f"{gw.url}/mcp/jobs", headers={"Mcp-Session-Id": session, "Accept": "text/event-stream"})
        for session in (mine, other)
    ]
    for told in ({"taskId": "t1", "status": "completed"}, {"taskId": "t2", "status": "failed"}):
        gw.gateway.server_event(V1, {"method": "notifications/tasks/status", "params": told})
    heard = (await anext(events(streams[0])))[1]
    assert heard["params"] == {"taskId": task_id, "status": "completed"}
    await gw.gateway.close()
    assert [event async for _, event in events(streams[1])] == []
    for stream in streams:
        stream.close()
