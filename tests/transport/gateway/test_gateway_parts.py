"""The pure parts: names, units, evidence, the sessions' contract."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.endpoints import Contract
from henslowe.actors.routes import Outcome
from henslowe.errors import LimitReached, NotFound
from henslowe.transport.gateway import MemorySessions, naming
from henslowe.transport.gateway.evidence import error_text, may_repeat, outcome_of
from henslowe.transport.gateway.sticky import StickyKeys
from henslowe.transport.mcp.large_json import LargeText
from tests.transport.gateway.world import tool

SERVICES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
NAMES = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="_-./"), min_size=1)


@given(SERVICES, NAMES)
def test_namespaced_names_come_apart_as_they_were_put_together(service: str, name: str) -> None:
    assert naming.split(naming.joined(service, name)) == (service, name)


@given(st.lists(st.tuples(st.sampled_from(["a", "a_", "a__", "a__b", "a_b", "a-b", "b"]), NAMES), unique=True))
def test_no_two_tools_share_a_namespaced_name(pairs: list[tuple[str, str]]) -> None:
    assert len({naming.joined(service, name) for service, name in pairs}) == len(pairs)


@given(SERVICES, st.text(min_size=1))
def test_namespaced_uris_come_apart_as_they_were_put_together(service: str, uri: str) -> None:
    joined = naming.joined_uri(service, uri)
    assert naming.split_uri(joined) == (service, uri)
    scheme = joined.partition("+" + uri)[0]
    assert all(c.isascii() and (c.isalnum() or c in "+-.") for c in scheme), "a valid URI scheme"


@pytest.mark.parametrize("name", ["", "plain", "__x", "mcp+", "mcp+a", "mcp+a+", "file:///a"])
def test_foreign_names_belong_to_no_service(name: str) -> None:
    assert naming.split_uri(name) is None
    if "__" not in name[1:]:
        assert naming.split(name) is None


def test_a_units_epoch_changes_and_the_rest_stays() -> None:
    now = [0.0]
    keys = StickyKeys(300.0, lambda: now[0])
    client = {"name": "c", "version": "1"}
    first = keys.unit("", client, "10.0.0.1")
    now[0] = 299.0
    assert keys.unit("", dict(client), "10.0.0.1") == first
    others = [
        keys.unit("", {**client, "version": "2"}, "10.0.0.1"),
        keys.unit("", client, "10.0.0.2"),
        keys.unit("", None, "10.0.0.1"),
        keys.unit("alice", client, "10.0.0.1"),
    ]
    assert len({first, *others}) == 5
    assert keys.unit("alice", None, "10.0.0.9") == others[3], "a principal is who it is wherever it comes from"
    now[0] = 300.0
    assert keys.unit("", client, "10.0.0.1") != first


@pytest.mark.parametrize("odd", [[], "x", 5, {"name": {}}, {"name": "\ud800", "version": "x" * 10_000}], ids=repr)
def test_odd_client_infos_have_a_unit_too(odd: object) -> None:
    assert StickyKeys(300.0, lambda: 0.0).unit("", odd, "p").key


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"result": {}}, Outcome.OK),
        ({"result": {"isError": False}}, Outcome.OK),
        ({"result": {"isError": True}}, Outcome.TOOL_ERROR),
        ({"error": {"code": -32602}}, Outcome.INVALID_PARAMS),
        ({"error": {"code": -32002}}, Outcome.INVALID_PARAMS),
        ({"error": {"code": -32603}}, Outcome.INTERNAL_ERROR),
        ({"error": {"code": 1}}, Outcome.INTERNAL_ERROR),
        ({"error": "text"}, Outcome.INTERNAL_ERROR),
    ],
    ids=repr,
)
def test_answers_are_told_apart(answer: dict[str, object], outcome: Outcome) -> None:
    assert outcome_of(answer) is outcome


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"result": {"content": [{"type": "text", "text": "all is well"}]}}, ""),
        (
            {"result": {"isError": True, "content": [{"type": "image"}, {"type": "text", "text": " KeyError: 'x'\n"}]}},
            "KeyError: 'x'",
        ),
        ({"result": {"isError": True, "content": [{"type": "text", "text": "x" * 300}]}}, "x" * 200),
        ({"result": {"isError": True, "content": [{"type": "text", "text": LargeText(memoryview(b'"abc"'))}]}}, "abc"),
        ({"result": {"isError": True, "content": [{"type": "text", "text": ["odd"]}, 7, {}]}}, ""),
        ({"result": {"isError": True, "content": "odd"}}, ""),
        ({"result": {"isError": True}}, ""),
        ({"error": {"code": -32603, "message": "broken"}}, "-32603: broken"),
        ({"error": "odd"}, ""),
    ],
)
def test_a_failure_is_told_in_the_words_of_its_server(answer: dict[str, Any], words: str) -> None:
    assert error_text(answer) == words


def test_only_reads_and_safe_tools_may_be_repeated() -> None:
    contract = Contract(
        (
            tool("safe", annotations={"readOnlyHint": True}),
            tool("plain"),
            tool("liar", annotations={"readOnlyHint": "yes"}),
        )
    )
    assert may_repeat("tools/list", None, contract)
    assert may_repeat("tools/call", {"name": "safe"}, contract)
    for name in ("plain", "liar", "unknown", None):
        assert not may_repeat("tools/call", {"name": name}, contract)
    assert not may_repeat("tools/call", None, contract)
    assert not may_repeat("vendor/write", {}, contract)


async def _open(sessions: MemorySessions, name: str) -> None:
    await sessions.open(name, scope="s", protocol_version="2025-11-25", client_info={}, capabilities={})


async def test_sessions_keep_what_they_are_told() -> None:
    sessions = MemorySessions()
    await _open(sessions, "a")
    await sessions.update("a", log_level="error", subscribe="x:1")
    await sessions.update("a", subscribe="x:2")
    row = await sessions.update("a", unsubscribe="x:1")
    assert (row.log_level, set(row.subscriptions)) == ("error", {"x:2"})
    assert sessions.get("a") is row
    assert await sessions.close("a")
    assert not await sessions.close("a")
    with pytest.raises(NotFound):
        await sessions.update("a", log_level="info")


async def test_idle_sessions_make_room_and_used_ones_do_not() -> None:
    now = [0.0]
    sessions = MemorySessions(2, 100.0, lambda: now[0])
    await _open(sessions, "a")
    await _open(sessions, "b")
    now[0] = 99.0
    sessions.seen("a")
    with pytest.raises(LimitReached):
        await _open(sessions, "c")
    now[0] = 101.0
    await _open(sessions, "c")
    assert (sessions.get("a") is not None, sessions.get("b")) == (True, None)
    assert len(sessions) == 2
