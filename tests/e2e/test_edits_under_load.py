"""The headline: versions change under traffic, and not one call fails."""

import asyncio
from pathlib import Path

from tests.e2e.harness import Node, quick, wait_until
from tests.e2e.load import LEGACY, Load

CLIENTS = 8
EDITS = 3
UNITS = 24


def edit(node: Node, version: int) -> None:
    """An edit that changes an answer and the list of tools."""
    node.edit("hello", quick(f"Hello from {version}", tools=(f"tool_{version}",)))


async def everybody_lists(load: Load, version: int) -> None:
    """Returns once every client was told that the tools changed, and saw the new one."""
    await load.until(
        lambda tally: sum(f"tool_{version}" in tools for tools in tally.tools.values()) == CLIENTS,
        f"every client to list tool_{version}",
    )


async def test_three_edits_go_live_at_once_without_a_failed_call(quick_workspace: Path) -> None:
    with Node(quick_workspace, "delivery.strategy=immediate") as node:
        await asyncio.to_thread(node.wait_for_active, "hello", 1)
        async with Load(node.mcp("hello"), clients=CLIENTS, calls_per_s=40) as load:
            for version in range(2, 2 + EDITS):
                edit(node, version)
                await asyncio.to_thread(node.wait_for_active, "hello", version)
                await everybody_lists(load, version)
                await load.more_calls(20)
        tally = load.tally
        assert tally.failures == []
        assert tally.sessions_opened == CLIENTS
        assert set(tally.answers) == {"Hello, Ada!"} | {f"Hello from {v}, Ada!" for v in range(2, 2 + EDITS)}
        assert min(tally.list_changed[client] for client in range(CLIENTS)) >= EDITS


async def test_three_edits_pass_through_a_canary_without_a_failed_call(quick_workspace: Path) -> None:
    with Node(quick_workspace, "delivery.strategy=canary", "delivery.canary_percent=50") as node:
        await asyncio.to_thread(node.wait_for_active, "hello", 1)
        async with Load(node.mcp("hello"), clients=CLIENTS, calls_per_s=40) as load:
            for version in range(2, 2 + EDITS):
                edit(node, version)
                state = await asyncio.to_thread(node.wait_for_state, "hello", version, "CANARY", "ACTIVE")
                if state["state"] == "CANARY":
                    await asyncio.to_thread(_promote_unless_promoted, node, version)
                await asyncio.to_thread(node.wait_for_active, "hello", version)
                await everybody_lists(load, version)
                await load.more_calls(20)
        assert load.tally.failures == []
        assert load.tally.sessions_opened == CLIENTS
        canaries = {event["version"] for event in node.events(service="hello", type="CANARY_DEPLOY", limit=100)}
        assert canaries >= set(range(2, 2 + EDITS))


def _promote_unless_promoted(node: Node, version: int) -> None:
    """A person's `promote`; the verdict may have been faster."""
    from henslowe.errors import Conflict

    try:
        node.api.post("/services/hello/actions/promote", {"reason": "the test says so"})
    except Conflict:
        node.wait_for_active("hello", version)


async def test_a_version_that_fails_its_calls_is_found_by_what_was_captured_and_else_by_the_evidence(
    quick_workspace: Path,
) -> None:
    """It passes its check: only calls show that it greets nobody but Ada."""
    refusing = (
        '        if given["name"] != "Ada":\n'
        '            return {"result": {"content": [{"type": "text", "text": "who?"}], "isError": True}}\n'
        '        text = f"'
    )
    bad = quick().replace('        text = f"', refusing)
    assert bad != quick()
    with Node(quick_workspace, "delivery.strategy=canary", "delivery.canary_percent=50") as node:
        await asyncio.to_thread(node.wait_for_active, "hello", 1)
        async with Load(
            node.mcp("hello"),
            clients=UNITS,
            eras=(LEGACY,),  # each session is a unit of evidence; all stateless clients of one machine are one
            calls_per_s=60,
            arguments={"name": "Grace"},
            expected=lambda text: text == "Hello, Grace!",
        ) as load:
            await load.more_calls(20)
            await asyncio.to_thread(
                wait_until,
                lambda: node.api.get("/captures", method="tools/call", limit=1)["captures"] or None,
                "a call to be recorded",
                said=node.report,
            )
            node.edit("hello", bad)
            row = await asyncio.to_thread(node.wait_for_state, "hello", 2, "ROLLED_BACK", "ACTIVE", timeout_s=90)
            assert (row["state"], row["replay"]["found"]) == ("ROLLED_BACK", "fails")
            assert not load.tally.failures, "it met nobody"
            node.edit("hello", 'replay = "off"\n', "service.toml")
            node.edit("hello", f"{bad}\n# again, without a replay\n")
            row = await asyncio.to_thread(node.wait_for_state, "hello", 3, "ROLLED_BACK", "ACTIVE", timeout_s=90)
            met = len(load.tally.failures)
            await load.more_calls(100)
            assert (row["state"], row["replay"]) == ("ROLLED_BACK", None)
            assert row["reason"], "a person wants to know why"
            assert len(load.tally.failures) - met <= 2, "at most the calls that were on their way"
        assert met > 0, "the canary took traffic"
        assert load.tally.sessions_lost == 0
        status = node.service("hello")
        assert (status["active"]["version"], status["healthy"]) == (1, True)
