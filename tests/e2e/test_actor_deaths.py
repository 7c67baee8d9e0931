"""Deaths inside the node: each actor of the tree is killed in turn, and clients of both eras notice nothing.

A kill is the worst of ends: nothing is tidied, no message is sent. What a client may notice is the death of a server
itself or of the supervisor above it, and then as time, not as an error.
"""

import threading
from pathlib import Path

import pytest

from henslowe.actors import names
from henslowe.actors.instances import instance_name
from henslowe.actors.kernel import names as registry
from tests.e2e.inside import (
    assert_history_gives_the_rows,
    children,
    inside,
    killed,
    live,
    row_of,
    serves,
    states,
    until,
    whole,
)
from tests.e2e.load import Load

UNNOTICED = (
    names.WRITER,
    names.CONTEXT,
    names.BUS,
    names.SESSION_MANAGER,
    names.INSTANCES,
    names.TRANSFORMS,
    names.ROUTER,
    names.VERSIONS,
    names.PIPELINE_RUNS,
    names.PIPELINE,
    names.WATCHER,
    "front.listener",
)
"""Actors that running servers and their calls do not depend on."""
WITHIN_PLANES = (names.SERVICES, "services.plane", names.SESSIONS, names.DELIVERY, "bus.plane")
WHOLE_PLANES = (names.FRONT, names.PLANES, names.STORAGE)
"""Supervisors, in two nodes: together they would be more than the tree puts up with in a minute."""
ROUTERS = 11
"""One more than the delivery plane restarts within its window: then the plane itself is restarted."""
SETTINGS = ("delivery.strategy=immediate", "delivery.probation_s=600", "watcher.debounce_ms=20")


def threads() -> list[str]:
    """The names of those that run, but for the loop's pool: it grows as it is needed, and threads of it stay."""
    return sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))


async def test_whatever_actor_dies_no_call_fails_and_the_node_is_whole_again(quick_workspace: Path) -> None:
    async with inside(quick_workspace, *SETTINGS) as node:
        await live(node, "Good day", 2)
        async with Load(node.url + "/mcp/hello", clients=6, calls_per_s=40) as load:
            await load.more_calls(12)
            servers, before = children(), threads()
            for name in UNNOTICED:
                await killed(name)
                await whole(node)
                await load.more_calls(6)
                assert load.tally.failures == [], name
                assert children() == servers, f"the death of {name} started or ended a server"
                assert len(threads()) <= len(before), f"{name} left a thread behind: {threads()}"
            for version in (row_of(node, "hello").key_of(number) for number in (2, 1)):
                await killed(instance_name(version))
                await whole(node)
                await load.more_calls(6)
            assert len(children()) == len(servers)
            for _ in range(ROUTERS):
                await killed(names.ROUTER)
            await registry.via(names.WATCHER).up()
            await whole(node)
            await load.more_calls(6)
        assert load.tally.failures == []
        assert load.tally.sessions_lost == 0
        assert_history_gives_the_rows(node)
        await live(node, "Good evening", row_of(node, "hello").last_number + 1)
    assert children() == set()


@pytest.mark.parametrize("supervisors", [WITHIN_PLANES, WHOLE_PLANES], ids=["within planes", "whole planes"])
async def test_a_supervisor_that_dies_is_followed_by_another_with_the_same_services(
    quick_workspace: Path, supervisors: tuple[str, ...]
) -> None:
    async with inside(quick_workspace, *SETTINGS) as node:
        await live(node, "Good day", 2)
        async with Load(node.url + "/mcp/hello", clients=4, calls_per_s=30, patient=True) as load:
            for name in supervisors:
                await killed(name)
                await registry.via(names.WATCHER).up()
                await until(lambda: len(children()) == 2 and serves(node, "hello"), f"two servers after {name}")
                await whole(node)
                await load.more_calls(6)
                assert len(children()) == 2, f"the death of {name} orphaned or doubled a server"
                assert {1: "ARCHIVED", 2: "ACTIVE"}.items() <= states(node).items(), f"{name} changed the versions"
        assert load.tally.failures == []
        assert_history_gives_the_rows(node)
    assert children() == set()
