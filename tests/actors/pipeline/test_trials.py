"""Trials: stages run for somebody who watches, without a version, and end with their reader."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from delivering import Node, server, stage

from henslowe.actors import names
from henslowe.actors.ids import ServiceName
from henslowe.actors.kernel import Ref
from henslowe.actors.kernel import names as registry
from henslowe.actors.pipeline import Listener, Trial, followed, telling
from henslowe.actors.vocabulary import EventType, Status
from henslowe.errors import LimitReached, ManifestError, NotFound

HELLO = ServiceName("hello")
SLOW = "echo begun; exec sleep 60"


def tried(node: Node, only: str = "", *, replays: bool = True, service: ServiceName = HELLO) -> Any:
    async def start(listener: Listener) -> Ref:
        return await registry.via(names.PIPELINE).call(Trial(service, listener, "me", only, replays))

    return followed(start, service)


async def whole(events: Any) -> list[tuple[str, str]]:
    return [(event["type"], event["status"]) async for event in events]


@pytest.fixture
async def built(node: Node) -> Node:
    """With a version, so that its sources are known."""
    node.change({"server.py": server(), "service.toml": stage("say", "echo word", needs='["lint"]')})
    await node.built()
    await node.idle()
    return node


async def test_a_trial_replays_what_the_version_ran_and_makes_none(built: Node) -> None:
    events = [event async for event in tried(built, "say")]
    assert events[0]["data"]["stages"] == ["lint", "say"]
    done = {event["data"]["stage"]: event["data"] for event in events if "stage" in event["data"]}
    assert done["lint"]["cached"]
    assert done["say"]["cached"]
    assert [event["data"]["line"] for event in events if event["type"] == "STAGE_OUTPUT"] == ["word"]
    assert events[-1]["type"] == "PIPELINE_COMPLETE"
    assert len(built.ledger.created) == 1
    ran = [event async for event in tried(built, replays=False)]
    assert not ran[-1]["data"]["cached"]
    assert ran[-1]["data"]["stages"].keys() == {"lint", "mcp-check", "say"}


async def test_a_stage_asked_for_by_name_may_not_fail(built: Node) -> None:
    built.write({"service.toml": stage("check", "exit 5", allow_failure="true")})
    events = [event async for event in tried(built, "check")]
    assert events[-1]["status"] == "FAILED"
    assert events[-1]["data"]["exit_code"] == 5
    assert (await whole(tried(built)))[-1] == ("PIPELINE_COMPLETE", "SUCCESS")


async def test_what_keeps_a_trial_from_beginning_is_raised(built: Node) -> None:
    with pytest.raises(NotFound, match=r"expected a stage of lint, mcp-check, say, got: 'sya'") as raised:
        await whole(tried(built, "sya"))
    assert raised.value.hint == "did you mean say?"
    with pytest.raises(NotFound, match="there are no sources of that name"):
        await whole(tried(built, service=ServiceName("nobody")))
    built.write({"service.toml": "["})
    with pytest.raises(ManifestError):
        await whole(tried(built))
    await built.idle()
    assert list((built.store.data_dir / "runs").iterdir()) == []


async def test_leaving_ends_the_stages_and_a_change_does_not(built: Node) -> None:
    built.write({"service.toml": stage("slow", SLOW)})
    async with aclosing(tried(built, "slow")) as events:
        async for event in events:
            if event["data"].get("line") == "begun":
                break
        built.change({"service.toml": ""})
        await built.built()
        assert list((built.store.data_dir / "runs").glob("*-trial-*"))
    await built.idle()
    assert list((built.store.data_dir / "runs").iterdir()) == []


async def test_trials_at_once_are_limited(built: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("henslowe.actors.pipeline.executor.TRIALS_MAX", 1)
    built.write({"service.toml": stage("slow", SLOW)})
    async with aclosing(tried(built, "slow")) as events:
        await anext(events)
        with pytest.raises(LimitReached, match="1 trials are under way"):
            await whole(tried(built))
    await built.idle()
    built.write({"service.toml": ""})
    assert (await whole(tried(built)))[-1] == ("PIPELINE_COMPLETE", "SUCCESS")


async def test_a_reader_far_behind_misses_lines_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "WAITING_MAX", 3)
    listener = Listener(HELLO)
    listener.lines("say", [("stdout", "a"), ("stdout", "b")])
    listener.lines("say", [("stdout", "c"), ("stdout", "d")])
    listener.say(EventType.PIPELINE_COMPLETE, Status.SUCCESS)
    listener.end()
    told = [await asyncio.wait_for(listener.next(), 5) for _ in range(5)]
    assert [event["data"].get("line") for event in told[:4] if event] == [
        "a",
        "b",
        "2 lines left out: not read in time",
        None,
    ]
    assert told[4] is None
