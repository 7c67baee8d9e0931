"""Connections that belong to one client, under real supervisors, with real children."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors.endpoints import Endpoint, EndpointState, Era, JsonObject, SoleClient
from henslowe.actors.messages import ClosePrivate, InstanceDown, InstanceUp, OpenPrivate, ReleaseInstance
from henslowe.errors import InstanceFailed, LimitReached, Unavailable, UpstreamLost
from tests.actors.instances.small_node import ONE, SERVERS, Node, crash_the_manager, gone, nothing_of, small_node

ASKING = (sys.executable, "-S", "-E", str(SERVERS / "asking_server.py"))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with small_node(tmp_path, private_max=2) as running:
        running.ensure(ONE, *ASKING)
        await running.told(InstanceUp)
        yield running


class Person:
    """Answers `elicitation/create` when told to."""

    def __init__(self, **capabilities: JsonObject) -> None:
        self.client = SoleClient(capabilities or {"elicitation": {}}, self.ask, {"name": "person", "version": "1"})
        self.asked = asyncio.Event()
        self.told = asyncio.Event()

    async def ask(self, method: str, _params: JsonObject, _request_id: str | int) -> JsonObject:
        assert method == "elicitation/create"
        self.asked.set()
        await asyncio.wait_for(self.told.wait(), 5)
        return {"result": {"action": "accept", "content": {"name": "Ann"}}}


async def opened(node: Node, person: Person) -> Endpoint:
    endpoint: Endpoint = await node.manager.call(OpenPrivate(ONE, person.client))
    return endpoint


async def call(endpoint: Endpoint, tool: str) -> str:
    answer = await endpoint.request("tools/call", {"name": tool}, era=Era.LEGACY, timeout_s=5)
    return str(answer["result"]["content"][0]["text"])


async def looked(endpoint: Endpoint) -> Any:
    return json.loads(await call(endpoint, "look"))


async def ended(pid: int) -> None:
    async with asyncio.timeout(5):
        while not gone(pid):
            await asyncio.sleep(0.001)


async def test_it_is_another_process_that_knows_its_client_and_is_in_no_directory(node: Node) -> None:
    person = Person(elicitation={}, sampling={})
    endpoint = await opened(node, person)
    seen = await looked(endpoint)
    assert seen["initialize"]["capabilities"] == {"elicitation": {}, "sampling": {}}
    assert seen["initialize"]["clientInfo"] == {"name": "person", "version": "1"}
    (shared,) = node.directory.of(ONE)
    assert (await looked(shared))["pid"] != seen["pid"]
    assert endpoint.instance == "hello@1~1"
    person.told.set()
    assert await call(endpoint, "ask_name") == "Hello Ann"
    assert "not offered" in await call(shared, "ask_name")
    assert len([message for message in node.heard if isinstance(message, InstanceUp)]) == 1


async def test_what_the_client_did_not_declare_is_refused_for_it(node: Node) -> None:
    endpoint = await opened(node, Person(roots={}))
    assert "not offered" in await call(endpoint, "ask_name")


async def test_there_are_only_so_many_and_room_again_when_one_is_closed(node: Node) -> None:
    first, _ = await opened(node, Person()), await opened(node, Person())
    with pytest.raises(LimitReached, match="2 are open"):
        await opened(node, Person())
    pid = (await looked(first))["pid"]
    node.manager.cast(ClosePrivate(first.instance))
    await ended(pid)
    await node.event("INSTANCE_DOWN")
    async with asyncio.timeout(5):
        while True:
            try:
                await opened(node, Person())
                break
            except LimitReached:
                await asyncio.sleep(0)


async def test_it_is_not_started_again_and_its_crash_is_no_business_of_the_version(node: Node) -> None:
    for _ in range(4):  # more often than an instance may crash
        endpoint = await opened(node, Person())
        pid = (await looked(endpoint))["pid"]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(UpstreamLost):
            await call(endpoint, "ask_name")
        assert endpoint.state is EndpointState.GONE
        await node.event("INSTANCE_DOWN")
        async with asyncio.timeout(5):
            while len(node.events("INSTANCE_DOWN")) < len(node.events("INSTANCE_READY")) - 1:
                await asyncio.sleep(0)
    (shared,) = node.directory.of(ONE)
    assert await looked(shared)
    assert not [message for message in node.heard if isinstance(message, InstanceDown)]


async def test_a_released_version_waits_for_its_private_calls_before_it_ends(node: Node) -> None:
    person = Person()
    endpoint = await opened(node, person)
    calling = asyncio.ensure_future(call(endpoint, "ask_name"))
    await asyncio.wait_for(person.asked.wait(), 5)
    node.manager.cast(ReleaseInstance(ONE, drain_s=10))
    with pytest.raises(Unavailable):
        await opened(node, Person())
    assert not calling.done()
    person.told.set()
    assert await calling == "Hello Ann"
    await nothing_of(node, ONE)


async def test_a_drain_goes_on_when_the_manager_crashes(node: Node) -> None:
    person = Person()
    endpoint = await opened(node, person)
    calling = asyncio.ensure_future(call(endpoint, "ask_name"))
    await asyncio.wait_for(person.asked.wait(), 5)
    node.manager.cast(ReleaseInstance(ONE, drain_s=10))
    with pytest.raises(Unavailable):
        await opened(node, Person())  # the release has been taken
    await crash_the_manager(node)
    person.told.set()
    assert await calling == "Hello Ann"
    await nothing_of(node, ONE)


async def test_it_survives_a_crash_of_the_manager_which_finds_it_again(node: Node) -> None:
    endpoint = await opened(node, Person())
    pid = (await looked(endpoint))["pid"]
    await crash_the_manager(node)
    await opened(node, Person())
    with pytest.raises(LimitReached):
        await opened(node, Person())
    node.manager.cast(ClosePrivate(endpoint.instance))
    await ended(pid)


async def test_a_server_that_does_not_start_a_second_time_is_said(tmp_path: Path) -> None:
    script = (
        "import os, sys, runpy\n"
        "mark = sys.argv[1]\n"
        "if os.path.exists(mark): sys.exit('only one of me')\n"
        "open(mark, 'w').close()\n"
        f"runpy.run_path({str(SERVERS / 'asking_server.py')!r})\n"
    )
    async with small_node(tmp_path) as node:
        node.ensure(ONE, sys.executable, "-S", "-c", script, str(tmp_path / "mark"))
        await node.told(InstanceUp)
        with pytest.raises(InstanceFailed, match="only one of me"):
            await opened(node, Person())
        assert node.directory.of(ONE)
        failed = await node.event("INSTANCE_READY", 2)
        assert (failed.status, failed.data["private"]) == ("FAILED", True)


async def test_a_version_that_does_not_run_has_none(node: Node) -> None:
    node.manager.cast(ReleaseInstance(ONE))
    await nothing_of(node, ONE)
    with pytest.raises(Unavailable, match="it is not up"):
        await opened(node, Person())
