import asyncio
import sys

import pytest

from henslowe.actors.endpoints import EndpointState, Era, JsonObject
from henslowe.config.settings import InstanceSettings
from henslowe.errors import InstanceFailed, LimitReached, UpstreamLost
from henslowe.transport.mcp import McpConnector, handshake, large_json
from henslowe.transport.mcp.large_json import LargeText
from tests.transport.mcp.harness import MODERN_META, RAW, SDK, Heard, call, opened


async def test_a_server_of_both_eras_is_opened_in_the_modern_one_and_serves_clients_of_both() -> None:
    async with opened(*SDK) as endpoint:
        assert endpoint.facts.era is Era.MODERN
        assert endpoint.facts.server_info["name"] == "sdk"
        assert endpoint.facts.instructions == "Be kind."
        assert [tool["name"] for tool in endpoint.contract.tools] == [
            "count",
            "greet",
            "grow",
            "rearrange",
            "touch",
            "where",
        ]
        legacy = await call(endpoint, "greet", name="Ann")
        assert legacy["result"]["structuredContent"] == {"result": "Hello Ann"}
        assert "resultType" not in legacy["result"]
        modern = await call(endpoint, "greet", Era.MODERN, name="Ann")
        assert modern["result"]["resultType"] == "complete"
        missing = await endpoint.request("resources/read", {"uri": "memo://two"}, era=Era.LEGACY)
        assert missing["error"]["code"] == -32002


async def test_a_legacy_server_serves_clients_of_both_eras_and_unknown_fields_survive() -> None:
    async with opened(*RAW) as endpoint:
        assert endpoint.facts.era is Era.LEGACY
        assert endpoint.facts.protocol_version == "2025-06-18"
        assert [tool["name"] for tool in endpoint.contract.tools] == ["crash", "echo"]
        assert endpoint.contract.tools[1]["x-unknown"] == {"kept": True}
        sent = {"name": "echo", "arguments": {}, "x-future": [1], "_meta": {**MODERN_META, "traceparent": "00-1"}}
        result = (await endpoint.request("tools/call", sent, era=Era.MODERN))["result"]
        assert result["structuredContent"]["params"] == {
            "name": "echo",
            "arguments": {},
            "x-future": [1],
            "_meta": {"traceparent": "00-1"},
        }
        assert (result["resultType"], result["x-extra"]) == ("complete", [1])
        missing = await endpoint.request("resources/read", {"uri": "u", "_meta": MODERN_META}, era=Era.MODERN)
        assert missing["error"]["code"] == -32602


async def test_callers_keep_their_own_progress_tokens_on_a_shared_child() -> None:
    heard: dict[str, list[JsonObject]] = {"a": [], "b": []}

    async def ask(endpoint: object, who: str, token: object) -> None:
        params = {"name": "progress", "_meta": {"progressToken": token}}
        await endpoint.request("tools/call", params, era=Era.LEGACY, on_notification=heard[who].append)  # type: ignore[attr-defined]

    async with opened(*RAW) as endpoint:
        await asyncio.gather(ask(endpoint, "a", "same"), ask(endpoint, "b", "same"))
        await ask(endpoint, "a", 5)
    progress = [n["params"]["progressToken"] for n in heard["a"] if n["method"] == "notifications/progress"]
    assert progress == ["same", 5]
    assert len([n for n in heard["b"] if n["method"] == "notifications/progress"]) == 1
    assert "notifications/message" in [n["method"] for n in heard["a"]]


async def test_a_cancelled_call_is_cancelled_at_the_server() -> None:
    async with opened(*RAW) as endpoint:
        waiting = asyncio.ensure_future(call(endpoint, "wait"))
        while not (await call(endpoint, "waiting"))["result"]["structuredContent"]["waiting"]:
            pass
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        told = (await call(endpoint, "waiting"))["result"]["structuredContent"]
        assert told["cancelled"] == told["waiting"]
        assert endpoint.in_flight == 0


async def test_a_call_without_an_answer_in_time_is_cancelled_at_the_server() -> None:
    async with opened(*RAW) as endpoint:
        with pytest.raises(TimeoutError):
            await endpoint.request("tools/call", {"name": "wait"}, era=Era.LEGACY, timeout_s=0.05)
        told = (await call(endpoint, "waiting"))["result"]["structuredContent"]
        assert told["cancelled"] == told["waiting"] != []


async def test_requests_of_the_server_are_refused_and_its_pings_answered() -> None:
    async with opened(*RAW) as endpoint:
        replies = (await call(endpoint, "ask"))["result"]["structuredContent"]
        assert replies["p"]["result"] == {}
        assert replies["s"]["error"]["code"] == -32601


async def test_a_server_that_dies_in_a_call_loses_every_call_in_flight() -> None:
    heard = Heard()
    async with opened(*RAW, heard=heard) as endpoint:
        waiting = asyncio.ensure_future(call(endpoint, "wait"))
        with pytest.raises(UpstreamLost) as lost:
            await call(endpoint, "crash")
        assert lost.value.details["sent"] is True
        with pytest.raises(UpstreamLost):
            await waiting
        assert endpoint.state is EndpointState.GONE
        with pytest.raises(UpstreamLost) as refused:
            await call(endpoint, "echo")
        assert refused.value.details["sent"] is False
    assert heard.closed == ["cannot call hello@1#1: it closed its standard output"]


async def test_a_response_beyond_the_limit_fails_its_own_call_only() -> None:
    async with opened(*RAW, message_bytes_max=300_000) as endpoint:
        waiting = asyncio.ensure_future(call(endpoint, "wait"))
        answer = await call(endpoint, "big", bytes=1_000_000)
        assert answer["error"]["data"]["code"] == "limit_reached"
        assert (await call(endpoint, "big", bytes=200_000))["result"]["content"][0]["text"] == "x" * 200_000
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_large_text_is_passed_on_unread_and_is_a_string_for_everybody_else() -> None:
    async with opened(*RAW) as endpoint:
        for era, meta in ((Era.LEGACY, {}), (Era.MODERN, {"_meta": MODERN_META})):
            params = {"name": "big", "arguments": {"bytes": 2_000_000}, **meta}
            passed = await endpoint.pass_on("tools/call", params, era=era)
            plain = await endpoint.request("tools/call", params, era=era)
            assert isinstance(passed["result"]["content"][0]["text"], LargeText)
            assert plain["result"]["content"][0]["text"] == "x" * 2_000_000
            assert large_json.plain(passed) == plain


async def test_large_requests_pass_a_pipe_that_is_smaller_than_they_are() -> None:
    async with opened(*RAW) as endpoint:
        text = "y" * 300_000
        answers = await asyncio.gather(*(call(endpoint, "echo", text=text) for _ in range(4)))
        assert all(a["result"]["structuredContent"]["params"]["arguments"]["text"] == text for a in answers)


async def test_a_line_that_is_not_json_is_ignored_once_the_server_is_open() -> None:
    async with opened(*RAW) as endpoint:
        assert (await call(endpoint, "rubbish"))["result"] == {"content": []}
        assert (await call(endpoint, "echo"))["result"]["content"] == []


async def test_more_calls_than_the_limit_are_refused_at_once() -> None:
    async with opened(*RAW, in_flight_max=1) as endpoint:
        waiting = asyncio.ensure_future(call(endpoint, "wait"))
        await asyncio.sleep(0)
        with pytest.raises(LimitReached) as refused:
            await call(endpoint, "echo")
        assert "in_flight_max" in refused.value.hint
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_drain_ends_with_the_last_call_and_takes_no_new_ones() -> None:
    async with opened(*RAW) as endpoint:
        waiting = asyncio.ensure_future(call(endpoint, "wait"))
        await asyncio.sleep(0)
        draining = asyncio.ensure_future(endpoint.drain())
        await asyncio.sleep(0)
        assert endpoint.state is EndpointState.DRAINING
        with pytest.raises(UpstreamLost) as refused:
            await call(endpoint, "echo")
        assert refused.value.details["sent"] is False
        assert not draining.done()
        waiting.cancel()
        async with asyncio.timeout(5):
            await draining
        assert endpoint.in_flight == 0


async def test_a_changed_tool_list_is_listed_again_before_anybody_hears_of_it() -> None:
    heard = Heard()
    async with opened(*RAW, heard=heard) as endpoint:
        before = endpoint.contract.digest
        await call(endpoint, "add")
        await heard.next()
        assert [event["method"] for event in heard.events] == ["notifications/tools/list_changed"]
        assert "added" in [tool["name"] for tool in endpoint.contract.tools]
        assert endpoint.contract.digest != before


async def test_progress_and_changes_of_a_modern_server_arrive() -> None:
    heard, seen = Heard(), []
    async with opened(*SDK, heard=heard) as endpoint:
        params = {"name": "count", "arguments": {"to": 3}, "_meta": {**MODERN_META, "progressToken": "t"}}
        answer = await endpoint.request("tools/call", params, era=Era.MODERN, on_notification=seen.append)
        assert answer["result"]["structuredContent"] == {"result": 3}
        assert [(n["params"]["progressToken"], n["params"]["progress"]) for n in seen] == [("t", 1), ("t", 2), ("t", 3)]
        subscribed = await endpoint.request("resources/subscribe", {"uri": "memo://one"}, era=Era.LEGACY)
        assert subscribed == {"result": {}}
        await call(endpoint, "touch")
        await heard.next()
        assert heard.events[0]["method"] == "notifications/resources/updated"
        assert heard.events[0]["params"] == {"uri": "memo://one"}


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("banner", "got: 'Listening on stdio!'"),
        ("exit", "it closed its standard output"),
        ("ancient", "got: '1999-01-01'"),
        ("endless", "the list does not end within"),
    ],
)
async def test_a_server_that_cannot_be_opened_says_why(mode: str, says: str) -> None:
    with pytest.raises(InstanceFailed) as failed:
        async with opened(*RAW, mode):
            pass
    assert says in failed.value.message


async def test_a_server_that_never_answers_fails_at_the_deadline() -> None:
    with pytest.raises(InstanceFailed, match=r"did not answer the handshake within 0.3 s"):
        async with opened(*RAW, "mute", timeout_s=0.3):
            pass


async def test_a_server_that_ignores_the_question_for_the_modern_era_is_greeted_the_old_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshake, "PROBE_S", 0.1)
    async with opened(*RAW, "ignores-probe") as endpoint:
        assert endpoint.facts.era is Era.LEGACY
        assert endpoint.in_flight == 0


async def test_a_modern_server_that_starts_slower_than_the_question_waits_is_still_modern(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshake, "PROBE_S", 0.01)
    async with opened(*SDK) as endpoint:
        assert endpoint.facts.era is Era.MODERN
        assert (await call(endpoint, "greet", name="Ann"))["result"]["isError"] is False


async def test_a_server_that_ends_when_it_is_asked_is_greeted_with_initialize_the_second_time() -> None:
    connector = McpConnector(InstanceSettings())
    with pytest.raises(InstanceFailed) as failed:
        async with opened(*RAW, "dies-on-probe", connector=connector):
            pass
    assert failed.value.details["again"] is True
    async with opened(*RAW, "dies-on-probe", connector=connector) as endpoint:
        assert endpoint.facts.era is Era.LEGACY


async def test_a_time_server_from_the_registry_is_served_in_both_eras() -> None:
    script = "from mcp_server_time import main; main()"
    async with opened(sys.executable, "-c", script, "--local-timezone", "UTC") as endpoint:
        for era in Era:
            answer = await call(endpoint, "get_current_time", era, timezone="UTC")
            assert not answer["result"].get("isError")
