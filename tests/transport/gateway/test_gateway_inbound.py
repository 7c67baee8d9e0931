"""What of a client's headers the gateway takes along, before anybody else sees them."""

from __future__ import annotations

import pytest

from henslowe.transport.gateway.inbound import forwarded_headers
from henslowe.transport.gateway.protocol import Refused
from henslowe.transport.mcp.headers import PARAM_PREFIX, TRACING

Raw = list[tuple[bytes, bytes]]


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "Mcp-Session-Id", "Origin", "Host", "Via"),
        *(
            "MCP-Protocol-Version",
            "Mcp-Method",
            "Mcp-Name",
            "Mcp-Params",
            "Mcp-Parameter-X",
            "My-Token",
            "Max-Forwards",
        ),
        *("TE", "Trailer", "Transfer-Encoding", "Token", "Trace", "traceparents", "Bearer", "B3", "baggages", ""),
    ],
)
def test_no_other_header_is_taken_along(name: str) -> None:
    for written in (name, name.lower(), name.upper()):
        assert forwarded_headers([(written.encode(), b"secret")]) == {}


def test_parameters_and_tracing_are_taken_along_under_small_letters_however_they_are_written() -> None:
    raw: Raw = [
        (b"MCP-PARAM-Region", b"eu"),
        (b"mcp-param-", b"odd"),
        (b"TraceParent", b"00-1"),
        (b"tracestate", b"a=1"),
        (b"BAGGAGE", b"k=v"),
        (b"Authorization", b"Bearer secret"),
    ]
    taken = forwarded_headers(raw)
    assert taken == {
        "mcp-param-region": "eu",
        "mcp-param-": "odd",
        "traceparent": "00-1",
        "tracestate": "a=1",
        "baggage": "k=v",
    }
    assert all(name in TRACING or name.startswith(PARAM_PREFIX) for name in taken), "a link writes the same"


def test_values_are_taken_along_in_any_letters() -> None:
    raw: Raw = [(b"Mcp-Param-City", "Zürich".encode()), (b"Mcp-Param-Raw", b"\xff"), (b"tracestate", b"a=\xe9")]
    assert forwarded_headers(raw) == {"mcp-param-city": "Zürich", "mcp-param-raw": "\udcff", "tracestate": "a=é"}


@pytest.mark.parametrize("name", ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Param-X", "mcp-param-"])
def test_what_is_compared_with_the_body_must_not_come_twice(name: str) -> None:
    raw: Raw = [(name.encode(), b"1"), (b"Accept", b"*/*"), (name.swapcase().encode(), b"1")]
    with pytest.raises(Refused, match="more than once") as refused:
        forwarded_headers(raw)
    assert (refused.value.status, refused.value.rpc_code) == (400, -32020)


def test_what_is_compared_may_come_beside_each_other_and_a_list_in_pieces() -> None:
    raw: Raw = [(b"Mcp-Name", b"1"), (b"Mcp-Method", b"1"), (b"MCP-Protocol-Version", b"1")]
    raw += [(b"Mcp-Param-X", b"1"), (b"Mcp-Param-Y", b"1"), (b"baggage", b"a=1"), (b"baggage", b"b=2")]
    assert forwarded_headers(raw) == {"mcp-param-x": "1", "mcp-param-y": "1", "baggage": "a=1,b=2"}
