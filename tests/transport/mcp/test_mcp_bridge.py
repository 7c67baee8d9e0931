import copy
from typing import Any

import mcp_types
import mcp_types.jsonrpc
import mcp_types.methods
import mcp_types.version
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from henslowe.actors.endpoints import Era, JsonObject, ServerFacts
from henslowe.transport.mcp import bridge, eras, jsonrpc

NODE: JsonObject = {"name": "henslowe", "version": "0"}
LEGACY = ServerFacts(Era.LEGACY, "2025-11-25", {"name": "old", "version": "1"}, {"tools": {}}, "Be kind.")
MODERN = ServerFacts(Era.MODERN, "2026-07-28", {"name": "new", "version": "2"}, {"tools": {}})
CLIENT_META = {eras.PROTOCOL_VERSION_META: "2026-07-28", eras.CLIENT_CAPABILITIES_META: {"elicitation": {"url": {}}}}

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=5), scalars, max_size=2)
own_keys = st.text(max_size=8).filter(
    lambda key: key not in {"_meta", "inputResponses", "requestState", "resultType", "ttlMs", "cacheScope"}
)
objects = st.dictionaries(own_keys, values, max_size=4)
metas = st.dictionaries(st.text(max_size=8), values, min_size=1, max_size=3)
params = st.one_of(objects, st.builds(lambda body, meta: {**body, "_meta": meta}, objects, metas))


def test_the_words_of_the_eras_are_those_of_mcp_types() -> None:
    assert eras.LEGACY_VERSIONS == mcp_types.version.HANDSHAKE_PROTOCOL_VERSIONS
    assert eras.MODERN_VERSIONS == mcp_types.version.MODERN_PROTOCOL_VERSIONS
    assert mcp_types.methods.CACHEABLE_METHODS == eras.CACHEABLE
    assert mcp_types.SERVER_INFO_META_KEY == eras.SERVER_INFO_META
    assert {
        mcp_types.PROTOCOL_VERSION_META_KEY,
        mcp_types.CLIENT_INFO_META_KEY,
        mcp_types.CLIENT_CAPABILITIES_META_KEY,
        mcp_types.LOG_LEVEL_META_KEY,
    } == eras.REQUEST_META
    assert mcp_types.jsonrpc.HEADER_MISMATCH == jsonrpc.HEADER_MISMATCH
    assert mcp_types.jsonrpc.URL_ELICITATION_REQUIRED == jsonrpc.URL_ELICITATION_REQUIRED
    assert mcp_types.jsonrpc.UNSUPPORTED_PROTOCOL_VERSION == jsonrpc.UNSUPPORTED_VERSION
    assert mcp_types.jsonrpc.MISSING_REQUIRED_CLIENT_CAPABILITY == jsonrpc.MISSING_CLIENT_CAPABILITY


@settings(max_examples=60)
@given(params)
def test_a_request_that_goes_to_the_modern_era_and_back_is_what_it_was(sent: JsonObject) -> None:
    before = copy.deepcopy(sent)
    modern = bridge.request_params(sent, Era.LEGACY, MODERN, NODE)
    assert modern is not None
    assert modern["_meta"][eras.PROTOCOL_VERSION_META] == "2026-07-28"
    assert modern["_meta"][eras.CLIENT_CAPABILITIES_META] == {}
    assert bridge.request_params(modern, Era.MODERN, LEGACY, NODE) == before
    assert sent == before


@settings(max_examples=60)
@given(params)
def test_a_request_within_one_era_is_the_same_object(sent: JsonObject) -> None:
    assert bridge.request_params(sent, Era.LEGACY, LEGACY, NODE) is sent
    complete = {**sent, "_meta": CLIENT_META}
    assert bridge.request_params(complete, Era.MODERN, MODERN, NODE) is complete


@settings(max_examples=60)
@given(params)
def test_what_a_result_holds_survives_the_way_to_a_modern_client_and_back(held: JsonObject) -> None:
    before = copy.deepcopy(held)
    there = bridge.answer({"result": held}, "tools/call", {}, Era.MODERN, LEGACY)
    assert there["result"]["resultType"] == "complete"
    assert there["result"]["_meta"][eras.SERVER_INFO_META] == LEGACY.server_info
    assert bridge.answer(there, "tools/call", {}, Era.LEGACY, MODERN)["result"] == {
        key: value for key, value in before.items() if key != "structuredContent" or isinstance(value, dict)
    }
    assert held == before


def test_a_request_without_parameters_gets_the_envelope() -> None:
    assert bridge.request_params(None, Era.LEGACY, MODERN, NODE) == {"_meta": eras.envelope("2026-07-28", NODE)}


def test_the_fields_of_a_continued_request_are_not_shown_to_a_legacy_server() -> None:
    sent = {"name": "t", "inputResponses": {}, "requestState": "s", "_meta": {**CLIENT_META, "traceparent": "00"}}
    assert bridge.request_params(sent, Era.MODERN, LEGACY, NODE) == {"name": "t", "_meta": {"traceparent": "00"}}


def test_request_state_passes_unchanged_between_modern_peers() -> None:
    asked = {"result": {"resultType": "input_required", "requestState": "opaque", "inputRequests": {}}}
    assert bridge.answer(asked, "tools/call", {}, Era.MODERN, MODERN) is asked


def test_lists_are_not_cached_by_modern_clients_of_a_legacy_server() -> None:
    result = bridge.answer({"result": {"tools": []}}, "tools/list", {}, Era.MODERN, LEGACY)["result"]
    assert (result["ttlMs"], result["cacheScope"]) == (0, "private")


def test_modern_fields_are_taken_from_a_result_for_a_legacy_client() -> None:
    modern = {
        "resultType": "complete",
        "ttlMs": 5,
        "cacheScope": "public",
        "_meta": {eras.SERVER_INFO_META: {}, "kept": 1},
        "tools": [
            {"name": "a", "outputSchema": {"type": "array"}},
            {"name": "b", "outputSchema": {"type": "object"}},
        ],
    }
    result = bridge.answer({"result": modern}, "tools/list", {}, Era.LEGACY, MODERN)["result"]
    assert result == {"_meta": {"kept": 1}, "tools": [{"name": "a"}, modern["tools"][1]]}


def test_structured_content_that_is_no_object_is_left_out_for_a_legacy_client() -> None:
    modern = {"resultType": "complete", "content": [{"type": "text", "text": "[1]"}], "structuredContent": [1]}
    result = bridge.answer({"result": modern}, "tools/call", {}, Era.LEGACY, MODERN)["result"]
    assert result == {"content": [{"type": "text", "text": "[1]"}]}


def test_a_legacy_client_gets_an_error_where_a_modern_server_asks_for_input() -> None:
    asked = {"result": {"resultType": "input_required", "requestState": "s"}}
    error = bridge.answer(asked, "tools/call", {}, Era.LEGACY, MODERN)["error"]
    assert error["code"] == jsonrpc.INTERNAL_ERROR
    assert "input_required" in error["message"]


@pytest.mark.parametrize(
    ("client", "facts", "method", "sent", "expected"),
    [
        (Era.MODERN, LEGACY, "resources/read", {"code": -32002, "data": {"uri": "u"}}, -32602),
        (Era.LEGACY, MODERN, "resources/read", {"code": -32602, "data": {"uri": "u"}}, -32002),
        (Era.LEGACY, MODERN, "tools/call", {"code": -32602, "data": {"uri": "u"}}, -32602),
        (Era.LEGACY, MODERN, "tools/call", {"code": -32020}, -32603),
        (Era.LEGACY, MODERN, "tools/call", {"code": -32022}, -32603),
        (Era.LEGACY, LEGACY, "resources/read", {"code": -32002}, -32002),
        (Era.MODERN, MODERN, "resources/read", {"code": -32602}, -32602),
        (Era.MODERN, LEGACY, "tools/call", {"code": -32601}, -32601),
    ],
)
def test_error_codes_are_those_of_the_clients_era(
    client: Era, facts: ServerFacts, method: str, sent: dict[str, Any], expected: int
) -> None:
    failure = {"message": "m", "x": 1, **sent}
    assert bridge.answer({"error": failure}, method, {}, client, facts)["error"] == {**failure, "code": expected}


def test_a_url_that_a_legacy_server_wants_visited_is_asked_of_a_modern_client() -> None:
    elicitation = {"mode": "url", "elicitationId": "1", "url": "https://x", "message": "Sign in"}
    failure = {"error": {"code": -32042, "message": "m", "data": {"elicitations": [elicitation]}}}
    able = bridge.answer(failure, "tools/call", {"_meta": CLIENT_META}, Era.MODERN, LEGACY)["result"]
    assert able["resultType"] == "input_required"
    assert able["inputRequests"] == {"url-1": {"method": "elicitation/create", "params": elicitation}}
    unable = bridge.answer(failure, "tools/call", {"_meta": {}}, Era.MODERN, LEGACY)["error"]
    assert unable["code"] == jsonrpc.MISSING_CLIENT_CAPABILITY


def test_the_handshake_of_a_client_is_answered_from_what_the_server_said() -> None:
    greeted = bridge.local_answer("initialize", {"protocolVersion": "2024-11-05"}, Era.LEGACY, MODERN)
    assert greeted is not None
    assert greeted["result"]["protocolVersion"] == "2024-11-05"
    assert greeted["result"]["serverInfo"] == MODERN.server_info
    unknown = bridge.local_answer("initialize", {"protocolVersion": "1999-01-01"}, Era.LEGACY, MODERN)
    assert unknown is not None
    assert unknown["result"]["protocolVersion"] == "2025-11-25"
    discovered = bridge.local_answer("server/discover", {}, Era.MODERN, LEGACY)
    assert discovered is not None
    mcp_types.DiscoverResult.model_validate(discovered["result"])
    assert discovered["result"]["instructions"] == "Be kind."


def test_ping_reaches_a_legacy_server_and_is_answered_here_for_a_modern_one() -> None:
    assert bridge.local_answer("ping", None, Era.LEGACY, LEGACY) is None
    assert bridge.local_answer("ping", None, Era.LEGACY, MODERN) == {"result": {}}
