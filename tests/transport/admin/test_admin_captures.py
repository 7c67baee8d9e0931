"""Recorded traffic over the admin API: pages, filters, one exchange, and bad questions."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from henslowe.storage.capture import Exchange
from tests.transport.admin.small_node import Served, record

V1 = "/admin/v1"


@pytest.fixture
def recorded(served: Served) -> Served:
    record(served, *(exchange(number) for number in range(1, 8)))
    return served


def exchange(number: int) -> Exchange:
    return Exchange(
        service="hello" if number % 2 else "world",
        version=1 + number // 4,
        instance="hello@1#1",
        unit="s:abc",
        unit_is_session=True,
        era="legacy",
        method="tools/call",
        params={"name": "greet", "arguments": {"n": number, "password": "hunter2"}},
        answer={"error": {"code": -32603, "message": "no"}} if number == 7 else {"result": {"content": []}},
        outcome="internal_error" if number == 7 else "ok",
        latency_s=0.002,
        read_only=True,
        request_id=number,
    )


async def page(session: aiohttp.ClientSession, query: str = "") -> Any:
    async with session.get(f"{V1}/captures{query}") as response:
        assert response.status == 200
        return await response.json()


@pytest.mark.usefixtures("recorded")
async def test_captures_come_newest_first_page_by_page(local: aiohttp.ClientSession) -> None:
    first = await page(local, "?limit=4")
    assert [each["seq"] for each in first["captures"]] == [7, 6, 5, 4]
    rest = await page(local, f"?limit=4&before={first['next_before']}")
    assert [each["seq"] for each in rest["captures"]] == [3, 2, 1]
    assert rest["next_before"] is None
    assert (first["stored"], first["enabled"], first["dropped"]) == (7, True, 0)
    assert first["captures"][0]["params"] is None


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        ("?service=world", [6, 4, 2]),
        ("?version=2", [7, 6, 5, 4]),
        ("?errors=true", [7]),
        ("?errors=false&limit=2", [6, 5]),
        ("?service=hello&method=tools/call&name=greet", [7, 5, 3, 1]),
        ("?name=other", []),
        ("?until_s=5", []),
        ("?since_s=5&limit=1", [7]),
    ],
)
async def test_captures_are_found_by_what_they_are(local: aiohttp.ClientSession, query: str, seqs: list[int]) -> None:
    assert [each["seq"] for each in (await page(local, query))["captures"]] == seqs


@pytest.mark.usefixtures("recorded")
async def test_one_capture_has_everything_but_its_secrets(local: aiohttp.ClientSession) -> None:
    async with local.get(f"{V1}/captures/7") as response:
        assert response.status == 200
        body = await response.json()
    assert body["params"]["arguments"] == {"n": 7, "password": "[redacted:password:len=7]"}
    assert body["failure"] == {"code": -32603, "message": "no"}
    assert (body["error"], body["repeatable"], body["redactions"], body["latency_ms"]) == (True, False, 1, 2.0)
    [same] = (await page(local, "?limit=1&bodies=true"))["captures"]
    assert same == body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/captures/99", 404),
        ("/captures/x", 400),
        ("/captures?limit=0", 400),
        ("/captures?since_s=1.3e308", 400),
        ("/captures?until_s=1e18", 400),
    ],
)
async def test_bad_questions_are_told_what_was_expected(local: aiohttp.ClientSession, path: str, status: int) -> None:
    async with local.get(V1 + path) as response:
        assert response.status == status
        assert (await response.json())["error"]["message"]


async def test_a_node_without_captures_says_so(local: aiohttp.ClientSession) -> None:
    assert (await page(local))["captures"] == []


@pytest.mark.usefixtures("recorded")
async def test_captures_are_for_those_who_may_look(remote: aiohttp.ClientSession) -> None:
    async with remote.get(f"{V1}/captures/1") as response:
        assert response.status == 401
