"""Where a call goes, how long it waits, when it is made again, and what is recorded of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from henslowe.actors.endpoints import EndpointState, JsonObject, OnNotification
from henslowe.actors.routes import Arm, CallRecord, Outcome, Route
from henslowe.errors import LimitReached, UpstreamLost
from tests.transport.gateway.world import (
    LocalServer,
    ToolFunction,
    World,
    echo,
    saying,
    text,
    tool,
    until,
    version,
    world,
)

V1, V2 = version("hello", 1), version("hello", 2)
ALL = 10_000


def said(answer: Any) -> Any:
    status, body, _ = answer
    assert status == 200, body
    assert "result" in body, body
    return body["result"]["content"][0]["text"]


def failing(gw: World, *, sent: bool, times: int, then: str = "done") -> tuple[ToolFunction, list[int]]:
    """A tool whose first `times` calls lose the connection."""
    tries: list[int] = []

    async def tool_function(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        tries.append(1)
        if len(tries) <= times:
            raise UpstreamLost("the connection broke", sent=sent)
        return text(then)

    return tool_function, tries


def records(gw: World) -> list[tuple[int, Arm, Outcome]]:
    return [(r.version.number, r.arm, r.outcome) for r in gw.observations.take()]


async def test_a_call_that_was_not_sent_is_made_again(gw: World) -> None:
    function, tries = failing(gw, sent=False, times=2)
    gw.serve(LocalServer(V1, {"go": function}))
    assert said(await gw.modern("/mcp/hello", "tools/call", {"name": "go"})) == "done"
    assert len(tries) == 3
    transport = (1, Arm.STABLE, Outcome.TRANSPORT)
    assert records(gw) == [transport, transport, (1, Arm.STABLE, Outcome.OK)]


async def test_a_call_that_may_have_run_is_not_made_again(gw: World) -> None:
    function, tries = failing(gw, sent=True, times=1)
    gw.serve(LocalServer(V1, {"go": function}))
    status, answer, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "go"})
    assert (status, answer["error"]["code"]) == (200, -32603)
    assert answer["error"]["data"] == {"code": "upstream_lost", "hint": "", "sent": True}
    assert len(tries) == 1
    assert records(gw) == [(1, Arm.STABLE, Outcome.TRANSPORT)]


@pytest.mark.parametrize("hint", ["readOnlyHint", "idempotentHint"])
async def test_a_tool_that_says_it_is_safe_is_called_again(gw: World, hint: str) -> None:
    function, tries = failing(gw, sent=True, times=2)
    gw.serve(LocalServer(V1, {"go": function}, listed={"go": tool("go", annotations={hint: True})}))
    assert said(await gw.modern("/mcp/hello", "tools/call", {"name": "go"})) == "done"
    assert len(tries) == 3


async def test_repeats_of_a_safe_tool_end(gw: World) -> None:
    function, tries = failing(gw, sent=True, times=100)
    gw.serve(LocalServer(V1, {"go": function}, listed={"go": tool("go", annotations={"readOnlyHint": True})}))
    _status, answer, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "go"})
    assert answer["error"]["data"]["code"] == "upstream_lost"
    assert len(tries) == 4


async def test_a_list_lost_with_its_instance_is_answered_by_the_next_instance(gw: World) -> None:
    server = gw.serve(LocalServer(V1, {"echo": echo}))
    lost = asyncio.Event()

    async def die(_method: str, _params: JsonObject, _notify: OnNotification) -> JsonObject:
        gw.down(server)
        lost.set()
        raise UpstreamLost("the server ended", sent=True)

    server._answer = die  # type: ignore[method-assign]
    listing = asyncio.create_task(gw.modern("/mcp/hello", "tools/list"))
    await asyncio.wait_for(lost.wait(), 5)
    gw.up(LocalServer(V1, {"echo": echo, "more": echo}))
    _status, answer, _ = await listing
    assert [t["name"] for t in answer["result"]["tools"]] == ["echo", "more"]
    assert records(gw) == [(1, Arm.STABLE, Outcome.CRASH), (1, Arm.STABLE, Outcome.OK)]


async def test_a_call_waits_for_an_instance_that_is_starting(gw: World) -> None:
    gw.route(Route(V1.service, V1))
    call = asyncio.create_task(gw.modern("/mcp/hello", "tools/call", {"name": "v"}))
    await until(lambda: bool(gw.gateway._caller._waiting))
    gw.up(LocalServer(V1, {"v": saying("up")}))
    assert said(await asyncio.wait_for(call, 5)) == "up"


async def test_a_call_that_waits_goes_where_the_route_moves(gw: World) -> None:
    gw.route(Route(V1.service, V1))
    call = asyncio.create_task(gw.modern("/mcp/hello", "tools/call", {"name": "v"}))
    await until(lambda: bool(gw.gateway._caller._waiting))
    gw.serve(LocalServer(V2, {"v": saying("second")}))
    assert said(await asyncio.wait_for(call, 5)) == "second"


async def test_waiting_ends_with_an_error_and_evidence() -> None:
    async with world(wait_for_instance_s=0.05) as gw:
        gw.route(Route(V1.service, V1))
        _status, answer, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "v"})
        assert answer["error"]["data"]["code"] == "unavailable"
        assert records(gw) == [(1, Arm.STABLE, Outcome.CRASH)]


async def test_a_canary_without_an_instance_is_blamed_and_stable_serves_at_once(gw: World) -> None:
    gw.up(LocalServer(V1, {"v": saying("stable")}))
    gw.route(Route(V1.service, V1, V2, ALL, "salt", epoch=7))
    assert said(await gw.modern("/mcp/hello", "tools/call", {"name": "v"})) == "stable"
    observed: list[CallRecord] = gw.observations.take()
    assert [(r.version, r.arm, r.outcome, r.epoch) for r in observed] == [
        (V2, Arm.CANARY, Outcome.CRASH, 7),
        (V1, Arm.STABLE, Outcome.OK, 7),
    ]


async def test_a_call_lost_by_the_canary_is_made_again_on_stable(gw: World) -> None:
    function, _ = failing(gw, sent=False, times=100)
    gw.up(LocalServer(V1, {"v": saying("stable")}))
    gw.up(LocalServer(V2, {"v": function}))
    gw.route(Route(V1.service, V1, V2, ALL, "salt"))
    assert said(await gw.modern("/mcp/hello", "tools/call", {"name": "v"})) == "stable"
    assert records(gw) == [(2, Arm.CANARY, Outcome.TRANSPORT), (1, Arm.STABLE, Outcome.OK)]


async def test_a_draining_instance_gets_no_calls(gw: World) -> None:
    gw.serve(LocalServer(V1, {"v": saying("old")})).state = EndpointState.DRAINING
    gw.up(LocalServer(V1, {"v": saying("new")}))
    assert said(await gw.modern("/mcp/hello", "tools/call", {"name": "v"})) == "new"


async def test_calls_go_to_the_instance_with_the_least_in_flight(gw: World) -> None:
    gw.serve(LocalServer(V1, {"v": saying("busy")})).in_flight = 3
    gw.up(LocalServer(V1, {"v": saying("idle")}))
    assert said(await gw.modern("/mcp/hello", "tools/call", {"name": "v"})) == "idle"


async def test_every_way_a_call_can_end_is_recorded_as_itself(gw: World) -> None:
    async def broken(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        return text("no", isError=True)

    server = gw.serve(LocalServer(V1, {"ok": echo, "broken": broken}))
    plain = server._answer

    async def answer(method: str, params: JsonObject, notify: OnNotification) -> JsonObject:
        if params.get("name") == "internal":
            return {"error": {"code": -32603, "message": "oh"}}
        return await plain(method, params, notify)

    server._answer = answer  # type: ignore[method-assign]
    for name in ("ok", "broken", "unknown", "internal"):
        await gw.modern("/mcp/hello", "tools/call", {"name": name})
    await gw.modern("/mcp/hello", "tools/list")
    observed = gw.observations.take()
    assert [(r.tool, r.outcome.value) for r in observed] == [
        ("ok", "ok"),
        ("broken", "tool_error"),
        ("unknown", "invalid_params"),
        ("internal", "internal_error"),
        ("tools/list", "ok"),
    ]
    assert not any(r.unit_is_session for r in observed)
    count = gw.registry.get_sample_value(
        "henslowe_gateway_calls_total", {"service": "hello", "version": "1", "outcome": "ok"}
    )
    assert count == 2


async def test_a_call_that_takes_too_long_is_answered_and_recorded() -> None:
    async with world(call_timeout_s=0.05) as gw:

        async def never(_params: JsonObject, _notify: OnNotification) -> JsonObject:
            await asyncio.Event().wait()
            raise AssertionError

        gw.serve(LocalServer(V1, {"never": never}))
        _status, answer, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "never"})
        assert answer["error"]["data"]["reason"] == "timeout"
        assert records(gw) == [(1, Arm.STABLE, Outcome.TIMEOUT)]


async def test_a_full_instance_is_the_nodes_error_and_no_evidence(gw: World) -> None:
    async def full(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        raise LimitReached("the queue is full")

    gw.serve(LocalServer(V1, {"v": full}))
    _status, answer, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "v"})
    assert (answer["error"]["code"], answer["error"]["data"]["code"]) == (-32000, "limit_reached")
    assert records(gw) == []


async def test_a_fault_of_the_gateways_own_is_an_error_without_details(
    gw: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def bug(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        raise ZeroDivisionError("a secret")

    gw.serve(LocalServer(V1, {"v": bug}))
    status, answer, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "v"})
    assert status == 500
    assert "secret" not in str(answer)
    assert "gateway_failed" in caplog.text


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_client_that_hangs_up_cancels_its_call(gw: World, era: str) -> None:
    started = asyncio.Event()

    async def forever(_params: JsonObject, notify: OnNotification) -> JsonObject:
        if era == "modern":  # an event stream has begun, which in this era cannot be taken up again
            notify({"method": "notifications/message", "params": {"level": "info", "data": "x"}})
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    server = gw.serve(LocalServer(V1, {"forever": forever}))
    if era == "legacy":
        session = await gw.initialize("/mcp/hello")
        call = asyncio.create_task(gw.legacy("/mcp/hello", session, "tools/call", {"name": "forever"}))
    else:
        call = asyncio.create_task(gw.modern("/mcp/hello", "tools/call", {"name": "forever"}))
    await asyncio.wait_for(started.wait(), 5)
    call.cancel()
    await asyncio.wait_for(server.cancelled.wait(), 5)
    assert records(gw) == [], "a cancelled call says nothing about the version"


async def test_stateless_clients_keep_their_arm_for_an_epoch(gw: World) -> None:
    gw.up(LocalServer(V1, {"v": saying("stable")}))
    gw.up(LocalServer(V2, {"v": saying("canary")}))
    gw.route(Route(V1.service, V1, V2, 5_000, "salt"))
    per_epoch = []
    for epoch in range(12):
        gw.now[0] = 1_000_200.0 + 300 * epoch  # the start of an epoch
        answers = set()
        for offset in (0, 299):
            gw.now[0] = 1_000_200.0 + 300 * epoch + offset
            answers.add(said(await gw.modern("/mcp/hello", "tools/call", {"name": "v"})))
        per_epoch.append(answers)
    assert all(len(answers) == 1 for answers in per_epoch)
    assert set().union(*per_epoch) == {"stable", "canary"}, "nobody stays in one arm for ever"
    assert len({r.unit for r in gw.observations.take()}) == 12


async def test_a_session_is_one_unit_and_its_id_is_not_shown(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    sessions = [await gw.initialize("/mcp/hello") for _ in range(2)]
    for session in (*sessions, *sessions):
        await gw.legacy("/mcp/hello", session, "tools/call", {"name": "echo"})
    observed = gw.observations.take()
    assert len({r.unit for r in observed}) == 2
    assert all(r.unit_is_session and not any(session in r.unit for session in sessions) for r in observed)


async def test_an_instance_that_was_told_to_go_is_not_blamed_for_going(gw: World) -> None:
    async def going(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        old.state = EndpointState.DRAINING
        raise UpstreamLost("draining", sent=False)

    old = gw.serve(LocalServer(V1, {"v": going}))
    gw.up(LocalServer(V1, {"v": saying("new")})).in_flight = 1
    assert said(await gw.modern("/mcp/hello", "tools/call", {"name": "v"})) == "new"
    assert records(gw) == [(1, Arm.STABLE, Outcome.OK)]
